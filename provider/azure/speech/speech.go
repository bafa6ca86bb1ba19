// Package speech reads and writes Azure's service of speech, as its references of 2026 have it: a text
// that is spoken goes out as SSML, audio that is written down as a form (fast transcription).
package speech

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/embed"
	"github.com/conclave-llm/conclave/llm/multipart"
	"github.com/conclave-llm/conclave/llm/speech"
	"github.com/conclave-llm/conclave/llm/transcript"
	"github.com/conclave-llm/conclave/provider/openai"
)

// DefaultVersion is that of the transcriptions for deployments that name none in their option
// api_version.
const DefaultVersion = "2024-11-15"

// EnhancedVersion is that of translations, likewise, which its enhanced mode makes.
const EnhancedVersion = "2025-10-15"

// RootOf is the address of an endpoint: a region has a host for what is spoken, and one for the rest.
func RootOf(e llm.Endpoint, base string) string {
	if e == llm.AzureListen {
		return strings.Replace(base, ".tts.speech.microsoft.com", ".api.cognitive.microsoft.com", 1)
	}
	return base
}

// Codec is the service's format.
type Codec struct{ compatible openai.Codec }

// Path is the endpoint's path.
func (Codec) Path(p llm.Place) string {
	if p.Endpoint == llm.AzureSpeak {
		return "/cognitiveservices/v1"
	}
	version := p.Options["api_version"]
	if version == "" {
		version = DefaultVersion
	}
	return "/speechtotext/transcriptions:transcribe?api-version=" + version
}

// Read reads a whole answer, which says what it used where it is translated.
func (Codec) Read(_ llm.Endpoint, body []byte) (llm.Report, error) { return embed.Report(body, "") }

// Meter is nil: nothing is streamed in events.
func (Codec) Meter(llm.Endpoint) llm.Meter { return nil }

// Frames is nil, likewise.
func (Codec) Frames(llm.Endpoint, io.Reader, int) llm.EventReader { return nil }

// Classify makes the error of an answer, which may have no body.
func (c Codec) Classify(now time.Time, status int, h http.Header, body []byte) *llm.Error {
	return c.compatible.Classify(now, status, h, body)
}

// Speak is the form of what is spoken.
type Speak struct{}

// formats are Azure's names of what clients ask for.
var formats = map[string]string{
	"": "audio-24khz-96kbitrate-mono-mp3", "mp3": "audio-24khz-96kbitrate-mono-mp3", "opus": "ogg-24khz-16bit-mono-opus",
	"wav": "riff-24khz-16bit-mono-pcm", "pcm": "raw-24khz-16bit-mono-pcm",
}

// EncodeRequest writes a request for the provider. A voice has its language before its name:
// "en-US-AvaMultilingualNeural".
func (Speak) EncodeRequest(req *speech.Request, t *llm.Target) (*llm.Sent, error) {
	voice := req.VoiceOf(t)
	if voice == "" || speech.OpenAIVoice(voice) {
		return nil, llm.Unsayable("voice", "The voice must be one of Azure's, such as en-US-AvaMultilingualNeural, or the deployment needs the option voice.")
	}
	format, ok := formats[req.Format]
	if !ok {
		t.Drop("response_format")
		format = formats[""]
	}
	if req.Instructions != "" {
		t.Drop("instructions")
	}
	req.DropExtra(t)
	language := "en-US"
	if parts := strings.SplitN(voice, "-", 3); len(parts) == 3 {
		language = parts[0] + "-" + parts[1]
	}
	var b strings.Builder
	b.WriteString(`<speak version="1.0" xmlns="http://www.w3.org/2001/10/synthesis" xml:lang="` + escaped(language) + `"><voice name="` + escaped(voice) + `">`)
	if req.Speed > 0 {
		b.WriteString(`<prosody rate="` + strconv.FormatFloat(req.Speed, 'f', -1, 64) + `">` + escaped(req.Input) + `</prosody>`)
	} else {
		b.WriteString(escaped(req.Input))
	}
	b.WriteString(`</voice></speak>`)
	return &llm.Sent{
		Body: []byte(b.String()), Type: "application/ssml+xml", Bytes: true, Header: http.Header{"X-Microsoft-Outputformat": {format}},
	}, nil
}

func escaped(text string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(text)) // a Builder takes everything
	return b.String()
}

// Listen is the form of transcriptions.
type Listen struct{}

// EncodeRequest writes a request for the provider.
func (Listen) EncodeRequest(req *transcript.Request, t *llm.Target) (*llm.Sent, error) {
	if req.Prompt != "" && !req.English {
		t.Drop("prompt")
	}
	if req.Temperature != "" {
		t.Drop("temperature")
	}
	definition := []byte{'{'}
	if req.English {
		definition = append(definition, `"enhancedMode":{"enabled":true,"task":"translate","targetLanguage":"en"`...)
		if req.Prompt != "" {
			definition = append(llm.AppendString(append(llm.AppendKey(definition, "prompt"), '['), req.Prompt), ']')
		}
		definition = append(definition, '}')
	}
	if req.Language != "" { // a language without a country, or with it
		definition = append(llm.AppendString(append(llm.AppendKey(definition, "locales"), '['), req.Language), ']')
	}
	for _, name := range []string{"profanityFilterMode", "diarization", "channels", "phraseList"} {
		if text, ok := req.Texts(&llm.Target{}, name)[name]; ok {
			if !json.Valid([]byte(text)) {
				text = string(llm.AppendString(nil, text))
			}
			definition = append(llm.AppendKey(definition, name), text...)
		}
	}
	req.Texts(t, "profanityFilterMode", "diarization", "channels", "phraseList")
	f := multipart.New()
	f.Field("definition", string(append(definition, '}')))
	f.File("audio", req.Name, req.Type, req.File)
	sent := &llm.Sent{Pieces: f.Pieces(), Type: f.Type()}
	if req.English && t.Options["api_version"] == "" {
		sent.Path = Codec{}.Path(llm.Place{Endpoint: llm.AzureListen, Options: map[string]string{"api_version": EnhancedVersion}})
	}
	return sent, nil
}

var errNone = errors.New("it has no phrases")

// DecodeResponse reads an answer. Times are milliseconds there.
func (Listen) DecodeResponse(body []byte) (*transcript.Response, error) {
	type timed struct {
		Text   string  `json:"text"`
		Offset float64 `json:"offsetMilliseconds"`
		Length float64 `json:"durationMilliseconds"`
	}
	var got struct {
		Length   float64                 `json:"durationMilliseconds"`
		Combined []struct{ Text string } `json:"combinedPhrases"`
		Phrases  []struct {
			timed
			Locale string  `json:"locale"`
			Words  []timed `json:"words"`
		} `json:"phrases"`
	}
	if err := json.Unmarshal(body, &got); err != nil {
		return nil, transcript.Malformed(err)
	}
	if got.Combined == nil && got.Phrases == nil {
		return nil, transcript.Malformed(errNone)
	}
	res := new(transcript.Response)
	for i, c := range got.Combined {
		if i > 0 {
			res.Text += "\n"
		}
		res.Text += c.Text
	}
	for _, p := range got.Phrases {
		if res.Language == "" {
			res.Language = p.Locale
		}
		res.Segments = append(res.Segments, transcript.Segment{Text: p.Text, Start: p.Offset / 1000, End: (p.Offset + p.Length) / 1000})
		for _, w := range p.Words {
			res.Words = append(res.Words, transcript.Word{Text: w.Text, Start: w.Offset / 1000, End: (w.Offset + w.Length) / 1000})
		}
	}
	res.Heard(got.Length / 1000)
	return res, nil
}
