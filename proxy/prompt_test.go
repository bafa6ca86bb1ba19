package proxy_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/config/dotprompt"
	"github.com/conclave-llm/conclave/proxy"
	"github.com/conclave-llm/conclave/proxy/upstream"
	"github.com/conclave-llm/conclave/resource"
)

// TestPrompt: a stored prompt is in the request before anything decides about it.
func TestPrompt(t *testing.T) {
	t.Parallel()
	var sent string
	fresh := func() *rig {
		r := newRig(t)
		r.tables.Prompts = []*resource.Prompt{
			{Name: "p", Last: 1, Versions: []resource.PromptVersion{{
				Version: 1, Model: "other", Parameters: json.RawMessage(`{"max_tokens":7}`), Messages: []resource.PromptMessage{{Role: "system", Content: "Hi {{who}}"}},
			}}},
			{Name: "forbidden", Last: 1, Versions: []resource.PromptVersion{{Version: 1, Model: "secret", Messages: []resource.PromptMessage{{Role: "user", Content: "x"}}}}},
		}
		answer := r.upstream
		r.upstream = func(ctx context.Context, a *upstream.Attempt) (proxy.Answer, error) {
			sent = string(a.Body)
			return answer(ctx, a)
		}
		return r
	}
	r := fresh()
	w := r.do("POST", "/v1/chat/completions", `{"model":"demo","prompt_id":"p","prompt_variables":{"who":"you"},"messages":[{"role":"user","content":"q"}]}`)
	if w.Code != 200 || sent != `{"model":"other","messages":[{"role":"system","content":"Hi you"},{"role":"user","content":"q"}],"max_tokens":7}` {
		t.Errorf("got %d %s, sent %s", w.Code, w.Body, sent)
	}
	if got := r.journal.settled[0]; got.Prompt != "p" || got.PromptVersion != 1 || got.Model != "other" {
		t.Errorf("recorded %q %d of model %q", got.Prompt, got.PromptVersion, got.Model)
	}
	if got := r.journal.reserved[0]; got.Model != "other" {
		t.Errorf("reserved for the model %q", got.Model)
	}
	r.checkBalance()
	for _, tt := range []struct {
		name, path, body string
		status           int
		want             string
	}{
		{"a variable is missing", "/v1/chat/completions", `{"model":"demo","prompt_id":"p"}`, 400, "prompt_variables.who"},
		{"the prompt's model is forbidden", "/v1/chat/completions", `{"model":"demo","prompt_id":"forbidden"}`, 403, "model_access_denied"},
		{"none of the name", "/v1/messages", `{"model":"demo","max_tokens":5,"prompt_id":"no","messages":[{"role":"user","content":"q"}]}`, 404, "no"},
		{"an endpoint without prompts", "/v1/embeddings", `{"model":"demo","prompt_id":"p","input":"x"}`, 400, "prompt_id"},
		{"the field twice", "/v1/chat/completions", `{"model":"demo","prompt_id":"p","prompt_id":"p","messages":[]}`, 400, "duplicate_field"},
	} {
		if w := fresh().do("POST", tt.path, tt.body); w.Code != tt.status || !strings.Contains(w.Body.String(), tt.want) {
			t.Errorf("%s: got %d %s", tt.name, w.Code, w.Body)
		}
	}
	r = fresh()
	r.keys[resource.HashSecret(goodKey)].Prompts = []string{"q"}
	if w := r.do("POST", "/v1/chat/completions", `{"model":"demo","prompt_id":"p","prompt_variables":{"who":"you"}}`); w.Code != 403 || !strings.Contains(w.Body.String(), "prompt_not_allowed") {
		t.Errorf("a key of other prompts: got %d %s", w.Code, w.Body)
	}
	w = fresh().do("POST", "/utils/transform_request", `{"call_type":"completion","request_body":{"model":"demo","prompt_id":"p","prompt_variables":{"who":"you"}}}`)
	if w.Code != 200 || !strings.Contains(w.Body.String(), "Hi you") {
		t.Errorf("what would be sent: got %d %s", w.Code, w.Body)
	}
}

// TestPrompt_Trial: the text of a prompt that is not stored is asked of its model, within the key's rights.
func TestPrompt_Trial(t *testing.T) {
	t.Parallel()
	var sent string
	fresh := func() *rig {
		r := newRig(t)
		r.cfg.ParsePrompt = dotprompt.Parse
		answer := r.upstream
		r.upstream = func(ctx context.Context, a *upstream.Attempt) (proxy.Answer, error) {
			sent = string(a.Body)
			return answer(ctx, a)
		}
		return r
	}
	file := func(model string) string {
		return quoted(t, "---\nmodel: "+model+"\ntemperature: 0.5\ninput:\n  default:\n    tone: kind\n---\nSystem: Be {{tone}}.\nUser: Hi {{who}}")
	}
	r := fresh()
	w := r.do("POST", "/prompts/test", `{"dotprompt_content":`+file("other")+`,"prompt_variables":{"who":"you"},"conversation_history":[{"role":"assistant","content":"a"}]}`)
	want := `{"messages":[{"role":"system","content":"Be kind."},{"role":"user","content":"Hi you"},{"role":"assistant","content":"a"}],"temperature":0.5,"model":"other","stream":true,"stream_options":{"include_usage":true}}`
	if w.Code != 200 || sent != want || !strings.Contains(w.Body.String(), "data: [DONE]") {
		t.Errorf("got %d %s, sent %s", w.Code, w.Body, sent)
	}
	r.checkBalance()
	if w := fresh().do("POST", "/prompts/test", `{"dotprompt_content":`+file("other")+`,"prompt_variables":{"who":"you"},"stream":false}`); w.Code != 200 || w.Body.String() != answerBody {
		t.Errorf("whole: got %d %s", w.Code, w.Body)
	}
	for _, tt := range []struct {
		name, body string
		status     int
		want       string
	}{
		{"a model that the key may not use", `{"dotprompt_content":` + file("secret") + `,"prompt_variables":{"who":"you"}}`, 403, "model_access_denied"},
		{"a variable is missing", `{"dotprompt_content":` + file("other") + `}`, 400, "prompt_variables.who"},
		{"no prompt", `{"dotprompt_content":"---\nmodel: [\n---\nx","model":"demo"}`, 400, "dotprompt_content"},
		{"not a text", `{"dotprompt_content":{},"model":"demo"}`, 400, "dotprompt_content"},
		{"variables that are none", `{"dotprompt_content":` + file("other") + `,"prompt_variables":[]}`, 400, "prompt_variables"},
	} {
		if w := fresh().do("POST", "/prompts/test", tt.body); w.Code != tt.status || !strings.Contains(w.Body.String(), tt.want) {
			t.Errorf("%s: got %d %s", tt.name, w.Code, w.Body)
		}
	}
}
