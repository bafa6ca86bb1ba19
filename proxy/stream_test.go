package proxy_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/conclave-llm/conclave/ledger"
	"github.com/conclave-llm/conclave/ledger/requestlog/segment"
	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/proxy"
	"github.com/conclave-llm/conclave/proxy/upstream"
)

const streamBody = `{"model":"demo","stream":true,"messages":[{"role":"user","content":"hello there"}]}`

func TestStream_Cut(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		events  int // before the cut
		retried bool
	}{
		{"before the first event", 0, true},
		{"after one event", 1, false},
		{"after two", 2, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			var streams []*script
			r.upstream = func(context.Context, *upstream.Attempt) (proxy.Answer, error) {
				st := r.stream()
				if len(streams) == 0 {
					st.events, st.usage = st.events[:tt.events], llm.Usage{}
					st.err = &llm.Error{Kind: llm.Upstream, Message: "cut"}
				}
				streams = append(streams, st)
				return proxy.Answer{Status: 200, Stream: st}, nil
			}
			w := r.do("POST", "/v1/chat/completions", streamBody)
			body := w.Body.String()
			r.checkBalance()
			for i, st := range streams {
				if st.closed != 1 {
					t.Errorf("stream %d closed %d times", i, st.closed)
				}
			}
			rec := r.journal.settled[0]
			if tt.retried {
				if len(streams) != 2 || rec.Failed() || !strings.HasSuffix(body, "data: [DONE]\n\n") {
					t.Fatalf("%d attempts, %+v, %q", len(streams), rec, body)
				}
				return
			}
			if len(streams) != 1 || w.Code != 200 {
				t.Fatalf("%d attempts, status %d", len(streams), w.Code)
			}
			last := strings.TrimPrefix(body[strings.LastIndex(body, "data: "):], "data: ")
			if got := codeOf(t, last); got != "conclave_upstream_failed" {
				t.Errorf("last event %q has code %q", last, got)
			}
			if rec.Usage.Source != llm.UsageEstimated || rec.Usage.Output == 0 || rec.Usage.Input == 0 || rec.Cost == 0 || !rec.Failed() || !rec.Flags.Has(ledger.Cut|ledger.Streamed) {
				t.Errorf("recorded %+v, want an estimate", rec)
			}
		})
	}
}

// A stream that ends well and says no usage is charged what passed, and its record says that this is an estimate.
func TestStream_withoutUsage(t *testing.T) {
	t.Parallel()
	for name, said := range map[string]llm.Usage{"says none": {}, "says zeros": {Source: llm.UsageProvider}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.upstream = func(context.Context, *upstream.Attempt) (proxy.Answer, error) {
				st := r.stream()
				st.usage = said
				return proxy.Answer{Status: 200, Stream: st}, nil
			}
			w := r.do("POST", "/v1/chat/completions", streamBody)
			rec := r.journal.settled[0]
			if w.Code != 200 || rec.Failed() || rec.Usage.Source != llm.UsageEstimated || rec.Usage.Input == 0 || rec.Usage.Output == 0 || rec.Cost == 0 {
				t.Errorf("got %d, recorded %+v, want an estimate that is charged", w.Code, rec)
			}
			if row := segment.RowOf(&rec, 1); row.UsageSource != "estimated" {
				t.Errorf("the row says %q", row.UsageSource)
			}
		})
	}
}

// deaf is a client that goes away after some bytes.
type deaf struct {
	*httptest.ResponseRecorder
	left int
	gone context.CancelFunc
}

func (d *deaf) Write(p []byte) (int, error) {
	if d.left--; d.left < 0 {
		d.gone()
		return 0, errBoom
	}
	return d.ResponseRecorder.Write(p)
}

func TestStream_ClientGone(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"/v1/chat/completions", "/v1/completions"} {
		for _, tt := range []struct {
			name   string
			writes int
			source llm.UsageSource
		}{
			{"at once", 0, llm.UsageEstimated},
			{"after one event", 1, llm.UsageEstimated},
			{"at the last event", 2, llm.UsageProvider},
		} {
			t.Run(path+tt.name, func(t *testing.T) {
				t.Parallel()
				r := newRig(t)
				st := r.stream()
				st.hide = true
				r.upstream = func(context.Context, *upstream.Attempt) (proxy.Answer, error) {
					return proxy.Answer{Status: 200, Stream: st}, nil
				}
				ctx, cancel := context.WithCancel(context.Background())
				defer cancel()
				w := &deaf{httptest.NewRecorder(), tt.writes, cancel}
				req := httptest.NewRequest("POST", path, strings.NewReader(streamBody)).WithContext(ctx)
				req.Header.Set("Authorization", "Bearer "+goodKey)
				r.handler().ServeHTTP(w, req)
				r.checkBalance()
				rec := r.journal.settled[0]
				if rec.Usage.Source != tt.source || rec.Cost == 0 {
					t.Errorf("recorded %+v, want usage %v", rec, tt.source)
				}
				if st.closed != 1 || r.router.began != 1 {
					t.Errorf("closed %d, %d attempts", st.closed, r.router.began)
				}
			})
		}
	}
}

func TestWhole_ClientGone(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"/v1/chat/completions", "/v1/completions", "/v1/embeddings"} {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				ctx, cancel := context.WithCancel(context.Background())
				r.upstream = func(ctx context.Context, _ *upstream.Attempt) (proxy.Answer, error) {
					timer := time.AfterFunc(2*time.Second, cancel)
					defer timer.Stop()
					<-ctx.Done()
					return proxy.Answer{}, ctx.Err()
				}
				w := r.do("POST", path, chatBody, func(q *http.Request) { *q = *q.WithContext(ctx) })
				r.checkBalance()
				rec := r.journal.settled[0]
				if rec.ErrorKind != "canceled" || rec.ErrorCode != "conclave_canceled" || rec.Status != 499 || rec.Usage.Source != llm.UsageEstimated || rec.Usage.Input == 0 || r.router.began != 1 {
					t.Errorf("recorded %+v after %d attempts", rec, r.router.began)
				}
				want := int64(200) // two seconds' worth
				if path == "/v1/embeddings" {
					want = 0
				}
				if rec.Usage.Output != want {
					t.Errorf("charged %d tokens of output, want %d", rec.Usage.Output, want)
				}
				if w.Code != 503 { // whoever is still there must not take it for an answer
					t.Errorf("got %d", w.Code)
				}
			})
		})
	}
}

func TestPanic(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.upstream = func(context.Context, *upstream.Attempt) (proxy.Answer, error) { panic("boom") }
	w := r.do("POST", "/v1/chat/completions", chatBody)
	if w.Code != 500 || codeOf(t, w.Body.String()) != "conclave_internal" {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
	r.checkBalance()
}
