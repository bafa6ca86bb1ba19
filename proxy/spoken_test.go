package proxy_test

import (
	"encoding/base64"
	"net/http"
	"strings"
	"testing"
)

// speaker is a stand-in of DashScope's speech: three samples in two events, the second of which is the last.
func speaker(events string) studio {
	return studio{"dashscope", "qwen3-tts-flash", "Authorization", map[string]func(*http.Request, string) (string, string){
		"POST /api/v1/services/aigc/multimodal-generation/generation": func(r *http.Request, _ string) (string, string) {
			if r.Header.Get("X-DashScope-SSE") != "enable" {
				return json200, `{"output":{"audio":{"url":"https://oss.example/x.wav"}}}`
			}
			return "text/event-stream", events
		},
	}}
}

const (
	firstSound = `id:1` + "\n" + `event:result` + "\n" + `data:{"output":{"audio":{"data":"AAABAA=="},"finish_reason":"null"},"usage":{"characters":2}}` + "\n\n"
	lastSound  = `data:{"output":{"audio":{"data":"AgA=","url":"https://oss.example/x.wav"},"finish_reason":"stop"},"usage":{"characters":2}}` + "\n\n"
)

// TestSpeech_Events: audio that comes in events leaves as a WAV file, as samples, or as the client's events.
func TestSpeech_Events(t *testing.T) {
	t.Parallel()
	v := speaker(firstSound + lastSound)
	for _, tt := range []struct{ name, body, kind, ends string }{
		{"a file", `{"model":"demo","input":"Hi","voice":"Cherry"}`, "audio/wav", "data\xff\xff\xff\xff\x00\x00\x01\x00\x02\x00"},
		{"samples", `{"model":"demo","input":"Hi","voice":"Cherry","response_format":"pcm"}`, "audio/pcm", "\x00\x00\x01\x00\x02\x00"},
		{"events", `{"model":"demo","input":"Hi","voice":"Cherry","response_format":"pcm","stream_format":"sse"}`, "text/event-stream", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := v.wireFor(t)
			res, got := w.ask(t.Context(), "/v1/audio/speech", json200, strings.NewReader(tt.body)) //nolint:bodyclose // ask closes it
			if res.StatusCode != 200 || !strings.HasPrefix(res.Header.Get("Content-Type"), tt.kind) || !strings.HasSuffix(got, tt.ends) {
				t.Fatalf("got %d %v %q", res.StatusCode, res.Header, got)
			}
			if tt.ends == "" && (!strings.Contains(got, base64.StdEncoding.EncodeToString([]byte{0, 0, 1, 0})) || !strings.Contains(got, "speech.audio.done")) {
				t.Errorf("got %q", got)
			}
			if rec := w.record(); rec.Usage.Units.Characters != 2 || rec.Cost == 0 || rec.Endpoint != "speech" {
				t.Errorf("record %+v", rec)
			}
		})
	}
}

// TestSpeech_Broken: an error in the place of audio is an error, and costs nothing.
func TestSpeech_Broken(t *testing.T) {
	t.Parallel()
	v := speaker(`data:{"code":"InvalidParameter","message":"no such voice"}` + "\n\n")
	w := v.wireFor(t)
	res, got := w.ask(t.Context(), "/v1/audio/speech", json200, strings.NewReader(`{"model":"demo","input":"Hi","voice":"Cherry"}`)) //nolint:bodyclose // ask closes it
	if res.StatusCode != 400 || codeOf(t, got) != "InvalidParameter" {
		t.Errorf("got %d %s", res.StatusCode, got)
	}
	if rec := w.record(); rec.Status == 200 || rec.Cost != 0 {
		t.Errorf("record %+v", rec)
	}
}

// TestSpeech_Digits: audio in hexadecimal digits leaves as bytes; what MiniMax counts is paid.
func TestSpeech_Digits(t *testing.T) {
	t.Parallel()
	v := studio{"minimax", "speech-2.8-hd", "Authorization", map[string]func(*http.Request, string) (string, string){
		"POST /t2a_v2": answers(json200, `{"data":{"audio":"494433"},"extra_info":{"audio_format":"mp3","usage_characters":4,"audio_length":1000},"base_resp":{"status_code":0}}`),
	}}
	w := v.wireFor(t)
	res, got := w.ask(t.Context(), "/v1/audio/speech", json200, strings.NewReader(`{"model":"demo","input":"Hi","voice":"v"}`)) //nolint:bodyclose // ask closes it
	if res.StatusCode != 200 || res.Header.Get("Content-Type") != "audio/mpeg" || got != "ID3" {
		t.Fatalf("got %d %v %q", res.StatusCode, res.Header, got)
	}
	if rec := w.record(); rec.Usage.Units.Characters != 4 || rec.Cost != 400_000 {
		t.Errorf("record %+v", rec)
	}
}
