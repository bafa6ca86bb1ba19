package proxy_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/chat"
	"github.com/conclave-llm/conclave/plugins/guardrail"
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
	{
		endpoint: llm.Invoke, path: "/model/demo/invoke", streamPath: "/model/demo/invoke-with-response-stream",
		body: `{"anthropic_version":"bedrock-2023-05-31","max_tokens":64,"messages":[{"role":"user","content":"say hello"}]}`, end: "message_stop",
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

// pieces are the chunks of what every provider answers, with the text in three pieces.
func pieces() []chat.Chunk {
	var list []chat.Chunk
	for _, c := range chat.Chunks(nil, said()) {
		if c.Type != chat.ChunkText {
			list = append(list, c)
			continue
		}
		for _, text := range []string{"hel", "lo th", "ere"} {
			c.Text = text
			list = append(list, c)
		}
	}
	return list
}

// vendor answers in the dialect of an endpoint, written by its client's half. wholly answers a
// request for a stream with one body.
func vendor(t *testing.T, e llm.Endpoint, path, mime string, wholly bool) *httptest.Server {
	t.Helper()
	return vendorSaying(t, e, path, mime, wholly, said(), pieces())
}

// vendorSaying is a vendor that answers what it is given, whole or in the chunks.
func vendorSaying(t *testing.T, e llm.Endpoint, path, mime string, wholly bool, answer *chat.Response, chunks []chat.Chunk) *httptest.Server {
	t.Helper()
	in, ok := provider.InboundOf(e)
	if !ok {
		t.Fatalf("%s is not a dialect of clients", e)
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
		if !req.Stream || wholly {
			out, err := in.EncodeResponse(req, answer)
			if err != nil {
				t.Error(err)
			}
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write(out)
			return
		}
		w.Header().Set("Content-Type", mime)
		enc := in.NewEncoder(req)
		for _, c := range chunks {
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
	everyPair(t, func(t *testing.T, name string, cl client, srv *httptest.Server, stream bool) {
		askVendor(t, newRig(t), name, cl, srv, stream)
	})
}

// TestDialects_Guarded asks the same of a guardrail that forbids the answer: no piece of it may
// reach a client in any dialect.
func TestDialects_Guarded(t *testing.T) {
	t.Parallel()
	for _, hook := range []resource.Hook{resource.HookDuring, resource.HookAfter} {
		t.Run(string(hook), func(t *testing.T) {
			t.Parallel()
			everyPair(t, func(t *testing.T, name string, cl client, srv *httptest.Server, stream bool) {
				askGuarded(t, hook, name, cl, srv, stream)
			})
		})
	}
}

// everyPair runs a test for every provider and every client's dialect: whole, streamed, and
// streamed to the client of a provider that does not stream.
func everyPair(t *testing.T, ask func(t *testing.T, name string, cl client, srv *httptest.Server, stream bool)) {
	pairs(t, func(t *testing.T, name string, cl client, way llm.Endpoint, path, mime, mode string) {
		ask(t, name, cl, vendor(t, way, path, mime, mode == "unstreamed"), mode != "whole")
	})
}

// pairs goes through the providers and the dialects in which they are asked: whole, streamed, and streamed
// by a provider that answers whole.
func pairs(t *testing.T, each func(t *testing.T, name string, cl client, way llm.Endpoint, path, mime, mode string)) {
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
			for _, mode := range []string{"whole", "stream", "unstreamed"} {
				if mode == "unstreamed" && way == llm.Invoke {
					continue // Amazon's own words have no such thing
				}
				t.Run(sv.provider+"/"+cl.endpoint.String()+"/"+mode, func(t *testing.T) {
					t.Parallel()
					each(t, sv.provider, cl, way, path, sv.mime, mode)
				})
			}
		}
	}
}

// accumulator is a guardrail that forbids a text, wherever a stream divides it.
type accumulator struct {
	judge
	seen map[string]string
}

func forbids(text string) guardrail.Verdict {
	if strings.Contains(text, "hello there") {
		return guardrail.Verdict{Action: guardrail.Block, Message: "no"}
	}
	return guardrail.Verdict{}
}

func (a *accumulator) OpenStream(context.Context, *guardrail.Info) (guardrail.Stream, error) {
	return &accumulator{seen: map[string]string{}}, nil
}

func (a *accumulator) Chunk(_ context.Context, parts []guardrail.Part) (guardrail.Verdict, error) {
	for _, p := range parts {
		a.seen[p.Channel] += p.Text
		if v := forbids(a.seen[p.Channel]); v.Action != guardrail.Pass {
			return v, nil
		}
	}
	return guardrail.Verdict{}, nil
}

func askGuarded(t *testing.T, hook resource.Hook, name string, cl client, srv *httptest.Server, stream bool) {
	r := newRig(t)
	a := &accumulator{judge: judge{check: func(q *guardrail.Check) guardrail.Verdict {
		for _, x := range q.Texts {
			if v := forbids(x.Text); v.Action != guardrail.Pass {
				return v
			}
		}
		return guardrail.Verdict{}
	}}}
	m := &guardrail.Member{Name: "words", Hooks: []resource.Hook{hook}}
	m.Set(&guardrail.Live{Backend: a, Description: guardrail.Description{Hooks: []resource.Hook{hook}, HoldBack: 16}})
	r.cfg.Guardrails = guardrail.NewChain(nil, nil)
	r.cfg.Guardrails.Replace([]*guardrail.Member{m})
	w := ask(t, r, name, cl, srv, stream)
	told := "guardrail_blocked"
	if cl.endpoint.Vendor() == llm.VendorAmazon && w.Code == 200 { // an exception in a stream has no code
		told = "validationException"
	}
	if got := unframed(w.Body.String()); strings.Contains(got, "hel") || !strings.Contains(got, told) {
		t.Errorf("got %d %q", w.Code, got)
	}
	if rec := r.journal.settled[0]; rec.ErrorCode != "guardrail_blocked" {
		t.Errorf("recorded %+v", rec)
	}
}

// ask sends one request to the provider at srv.
func ask(t *testing.T, r *rig, name string, cl client, srv *httptest.Server, stream bool) *httptest.ResponseRecorder {
	t.Helper()
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
	return r.do("POST", path, strings.Replace(body, "%s", "", 1))
}

func askVendor(t *testing.T, r *rig, name string, cl client, srv *httptest.Server, stream bool) {
	w := ask(t, r, name, cl, srv, stream)
	got := unframed(w.Body.String())
	if w.Code != 200 || !strings.Contains(whole(got), "hello there") {
		t.Fatalf("got %d %s", w.Code, got)
	}
	if stream && !strings.Contains(got, cl.end) {
		t.Errorf("the stream has no end %q: %s", cl.end, got)
	}
	if ct := w.Header().Get("Content-Type"); stream && cl.endpoint.Vendor() == llm.VendorAmazon && ct != "application/vnd.amazon.eventstream" {
		t.Errorf("the stream's type is %q", ct)
	}
	r.checkBalance()
	if u := r.journal.settled[0].Usage; u.Input != 11 || u.Output != 7 || u.Source != llm.UsageProvider {
		t.Errorf("usage %+v", u)
	}
}

// unframed is an answer with the events of InvokeModel's frames as they are inside.
func unframed(got string) string {
	return regexp.MustCompile(`\{"bytes":"([^"]*)"\}`).ReplaceAllStringFunc(got, func(wrapped string) string {
		inner, err := base64.StdEncoding.DecodeString(wrapped[len(`{"bytes":"`) : len(wrapped)-len(`"}`)])
		if err != nil {
			return wrapped
		}
		return string(inner)
	})
}

// whole puts the pieces of the answer together, however the dialect divides it.
func whole(got string) string {
	at, text := 0, ""
	for _, piece := range []string{"hel", "lo th", "ere"} {
		i := strings.Index(got[at:], piece)
		if i < 0 {
			return ""
		}
		text, at = text+piece, at+i+len(piece)
	}
	return text
}

// TestDialects_Mislabeled: what a server calls its answers counts for nothing, and bytes that are no UTF-8 never reach a
// client.
func TestDialects_Mislabeled(t *testing.T) {
	t.Parallel()
	const stream = `data: {"id":"c","object":"chat.completion.chunk","model":"m","choices":[{"index":0,"delta":{"content":"hi%s"},"finish_reason":"stop"}]}` + "\n\ndata: [DONE]\n\n"
	const whole = `{"id":"c","object":"chat.completion","model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"hi%s"},"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":1}}`
	for _, tt := range []struct {
		name, mime, answer, bytes string
		stream                    bool
		status                    int
		want                      string // the type
	}{
		{"whole", "text/plain; charset=utf-8", whole, "", false, 200, "application/json"},
		{"streamed", "text/plain", stream, "", true, 200, "text/event-stream; charset=utf-8"},
		{"streamed, of none", "", stream, "", true, 200, "text/event-stream; charset=utf-8"},
		{"bytes, whole", "application/json", whole, "\xff\xfe", false, 502, "application/json"},
		{"bytes, streamed", "text/event-stream", stream, "\xff\xfe", true, 502, "application/json"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header()["Content-Type"] = []string{tt.mime}
				_, _ = fmt.Fprintf(w, tt.answer, tt.bytes)
			}))
			t.Cleanup(srv.Close)
			w := ask(t, newRig(t), "openai", clients[0], srv, tt.stream)
			if w.Code != tt.status || w.Header().Get("Content-Type") != tt.want || strings.Contains(w.Body.String(), "\xff") {
				t.Errorf("got %d %q %s", w.Code, w.Header(), w.Body)
			}
			if tt.status == 502 && codeOf(t, w.Body.String()) != "invalid_response" {
				t.Errorf("got %s", w.Body)
			}
		})
	}
}

// TestDialects_Refused: what a vendor of the client's own dialect, or of another, is known to refuse is dropped and named,
// refused or passed on, by the model's policy; what is said to the gateway is nothing that a provider could take.
func TestDialects_Refused(t *testing.T) {
	t.Parallel()
	const chatAsked = `{"model":"demo","top_k":5,"seed":7,"user":"u","max_completion_tokens":9,"tags":["x"],"messages":[{"role":"user","content":"say hello"}]}`
	const messages = `{"model":"demo","max_tokens":64,"top_k":5,"tags":["x"],"thinking":{"type":"enabled","budget_tokens":1024},"messages":[{"role":"user","content":"say hello"}]}`
	for _, tt := range []struct {
		provider, path, body string
		policy               resource.ParamsPolicy
		dropped              string
		has, lacks           []string
		status               int
	}{
		{"openai", "/v1/chat/completions", chatAsked, "", "top_k", []string{`"seed":7`, `"max_completion_tokens":9`}, []string{"top_k", "tags"}, 200},
		{"mistral", "/v1/chat/completions", chatAsked, resource.ParamsDrop, "user,top_k", []string{`"max_tokens":9`, `"random_seed":7`}, []string{"top_k", `"seed"`, `"user":"u"`, "tags"}, 200},
		{"mistral", "/v1/chat/completions", chatAsked, resource.ParamsPass, "", []string{`"top_k":5`, `"random_seed":7`}, []string{"tags"}, 200},
		{"mistral", "/v1/chat/completions", chatAsked, resource.ParamsReject, "", nil, nil, 400},
		{"openai", "/v1/messages", messages, "", "top_k,reasoning_effort", nil, []string{"top_k", "reasoning_effort", "tags"}, 200},
		{"openai", "/v1/messages", messages, resource.ParamsPass, "", []string{`"top_k":5`, `"reasoning_effort":"low"`}, nil, 200},
		{"hosted_vllm", "/v1/messages", messages, "", "reasoning_effort", []string{`"top_k":5`}, nil, 200},
		{"openai", "/v1/messages", `{"model":"demo","max_tokens":64,"tags":["x"],"messages":[{"role":"user","content":"say hello"}]}`, resource.ParamsReject, "", nil, []string{"tags"}, 200},
	} {
		t.Run(tt.provider+tt.path+string(tt.policy), func(t *testing.T) {
			t.Parallel()
			var sent string
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				b, _ := io.ReadAll(r.Body)
				sent = string(b)
				w.Header().Set("Content-Type", "application/json")
				_, _ = io.WriteString(w, `{"id":"c","object":"chat.completion","model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":1}}`)
			}))
			t.Cleanup(srv.Close)
			r := newRig(t)
			r.tables.Models[0].UnsupportedParams = tt.policy
			up := upstream.New(upstream.Config{})
			t.Cleanup(up.Close)
			r.cfg.Upstream = proxy.FromClient(up)
			r.tables.Deployments = []*resource.Deployment{{
				Meta: resource.Meta{ID: "dep_1"}, Name: "d1", ModelID: "model_demo", Provider: tt.provider, Upstream: "gpt-4o", APIBase: srv.URL, APIKey: &resource.Sealed{},
			}}
			w := r.do("POST", tt.path, tt.body)
			if got := w.Header().Get("X-Conclave-Dropped-Params"); w.Code != tt.status || got != tt.dropped {
				t.Fatalf("got %d, dropped %q: %s", w.Code, got, w.Body)
			}
			if tt.status == 400 && codeOf(t, w.Body.String()) != llm.CodeUnsupported {
				t.Errorf("got %s", w.Body)
			}
			for _, part := range tt.has {
				if !strings.Contains(sent, part) {
					t.Errorf("%s is not in %s", part, sent)
				}
			}
			for _, part := range tt.lacks {
				if strings.Contains(sent, part) {
					t.Errorf("%s is in %s", part, sent)
				}
			}
		})
	}
}

// A request for responses that refers to what another provider keeps is refused, not answered
// without it.
func TestDialects_Kept(t *testing.T) {
	t.Parallel()
	for _, member := range []string{`"previous_response_id":"resp_1"`, `"conversation":"conv_1"`, `"prompt":{"id":"p"}`, `"background":true`} {
		r := newRig(t)
		for _, d := range r.tables.Deployments {
			d.Provider = "anthropic"
		}
		w := r.do("POST", "/v1/responses", `{"model":"demo","input":"say hello",`+member+`}`)
		if w.Code != 400 || codeOf(t, w.Body.String()) != llm.CodeUnsayable {
			t.Errorf("%s: got %d %s", member, w.Code, w.Body)
		}
	}
}
