package proxy_test

import (
	"context"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// leaves are the moments at which clients go away.
var leaves = []struct {
	name   string
	stream bool
	// send sends what the vendor has sent by then.
	send func(w http.ResponseWriter, a *adapter)
}{
	{"before the first byte", false, func(http.ResponseWriter, *adapter) {}},
	{"in the middle of the answer", false, func(w http.ResponseWriter, a *adapter) {
		w.Header().Set("Content-Type", a.answerKind)
		w.Header().Set("Content-Length", strconv.Itoa(len(a.whole)))
		_, _ = w.Write(a.whole[:len(a.whole)/2])
	}},
	{"before the first event", true, func(w http.ResponseWriter, a *adapter) { streamed(w, a) }},
	{"in the middle of the stream", true, func(w http.ResponseWriter, a *adapter) { streamed(w, a, a.stream[:len(a.stream)/2]...) }},
	{"in the middle of an event", true, func(w http.ResponseWriter, a *adapter) {
		half := len(a.stream) / 2
		e := a.stream[half]
		streamed(w, a, append(a.stream[:half:half], e[:len(e)/2])...)
	}},
}

// streamed begins a stream.
func streamed(w http.ResponseWriter, a *adapter, events ...[]byte) {
	w.Header().Set("Content-Type", a.streamKind())
	w.WriteHeader(http.StatusOK)
	for _, e := range events {
		_, _ = w.Write(e)
	}
}

// TestAdapters_ClientLeaves has a client of each adapter go away at each moment: the provider's request ends, the
// reservation is settled as of one that was canceled, and nothing is left waiting, which the bubble sees.
func TestAdapters_ClientLeaves(t *testing.T) {
	t.Parallel()
	for _, a := range adapters(t) {
		t.Run(a.name, func(t *testing.T) {
			t.Parallel()
			for _, l := range leaves {
				if l.stream && a.stream == nil {
					continue
				}
				t.Run(l.name, func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) { leaveAt(t, &a, l.stream, l.send) })
				})
			}
		})
	}
}

func leaveAt(t *testing.T, a *adapter, stream bool, send func(http.ResponseWriter, *adapter)) {
	client, leave := context.WithCancel(t.Context())
	defer leave()
	var once sync.Once
	gone := make(chan struct{})
	r := a.rig(t, func(w http.ResponseWriter, q *http.Request) {
		send(w, a)
		_ = http.NewResponseController(w).Flush()
		go func() {
			synctest.Wait() // the gateway has read what there is
			leave()
		}()
		<-q.Context().Done()
		once.Do(func() { close(gone) })
	})
	body := a.body
	if stream {
		body = a.streamBody
	}
	began := time.Now()
	w := a.ask(client, r, body)
	synctest.Wait()
	if took := time.Since(began); took != 0 {
		t.Errorf("the request ended %v of the bubble's time later", took)
	}
	select {
	case <-gone:
	default:
		t.Fatalf("the provider still works: %d %s", w.Code, w.Body)
	}
	r.checkBalance()
	if rec := r.journal.settled[0]; rec.ErrorKind != "canceled" {
		t.Errorf("recorded %+v of %d %s", rec, w.Code, w.Body)
	}
}
