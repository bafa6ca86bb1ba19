package proxy_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

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
