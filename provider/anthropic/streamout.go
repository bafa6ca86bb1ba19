package anthropic

import (
	"cmp"
	"strconv"
	"strings"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/chat"
)

// NewEncoder writes one stream for a client.
func (Format) NewEncoder(req *chat.Request) chat.Encoder { return &streamWriter{model: req.Model} }

// The kinds of blocks that are open.
const (
	openNone     = ""
	openText     = "text"
	openThinking = "thinking"
	openCall     = "tool_use"
)

// streamWriter writes the events of a stream. Blocks follow one another: a call whose turn has
// not come waits until the one before it is whole.
type streamWriter struct {
	id, model string
	started   bool
	index     int    // of the block that is open, or comes next
	open      string // its kind
	calls     []*call
	at        int  // of the first call that is not closed
	cited     bool // the open text has citations
	usage     llm.Usage
	tier      string
	finish    chat.Finish
	stopText  string
}

// call is a call of a tool.
type call struct {
	index     int // among the choice's
	id, name  string
	signature string
	waiting   []byte // arguments that are not written yet
	shape     shape
	begun     bool
}

// Encode writes what the chunk makes.
func (s *streamWriter) Encode(dst []byte, c *chat.Chunk) []byte {
	switch c.Type {
	case chat.ChunkStart:
		s.id, s.model = messageID(c.ID), cmp.Or(c.Model, s.model)
		return dst
	case chat.ChunkUsage:
		s.usage, s.tier = c.Usage, cmp.Or(c.Tier, s.tier)
		return dst
	case chat.ChunkPing:
		if s.started {
			dst = append(dst, "event: ping\ndata: {\"type\":\"ping\"}\n\n"...)
		}
		return dst
	case chat.ChunkEnd:
		return s.end(s.start(dst))
	}
	if c.Choice != 0 {
		return dst
	}
	return s.choice(s.start(dst), c)
}

// choice writes what belongs to the answer.
func (s *streamWriter) choice(dst []byte, c *chat.Chunk) []byte {
	switch c.Type {
	case chat.ChunkText, chat.ChunkRefusal:
		return s.text(dst, openText, "text_delta", `","text":`, c.Text)
	case chat.ChunkReasoning:
		return s.text(dst, openThinking, "thinking_delta", `","thinking":`, c.Text)
	case chat.ChunkSignature:
		if c.ID != "" {
			s.sign(c)
			return dst
		}
		dst = s.text(dst, openThinking, "signature_delta", `","signature":`, c.Text)
		return s.close(dst)
	case chat.ChunkRedacted:
		b := appendThinking([]byte{'{'}, &chat.Part{Data: c.Text})
		return s.block(dst, append(b, '}'))
	case chat.ChunkToolStart:
		s.calls = append(s.calls, &call{index: c.Index, id: c.ID, name: c.Name})
		return s.advance(s.leave(dst), false)
	case chat.ChunkToolArgs:
		return s.arguments(dst, c)
	case chat.ChunkMedia:
		if c.Text != "" {
			return s.text(dst, openText, "text_delta", `","text":`, c.Text)
		}
	case chat.ChunkCitations:
		return s.citations(dst, c)
	case chat.ChunkOther:
		if c.Origin == origin {
			return s.block(dst, c.Raw)
		}
	case chat.ChunkFinish:
		s.finish, s.stopText = c.Finish, c.StopText
	}
	return dst
}

// start writes the beginning of the message, once. It waits for the first of the answer, so that
// the usage that stands in it is what is known then.
func (s *streamWriter) start(dst []byte) []byte {
	if s.started {
		return dst
	}
	s.started = true
	if s.id == "" {
		s.id = messageID("")
	}
	dst = append(dst, "event: message_start\ndata: {\"type\":\"message_start\",\"message\":"...)
	dst = appendHead(dst, s.id, s.model)
	dst = append(dst, `],"stop_reason":null,"stop_sequence":null,"usage":`...)
	dst = appendUsage(dst, &s.usage, s.tier)
	return append(dst, "}}\n\n"...)
}

// begin opens a block, up to what follows its type.
func (s *streamWriter) begin(dst []byte) []byte {
	dst = append(dst, "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":"...)
	dst = strconv.AppendInt(dst, int64(s.index), 10)
	return append(dst, `,"content_block":`...)
}

// delta begins an event that adds to the open block, up to the quote before the delta's type.
func (s *streamWriter) delta(dst []byte) []byte {
	dst = append(dst, "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":"...)
	dst = strconv.AppendInt(dst, int64(s.index), 10)
	return append(dst, `,"delta":{"type":"`...)
}

// close ends the open block.
func (s *streamWriter) close(dst []byte) []byte {
	if s.open == openNone {
		return dst
	}
	dst = append(dst, "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":"...)
	dst = strconv.AppendInt(dst, int64(s.index), 10)
	s.index++
	s.open = openNone
	return append(dst, "}\n\n"...)
}

// block writes a whole block.
func (s *streamWriter) block(dst, raw []byte) []byte {
	dst = s.begin(s.flush(dst))
	dst = llm.AppendRaw(dst, raw)
	dst = append(dst, "}\n\n"...)
	s.open = "other"
	return s.close(dst)
}

// text writes a piece of text or of thoughts; member begins with the end of the delta's type.
func (s *streamWriter) text(dst []byte, kind, typ, member, text string) []byte {
	if text == "" {
		return dst
	}
	if s.open != kind || s.cited && strings.TrimSpace(text) != "" { // what follows is not from the pages that were cited
		dst = s.begin(s.flush(dst))
		s.open, s.cited = kind, false
		if kind == openText {
			dst = append(dst, "{\"type\":\"text\",\"text\":\"\"}}\n\n"...)
		} else {
			dst = append(dst, "{\"type\":\"thinking\",\"thinking\":\"\",\"signature\":\"\"}}\n\n"...)
		}
	}
	dst = append(s.delta(dst), typ...)
	dst = append(dst, member...)
	dst = llm.AppendString(dst, text)
	return append(dst, "}}\n\n"...)
}

// citations writes the annotations of the text before. Another vendor's are for all of the block: it has left.
func (s *streamWriter) citations(dst []byte, c *chat.Chunk) []byte {
	if s.open != openText {
		return dst
	}
	if c.Origin != origin {
		pages := pagesOf(c.Raw)
		for i := range pages {
			dst = s.citation(dst, pages[i].append(nil))
		}
		return dst
	}
	list := llm.NewCursor(c.Raw)
	if list.Next() == '{' {
		return s.citation(dst, c.Raw)
	}
	for n := 0; list.Element(n); n++ {
		dst = s.citation(dst, list.Raw())
	}
	return dst
}

func (s *streamWriter) citation(dst, raw []byte) []byte {
	s.cited = true
	dst = append(s.delta(dst), `citations_delta","citation":`...)
	dst = llm.AppendRaw(dst, raw)
	return append(dst, "}}\n\n"...)
}

// leave ends the open block unless it is a call.
func (s *streamWriter) leave(dst []byte) []byte {
	if s.open == openCall {
		return dst
	}
	return s.close(dst)
}

// find is the call that a chunk names, nil if none has begun.
func (s *streamWriter) find(c *chat.Chunk) *call {
	for _, k := range s.calls {
		if k.index == c.Index {
			return k
		}
	}
	return nil
}

// sign takes the signature of a call that is not written yet.
func (s *streamWriter) sign(c *chat.Chunk) {
	if k := s.find(c); k != nil && !k.begun {
		k.signature = c.Text
	}
}

// arguments takes a piece of a call's arguments.
func (s *streamWriter) arguments(dst []byte, c *chat.Chunk) []byte {
	k := s.find(c)
	if k == nil || c.Text == "" {
		return dst
	}
	k.waiting = append(k.waiting, c.Text...)
	k.shape.add(c.Text)
	return s.advance(dst, false)
}

// advance writes what may be written of the calls: those that are whole, and the one after them
// as far as it goes. all: whatever they lack will not come.
func (s *streamWriter) advance(dst []byte, all bool) []byte {
	for s.at < len(s.calls) {
		k := s.calls[s.at]
		if len(k.waiting) > 0 || all {
			dst = s.call(dst, k)
		}
		if !all && !k.shape.whole() {
			return dst
		}
		dst = s.close(dst)
		s.at++
	}
	return dst
}

// call writes what is waiting of a call. It begins with the first of the arguments, before which
// a signature may come.
func (s *streamWriter) call(dst []byte, k *call) []byte {
	if !k.begun {
		k.begun = true
		dst = s.begin(dst)
		s.open = openCall
		p := chat.Part{ID: k.id, Signature: k.signature}
		dst = appendCall(dst, callID(&p, s.id, s.at+1), k.name)
		dst = append(dst, "{}}}\n\n"...)
	}
	if len(k.waiting) == 0 {
		return dst
	}
	dst = append(s.delta(dst), `input_json_delta","partial_json":`...)
	dst = llm.AppendString(dst, string(k.waiting))
	k.waiting = k.waiting[:0]
	return append(dst, "}}\n\n"...)
}

// flush ends the open block and all calls.
func (s *streamWriter) flush(dst []byte) []byte { return s.close(s.advance(dst, true)) }

// end writes the end of the message.
func (s *streamWriter) end(dst []byte) []byte {
	dst = s.flush(dst)
	dst = append(dst, "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":"...)
	dst = llm.AppendString(dst, stopReason(s.finish, s.stopText, len(s.calls) > 0))
	dst = append(dst, `,"stop_sequence":`...)
	dst = appendOrNull(dst, s.stopText)
	dst = append(dst, `},"usage":`...)
	dst = appendUsage(dst, &s.usage, "")
	dst = append(dst, "}\n\n"...)
	return append(dst, "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"...)
}

// shape follows the arguments of a call to their end: a JSON object's closing brace.
type shape struct {
	depth           int
	quoted, escaped bool
	began, ended    bool
}

// add reads on.
func (p *shape) add(text string) {
	for i := range len(text) {
		switch b := text[i]; {
		case p.escaped:
			p.escaped = false
		case p.quoted:
			p.escaped, p.quoted = b == '\\', b != '"'
		case b == '"':
			p.quoted = true
		case b == '{' || b == '[':
			p.depth++
			p.began = true
		case b == '}' || b == ']':
			p.depth--
			p.ended = p.began && p.depth <= 0
		}
	}
}

// whole says whether the arguments are complete.
func (p *shape) whole() bool { return p.ended }
