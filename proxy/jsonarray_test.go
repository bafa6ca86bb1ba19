package proxy_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/proxy"
	"github.com/conclave-llm/conclave/proxy/upstream"
	"github.com/conclave-llm/conclave/resource"
)

// askArray asks a provider at the address for a stream in Google's dialect without alt=sse.
func askArray(t *testing.T, name, address string) (w *httptest.ResponseRecorder, list []map[string]json.RawMessage) {
	t.Helper()
	r := newRig(t)
	up := upstream.New(upstream.Config{})
	t.Cleanup(up.Close)
	r.cfg.Upstream = proxy.FromClient(up)
	r.tables.Deployments = []*resource.Deployment{{
		Meta: resource.Meta{ID: "dep_1"}, Name: "d1", ModelID: "model_demo", Provider: name, Upstream: "up-1", APIBase: address,
		APIKey: &resource.Sealed{},
	}}
	w = r.do("POST", "/v1beta/models/demo:streamGenerateContent", `{"contents":[{"role":"user","parts":[{"text":"say hello"}]}]}`)
	if err := json.Unmarshal(w.Body.Bytes(), &list); err != nil && w.Code == 200 {
		t.Fatalf("no array: %v\n%s", err, w.Body)
	}
	r.checkBalance()
	return w, list
}

func TestJSONArray(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		provider string
		endpoint llm.Endpoint
		path     string
	}{{"gemini", llm.GenerateContent, "streamGenerateContent"}, {"openai", llm.Chat, "/chat/completions"}} {
		t.Run(tt.provider, func(t *testing.T) {
			t.Parallel()
			w, list := askArray(t, tt.provider, vendor(t, tt.endpoint, tt.path, "text/event-stream", false).URL)
			if typ := w.Header().Get("Content-Type"); typ != "application/json" || len(list) < 2 {
				t.Fatalf("got %q, %s", typ, w.Body)
			}
			if last := list[len(list)-1]; len(last["usageMetadata"]) == 0 || !strings.Contains(string(last["candidates"]), "STOP") {
				t.Errorf("got the last element %s", last)
			}
		})
	}
}

// TestJSONArray_Cut: a stream that breaks ends in an element that says so.
func TestJSONArray_Cut(t *testing.T) {
	t.Parallel()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = w.Write([]byte("data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"hel\"}]}}]}\r\n\r\n"))
	}))
	t.Cleanup(srv.Close)
	_, list := askArray(t, "gemini", srv.URL)
	if len(list) != 2 || !strings.Contains(string(list[1]["error"]), "UNAVAILABLE") {
		t.Errorf("got %s", list)
	}
}

// TestJSONArray_Refused: an error before the stream is no array.
func TestJSONArray_Refused(t *testing.T) {
	t.Parallel()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusBadRequest)
		_, _ = w.Write([]byte(`{"error":{"code":400,"message":"no","status":"INVALID_ARGUMENT"}}`))
	}))
	t.Cleanup(srv.Close)
	if w, _ := askArray(t, "gemini", srv.URL); w.Code != 400 || !strings.HasPrefix(w.Body.String(), `{"error"`) {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
}
