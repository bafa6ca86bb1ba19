package proxy_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/ledger"
	"github.com/conclave-llm/conclave/proxy"
	"github.com/conclave-llm/conclave/proxy/upstream"
)

// sink is a client that costs nothing.
type sink struct {
	header http.Header
	status int
}

func (s *sink) Header() http.Header              { return s.header }
func (s *sink) Write(p []byte) (int, error)      { return len(p), nil }
func (s *sink) WriteHeader(status int)           { s.status = status }
func (s *sink) SetReadDeadline(time.Time) error  { return nil }
func (s *sink) SetWriteDeadline(time.Time) error { return nil }
func (s *sink) Flush()                           {}

// idle is a journal that keeps nothing.
type idle struct{}

func (idle) Reserve(*ledger.Reservation) (uint64, error) { return 1, nil }
func (idle) Amend(uint64, []ledger.AccountCharge) error  { return nil }
func (idle) Settle(uint64, *ledger.Record) error         { return nil }

func BenchmarkChat(b *testing.B) {
	for _, bb := range []struct{ name, extra string }{{"whole", ""}, {"stream", `,"stream":true`}} {
		b.Run(bb.name, func(b *testing.B) {
			r := newRig(b)
			r.cfg.Journal = idle{}
			whole := wholeAnswer()
			st := r.stream()
			streamed := proxy.Answer{Status: 200, Stream: st}
			r.upstream = func(_ context.Context, a *upstream.Attempt) (proxy.Answer, error) {
				if a.Stream {
					st.i = 0
					return streamed, nil
				}
				return whole, nil
			}
			body := `{"model":"demo","messages":[{"role":"user","content":"` + strings.Repeat("word ", 200) + `"}]` + bb.extra + `}`
			h := r.handler()
			in := strings.NewReader(body)
			req, err := http.NewRequestWithContext(context.Background(), "POST", "/v1/chat/completions", nil)
			if err != nil {
				b.Fatal(err)
			}
			req.Header.Set("Authorization", "Bearer "+goodKey)
			req.ContentLength = int64(len(body))
			w := &sink{header: http.Header{}}
			b.ReportAllocs()
			for b.Loop() {
				in.Reset(body)
				req.Body = readCloser{in}
				clear(w.header)
				h.ServeHTTP(w, req)
				if w.status != 200 {
					b.Fatal(w.status)
				}
			}
		})
	}
}

type readCloser struct{ *strings.Reader }

func (readCloser) Close() error { return nil }
