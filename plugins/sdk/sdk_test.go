package sdk_test

import (
	"context"
	"testing"

	"github.com/conclave-llm/conclave/plugins/sdk"
	"github.com/conclave-llm/conclave/plugins/sdk/plugintest"
	"github.com/conclave-llm/conclave/resource"
)

func TestExample(t *testing.T) {
	t.Parallel()
	plugintest.Guardrail(t, func() sdk.Guardrail { return shout{} }, plugintest.GuardrailCase{
		Passes: "hello there",
		Stops:  "HELLO THERE",
	})
}

// desk answers a question in the place of a model, in the form of each endpoint.
type desk struct{}

func (desk) Configure(context.Context, sdk.GuardrailSettings) (sdk.GuardrailDescription, error) {
	return sdk.GuardrailDescription{Version: "1.0", Hooks: []sdk.Hook{sdk.Before}}, nil
}

func (desk) Check(_ context.Context, c *sdk.Check) (sdk.Verdict, error) {
	if len(c.Texts) == 0 || c.Texts[len(c.Texts)-1].Text != "who can help?" {
		return sdk.Pass(), nil
	}
	switch c.Info.Endpoint {
	case "chat", "transcriptions":
		return sdk.Answer("The desk."), nil
	case "speech":
		return sdk.AnswerBody("audio/wav", []byte("RIFF")), nil
	case "embeddings":
		return sdk.AnswerBody("", []byte(`{"data":[]}`)), nil
	}
	return sdk.Pass(), nil
}

// The kit takes a plugin that answers with texts and bodies as a node does.
func TestAnswers(t *testing.T) {
	t.Parallel()
	of := func(name, endpoint string, want func(v sdk.Verdict) bool) plugintest.HookCase {
		return plugintest.HookCase{
			Name: name, May: []resource.Power{resource.MayAnswer}, Want: want,
			Check: sdk.Check{Hook: sdk.Before, Info: sdk.Info{Endpoint: endpoint}, Texts: []sdk.Text{{Path: "input", Text: "who can help?"}}},
		}
	}
	plugintest.Guardrail(t, func() sdk.Guardrail { return desk{} }, plugintest.GuardrailCase{
		Passes: "hello there",
		Stops:  "who can help?",
		Hooks: []plugintest.HookCase{
			of("a text", "chat", func(v sdk.Verdict) bool { return v.Answer == "The desk." && v.Body == nil }),
			of("a body", "embeddings", func(v sdk.Verdict) bool {
				return string(v.Body) == `{"data":[]}` && v.ContentType == "application/json"
			}),
			of("sound", "speech", func(v sdk.Verdict) bool { return string(v.Body) == "RIFF" && v.ContentType == "audio/wav" }),
		},
	})
}
