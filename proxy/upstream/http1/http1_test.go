package http1_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/conclave-llm/conclave/proxy/upstream/http1"
)

var dialer net.Dialer

// raw serves each connection with f, which is told the connection's number from 1.
func raw(t testing.TB, f func(n int64, c net.Conn)) (tr *http1.Transport, u *url.URL, dials *atomic.Int64) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dials = new(atomic.Int64)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			n := dials.Add(1)
			go func() {
				defer func() { _ = c.Close() }()
				f(n, c)
			}()
		}
	}()
	u = &url.URL{Scheme: "http", Host: l.Addr().String(), Path: "/v1/chat"}
	tr = http1.New(u, 4, dialer.DialContext)
	t.Cleanup(func() {
		tr.Close()
		_ = l.Close()
		<-done
	})
	return tr, u, dials
}

// readRequest reads one request with a body from the connection.
func readRequest(c net.Conn) bool {
	buf := make([]byte, 64<<10)
	n := 0
	for {
		m, err := c.Read(buf[n:])
		if err != nil {
			return false
		}
		n += m
		if bytes.Contains(buf[:n], []byte("\r\n\r\n")) {
			return true
		}
	}
}

func post(ctx context.Context, tr *http1.Transport, u *url.URL) (status int, body string, err error) {
	res, err := tr.RoundTrip(ctx, u, http.Header{"X-A": {"b"}}, []byte("{}"), 0)
	if err != nil {
		return 0, "", err
	}
	b, err := io.ReadAll(res.Body)
	return res.StatusCode, string(b), errors.Join(err, res.Body.Close())
}

// TestRoundTrip answers two requests with the same bytes and looks at what came and at
// whether the connection was used again.
func TestRoundTrip(t *testing.T) {
	t.Parallel()
	const whole = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
	for _, tt := range []struct {
		name, answer string
		status       int
		body         string
		dials        int64
		fails        bool
	}{
		{"whole", whole, 200, "hello", 1, false},
		{"empty", "HTTP/1.1 204 No Content\r\n\r\n", 204, "", 1, false},
		{"zero length", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200, "", 1, false},
		{"chunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n", 200, "hello", 1, false},
		{"interim answers", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + whole, 200, "hello", 1, false},
		{"asks to close", "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello", 200, "hello", 2, false},
		{"old protocol", "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello", 200, "hello", 2, false},
		{"more than the answer", whole + "HTTP/1.1 200 OK\r\n", 200, "hello", 2, false},
		{"cut body", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello", 200, "hello", 2, true},
		{"cut chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nhello", 200, "hello", 2, true},
		{"cut header", "HTTP/1.1 200 OK\r\nContent-Le", 0, "", 2, true},
		{"nothing", "", 0, "", 2, true},
		{"not HTTP", "SSH-2.0-OpenSSH\r\n\r\n", 0, "", 2, true},
		{"switches protocols", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", 0, "", 2, true},
		{"interim without end", strings.Repeat("HTTP/1.1 100 Continue\r\n\r\n", 50), 0, "", 2, true},
		{"huge header", "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 300<<10) + "\r\n\r\n", 0, "", 2, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tr, u, dials := raw(t, func(_ int64, c net.Conn) {
				for readRequest(c) {
					if _, err := c.Write([]byte(tt.answer)); err != nil || tt.fails {
						return
					}
				}
			})
			for range 2 {
				status, body, err := post(t.Context(), tr, u)
				if status != tt.status || body != tt.body || (err != nil) != tt.fails {
					t.Fatalf("got %d %q, %v, want %d %q, failing %v", status, body, err, tt.status, tt.body, tt.fails)
				}
				if errors.Is(err, io.EOF) {
					t.Errorf("error is io.EOF: it must not look like a whole answer")
				}
			}
			if got := dials.Load(); got != tt.dials {
				t.Errorf("%d connections, want %d", got, tt.dials)
			}
		})
	}
}

// TestRoundTrip_Request compares what a server sees of a request with what was sent.
func TestRoundTrip_Request(t *testing.T) {
	t.Parallel()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		_, _ = w.Write([]byte(r.Method + " " + r.RequestURI + " " + r.Host + " " + r.Header.Get("X-A") + " " + string(b)))
	}))
	t.Cleanup(srv.Close)
	u, err := url.Parse(srv.URL + "/v1/chat%20x?api-version=1")
	if err != nil {
		t.Fatal(err)
	}
	tr := http1.New(u, 1, dialer.DialContext)
	t.Cleanup(tr.Close)
	want := "POST /v1/chat%20x?api-version=1 " + u.Host + " b {}"
	if _, body, err := post(t.Context(), tr, u); err != nil || body != want {
		t.Errorf("the server saw %q, %v, want %q", body, err, want)
	}
	if res, err := tr.RoundTrip(t.Context(), u, http.Header{"X-A": {"b\r\nX-B: c"}}, nil, 0); err == nil {
		_ = res.Body.Close()
		t.Error("a header with a line break was sent")
	}
}

// TestRoundTrip_ClosedWhileIdle has the server close a connection after its answer: the
// next request must not fail.
func TestRoundTrip_ClosedWhileIdle(t *testing.T) {
	t.Parallel()
	gone := make(chan struct{}, 2)
	tr, u, dials := raw(t, func(_ int64, c net.Conn) {
		readRequest(c)
		_, _ = c.Write([]byte("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"))
		_ = c.Close()
		gone <- struct{}{}
	})
	for range 2 {
		if _, body, err := post(t.Context(), tr, u); err != nil || body != "ok" {
			t.Fatalf("got %q, %v", body, err)
		}
		<-gone
	}
	if dials.Load() != 2 {
		t.Errorf("%d connections, want 2", dials.Load())
	}
}

// TestRoundTrip_RefusedEarly has the server answer and close before it has read the body.
func TestRoundTrip_RefusedEarly(t *testing.T) {
	t.Parallel()
	tr, u, _ := raw(t, func(_ int64, c net.Conn) {
		readRequest(c)
		_, _ = c.Write([]byte("HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig"))
		_, _ = io.Copy(io.Discard, c)
	})
	res, err := tr.RoundTrip(t.Context(), u, nil, make([]byte, http1.MaxBody), 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	if res.StatusCode != 413 || string(b) != "big" || err != nil {
		t.Errorf("got %d %q, %v", res.StatusCode, b, err)
	}
}

// TestRoundTrip_Canceled ends the context before the header, and in the body.
func TestRoundTrip_Canceled(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, answer string }{
		{"before the header", ""},
		{"in the body", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithCancel(t.Context())
			tr, u, dials := raw(t, func(n int64, c net.Conn) {
				readRequest(c)
				if n > 1 {
					_, _ = c.Write([]byte("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"))
					return
				}
				_, _ = c.Write([]byte(tt.answer))
				if tt.answer == "" {
					cancel()
				}
				_, _ = io.Copy(io.Discard, c)
			})
			res, err := tr.RoundTrip(ctx, u, nil, nil, 0)
			if err == nil {
				b := make([]byte, 5)
				if _, err := io.ReadFull(res.Body, b); err != nil {
					t.Fatal(err)
				}
				cancel()
				_, err = res.Body.Read(b)
				if err == nil || errors.Is(err, io.EOF) {
					t.Errorf("Read() after the end of the context: %v", err)
				}
				_ = res.Body.Close()
			}
			if status, _, err := post(t.Context(), tr, u); err != nil || status != 200 || dials.Load() != 2 {
				t.Errorf("the next request: %d, %v over %d connections", status, err, dials.Load())
			}
		})
	}
}

// TestAnswer_Close closes an answer early: its connection is not used again, and no more
// can be read.
func TestAnswer_Close(t *testing.T) {
	t.Parallel()
	tr, u, dials := raw(t, func(_ int64, c net.Conn) {
		for readRequest(c) {
			_, _ = c.Write([]byte("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello"))
		}
	})
	for range 2 {
		res, err := tr.RoundTrip(t.Context(), u, nil, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := res.Body.Close(); err != nil {
			t.Error(err)
		}
		if n, err := res.Body.Read(make([]byte, 1)); n != 0 || !errors.Is(err, http.ErrBodyReadAfterClose) {
			t.Errorf("Read() after Close = %d, %v", n, err)
		}
	}
	if dials.Load() != 2 {
		t.Errorf("%d connections, want 2", dials.Load())
	}
}

// TestTransport_Idle lets connections wait: those beyond the bound and those that waited
// too long are closed.
func TestTransport_Idle(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var open, dials atomic.Int64
		u := &url.URL{Scheme: "http", Host: "provider"}
		tr := http1.New(u, 1, func(context.Context, string, string) (net.Conn, error) {
			client, server := net.Pipe()
			open.Add(1)
			dials.Add(1)
			go func() {
				for readRequest(server) {
					_, _ = server.Write([]byte("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"))
				}
				open.Add(-1)
			}()
			return client, nil
		})
		ask := func() {
			if _, _, err := post(t.Context(), tr, u); err != nil {
				t.Error(err)
			}
			synctest.Wait()
		}
		ask()
		ask()
		if dials.Load() != 1 {
			t.Errorf("%d connections for requests one after the other, want 1", dials.Load())
		}
		time.Sleep(2 * time.Minute)
		ask()
		if dials.Load() != 2 || open.Load() != 1 {
			t.Errorf("after two minutes %d connections, %d open, want 2 and 1", dials.Load(), open.Load())
		}
		tr.Close()
		synctest.Wait()
		if open.Load() != 0 {
			t.Errorf("%d connections open after Close", open.Load())
		}
	})
}

// FuzzRoundTrip compares what the transport makes of any bytes with what net/http's does.
func FuzzRoundTrip(f *testing.F) {
	f.Add([]byte("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"))
	f.Add([]byte("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n0\r\n\r\n"))
	f.Add([]byte("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 500 Bad\r\n\r\nrest"))
	f.Add([]byte("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello"))
	u := &url.URL{Scheme: "http", Host: "provider", Path: "/"}
	f.Fuzz(func(t *testing.T, answer []byte) {
		dial := func(context.Context, string, string) (net.Conn, error) {
			client, server := net.Pipe()
			go func() {
				if readRequest(server) {
					_, _ = server.Write(answer)
				}
				_ = server.Close()
			}()
			return client, nil
		}
		read := func(res *http.Response, err error) (int, string, bool) {
			if err != nil {
				return 0, "", false
			}
			b, err := io.ReadAll(res.Body)
			_ = res.Body.Close()
			return res.StatusCode, string(b), err == nil
		}
		tr := http1.New(u, 1, dial)
		defer tr.Close()
		status, body, ok := read(tr.RoundTrip(t.Context(), u, nil, nil, 0))
		std := &http.Transport{DialContext: dial, DisableCompression: true}
		defer std.CloseIdleConnections()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, u.String(), http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		wantStatus, wantBody, wantOK := read(std.RoundTrip(req))
		if wantStatus == http.StatusSwitchingProtocols {
			return // refused here
		}
		if status != wantStatus || body != wantBody || ok != wantOK {
			t.Errorf("got %d %q %v, net/http has %d %q %v", status, body, ok, wantStatus, wantBody, wantOK)
		}
	})
}
