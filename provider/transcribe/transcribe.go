// Package transcribe reads and writes the transcriptions of Amazon Transcribe's streams, as its API reference of 2026
// has StartStreamTranscription over HTTP/2: a file is sent as events of audio, which are signed as they are sent, and
// answered with events of results. What it hears is WAV of 16 bits and one channel, FLAC, or Opus in Ogg.
package transcribe

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/transcript"
	"github.com/conclave-llm/conclave/provider/bedrock"
)

// Codec is Transcribe's format, whose errors are like Bedrock's.
type Codec struct{ amazon bedrock.Codec }

// Path is the operation's.
func (Codec) Path(llm.Place) string { return "/stream-transcription" }

// Read reads a whole answer, which is a stream. What it used is read with what it heard.
func (Codec) Read(_ llm.Endpoint, body []byte) (llm.Report, error) {
	_, fault, err := gather(body)
	return llm.Report{HasError: fault != nil}, err
}

// Meter is nil: nothing is streamed on.
func (Codec) Meter(llm.Endpoint) llm.Meter { return nil }

// Frames is nil, likewise.
func (Codec) Frames(llm.Endpoint, io.Reader, int) llm.EventReader { return nil }

// Classify makes the error of an answer, or of an exception in a stream.
func (c Codec) Classify(now time.Time, status int, h http.Header, body []byte) *llm.Error {
	if status < 300 {
		_, fault, err := gather(body)
		if err != nil || fault == nil {
			return c.amazon.Classify(now, status, h, body)
		}
		body = fault
		if bytes.HasPrefix(fault, []byte(`{"__type":"BadRequestException"`)) { // which Bedrock has not
			status = http.StatusBadRequest
		}
	}
	return c.amazon.Classify(now, status, h, body)
}

// Listen is the form of transcriptions.
type Listen struct{}

// most is how many bytes of audio an event has.
const most = 16 << 10

// Codes of languages with the region that is meant where a client names none.
var regions = map[string]string{
	"en": "en-US", "es": "es-US", "fr": "fr-FR", "de": "de-DE", "it": "it-IT", "pt": "pt-BR", "ja": "ja-JP", "ko": "ko-KR", "zh": "zh-CN",
	"hi": "hi-IN", "th": "th-TH", "nl": "nl-NL", "sv": "sv-SE", "pl": "pl-PL", "ru": "ru-RU", "uk": "uk-UA", "vi": "vi-VN", "ar": "ar-SA",
	"da": "da-DK", "fi": "fi-FI", "he": "he-IL", "id": "id-ID", "ms": "ms-MY", "no": "no-NO", "ro": "ro-RO", "tr": "tr-TR", "cs": "cs-CZ",
	"el": "el-GR", "hu": "hu-HU", "sk": "sk-SK", "ca": "ca-ES",
}

// optionLanguage is the option of a deployment that says which language is spoken where a client does not.
const optionLanguage = "language_code"

// settings are the further fields that are taken, and their headers.
var settings = map[string]string{
	"vocabulary_name": "X-Amzn-Transcribe-Vocabulary-Name", "show_speaker_label": "X-Amzn-Transcribe-Show-Speaker-Label",
	"vocabulary_filter_name": "X-Amzn-Transcribe-Vocabulary-Filter-Name", "language_model_name": "X-Amzn-Transcribe-Language-Model-Name",
}

// EncodeRequest writes the events, not yet signed, and the headers that say what they are.
func (Listen) EncodeRequest(req *transcript.Request, t *llm.Target) (*llm.Sent, error) {
	if req.Prompt != "" {
		t.Drop("prompt")
	}
	if req.Temperature != "" {
		t.Drop("temperature")
	}
	language := req.Language
	if code, ok := regions[strings.ToLower(language)]; ok {
		language = code
	}
	if language == "" {
		language = t.Options[optionLanguage]
	}
	if language == "" {
		return nil, llm.Unsayable("language", "The model's provider wants the language named: give language, or the deployment the option language_code.")
	}
	a, err := audioOf(req.File)
	if err != nil {
		return nil, llm.Unsayable("file", "The model's provider hears WAV of 16 bits and one channel, FLAC, and Opus in Ogg: "+err.Error()+".")
	}
	names := make([]string, 0, len(settings))
	for name := range settings {
		names = append(names, name)
	}
	h := http.Header{
		"X-Amzn-Transcribe-Language-Code": {language}, "X-Amzn-Transcribe-Media-Encoding": {a.encoding}, "X-Amzn-Transcribe-Sample-Rate": {strconv.Itoa(a.rate)},
	}
	for name, v := range req.Texts(t, names...) {
		if v = strings.Map(printable, v); v != "" {
			h[settings[name]] = []string{v}
		}
	}
	body := make([]byte, 0, len(a.data)+len(a.data)/100+256)
	for data := a.data; len(data) > 0; {
		n := min(len(data), most)
		body = bedrock.AppendBytes(body, "AudioEvent", data[:n])
		data = data[n:]
	}
	return &llm.Sent{Body: body, Type: "application/vnd.amazon.eventstream", Header: h}, nil
}

// printable leaves out of a header what cannot stand in one.
func printable(r rune) rune {
	if r < ' ' || r > '~' {
		return -1
	}
	return r
}

// audio is what is sent.
type audio struct {
	encoding string
	rate     int
	data     []byte
}

var (
	errKind = errors.New("the file is none of these")
	errWAV  = errors.New("the WAV file is of another kind")
)

// audioOf finds out what a file is.
func audioOf(file []byte) (audio, error) {
	switch {
	case len(file) > 12 && string(file[:4]) == "RIFF" && string(file[8:12]) == "WAVE":
		return wav(file[12:])
	case len(file) > 21 && string(file[:4]) == "fLaC":
		rate := int(file[18])<<12 | int(file[19])<<4 | int(file[20])>>4 // of the first block, STREAMINFO
		if rate == 0 {
			return audio{}, errKind
		}
		return audio{"flac", rate, file}, nil
	case len(file) > 4 && string(file[:4]) == "OggS" && bytes.Contains(file[:min(len(file), 256)], []byte("OpusHead")):
		return audio{"ogg-opus", 48000, file}, nil
	}
	return audio{}, errKind
}

// wav is the sound of a WAV file, whose chunks follow its head.
func wav(chunks []byte) (audio, error) {
	a := audio{encoding: "pcm"}
	for len(chunks) >= 8 {
		name, size := string(chunks[:4]), int64(binary.LittleEndian.Uint32(chunks[4:]))
		rest := chunks[8:]
		part := rest[:min(size, int64(len(rest)))]
		switch {
		case name == "fmt " && len(part) >= 16:
			kind, channels, bits := binary.LittleEndian.Uint16(part), binary.LittleEndian.Uint16(part[2:]), binary.LittleEndian.Uint16(part[14:])
			if kind != 1 && kind != 0xfffe || channels != 1 || bits != 16 {
				return a, errWAV
			}
			a.rate = int(binary.LittleEndian.Uint32(part[4:]))
		case name == "data" && a.rate > 0:
			if a.data = part[:len(part)&^1]; len(a.data) == 0 {
				return a, errWAV
			}
			return a, nil
		}
		chunks = rest[min(size+size&1, int64(len(rest))):]
	}
	return a, errWAV
}

// result is a piece of what was heard, or what it may still become.
type result struct {
	Partial  bool    `json:"IsPartial"`
	Start    float64 `json:"StartTime"`
	End      float64 `json:"EndTime"`
	Language string  `json:"LanguageCode"`
	Options  []struct {
		Text  string `json:"Transcript"`
		Items []struct {
			Content string  `json:"Content"`
			Type    string  `json:"Type"`
			Start   float64 `json:"StartTime"`
			End     float64 `json:"EndTime"`
		} `json:"Items"`
	} `json:"Alternatives"`
}

// gather are the results of a stream, and its exception; nil: it has none. Errors are *llm.Error of kind Upstream.
func gather(body []byte) (all []result, fault []byte, err error) {
	r := bedrock.NewReader(bytes.NewReader(body), 0)
	for {
		e, err := r.Next()
		if errors.Is(err, io.EOF) {
			return all, nil, nil
		}
		if err != nil {
			return nil, nil, transcript.Malformed(err)
		}
		if bedrock.IsException(&e) {
			return nil, bytes.Clone(e.Data), nil
		}
		var got struct {
			Transcript struct {
				Results []result `json:"Results"`
			} `json:"Transcript"`
		}
		if string(e.Type) != "TranscriptEvent" {
			continue
		}
		if err := json.Unmarshal(e.Data, &got); err != nil {
			return nil, nil, transcript.Malformed(err)
		}
		all = append(all, got.Transcript.Results...)
	}
}

// DecodeResponse reads an answer. How long the audio was, the last result's end says at least.
func (Listen) DecodeResponse(body []byte) (*transcript.Response, error) {
	all, _, err := gather(body)
	if err != nil {
		return nil, err
	}
	res := &transcript.Response{}
	var said []string
	end := 0.0
	for i := range all {
		one := &all[i]
		if one.Partial || len(one.Options) == 0 {
			continue
		}
		best := &one.Options[0]
		said, end = append(said, best.Text), max(end, one.End)
		if one.Language != "" {
			res.Language = one.Language
		}
		res.Segments = append(res.Segments, transcript.Segment{Text: best.Text, Start: one.Start, End: one.End})
		for _, it := range best.Items {
			switch n := len(res.Words); {
			case it.Type == "pronunciation":
				res.Words = append(res.Words, transcript.Word{Text: it.Content, Start: it.Start, End: it.End})
			case it.Type == "punctuation" && n > 0:
				res.Words[n-1].Text += it.Content
			}
		}
	}
	res.Text = strings.Join(said, " ")
	res.Heard(end)
	return res, nil
}
