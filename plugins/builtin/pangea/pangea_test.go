package pangea_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/plugins/builtin/pangea"
	"github.com/conclave-llm/conclave/plugins/builtin/service/servicetest"
	"github.com/conclave-llm/conclave/plugins/guardrail"
	"github.com/conclave-llm/conclave/plugins/sdk"
)

// serve is a stand-in for AI Guard: it blocks "inject" in prompts and redacts "Bob".
func serve(t *testing.T) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		type message struct {
			Role    string `json:"role"`
			Content string `json:"content"`
		}
		var in struct {
			Recipe   string    `json:"recipe"`
			Messages []message `json:"messages"`
		}
		servicetest.Read(t, r, &in)
		if b, _ := json.Marshal(in.Messages); len(b) > 20<<10 {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		if r.URL.Path != "/v1/text/guard" || r.Header.Get("Authorization") != "Bearer "+servicetest.Key {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		blocked, changed := false, false
		for i := range in.Messages {
			m := &in.Messages[i]
			blocked = blocked || in.Recipe == "pangea_prompt_guard" && strings.Contains(m.Content, "inject")
			if clean := strings.ReplaceAll(m.Content, "Bob", "<PERSON>"); clean != m.Content {
				m.Content, changed = clean, true
			}
		}
		detector := func(is bool) map[string]any { return map[string]any{"detected": is, "data": nil} }
		_ = json.NewEncoder(w).Encode(map[string]any{"request_id": "prq_1", "status": "Success", "summary": "", "result": map[string]any{
			"recipe": in.Recipe, "blocked": blocked, "transformed": changed, "prompt_messages": in.Messages,
			"detectors": map[string]any{"prompt_injection": detector(blocked), "pii_entity": detector(changed)},
		}})
	}
}

func config(base string) string {
	return fmt.Sprintf(`{"api_base":%q,"api_key":%q}`, base, servicetest.Key)
}

func TestPangea(t *testing.T) {
	t.Parallel()
	g := servicetest.Configured(t, &pangea.Pangea{}, config(servicetest.Start(t, serve(t))))
	for _, tt := range []struct {
		hook  sdk.Hook
		text  string
		want  guardrail.Action
		found string
	}{
		{sdk.Before, "hello", guardrail.Pass, "[]"},
		{sdk.Before, "inject", guardrail.Block, "[prompt_injection]"},
		{sdk.Before, "ask Bob", guardrail.Rewrite, "[pii_entity]"},
		{sdk.After, "inject", guardrail.Pass, "[]"},
	} {
		v, err := g.Check(t.Context(), servicetest.Check(tt.hook, "first", tt.text))
		if err != nil || v.Action != tt.want || fmt.Sprint(v.Findings) != tt.found {
			t.Errorf("%s %q: got %+v, %v", tt.hook, tt.text, v, err)
		}
		if tt.want == guardrail.Rewrite && (len(v.Replacements) != 1 || v.Replacements[0].Index != 1 || v.Replacements[0].Text != "ask <PERSON>") {
			t.Errorf("got %+v", v.Replacements)
		}
	}
}

// More than AI Guard reads at a time is asked about in several requests, and one text that is too long is not judged.
func TestPangea_Long(t *testing.T) {
	t.Parallel()
	g := servicetest.Configured(t, &pangea.Pangea{}, config(servicetest.Start(t, serve(t))))
	long := strings.Repeat("lorem \"ipsum\" ", 1000) // 14,000 bytes, and 16,000 as JSON
	v, err := g.Check(t.Context(), servicetest.Check(sdk.Before, long, "ask Bob", long, "hello", "tell Bob"))
	if err != nil || fmt.Sprint(v.Replacements) != "[{1 ask <PERSON>  0 0} {4 tell <PERSON>  0 0}]" {
		t.Errorf("got %+v, %v", v.Replacements, err)
	}
	if v, err = g.Check(t.Context(), servicetest.Check(sdk.Before, long, long, "inject")); err != nil || v.Action != guardrail.Block || fmt.Sprint(v.Findings) != "[prompt_injection]" {
		t.Errorf("got %+v, %v", v, err)
	}
	if v, err = g.Check(t.Context(), servicetest.Check(sdk.Before, "hello", long+long)); err == nil || !strings.Contains(err.Error(), "20480 bytes") {
		t.Errorf("a text that is too long: got %+v, %v", v, err)
	}
}

func TestPangea_Service(t *testing.T) {
	t.Parallel()
	servicetest.Run(t, servicetest.Case{
		Make: func() sdk.Guardrail { return &pangea.Pangea{} }, Config: config, Serve: serve(t), Keyed: true,
		Empty: []string{`{"status":"Accepted","result":{"blocked":false}}`, `{"status":"Success","result":{}}`, `{"status":"Success","result":{"blocked":false,"transformed":true}}`},
	})
}
