package proxy_test

import (
	"encoding/base64"
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

// newHearing is a stand-in of a provider that transcribes live: for each message that it is sent answer gives
// its own. It refuses who comes to another path or without header.
func newHearing(t *testing.T, path, header string, answer func(text bool, message string) []string) string {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != path || r.Header.Get("Authorization") != header {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		conn, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		defer func() { _ = conn.CloseNow() }()
		for {
			kind, raw, err := conn.Read(r.Context())
			if err != nil {
				return
			}
			for _, m := range answer(kind == websocket.MessageText, string(raw)) {
				_ = conn.Write(r.Context(), websocket.MessageText, []byte(m)) // the reader finds out
			}
		}
	}))
	t.Cleanup(srv.Close)
	return srv.URL
}

// hearingStage is a stage whose model is a provider's that charges a dollar for each second it hears.
func hearingStage(t *testing.T, provider, url string) *stage {
	return newStage(t, mock.Config{}, func(st *stage) {
		for _, d := range st.tables.Deployments {
			d.Provider, d.APIBase, d.Upstream, d.APIKey = provider, url, "stt", &resource.Sealed{}
			d.Price = &resource.Price{Units: resource.Units{InputSecond: 1e15}}
		}
	})
}

// TestRealtime_Listens: a session of the type "transcription" reaches who transcribes live, is paid by the second
// for all that was heard, and makes no responses.
func TestRealtime_Listens(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		provider, path, header string
		answer                 func(text bool, message string) []string
	}{
		{"soniox", "/transcribe-websocket", "Bearer sk-provider", func(text bool, message string) []string {
			switch {
			case !text:
				if message == "second" {
					return []string{`{"tokens":[{"text":" and","is_final":true}],"total_audio_proc_ms":2500}`}
				}
				return []string{`{"tokens":[{"text":" Hi","is_final":true}],"total_audio_proc_ms":1000}`, `{"tokens":[{"text":"<end>","is_final":true}],"total_audio_proc_ms":2000}`}
			case strings.Contains(message, `"model":"stt"`), strings.Contains(message, "keepalive"):
				return nil
			}
			return []string{`{"error_code":400,"error_message":"what?"}`}
		}},
		{"meta", "/asr/realtime", "Bearer sk-provider", func(text bool, message string) []string {
			switch {
			case !text:
				if message == "second" {
					return []string{`{"type":"speechStart","turnId":2,"audioProcessedMs":2500}`}
				}
				return []string{`{"type":"speechStart","turnId":1,"audioProcessedMs":500}`, `{"type":"speechComplete","turnId":1,"transcript":"Hi","audioProcessedMs":2000}`}
			case strings.Contains(message, `"accessToken":"Bearer sk-provider"`):
				return []string{`{"sessionId":"s"}`}
			}
			return []string{`{"type":"error","message":"what?"}`}
		}},
	} {
		t.Run(tt.provider, func(t *testing.T) {
			t.Parallel()
			st := hearingStage(t, tt.provider, newHearing(t, tt.path, tt.header, tt.answer))
			k, res := st.dial(t, "/v1/realtime?intent=transcription&model=demo")
			if k == nil {
				t.Fatalf("no session: %d", res.StatusCode)
			}
			k.await("session.created")
			k.send(`{"type":"session.update","session":{"type":"transcription","audio":{"input":{"transcription":{"model":"whisper-1","language":"en"}}}}}`)
			k.await("session.updated")
			k.send(`{"type":"response.create"}`)
			if code := codeIn(k.await("error")); code != "unsupported_event" {
				t.Errorf("a response: code %q", code)
			}
			k.send(`{"type":"input_audio_buffer.append","audio":"AAAA"}`)
			done := k.await("conversation.item.input_audio_transcription.completed")
			if done["transcript"] != "Hi" || fmt.Sprint(done["usage"]) != "map[seconds:2 type:duration]" {
				t.Errorf("got %v", done)
			}
			k.send(`{"type":"input_audio_buffer.append","audio":%q}`, base64.StdEncoding.EncodeToString([]byte("second")))
			k.await("input_audio_buffer.speech_started")
			_ = k.conn.Close(1000, "")
			var ms int64
			var cost resource.Money
			for _, r := range st.awaitRecords(t, 2) {
				if u := r.Usage; u.Source != llm.UsageProvider || r.Provider != tt.provider || r.Status != 200 {
					t.Errorf("record %+v", r)
				}
				ms += r.Usage.Units.InputMS
				cost += r.Cost
			}
			if ms != 2500 || cost != 5*resource.Dollar/2 {
				t.Errorf("%d ms for %d", ms, cost)
			}
			st.money.balance(t, "budget", 2)
		})
	}
}

// TestRealtime_ListensRefused: a provider's refusal in the session ends it with its reason, and nothing is paid.
func TestRealtime_ListensRefused(t *testing.T) {
	t.Parallel()
	st := hearingStage(t, "soniox", newHearing(t, "/transcribe-websocket", "Bearer sk-provider", func(bool, string) []string {
		return []string{`{"error_code":400,"error_message":"Invalid model specified."}`}
	}))
	k := st.open(t)
	k.send(`{"type":"input_audio_buffer.append","audio":"AAAA"}`)
	if e := k.await("error"); codeIn(e) != "invalid_request_error" || !strings.Contains(fmt.Sprint(e), "Invalid model specified.") {
		t.Errorf("got %v", e)
	}
	if c := k.closed(); c.Code != 1008 {
		t.Errorf("closed with %v", c)
	}
	if r := st.awaitRecords(t, 1)[0]; r.Cost != 0 || r.Status != 400 {
		t.Errorf("record %+v", r)
	}
}
