package proxy_test

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/provider"
)

const page = "<!DOCTYPE html>\n<html><body><h1>502 Bad Gateway</h1></body></html>\n"

// sounds says that any bytes are the vendor's sound, or that silence has no events.
func sounds(a *adapter) bool {
	return a.answerKind == "audio/mpeg" || a.endpoint == llm.TranscribeListen
}

// relayedSound says that the vendor's sound is passed on as it is.
func relayedSound(a *adapter) bool {
	return a.endpoint == llm.Speech || a.endpoint == llm.TranscribeListen
}

// badAnswers are what comes in the place of a whole answer.
var badAnswers = []struct {
	name   string
	unless func(a *adapter) bool // it may be an answer; nil: of nobody's
	send   func(w http.ResponseWriter, a *adapter)
}{
	{"a page", nil, func(w http.ResponseWriter, _ *adapter) { answerWith(w, 200, "text/html", page) }},
	{"a page, called JSON", nil, func(w http.ResponseWriter, _ *adapter) { answerWith(w, 200, json200, page) }},
	{"a page of a proxy that failed", nil, func(w http.ResponseWriter, _ *adapter) { answerWith(w, 502, "text/html", page) }},
	{"an error without a body", nil, func(w http.ResponseWriter, _ *adapter) { answerWith(w, 500, json200, "") }},
	{"an error that is cut", nil, func(w http.ResponseWriter, _ *adapter) { answerWith(w, 429, json200, `{"error":{"mess`) }},
	{"nothing", relayedSound, func(w http.ResponseWriter, a *adapter) { answerWith(w, 200, a.answerKind, "") }},
	{"half of it", sounds, func(w http.ResponseWriter, a *adapter) {
		answerWith(w, 200, a.answerKind, string(a.whole[:len(a.whole)/2]))
	}},
	{"another type", sounds, func(w http.ResponseWriter, a *adapter) { answerWith(w, 200, a.answerKind, `"hello"`) }},
	{"no UTF-8", nil, func(w http.ResponseWriter, _ *adapter) { answerWith(w, 200, json200, "\xff\xfe{}") }},
	{"a connection that breaks", nil, func(w http.ResponseWriter, a *adapter) {
		w.Header().Set("Content-Type", a.answerKind)
		w.Header().Set("Content-Length", strconv.Itoa(len(a.whole)))
		_, _ = w.Write(a.whole[:len(a.whole)/2])
		panic(http.ErrAbortHandler)
	}},
	{"a connection that breaks at once", nil, func(http.ResponseWriter, *adapter) { panic(http.ErrAbortHandler) }},
}

func answerWith(w http.ResponseWriter, status int, kind, body string) {
	w.Header().Set("Content-Type", kind)
	w.WriteHeader(status)
	_, _ = w.Write([]byte(body))
}

// badStreams are what comes in the place of a stream.
var badStreams = []struct {
	name   string
	inside bool // of an answer whose end nothing marks, too
	send   func(w http.ResponseWriter, a *adapter)
}{
	{"a page", true, func(w http.ResponseWriter, a *adapter) { streamed(w, a, []byte(page)) }},
	{"nothing", true, func(w http.ResponseWriter, a *adapter) { streamed(w, a) }},
	{"one that is cut between events", false, func(w http.ResponseWriter, a *adapter) { streamed(w, a, a.stream[:len(a.stream)/2]...) }},
	{"one that is cut in an event", true, func(w http.ResponseWriter, a *adapter) {
		half := len(a.stream) / 2
		streamed(w, a, append(a.stream[:half:half], a.stream[half][:len(a.stream[half])/2])...)
	}},
	{"one with what is no JSON", true, func(w http.ResponseWriter, a *adapter) {
		streamed(w, a, a.stream[0], bytes.Replace(a.stream[1], []byte("{"), []byte("<"), 1))
	}},
	{"one whose connection breaks", true, func(w http.ResponseWriter, a *adapter) {
		streamed(w, a, a.stream[:len(a.stream)/2]...)
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}},
	{"one with an event that is too large", true, func(w http.ResponseWriter, a *adapter) {
		streamed(w, a, a.stream[0], []byte("data: "+`{"x":"`), bytes.Repeat([]byte("x"), 2<<20), []byte(`"}`+"\n\n"))
	}},
}

// TestAdapters_BadAnswers: what a provider's server, or one before it, sends in the place of an answer is an error of
// the provider's in the client's dialect, and costs nothing. Only tokens are counted here instead, and the answer says so.
func TestAdapters_BadAnswers(t *testing.T) {
	t.Parallel()
	for _, a := range adapters(t) {
		t.Run(a.name, func(t *testing.T) {
			t.Parallel()
			for _, bad := range badAnswers {
				if bad.unless != nil && bad.unless(&a) {
					continue
				}
				t.Run(bad.name, func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						r := a.rig(t, func(w http.ResponseWriter, _ *http.Request) { bad.send(w, &a) })
						w := a.ask(t.Context(), r, a.body)
						r.checkBalance()
						rec := r.journal.settled[0]
						if rec.Cost != 0 {
							t.Errorf("recorded %+v", rec)
						}
						if w.Code == http.StatusOK && w.Header().Get("X-Conclave-Token-Count") == "estimated" {
							return // counted here instead
						}
						a.checkRefused(t, w)
						if rec.ErrorKind == "" {
							t.Errorf("recorded %+v", rec)
						}
					})
				})
			}
		})
	}
}

// checkRefused wants an error in the client's dialect that names the provider as its origin.
func (a *adapter) checkRefused(t *testing.T, w *httptest.ResponseRecorder) {
	t.Helper()
	if w.Code < 400 || w.Header().Get("X-Conclave-Error-Origin") != "provider" || w.Header().Get("Content-Type") != json200 {
		t.Fatalf("got %d %v %s", w.Code, w.Header(), w.Body)
	}
	if codeOf(t, w.Body.String()) == "" && !strings.Contains(w.Body.String(), `"type":"error"`) {
		t.Errorf("no code in %s", w.Body)
	}
	if strings.Contains(w.Body.String(), "<html>") {
		t.Errorf("the page is shown: %s", w.Body)
	}
}

// TestAdapters_BadStreams: a broken stream is an error before the first byte, or ends with one; it never ends as if
// it were whole.
func TestAdapters_BadStreams(t *testing.T) {
	t.Parallel()
	for _, a := range adapters(t) {
		if a.stream == nil {
			continue
		}
		p, _ := provider.Lookup(a.provider)
		t.Run(a.name, func(t *testing.T) {
			t.Parallel()
			for _, bad := range badStreams {
				if p.NoEndMark && !bad.inside {
					continue // that is what a whole one looks like
				}
				t.Run(bad.name, func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						r := a.rig(t, func(w http.ResponseWriter, _ *http.Request) { bad.send(w, &a) })
						w := a.ask(t.Context(), r, a.streamBody)
						r.checkBalance()
						if rec := r.journal.settled[0]; rec.ErrorKind == "" {
							t.Errorf("recorded %+v", rec)
						}
						if w.Code != 200 {
							a.checkRefused(t, w)
							return
						}
						a.checkBroken(t, w.Body.String())
					})
				})
			}
		})
	}
}

// checkBroken wants a stream that ends with an error.
func (a *adapter) checkBroken(t *testing.T, got string) {
	t.Helper()
	for _, cl := range clients {
		if cl.path == a.path && strings.Contains(got, cl.end) {
			t.Errorf("it ends as if it were whole: %s", got)
		}
	}
	if !strings.Contains(got, `"error"`) {
		t.Errorf("it ends without an error: %s", got)
	}
}
