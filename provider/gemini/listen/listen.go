// Package listen has Google's services write audio down: its models that talk (generateContent), those of
// its interactions that do nothing else, and its Speech-to-Text, as their references of 2026 have them.
package listen

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/transcript"
)

// Only says whether a model does nothing but write audio down, and is told no words.
func Only(model string) bool { return strings.Contains(model, "transcribe") }

// Talking is the form of generateContent.
type Talking struct{}

// EncodeRequest writes a request for the provider. A model that talks is told what to do in words.
func (Talking) EncodeRequest(req *transcript.Request, t *llm.Target) (*llm.Sent, error) {
	if err := noTimes(req, t); err != nil {
		return nil, err
	}
	req.Texts(t)
	dst := appendAudio(append([]byte(nil), `{"contents":[{"role":"user","parts":[{"inlineData":{"mimeType":`...), req, "data")
	dst = append(dst, "}}"...)
	if Only(t.Model) {
		if err := untold(req, t); err != nil {
			return nil, err
		}
		dst = append(dst, `]}],"generationConfig":{"audioTranscriptionConfig":{`...)
		if req.Language != "" {
			dst = append(llm.AppendString(append(llm.AppendKey(dst, "languageCodes"), '['), Tongue(req.Language)), ']')
		}
		return &llm.Sent{Body: append(dst, "}}}"...)}, nil
	}
	dst = append(llm.AppendString(append(dst, `,{"text":`...), told(req)), "}]}]"...)
	if json.Valid([]byte(req.Temperature)) {
		dst = append(append(append(llm.AppendKey(dst, "generationConfig"), `{"temperature":`...), req.Temperature...), '}')
	}
	return &llm.Sent{Body: append(dst, '}')}, nil
}

// appendAudio appends the type of the audio as a JSON string, and the audio as the member named so.
func appendAudio(dst []byte, req *transcript.Request, member string) []byte {
	kind := req.Type
	if kind == "" || kind == "application/octet-stream" {
		kind = http.DetectContentType(req.File)
	}
	if kind == "audio/wave" {
		kind = "audio/wav"
	}
	dst = append(llm.AppendKey(llm.AppendString(dst, kind), member), '"')
	return append(base64.StdEncoding.AppendEncode(dst, req.File), '"')
}

// told is what a model that talks is told.
func told(req *transcript.Request) string {
	text := "Write down what is said in this audio, word for word"
	switch {
	case req.English:
		text += ", translated into English"
	case req.Language != "":
		text += ". Its language is " + req.Language
	}
	text += ". Answer with that text alone."
	if req.Prompt != "" {
		text += " What may help: " + req.Prompt
	}
	return text
}

// untold refuses, or drops, what can be said in words alone.
func untold(req *transcript.Request, t *llm.Target) error {
	if req.English {
		return llm.Unsayable("model", "The model "+t.Model+" does not translate: ask for a transcription.")
	}
	if req.Prompt != "" {
		t.Drop("prompt")
	}
	if req.Temperature != "" {
		t.Drop("temperature")
	}
	return nil
}

// noTimes refuses subtitles, which have no meaning where nobody says when a word was said.
func noTimes(req *transcript.Request, t *llm.Target) error {
	if req.Format == "srt" || req.Format == "vtt" {
		return llm.Unsayable("response_format", "The model "+t.Model+" does not say when words are said: ask for json, text or verbose_json.")
	}
	if req.Words || req.Segments {
		t.Drop("timestamp_granularities")
	}
	return nil
}

var errNone = errors.New("it has no text")

// DecodeResponse reads an answer.
func (Talking) DecodeResponse(body []byte) (*transcript.Response, error) {
	var got struct {
		Candidates []struct {
			Content struct {
				Parts []struct {
					Text    string `json:"text"`
					Thought bool   `json:"thought"`
				} `json:"parts"`
			} `json:"content"`
		} `json:"candidates"`
		Feedback struct {
			Reason string `json:"blockReason"`
		} `json:"promptFeedback"`
	}
	if err := json.Unmarshal(body, &got); err != nil {
		return nil, transcript.Malformed(err)
	}
	if got.Feedback.Reason != "" {
		return nil, &llm.Error{Kind: llm.Invalid, Code: "content_policy_violation", Param: "file", Message: "The provider does not write this audio down: " + got.Feedback.Reason, NoRetry: true}
	}
	if len(got.Candidates) == 0 {
		return nil, transcript.Malformed(errNone)
	}
	var text strings.Builder
	for _, p := range got.Candidates[0].Content.Parts {
		if !p.Thought {
			text.WriteString(p.Text)
		}
	}
	res := &transcript.Response{Text: strings.TrimSpace(text.String())}
	res.Usage, _ = llm.ReadUsage(llm.DialectGemini, body)
	return res, nil
}

// seconds reads "1.200s"; 0 if it is none.
func seconds(text string) float64 {
	n, err := strconv.ParseFloat(strings.TrimSuffix(text, "s"), 64)
	if err != nil || n < 0 || n > llm.MaxTokenCount/1000 {
		return 0
	}
	return n
}

// regions are the tags of languages that are not the language with its own name as the country.
var regions = map[string]string{
	"ar": "ar-EG", "bn": "bn-BD", "cs": "cs-CZ", "da": "da-DK", "el": "el-GR", "en": "en-US", "et": "et-EE", "fa": "fa-IR", "he": "iw-IL", "hi": "hi-IN",
	"ja": "ja-JP", "ko": "ko-KR", "sl": "sl-SI", "sv": "sv-SE", "uk": "uk-UA", "ur": "ur-PK", "vi": "vi-VN", "zh": "cmn-Hans-CN",
}

// own are the languages whose tag is that, as "de-DE".
const own = " bg de es fi fr hr hu id it lt lv nl pl pt ro ru sk th tr "

// Tongue is the tag (BCP 47) of a language of ISO 639-1; what is a tag, or unknown, stays.
func Tongue(language string) string {
	switch tag := regions[strings.ToLower(language)]; {
	case tag != "":
		return tag
	case len(language) == 2 && strings.Contains(own, " "+strings.ToLower(language)+" "):
		return strings.ToLower(language) + "-" + strings.ToUpper(language)
	}
	return language
}
