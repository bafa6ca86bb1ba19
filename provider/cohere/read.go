package cohere

import (
	"encoding/json"
	"errors"
	"slices"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/chat"
)

// origin is the dialect's name, for its citations.
const origin = "cohere_chat"

var errShape = errors.New("a member is of the wrong type")

// delta is what an event, or a whole message, says.
type delta struct {
	kind, id             string
	index                int64
	text, thinking, plan string
	calls                []chat.Part
	citations            json.RawMessage
	reason, failure      string
	raw                  []byte // of the event's delta
	bad                  bool
}

// size is that of the text that the model wrote.
func (v *delta) size() int64 {
	n := len(v.text) + len(v.thinking) + len(v.plan)
	for i := range v.calls {
		n += len(v.calls[i].Name) + len(v.calls[i].Arguments)
	}
	return int64(n)
}

// expect notes a value that is not of the type, nor null.
func (v *delta) expect(c *llm.Cursor, first byte) {
	if next := c.Next(); next != first && next != 'n' {
		v.bad = true
	}
}

// readEvent reads one event.
func readEvent(data []byte) (v delta, err error) {
	c := llm.NewCursor(data)
	if c.Next() != '{' {
		return v, malformed(errors.New("an event is no JSON object"))
	}
	for n := 0; c.Member(n); n++ {
		switch string(c.Name()) {
		case "type":
			v.kind = c.Text()
		case "id":
			v.id = c.Text()
		case "index":
			v.index, _ = c.Int()
		case "delta":
			v.expect(&c, '{')
			v.raw = c.Raw()
		default:
			c.Raw()
		}
	}
	if err := c.End(); err != nil {
		return v, malformed(err)
	}
	v.delta()
	if v.bad || v.kind == "" {
		return v, malformed(errShape)
	}
	return v, nil
}

// delta reads the delta of an event.
func (v *delta) delta() {
	c := llm.NewCursor(v.raw)
	for n := 0; c.Member(n); n++ {
		switch string(c.Name()) {
		case "message":
			v.message(&c)
		case "finish_reason":
			v.reason = c.Text()
		case "error":
			v.failure = c.Text()
		default:
			c.Raw()
		}
	}
}

// message reads a message, or what an event adds to one.
func (v *delta) message(c *llm.Cursor) {
	v.expect(c, '{')
	for n := 0; c.Member(n); n++ {
		switch string(c.Name()) {
		case "content":
			v.content(c)
		case "tool_plan":
			v.plan = c.Text()
		case "tool_calls":
			if c.Next() == '{' {
				v.call(c)
				break
			}
			v.expect(c, '[')
			for n := 0; c.Element(n); n++ {
				v.expect(c, '{')
				v.call(c)
			}
		case "citations":
			if raw := c.Copy(); string(raw) != "[]" {
				v.citations = raw
			}
		default:
			c.Raw()
		}
	}
}

// content reads a part of a content, a list of them or a text.
func (v *delta) content(c *llm.Cursor) {
	switch c.Next() {
	case '"':
		v.text += c.Text()
	case '{':
		v.part(c)
	default:
		v.expect(c, '[')
		for n := 0; c.Element(n); n++ {
			v.expect(c, '{')
			v.part(c)
		}
	}
}

func (v *delta) part(c *llm.Cursor) {
	for n := 0; c.Member(n); n++ {
		switch string(c.Name()) {
		case "text":
			v.expect(c, '"')
			v.text += c.Text()
		case "thinking":
			v.expect(c, '"')
			v.thinking += c.Text()
		default:
			c.Raw()
		}
	}
}

// call reads the call of a tool.
func (v *delta) call(c *llm.Cursor) {
	p := chat.Part{Type: chat.PartToolCall}
	v.callMembers(c, &p)
	v.calls = append(v.calls, p)
}

func (v *delta) callMembers(c *llm.Cursor, p *chat.Part) {
	for n := 0; c.Member(n); n++ {
		switch string(c.Name()) {
		case "id":
			p.ID = c.Text()
		case "function":
			v.expect(c, '{')
			v.callMembers(c, p)
		case "name":
			p.Name = c.Text()
		case "arguments":
			v.expect(c, '"')
			if text := c.Text(); text != "" {
				p.Arguments = json.RawMessage(text)
			}
		default:
			c.Raw()
		}
	}
}

// finishOf reads a finish_reason.
func finishOf(reason string, calls bool) chat.Finish {
	switch reason {
	case "MAX_TOKENS":
		return chat.FinishLength
	case "TOOL_CALL":
		return chat.FinishTools
	case "ERROR_TOXIC":
		return chat.FinishFilter
	case "ERROR_LIMIT":
		return chat.FinishOverflow
	}
	if calls {
		return chat.FinishTools
	}
	return chat.FinishStop
}

// failed says whether the answer is none.
func failed(reason string) bool { return reason == "ERROR" || reason == "TIMEOUT" }

// unfinished reads why an answer has ended, which stands at the top of a whole one, and in the delta of an event.
func unfinished(data []byte) (v delta, err error) {
	c := llm.NewCursor(data)
	for n := 0; c.Member(n); n++ {
		switch string(c.Name()) {
		case "finish_reason":
			v.reason = c.Text()
		case "delta":
			v.raw = c.Raw()
		default:
			c.Raw()
		}
	}
	if v.raw != nil {
		v.delta()
	}
	return v, c.End()
}

// failure is the error of an answer that is none.
func failure(reason, message string) *llm.Error {
	e := &llm.Error{Kind: llm.Upstream, Code: "generation_failed", Message: message}
	if reason == "TIMEOUT" {
		e.Kind, e.Code = llm.Timeout, "generation_timeout"
	}
	if e.Message == "" {
		e.Message = "The provider could not finish its answer."
	}
	return e
}

// DecodeResponse reads a whole answer.
func (Chat) DecodeResponse(body []byte) (*chat.Response, error) {
	c := llm.NewCursor(body)
	if c.Next() != '{' {
		return nil, malformed(errors.New("it is no JSON object"))
	}
	res, v, has := new(chat.Response), delta{}, false
	for n := 0; c.Member(n); n++ {
		switch string(c.Name()) {
		case "id":
			res.ID = c.Text()
		case "finish_reason":
			v.reason = c.Text()
		case "message":
			has = c.Next() == '{'
			v.message(&c)
		default:
			c.Raw()
		}
	}
	switch err := c.End(); {
	case err != nil:
		return nil, malformed(err)
	case failed(v.reason):
		return nil, failure(v.reason, "")
	case v.bad || !has:
		return nil, malformed(errShape)
	}
	res.Choices = []chat.Choice{{Parts: v.parts(), Finish: finishOf(v.reason, len(v.calls) > 0)}}
	res.Usage, _ = llm.ReadUsage(llm.DialectCohere, body)
	return res, nil
}

// parts are those of a whole message. A plan of which tools to call is reasoning.
func (v *delta) parts() (parts []chat.Part) {
	if thoughts := v.plan + v.thinking; thoughts != "" {
		parts = append(parts, chat.Part{Type: chat.PartReasoning, Text: thoughts})
	}
	if v.text != "" {
		p := chat.Part{Text: v.text, Citations: v.citations}
		if v.citations != nil {
			p.Origin = origin
		}
		parts = append(parts, p)
	}
	return append(parts, v.calls...)
}

// decoder reads the events of an answer.
type decoder struct {
	calls []int64 // their indexes at Cohere, by ours
	ended bool
}

// NewDecoder reads the events of an answer.
func (Chat) NewDecoder() chat.Decoder { return new(decoder) }

// Decode reads one event.
func (d *decoder) Decode(list []chat.Chunk, e llm.Event) ([]chat.Chunk, error) {
	if d.ended || len(e.Data) == 0 {
		return list, nil
	}
	v, err := readEvent(e.Data)
	switch {
	case err != nil && e.Cut:
		return list, cut()
	case err != nil:
		return list, err
	}
	switch v.kind {
	case "message-start":
		return append(list, chat.Chunk{Type: chat.ChunkStart, ID: v.id}), nil
	case "content-start", "content-delta", "tool-plan-delta":
		list = add(list, chat.ChunkReasoning, v.plan)
		list = add(list, chat.ChunkReasoning, v.thinking)
		return add(list, chat.ChunkText, v.text), nil
	case "citation-start":
		if v.citations != nil {
			list = append(list, chat.Chunk{Type: chat.ChunkCitations, Raw: v.citations, Origin: origin})
		}
		return list, nil
	case "tool-call-start", "tool-call-delta":
		return d.call(list, &v)
	case "message-end":
		return d.end(list, &v)
	}
	return list, nil
}

func add(list []chat.Chunk, typ chat.ChunkType, text string) []chat.Chunk {
	if text == "" {
		return list
	}
	return append(list, chat.Chunk{Type: typ, Text: text})
}

// call begins a call or goes on with one.
func (d *decoder) call(list []chat.Chunk, v *delta) ([]chat.Chunk, error) {
	if len(v.calls) != 1 {
		return list, malformed(errShape)
	}
	p := &v.calls[0]
	if v.kind == "tool-call-start" {
		d.calls = append(d.calls, v.index)
		list = append(list, chat.Chunk{Type: chat.ChunkToolStart, Index: len(d.calls) - 1, ID: p.ID, Name: p.Name})
	}
	i := slices.Index(d.calls, v.index)
	if i < 0 {
		return list, malformed(errors.New("a call goes on that has not begun"))
	}
	if len(p.Arguments) > 0 {
		list = append(list, chat.Chunk{Type: chat.ChunkToolArgs, Index: i, Text: string(p.Arguments)})
	}
	return list, nil
}

// end ends the answer.
func (d *decoder) end(list []chat.Chunk, v *delta) ([]chat.Chunk, error) {
	if failed(v.reason) || v.failure != "" {
		return list, failure(v.reason, v.failure)
	}
	d.ended = true
	list = append(list, chat.Chunk{Type: chat.ChunkFinish, Finish: finishOf(v.reason, len(d.calls) > 0)})
	if u, ok := llm.ReadUsage(llm.DialectCohere, v.raw); ok {
		list = append(list, chat.Chunk{Type: chat.ChunkUsage, Usage: u})
	}
	return append(list, chat.Chunk{Type: chat.ChunkEnd}), nil
}

func cut() error {
	return &llm.Error{Kind: llm.Upstream, Code: "upstream_cut", Message: "The provider's stream ended before its answer did."}
}

// End is told that the bytes have ended: an answer ends with an event that says so.
func (d *decoder) End(list []chat.Chunk) ([]chat.Chunk, error) {
	if d.ended {
		return list, nil
	}
	return list, cut()
}
