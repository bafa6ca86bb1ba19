package openai

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/chat"
	"github.com/conclave-llm/conclave/llm/jsonread"
)

// responsesDecoder reads the events of a response.
type responsesDecoder struct {
	list    []chat.Chunk
	calls   []itemCall
	said    map[int64]bool // items of which text came in pieces
	refused bool
	ended   bool
}

// itemCall is the call of a tool that goes on.
type itemCall struct {
	at     int64 // its place in the output
	id     string
	custom bool
	argued bool
	ended  bool
}

// itemEvent is what an event of a response says.
type itemEvent struct {
	kind              string
	at, summary       int64
	delta, text       string
	item, response    []byte
	annotation, probs []byte
	failed, bad       bool
}

// NewDecoder reads the events of a response.
func (Responses) NewDecoder() chat.Decoder {
	return &responsesDecoder{said: make(map[int64]bool)}
}

// Decode reads one event.
func (d *responsesDecoder) Decode(list []chat.Chunk, e llm.Event) ([]chat.Chunk, error) {
	if d.ended || len(e.Data) == 0 {
		return list, nil
	}
	v, err := readItemEvent(e.Data)
	switch {
	case err != nil && e.Cut:
		return list, cut()
	case err != nil:
		return list, malformed(err)
	case v.failed:
		return list, Codec{}.Classify(noTime, 200, nil, slices.Clone(e.Data))
	}
	d.list = list
	if err := d.take(&v); err != nil {
		return list, err
	}
	return d.list, nil
}

// readItemEvent reads the members of an event.
func readItemEvent(data []byte) (v itemEvent, err error) {
	c := llm.NewCursor(data)
	if c.Next() != '{' {
		return v, errors.New("an event is no JSON object")
	}
	for n := 0; c.Member(n); n++ {
		v.member(&c)
	}
	if err = c.End(); err == nil && (v.bad || v.kind == "" && !v.failed) {
		err = errShape
	}
	v.failed = v.failed || v.kind == "error"
	return v, err
}

// expect notes a value that begins with none of the bytes.
func (v *itemEvent) expect(c *llm.Cursor, first string) {
	v.bad = v.bad || strings.IndexByte(first, c.Next()) < 0
}

func (v *itemEvent) member(c *llm.Cursor) {
	switch string(c.Name()) {
	case "type":
		v.kind = c.Text()
	case "output_index":
		v.at, _ = c.Int()
	case "summary_index":
		v.summary, _ = c.Int()
	case "delta":
		v.expect(c, `"{n`)
		v.delta = c.Text()
	case "text", "refusal", "arguments", "input":
		v.text = c.Text()
	case "item":
		v.expect(c, "{")
		v.item = c.Raw()
	case "response":
		v.expect(c, "{")
		v.response = c.Raw()
	case "annotation":
		v.annotation = c.Copy()
	case "logprobs":
		v.probs = c.Copy()
	case "error":
		v.failed = v.failed || c.Next() == '{' || c.Next() == '"'
		c.Raw()
	default:
		c.Raw()
	}
}

func (d *responsesDecoder) add(c chat.Chunk) { d.list = append(d.list, c) }

// take adds what an event says.
func (d *responsesDecoder) take(v *itemEvent) error {
	switch v.kind {
	case "response.created":
		return d.start(v.response)
	case "response.output_text.delta":
		d.said[v.at] = true
		d.text(chat.ChunkText, v.delta)
		if len(v.probs) > 2 {
			d.add(chat.Chunk{Type: chat.ChunkLogProbs, Raw: append(append(json.RawMessage(`{"content":`), v.probs...), `,"refusal":null}`...)})
		}
	case "response.refusal.delta":
		d.said[v.at], d.refused = true, true
		d.text(chat.ChunkRefusal, v.delta)
	case "response.reasoning_summary_text.delta", "response.reasoning_text.delta":
		d.said[v.at] = true
		d.text(chat.ChunkReasoning, v.delta)
	case "response.reasoning_summary_part.added":
		if v.summary > 0 {
			d.text(chat.ChunkReasoning, "\n\n")
		}
	case "response.output_text.annotation.added":
		if v.annotation != nil {
			d.add(chat.Chunk{Type: chat.ChunkCitations, Raw: slices.Concat([]byte{'['}, v.annotation, []byte{']'}), Origin: originResponses})
		}
	case "response.output_item.added":
		return d.startItem(v)
	case "response.function_call_arguments.delta", "response.custom_tool_call_input.delta":
		d.args(v.at, v.delta)
	case "response.function_call_arguments.done", "response.custom_tool_call_input.done":
		d.endCall(v.at, v.text)
	case "response.output_item.done":
		return d.endItem(v)
	case "response.completed", "response.incomplete", "response.failed":
		return d.end(v)
	}
	return nil
}

func (d *responsesDecoder) text(typ chat.ChunkType, text string) {
	if text != "" {
		d.add(chat.Chunk{Type: typ, Text: text})
	}
}

func (d *responsesDecoder) start(raw []byte) error {
	r, res := reader{jsonread.New(raw)}, chat.Response{}
	r.Members(func(name string) { r.answerMember(&res, name) })
	if r.Finish() != nil {
		return malformed(errShape)
	}
	d.add(chat.Chunk{Type: chat.ChunkStart, ID: res.ID, Model: res.Model, Created: res.Created})
	return nil
}

// item reads the item of an event.
func (v *itemEvent) read() (item, error) {
	r := reader{jsonread.New(v.item)}
	it := r.item()
	if err := r.Finish(); err != nil || len(v.item) == 0 {
		return it, malformed(errShape)
	}
	return it, nil
}

// startItem begins an item, which counts if it is the call of a tool.
func (d *responsesDecoder) startItem(v *itemEvent) error {
	it, err := v.read()
	if err != nil {
		return err
	}
	if it.kind != "function_call" && it.kind != "custom_tool_call" {
		return nil
	}
	call := itemCall{at: v.at, id: it.callID, custom: it.kind == "custom_tool_call"}
	i := len(d.calls)
	d.calls = append(d.calls, call)
	d.add(chat.Chunk{Type: chat.ChunkToolStart, Index: i, ID: it.callID, Name: it.name})
	if call.custom {
		d.add(chat.Chunk{Type: chat.ChunkToolArgs, Index: i, Text: `{"input":"`})
	}
	return nil
}

// call is the place of the call that goes on, -1 if none does.
func (d *responsesDecoder) call(at int64) int {
	return slices.IndexFunc(d.calls, func(c itemCall) bool { return c.at == at && !c.ended })
}

func (d *responsesDecoder) args(at int64, text string) {
	i := d.call(at)
	if i < 0 || text == "" {
		return
	}
	d.calls[i].argued = true
	if d.calls[i].custom {
		q := llm.AppendString(nil, text)
		text = string(q[1 : len(q)-1])
	}
	d.add(chat.Chunk{Type: chat.ChunkToolArgs, Index: i, Text: text})
}

// endCall ends a call, whose arguments may not have come in pieces.
func (d *responsesDecoder) endCall(at int64, whole string) {
	i := d.call(at)
	if i < 0 {
		return
	}
	if !d.calls[i].argued {
		d.args(at, whole)
	}
	d.calls[i].ended = true
	if d.calls[i].custom {
		d.add(chat.Chunk{Type: chat.ChunkToolArgs, Index: i, Text: `"}`})
	}
}

// endItem adds what of an item has not come in pieces.
func (d *responsesDecoder) endItem(v *itemEvent) error {
	it, err := v.read()
	if err != nil {
		return err
	}
	switch it.kind {
	case "function_call", "custom_tool_call":
		if d.call(v.at) < 0 && !slices.ContainsFunc(d.calls, func(c itemCall) bool { return c.at == v.at }) {
			if err := d.startItem(v); err != nil {
				return err
			}
		}
		d.endCall(v.at, it.text)
	case "message":
		if d.said[v.at] {
			return nil
		}
		d.parts(it.parts)
	case "reasoning":
		p := it.reasoning()
		if !d.said[v.at] {
			d.text(chat.ChunkReasoning, p.Text)
		}
		d.text(chat.ChunkSignature, p.Signature)
		if p.Data != "" {
			d.add(chat.Chunk{Type: chat.ChunkRedacted, Text: p.Data, ID: p.ID})
		}
	default:
		d.parts(it.made())
	}
	return nil
}

// parts adds parts that came whole.
func (d *responsesDecoder) parts(parts []chat.Part) {
	for i := range parts {
		switch p := &parts[i]; p.Type {
		case chat.PartText:
			d.text(chat.ChunkText, p.Text)
			if p.Citations != nil {
				d.add(chat.Chunk{Type: chat.ChunkCitations, Raw: p.Citations, Origin: p.Origin})
			}
		case chat.PartRefusal:
			d.refused = true
			d.text(chat.ChunkRefusal, p.Text)
		case chat.PartImage:
			d.add(chat.Chunk{Type: chat.ChunkMedia, Media: p.Media})
		case chat.PartOther:
			d.add(chat.Chunk{Type: chat.ChunkOther, Raw: p.Raw, Origin: p.Origin})
		}
	}
}

// end ends the response.
func (d *responsesDecoder) end(v *itemEvent) error {
	r, end, res := reader{jsonread.New(v.response)}, ending{}, chat.Response{}
	failed := v.kind == "response.failed"
	r.Members(func(name string) {
		if name == "error" {
			failed = failed || r.Next() == '{'
			r.Raw()
			return
		}
		r.endMember(&end, &res, name)
	})
	if r.Finish() != nil || len(v.response) == 0 {
		return malformed(errShape)
	}
	if failed {
		return Codec{}.Classify(noTime, 200, nil, slices.Clone(v.response))
	}
	if v.kind == "response.incomplete" {
		end.status = "incomplete"
	}
	for i := range d.calls {
		if !d.calls[i].ended {
			d.endCall(d.calls[i].at, "")
		}
	}
	d.add(chat.Chunk{Type: chat.ChunkFinish, Finish: end.finishOf(len(d.calls) > 0, d.refused)})
	if u, ok := llm.ReadUsage(llm.DialectOpenAI, v.response); ok {
		d.add(chat.Chunk{Type: chat.ChunkUsage, Usage: u, Tier: res.Tier})
	}
	d.ended = true
	d.add(chat.Chunk{Type: chat.ChunkEnd})
	return nil
}

// End is told that the bytes have ended: a response ends with an event that says so.
func (d *responsesDecoder) End(list []chat.Chunk) ([]chat.Chunk, error) {
	if d.ended {
		return list, nil
	}
	return list, cut()
}
