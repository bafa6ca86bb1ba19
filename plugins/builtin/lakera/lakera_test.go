package lakera_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/conclave-llm/conclave/plugins/builtin/lakera"
	"github.com/conclave-llm/conclave/plugins/builtin/service/servicetest"
	"github.com/conclave-llm/conclave/plugins/guardrail"
	"github.com/conclave-llm/conclave/plugins/sdk"
)

// serve is a stand-in for Lakera Guard: "attack" is a prompt attack, "me@example.com" personal.
func serve(t *testing.T) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var in struct {
			Messages []struct {
				Role    string `json:"role"`
				Content string `json:"content"`
			} `json:"messages"`
			Breakdown bool   `json:"breakdown"`
			Payload   bool   `json:"payload"`
			ProjectID string `json:"project_id"`
		}
		servicetest.Read(t, r, &in)
		if r.URL.Path != "/v2/guard" || r.Header.Get("Authorization") != "Bearer "+servicetest.Key || in.ProjectID != "p-1" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		attack, email := false, false
		payload := []any{}
		for i, m := range in.Messages {
			attack = attack || strings.Contains(m.Content, "attack")
			if at := strings.Index(m.Content, "me@example.com"); at >= 0 {
				email = true
				start := utf8.RuneCountInString(m.Content[:at])
				payload = append(payload, map[string]any{"start": start, "end": start + 14, "text": "me@example.com", "detector_type": "pii/email", "labels": []string{}, "message_id": i})
			}
		}
		_ = json.NewEncoder(w).Encode(map[string]any{
			"flagged": attack || email, "payload": payload, "metadata": map[string]string{"request_uuid": "1"},
			"breakdown": []any{
				map[string]any{"project_id": "p-1", "policy_id": "x", "detector_id": "a", "detector_type": "prompt_attack", "detected": attack, "message_id": 0},
				map[string]any{"project_id": "p-1", "policy_id": "x", "detector_id": "b", "detector_type": "pii/email", "detected": email, "message_id": 0},
			},
		})
	}
}

func config(base, more string) string {
	return fmt.Sprintf(`{"api_base":%q,"api_key":%q,"project_id":"p-1"%s}`, base, servicetest.Key, more)
}

func TestLakera(t *testing.T) {
	t.Parallel()
	base := servicetest.Start(t, serve(t))
	for _, tt := range []struct {
		config, text, left string
		want               guardrail.Action
		found              string
	}{
		{"", "hello", "", guardrail.Pass, "[]"},
		{"", "an attack", "", guardrail.Block, "[prompt_attack]"},
		{"", "ä: me@example.com, me", "ä: [MASKED EMAIL], me", guardrail.Rewrite, "[pii/email]"},
		{`,"mask":false`, "me@example.com", "", guardrail.Block, "[pii/email]"},
		{"", "attack me@example.com", "", guardrail.Block, "[prompt_attack pii/email]"},
		{`,"action":"flag"`, "me@example.com", "", guardrail.Pass, "[pii/email]"},
	} {
		g := servicetest.Configured(t, &lakera.Lakera{}, config(base, tt.config))
		v, err := g.Check(t.Context(), servicetest.Check(sdk.Before, "first", tt.text))
		left := ""
		if len(v.Replacements) == 1 && v.Replacements[0].Index == 1 {
			left = v.Replacements[0].Text
		}
		if err != nil || v.Action != tt.want || left != tt.left || fmt.Sprint(v.Findings) != tt.found {
			t.Errorf("%q: got %v %q, %v, %v, want %v %q %s", tt.text, v.Action, left, v.Findings, err, tt.want, tt.left, tt.found)
		}
	}
}

// Places that are none are not masked: the text is blocked.
func TestLakera_Places(t *testing.T) {
	t.Parallel()
	const breakdown = `[{"detector_type":"pii/email","detected":true},{"detector_type":"pii/name","detected":%t}]`
	for name, want := range map[bool]guardrail.Action{false: guardrail.Rewrite, true: guardrail.Block} { // the name has no place
		base := servicetest.Start(t, func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprintf(w, `{"flagged":true,"breakdown":%s,"payload":[{"start":0,"end":4,"detector_type":"pii/email","message_id":0}]}`, fmt.Sprintf(breakdown, name))
		})
		v, err := servicetest.Configured(t, &lakera.Lakera{}, config(base, "")).Check(t.Context(), servicetest.Check(sdk.After, "me@x of Bob"))
		if err != nil || v.Action != want {
			t.Errorf("with a name %t: got %v, %v, want %v", name, v.Action, err, want)
		}
	}
	for _, payload := range []string{`[]`, `[{"start":-1,"end":2,"detector_type":"pii/email"}]`, `[{"start":0,"end":99,"detector_type":"pii/email"}]`, `[{"start":0,"end":1,"detector_type":"pii/email","message_id":7}]`} {
		base := servicetest.Start(t, func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprintf(w, `{"flagged":true,"breakdown":[{"detector_type":"pii/email","detected":true}],"payload":%s}`, payload)
		})
		v, err := servicetest.Configured(t, &lakera.Lakera{}, config(base, "")).Check(t.Context(), servicetest.Check(sdk.After, "text"))
		if err != nil || v.Action != guardrail.Block {
			t.Errorf("%s: got %v, %v", payload, v.Action, err)
		}
	}
}

func TestLakera_Service(t *testing.T) {
	t.Parallel()
	servicetest.Run(t, servicetest.Case{
		Make: func() sdk.Guardrail { return &lakera.Lakera{} }, Config: func(base string) string { return config(base, "") }, Serve: serve(t), Keyed: true,
		Empty: []string{`{"breakdown":[]}`},
	})
}
