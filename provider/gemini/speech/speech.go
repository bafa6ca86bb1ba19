// Package speech reads and writes the speech of Google's models that speak (generateContent).
package speech

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"strconv"
	"strings"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/speech"
)

// Format is the form of speech.
type Format struct{}

// defaultVoice is spoken with where nobody says another; the names of voices are Google's.
const defaultVoice = "Kore"

// EncodeRequest writes a request for the provider. What comes is samples, which are handed on as a WAV
// file or as they are.
func (Format) EncodeRequest(req *speech.Request, t *llm.Target) (*llm.Sent, error) {
	text := req.Input
	if req.Instructions != "" {
		text = req.Instructions + ": " + text
	}
	voice := req.VoiceOf(t)
	if voice == "" || speech.OpenAIVoice(voice) {
		voice = defaultVoice
	}
	if req.Format != "" && req.Format != "wav" && req.Format != "pcm" {
		t.Drop("response_format")
	}
	if req.Speed > 0 {
		t.Drop("speed")
	}
	req.DropExtra(t)
	dst := llm.AppendString([]byte(`{"contents":[{"role":"user","parts":[{"text":`), text)
	dst = append(dst, `}]}],"generationConfig":{"responseModalities":["AUDIO"],"speechConfig":{"voiceConfig":{"prebuiltVoiceConfig":{"voiceName":`...)
	return &llm.Sent{Body: append(llm.AppendString(dst, voice), "}}}}}"...)}, nil
}

var errNone = errors.New("it has no audio")

// DecodeResponse reads an answer.
func (Format) DecodeResponse(req *speech.Request, body []byte) (*speech.Audio, error) {
	var got struct {
		Candidates []struct {
			Content struct {
				Parts []struct {
					Inline struct {
						Type string `json:"mimeType"`
						Data string `json:"data"`
					} `json:"inlineData"`
				} `json:"parts"`
			} `json:"content"`
		} `json:"candidates"`
	}
	if err := json.Unmarshal(body, &got); err != nil {
		return nil, speech.Malformed(err)
	}
	a := new(speech.Audio)
	a.Usage, _ = llm.ReadUsage(llm.DialectGemini, body)
	for _, c := range got.Candidates {
		for _, p := range c.Content.Parts {
			raw, err := base64.StdEncoding.DecodeString(p.Inline.Data)
			if err != nil {
				return nil, speech.Malformed(err)
			}
			if a.Type == "" {
				a.Type = p.Inline.Type
			}
			a.Bytes = append(a.Bytes, raw...)
		}
	}
	if len(a.Bytes) == 0 {
		return nil, speech.Malformed(errNone)
	}
	if rate, ok := samples(a.Type); ok {
		a.Usage.Units.OutputMS = int64(len(a.Bytes)) * 1000 / (2 * rate)
		if req.Format == "pcm" {
			a.Type = "audio/pcm"
		} else {
			a.Bytes, a.Type = append(speech.WAVHead(int64(len(a.Bytes)), rate), a.Bytes...), "audio/wav"
		}
	}
	return a, nil
}

// samples reads how many samples a second has: "audio/L16;codec=pcm;rate=24000".
func samples(kind string) (rate int64, ok bool) {
	if !strings.HasPrefix(strings.ToLower(kind), "audio/l16") {
		return 0, false
	}
	for part := range strings.SplitSeq(kind, ";") {
		if v, found := strings.CutPrefix(strings.TrimSpace(part), "rate="); found {
			if n, err := strconv.ParseInt(v, 10, 32); err == nil && n > 0 {
				return n, true
			}
		}
	}
	return 24000, true
}
