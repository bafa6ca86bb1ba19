package upstream_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/conclave-llm/conclave/egress"
	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/provider"
	"github.com/conclave-llm/conclave/proxy/upstream"
	"github.com/conclave-llm/conclave/proxy/upstream/sign"
	"github.com/conclave-llm/conclave/secret"
)

const (
	answer = `{"id":"1","choices":[{"index":0,"message":{"content":"hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15,"prompt_tokens_details":{"cached_tokens":4}}}`
	delta  = `data: {"choices":[{"index":0,"delta":{"content":"hello"},"finish_reason":null}],"usage":null}` + "\n\n"
	finish = `data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":null}` + "\n\n"
	usage  = `data: {"choices":[],"usage":{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15}}` + "\n\n"
	done   = "data: [DONE]\n\n"
)

// row returns a provider's row, which every test knows.
func row(t testing.TB, name string) *provider.Provider {
	t.Helper()
	p, ok := provider.Lookup(name)
	if !ok {
		t.Fatalf("no provider %q", name)
	}
	return p
}

// serve starts a provider and returns a client and an attempt at it.
func serve(t testing.TB, cfg upstream.Config, h http.HandlerFunc) (*upstream.Client, *upstream.Attempt) {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body) // the server notices that a client leaves once it has read its request
		r.Body = io.NopCloser(strings.NewReader(string(body)))
		h(w, r)
	}))
	t.Cleanup(srv.Close)
	c := upstream.New(cfg)
	t.Cleanup(c.Close)
	return c, &upstream.Attempt{
		Provider: row(t, "openai"), Endpoint: llm.Chat, Base: srv.URL + "/v1/", Account: &sign.Account{Key: secret.New("sk-secret")},
		Body: []byte(`{"model":"m"}`),
	}
}

// events answers with the texts as one stream.
func events(texts ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
		for _, s := range texts {
			_, _ = io.WriteString(w, s)
			w.(http.Flusher).Flush()
		}
	}
}

func TestDo(t *testing.T) {
	t.Parallel()
	c, a := serve(t, upstream.Config{}, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		switch {
		case r.Method != http.MethodPost || r.URL.Path != "/v1/chat/completions":
			t.Errorf("got %s %s", r.Method, r.URL)
		case r.Header.Get("Authorization") != "Bearer sk-secret" || r.Header.Get("X-Extra") != "1":
			t.Errorf("got headers %v", r.Header)
		case string(body) != `{"model":"m"}` || r.ContentLength != int64(len(body)):
			t.Errorf("got body %q of %d bytes", body, r.ContentLength)
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("X-Request-Id", "r1")
		_, _ = io.WriteString(w, answer)
	})
	a.Header = http.Header{"X-Extra": {"1"}, "Authorization": {"Bearer other"}}
	ans, err := c.Do(t.Context(), a)
	if err != nil {
		t.Fatal(err)
	}
	defer ans.Close()
	want := llm.Usage{Input: 6, CacheRead: 4, Output: 5, Source: llm.UsageProvider}
	if string(ans.Body) != answer || ans.Report.Usage != want || ans.Header.Get("X-Request-Id") != "r1" {
		t.Errorf("got %q, %+v, %v", ans.Body, ans.Report.Usage, ans.Header)
	}
}

// TestDo_Headers: a provider's own headers are sent, and a client's stand in their place.
func TestDo_Headers(t *testing.T) {
	t.Parallel()
	var got http.Header
	c, a := serve(t, upstream.Config{}, func(w http.ResponseWriter, r *http.Request) {
		got = r.Header
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"type":"message","content":[],"usage":{"input_tokens":1,"output_tokens":2}}`)
	})
	a.Provider, a.Endpoint = row(t, "anthropic"), llm.Messages
	for _, want := range []string{"2023-06-01", "2099-01-01"} {
		ans, err := c.Do(t.Context(), a)
		if err != nil {
			t.Fatal(err)
		}
		ans.Close()
		if got.Get("Anthropic-Version") != want || got.Get("X-Api-Key") != "sk-secret" || got.Get("Authorization") != "" || ans.Report.Usage.Output != 2 {
			t.Errorf("got headers %v and %+v, want version %s", got, ans.Report, want)
		}
		a.Header = http.Header{"Anthropic-Version": {"2099-01-01"}, "X-Api-Key": {"sk-other"}}
	}
}

func TestDo_Stream(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		events []string
		hide   bool
		want   string
		code   string // of the error at the end, "" for a whole stream
		usage  bool
	}{
		{"whole", []string{delta, finish, usage, done}, false, delta + finish + usage + done, "", true},
		{"usage hidden", []string{delta, finish, usage, done}, true, delta + finish + done, "", true},
		{"usage on the last chunk is shown", []string{delta, strings.Replace(finish, `"usage":null`, `"usage":{"total_tokens":3}`, 1), done}, true, delta + strings.Replace(finish, `"usage":null`, `"usage":{"total_tokens":3}`, 1) + done, "", true},
		{"comments before the first token", []string{": wait\n\n", delta, ": more\n\n", finish, done}, false, delta + ": more\n\n" + finish + done, "", false},
		{"no [DONE]", []string{delta, finish}, false, delta + finish, "", false},
		{"[DONE] without a blank line", []string{delta, "data: [DONE]\n"}, false, delta + done, "", false},
		{"no end", []string{delta, delta}, false, delta + delta, "upstream_cut", false},
		{"nothing", nil, false, "", "upstream_cut", false},
		{"one of two choices finished", []string{delta, strings.Replace(finish, `"index":0`, `"index":1`, 1)}, false, delta + strings.Replace(finish, `"index":0`, `"index":1`, 1), "upstream_cut", false},
		{"cut in an event", []string{delta, delta[:20]}, false, delta, "upstream_cut", false},
		{"not JSON", []string{delta, "data: <html>\n\n"}, false, delta, "invalid_response", false},
		{"a vendor's event", []string{"event: hello\ndata: x\n\n", delta, finish, done}, false, "event: hello\ndata: x\n\n" + delta + finish + done, "", false},
		{"error", []string{delta, `data: {"error":{"message":"slow down","code":"rate_limit_exceeded"}}` + "\n\n"}, false, delta, "rate_limit_exceeded", false},
		{"too large", []string{delta, "data: " + strings.Repeat("x", 1<<20)}, false, delta, "invalid_response", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c, a := serve(t, upstream.Config{MaxEvent: 64 << 10}, events(tt.events...))
			a.Stream, a.HideUsage = true, tt.hide
			ans, err := c.Do(t.Context(), a)
			if err != nil {
				t.Fatal(err)
			}
			defer ans.Close()
			got, err := readStream(ans.Stream)
			if got != tt.want {
				t.Errorf("got  %q\nwant %q", got, tt.want)
			}
			var e *llm.Error
			if errors.As(err, &e) && e.Code != tt.code || e == nil && tt.code != "" || e == nil && !errors.Is(err, io.EOF) {
				t.Errorf("got error %v, want code %q", err, tt.code)
			}
			if _, ok := ans.Stream.Usage(); ok != tt.usage {
				t.Errorf("got usage: %v, want %v", ok, tt.usage)
			}
			if strings.Contains(tt.want, "hello\"") && (ans.Stream.FirstToken() == 0 || ans.Stream.TextBytes() == 0) {
				t.Errorf("got first token %v and %d bytes", ans.Stream.FirstToken(), ans.Stream.TextBytes())
			}
		})
	}
}

func readStream(s *upstream.Stream) (string, error) {
	var b strings.Builder
	for {
		e, err := s.Next()
		if err != nil {
			return b.String(), err
		}
		b.Write(e.Raw)
	}
}

func TestDo_Reuse(t *testing.T) {
	t.Parallel()
	var conns atomic.Int32
	seen := make(map[string]bool)
	c, a := serve(t, upstream.Config{}, func(w http.ResponseWriter, r *http.Request) {
		if !seen[r.RemoteAddr] { // the requests follow one another
			seen[r.RemoteAddr] = true
			conns.Add(1)
		}
		events(delta, finish, done)(w, r)
	})
	a.Stream = true
	for range 20 {
		ans, err := c.Do(t.Context(), a)
		if err != nil {
			t.Fatal(err)
		}
		for !ans.Stream.Done() {
			if _, err := ans.Stream.Next(); err != nil {
				t.Fatal(err)
			}
		}
		ans.Close()
		ans.Close()
		if _, err := ans.Stream.Next(); err == nil {
			t.Fatal("a closed stream goes on")
		}
	}
	if n := conns.Load(); n != 1 {
		t.Errorf("got %d connections, want 1", n)
	}
}

func TestDo_Errors(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, tt := range []struct {
		name    string
		status  int
		header  map[string]string
		body    string
		kind    llm.Kind
		code    string
		retry   time.Duration
		relayed bool // the provider's body is kept
	}{
		{"limit", 429, map[string]string{"Retry-After": "7"}, `{"error":{"message":"m","code":"rate_limit_exceeded"}}`, llm.RateLimited, "rate_limit_exceeded", 7 * time.Second, true},
		{"limit until a date", 429, map[string]string{"Retry-After": "Fri, 02 Jan 2026 03:04:35 GMT"}, `{"error":{"message":"m"}}`, llm.RateLimited, "", 30 * time.Second, true},
		{"credentials", 401, nil, `{"error":{"message":"Incorrect API key provided: sk-secret"}}`, llm.Upstream, "upstream_credentials", 0, false},
		{"redirect", 302, map[string]string{"Location": "http://169.254.169.254/"}, ``, llm.Upstream, "upstream_credentials", 0, false},
		{"page", 502, nil, `<html>`, llm.Upstream, "", 0, false},
		{"error in a good answer", 200, map[string]string{"Content-Type": "application/json"}, `{"error":{"message":"m","code":503}}`, llm.Unavailable, "503", 0, true},
		{"not JSON", 200, map[string]string{"Content-Type": "application/json"}, `<html>`, llm.Upstream, "invalid_response", 0, false},
		{"unasked stream", 200, map[string]string{"Content-Type": "text/event-stream"}, done, llm.Upstream, "invalid_response", 0, false},
		{"too large", 200, map[string]string{"Content-Type": "application/json"}, `{"a":"` + strings.Repeat("x", 3000) + `"}`, llm.TooLarge, "response_too_large", 0, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c, a := serve(t, upstream.Config{Now: func() time.Time { return now }, MaxBody: 2000}, func(w http.ResponseWriter, _ *http.Request) {
				for k, v := range tt.header {
					w.Header().Set(k, v)
				}
				w.WriteHeader(tt.status)
				_, _ = io.WriteString(w, tt.body)
			})
			_, err := c.Do(t.Context(), a)
			var e *llm.Error
			if !errors.As(err, &e) {
				t.Fatalf("got %v, want an *llm.Error", err)
			}
			if e.Kind != tt.kind || e.Code != tt.code || e.RetryAfter != tt.retry || (e.Body != nil) != tt.relayed {
				t.Errorf("got kind %d, code %q, retry after %v, body %q", e.Kind, e.Code, e.RetryAfter, e.Body)
			}
			if strings.Contains(err.Error(), "sk-secret") {
				t.Errorf("the error tells the key: %v", err)
			}
		})
	}
}

func TestDo_Timeouts(t *testing.T) {
	t.Parallel()
	hang := func(before ...string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if before != nil {
				events(before...)(w, r)
			}
			<-r.Context().Done()
		}
	}
	const short, long = 300 * time.Millisecond, time.Minute
	for _, tt := range []struct {
		name string
		t    upstream.Timeouts
		h    http.HandlerFunc
		code string
	}{
		{"total before the header", upstream.Timeouts{Total: short}, hang(), "timeout_total"},
		{"first token before the header", upstream.Timeouts{FirstToken: short}, hang(), "timeout_first_token"},
		{"first token", upstream.Timeouts{FirstToken: short}, hang(""), "timeout_first_token"},
		{"first token with comments", upstream.Timeouts{FirstToken: short, Idle: long}, hang(": a\n\n", ": b\n\n"), "timeout_first_token"},
		{"between chunks", upstream.Timeouts{FirstToken: long, Idle: short}, hang(delta), "timeout_between_chunks"},
		{"total", upstream.Timeouts{Idle: long, Total: short}, hang(delta), "timeout_total"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, a := piped(t, tt.h, false)
				a.Stream, a.Timeouts = true, tt.t
				began := time.Now()
				ans, err := c.Do(t.Context(), a)
				if err == nil {
					defer ans.Close()
					_, err = readStream(ans.Stream)
				}
				onTime(t, began, short, err, tt.code)
			})
		})
	}
}

// pipes is a listener whose connections are in memory, so that a bubble's clock runs where they wait.
type pipes struct {
	conns chan net.Conn
	done  chan struct{}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	close(p.done)
	return nil
}

func (*pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 80} }

func (p *pipes) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	select {
	case p.conns <- theirs:
		return ours, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// piped is serve within a bubble: a server behind connections in memory.
func piped(t *testing.T, h http.HandlerFunc, secure bool) (*upstream.Client, *upstream.Attempt) {
	t.Helper()
	l := &pipes{conns: make(chan net.Conn), done: make(chan struct{})}
	srv := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		r.Body = io.NopCloser(strings.NewReader(string(body)))
		h(w, r)
	})}
	cfg, base := upstream.Config{Dial: l.dial}, "http://127.0.0.1"
	if secure {
		pair := httptest.NewUnstartedServer(nil)
		pair.StartTLS()
		srv.TLSConfig = &tls.Config{Certificates: pair.TLS.Certificates, MinVersion: tls.VersionTLS12}
		cfg.TLS = &tls.Config{RootCAs: pair.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs, MinVersion: tls.VersionTLS12}
		pair.Close()
		base = "https://127.0.0.1"
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		if secure {
			_ = srv.ServeTLS(l, "", "") // it is closed
			return
		}
		_ = srv.Serve(l)
	}()
	c := upstream.New(cfg)
	t.Cleanup(func() {
		c.Close()
		_ = srv.Close()
		<-served
	})
	return c, &upstream.Attempt{Provider: row(t, "openai"), Endpoint: llm.Chat, Base: base + "/v1/", Body: []byte("{}")}
}

// onTime wants an attempt's failure to be a timer's, which fired when it should.
func onTime(t *testing.T, began time.Time, want time.Duration, err error, code string) {
	t.Helper()
	var e *llm.Error
	if !errors.As(err, &e) || e.Kind != llm.Timeout || e.Code != code || e.HTTPStatus() != http.StatusGatewayTimeout {
		t.Errorf("got %v, want 504 %s", err, code)
	}
	if took := time.Since(began); took != want {
		t.Errorf("fired after %v of the bubble's time, want %v", took, want)
	}
}

// TestDo_ConnectTimeout connects to where nobody answers: to a host that drops packets, and to a
// server that takes the connection and keeps silent about TLS, with and without other timers.
func TestDo_ConnectTimeout(t *testing.T) {
	t.Parallel()
	lost := func(ctx context.Context, _, _ string) (net.Conn, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	silent := func(context.Context, string, string) (net.Conn, error) {
		ours, _ := net.Pipe()
		return ours, nil
	}
	const short = 200 * time.Millisecond
	for _, tt := range []struct {
		name, base string
		dial       func(context.Context, string, string) (net.Conn, error)
		timers     upstream.Timeouts
		code       string
	}{
		{"http", "http://lost.example", lost, upstream.Timeouts{Connect: short}, "timeout_connect"},
		{"https", "https://lost.example", lost, upstream.Timeouts{Connect: short}, "timeout_connect"},
		{"TLS", "https://silent.example", silent, upstream.Timeouts{Connect: short, FirstToken: time.Minute}, "timeout_connect"},
		{"http, first token first", "http://lost.example", lost, upstream.Timeouts{FirstToken: short}, "timeout_first_token"},
		{"https, first token first", "https://lost.example", lost, upstream.Timeouts{Connect: time.Minute, FirstToken: short}, "timeout_first_token"},
		{"https, total first", "https://lost.example", lost, upstream.Timeouts{Connect: time.Minute, Total: short}, "timeout_total"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := upstream.New(upstream.Config{Dial: tt.dial})
				t.Cleanup(c.Close)
				a := &upstream.Attempt{Provider: row(t, "openai"), Endpoint: llm.Chat, Base: tt.base, Body: []byte("{}"), Stream: true, Timeouts: tt.timers}
				began := time.Now()
				_, err := c.Do(t.Context(), a)
				onTime(t, began, short, err, tt.code)
			})
		})
	}
}

// TestDo_ConnectTimeoutEnds: once there is a connection, its timer does not end the attempt.
func TestDo_ConnectTimeoutEnds(t *testing.T) {
	t.Parallel()
	for name, secure := range map[string]bool{"http": false, "https": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, a := piped(t, func(w http.ResponseWriter, r *http.Request) {
					time.Sleep(time.Hour) // of the bubble: longer than connecting may take
					events(delta, finish, done)(w, r)
				}, secure)
				a.Stream, a.Timeouts = true, upstream.Timeouts{Connect: 200 * time.Millisecond, FirstToken: 2 * time.Hour, Total: -1}
				ans, err := c.Do(t.Context(), a)
				if err != nil {
					t.Fatal(err)
				}
				defer ans.Close()
				if _, err := readStream(ans.Stream); !errors.Is(err, io.EOF) {
					t.Errorf("got %v", err)
				}
			})
		})
	}
}

func TestDo_SlowClient(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, a := piped(t, events(delta, finish, done), false)
		a.Stream, a.Timeouts = true, upstream.Timeouts{Idle: 200 * time.Millisecond, Total: -1}
		ans, err := c.Do(t.Context(), a)
		if err != nil {
			t.Fatal(err)
		}
		defer ans.Close()
		if _, err := ans.Stream.Next(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour) // of the bubble: a client that takes longer to read than the provider may be silent
		if _, err := readStream(ans.Stream); !errors.Is(err, io.EOF) {
			t.Errorf("got %v, want EOF", err)
		}
	})
}

func TestDo_Cancel(t *testing.T) {
	t.Parallel()
	gone := make(chan struct{})
	c, a := serve(t, upstream.Config{}, func(w http.ResponseWriter, r *http.Request) {
		events(delta)(w, r)
		<-r.Context().Done()
		close(gone)
	})
	a.Stream = true
	ctx, cancel := context.WithCancel(t.Context())
	ans, err := c.Do(ctx, a)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ans.Stream.Next(); err != nil {
		t.Fatal(err)
	}
	cancel()
	var e *llm.Error
	if _, err := ans.Stream.Next(); !errors.As(err, &e) || e.Kind != llm.Canceled {
		t.Errorf("got %v, want kind Canceled", err)
	}
	ans.Close()
	<-gone
}

func TestDo_CloseCancels(t *testing.T) {
	t.Parallel()
	gone := make(chan struct{})
	c, a := serve(t, upstream.Config{}, func(w http.ResponseWriter, r *http.Request) {
		events(delta)(w, r)
		<-r.Context().Done()
		close(gone)
	})
	a.Stream = true
	ans, err := c.Do(t.Context(), a)
	if err != nil {
		t.Fatal(err)
	}
	ans.Close()
	<-gone
}

func TestDo_Unreachable(t *testing.T) {
	t.Parallel()
	c, a := serve(t, upstream.Config{}, events())
	a.Base = "http://127.0.0.1:1"
	var e *llm.Error
	if _, err := c.Do(t.Context(), a); !errors.As(err, &e) || e.Kind != llm.Upstream || e.Code != "upstream_unreachable" {
		t.Errorf("got %v, want upstream_unreachable", err)
	}
	a.Provider, a.Base = row(t, "hosted_vllm"), ""
	if _, err := c.Do(t.Context(), a); !errors.As(err, &e) || e.Kind != llm.Internal || e.Code != "upstream_address" {
		t.Errorf("got %v, want upstream_address", err)
	}
}

func TestDo_AllowAddr(t *testing.T) {
	t.Parallel()
	c, a := serve(t, upstream.Config{AllowAddr: egress.PublicOnly}, events())
	for _, host := range []string{"127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0", "2130706433"} {
		a.Base = "http://" + host + ":9/v1"
		var e *llm.Error
		if _, err := c.Do(t.Context(), a); !errors.As(err, &e) || (e.Code != "address_refused" && host != "2130706433") {
			t.Errorf("%s: got %v, want address_refused", host, err)
		}
	}
}

func TestPublicOnly(t *testing.T) {
	t.Parallel()
	for addr, want := range map[string]bool{
		"8.8.8.8": true, "2606:4700::1111": true, "::ffff:8.8.8.8": true,
		"127.0.0.1": false, "10.1.2.3": false, "172.16.0.1": false, "192.168.1.1": false, "169.254.169.254": false,
		"100.100.100.200": false, "0.0.0.0": false, "255.255.255.255": false, "224.0.0.1": false, "198.18.0.1": false,
		"::": false, "::1": false, "fe80::1": false, "fc00::1": false, "fd00:ec2::254": false, "ff02::1": false,
		"::ffff:10.0.0.1": false, "64:ff9b::a00:1": false, "2002:a00:1::": false, "::7f00:1": false,
	} {
		if got := egress.PublicOnly(netip.MustParseAddr(addr)) == nil; got != want {
			t.Errorf("PublicOnly(%s) allows: %v, want %v", addr, got, want)
		}
	}
}

func TestAttempt_String(t *testing.T) {
	t.Parallel()
	a := &upstream.Attempt{Provider: row(t, "openai"), Account: &sign.Account{Key: secret.New("sk-secret")}, Body: []byte("prompt")}
	if s := a.String() + a.GoString(); strings.Contains(s, "secret") || strings.Contains(s, "prompt") {
		t.Errorf("got %q, which tells too much", s)
	}
}

func BenchmarkDo(b *testing.B) {
	for _, bb := range []struct {
		name string
		h    http.HandlerFunc
	}{
		{"whole", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, answer)
		}},
		{"stream of 100", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			_, _ = io.WriteString(w, strings.Repeat(delta, 100)+finish+usage+done)
		}},
	} {
		b.Run(bb.name, func(b *testing.B) {
			c, a := serve(b, upstream.Config{}, bb.h)
			a.Stream = strings.HasPrefix(bb.name, "stream")
			b.ReportAllocs()
			for b.Loop() {
				ans, err := c.Do(b.Context(), a)
				if err != nil {
					b.Fatal(err)
				}
				if ans.Stream != nil {
					for {
						if _, err := ans.Stream.Next(); err != nil {
							break
						}
					}
				}
				ans.Close()
			}
		})
	}
}

// What providers repeat of our key in a stream reaches no client.
func TestDo_StreamHidesKey(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, event string }{
		{"error", `data: {"error":{"message":"bad key KEY"}}` + "\n\n"},
		{"a vendor's event", "event: error\ndata: bad key KEY\n\n"},
		{"a vendor's event in JSON", "event: error\ndata: {\"detail\":\"bad key KEY\"}\n\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			const key = "sk-provider-0123456789"
			c, a := serve(t, upstream.Config{}, events(delta, strings.ReplaceAll(tt.event, "KEY", key)))
			a.Stream, a.Account = true, &sign.Account{Key: secret.New(key)}
			ans, err := c.Do(t.Context(), a)
			if err != nil {
				t.Fatal(err)
			}
			defer ans.Close()
			got, err := readStream(ans.Stream)
			if e, ok := errors.AsType[*llm.Error](err); ok {
				got += e.Message + string(e.Body)
			}
			if strings.Contains(got, key) || !strings.Contains(got, "bad key") {
				t.Errorf("got %q", got)
			}
		})
	}
}
