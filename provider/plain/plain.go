// Package plain holds what the dialects of providers have in common whose models go on with a text and
// know no conversations, tools or images.
package plain

import (
	"errors"
	"io"
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
	drop(q, t, append([]string{"temperature", "top_p", "max_tokens", "stop"}, knows...))
	return &Prompt{Text: text, Stop: stop}, nil
}

// Drop names what is not known of a request whose messages are written otherwise: the parameters of
// Ask, and "temperature", "top_p", "max_tokens" and "stop".
func Drop(q *chat.Request, t *llm.Target, knows ...string) {
	bare := *q
	bare.Messages = nil
	_, _, _ = openai.Script(&bare, t) // drops what is about talking; no message cannot be written
	drop(q, t, knows)
}

// drop names the parameters that are not known.
func drop(q *chat.Request, t *llm.Target, knows []string) {
	for _, v := range []struct {
		name string
		said bool
	}{
		{"temperature", q.Temperature != nil},
		{"top_p", q.TopP != nil},
		{"max_tokens", q.MaxTokens > 0},
		{"stop", len(q.Stop) > 0},
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
}

// Said is what one message says in words. What is no text is refused, or dropped, as Ask does.
func Said(m *chat.Message, t *llm.Target) (string, error) {
	one := chat.Request{Messages: []chat.Message{{Role: chat.RoleUser, Parts: m.Parts}}}
	text, _, err := openai.Script(&one, t)
	return text, err
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
	Read Reader
	// Marked says that a whole stream tells why it finished, so that one without that was cut.
	Marked bool
	Adds   Adds

	begun, finished bool
	usage           llm.Usage
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
		d.usage = d.Adds.with(d.usage, p.Usage)
		list = append(list, chat.Chunk{Type: chat.ChunkUsage, Usage: d.usage})
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

// End implements chat.Decoder. A stream of which nothing came was cut, too.
func (d *Decoder) End(list []chat.Chunk) ([]chat.Chunk, error) {
	if d.Marked && !d.finished || !d.begun {
		return list, &llm.Error{Kind: llm.Upstream, Code: "upstream_cut", Message: "The provider's stream ended before its answer did.", Err: io.ErrUnexpectedEOF}
	}
	if !d.finished {
		list = append(list, chat.Chunk{Type: chat.ChunkFinish, Finish: chat.FinishStop})
	}
	return append(list, chat.Chunk{Type: chat.ChunkEnd}), nil
}

// Malformed is the error of an answer that cannot be read.
func Malformed(err error) error {
	return &llm.Error{Kind: llm.Upstream, Code: "invalid_response", Message: "The provider sent an answer that cannot be read.", Err: err}
}

// Most is the limit on output to ask for where the client says none and the provider must be told, or
// would stop early: n, or what the model can make if that is less.
func Most(t *llm.Target, n int64) int64 {
	if t.MaxOutput > 0 {
		return min(n, t.MaxOutput)
	}
	return n
}

// AppendExtra appends those of the request's own members that the provider is said to know.
func AppendExtra(dst []byte, q *chat.Request, names ...string) []byte {
	for _, name := range names {
		if raw := q.Extra[name]; raw != nil {
			dst = llm.AppendRaw(llm.AppendKey(dst, name), raw)
		}
	}
	return dst
}
