package openai

import (
	"strconv"
	"unicode/utf8"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/chat"
)

// chunkEncoder writes a stream of chunks of a chat completion.
type chunkEncoder struct {
	q       *chat.Request
	prefix  []byte // of every event, up to the index of its choice
	choices []*writtenChoice
	custom  map[string]bool
	legacy  bool
	usage   llm.Usage
	tier    string
}

// writtenChoice is what must be known of a choice that goes on.
type writtenChoice struct {
	index    int
	role     bool   // it was told who speaks
	thoughts []byte // reasoning that no signature has closed
	calls    []writtenCall
	images   int
	said     int // characters of text
	span     span
}

// writtenCall is a call that goes on.
type writtenCall struct {
	index  int
	custom bool
	text   []byte // arguments of a custom tool, which are sent at the end
	argued bool
}

// NewEncoder writes a stream of chunks.
func (Chat) NewEncoder(q *chat.Request) chat.Encoder {
	return &chunkEncoder{q: q, custom: customNames(q), legacy: usesFunctions(q)}
}

const (
	openDelta  = `,"delta":{`
	closeDelta = `},"finish_reason":null}]}` + "\n\n"
)

// Encode writes the events of one chunk.
func (e *chunkEncoder) Encode(dst []byte, c *chat.Chunk) []byte {
	switch c.Type {
	case chat.ChunkStart:
		e.begin(c)
		return dst
	case chat.ChunkUsage:
		e.usage = c.Usage
		if c.Tier != "" {
			e.tier = c.Tier
		}
		return dst
	case chat.ChunkPing:
		if e.prefix == nil {
			return dst
		}
		return append(dst, ": ping\n\n"...)
	case chat.ChunkEnd:
		return e.end(dst)
	}
	if e.prefix == nil {
		e.begin(&chat.Chunk{})
	}
	s := e.choice(c.Choice)
	if c.Type == chat.ChunkFinish {
		return e.finish(dst, s, c)
	}
	return e.delta(dst, s, c)
}

// begin makes what stands before every choice.
func (e *chunkEncoder) begin(c *chat.Chunk) {
	e.prefix = chunkPrefix(headOf(e.q, "chatcmpl-", c.ID, c.Model, c.Created), "chat.completion.chunk")
}

// chunkPrefix is the beginning of every event of a stream, up to its choices.
func chunkPrefix(h head, object string) []byte {
	b := append(make([]byte, 0, 192), `data: {"id":`...)
	b = llm.AppendString(b, h.id)
	b = append(b, `,"object":"`...)
	b = append(b, object...)
	b = append(b, `","created":`...)
	b = strconv.AppendInt(b, h.created, 10)
	b = append(b, `,"model":`...)
	b = llm.AppendString(b, h.model)
	return append(b, `,"choices":[`...)
}

// choice is the state of the choice.
func (e *chunkEncoder) choice(index int) *writtenChoice {
	for _, s := range e.choices {
		if s.index == index {
			return s
		}
	}
	s := &writtenChoice{index: index}
	e.choices = append(e.choices, s)
	return s
}

// open begins the event of a choice, up to the members of its delta.
func (e *chunkEncoder) open(dst []byte, s *writtenChoice) []byte {
	dst = append(dst, e.prefix...)
	dst = append(dst, `{"index":`...)
	dst = strconv.AppendInt(dst, int64(s.index), 10)
	dst = append(dst, openDelta...)
	if !s.role {
		s.role = true
		dst = append(dst, `"role":"assistant",`...)
	}
	return dst
}

// delta writes the event of a chunk that adds to a choice.
func (e *chunkEncoder) delta(dst []byte, s *writtenChoice, c *chat.Chunk) []byte {
	before := len(dst)
	role := s.role
	dst = e.open(dst, s)
	start := len(dst)
	switch c.Type {
	case chat.ChunkText:
		s.said += utf8.RuneCountInString(c.Text)
		dst = llm.AppendString(append(dst, `"content":`...), c.Text)
	case chat.ChunkReasoning:
		s.thoughts = append(s.thoughts, c.Text...)
		dst = llm.AppendString(append(dst, `"reasoning_content":`...), c.Text)
	case chat.ChunkRefusal:
		dst = llm.AppendString(append(dst, `"refusal":`...), c.Text)
	case chat.ChunkSignature, chat.ChunkRedacted:
		dst = e.signature(dst, s, c)
	case chat.ChunkToolStart, chat.ChunkToolArgs:
		dst = e.call(dst, s, c)
	case chat.ChunkMedia:
		dst = s.media(dst, c)
	case chat.ChunkCitations:
		dst = citations(dst, s, c)
	case chat.ChunkLogProbs:
		dst = trimComma(dst)
		dst = append(dst, `},"logprobs":`...)
		dst = llm.AppendRaw(dst, c.Raw)
		return append(dst, `,"finish_reason":null}]}`+"\n\n"...)
	}
	if len(dst) == start {
		s.role = role
		return dst[:before]
	}
	return append(dst, closeDelta...)
}

// trimComma takes off the comma behind the role.
func trimComma(dst []byte) []byte {
	if dst[len(dst)-1] == ',' {
		return dst[:len(dst)-1]
	}
	return dst
}

// signature writes what closes reasoning: the whole block, so that it can be sent back as it is.
func (e *chunkEncoder) signature(dst []byte, s *writtenChoice, c *chat.Chunk) []byte {
	if c.Type == chat.ChunkSignature && c.ID != "" {
		dst = appendInt(dst, `"tool_calls":[{"index":`, int64(c.Index))
		dst = append(dst, `,"provider_specific_fields":{"thought_signature":`...)
		return append(llm.AppendString(dst, c.Text), "}}]"...)
	}
	p := chat.Part{Text: string(s.thoughts)}
	if c.Type == chat.ChunkRedacted {
		p.Data = c.Text
	} else {
		p.Signature = c.Text
	}
	s.thoughts = s.thoughts[:0]
	dst = append(dst, `"thinking_blocks":[`...)
	return append(appendBlock(dst, &p), ']')
}

// call writes the beginning of a call or its arguments.
func (e *chunkEncoder) call(dst []byte, s *writtenChoice, c *chat.Chunk) []byte {
	call := s.call(c.Index)
	if c.Type == chat.ChunkToolStart {
		call.custom = e.custom[c.Name]
		return e.startCall(dst, call, c)
	}
	if call.custom {
		call.text = append(call.text, c.Text...)
		return dst
	}
	if c.Text == "" {
		return dst
	}
	call.argued = true
	return e.args(dst, call, c.Text)
}

func (s *writtenChoice) call(index int) *writtenCall {
	for i := range s.calls {
		if s.calls[i].index == index {
			return &s.calls[i]
		}
	}
	s.calls = append(s.calls, writtenCall{index: index})
	return &s.calls[len(s.calls)-1]
}

func (e *chunkEncoder) startCall(dst []byte, call *writtenCall, c *chat.Chunk) []byte {
	if e.legacy {
		dst = append(dst, `"function_call":{"name":`...)
		dst = llm.AppendString(dst, c.Name)
		return append(dst, `,"arguments":""}`...)
	}
	dst = appendInt(dst, `"tool_calls":[{"index":`, int64(c.Index))
	dst = append(dst, `,"id":`...)
	dst = llm.AppendString(dst, c.ID)
	if call.custom {
		dst = append(dst, `,"type":"custom","custom":{"name":`...)
		return append(llm.AppendString(dst, c.Name), `,"input":""}}]`...)
	}
	dst = append(dst, `,"type":"function","function":{"name":`...)
	return append(llm.AppendString(dst, c.Name), `,"arguments":""}}]`...)
}

// args writes a piece of arguments.
func (e *chunkEncoder) args(dst []byte, call *writtenCall, text string) []byte {
	if e.legacy {
		dst = llm.AppendString(append(dst, `"function_call":{"arguments":`...), text)
		return append(dst, '}')
	}
	dst = appendInt(dst, `"tool_calls":[{"index":`, int64(call.index))
	if call.custom {
		dst = append(dst, `,"custom":{"input":`...)
	} else {
		dst = append(dst, `,"function":{"arguments":`...)
	}
	return append(llm.AppendString(dst, text), "}}]"...)
}

// media writes a piece of audio, or an image.
func (s *writtenChoice) media(dst []byte, c *chat.Chunk) []byte {
	if m := c.Media; len(m.MIME) < 6 || m.MIME[:6] != "audio/" {
		dst = append(dst, `"images":[`...)
		dst = append(appendImage(dst, m, s.images), ']')
		s.images++
		return dst
	}
	dst = append(dst, `"audio":{`...)
	for _, v := range [...]struct{ name, text string }{{"id", c.ID}, {"transcript", c.Text}, {"data", c.Media.Data}} {
		if v.text != "" {
			dst = llm.AppendString(llm.AppendKey(dst, v.name), v.text)
		}
	}
	return append(dst, '}')
}

// citations writes annotations; those of another vendor's stand where LiteLLM shows them.
func citations(dst []byte, s *writtenChoice, c *chat.Chunk) []byte {
	if isOpenAI(c.Origin) {
		dst = append(dst, `"annotations":[`...)
		return append(appendNested(dst, c.Raw), ']')
	}
	from, to := s.span.reach(s.said)
	if pages := appendPages([]byte{'['}, c.Raw, from, to); len(pages) > 1 {
		dst = append(appendNested(append(dst, `"annotations":[`...), append(pages, ']')), "],"...)
	}
	dst = append(dst, `"provider_specific_fields":{"citations":`...)
	return append(llm.AppendRaw(dst, c.Raw), '}')
}

// finish writes the event that ends a choice. Before it stands what is still owed: the texts of
// custom tools, and the arguments of calls that have none.
func (e *chunkEncoder) finish(dst []byte, s *writtenChoice, c *chat.Chunk) []byte {
	for i := range s.calls {
		call := &s.calls[i]
		text := "{}"
		switch {
		case call.argued:
			continue
		case call.custom:
			text = unwrapInput(call.text)
		}
		dst = append(e.args(e.open(dst, s), call, text), closeDelta...)
	}
	dst = trimComma(e.open(dst, s))
	dst = append(dst, `},"finish_reason":"`...)
	dst = append(dst, finishName(c.Finish, e.legacy)...)
	return append(dst, "\"}]}\n\n"...)
}

// end writes the usage, if the client asked for it, and the mark of the end.
func (e *chunkEncoder) end(dst []byte) []byte {
	if e.prefix == nil {
		e.begin(&chat.Chunk{})
	}
	dst = appendUsageChunk(dst, e.q, e.prefix, e.usage, e.tier)
	return append(dst, "data: [DONE]\n\n"...)
}

// appendUsageChunk appends the event with the usage, if the client asked for it and there is one.
func appendUsageChunk(dst []byte, q *chat.Request, prefix []byte, u llm.Usage, tier string) []byte {
	if !q.IncludeUsage || u.Source == llm.UsageNone {
		return dst
	}
	dst = append(dst, prefix...)
	dst = append(dst, `],"usage":`...)
	dst = appendUsage(dst, u)
	if tier != "" {
		dst = append(dst, `,"service_tier":`...)
		dst = llm.AppendString(dst, tier)
	}
	return append(dst, "}\n\n"...)
}
