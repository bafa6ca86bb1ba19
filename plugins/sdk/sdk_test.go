package sdk_test

import (
	"testing"

	"github.com/conclave-llm/conclave/plugins/sdk"
	"github.com/conclave-llm/conclave/plugins/sdk/plugintest"
)

func TestExample(t *testing.T) {
	t.Parallel()
	plugintest.Guardrail(t, func() sdk.Guardrail { return shout{} }, plugintest.GuardrailCase{
		Passes: "hello there",
		Stops:  "HELLO THERE",
	})
}
