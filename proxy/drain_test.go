package proxy_test

import (
	"context"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/proxy"
	"github.com/conclave-llm/conclave/proxy/upstream"
	"github.com/conclave-llm/conclave/resource"
)

// leaving asks for a stream whose client goes away after so many writes.
func leaving(r *rig, writes int) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	req := httptest.NewRequest("POST", "/v1/chat/completions", strings.NewReader(streamBody)).WithContext(ctx)
	req.Header.Set("Authorization", "Bearer "+goodKey)
	r.handler().ServeHTTP(&deaf{httptest.NewRecorder(), writes, cancel}, req)
}

// TestDrain has a client leave a stream whose model drains: the stream is read to its end, and
// what the provider counted is charged.
func TestDrain(t *testing.T) {
	t.Parallel()
	for writes := range 2 {
		r := newRig(t)
		r.tables.Models[0].OnDisconnect = resource.DisconnectDrain
		st := r.stream()
		var of context.Context
		r.upstream = func(ctx context.Context, _ *upstream.Attempt) (proxy.Answer, error) {
			of = ctx
			return proxy.Answer{Status: 200, Stream: st}, nil
		}
		leaving(r, writes)
		r.checkBalance()
		rec := r.journal.settled[0]
		if rec.Usage.Source != llm.UsageProvider || rec.Usage.Output != usage.Output || rec.ErrorKind != "canceled" {
			t.Errorf("left after %d writes: recorded %+v, want the provider's count and canceled", writes, rec)
		}
		if st.i != len(st.events) || st.closed != 1 || r.router.began != 1 {
			t.Errorf("read %d events, closed %d times, %d attempts", st.i, st.closed, r.router.began)
		}
		if of.Err() == nil {
			t.Error("the attempt's context did not end with it")
		}
	}
}

// TestDrain_Whole has a client leave while an answer is awaited that is no stream.
func TestDrain_Whole(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		takes  time.Duration // of the provider, after the client has left
		source llm.UsageSource
	}{
		{"in time", 59 * time.Second, llm.UsageProvider},
		{"late", 61 * time.Second, llm.UsageEstimated},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				r.tables.Models[0].OnDisconnect = resource.DisconnectDrain
				client, leave := context.WithCancel(context.Background())
				r.upstream = func(ctx context.Context, _ *upstream.Attempt) (proxy.Answer, error) {
					leave()
					select {
					case <-ctx.Done():
						return proxy.Answer{}, &llm.Error{Kind: llm.Canceled, Err: ctx.Err()}
					case <-time.After(tt.takes):
						return wholeAnswer(), nil
					}
				}
				began := time.Now()
				req := httptest.NewRequest("POST", "/v1/chat/completions", strings.NewReader(chatBody)).WithContext(client)
				req.Header.Set("Authorization", "Bearer "+goodKey)
				r.handler().ServeHTTP(httptest.NewRecorder(), req)
				r.checkBalance()
				if rec := r.journal.settled[0]; rec.Usage.Source != tt.source || rec.Cost == 0 {
					t.Errorf("recorded %+v, want usage %v", rec, tt.source)
				}
				if took := time.Since(began); took > time.Minute {
					t.Errorf("read for %v", took)
				}
			})
		})
	}
}

// early is a stream whose provider counts at its beginning, and again at its end.
type early struct{ *script }

func (e early) TextBytes() int64 { return int64(300 * e.i) }

func (e early) Usage() (llm.Usage, bool) {
	if u, ok := e.script.Usage(); ok {
		return u, true
	}
	return llm.Usage{Input: 77, Output: 1, Source: llm.UsageProvider}, true
}

// TestStream_EarlyCount cuts a stream whose provider counted before its text came.
func TestStream_EarlyCount(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	st := early{r.stream()}
	st.events = st.events[:2]
	st.err = &llm.Error{Kind: llm.Upstream, Message: "cut"}
	st.usage = llm.Usage{}
	r.upstream = func(context.Context, *upstream.Attempt) (proxy.Answer, error) {
		return proxy.Answer{Status: 200, Stream: st}, nil
	}
	r.do("POST", "/v1/chat/completions", streamBody)
	r.checkBalance()
	if u := r.journal.settled[0].Usage; u.Input != 77 || u.Output != 201 || u.Source != llm.UsageEstimated {
		t.Errorf("charged %+v, want the provider's count of the prompt and 600 bytes of text", u)
	}
}
