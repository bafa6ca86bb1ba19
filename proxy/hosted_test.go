package proxy_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/proxy"
	"github.com/conclave-llm/conclave/proxy/upstream"
	"github.com/conclave-llm/conclave/resource"
)

// TestHosted: a maker's dialect at another host: the model stands in the path alone, and the body
// has what the host wants, whether the client's bytes are relayed or said in the dialect.
func TestHosted(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, path, body string }{
		{"relayed", "/v1/messages", `{"model":"demo","max_tokens":64,"messages":[{"role":"user","content":"say hello"}]}`},
		{"said", "/v1/chat/completions", `{"model":"demo","max_tokens":64,"messages":[{"role":"user","content":"say hello"}]}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var path string
			var sent map[string]json.RawMessage
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				path = r.URL.Path
				raw, _ := io.ReadAll(r.Body)
				if err := json.Unmarshal(raw, &sent); err != nil {
					t.Errorf("got %s: %v", raw, err)
				}
				w.Header().Set("Content-Type", "application/json")
				_, _ = io.WriteString(w, `{"id":"msg_1","type":"message","role":"assistant","model":"claude-x","content":[{"type":"text","text":"hello there"}],"stop_reason":"end_turn","usage":{"input_tokens":11,"output_tokens":7}}`)
			}))
			t.Cleanup(srv.Close)
			r := newRig(t)
			up := upstream.New(upstream.Config{})
			t.Cleanup(up.Close)
			r.cfg.Upstream = proxy.FromClient(up)
			r.tables.Deployments = []*resource.Deployment{{
				Meta: resource.Meta{ID: "dep_1"}, Name: "d1", ModelID: "model_demo", Provider: "vertex_ai", Upstream: "claude-x", APIBase: srv.URL,
				APIKey: &resource.Sealed{},
			}}
			w := r.do("POST", tt.path, tt.body)
			if w.Code != 200 || !strings.Contains(w.Body.String(), "hello there") {
				t.Fatalf("got %d %s", w.Code, w.Body)
			}
			if _, has := sent["model"]; has || path != "/publishers/anthropic/models/claude-x:rawPredict" || string(sent["anthropic_version"]) != `"vertex-2023-10-16"` {
				t.Errorf("the provider got %s at %s", sent, path)
			}
		})
	}
}

// TestHosted_Invoke: Anthropic's models at Bedrock, asked by InvokeModel: neither the model nor the
// stream stands in the body.
func TestHosted_Invoke(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, path, body, want string }{
		{"relayed", "/v1/messages", `{"model":"demo","max_tokens":64,"messages":[{"role":"user","content":"hi"}]}`, "/model/eu.anthropic.claude-x-v1%3A0/invoke"},
		{"relayed stream", "/v1/messages", `{"model":"demo","stream":true,"max_tokens":64,"messages":[{"role":"user","content":"hi"}]}`, "/model/eu.anthropic.claude-x-v1%3A0/invoke-with-response-stream"},
		{"said", "/v1/chat/completions", `{"model":"demo","max_tokens":64,"messages":[{"role":"user","content":"hi"}]}`, "/model/eu.anthropic.claude-x-v1%3A0/invoke"},
		{"said stream", "/v1/chat/completions", `{"model":"demo","stream":true,"max_tokens":64,"messages":[{"role":"user","content":"hi"}]}`, "/model/eu.anthropic.claude-x-v1%3A0/invoke-with-response-stream"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var path string
			var sent map[string]json.RawMessage
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				path = r.URL.EscapedPath()
				raw, _ := io.ReadAll(r.Body)
				if err := json.Unmarshal(raw, &sent); err != nil {
					t.Errorf("got %s: %v", raw, err)
				}
				w.Header().Set("Content-Type", "application/json")
				_, _ = io.WriteString(w, `{"id":"msg_1","type":"message","role":"assistant","model":"claude-x","content":[{"type":"text","text":"hello there"}],"stop_reason":"end_turn","usage":{"input_tokens":11,"output_tokens":7}}`)
			}))
			t.Cleanup(srv.Close)
			r := (&embedder{provider: "bedrock", model: "invoke/eu.anthropic.claude-x-v1:0"}).rigFor(t, srv.URL, nil)
			w := r.do("POST", tt.path, tt.body)
			if w.Code != 200 || !strings.Contains(w.Body.String(), "hello there") {
				t.Fatalf("got %d %s", w.Code, w.Body)
			}
			_, model := sent["model"]
			_, stream := sent["stream"]
			if model || stream || path != tt.want || string(sent["anthropic_version"]) != `"bedrock-2023-05-31"` {
				t.Errorf("the provider got %s at %s", sent, path)
			}
		})
	}
}
