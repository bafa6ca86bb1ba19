package guardrailsai_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/plugins/builtin/guardrailsai"
	"github.com/conclave-llm/conclave/plugins/builtin/service/servicetest"
	"github.com/conclave-llm/conclave/plugins/guardrail"
	"github.com/conclave-llm/conclave/plugins/sdk"
)

// serve is a stand-in for a server of Guardrails AI: "gibberish" fails, "Bob" is repaired.
func serve(t *testing.T) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var in struct {
			Output string `json:"llmOutput"`
		}
		servicetest.Read(t, r, &in)
		if r.URL.EscapedPath() != "/guards/my%20guard/validate" {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]any{
			"callId": "1", "rawLlmOutput": in.Output, "validatedOutput": strings.ReplaceAll(in.Output, "Bob", "<PERSON>"),
			"validationPassed": !strings.Contains(in.Output, "gibberish"), "validationSummaries": []any{},
		})
	}
}

func config(base string) string { return fmt.Sprintf(`{"api_base":%q,"guard_name":"my guard"}`, base) }

func TestGuardrailsAI(t *testing.T) {
	t.Parallel()
	base := servicetest.Start(t, serve(t))
	g := servicetest.Configured(t, &guardrailsai.GuardrailsAI{}, config(base))
	for text, want := range map[string]guardrail.Action{"hello": guardrail.Pass, "gibberish": guardrail.Block, "ask Bob": guardrail.Rewrite} {
		v, err := g.Check(t.Context(), servicetest.Check(sdk.After, "first", text))
		if err != nil || v.Action != want || want == guardrail.Rewrite && (len(v.Replacements) != 1 || v.Replacements[0] != (sdk.Replacement{Index: 1, Text: "ask <PERSON>"})) {
			t.Errorf("%q: got %+v, %v", text, v, err)
		}
	}
	g = servicetest.Configured(t, &guardrailsai.GuardrailsAI{}, strings.Replace(config(base), "{", `{"action":"flag",`, 1))
	if v, err := g.Check(t.Context(), servicetest.Check(sdk.After, "ask Bob")); err != nil || v.Action != guardrail.Pass || len(v.Findings) != 1 {
		t.Errorf("got %+v, %v, want a flag", v, err)
	}
	if _, err := (&guardrailsai.GuardrailsAI{}).Configure(t.Context(), sdk.GuardrailSettings{Config: []byte(`{"api_base":"http://h"}`)}); err == nil {
		t.Error("no guard_name is taken")
	}
}

func TestGuardrailsAI_Service(t *testing.T) {
	t.Parallel()
	servicetest.Run(t, servicetest.Case{
		Make: func() sdk.Guardrail { return &guardrailsai.GuardrailsAI{} }, Config: config, Serve: serve(t),
		Empty: []string{`{"validatedOutput":"x"}`},
	})
}
