package transcribe_test

import (
	"bytes"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/speech"
	"github.com/conclave-llm/conclave/llm/transcript"
	"github.com/conclave-llm/conclave/provider/bedrock"
	"github.com/conclave-llm/conclave/provider/transcribe"
)

// wav is a file of so many bytes of sound.
func wav(size int) []byte {
	return append(speech.WAVHead(int64(size), 16000), make([]byte, size)...)
}

// TestListen_Request: a file becomes events of audio, and headers that say what they are.
func TestListen_Request(t *testing.T) {
	t.Parallel()
	flac := append([]byte("fLaC\x00\x00\x00\x22"), make([]byte, 40)...)
	copy(flac[18:], []byte{0x0a, 0xc4, 0x40}) // 44100
	ogg := append([]byte("OggS"), make([]byte, 24)...)
	ogg = append(append(ogg, "OpusHead"...), make([]byte, 40)...)
	for _, tt := range []struct {
		name, refused string
		req           transcript.Request
		options       map[string]string
		want          http.Header
		sent          int // bytes of audio
		dropped       []string
	}{
		{
			"wav", "",
			transcript.Request{File: wav(40000), Language: "en", Prompt: "p", Extra: []llm.Member{{Name: "vocabulary_name", Value: []byte(`"mine\r\nX: y"`)}, {Name: "other", Value: []byte(`"1"`)}}},
			nil,
			http.Header{"X-Amzn-Transcribe-Language-Code": {"en-US"}, "X-Amzn-Transcribe-Media-Encoding": {"pcm"}, "X-Amzn-Transcribe-Sample-Rate": {"16000"}, "X-Amzn-Transcribe-Vocabulary-Name": {"mineX: y"}},
			40000,
			[]string{"prompt", "other"},
		},
		{"flac", "", transcript.Request{File: flac, Language: "de-CH"}, nil, http.Header{"X-Amzn-Transcribe-Language-Code": {"de-CH"}, "X-Amzn-Transcribe-Media-Encoding": {"flac"}, "X-Amzn-Transcribe-Sample-Rate": {"44100"}}, len(flac), nil},
		{"ogg", "", transcript.Request{File: ogg}, map[string]string{"language_code": "ja-JP"}, http.Header{"X-Amzn-Transcribe-Language-Code": {"ja-JP"}, "X-Amzn-Transcribe-Media-Encoding": {"ogg-opus"}, "X-Amzn-Transcribe-Sample-Rate": {"48000"}}, len(ogg), nil},
		{"no language", "language", transcript.Request{File: ogg}, nil, nil, 0, nil},
		{"mp3", "file", transcript.Request{File: []byte("ID3 something that is no sound"), Language: "en"}, nil, nil, 0, nil},
		{"a cut WAV", "file", transcript.Request{File: wav(100)[:30], Language: "en"}, nil, nil, 0, nil},
		{"no sound", "file", transcript.Request{File: wav(0), Language: "en"}, nil, nil, 0, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			target := llm.Target{Options: tt.options}
			sent, err := transcribe.Listen{}.EncodeRequest(&tt.req, &target)
			if tt.refused != "" {
				if e, ok := errors.AsType[*llm.Error](err); !ok || e.Kind != llm.Invalid || e.Param != tt.refused {
					t.Errorf("got %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tt.want, sent.Header); d != "" {
				t.Errorf("headers (-want +got):\n%s", d)
			}
			if d := cmp.Diff(tt.dropped, target.Dropped()); d != "" {
				t.Errorf("dropped (-want +got):\n%s", d)
			}
			n := 0
			for rest := sent.Body; len(rest) > 0; {
				frame, after, ok := bedrock.Frame(rest)
				if !ok {
					t.Fatal("no frames")
				}
				e, err := bedrock.NewReader(bytes.NewReader(frame), 0).Next()
				if err != nil || string(e.Type) != "AudioEvent" {
					t.Fatalf("got %+v, %v", e, err)
				}
				n, rest = n+len(e.Data), after
			}
			if n != tt.sent {
				t.Errorf("sent %d bytes of audio, want %d", n, tt.sent)
			}
		})
	}
}

// event is one of Transcribe's.
func event(dst []byte, data string) []byte {
	return bedrock.AppendEvent(dst, "TranscriptEvent", func(b []byte) []byte { return append(b, data...) })
}

const (
	partial = `{"Transcript":{"Results":[{"IsPartial":true,"StartTime":0.1,"EndTime":0.5,"Alternatives":[{"Transcript":"He"}]}]}}`
	first   = `{"Transcript":{"Results":[{"IsPartial":false,"StartTime":0.1,"EndTime":1.2,"LanguageCode":"en-US","Alternatives":[{"Transcript":"Hello there.","Items":[{"Content":"Hello","Type":"pronunciation","StartTime":0.1,"EndTime":0.5},{"Content":"there","Type":"pronunciation","StartTime":0.6,"EndTime":1.1},{"Content":".","Type":"punctuation"}]}]}]}}`
	second  = `{"Transcript":{"Results":[{"IsPartial":false,"StartTime":1.5,"EndTime":2.5,"Alternatives":[{"Transcript":"Yes."}]}]}}`
)

// TestListen_Answer: of a stream's results those count that are not replaced.
func TestListen_Answer(t *testing.T) {
	t.Parallel()
	body := event(event(event(event(nil, partial), first), `{"Transcript":{"Results":[]}}`), second)
	res, err := transcribe.Listen{}.DecodeResponse(body)
	if err != nil {
		t.Fatal(err)
	}
	want := &transcript.Response{
		Text: "Hello there. Yes.", Language: "en-US", Words: []transcript.Word{{Text: "Hello", Start: 0.1, End: 0.5}, {Text: "there.", Start: 0.6, End: 1.1}},
		Segments: []transcript.Segment{{Text: "Hello there.", Start: 0.1, End: 1.2}, {Text: "Yes.", Start: 1.5, End: 2.5}},
	}
	want.Heard(2.5)
	if d := cmp.Diff(want, res); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	failed := bedrock.AppendException(event(nil, first), "LimitExceededException", "Too many streams.")
	rep, err := transcribe.Codec{}.Read(llm.TranscribeListen, failed)
	e := transcribe.Codec{}.Classify(time.Now(), http.StatusOK, nil, failed)
	if err != nil || !rep.HasError || e.Message != "Too many streams." || e.Kind != llm.RateLimited {
		t.Errorf("got %+v, %v and %+v", rep, err, e)
	}
	if _, err := (transcribe.Listen{}).DecodeResponse([]byte(strings.Repeat("x", 40))); err == nil {
		t.Error("nonsense is read")
	}
}

// FuzzListen: no file and no answer make it panic, and a file's events hold no more than the file.
func FuzzListen(f *testing.F) {
	f.Add(wav(10), event(nil, first))
	f.Add([]byte("fLaC\x00\x00\x00\x22\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x0a\xc4\x40\x00\x00"), event(nil, `{"Transcript":7}`))
	f.Add([]byte("RIFF\xff\xff\xff\xffWAVEdata\xff\xff\xff\xff"), bedrock.AppendException(nil, "X", "y"))
	f.Fuzz(func(t *testing.T, file, answer []byte) {
		sent, err := transcribe.Listen{}.EncodeRequest(&transcript.Request{File: file, Language: "en"}, &llm.Target{})
		if err == nil && len(sent.Body) > 2*len(file)+1024 {
			t.Fatalf("%d bytes became %d", len(file), len(sent.Body))
		}
		_, _ = transcribe.Codec{}.Read(llm.TranscribeListen, answer)
		if res, err := (transcribe.Listen{}).DecodeResponse(answer); err == nil && res.Duration < 0 {
			t.Fatalf("got %+v", res)
		}
	})
}
