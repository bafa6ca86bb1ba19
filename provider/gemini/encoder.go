package gemini

import (
	"cmp"
	"strconv"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/chat"
)

// NewEncoder implements provider.Inbound.
func (Dialect) NewEncoder(req *chat.Request) chat.Encoder { return &encoder{model: req.Model} }

// encoder writes one stream as server-sent events. Calls of tools leave whole, and the reasons to
// end leave last, together with the usage.
type encoder struct {
	id, model string
	tail      []byte // of every event: what names the answer
	calls     []openCall
	ends      []choiceEnd
	usage     llm.Usage
}

// openCall is a call whose arguments still come.
type openCall struct {
	choice, index       int
	id, name, signature string
	args                []byte
}

// choiceEnd is what is kept of a choice for its end.
type choiceEnd struct {
	index     int
	finish    chat.Finish
	citations []byte // elements of a list
	text      []byte // to which they refer
	probs     []byte // elements of a list
}

// Encode implements chat.Encoder.
func (e *encoder) Encode(dst []byte, c *chat.Chunk) []byte {
	switch c.Type {
	case chat.ChunkStart:
		e.id, e.model = c.ID, cmp.Or(c.Model, e.model)
		e.tail = nil
	case chat.ChunkText, chat.ChunkRefusal, chat.ChunkReasoning:
		if c.Text != "" {
			return e.text(dst, c)
		}
	case chat.ChunkToolStart:
		e.calls = append(e.calls, openCall{choice: c.Choice, index: c.Index, id: c.ID, name: c.Name})
	case chat.ChunkToolArgs:
		if call := e.call(c); call != nil {
			call.args = append(call.args, c.Text...)
		}
	case chat.ChunkCitations:
		e.choice(c.Choice).cite(c.Raw)
	case chat.ChunkLogProbs:
		e.probs(c)
	case chat.ChunkUsage:
		e.usage = c.Usage
	case chat.ChunkFinish:
		e.choice(c.Choice).finish = c.Finish
		return e.flush(dst, c.Choice)
	case chat.ChunkEnd:
		return e.end(dst)
	default:
		return e.part(dst, c)
	}
	return dst
}

// begin writes an event up to its first part.
func (e *encoder) begin(dst []byte) []byte {
	return append(dst, `data: {"candidates":[{"content":{"parts":[`...)
}

// close writes what follows the parts.
func (e *encoder) close(dst []byte, choice int) []byte {
	if e.tail == nil {
		w := writer{out: []byte("]")}
		w.head(e.id, e.model)
		e.tail = append(w.out, "}\r\n\r\n"...)
	}
	dst = append(dst, `],"role":"model"},"index":`...)
	dst = append(strconv.AppendInt(dst, int64(choice), 10), '}')
	return append(dst, e.tail...)
}

// text writes an event with a piece of text.
func (e *encoder) text(dst []byte, c *chat.Chunk) []byte {
	dst = llm.AppendString(append(e.begin(dst), `{"text":`...), c.Text)
	if c.Type == chat.ChunkReasoning {
		dst = append(dst, `,"thought":true`...)
	} else {
		end := e.choice(c.Choice)
		end.text = append(end.text, c.Text...)
	}
	return e.close(append(dst, '}'), c.Choice)
}

// part writes an event with a part of another kind.
func (e *encoder) part(dst []byte, c *chat.Chunk) []byte {
	w := writer{first: true}
	switch c.Type {
	case chat.ChunkSignature:
		if call := e.call(c); c.ID != "" && call != nil {
			call.signature = c.Text
			return dst
		}
		w.signature(toClient(c.Text, ""))
	case chat.ChunkRedacted:
		w.signature(toClient("", c.Text))
	case chat.ChunkMedia:
		w.media(c.Media)
	case chat.ChunkOther:
		if c.Origin == origin {
			w.sep()
			w.out = llm.AppendRaw(w.out, c.Raw)
		}
	}
	if len(w.out) == 0 {
		return dst
	}
	return e.close(append(e.begin(dst), w.out...), c.Choice)
}

// choice is what is kept of a choice.
func (e *encoder) choice(index int) *choiceEnd {
	for i := range e.ends {
		if e.ends[i].index == index {
			return &e.ends[i]
		}
	}
	e.ends = append(e.ends, choiceEnd{index: index})
	return &e.ends[len(e.ends)-1]
}

// cite keeps annotations.
func (c *choiceEnd) cite(raw []byte) {
	s := llm.NewCursor(raw)
	if s.Next() == '{' {
		c.citations = llm.AppendRaw(llm.AppendComma(c.citations), raw)
		return
	}
	for n := 0; s.Element(n); n++ {
		c.citations = llm.AppendRaw(llm.AppendComma(c.citations), s.Raw())
	}
}

// grounding is groundingMetadata of what was kept.
func (c *choiceEnd) grounding(text string) []byte {
	return appendGrounding(nil, append(append([]byte{'['}, c.citations...), ']'), text)
}

// probs keeps OpenAI's logprobs.
func (e *encoder) probs(c *chat.Chunk) {
	end := e.choice(c.Choice)
	s := llm.NewCursor(c.Raw)
	for n := 0; s.Member(n); n++ {
		if string(s.Name()) != "content" {
			s.Raw()
			continue
		}
		for m := 0; s.Element(m); m++ {
			end.probs = llm.AppendRaw(llm.AppendComma(end.probs), s.Raw())
		}
	}
}

// call is the open call that a chunk is about.
func (e *encoder) call(c *chat.Chunk) *openCall {
	for i := range e.calls {
		if e.calls[i].choice == c.Choice && e.calls[i].index == c.Index {
			return &e.calls[i]
		}
	}
	return nil
}

// flush writes the calls of a choice, whose arguments are whole, in one event.
func (e *encoder) flush(dst []byte, choice int) []byte {
	w := writer{first: true}
	for i := range e.calls {
		if c := &e.calls[i]; c.choice == choice {
			w.call(c.id, c.name, c.args, c.signature)
			c.choice = -1 // has left
		}
	}
	if len(w.out) == 0 {
		return dst
	}
	return e.close(append(e.begin(dst), w.out...), choice)
}

// end writes the last event.
func (e *encoder) end(dst []byte) []byte {
	w := writer{out: append(dst, "data: "...)}
	w.open('{')
	w.member("candidates")
	w.open('[')
	for i := range e.ends {
		c := &e.ends[i]
		w.element('{')
		w.member("content").raw(`{"parts":[{"text":""}],"role":"model"}`)
		w.member("finishReason").str(finishReason(c.finish))
		w.member("index").integer(int64(c.index))
		if len(c.citations) > 0 {
			w.member("groundingMetadata").json(c.grounding(string(c.text)))
		}
		if len(c.probs) > 0 {
			w.member("logprobsResult").json(appendProbs(nil, append(append([]byte(`{"content":[`), c.probs...), "]}"...)))
		}
		w.close('}')
	}
	w.close(']')
	w.usage(&e.usage)
	w.head(e.id, e.model)
	w.close('}')
	return append(w.out, "\r\n\r\n"...)
}
