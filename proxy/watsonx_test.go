package proxy_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/resource"
)

// watsonx is a stand-in of IBM's, strict as it is: the model and the project stand in the body, the
// stream in the path.
func watsonx(t *testing.T, sent *map[string]json.RawMessage) *httptest.Server {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		raw, _ := io.ReadAll(r.Body)
		*sent = nil
		err := json.Unmarshal(raw, sent)
		_, model := (*sent)["model"]
		_, stream := (*sent)["stream"]
		switch {
		case err != nil || model || stream || string((*sent)["model_id"]) != `"ibm/granite"` || string((*sent)["project_id"]) != `"p-1"` || r.URL.Query().Get("version") == "":
			w.WriteHeader(http.StatusBadRequest)
			_, _ = io.WriteString(w, `{"errors":[{"code":"json_validation_error","message":"Json document validation error","more_info":"https://x"}],"trace":"t","status_code":400}`)
		case r.URL.Path == "/ml/v1/text/chat":
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, `{"id":"cmpl-1","model_id":"ibm/granite","created":1700000000,"created_at":"2025-01-01T00:00:00Z","choices":[{"index":0,"message":{"role":"assistant","content":"hello there"},"finish_reason":"stop"}],"usage":{"completion_tokens":7,"prompt_tokens":11,"total_tokens":18}}`)
		case r.URL.Path == "/ml/v1/text/chat_stream":
			w.Header().Set("Content-Type", "text/event-stream")
			for _, data := range []string{
				`{"id":"cmpl-1","model_id":"ibm/granite","choices":[{"index":0,"finish_reason":null,"delta":{"role":"assistant","content":""}}],"created":1700000000}`,
				`{"id":"cmpl-1","model_id":"ibm/granite","choices":[{"index":0,"finish_reason":null,"delta":{"content":"hello "}}],"created":1700000000}`,
				`{"id":"cmpl-1","model_id":"ibm/granite","choices":[{"index":0,"finish_reason":"stop","delta":{"content":"there"}}],"created":1700000000}`,
				`{"id":"cmpl-1","model_id":"ibm/granite","choices":[],"created":1700000000,"usage":{"completion_tokens":7,"prompt_tokens":11,"total_tokens":18}}`,
			} {
				_, _ = io.WriteString(w, "id: 1\nevent: message\ndata: "+data+"\n\n")
			}
		}
	}))
	t.Cleanup(srv.Close)
	return srv
}

// TestWatsonx asks watsonx in clients' dialects, whole and streamed.
func TestWatsonx(t *testing.T) {
	t.Parallel()
	for _, cl := range clients {
		for _, stream := range []bool{false, true} {
			var sent map[string]json.RawMessage
			srv := watsonx(t, &sent)
			r := (&embedder{provider: "watsonx", model: "ibm/granite"}).rigFor(t, srv.URL, map[string]string{"project_id": "p-1"})
			r.tables.Deployments[0].Secrets = map[string]*resource.Sealed{"watsonx_token": {}}
			path, body := cl.path, cl.body
			if stream {
				body = strings.Replace(body, "%s", `,"stream":true`, 1)
				if cl.streamPath != "" {
					path = cl.streamPath
				}
			}
			w := r.do("POST", path, strings.Replace(body, "%s", "", 1))
			if got := unframed(w.Body.String()); w.Code != 200 || !strings.Contains(got, "hello") || !strings.Contains(got, "there") || stream && !strings.Contains(got, cl.end) {
				t.Fatalf("%s: got %d %s", cl.endpoint, w.Code, got)
			}
			r.checkBalance()
			if u := r.journal.settled[0].Usage; u.Input != 11 || u.Output != 7 {
				t.Errorf("%s, stream %v: usage %+v", cl.endpoint, stream, u)
			}
		}
	}
}

// TestWatsonx_Tools: the choice of tools has a name of its own there; a project must be named; errors
// are IBM's in OpenAI's words.
func TestWatsonx_Tools(t *testing.T) {
	t.Parallel()
	var sent map[string]json.RawMessage
	srv := watsonx(t, &sent)
	r := (&embedder{provider: "watsonx", model: "ibm/granite"}).rigFor(t, srv.URL, map[string]string{"project_id": "p-1"})
	r.tables.Deployments[0].Secrets = map[string]*resource.Sealed{"watsonx_token": {}}
	const tools = `"tools":[{"type":"function","function":{"name":"f","parameters":{"type":"object"}}}],"tool_choice":"required"`
	w := r.do("POST", "/v1/chat/completions", `{"model":"demo","messages":[{"role":"user","content":"hi"}],`+tools+`}`)
	if w.Code != 200 || string(sent["tool_choice_option"]) != `"required"` || sent["tool_choice"] != nil || sent["tools"] == nil {
		t.Errorf("got %d %s, sent %s", w.Code, w.Body, sent)
	}
	r = (&embedder{provider: "watsonx", model: "ibm/other"}).rigFor(t, srv.URL, map[string]string{"project_id": "p-1"})
	r.tables.Deployments[0].Secrets = map[string]*resource.Sealed{"watsonx_token": {}}
	w = r.do("POST", "/v1/chat/completions", `{"model":"demo","messages":[{"role":"user","content":"hi"}]}`)
	if w.Code != 400 || codeOf(t, w.Body.String()) != "json_validation_error" || !strings.Contains(w.Body.String(), "Json document validation error") {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
	r = (&embedder{provider: "watsonx", model: "ibm/granite"}).rigFor(t, srv.URL, nil)
	w = r.do("POST", "/v1/chat/completions", `{"model":"demo","messages":[{"role":"user","content":"hi"}]}`)
	if w.Code != 400 || !strings.Contains(w.Body.String(), "project_id") {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
}
