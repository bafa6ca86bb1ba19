package listen

import (
	"encoding/json"
	"strings"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/transcript"
)

// Revision is that of the interactions, which a header names.
const Revision = "2026-05-20"

// Interaction is the form of interactions, which say when words are said.
type Interaction struct{}

// EncodeRequest writes a request for the provider.
func (Interaction) EncodeRequest(req *transcript.Request, t *llm.Target) (*llm.Sent, error) {
	if err := untold(req, t); err != nil {
		return nil, err
	}
	req.Texts(t)
	dst := append(llm.AppendString([]byte(`{"model":`), t.Model), `,"input":[{"type":"audio","mime_type":`...)
	dst = append(appendAudio(dst, req, "data"), "}]"...)
	times := req.Words || req.Segments || req.Format == "srt" || req.Format == "vtt" || req.Format == "verbose_json"
	if times || req.Language != "" {
		dst = append(llm.AppendKey(dst, "generation_config"), `{"transcription_config":{`...)
		if req.Language != "" {
			dst = append(llm.AppendString(append(llm.AppendKey(dst, "language_codes"), '['), Tongue(req.Language)), ']')
		}
		if times {
			dst = append(llm.AppendKey(dst, "mode"), `{"type":"verbatim","timestamp_granularities":["word"]}`...)
		}
		dst = append(dst, "}}"...)
	}
	dst = append(llm.AppendKey(dst, "store"), "false"...) // interactions are stored by default, and nobody asks for this one again
	return &llm.Sent{Body: append(dst, '}'), Header: map[string][]string{"Api-Revision": {Revision}}}, nil
}

// interaction is an answer.
type interaction struct {
	Status string `json:"status"`
	Steps  []struct {
		Content []struct {
			Type        string  `json:"type"`
			Text        *string `json:"text"`
			Annotations []struct {
				Type  string `json:"type"`
				Text  string `json:"text"`
				Start string `json:"start_offset"`
				End   string `json:"end_offset"`
			} `json:"annotations"`
		} `json:"content"`
	} `json:"steps"`
	Usage interactionUsage `json:"usage"`
}

type interactionUsage struct {
	Input  int64 `json:"total_input_tokens"`
	Output int64 `json:"total_output_tokens"`
	Kinds  []struct {
		Modality string `json:"modality"`
		Tokens   int64  `json:"tokens"`
	} `json:"input_tokens_by_modality"`
}

// DecodeResponse reads an answer.
func (Interaction) DecodeResponse(body []byte) (*transcript.Response, error) {
	var got interaction
	if err := json.Unmarshal(body, &got); err != nil {
		return nil, transcript.Malformed(err)
	}
	if got.Status != "completed" {
		return nil, &llm.Error{Kind: llm.Upstream, Code: "transcription_failed", Message: "The provider could not transcribe the audio: its interaction is " + got.Status + "."}
	}
	res := new(transcript.Response)
	var texts []string
	for _, s := range got.Steps {
		for _, c := range s.Content {
			if c.Type != "text" || c.Text == nil {
				continue
			}
			texts = append(texts, *c.Text)
			for _, a := range c.Annotations {
				if a.Type == "word_info" {
					res.Words = append(res.Words, transcript.Word{Text: a.Text, Start: seconds(a.Start), End: seconds(a.End)})
					res.Duration = max(res.Duration, seconds(a.End))
				}
			}
		}
	}
	res.Text = strings.Join(texts, " ")
	res.Usage = got.Usage.tokens()
	return res, nil
}

// tokens is the usage; zero if it is none.
func (u *interactionUsage) tokens() llm.Usage {
	if u.Input <= 0 || u.Input > llm.MaxTokenCount || u.Output < 0 || u.Output > llm.MaxTokenCount {
		return llm.Usage{}
	}
	out := llm.Usage{Input: u.Input, Output: u.Output, Source: llm.UsageProvider}
	for _, k := range u.Kinds {
		if k.Modality == "audio" && out.AudioInput == 0 && k.Tokens > 0 && k.Tokens <= u.Input {
			out.AudioInput, out.Input = k.Tokens, u.Input-k.Tokens
		}
	}
	return out
}
