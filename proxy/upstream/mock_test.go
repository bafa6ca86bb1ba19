package upstream_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/mock"
	"github.com/conclave-llm/conclave/proxy/upstream"
)

const (
	question = `{"model":"m","messages":[{"role":"user","content":"one two three"}]}`
	streamed = `{"model":"m","messages":[{"role":"user","content":"one two three"}],"stream":true,"stream_options":{"include_usage":true}}`
)

// TestDo_Mock runs attempts at the demo upstream over HTTP/1.1 and HTTP/2.
func TestDo_Mock(t *testing.T) {
	t.Parallel()
	for _, protocol := range []string{"HTTP/1.1", "HTTP/2.0"} {
		m := mock.New(mock.Config{})
		srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Proto != protocol {
				t.Errorf("got %s, want %s", r.Proto, protocol)
			}
			m.ServeHTTP(w, r)
		}))
		srv.EnableHTTP2 = protocol == "HTTP/2.0"
		srv.StartTLS()
		t.Cleanup(srv.Close)
		roots := x509.NewCertPool()
		roots.AddCert(srv.Certificate())
		c := upstream.New(upstream.Config{TLS: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS13}})
		t.Cleanup(c.Close)
		for _, tt := range []struct {
			name   string
			body   string
			header http.Header
			code   string // of the error
			text   int64  // bytes that came
			usage  bool
		}{
			{"whole", question, nil, "", 23, true},
			{"stream", streamed, nil, "", 23, true},
			{"cut stream", streamed, http.Header{"X-Mock-Cut-After": {"3"}}, "upstream_cut", 13, false},
			{"cut before a chunk", streamed, http.Header{"X-Mock-Cut-After": {"0"}}, "upstream_cut", 0, false},
			{"stalled stream", streamed, http.Header{"X-Mock-Stall-After": {"2"}}, "timeout_between_chunks", 9, false},
			{"late answer", question, http.Header{"X-Mock-Latency": {"1h"}}, "timeout_total", 0, false},
			{"failure", question, http.Header{"X-Mock-Status": {"503"}}, "mock_error", 0, false},
		} {
			t.Run(protocol+" "+tt.name, func(t *testing.T) {
				t.Parallel()
				a := &upstream.Attempt{
					Provider: row(t, "openai"), Endpoint: llm.Chat, Base: srv.URL + "/v1", Body: []byte(tt.body),
					Stream: tt.body == streamed, Header: tt.header,
				}
				if strings.Contains(tt.code, "timeout") {
					a.Timeouts = upstream.Timeouts{Idle: 200 * time.Millisecond, Total: time.Second}
				}
				text, usage, err := run(t, c, a)
				var e *llm.Error
				if errors.As(err, &e) && e.Code != tt.code || (err != nil) != (tt.code != "") || text != tt.text || usage != tt.usage {
					t.Errorf("got %d bytes, usage %v and %v", text, usage, err)
				}
			})
		}
	}
}

// run makes an attempt and reads its answer to the end.
func run(t *testing.T, c *upstream.Client, a *upstream.Attempt) (text int64, usage bool, err error) {
	t.Helper()
	ans, err := c.Do(t.Context(), a)
	if err != nil {
		return 0, false, err
	}
	defer ans.Close()
	if ans.Stream == nil {
		return ans.Report.TextBytes, ans.Report.HasUsage, nil
	}
	if _, err = readStream(ans.Stream); errors.Is(err, io.EOF) {
		err = nil
	}
	_, usage = ans.Stream.Usage()
	return ans.Stream.TextBytes(), usage, err
}
