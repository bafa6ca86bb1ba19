package aporia_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/plugins/builtin/aporia"
	"github.com/conclave-llm/conclave/plugins/builtin/service/servicetest"
	"github.com/conclave-llm/conclave/plugins/guardrail"
	"github.com/conclave-llm/conclave/plugins/sdk"
)

// serve is a stand-in for Aporia: it blocks "toxic" and rephrases "rude".
func serve(t *testing.T) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var in struct {
			Messages []struct {
				Role    string `json:"role"`
				Content string `json:"content"`
			} `json:"messages"`
			Response string `json:"response"`
			Target   string `json:"validation_target"`
		}
		servicetest.Read(t, r, &in)
		if r.URL.Path != "/project/validate" || r.Header.Get("X-Aporia-Api-Key") != servicetest.Key || len(in.Messages) == 0 || (in.Target == "response") != (in.Response != "") {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		all := in.Response
		for _, m := range in.Messages {
			all += m.Content
		}
		action := "passthrough"
		switch {
		case strings.Contains(all, "toxic"):
			action = "block"
		case strings.Contains(all, "rude"):
			action = "rephrase"
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"action": action, "revised_response": strings.ReplaceAll(in.Response, "rude", "kind"), "explain_log": []any{}})
	}
}

func config(base string) string {
	if strings.HasPrefix(base, "http://127") {
		base += "/project/"
	}
	return fmt.Sprintf(`{"api_base":%q,"api_key":%q}`, base, servicetest.Key)
}

func TestAporia(t *testing.T) {
	t.Parallel()
	g := servicetest.Configured(t, &aporia.Aporia{}, config(servicetest.Start(t, serve(t))))
	for _, tt := range []struct {
		hook sdk.Hook
		text string
		want guardrail.Action
		left string
	}{
		{sdk.Before, "hello", guardrail.Pass, ""},
		{sdk.Before, "toxic", guardrail.Block, ""},
		{sdk.Before, "rude", guardrail.Block, ""},
		{sdk.After, "hello", guardrail.Pass, ""},
		{sdk.After, "toxic", guardrail.Block, ""},
		{sdk.After, "a rude word", guardrail.Rewrite, "a kind word"},
	} {
		v, err := g.Check(t.Context(), servicetest.Check(tt.hook, "first", tt.text))
		if err != nil || v.Action != tt.want || tt.left != "" && (v.Replacements[0].Index != 1 || v.Replacements[0].Text != tt.left) {
			t.Errorf("%s %q: got %+v, %v", tt.hook, tt.text, v, err)
		}
	}
}

// About an answer Aporia is asked with what was asked, by who said it.
func TestAporia_Asked(t *testing.T) {
	t.Parallel()
	var got struct {
		Messages []struct {
			Role    string `json:"role"`
			Content string `json:"content"`
		} `json:"messages"`
		Response string `json:"response"`
		Target   string `json:"validation_target"`
	}
	g := servicetest.Configured(t, &aporia.Aporia{}, config(servicetest.Start(t, func(w http.ResponseWriter, r *http.Request) {
		servicetest.Read(t, r, &got)
		_, _ = w.Write([]byte(`{"action":"passthrough"}`))
	})))
	c := servicetest.Check(sdk.After, "It is in Paris.")
	c.Request = []sdk.Text{{Role: "system", Text: "Be brief."}, {Role: "user", Text: "Where is it?"}}
	if v, err := g.Check(t.Context(), c); err != nil || v.Action != guardrail.Pass || fmt.Sprint(got) != "{[{system Be brief.} {user Where is it?}] It is in Paris. response}" {
		t.Errorf("got %v, %v, %v", v.Action, err, got)
	}
}

func TestAporia_Service(t *testing.T) {
	t.Parallel()
	servicetest.Run(t, servicetest.Case{
		Make: func() sdk.Guardrail { return &aporia.Aporia{} }, Config: config, Serve: serve(t), Keyed: true,
		Empty: []string{`{"action":"shrug"}`},
	})
}
