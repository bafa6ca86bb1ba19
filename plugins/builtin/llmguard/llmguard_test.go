package llmguard_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/plugins/builtin/llmguard"
	"github.com/conclave-llm/conclave/plugins/builtin/service/servicetest"
	"github.com/conclave-llm/conclave/plugins/guardrail"
	"github.com/conclave-llm/conclave/plugins/sdk"
)

// serve is a stand-in for LLM Guard's API: it redacts "Bob" and refuses "toxic".
func serve(t *testing.T) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+servicetest.Key {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		out := map[string]any{}
		judge := func(field, text string) {
			out["sanitized_"+field] = strings.ReplaceAll(text, "Bob", "[REDACTED_PERSON_1]")
			out["is_valid"] = !strings.Contains(text, "toxic")
			out["scanners"] = map[string]float64{"Toxicity": map[bool]float64{true: 0.9}[strings.Contains(text, "toxic")], "Anonymize": 0}
		}
		switch r.URL.Path {
		case "/analyze/prompt":
			var in struct {
				Prompt string `json:"prompt"`
			}
			servicetest.Read(t, r, &in)
			judge("prompt", in.Prompt)
		case "/analyze/output":
			var in struct {
				Prompt string `json:"prompt"`
				Output string `json:"output"`
			}
			servicetest.Read(t, r, &in)
			judge("output", in.Output)
		default:
			w.WriteHeader(http.StatusNotFound)
		}
		_ = json.NewEncoder(w).Encode(out)
	}
}

func config(base string) string {
	return fmt.Sprintf(`{"api_base":%q,"api_key":%q}`, base, servicetest.Key)
}

func TestLLMGuard(t *testing.T) {
	t.Parallel()
	g := servicetest.Configured(t, &llmguard.LLMGuard{}, config(servicetest.Start(t, serve(t))))
	for _, hook := range []sdk.Hook{sdk.Before, sdk.After} {
		v, err := g.Check(t.Context(), servicetest.Check(hook, "hello", "ask Bob", "Bob again"))
		if err != nil || v.Action != guardrail.Rewrite || v.Replacements[0] != (sdk.Replacement{Index: 1, Text: "ask [REDACTED_PERSON_1]"}) || v.Replacements[1].Text != "[REDACTED_PERSON_1] again" {
			t.Errorf("%s: got %+v, %v", hook, v, err)
		}
		v, err = g.Check(t.Context(), servicetest.Check(hook, "ask Bob", "toxic"))
		if err != nil || v.Action != guardrail.Block || fmt.Sprint(v.Findings) != "[Toxicity 0.90]" {
			t.Errorf("%s: got %+v, %v", hook, v, err)
		}
	}
}

// With the action mask what is not valid is masked, and what is sanitized stays.
func TestLLMGuard_Masks(t *testing.T) {
	t.Parallel()
	g := servicetest.Configured(t, &llmguard.LLMGuard{}, strings.Replace(config(servicetest.Start(t, serve(t))), "{", `{"action":"mask",`, 1))
	v, err := g.Check(t.Context(), servicetest.Check(sdk.Before, "ask Bob", "toxic Bob", "hello"))
	if err != nil || v.Action != guardrail.Rewrite || fmt.Sprint(v.Replacements) != "[{0 ask [REDACTED_PERSON_1]  0 0} {1 [masked]  0 0}]" {
		t.Errorf("got %+v, %v", v, err)
	}
}

func TestLLMGuard_Service(t *testing.T) {
	t.Parallel()
	servicetest.Run(t, servicetest.Case{
		Make: func() sdk.Guardrail { return &llmguard.LLMGuard{} }, Config: config, Serve: serve(t), Keyed: true,
		Empty: []string{`{"is_valid":true}`, `{"sanitized_prompt":"x","sanitized_output":"x"}`},
	})
}
