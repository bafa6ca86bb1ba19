package sdk_test

import (
	"context"
	"strings"

	"github.com/conclave-llm/conclave/plugins/sdk"
)

// shout refuses requests that are written in capitals.
type shout struct{}

func (shout) Configure(context.Context, sdk.GuardrailSettings) (sdk.GuardrailDescription, error) {
	return sdk.GuardrailDescription{Version: "1.0", Hooks: []sdk.Hook{sdk.Before}}, nil
}

func (shout) Check(_ context.Context, c *sdk.Check) (sdk.Verdict, error) {
	for _, t := range c.Texts {
		if t.Role == "user" && t.Text != strings.ToLower(t.Text) && t.Text == strings.ToUpper(t.Text) {
			return sdk.Block("please do not shout"), nil
		}
	}
	return sdk.Pass(), nil
}

// The whole of a guardrail plugin.
func Example() {
	main := func() { sdk.ServeGuardrail(shout{}) }
	_ = main
}
