// Package plain holds what the dialects of providers have in common whose models go on with a text and
// know no conversations, tools or images.
package plain

import (
	"errors"
	"slices"
	"strconv"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/chat"
	"github.com/conclave-llm/conclave/provider/openai"
)

// Prompt is what a provider of such models is asked.
type Prompt struct {
	Text string
	Stop []string
}

// Ask makes the text of a conversation. What the provider has no word for is dropped, but for the
// parameters that it is said to know: "seed", "top_k", "min_p", "frequency_penalty",
// "presence_penalty", "n", "logprobs".
func Ask(q *chat.Request, t *llm.Target, knows ...string) (*Prompt, error) {
	text, stop, err := openai.Script(q, t)
	if err != nil {
		return nil, err
	}
	for _, v := range []struct {
		name string
		said bool
	}{
		{"seed", q.Seed != nil},
		{"top_k", q.TopK != nil},
		{"min_p", q.MinP != nil},
		{"frequency_penalty", q.FrequencyPenalty != nil},
		{"presence_penalty", q.PresencePenalty != nil},
		{"n", q.N > 1},
		{"logprobs", q.LogProbs},
		{"logit_bias", q.LogitBias != nil},
	} {
		if v.said && !slices.Contains(knows, v.name) {
			t.Drop(v.name)
		}
	}
	for name := range q.Extra {
		if !slices.Contains(knows, name) {
			t.Drop(name)
		}
	}
	return &Prompt{Text: text, Stop: stop}, nil
}

// AppendFloat appends a member if the number is there.
func AppendFloat(dst []byte, name string, v *float64) []byte {
	if v == nil {
		return dst
	}
	return strconv.AppendFloat(llm.AppendKey(dst, name), *v, 'g', -1, 64)
}

// AppendInt appends a member if the number is there.
func AppendInt(dst []byte, name string, v *int64) []byte {
	if v == nil {
		return dst
	}
	return strconv.AppendInt(llm.AppendKey(dst, name), *v, 10)
}

// AppendTexts appends a member that is an array of texts, if there are some.
func AppendTexts(dst []byte, name string, texts []string) []byte {
	if len(texts) == 0 {
		return dst
	}
	dst = append(llm.AppendKey(dst, name), '[')
	for _, s := range texts {
		dst = llm.AppendString(llm.AppendComma(dst), s)
	}
	return append(dst, ']')
}

// Piece is what an answer says, whole or one event of it.
type Piece struct {
	ID     string
	Text   string
	Some   bool // the answer says something at all
	Finish chat.Finish
	Usage  llm.Usage // Source is UsageNone if it says nothing of it
	Fault  string    // an error that stands in it; "": none
}

var errNone = errors.New("it has no text")

// Response is a whole answer.
func (p *Piece) Response() (*chat.Response, error) {
	if p.Fault != "" {
		return nil, p.failed()
	}
	if !p.Some {
		return nil, Malformed(errNone)
	}
	finish := p.Finish
	if finish == chat.FinishNone {
		finish = chat.FinishStop
	}
	ch := chat.Choice{Finish: finish}
	if p.Text != "" {
		ch.Parts = []chat.Part{{Text: p.Text}}
	}
	return &chat.Response{ID: p.ID, Choices: []chat.Choice{ch}, Usage: p.Usage}, nil
}

func (p *Piece) failed() error {
	return &llm.Error{Kind: llm.Upstream, Code: "upstream_error", Message: p.Fault}
}

// Report is what the relay must know of the answer.
func (p *Piece) Report() llm.Report {
	r := llm.Report{TextBytes: int64(len(p.Text)), HasError: p.Fault != "", Seen: 1}
	if p.Finish != chat.FinishNone {
		r.Finished = 1
	}
	if p.Usage.Source != llm.UsageNone {
		r.Usage, r.HasUsage = p.Usage, true
	}
	return r
}

// Decoder reads a stream whose events are pieces, and which ends with its bytes.
type Decoder struct {
	// Read reads the data of an event. Errors are *llm.Error of kind Upstream.
	Read func(data []byte) (*Piece, error)

	begun, finished bool
}

// Decode implements chat.Decoder.
func (d *Decoder) Decode(list []chat.Chunk, e llm.Event) ([]chat.Chunk, error) {
	if e.Data == nil || string(e.Data) == "[DONE]" {
		return list, nil
	}
	p, err := d.Read(e.Data)
	if err != nil {
		return list, err
	}
	if p.Fault != "" {
		return list, p.failed()
	}
	list = d.begin(list, p.ID)
	if p.Text != "" {
		list = append(list, chat.Chunk{Type: chat.ChunkText, Text: p.Text})
	}
	if p.Finish != chat.FinishNone && !d.finished {
		d.finished = true
		list = append(list, chat.Chunk{Type: chat.ChunkFinish, Finish: p.Finish})
	}
	if p.Usage.Source != llm.UsageNone {
		list = append(list, chat.Chunk{Type: chat.ChunkUsage, Usage: p.Usage})
	}
	return list, nil
}

func (d *Decoder) begin(list []chat.Chunk, id string) []chat.Chunk {
	if d.begun {
		return list
	}
	d.begun = true
	return append(list, chat.Chunk{Type: chat.ChunkStart, ID: id})
}

// End implements chat.Decoder.
func (d *Decoder) End(list []chat.Chunk) ([]chat.Chunk, error) {
	list = d.begin(list, "")
	if !d.finished {
		list = append(list, chat.Chunk{Type: chat.ChunkFinish, Finish: chat.FinishStop})
	}
	return append(list, chat.Chunk{Type: chat.ChunkEnd}), nil
}

// Malformed is the error of an answer that cannot be read.
func Malformed(err error) error {
	return &llm.Error{Kind: llm.Upstream, Code: "invalid_response", Message: "The provider sent an answer that cannot be read.", Err: err}
}
