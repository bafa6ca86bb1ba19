package anthropic

import (
	"encoding/json"
	"slices"
	"time"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/chat"
)

// noTime is for errors in streams, whose headers went long before.
var noTime time.Time

// NewDecoder reads one stream of a provider.
func (Format) NewDecoder() chat.Decoder {
	return &streamReader{meter: llm.UsageMeter{Dialect: llm.DialectAnthropic}}
}

// streamReader reads the events of a stream.
type streamReader struct {
	meter    llm.UsageMeter
	tier     string
	blocks   []openBlock // those that have begun and not ended
	calls    int
	finished bool // the reason for the end was given
	ended    bool
}

// openBlock is a block that goes on.
type openBlock struct {
	index int64
	typ   string
	call  int    // of a call: its number
	empty bool   // of a call: nothing of its arguments has come
	raw   []byte // of a block that only Anthropic understands: as it began; of a call: its input
	input []byte // of such a block: the pieces of its input
	text  []byte // of such a block: its content, JSON
}

// event is what is read of an event, whatever the order of its members. The slices are the
// event's own.
type event struct {
	typ                                      string
	index                                    int64
	block, message, usage, citation, content []byte
	deltaType                                string
	text                                     string // of any kind of delta
	reason, stopText                         string
	failed                                   bool
}

// Decode reads one event.
func (s *streamReader) Decode(list []chat.Chunk, e llm.Event) ([]chat.Chunk, error) {
	if e.Data == nil {
		return list, nil
	}
	v, err := readEvent(e.Data)
	if err != nil {
		if e.Cut {
			err = cut()
		}
		return list, err
	}
	switch v.typ {
	case "message_start":
		return s.start(list, &v, e.Data), nil
	case "content_block_start":
		return s.open(list, &v)
	case "content_block_delta":
		return s.delta(list, &v)
	case "content_block_stop":
		return s.close(list, &v), nil
	case "message_delta":
		return s.end(list, &v, e.Data), nil
	case "message_stop":
		s.ended = true
		return append(list, chat.Chunk{Type: chat.ChunkEnd}), nil
	case "ping":
		return append(list, chat.Chunk{Type: chat.ChunkPing}), nil
	case "error":
		return list, classify(noTime, 200, nil, slices.Clone(e.Data))
	}
	if v.failed {
		return list, classify(noTime, 200, nil, slices.Clone(e.Data))
	}
	return list, nil // events of other types may come, Anthropic says
}

// End is told that the bytes have ended.
func (s *streamReader) End(list []chat.Chunk) ([]chat.Chunk, error) {
	switch {
	case s.ended:
		return list, nil
	case s.finished:
		s.ended = true
		return append(list, chat.Chunk{Type: chat.ChunkEnd}), nil
	}
	return list, cut()
}

// cut is the error of a stream that ended too early.
func cut() error {
	return &llm.Error{Kind: llm.Upstream, Code: "upstream_cut", Message: "The provider's stream ended before its answer did."}
}

// readEvent reads an event's data.
func readEvent(data []byte) (event, error) {
	var v event
	c := llm.NewCursor(data)
	if c.Next() != '{' {
		return v, notJSON(data)
	}
	for n := 0; c.Member(n); n++ {
		switch string(c.Name()) {
		case "type":
			v.typ = typeName(c.Raw())
		case "index":
			v.index, _ = c.Int()
		case "delta":
			v.delta(&c)
		case "content_block":
			v.block = c.Raw()
		case "message":
			v.message = c.Raw()
		case "usage":
			v.usage = c.Raw()
		case "error":
			v.failed = string(c.Raw()) != "null"
		default:
			c.Raw()
		}
	}
	if c.End() != nil {
		return v, notJSON(data)
	}
	return v, nil
}

// typeNames are the types of events and deltas, which are not allocated for each.
var typeNames = []string{
	"content_block_delta", "text_delta", "input_json_delta", "thinking_delta", "signature_delta", "citations_delta",
	"content_block_start", "content_block_stop", "ping", "message_start", "message_delta", "message_stop", "error",
}

// typeName is the text of a type, which stands in quotes.
func typeName(raw []byte) string {
	if len(raw) < 2 || raw[0] != '"' {
		return ""
	}
	raw = raw[1 : len(raw)-1]
	for _, name := range typeNames {
		if string(raw) == name {
			return name
		}
	}
	return string(raw)
}

// delta reads what an event adds.
func (v *event) delta(c *llm.Cursor) {
	for n := 0; c.Member(n); n++ {
		switch string(c.Name()) {
		case "type":
			v.deltaType = typeName(c.Raw())
		case "text", "thinking", "partial_json", "signature":
			v.text = c.Text()
		case "citation":
			v.citation = c.Raw()
		case "content":
			v.content = c.Raw()
		case "stop_reason":
			v.reason = c.Text()
		case "stop_sequence":
			v.stopText = c.Text()
		default:
			c.Raw()
		}
	}
}

// start reads the beginning of the message.
func (s *streamReader) start(list []chat.Chunk, v *event, data []byte) []chat.Chunk {
	k := chat.Chunk{Type: chat.ChunkStart}
	var usage []byte
	c := llm.NewCursor(v.message)
	for n := 0; c.Member(n); n++ {
		switch string(c.Name()) {
		case "id":
			k.ID = c.Text()
		case "model":
			k.Model = c.Text()
		case "usage":
			usage = c.Raw()
		default:
			c.Raw()
		}
	}
	return s.usage(append(list, k), usage, data)
}

// usage appends the usage so far, if the event has some.
func (s *streamReader) usage(list []chat.Chunk, usage, data []byte) []chat.Chunk {
	u, ok := s.meter.Add(data)
	if !ok {
		return list
	}
	if tier := tierOf(usage); tier != "" {
		s.tier = tier
	}
	return append(list, chat.Chunk{Type: chat.ChunkUsage, Usage: u, Tier: s.tier})
}

// end reads why the message ends, and what it used.
func (s *streamReader) end(list []chat.Chunk, v *event, data []byte) []chat.Chunk {
	if v.reason != "" {
		s.finished = true
		list = append(list, chat.Chunk{Type: chat.ChunkFinish, Finish: finishOf(v.reason), StopText: v.stopText})
	}
	return s.usage(list, v.usage, data)
}

// open reads the beginning of a block.
func (s *streamReader) open(list []chat.Chunk, v *event) ([]chat.Chunk, error) {
	r := reader{Cursor: llm.NewCursor(v.block)}
	b := r.block()
	if r.err != nil || r.Err() != nil || b.typ == "" {
		return list, notJSON(v.block)
	}
	o := openBlock{index: v.index, typ: b.typ}
	switch b.typ {
	case "text":
		if b.text != "" {
			list = append(list, chat.Chunk{Type: chat.ChunkText, Text: b.text})
		}
		if len(b.citations) > 2 {
			list = append(list, chat.Chunk{Type: chat.ChunkCitations, Raw: b.citations, Origin: origin})
		}
	case "thinking":
		if b.thinking != "" {
			list = append(list, chat.Chunk{Type: chat.ChunkReasoning, Text: b.thinking})
		}
		if b.signature != "" {
			list = append(list, chat.Chunk{Type: chat.ChunkSignature, Text: b.signature})
		}
	case "redacted_thinking":
		list = append(list, chat.Chunk{Type: chat.ChunkRedacted, Text: b.data})
	case "tool_use":
		o.call, o.empty, o.raw = s.calls, true, b.input
		s.calls++
		id, signature := splitID(b.id)
		list = append(list, chat.Chunk{Type: chat.ChunkToolStart, Index: o.call, ID: id, Name: b.name})
		if signature != "" {
			list = append(list, chat.Chunk{Type: chat.ChunkSignature, Index: o.call, ID: id, Text: signature})
		}
	default:
		o.raw = slices.Clone(v.block)
	}
	s.blocks = append(s.blocks, o)
	return list, nil
}

// find is the place of the block that an event belongs to, -1 if none has begun.
func (s *streamReader) find(index int64) int {
	return slices.IndexFunc(s.blocks, func(b openBlock) bool { return b.index == index })
}

// delta reads what is added to a block.
func (s *streamReader) delta(list []chat.Chunk, v *event) ([]chat.Chunk, error) {
	at := s.find(v.index)
	if at < 0 {
		return list, &llm.Error{Kind: llm.Upstream, Code: "invalid_response", Message: "The provider goes on with a block that it has not begun."}
	}
	b := &s.blocks[at]
	switch v.deltaType {
	case "text_delta":
		return append(list, chat.Chunk{Type: chat.ChunkText, Text: v.text}), nil
	case "thinking_delta":
		return append(list, chat.Chunk{Type: chat.ChunkReasoning, Text: v.text}), nil
	case "signature_delta":
		return append(list, chat.Chunk{Type: chat.ChunkSignature, Text: v.text}), nil
	case "citations_delta":
		return append(list, chat.Chunk{Type: chat.ChunkCitations, Raw: slices.Clone(v.citation), Origin: origin}), nil
	case "input_json_delta":
		switch {
		case v.text == "":
		case b.typ == "tool_use":
			b.empty = false
			return append(list, chat.Chunk{Type: chat.ChunkToolArgs, Index: b.call, Text: v.text}), nil
		default:
			b.input = append(b.input, v.text...)
		}
	default:
		if len(v.content) > 0 {
			b.text = slices.Clone(v.content)
		}
	}
	return list, nil
}

// close reads the end of a block.
func (s *streamReader) close(list []chat.Chunk, v *event) []chat.Chunk {
	at := s.find(v.index)
	if at < 0 {
		return list
	}
	b := s.blocks[at]
	s.blocks = slices.Delete(s.blocks, at, at+1)
	switch {
	case b.typ == "tool_use" && b.empty:
		return append(list, chat.Chunk{Type: chat.ChunkToolArgs, Index: b.call, Text: string(appendInput(nil, b.raw))})
	case b.typ != "tool_use" && b.raw != nil:
		return append(list, chat.Chunk{Type: chat.ChunkOther, Raw: b.whole(), Origin: origin})
	}
	return list
}

// whole is a block that only Anthropic understands, with all that was added to it.
func (b *openBlock) whole() json.RawMessage {
	if len(b.input) == 0 && len(b.text) == 0 {
		return b.raw
	}
	out := []byte{'{'}
	c := llm.NewCursor(b.raw)
	for n := 0; c.Member(n); n++ {
		name, v := string(c.Name()), c.Raw()
		if name == "input" && len(b.input) > 0 || name == "content" && len(b.text) > 0 {
			continue
		}
		out = llm.AppendString(llm.AppendComma(out), name)
		out = append(append(out, ':'), v...)
	}
	if len(b.input) > 0 {
		out = appendInput(llm.AppendKey(out, "input"), b.input)
	}
	if len(b.text) > 0 {
		out = append(llm.AppendKey(out, "content"), b.text...)
	}
	return append(out, '}')
}
