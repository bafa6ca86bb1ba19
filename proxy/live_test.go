package proxy_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/mock"
	"github.com/conclave-llm/conclave/resource"
)

// newLive is a stand-in of Google's Live API: it takes a setup, and answers each turn with its words, aloud.
func newLive(t *testing.T) string {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent" || r.Header.Get("X-Goog-Api-Key") != "sk-provider" {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusBadRequest)
			_, _ = fmt.Fprintf(w, `{"error":{"code":400,"message":"API key not valid at %s","status":"INVALID_ARGUMENT"}}`, r.URL.Path)
			return
		}
		conn, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		defer func() { _ = conn.CloseNow() }()
		say := func(format string, args ...any) {
			_ = conn.Write(r.Context(), websocket.MessageBinary, fmt.Appendf(nil, format, args...)) // the reader finds out
		}
		for {
			_, raw, err := conn.Read(r.Context())
			if err != nil {
				return
			}
			var m struct {
				Setup *struct {
					Model string `json:"model"`
				} `json:"setup"`
				Content *struct {
					Turns []struct {
						Parts []struct {
							Text string `json:"text"`
						} `json:"parts"`
					} `json:"turns"`
				} `json:"clientContent"`
			}
			if err := json.Unmarshal(raw, &m); err != nil || m.Setup != nil && m.Setup.Model != "models/gemini-live" {
				_ = conn.Close(websocket.StatusPolicyViolation, "a wrong message")
				return
			}
			switch {
			case m.Setup != nil:
				say(`{"setupComplete":{}}`)
			case m.Content != nil:
				say(`{"serverContent":{"modelTurn":{"parts":[{"inlineData":{"mimeType":"audio/pcm;rate=24000","data":"AQID"}}]},"outputTranscription":{"text":"You said: %s"}}}`, m.Content.Turns[0].Parts[0].Text)
				say(`{"serverContent":{"turnComplete":true},"usageMetadata":{"promptTokenCount":7,"responseTokenCount":30,"responseTokensDetails":[{"modality":"AUDIO","tokenCount":25}]}}`)
			}
		}
	}))
	t.Cleanup(srv.Close)
	return srv.URL
}

// TestRealtime_Google: a client of OpenAI's sessions talks to a model of Google's; each answer is booked with
// what Google counts.
func TestRealtime_Google(t *testing.T) {
	t.Parallel()
	st := newStage(t, mock.Config{}, func(st *stage) {
		url := newLive(t)
		for _, d := range st.tables.Deployments {
			d.Provider, d.APIBase, d.Upstream, d.APIKey = "gemini", url, "gemini-live", &resource.Sealed{}
		}
	})
	k := st.open(t)
	k.send(`{"type":"session.update","session":{"type":"realtime","instructions":"Be short."}}`)
	k.await("session.updated")
	k.say("hello there")
	k.send(`{"type":"response.create"}`)
	k.await("response.done")
	if got := k.heard(); got != "You said: hello there" {
		t.Errorf("heard %q", got)
	}
	k.say("and more")
	k.send(`{"type":"response.create"}`)
	k.await("response.done")
	_ = k.conn.Close(1000, "")
	for _, r := range st.awaitRecords(t, 2) {
		if u := r.Usage; u.Input != 7 || u.Output != 5 || u.AudioOutput != 25 || u.Source != llm.UsageProvider || r.Cost == 0 || r.Provider != "gemini" {
			t.Errorf("record %+v", r)
		}
	}
	st.money.balance(t, "budget", 2)
}

// TestRealtime_GoogleRefuses: a key that Google does not know is the deployment's fault.
func TestRealtime_GoogleRefuses(t *testing.T) {
	t.Parallel()
	st := newStage(t, mock.Config{}, func(st *stage) {
		url := newLive(t)
		for _, d := range st.tables.Deployments {
			d.Provider, d.APIBase, d.Upstream, d.APIKey = "gemini", url+"/elsewhere", "gemini-live", &resource.Sealed{}
		}
	})
	k, res := st.dial(t, "/v1/realtime?model=demo")
	if k != nil || res.StatusCode < 400 || !strings.HasPrefix(res.Header.Get("Content-Type"), "application/json") {
		t.Errorf("got %+v", res)
	}
}
