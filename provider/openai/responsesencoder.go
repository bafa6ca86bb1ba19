package openai

import (
	"unicode/utf8"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/chat"
)

// responsesEncoder writes the events of a response. It has one item open at a time, but for the
// calls of tools, which go on side by side until the end.
type responsesEncoder struct {
	q        *chat.Request
	head     head
	out      outputs
	sequence int64
	begun    bool
	open     *openItem   // a message or reasoning
	calls    []*openItem // of tools
	next     int         // place of the next item
	whole    [][]byte    // the items by their places; nil: open yet
	finish   chat.Finish
	usage    llm.Usage
	tier     string
}

// openItem is an item that goes on.
type openItem struct {
	at    int // place in the output
	kind  chat.PartType
	id    string
	part  chat.Part
	text  []byte
	probs []byte
	cited []byte
	cites int64
	span  span
	index int // of a call
	input bool
}

// NewEncoder writes the events of a response.
func (Responses) NewEncoder(q *chat.Request) chat.Encoder {
	return &responsesEncoder{q: q, out: outputs{custom: customNames(q)}}
}

// Encode writes the events of one chunk. A response is one choice.
func (e *responsesEncoder) Encode(dst []byte, c *chat.Chunk) []byte {
	if !e.begun && c.Type != chat.ChunkPing {
		dst = e.begin(dst, c)
	}
	if c.Choice > 0 {
		return dst
	}
	switch c.Type {
	case chat.ChunkText, chat.ChunkRefusal, chat.ChunkReasoning:
		return e.text(dst, c)
	case chat.ChunkSignature, chat.ChunkRedacted:
		return e.seal(dst, c)
	case chat.ChunkToolStart:
		return e.startCall(dst, c)
	case chat.ChunkToolArgs:
		return e.args(dst, c)
	case chat.ChunkCitations:
		return e.cite(dst, c)
	case chat.ChunkLogProbs:
		if e.open != nil {
			e.open.probs = joinLists(e.open.probs, probsOf(c.Raw))
		}
	case chat.ChunkMedia, chat.ChunkOther:
		return e.single(dst, c)
	default:
		return e.about(dst, c)
	}
	return dst
}

// about takes the chunks that are about the whole answer.
func (e *responsesEncoder) about(dst []byte, c *chat.Chunk) []byte {
	switch c.Type {
	case chat.ChunkFinish:
		e.finish = c.Finish
	case chat.ChunkUsage:
		e.usage = c.Usage
		if c.Tier != "" {
			e.tier = c.Tier
		}
	case chat.ChunkPing:
		if e.begun {
			return append(dst, ": ping\n\n"...)
		}
	case chat.ChunkEnd:
		return e.end(dst)
	}
	return dst
}

// joinLists joins two arrays, either of which may be nil.
func joinLists(a, b []byte) []byte {
	switch {
	case len(a) <= 2:
		return b
	case len(b) <= 2:
		return a
	}
	return append(append(a[:len(a)-1], ','), b[1:]...)
}

// event begins an event of the type. Its closing brace and the line ends are close's.
func (e *responsesEncoder) event(dst []byte, typ string) []byte {
	dst = append(dst, "event: response."...)
	dst = append(dst, typ...)
	dst = append(dst, "\ndata: {\"type\":\"response."...)
	dst = append(dst, typ...)
	dst = appendInt(dst, `","sequence_number":`, e.sequence)
	e.sequence++
	return dst
}

const closeEvent = "}\n\n"

// place appends where in the output an item stands, and its id.
func (it *openItem) place(dst []byte) []byte {
	dst = appendInt(dst, `,"output_index":`, int64(it.at))
	return llm.AppendString(append(dst, `,"item_id":`...), it.id)
}

func (e *responsesEncoder) begin(dst []byte, c *chat.Chunk) []byte {
	e.begun = true
	e.head = headOf(e.q, "", c.ID, c.Model, c.Created)
	e.head.id, e.out.id = responseID(e.head, e.q.AnswerID)
	for _, typ := range []string{"created", "in_progress"} {
		dst = append(e.event(dst, typ), `,"response":`...)
		dst = appendResponse(dst, e.q, e.head, ending{status: "in_progress"}, &e.out, llm.Usage{}, "")
		dst = append(dst, closeEvent...)
	}
	return dst
}

// added makes a new item and writes that it is there.
func (e *responsesEncoder) added(dst []byte, it *openItem, prefix string, shown []byte) []byte {
	it.at = e.next
	it.id = e.out.name(prefix, it.at)
	e.next++
	e.whole = append(e.whole, nil)
	if shown == nil {
		shown = it.begun()
	}
	dst = appendInt(e.event(dst, "output_item.added"), `,"output_index":`, int64(it.at))
	dst = append(append(dst, `,"item":`...), shown...)
	return append(dst, closeEvent...)
}

// begun is an item of which nothing has been said.
func (it *openItem) begun() []byte {
	switch {
	case it.kind == chat.PartReasoning:
		return appendReasoningItem(nil, it.id, &chat.Part{})
	case it.kind != chat.PartToolCall:
		return messageItem(it.id, "in_progress", nil)
	}
	kind, member := "function_call", "arguments"
	if it.input {
		kind, member = "custom_tool_call", "input"
	}
	b := llm.AppendString([]byte(`{"type":"`+kind+`","id":`), it.id)
	b = llm.AppendString(append(b, `,"call_id":`...), it.part.ID)
	b = llm.AppendString(append(b, `,"name":`...), it.part.Name)
	return append(b, `,"`+member+`":"","status":"in_progress"}`...)
}

// done writes that an item is whole.
func (e *responsesEncoder) done(dst []byte, it *openItem, raw []byte) []byte {
	e.whole[it.at] = raw
	dst = appendInt(e.event(dst, "output_item.done"), `,"output_index":`, int64(it.at))
	dst = append(append(dst, `,"item":`...), raw...)
	return append(dst, closeEvent...)
}

// kinds of chunks that are texts, and of the parts that they make.
var textParts = map[chat.ChunkType]chat.PartType{
	chat.ChunkText: chat.PartText, chat.ChunkRefusal: chat.PartRefusal, chat.ChunkReasoning: chat.PartReasoning,
}

// deltas are the names of the events in which the texts of parts go on.
var deltas = map[chat.PartType]string{
	chat.PartText: "output_text", chat.PartRefusal: "refusal", chat.PartReasoning: "reasoning_summary_text",
}

// text goes on with a text, or begins an item for it.
func (e *responsesEncoder) text(dst []byte, c *chat.Chunk) []byte {
	kind := textParts[c.Type]
	if c.Text == "" {
		return dst
	}
	if e.open == nil || e.open.kind != kind {
		dst = e.closeOpen(dst)
		dst = e.openText(dst, kind)
	}
	it := e.open
	if kind == chat.PartReasoning && len(it.text) == 0 {
		dst = append(it.place(e.event(dst, "reasoning_summary_part.added")), `,"summary_index":0,"part":{"type":"summary_text","text":""}`+closeEvent...)
	}
	it.text = append(it.text, c.Text...)
	dst = it.place(e.event(dst, deltas[kind]+".delta"))
	dst = append(dst, it.within()...)
	dst = llm.AppendString(append(dst, `,"delta":`...), c.Text)
	if kind == chat.PartText {
		dst = append(dst, `,"logprobs":[]`...)
	}
	return append(dst, closeEvent...)
}

// within says which part of an item is meant: there is one.
func (it *openItem) within() string {
	if it.kind == chat.PartReasoning {
		return `,"summary_index":0`
	}
	return `,"content_index":0`
}

// openText begins an item of texts.
func (e *responsesEncoder) openText(dst []byte, kind chat.PartType) []byte {
	it := &openItem{kind: kind}
	e.open = it
	if kind == chat.PartReasoning {
		return e.added(dst, it, "rs_", nil)
	}
	dst = e.added(dst, it, "msg_", nil)
	dst = append(it.place(e.event(dst, "content_part.added")), `,"content_index":0,"part":`...)
	return append(append(dst, it.content(nil)...), closeEvent...)
}

// content is the part that an item of texts holds, if it holds the text.
func (it *openItem) content(text []byte) []byte {
	if it.kind == chat.PartRefusal {
		return appendRefusalPart(nil, string(text))
	}
	return appendTextPart(nil, string(text), it.cited, it.probs)
}

// closeOpen ends the item that is open.
func (e *responsesEncoder) closeOpen(dst []byte) []byte {
	it := e.open
	if it == nil {
		return dst
	}
	e.open = nil
	if it.kind == chat.PartReasoning {
		return e.closeReasoning(dst, it)
	}
	member := `,"text":`
	if it.kind == chat.PartRefusal {
		member = `,"refusal":`
	}
	dst = append(it.place(e.event(dst, deltas[it.kind]+".done")), it.within()...)
	dst = llm.AppendString(append(dst, member...), string(it.text))
	if it.kind == chat.PartText {
		dst = append(append(dst, `,"logprobs":`...), orRaw(it.probs, "[]")...)
	}
	dst = append(dst, closeEvent...)
	part := it.content(it.text)
	dst = append(it.place(e.event(dst, "content_part.done")), `,"content_index":0,"part":`...)
	dst = append(append(dst, part...), closeEvent...)
	return e.done(dst, it, messageItem(it.id, "completed", part))
}

func (e *responsesEncoder) closeReasoning(dst []byte, it *openItem) []byte {
	it.part.Text = string(it.text)
	if len(it.text) > 0 {
		dst = append(it.place(e.event(dst, "reasoning_summary_text.done")), `,"summary_index":0,"text":`...)
		dst = append(llm.AppendString(dst, it.part.Text), closeEvent...)
		dst = append(it.place(e.event(dst, "reasoning_summary_part.done")), `,"summary_index":0,"part":{"type":"summary_text","text":`...)
		dst = append(llm.AppendString(dst, it.part.Text), "}"+closeEvent...)
	}
	return e.done(dst, it, appendReasoningItem(nil, it.id, &it.part))
}

// seal ends reasoning with what it can be known by again. Signatures of calls have no place here.
func (e *responsesEncoder) seal(dst []byte, c *chat.Chunk) []byte {
	hidden := c.Type == chat.ChunkRedacted
	if c.ID != "" && !hidden {
		return dst
	}
	if e.open == nil || e.open.kind != chat.PartReasoning {
		dst = e.openText(e.closeOpen(dst), chat.PartReasoning)
	}
	if hidden {
		e.open.part.Data = c.Text
	} else {
		e.open.part.Signature = c.Text
	}
	return e.closeOpen(dst)
}

// startCall begins the item of a call.
func (e *responsesEncoder) startCall(dst []byte, c *chat.Chunk) []byte {
	dst = e.closeOpen(dst)
	it := &openItem{kind: chat.PartToolCall, index: c.Index, input: e.out.custom[c.Name], part: chat.Part{Type: chat.PartToolCall, ID: c.ID, Name: c.Name}}
	e.calls = append(e.calls, it)
	return e.added(dst, it, "fc_", nil)
}

// args goes on with the arguments of a call. The text of a custom tool is sent when it is whole.
func (e *responsesEncoder) args(dst []byte, c *chat.Chunk) []byte {
	for _, it := range e.calls {
		if it.index != c.Index || c.Text == "" {
			continue
		}
		it.text = append(it.text, c.Text...)
		if it.input {
			return dst
		}
		dst = it.place(e.event(dst, "function_call_arguments.delta"))
		dst = llm.AppendString(append(dst, `,"delta":`...), c.Text)
		return append(dst, closeEvent...)
	}
	return dst
}

// closeCall ends the item of a call.
func (e *responsesEncoder) closeCall(dst []byte, it *openItem) []byte {
	it.part.Arguments = it.text
	if it.input {
		text := unwrapInput(it.text)
		dst = it.place(e.event(dst, "custom_tool_call_input.delta"))
		dst = append(llm.AppendString(append(dst, `,"delta":`...), text), closeEvent...)
		dst = it.place(e.event(dst, "custom_tool_call_input.done"))
		dst = append(llm.AppendString(append(dst, `,"input":`...), text), closeEvent...)
	} else {
		dst = it.place(e.event(dst, "function_call_arguments.done"))
		dst = llm.AppendString(append(dst, `,"name":`...), it.part.Name)
		dst = append(llm.AppendString(append(dst, `,"arguments":`...), string(orObject(it.part.Arguments))), closeEvent...)
	}
	return e.done(dst, it, appendCallItem(nil, &it.part, it.id, it.input))
}

// cite adds annotations to the text that is open.
func (e *responsesEncoder) cite(dst []byte, c *chat.Chunk) []byte {
	it := e.open
	if it == nil || it.kind != chat.PartText {
		return dst
	}
	raw := c.Raw
	if !isOpenAI(c.Origin) {
		from, to := it.span.reach(utf8.RuneCount(it.text))
		raw = append(appendPages([]byte{'['}, c.Raw, from, to), ']')
	}
	list := llm.NewCursor(raw)
	for n := 0; list.Element(n); n++ {
		one := appendFlat(nil, append(append([]byte{'['}, list.Raw()...), ']'))
		dst = append(it.place(e.event(dst, "output_text.annotation.added")), it.within()...)
		dst = appendInt(dst, `,"annotation_index":`, it.cites)
		it.cites++
		dst = append(append(append(dst, `,"annotation":`...), one...), closeEvent...)
		if len(it.cited) > 0 {
			it.cited = append(it.cited, ',')
		}
		it.cited = append(it.cited, one...)
	}
	return dst
}

// single writes an item that comes whole: an image, or one of OpenAI's own.
func (e *responsesEncoder) single(dst []byte, c *chat.Chunk) []byte {
	it := &openItem{}
	dst = e.closeOpen(dst)
	id := e.out.name("ig_", e.next)
	var raw []byte
	switch {
	case c.Type == chat.ChunkOther && c.Origin == originResponses:
		raw = llm.AppendRaw(nil, c.Raw)
	case c.Media != nil && (len(c.Media.MIME) < 6 || c.Media.MIME[:6] != "audio/"):
		raw = appendImageItem(nil, id, c.Media)
	default:
		return dst
	}
	dst = e.added(dst, it, "ig_", raw)
	return e.done(dst, it, raw)
}

// end ends what is open, and the response.
func (e *responsesEncoder) end(dst []byte) []byte {
	dst = e.closeOpen(dst)
	for _, it := range e.calls {
		dst = e.closeCall(dst, it)
	}
	for _, raw := range e.whole {
		e.out.add(raw)
	}
	end := statusOfFinish(e.finish)
	dst = append(e.event(dst, end.status), `,"response":`...)
	dst = appendResponse(dst, e.q, e.head, end, &e.out, e.usage, e.tier)
	return append(dst, closeEvent...)
}
