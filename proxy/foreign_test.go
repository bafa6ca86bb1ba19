package proxy_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/llm"
)

// TestForeign: what another vendor has sealed in a conversation does not reach a vendor of the client's own dialect, and all
// else does. A conversation without any is sent as it is, byte for byte.
func TestForeign(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		provider string
		endpoint llm.Endpoint
		path     string
		body     string
		lacks    []string // of what is sent; nil: the body is sent as it is
	}{
		{
			"openai", llm.Responses, "/v1/responses",
			`{"model":"demo","store":false,"top_k_unknown":3,"input":[{"role":"user","content":"say hello"},{"type":"reasoning","id":"rs_1","summary":[],"encrypted_content":"conclave-signature:abc"},` +
				`{"type":"reasoning","id":"rs_2","summary":[],"encrypted_content":"conclave-data:def"},{"type":"message","role":"assistant","content":[{"type":"output_text","text":"kept words"}]},{"role":"user","content":"top_k_unknown on"}]}`,
			[]string{"conclave-", "abc", "def"},
		},
		{
			"openai", llm.Responses, "/v1/responses",
			`{"model":"up-1", "store":false, "input":[{"role":"user","content":"say hello kept words top_k_unknown"},{"type":"reasoning","id":"rs_1","summary":[],"encrypted_content":"gAAAAabc"}]}`, nil,
		},
		{
			"anthropic", llm.Messages, "/v1/messages",
			`{"model":"demo","max_tokens":9,"top_k_unknown":3,"messages":[{"role":"user","content":"say hello"},{"role":"assistant","content":[{"type":"thinking","thinking":"t1","signature":"google:xyz"},` +
				`{"type":"thinking","thinking":"t2","signature":""},{"type":"redacted_thinking","data":"gAAAAsealed"},{"type":"text","text":"kept words"}]},{"role":"user","content":"on"}]}`,
			[]string{"google:", "gAAAA", "t1", "t2", "redacted"},
		},
		{
			"anthropic", llm.Messages, "/v1/messages",
			`{"model":"demo","max_tokens":9,"top_k_unknown":3,"messages":[{"role":"user","content":"say hello"},{"role":"assistant","content":[{"type":"text","text":"kept words","citations":[` +
				`{"type":"web_search_result_location","cited_text":"","encrypted_index": "","title":"A","url":"https://foreign.example"}]}]},{"role":"user","content":"on"}]}`,
			[]string{"encrypted_index", "foreign.example", "citations"},
		},
		{
			"gemini", llm.GenerateContent, "/v1beta/models/demo:generateContent",
			`{"contents":[{"role":"user","parts":[{"text":"say hello"}]},{"role":"model","parts":[{"text":"kept words","thoughtSignature":"Y29uY2xhdmUtc2lnbmF0dXJlOng="}]},{"role":"user","parts":[{"text":"top_k_unknown"}]}]}`,
			[]string{"Y29uY2xhdmU"},
		},
	} {
		t.Run(tt.provider+tt.path, func(t *testing.T) {
			t.Parallel()
			var sent string
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				b, _ := io.ReadAll(r.Body)
				sent = string(b)
				w.WriteHeader(http.StatusBadRequest)
			}))
			t.Cleanup(srv.Close)
			ask(t, newRig(t), tt.provider, client{endpoint: tt.endpoint, path: tt.path, body: strings.Replace(tt.body, `"up-1"`, `"demo"`, 1)}, srv, false)
			for _, word := range []string{"say hello", "kept words", "top_k_unknown"} {
				if !strings.Contains(sent, word) {
					t.Errorf("%q is not sent: %s", word, sent)
				}
			}
			for _, word := range tt.lacks {
				if strings.Contains(sent, word) {
					t.Errorf("%q is sent: %s", word, sent)
				}
			}
			if tt.lacks == nil && sent != tt.body {
				t.Errorf("got %s\nwant %s", sent, tt.body)
			}
		})
	}
}
