package node_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/node/nodetest"
)

const notesAPI = `{"openapi":"3.1.0","servers":[{"url":"%s/v1"}],"paths":{
 "/notes/{id}":{"get":{"operationId":"readNote","parameters":[{"name":"id","in":"path","schema":{"type":"string"}}]},
  "delete":{"operationId":"deleteNote","parameters":[{"name":"id","in":"path"}]}},
 "/notes":{"post":{"operationId":"addNote","requestBody":{"content":{"application/json":{"schema":{"type":"object","properties":{"text":{"type":"string"}}}}}}}}}}`

// TestMCP_openAPI: the operations of an API are tools.
func TestMCP_openAPI(t *testing.T) {
	t.Parallel()
	var doc string
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/openapi.json" {
			if r.Header.Get("X-Api-Key") != "" {
				t.Error("the document is asked for with the key")
			}
			_, _ = io.WriteString(w, doc)
			return
		}
		b, _ := io.ReadAll(r.Body)
		if strings.HasSuffix(r.URL.Path, "missing") {
			w.WriteHeader(404)
		}
		fmt.Fprintf(w, "%s %s %s %s", r.Method, r.URL.EscapedPath(), b, r.Header.Get("X-Api-Key"))
	}))
	t.Cleanup(api.Close)
	doc = fmt.Sprintf(notesAPI, api.URL)
	c := nodetest.Start(t, 1)
	n := c.Nodes[0]
	make := func(in fields, want int) {
		t.Helper()
		if status, body := n.Do("POST", "/api/v1/mcp/servers", nodetest.MasterKey, in); status != want {
			t.Fatalf("got %d %s", status, body)
		}
	}
	status, body := n.Do("POST", "/api/v1/blobs?kind=openapi&name=notes", nodetest.MasterKey, doc)
	var blob struct{ ID string }
	if err := json.Unmarshal(body, &blob); err != nil || status >= 300 {
		t.Fatalf("got %d %s", status, body)
	}
	make(fields{"name": "notes", "spec": blob.ID, "auth": "api_key", "secrets": fields{"auth": "api-canary"}, "disallowed_tools": []string{"delete*"}}, 201)
	make(fields{"name": "fetched", "spec": api.URL + "/openapi.json", "url": api.URL + "/v2"}, 201)
	make(fields{"name": "nowhere", "spec": api.URL + "/openapi.json"}, 400)
	make(fields{"name": "both", "spec": blob.ID, "command": "/bin/true"}, 400)
	k := c.Key(0, fields{"name": "k", "objects": fields{"mcp_servers": []string{"notes", "fetched"}}}).Secret
	c.Sync(n.Admin())
	s := mcpSession(t, n.URL+"/mcp", k, nil)
	if got := toolNames(t, s); got != "fetched-addNote fetched-deleteNote fetched-readNote notes-addNote notes-readNote" {
		t.Errorf("got %q", got)
	}
	for _, tt := range []struct {
		tool string
		args any
		want string
	}{
		{"notes-readNote", fields{"id": "a/../b"}, "GET /v1/notes/a%2F..%2Fb  api-canary"},
		{"notes-addNote", fields{"body": fields{"text": "hi"}}, `POST /v1/notes {\"text\":\"hi\"} api-canary`},
		{"fetched-deleteNote", fields{"id": "7"}, "DELETE /v2/notes/7  "},
		{"notes-readNote", fields{"id": "missing"}, "status 404"},
		{"notes-readNote", fields{"id": ".."}, "a part of the path"},
		{"notes-readNote", fields{}, "missing"},
	} {
		if got, err := callText(t, s, tt.tool, tt.args); err != nil || !strings.Contains(got, tt.want) {
			t.Errorf("%s: got %s, %v, want %s", tt.tool, got, err, tt.want)
		}
	}
	if got, err := callText(t, s, "notes-deleteNote", fields{"id": "7"}); err == nil {
		t.Errorf("a tool that the server's record forbids: got %s", got)
	}
}
