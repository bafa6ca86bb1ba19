package proxy_test

import (
	"bytes"
	"encoding/binary"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/speech"
	"github.com/conclave-llm/conclave/provider/bedrock"
	"github.com/conclave-llm/conclave/resource"
)

// TestTranscriptions_Amazon: a file is sent as events with signatures, and paid by what was heard.
func TestTranscriptions_Amazon(t *testing.T) {
	t.Parallel()
	heard := 0
	w := newWire(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if !strings.HasSuffix(r.URL.Path, "/stream-transcription") || r.Header.Get("X-Amzn-Transcribe-Sample-Rate") != "16000" || r.Header.Get("Content-Type") != "application/vnd.amazon.eventstream" ||
			!strings.HasPrefix(r.Header.Get("Authorization"), "AWS4-HMAC-SHA256 Credential=sk-provider/") || r.Header.Get("X-Amz-Content-Sha256") != "STREAMING-AWS4-HMAC-SHA256-EVENTS" {
			w.Header().Set("X-Amzn-Errortype", "BadRequestException")
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		signed := 0
		for rest := body; len(rest) > 0; signed++ {
			frame, after, ok := bedrock.Frame(rest)
			if !ok || !bytes.Contains(frame, []byte(":chunk-signature")) {
				return
			}
			inner := frame[12+binary.BigEndian.Uint32(frame[4:]) : len(frame)-4]
			if len(inner) > 0 {
				e, _ := bedrock.NewReader(bytes.NewReader(inner), 0).Next()
				heard += len(e.Data)
			}
			rest = after
		}
		w.Header().Set("Content-Type", "application/vnd.amazon.eventstream")
		if heard != 40000 || signed != 4 { // three of audio, and the end
			_, _ = w.Write(bedrock.AppendException(nil, "BadRequestException", "It was not well sent."))
			return
		}
		_, _ = w.Write(bedrock.AppendEvent(nil, "TranscriptEvent", func(b []byte) []byte {
			return append(b, `{"Transcript":{"Results":[{"IsPartial":false,"StartTime":0,"EndTime":2,"Alternatives":[{"Transcript":"Hello there."}]}]}}`...)
		}))
	})
	for _, d := range w.tables.Deployments {
		d.Provider, d.Upstream, d.APIKey = "transcribe", "StartTranscriptionJob", nil
		d.Options, d.Secrets = map[string]string{"region": "us-east-1"}, map[string]*resource.Sealed{"aws_access_key_id": {}, "aws_secret_access_key": {}}
		d.Price = &resource.Price{Units: resource.Units{InputSecond: 1e12}}
	}
	sound := append(speech.WAVHead(40000, 16000), make([]byte, 40000)...)
	kind, form := formOf(t, map[string]string{"model": "demo", "language": "en"}, sound)
	res, got := w.ask(t.Context(), "/v1/audio/transcriptions", kind, strings.NewReader(form)) //nolint:bodyclose // ask closes it
	if want := `{"text":"Hello there.","usage":{"type":"duration","seconds":2}}`; res.StatusCode != 200 || got != want {
		t.Fatalf("got %d %s", res.StatusCode, got)
	}
	if rec := w.record(); rec.Usage.Units.InputMS != 2000 || rec.Cost != 2_000_000 || rec.Usage.Source != llm.UsageProvider {
		t.Errorf("record %+v", rec)
	}
	kind, form = formOf(t, map[string]string{"model": "demo", "language": "en"}, []byte("ID3 what is no sound"))
	if res, got := w.ask(t.Context(), "/v1/audio/transcriptions", kind, strings.NewReader(form)); res.StatusCode != 400 || !strings.Contains(got, "FLAC") { //nolint:bodyclose // ask closes it
		t.Errorf("got %d %s", res.StatusCode, got)
	}
	kind, form = formOf(t, map[string]string{"model": "demo", "language": "en"}, sound[:20000])
	if res, got := w.ask(t.Context(), "/v1/audio/transcriptions", kind, strings.NewReader(form)); res.StatusCode != 400 || !strings.Contains(got, "It was not well sent.") { //nolint:bodyclose // ask closes it
		t.Errorf("an exception in the stream: got %d %s", res.StatusCode, got)
	}
}
