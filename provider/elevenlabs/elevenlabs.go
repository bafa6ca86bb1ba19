// Package elevenlabs reads and writes ElevenLabs' speech and transcriptions, as its reference of 2026
// has them.
package elevenlabs

import (
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/embed"
	"github.com/conclave-llm/conclave/llm/multipart"
	"github.com/conclave-llm/conclave/llm/speech"
	"github.com/conclave-llm/conclave/llm/transcript"
	"github.com/conclave-llm/conclave/provider/openai"
)

// Codec is ElevenLabs' format.
type Codec struct{ compatible openai.Codec }

// Path is the endpoint's path, for speech without the voice.
func (Codec) Path(p llm.Place) string {
	if p.Endpoint == llm.ElevenSpeech {
		return "/v1/text-to-speech"
	}
	return "/v1/speech-to-text"
}

// Read reads a whole answer, which says what it used where it is translated.
func (Codec) Read(_ llm.Endpoint, body []byte) (llm.Report, error) { return embed.Report(body, "") }

// Meter is nil: nothing is streamed in events.
func (Codec) Meter(llm.Endpoint) llm.Meter { return nil }

// Frames is nil, likewise.
func (Codec) Frames(llm.Endpoint, io.Reader, int) llm.EventReader { return nil }

// Classify makes the error of an answer: {"detail":{"status":"…","message":"…"}}, or, of what a
// request lacks, {"detail":[{"loc":[…],"msg":"…"}]}.
func (c Codec) Classify(now time.Time, status int, h http.Header, body []byte) *llm.Error {
	var said struct {
		Detail json.RawMessage `json:"detail"`
	}
	var one struct {
		Status  string `json:"status"`
		Message string `json:"message"`
	}
	var list []struct {
		Message string `json:"msg"`
	}
	if json.Unmarshal(body, &said) == nil && json.Unmarshal(said.Detail, &one) != nil && json.Unmarshal(said.Detail, &list) == nil && len(list) > 0 {
		one.Message = list[0].Message
	}
	if one.Message == "" {
		return c.compatible.Classify(now, status, h, body)
	}
	raw := llm.AppendString([]byte(`{"error":{"message":`), one.Message)
	raw = llm.AppendString(append(raw, `,"code":`...), one.Status)
	e := c.compatible.Classify(now, status, h, append(raw, "}}"...))
	e.Body = nil
	return e
}

// Speech is the form of speech.
type Speech struct{}

// formats are ElevenLabs' names of what clients ask for.
var formats = map[string]string{"": "mp3_44100_128", "mp3": "mp3_44100_128", "opus": "opus_48000_128", "pcm": "pcm_24000"}

// EncodeRequest writes a request for the provider. A voice is one of the account's, by its id.
func (Speech) EncodeRequest(req *speech.Request, t *llm.Target) (*llm.Sent, error) {
	voice := req.VoiceOf(t)
	if voice == "" || speech.OpenAIVoice(voice) {
		return nil, llm.Unsayable("voice", "The voice must be the id of one of the provider's, or the deployment needs the option voice.")
	}
	format, ok := formats[req.Format]
	if !ok {
		t.Drop("response_format")
		format = formats[""]
	}
	dst := llm.AppendString([]byte(`{"text":`), req.Input)
	dst = llm.AppendString(llm.AppendKey(dst, "model_id"), t.Model)
	if req.Speed > 0 && req.Member("voice_settings") == nil {
		dst = strconv.AppendFloat(append(llm.AppendKey(dst, "voice_settings"), `{"speed":`...), req.Speed, 'g', -1, 64)
		dst = append(dst, '}')
	}
	if req.Instructions != "" {
		t.Drop("instructions")
	}
	known := []string{"voice_settings", "language_code", "seed", "previous_text", "next_text", "apply_text_normalization", "pronunciation_dictionary_locators"}
	for _, name := range known {
		if raw := req.Member(name); raw != nil {
			dst = llm.AppendRaw(llm.AppendKey(dst, name), raw)
		}
	}
	req.DropExtra(t, known...)
	return &llm.Sent{
		Body: append(dst, '}'), Path: "/v1/text-to-speech/" + url.PathEscape(voice) + "?output_format=" + format, Bytes: true,
	}, nil
}

// Listen is the form of transcriptions.
type Listen struct{}

// EncodeRequest writes a request for the provider: a form again, in which the file is the client's
// own bytes.
func (Listen) EncodeRequest(req *transcript.Request, t *llm.Target) (*llm.Sent, error) {
	f := multipart.New()
	f.Field("model_id", t.Model)
	if req.Language != "" {
		f.Field("language_code", req.Language)
	}
	if req.Temperature != "" {
		f.Field("temperature", req.Temperature)
	}
	if req.Prompt != "" {
		t.Drop("prompt")
	}
	extra := req.Texts(t, "diarize", "num_speakers", "tag_audio_events", "timestamps_granularity", "seed", "file_format")
	for _, name := range slices.Sorted(maps.Keys(extra)) {
		f.Field(name, extra[name])
	}
	f.File("file", req.Name, req.Type, req.File)
	return &llm.Sent{Pieces: f.Pieces(), Type: f.Type(), Path: "/v1/speech-to-text"}, nil
}

var errNone = errors.New("it has no text")

// DecodeResponse reads an answer. How long the audio was, the last word's end says at least, where
// nothing else does.
func (Listen) DecodeResponse(body []byte) (*transcript.Response, error) {
	var got struct {
		Language string  `json:"language_code"`
		Text     *string `json:"text"`
		Seconds  float64 `json:"audio_duration_secs"`
		Words    []struct {
			Text  string  `json:"text"`
			Type  string  `json:"type"`
			Start float64 `json:"start"`
			End   float64 `json:"end"`
		} `json:"words"`
	}
	if err := json.Unmarshal(body, &got); err != nil {
		return nil, transcript.Malformed(err)
	}
	if got.Text == nil {
		return nil, transcript.Malformed(errNone)
	}
	res := &transcript.Response{Text: *got.Text, Language: got.Language}
	for _, w := range got.Words {
		if w.Type == "word" || w.Type == "" {
			res.Words = append(res.Words, transcript.Word{Text: w.Text, Start: w.Start, End: w.End})
		}
		res.Duration = max(res.Duration, w.End)
	}
	res.Heard(got.Seconds)
	return res, nil
}
