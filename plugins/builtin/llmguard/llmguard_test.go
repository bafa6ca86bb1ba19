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
			if strings.Contains(in.Prompt, "weather") && !strings.Contains(in.Output, "rain") { // as Relevance judges
				out["is_valid"], out["scanners"] = false, map[string]float64{"Relevance": 0.8}
			}
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

// Scanners that compare an answer with its prompt are given both: of the prompt what the configuration says is looked at.
func TestLLMGuard_Prompt(t *testing.T) {
	t.Parallel()
	base := servicetest.Start(t, serve(t))
	asked := []sdk.Text{{Role: "system", Text: "Talk of the weather."}, {Role: "user", Text: "Hello."}, {Role: "assistant", Text: "Hi."}, {Role: "user", Text: "And now?"}}
	for _, tt := range []struct {
		name, terms string
		request     []sdk.Text
		answer      string
		want        guardrail.Action
	}{
		{"off the prompt", ``, asked, "I like cheese.", guardrail.Block},
		{"to the prompt", ``, asked, "There is rain.", guardrail.Pass},
		{"another's text of the prompt", `"roles":["user"],`, asked, "I like cheese.", guardrail.Pass},
		{"an earlier turn", `"latest_only":true,`, asked, "I like cheese.", guardrail.Pass},
		{"no prompt", ``, nil, "I like cheese.", guardrail.Pass},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			g := &llmguard.LLMGuard{}
			d, err := g.Configure(t.Context(), sdk.GuardrailSettings{Config: []byte(strings.Replace(config(base), "{", "{"+tt.terms, 1))})
			if err != nil || !d.WantsRequest {
				t.Fatalf("wants the request: %v, %v", d.WantsRequest, err)
			}
			c := servicetest.Check(sdk.After, tt.answer)
			c.Request = tt.request
			if v, err := g.Check(t.Context(), c); err != nil || v.Action != tt.want {
				t.Errorf("got %+v, %v, want %s", v, err, tt.want)
			}
		})
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
