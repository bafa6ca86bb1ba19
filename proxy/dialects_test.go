package proxy_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/chat"
	"github.com/conclave-llm/conclave/provider"
	"github.com/conclave-llm/conclave/proxy"
	"github.com/conclave-llm/conclave/proxy/upstream"
	"github.com/conclave-llm/conclave/resource"
)

// client is how a request of a dialect is sent, and what tells its regular end.
type client struct {
	endpoint   llm.Endpoint
	path       string
	streamPath string // "": path, with "stream" in the body
	body       string // "%s" is where "stream" stands
	end        string // of a stream
}

var clients = []client{
	{endpoint: llm.Chat, path: "/v1/chat/completions", body: `{"model":"demo","messages":[{"role":"user","content":"say hello"}]%s}`, end: "data: [DONE]"},
	{endpoint: llm.Completions, path: "/v1/completions", body: `{"model":"demo","prompt":"say hello"%s}`, end: "data: [DONE]"},
	{endpoint: llm.Responses, path: "/v1/responses", body: `{"model":"demo","input":"say hello","store":false%s}`, end: "response.completed"},
	{endpoint: llm.Messages, path: "/v1/messages", body: `{"model":"demo","max_tokens":64,"messages":[{"role":"user","content":"say hello"}]%s}`, end: "message_stop"},
	{
		endpoint: llm.GenerateContent, path: "/v1beta/models/demo:generateContent", streamPath: "/v1beta/models/demo:streamGenerateContent?alt=sse",
		body: `{"contents":[{"role":"user","parts":[{"text":"say hello"}]}]}`, end: `"finishReason"`,
	},
	{
		endpoint: llm.Converse, path: "/model/demo/converse", streamPath: "/model/demo/converse-stream",
		body: `{"messages":[{"role":"user","content":[{"text":"say hello"}]}]}`, end: "messageStop",
	},
}

// servers are providers, each with the path by which its dialect is known.
var servers = []struct {
	provider string
	endpoint llm.Endpoint
	path     string
	mime     string // of streams
}{
	{"openai", llm.Chat, "/chat/completions", "text/event-stream"},
	{"text-completion-openai", llm.Completions, "/completions", "text/event-stream"},
	{"anthropic", llm.Messages, "/messages", "text/event-stream"},
	{"gemini", llm.GenerateContent, "enerateContent", "text/event-stream"},
	{"bedrock", llm.Converse, "/converse", "application/vnd.amazon.eventstream"},
}

// said is what every provider answers.
func said() *chat.Response {
	return &chat.Response{
		ID: "res_1", Model: "upstream-model", Created: 1700000000,
		Choices: []chat.Choice{{Parts: []chat.Part{{Type: chat.PartText, Text: "hello there"}}, Finish: chat.FinishStop}},
		Usage:   llm.Usage{Input: 11, Output: 7, Source: llm.UsageProvider},
	}
}

// vendor answers in the dialect of an endpoint, written by its client's half.
func vendor(t *testing.T, e llm.Endpoint, path, mime string) *httptest.Server {
	t.Helper()
	in, ok := provider.InboundOf(e)
	if !ok {
		t.Skipf("%s is not a dialect of clients", e)
	}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if !strings.Contains(r.URL.Path, path) || !strings.Contains(string(body), "say hello") {
			w.WriteHeader(http.StatusTeapot)
			_, _ = io.WriteString(w, `{"error":{"message":"`+r.URL.Path+`"}}`)
			return
		}
		req, err := in.DecodeRequest(body)
		if err != nil {
			t.Errorf("the provider cannot read %s: %v", body, err)
			return
		}
		req.Stream = req.Stream || strings.Contains(strings.ToLower(r.URL.Path), "stream")
		if !req.Stream {
			out, err := in.EncodeResponse(req, said())
			if err != nil {
				t.Error(err)
			}
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write(out)
			return
		}
		w.Header().Set("Content-Type", mime)
		enc := in.NewEncoder(req)
		for _, c := range chat.Chunks(nil, said()) {
			_, _ = w.Write(enc.Encode(nil, &c))
		}
	}))
	t.Cleanup(srv.Close)
	return srv
}

// TestDialects asks every provider in every client's dialect, whole and streamed: the text, the
// usage and the regular end must come through, and the record must know the usage.
func TestDialects(t *testing.T) {
	t.Parallel()
	for _, sv := range servers {
		p, ok := provider.Lookup(sv.provider)
		if !ok {
			t.Errorf("%s is no provider", sv.provider)
			continue
		}
		for _, cl := range clients {
			way, ok := p.Way(cl.endpoint)
			if !ok {
				t.Errorf("%s cannot be asked in %s", sv.provider, cl.endpoint)
				continue
			}
			path := sv.path
			if way != sv.endpoint { // it speaks the client's dialect itself
				path = "/" + way.String()
			}
			for _, stream := range []bool{false, true} {
				name := sv.provider + "/" + cl.endpoint.String()
				if stream {
					name += "/stream"
				}
				t.Run(name, func(t *testing.T) {
					t.Parallel()
					askVendor(t, sv.provider, cl, vendor(t, way, path, sv.mime), stream)
				})
			}
		}
	}
}

func askVendor(t *testing.T, name string, cl client, srv *httptest.Server, stream bool) {
	r := newRig(t)
	up := upstream.New(upstream.Config{})
	t.Cleanup(up.Close)
	r.cfg.Upstream = proxy.FromClient(up)
	r.tables.Deployments = []*resource.Deployment{{
		Meta: resource.Meta{ID: "dep_1"}, Name: "d1", ModelID: "model_demo", Provider: name, Upstream: "up-1", APIBase: srv.URL,
		APIKey: &resource.Sealed{}, Options: map[string]string{"region": "eu-central-1", "aws_access_key_id": "AKIA0"},
		Secrets: map[string]*resource.Sealed{"aws_secret_access_key": {}},
	}}
	path, body := cl.path, cl.body
	if stream {
		body = strings.Replace(body, "%s", `,"stream":true`, 1)
		if cl.streamPath != "" {
			path = cl.streamPath
		}
	}
	w := r.do("POST", path, strings.Replace(body, "%s", "", 1))
	got := w.Body.String()
	if w.Code != 200 || !strings.Contains(got, "hello there") {
		t.Fatalf("got %d %s", w.Code, got)
	}
	if stream && !strings.Contains(got, cl.end) {
		t.Errorf("the stream has no end %q: %s", cl.end, got)
	}
	if ct := w.Header().Get("Content-Type"); stream && cl.endpoint == llm.Converse && ct != "application/vnd.amazon.eventstream" {
		t.Errorf("the stream's type is %q", ct)
	}
	r.checkBalance()
	if u := r.journal.settled[0].Usage; u.Input != 11 || u.Output != 7 || u.Source != llm.UsageProvider {
		t.Errorf("usage %+v", u)
	}
}
