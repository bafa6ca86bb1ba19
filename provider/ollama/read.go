package ollama

import (
	"encoding/json"
	"errors"
	"strconv"
	"time"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/chat"
)

var errShape = errors.New("a member is of the wrong type")

// line is one line of an answer, or the whole of one that is not streamed.
type line struct {
	model, text, thinking string
	at                    string // when it was made
	calls                 []chat.Part
	done, failed          bool
	reason                string
	usage                 llm.Usage
	bad                   bool
}

func malformed(err error) error {
	return &llm.Error{Kind: llm.Upstream, Code: "invalid_response", Message: "The provider sent an answer that cannot be read.", Err: err}
}

// readLine reads a line.
func readLine(data []byte) (v line, err error) {
	c := llm.NewCursor(data)
	if c.Next() != '{' {
		return v, malformed(errors.New("a line is no JSON object"))
	}
	for n := 0; c.Member(n); n++ {
		v.member(&c)
	}
	if err := c.End(); err != nil {
		return v, malformed(err)
	}
	if v.bad {
		return v, malformed(errShape)
	}
	return v, nil
}

func (v *line) member(c *llm.Cursor) {
	switch string(c.Name()) {
	case "model":
		v.model = c.Text()
	case "created_at":
		v.at = c.Text()
	case "message":
		v.expect(c, '{')
		for n := 0; c.Member(n); n++ {
			v.said(c)
		}
	case "done":
		v.done, _ = c.Bool()
	case "done_reason":
		v.reason = c.Text()
	case "prompt_eval_count":
		v.usage.Input = v.count(c)
	case "eval_count":
		v.usage.Output = v.count(c)
	case "error":
		v.failed = c.Next() != 'n'
		c.Raw()
	default:
		c.Raw()
	}
}

// expect notes a value that is not of the type, nor null.
func (v *line) expect(c *llm.Cursor, first byte) {
	if next := c.Next(); next != first && next != 'n' {
		v.bad = true
	}
}

// count takes a number of tokens.
func (v *line) count(c *llm.Cursor) int64 {
	n, ok := c.Int()
	if !ok || n < 0 || n > llm.MaxTokenCount {
		return 0
	}
	v.usage.Source = llm.UsageProvider
	return n
}

// said reads a member of the message.
func (v *line) said(c *llm.Cursor) {
	switch string(c.Name()) {
	case "content":
		v.expect(c, '"')
		v.text = c.Text()
	case "thinking":
		v.thinking = c.Text()
	case "tool_calls":
		v.expect(c, '[')
		for n := 0; c.Element(n); n++ {
			v.expect(c, '{')
			p := chat.Part{Type: chat.PartToolCall}
			for m := 0; c.Member(m); m++ {
				v.call(c, &p)
			}
			v.calls = append(v.calls, p)
		}
	default:
		c.Raw()
	}
}

// call reads a member of a call.
func (v *line) call(c *llm.Cursor, p *chat.Part) {
	switch string(c.Name()) {
	case "id":
		p.ID = c.Text()
	case "function":
		v.expect(c, '{')
		for n := 0; c.Member(n); n++ {
			v.call(c, p)
		}
	case "name":
		p.Name = c.Text()
	case "arguments":
		if c.Next() == '"' {
			p.Arguments = json.RawMessage(c.Text())
			return
		}
		p.Arguments = c.Copy()
	default:
		c.Raw()
	}
}

// created is when the answer was made, in seconds.
func (v *line) created() int64 {
	t, err := time.Parse(time.RFC3339Nano, v.at)
	if err != nil {
		return 0
	}
	return t.Unix()
}

// callID is that of the n-th call of an answer that began at a time, which tells it from the
// calls of other answers: older versions give none.
func callID(at string, n int) string {
	id := []byte("call_")
	for i := range len(at) {
		if c := at[i]; c >= '0' && c <= '9' {
			id = append(id, c)
		}
	}
	return string(strconv.AppendInt(append(id, '_'), int64(n), 10))
}

// finish is why the model stopped.
func finish(reason string, calls bool) chat.Finish {
	f := chat.FinishOf(reason)
	if f == chat.FinishNone {
		f = chat.FinishStop
	}
	if f == chat.FinishStop && calls {
		return chat.FinishTools
	}
	return f
}

// DecodeResponse reads a whole answer.
func (Chat) DecodeResponse(body []byte) (*chat.Response, error) {
	v, err := readLine(body)
	switch {
	case err != nil:
		return nil, err
	case v.failed:
		return nil, Codec{}.Classify(time.Time{}, 200, nil, body)
	case !v.done:
		return nil, malformed(errors.New("it is not done"))
	}
	ch := chat.Choice{Finish: finish(v.reason, len(v.calls) > 0)}
	if v.thinking != "" {
		ch.Parts = append(ch.Parts, chat.Part{Type: chat.PartReasoning, Text: v.thinking})
	}
	if v.text != "" {
		ch.Parts = append(ch.Parts, chat.Part{Text: v.text})
	}
	for i := range v.calls {
		if v.calls[i].ID == "" {
			v.calls[i].ID = callID(v.at, i)
		}
	}
	ch.Parts = append(ch.Parts, v.calls...)
	return &chat.Response{Model: v.model, Created: v.created(), Choices: []chat.Choice{ch}, Usage: v.usage}, nil
}

// decoder reads the lines of an answer.
type decoder struct {
	at             string
	started, ended bool
	calls          int
}

// NewDecoder reads the lines of an answer.
func (Chat) NewDecoder() chat.Decoder { return new(decoder) }

// Decode reads one line.
func (d *decoder) Decode(list []chat.Chunk, e llm.Event) ([]chat.Chunk, error) {
	if d.ended || len(e.Data) == 0 {
		return list, nil
	}
	v, err := readLine(e.Data)
	switch {
	case err != nil && e.Cut:
		return list, cut()
	case err != nil:
		return list, err
	case v.failed:
		return list, Codec{}.Classify(time.Time{}, 200, nil, append([]byte(nil), e.Data...))
	}
	if !d.started {
		d.started, d.at = true, v.at
		list = append(list, chat.Chunk{Type: chat.ChunkStart, Model: v.model, Created: v.created()})
	}
	if v.thinking != "" {
		list = append(list, chat.Chunk{Type: chat.ChunkReasoning, Text: v.thinking})
	}
	if v.text != "" {
		list = append(list, chat.Chunk{Type: chat.ChunkText, Text: v.text})
	}
	for i := range v.calls {
		list = d.call(list, &v.calls[i])
	}
	if v.done {
		d.ended = true
		list = append(list, chat.Chunk{Type: chat.ChunkFinish, Finish: finish(v.reason, d.calls > 0)})
		if v.usage.Source != llm.UsageNone {
			list = append(list, chat.Chunk{Type: chat.ChunkUsage, Usage: v.usage})
		}
		list = append(list, chat.Chunk{Type: chat.ChunkEnd})
	}
	return list, nil
}

// call adds a call, which comes whole.
func (d *decoder) call(list []chat.Chunk, p *chat.Part) []chat.Chunk {
	id := p.ID
	if id == "" {
		id = callID(d.at, d.calls)
	}
	list = append(list, chat.Chunk{Type: chat.ChunkToolStart, Index: d.calls, ID: id, Name: p.Name})
	if len(p.Arguments) > 0 {
		list = append(list, chat.Chunk{Type: chat.ChunkToolArgs, Index: d.calls, Text: string(p.Arguments)})
	}
	d.calls++
	return list
}

func cut() error {
	return &llm.Error{Kind: llm.Upstream, Code: "upstream_cut", Message: "The provider's stream ended before its answer did."}
}

// End is told that the bytes have ended: the last line says that it is the last.
func (d *decoder) End(list []chat.Chunk) ([]chat.Chunk, error) {
	if d.ended {
		return list, nil
	}
	return list, cut()
}
