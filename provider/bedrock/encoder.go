package bedrock

import (
	"time"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/chat"
)

// encoder writes one stream of Converse, whose blocks stand one behind the other: what belongs to
// a call that is not the open one waits until that is closed.
type encoder struct {
	start   time.Time
	open    chat.ChunkType // the kind of the block that is open; noBlock: none
	call    int            // its index among the calls, if it is one
	index   int            // of the block that is open, or of the next
	held    []heldCall
	finish  chat.Finish
	stop    string
	stopped bool
	begun   bool
	usage   llm.Usage
	tier    string
}

// heldCall is a call that waits.
type heldCall struct {
	index    int
	id, name string
	args     []byte
}

const noBlock = chat.ChunkEnd

// NewEncoder writes one stream.
func (Format) NewEncoder(*chat.Request) chat.Encoder {
	return &encoder{start: time.Now(), open: noBlock}
}

// Encode appends the frames that a chunk makes. Converse has one choice.
func (e *encoder) Encode(dst []byte, c *chat.Chunk) []byte {
	switch c.Type {
	case chat.ChunkUsage:
		e.usage, e.tier = c.Usage, c.Tier
		return dst
	case chat.ChunkPing, chat.ChunkLogProbs:
		return dst
	case chat.ChunkEnd:
		return e.end(e.begin(dst))
	}
	if c.Choice != 0 || e.stopped {
		return dst
	}
	dst = e.begin(dst)
	switch c.Type {
	case chat.ChunkText, chat.ChunkRefusal:
		return e.text(dst, c.Text)
	case chat.ChunkReasoning, chat.ChunkSignature, chat.ChunkRedacted:
		return e.reasoning(dst, c)
	case chat.ChunkToolStart, chat.ChunkToolArgs:
		return e.tool(dst, c)
	case chat.ChunkMedia:
		return e.media(dst, c.Media)
	case chat.ChunkCitations:
		return e.citations(dst, c)
	case chat.ChunkFinish:
		e.finish, e.stop, e.stopped = c.Finish, c.StopText, true
		return e.stopFrame(e.flush(e.close(dst)))
	}
	return dst
}

// begin writes the first frame.
func (e *encoder) begin(dst []byte) []byte {
	if e.begun {
		return dst
	}
	e.begun = true
	return AppendEvent(dst, eventStart, func(b []byte) []byte { return append(b, `{"role":"assistant"}`...) })
}

// block opens a block of a kind, unless one is open that can go on. Calls that waited come first.
func (e *encoder) block(dst []byte, kind chat.ChunkType) []byte {
	if e.open == kind {
		return dst
	}
	dst = e.flush(e.close(dst))
	e.open = kind
	return dst
}

// close closes the block that is open.
func (e *encoder) close(dst []byte) []byte {
	if e.open == noBlock {
		return dst
	}
	e.open = noBlock
	dst = AppendEvent(dst, eventBlockStop, func(b []byte) []byte {
		return append(appendInt(b, `{"contentBlockIndex":`, int64(e.index)), '}')
	})
	e.index++
	return dst
}

// delta writes what is added to the block that is open.
func (e *encoder) delta(dst []byte, before, text, after string) []byte {
	return AppendEvent(dst, eventBlockDelta, func(b []byte) []byte {
		b = appendInt(b, `{"contentBlockIndex":`, int64(e.index))
		b = append(append(b, `,"delta":{`...), before...)
		b = append(llm.AppendString(b, text), after...)
		return append(b, "}}"...)
	})
}

func (e *encoder) text(dst []byte, text string) []byte {
	if text == "" {
		return dst
	}
	return e.delta(e.block(dst, chat.ChunkText), `"text":`, text, "")
}

// reasoning writes a piece of reasoning. A signature closes its block; a block that may not be
// read is one of its own.
func (e *encoder) reasoning(dst []byte, c *chat.Chunk) []byte {
	if c.Type == chat.ChunkSignature && c.ID != "" {
		return dst // of a call, which only Gemini has
	}
	if c.Type == chat.ChunkRedacted {
		data := c.Text
		if !isBase64(data) {
			data = encodeText(data)
		}
		dst = e.flush(e.close(dst))
		e.open = chat.ChunkReasoning
		return e.close(e.delta(dst, `"reasoningContent":{"redactedContent":`, data, "}"))
	}
	dst = e.block(dst, chat.ChunkReasoning)
	if c.Type == chat.ChunkSignature {
		return e.close(e.delta(dst, `"reasoningContent":{"signature":`, c.Text, "}"))
	}
	return e.delta(dst, `"reasoningContent":{"text":`, c.Text, "}")
}

// tool writes the beginning of a call, or a piece of its arguments, if its block is open or none
// of a call is; else it waits.
func (e *encoder) tool(dst []byte, c *chat.Chunk) []byte {
	if c.Type == chat.ChunkToolStart {
		if e.open == chat.ChunkToolArgs {
			e.held = append(e.held, heldCall{index: c.Index, id: c.ID, name: c.Name})
			return dst
		}
		return e.openCall(e.close(dst), c.Index, c.ID, c.Name)
	}
	if e.open == chat.ChunkToolArgs && e.call == c.Index {
		return e.args(dst, c.Text)
	}
	for i := range e.held {
		if e.held[i].index == c.Index {
			e.held[i].args = append(e.held[i].args, c.Text...)
		}
	}
	return dst
}

func (e *encoder) openCall(dst []byte, index int, id, name string) []byte {
	e.open, e.call = chat.ChunkToolArgs, index
	return AppendEvent(dst, eventBlockStart, func(b []byte) []byte {
		b = appendInt(b, `{"contentBlockIndex":`, int64(e.index))
		b = append(b, `,"start":{"toolUse":{"toolUseId":`...)
		b = llm.AppendString(b, id)
		b = append(b, `,"name":`...)
		return append(llm.AppendString(b, name), "}}}"...)
	})
}

func (e *encoder) args(dst []byte, text string) []byte {
	if text == "" {
		return dst
	}
	return e.delta(dst, `"toolUse":{"input":`, text, "}")
}

// flush writes the calls that waited. No block is open.
func (e *encoder) flush(dst []byte) []byte {
	for i := range e.held {
		h := &e.held[i]
		dst = e.close(e.args(e.openCall(dst, h.index, h.id, h.name), string(h.args)))
	}
	e.held = e.held[:0]
	return dst
}

// media writes an image. Converse answers with no other media.
func (e *encoder) media(dst []byte, m *chat.Media) []byte {
	format := formatOf(&chat.Part{Type: chat.PartImage, Media: m})
	if m.Data == "" || typeOf("image", format) != m.MIME {
		return dst
	}
	dst = e.flush(e.close(dst))
	e.open = chat.ChunkMedia
	dst = AppendEvent(dst, eventBlockStart, func(b []byte) []byte {
		b = appendInt(b, `{"contentBlockIndex":`, int64(e.index))
		return append(llm.AppendString(append(b, `,"start":{"image":{"format":`...), format), "}}}"...)
	})
	return e.close(e.delta(dst, `"image":{"source":{"bytes":`, m.Data, "}}"))
}

// citations writes what a text cites, in Bedrock's own form alone.
func (e *encoder) citations(dst []byte, c *chat.Chunk) []byte {
	if c.Origin != origin {
		return dst
	}
	dst = e.block(dst, chat.ChunkText)
	list := llm.NewCursor(c.Raw)
	for n := 0; list.Element(n); n++ {
		raw := list.Raw()
		dst = AppendEvent(dst, eventBlockDelta, func(b []byte) []byte {
			b = appendInt(b, `{"contentBlockIndex":`, int64(e.index))
			return append(llm.AppendRaw(append(b, `,"delta":{"citation":`...), raw), "}}"...)
		})
	}
	return dst
}

func (e *encoder) stopFrame(dst []byte) []byte {
	return AppendEvent(dst, eventStop, func(b []byte) []byte {
		b = append(b, `{"stopReason":"`...)
		return append(append(b, stopReason(e.finish, e.stop)...), `"}`...)
	})
}

// end writes the usage, with which a stream ends.
func (e *encoder) end(dst []byte) []byte {
	if !e.stopped {
		e.stopped = true
		dst = e.stopFrame(e.flush(e.close(dst)))
	}
	return AppendEvent(dst, eventMetadata, func(b []byte) []byte {
		b = appendUsage(append(b, `{"usage":`...), e.usage)
		b = appendInt(b, `,"metrics":{"latencyMs":`, time.Since(e.start).Milliseconds())
		b = appendTier(append(b, '}'), e.tier)
		return append(b, '}')
	})
}
