package fal

import (
	"cmp"
	"encoding/json"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/chat"
	"github.com/conclave-llm/conclave/provider/plain"
)

// Chat is the form of the models that answer a question about a picture, such as
// "fal-ai/moondream3-preview/query". Nothing is streamed.
type Chat struct{}

// EncodeRequest writes a request for the provider: a text, and the one picture that it is about.
func (Chat) EncodeRequest(q *chat.Request, t *llm.Target) ([]byte, error) {
	said, images := split(q)
	if len(images) != 1 {
		return nil, llm.Unsayable("messages", "The model answers questions about one picture: send one.")
	}
	ask, err := plain.Ask(said, t, "seed")
	if err != nil {
		return nil, err
	}
	if len(q.Stop) > 0 {
		t.Drop("stop")
	}
	if q.MaxTokens > 0 {
		t.Drop("max_tokens")
	}
	if q.Seed != nil {
		t.Drop("seed")
	}
	dst := llm.AppendString([]byte(`{"prompt":`), ask.Text)
	dst = llm.AppendString(llm.AppendKey(dst, "image_url"), address(images[0]))
	dst = plain.AppendFloat(dst, "temperature", q.Temperature)
	dst = plain.AppendFloat(dst, "top_p", q.TopP)
	if q.Reasoning.Asked() {
		reasons := "true"
		if q.Reasoning.Off() || q.Reasoning.Effort == "minimal" {
			reasons = "false"
		}
		dst = append(llm.AppendKey(dst, "reasoning"), reasons...)
	}
	return append(dst, '}'), t.Err()
}

// split takes the pictures out of a conversation, which is not changed.
func split(q *chat.Request) (said *chat.Request, images []*chat.Media) {
	one := *q
	one.Reasoning = chat.Reasoning{} // which is said
	one.Messages = make([]chat.Message, len(q.Messages))
	for i, m := range q.Messages {
		one.Messages[i] = m
		one.Messages[i].Parts = nil
		for _, p := range m.Parts {
			if p.Type == chat.PartImage && p.Media != nil {
				images = append(images, p.Media)
			} else {
				one.Messages[i].Parts = append(one.Messages[i].Parts, p)
			}
		}
	}
	return &one, images
}

// address is where a picture stands, which may be a data URL.
func address(m *chat.Media) string {
	if m.Data == "" {
		return m.URL
	}
	return "data:" + cmp.Or(m.MIME, "image/png") + ";base64," + m.Data
}

// DecodeResponse reads an answer.
func (Chat) DecodeResponse(body []byte) (*chat.Response, error) {
	p, reasoning, err := readChat(body)
	if err != nil {
		return nil, err
	}
	res, err := p.Response()
	if err == nil && reasoning != "" {
		res.Choices[0].Parts = append([]chat.Part{{Type: chat.PartReasoning, Text: reasoning}}, res.Choices[0].Parts...)
	}
	return res, err
}

// NewDecoder reads a stream, which there is none of.
func (Chat) NewDecoder() chat.Decoder {
	return &plain.Decoder{Read: func(data []byte) (*plain.Piece, error) {
		p, _, err := readChat(data)
		return p, err
	}}
}

// readChat reads {"output":"…","reasoning":"…","finish_reason":"…","usage_info":{"input_tokens":…,"output_tokens":…}}.
func readChat(body []byte) (p *plain.Piece, reasoning string, err error) {
	var got struct {
		Output    *string `json:"output"`
		Reasoning string  `json:"reasoning"`
		Finish    string  `json:"finish_reason"`
		Usage     *struct {
			Input  int64 `json:"input_tokens"`
			Output int64 `json:"output_tokens"`
		} `json:"usage_info"`
	}
	if err := json.Unmarshal(body, &got); err != nil {
		return nil, "", plain.Malformed(err)
	}
	p = new(plain.Piece)
	if got.Output == nil {
		return p, "", nil
	}
	p.Text, p.Some, p.Finish = *got.Output, true, chat.FinishStop
	if got.Finish == "length" || got.Finish == "max_tokens" {
		p.Finish = chat.FinishLength
	}
	if u := got.Usage; u != nil && u.Input >= 0 && u.Output >= 0 && u.Input <= llm.MaxTokenCount && u.Output <= llm.MaxTokenCount {
		p.Usage = llm.Usage{Input: u.Input, Output: u.Output, Source: llm.UsageProvider}
	}
	return p, got.Reasoning, nil
}
