package proxy_test

import (
	"net/http"
	"strings"
	"testing"
)

// Azure's clients are answered by the gateway itself at their paths, and all others in OpenAI's own words.
func TestAzure_Paths(t *testing.T) {
	t.Parallel()
	const relayed = `"object":"x"`
	m := newMakers(t, nil)
	upload, kind := uploadOf(t, "purpose", "batch")
	for _, tt := range []struct {
		name, method, path, body string
		own                      string // a part of the gateway's answer; "": it is relayed
		sent                     string // to the provider; "": nothing
	}{
		{"models", "GET", "/openai/models", "", `"id":"demo"`, ""},
		{"models of the newer API", "GET", "/openai/v1/models", "", `"id":"demo"`, ""},
		{"a model", "GET", "/openai/models/demo", "", `"id":"demo"`, ""},
		{"files", "GET", "/openai/files", "", `"object":"list"`, ""},
		{"a file", "GET", "/openai/files/file-none", "", `"error"`, ""},
		{"an upload", "POST", "/openai/v1/files", upload, `"object":"file"`, ""},
		{"batches", "GET", "/openai/batches", "", `"object":"list"`, ""},
		{"files of a provider", "GET", "/openai/files?custom_llm_provider=openai", "", "", "GET /v1/files "},
		{"a file of a provider", "GET", "/openai/v1/files/file-1?custom_llm_provider=openai", "", "", "GET /v1/files/file-1 "},
		{"a response", "POST", "/openai/responses", `{"model":"demo","input":"hi"}`, `"id":"vs_made12345responses"`, `POST /v1/responses {"model":"gpt-x","input":"hi"}`},
		{"a response that is kept", "GET", "/openai/responses/resp_1", "", `response_not_found`, ""},
		{"what the gateway has not", "GET", "/openai/vector_stores", "", "", "GET /v1/vector_stores?api-version=2025-04-01-preview "},
	} {
		for _, azure := range []bool{true, false} {
			asked, path := len(m.asked), tt.path
			if azure {
				path += map[bool]string{true: "&", false: "?"}[strings.Contains(path, "?")] + "api-version=2025-04-01-preview"
			}
			res, got := m.send(t.Context(), tt.method, path, tt.body, func(r *http.Request) { //nolint:bodyclose // send closes it
				if tt.body == upload {
					r.Header.Set("Content-Type", kind)
				}
			})
			sent := ""
			if len(m.asked) > asked {
				sent = m.last()
			}
			switch {
			case !azure && (res.StatusCode != 200 || !strings.Contains(got, relayed) || sent == ""):
				t.Errorf("%s, of another client: got %d %s, sent %q", tt.name, res.StatusCode, got, sent)
			case azure && tt.own != "" && !strings.Contains(got, tt.own), azure && tt.own == "" && !strings.Contains(got, relayed), azure && sent != tt.sent:
				t.Errorf("%s: got %d %s, sent %q, want %q", tt.name, res.StatusCode, got, sent, tt.sent)
			}
		}
	}
}
