package modelserver_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/plugins/contract"
	"github.com/conclave-llm/conclave/plugins/modelserver"
	"github.com/conclave-llm/conclave/plugins/proto"
)

// whole is an answer of one choice.
const whole = `{"id":"c1","object":"chat.completion","model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"hello","tool_calls":[{"id":"t1","type":"function","function":{"name":"f","arguments":"{}"}}]},"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}}`

// chatter answers whole, and what the body tells it to.
type chatter struct{ big int }

func (chatter) Configure(_ context.Context, s modelserver.Settings) (modelserver.Description, error) {
	if string(s.Config) == "bad" {
		return modelserver.Description{}, errors.New("this configuration is refused")
	}
	return modelserver.Description{Version: "1", Models: []string{"m"}}, nil
}

func (c chatter) Chat(_ context.Context, q *modelserver.Request) ([]byte, error) {
	switch string(q.Body) {
	case "full":
		return nil, &modelserver.Error{Status: 429, Code: "rate_limit_exceeded", Message: "too\nmany", RetryAfter: 1500 * time.Millisecond}
	case "strange":
		return nil, &modelserver.Error{Status: 200, Message: "no error at all"}
	case "broken":
		return nil, errors.New("cannot reach http://10.0.0.1 with sk-1")
	case "panic":
		panic("told to")
	case "empty":
		return nil, nil
	case "big":
		return bytes.Repeat([]byte("x"), c.big), nil
	}
	return []byte(whole), nil
}

// streamer streams what the body tells it to.
type streamer struct {
	chatter
	sent  atomic.Int64
	ended chan error // of each stream
}

func (s *streamer) ChatStream(ctx context.Context, q *modelserver.Request, send func([]byte) error) (err error) {
	defer func() { s.ended <- err }()
	switch string(q.Body) {
	case "flood":
		chunk := bytes.Repeat([]byte("1"), 64<<10)
		for {
			if err := send(chunk); err != nil {
				return err
			}
			s.sent.Add(1)
		}
	case "wait":
		if err := send([]byte(`{"a":1}`)); err != nil {
			return err
		}
		<-ctx.Done()
		return ctx.Err()
	case "fails":
		if err := send([]byte(`{"a":1}`)); err != nil {
			return err
		}
		return &modelserver.Error{Status: 503, Code: "busy", Message: "no more"}
	}
	for _, chunk := range []string{`{"a":1}`, "{\n \"b\": 2\r\n}"} {
		if err := send([]byte(chunk)); err != nil {
			return err
		}
	}
	return nil
}

// embedder has only embeddings.
type embedder struct{}

func (embedder) Configure(context.Context, modelserver.Settings) (modelserver.Description, error) {
	return modelserver.Description{Version: "1"}, nil
}

func (embedder) Embed(_ context.Context, q *modelserver.Request) ([]byte, error) {
	return fmt.Appendf(nil, `{"model":%q}`, q.Model), nil
}

// connect serves a plugin in memory.
func connect(t *testing.T, register func(grpc.ServiceRegistrar)) *modelserver.Client {
	t.Helper()
	ln := bufconn.Listen(1 << 20)
	srv := grpc.NewServer(grpc.MaxRecvMsgSize(48<<20), grpc.InitialWindowSize(1<<20))
	register(srv)
	var wg sync.WaitGroup
	wg.Go(func() { _ = srv.Serve(ln) })
	conn, err := grpc.NewClient("passthrough:plugin", grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithInitialWindowSize(1<<20),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return ln.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	c := modelserver.NewClient(conn)
	t.Cleanup(func() {
		c.Close()
		_ = conn.Close()
		srv.Stop()
		wg.Wait()
	})
	return c
}

// gate serves a plugin under the name "house".
func gate(t *testing.T, p modelserver.Plugin) (*modelserver.Gate, *modelserver.Client) {
	t.Helper()
	c := connect(t, func(s grpc.ServiceRegistrar) { modelserver.Register(s, p) })
	d, err := c.Configure(t.Context(), modelserver.Settings{Name: "house"})
	if err != nil || d.Version != "1" || d.SDKMinor != contract.Minor {
		t.Fatalf("described as %+v, %v", d, err)
	}
	g := &modelserver.Gate{}
	g.Set("house", 0, c)
	return g, c
}

func chat(body string, stream bool) *modelserver.Question {
	return &modelserver.Question{Endpoint: llm.Chat, Stream: stream, Request: modelserver.Request{ID: "r1", Model: "m", Body: []byte(body)}}
}

// said reads an answer to its end.
func said(t *testing.T, g *modelserver.Gate, q *modelserver.Question) (*http.Response, string) {
	t.Helper()
	res, err := g.RoundTrip(t.Context(), "house", q)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Error(err)
	}
	if err := res.Body.Close(); err != nil {
		t.Error(err)
	}
	return res, string(body)
}

func TestGate_Whole(t *testing.T) {
	t.Parallel()
	const big = 20 << 20
	g, c := gate(t, chatter{big: big})
	for _, tt := range []struct {
		name, body string
		status     int
		want       string
	}{
		{"an answer", "hi", 200, whole},
		{"one larger than a message", "big", 200, strings.Repeat("x", big)},
		{"an error", "full", 429, `{"error":{"message":"too many","type":"rate_limit_error","param":null,"code":"rate_limit_exceeded"}}`},
		{"an error without a status", "strange", 502, `{"error":{"message":"no error at all","type":"server_error","param":null,"code":null}}`},
		{"an error whose text is nobody's business", "broken", 502, `{"error":{"message":"The provider's plugin failed.","type":"server_error","param":null,"code":"provider_plugin_failed"}}`},
		{"a panic", "panic", 502, `{"error":{"message":"The provider's plugin failed.","type":"server_error","param":null,"code":"provider_plugin_failed"}}`},
		{"nothing", "empty", 502, `{"error":{"message":"The provider's plugin failed.","type":"server_error","param":null,"code":"provider_plugin_failed"}}`},
	} {
		res, body := said(t, g, chat(tt.body, false)) //nolint:bodyclose // said closes it
		if res.StatusCode != tt.status || body != tt.want || res.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%s: got %d %.200s, want %d %.200s", tt.name, res.StatusCode, body, tt.status, tt.want)
		}
		if after := res.Header.Get("Retry-After-Ms"); (after == "1500") != (tt.status == 429) {
			t.Errorf("%s: to be left alone for %q ms", tt.name, after)
		}
	}
	if c.Waiting() > 0 {
		t.Error("requests are under way behind the end of all")
	}
}

func TestGate_Stream(t *testing.T) {
	t.Parallel()
	p := &streamer{ended: make(chan error, 9)}
	g, _ := gate(t, p)
	res, body := said(t, g, chat("hi", true)) //nolint:bodyclose // said closes it
	if want := "data: {\"a\":1}\n\ndata: {\"b\":2}\n\ndata: [DONE]\n\n"; body != want || res.Header.Get("Content-Type") != "text/event-stream" {
		t.Errorf("got %q, want %q", body, want)
	}
	if _, body := said(t, g, chat("fails", true)); body != "data: {\"a\":1}\n\ndata: {\"error\":{\"message\":\"no more\",\"type\":\"overloaded_error\",\"param\":null,\"code\":\"busy\"}}\n\n" { //nolint:bodyclose // said closes it
		t.Errorf("an error within a stream: got %q", body)
	}
}

// A plugin that does not stream answers with one chunk.
func TestGate_OneChunk(t *testing.T) {
	t.Parallel()
	g, _ := gate(t, chatter{})
	res, body := said(t, g, chat("hi", true)) //nolint:bodyclose // said closes it
	line, ok := strings.CutSuffix(body, "\n\ndata: [DONE]\n\n")
	var chunk struct {
		Object  string
		Choices []struct {
			Message *struct{}
			Delta   struct {
				Content   string
				ToolCalls []struct {
					Index *int
					ID    string
				} `json:"tool_calls"`
			}
		}
		Usage struct {
			Total int `json:"total_tokens"`
		}
	}
	if err := json.Unmarshal([]byte(strings.TrimPrefix(line, "data: ")), &chunk); err != nil || !ok || res.Header.Get("Content-Type") != "text/event-stream" {
		t.Fatalf("got %q, %v", body, err)
	}
	c := chunk.Choices[0]
	if chunk.Object != "chat.completion.chunk" || c.Message != nil || c.Delta.Content != "hello" || chunk.Usage.Total != 3 ||
		len(c.Delta.ToolCalls) != 1 || c.Delta.ToolCalls[0].Index == nil || c.Delta.ToolCalls[0].ID != "t1" {
		t.Errorf("got %s", body)
	}
	if res, body := said(t, g, chat("full", true)); res.StatusCode != 429 { //nolint:bodyclose // said closes it
		t.Errorf("an error: got %d %s", res.StatusCode, body)
	}
}

// A client that reads nothing holds the plugin back, and no other request.
func TestGate_BackPressure(t *testing.T) {
	t.Parallel()
	p := &streamer{ended: make(chan error, 9)}
	g, c := gate(t, p)
	res, err := g.RoundTrip(t.Context(), "house", chat("flood", true))
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		if _, body := said(t, g, chat("hi", true)); !strings.HasSuffix(body, "data: [DONE]\n\n") { //nolint:bodyclose // said closes it
			t.Fatalf("another request: got %q", body)
		}
		if err := <-p.ended; err != nil {
			t.Error(err)
		}
	}
	if n := p.sent.Load(); n > 64 {
		t.Errorf("%d chunks of 64 KiB were sent to nobody", n)
	}
	if c.Waiting() == 0 {
		t.Error("a stream is open, and the process counts as idle")
	}
	if err := res.Body.Close(); err != nil {
		t.Error(err)
	}
	if err := <-p.ended; err == nil {
		t.Error("the plugin was not told that nobody waits")
	}
	if c.Waiting() > 0 {
		t.Error("a closed answer counts")
	}
}

func TestGate_Canceled(t *testing.T) {
	t.Parallel()
	p := &streamer{ended: make(chan error, 9)}
	g, _ := gate(t, p)
	ctx, cancel := context.WithCancelCause(t.Context())
	res, err := g.RoundTrip(ctx, "house", chat("wait", true))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	cancel(errors.New("the client is gone"))
	if _, err := io.ReadAll(res.Body); err == nil {
		t.Error("a canceled answer is whole")
	}
	if err := <-p.ended; !errors.Is(err, context.Canceled) {
		t.Errorf("the plugin ended with %v", err)
	}
	if _, err := g.RoundTrip(ctx, "house", chat("hi", false)); err == nil || err.Error() != "the client is gone" { //nolint:bodyclose // there is none
		t.Errorf("a request of a client that is gone: %v", err)
	}
}

func TestGate_Refuses(t *testing.T) {
	t.Parallel()
	g, _ := gate(t, chatter{})
	other := chat("hi", false)
	other.Model = "n"
	large := chat(strings.Repeat("x", 47<<20+1), false)
	for _, tt := range []struct {
		name, process string
		q             *modelserver.Question
		kind          llm.Kind
		code          string
	}{
		{"another process", "home", chat("hi", false), llm.Unavailable, "provider_plugin_not_running"},
		{"another endpoint", "house", &modelserver.Question{Endpoint: llm.Embeddings, Request: modelserver.Request{Model: "m"}}, llm.NotFound, "endpoint_not_supported"},
		{"another model", "house", other, llm.NotFound, "model_not_found"},
		{"a large request", "house", large, llm.TooLarge, "request_too_large"},
	} {
		_, err := g.RoundTrip(t.Context(), tt.process, tt.q) //nolint:bodyclose // there is none
		if e, ok := errors.AsType[*llm.Error](err); !ok || e.Kind != tt.kind || e.Code != tt.code {
			t.Errorf("%s: got %v", tt.name, err)
		}
	}
	e, _ := gate(t, embedder{})
	q := &modelserver.Question{Endpoint: llm.Embeddings, Request: modelserver.Request{Model: "any"}}
	if res, body := said(t, e, q); res.StatusCode != 200 || body != `{"model":"any"}` { //nolint:bodyclose // said closes it
		t.Errorf("embeddings: got %d %s", res.StatusCode, body)
	}
	c := connect(t, func(s grpc.ServiceRegistrar) { modelserver.Register(s, chatter{}) })
	if _, err := c.Configure(t.Context(), modelserver.Settings{Config: []byte("bad")}); err == nil || !strings.Contains(err.Error(), "this configuration is refused") {
		t.Errorf("a bad configuration: %v", err)
	}
}

// TestGate_Instances: a process that has ended is not asked, and the one with fewer answers under way is.
func TestGate_Instances(t *testing.T) {
	t.Parallel()
	a, b := &streamer{ended: make(chan error, 9)}, &streamer{ended: make(chan error, 9)}
	g, first := gate(t, a)
	_, second := gate(t, b)
	g.Set("house", 1, second)
	var open []io.Closer
	for range 4 {
		res, err := g.RoundTrip(t.Context(), "house", chat("wait", true)) //nolint:bodyclose // is closed below
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, res.Body)
	}
	for _, c := range open {
		_ = c.Close()
	}
	for range 2 {
		for _, p := range []*streamer{a, b} {
			if err := <-p.ended; err == nil {
				t.Error("a stream that was left ended well")
			}
		}
	}
	first.Close()
	for range 4 {
		if _, body := said(t, g, chat("hi", true)); !strings.HasSuffix(body, "data: [DONE]\n\n") { //nolint:bodyclose // said closes it
			t.Errorf("got %q", body)
		}
	}
	if err := g.Probe(t.Context(), "house"); err != nil {
		t.Errorf("no sign of life: %v", err)
	}
	second.Close()
	if err := g.Probe(t.Context(), "house"); err == nil {
		t.Error("a sign of life of processes that have ended")
	}
	g.Drop("house", 0, first)
	g.Drop("house", 1, second)
	if _, err := g.RoundTrip(t.Context(), "house", chat("hi", true)); !errors.Is(err, modelserver.ErrNotRunning) { //nolint:bodyclose // there is none
		t.Errorf("without a process: %v", err)
	}
}

// rude breaks the contract as its requests tell it to.
type rude struct {
	proto.UnimplementedProviderServer
}

func (rude) Configure(context.Context, *proto.ConfigureProvider) (*proto.ProviderDescription, error) {
	return &proto.ProviderDescription{Endpoints: []string{"chat", "dreams"}}, nil
}

func (rude) Session(rpc grpc.BidiStreamingServer[proto.ProviderPing, proto.ProviderPong]) error {
	<-rpc.Context().Done()
	return nil
}

func (rude) Ask(q *proto.ProviderRequest, rpc grpc.ServerStreamingServer[proto.ProviderAnswer]) error {
	chunk := &proto.ProviderAnswer{Kind: &proto.ProviderAnswer_Chunk{Chunk: []byte(`{}`)}}
	body := &proto.ProviderAnswer{Kind: &proto.ProviderAnswer_Body{Body: []byte(`{`)}}
	failure := &proto.ProviderAnswer{Kind: &proto.ProviderAnswer_Error{Error: &proto.ProviderError{Status: 400}}}
	for word := range strings.FieldsSeq(string(q.GetBody())) {
		m := map[string]*proto.ProviderAnswer{
			"chunk": chunk, "body": body, "failure": failure, "nothing": {},
			"lines": {Kind: &proto.ProviderAnswer_Chunk{Chunk: []byte("{}\n\ndata: [DONE]\n\n")}},
			"huge":  {Kind: &proto.ProviderAnswer_Chunk{Chunk: make([]byte, 9<<20)}},
		}[word]
		if m == nil {
			return errors.New(word)
		}
		if err := rpc.Send(m); err != nil {
			return err
		}
	}
	return nil
}

func TestGate_Rude(t *testing.T) {
	t.Parallel()
	c := connect(t, func(s grpc.ServiceRegistrar) { proto.RegisterProviderServer(s, rude{}) })
	if d, err := c.Configure(t.Context(), modelserver.Settings{}); err != nil || len(d.Endpoints) != 1 {
		t.Fatalf("described as %+v, %v", d, err)
	}
	g := &modelserver.Gate{}
	g.Set("house", 0, c)
	for _, says := range []string{"", "chunk", "nothing", "oops"} { // to whom did not ask for a stream
		if _, err := g.RoundTrip(t.Context(), "house", chat(says, false)); err == nil { //nolint:bodyclose // there is none
			t.Errorf("%q is an answer", says)
		} else if e, ok := errors.AsType[*llm.Error](err); !ok || e.Kind != llm.Upstream {
			t.Errorf("%q: %v", says, err)
		}
	}
	for _, says := range []string{"lines", "huge", "nothing"} {
		if _, err := g.RoundTrip(t.Context(), "house", chat(says, true)); err == nil { //nolint:bodyclose // there is none
			t.Errorf("%q is a stream", says)
		}
	}
	for _, says := range []string{"chunk body", "chunk lines", "chunk huge", "chunk nothing", "chunk oops", "body chunk", "body failure", "body oops"} {
		res, err := g.RoundTrip(t.Context(), "house", chat(says, true))
		if err != nil {
			t.Fatalf("%q: %v", says, err)
		}
		if body, err := io.ReadAll(res.Body); err == nil {
			t.Errorf("%q ends well: %q", says, body)
		}
		_ = res.Body.Close()
	}
}
