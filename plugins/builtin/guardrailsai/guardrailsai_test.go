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
	g = servicetest.Configured(t, &guardrailsai.GuardrailsAI{}, strings.Replace(config(base), "{", `{"action":"mask",`, 1))
	if v, err := g.Check(t.Context(), servicetest.Check(sdk.After, "hello", "gibberish", "ask Bob")); err != nil || fmt.Sprint(v.Replacements) != "[{1 [masked]  0 0} {2 ask <PERSON>  0 0}]" {
		t.Errorf("got %+v, %v, want a mask", v, err)
	}
	if _, err := (&guardrailsai.GuardrailsAI{}).Configure(t.Context(), sdk.GuardrailSettings{Config: []byte(`{"api_base":"http://h"}`)}); err == nil {
		t.Error("no guard_name is taken")
	}
}

// A guard whose on_fail is "exception" answers an error to a text that is not valid: that is its verdict. Other
// errors are none.
func TestGuardrailsAI_Exception(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		status int
		answer string
		blocks bool
	}{
		{http.StatusBadRequest, `{"detail":"Validation failed for field with errors: the text is toxic"}`, true},
		{http.StatusBadRequest, `{"status_code":400,"detail":"Validation failed for field with errors: a, b"}`, true},
		{http.StatusBadRequest, `{"status":400,"message":"Validation failed for field with errors: a"}`, true},
		{http.StatusBadRequest, `{"detail":"BadRequest The payload has no llmOutput"}`, false},
		{http.StatusBadRequest, `Validation failed for field with errors: a`, false},
		{http.StatusUnprocessableEntity, `{"detail":[{"loc":["body"],"msg":"Validation failed for field"}]}`, false},
		{http.StatusInternalServerError, `{"detail":"Validation failed for field with errors: a"}`, false},
	} {
		base := servicetest.Start(t, func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(tt.status)
			fmt.Fprint(w, tt.answer)
		})
		config := strings.Replace(config(base), "{", `{"retries":0,`, 1)
		v, err := servicetest.Configured(t, &guardrailsai.GuardrailsAI{}, config).Check(t.Context(), servicetest.Check(sdk.Before, "text"))
		if blocks := err == nil && v.Action == guardrail.Block; blocks != tt.blocks || !blocks && err == nil {
			t.Errorf("%d %s: got %v, %v, want a block: %v", tt.status, tt.answer, v.Action, err, tt.blocks)
		}
	}
}

func TestGuardrailsAI_Service(t *testing.T) {
	t.Parallel()
	servicetest.Run(t, servicetest.Case{
		Make: func() sdk.Guardrail { return &guardrailsai.GuardrailsAI{} }, Config: config, Serve: serve(t),
		Empty: []string{`{"validatedOutput":"x"}`},
	})
}
