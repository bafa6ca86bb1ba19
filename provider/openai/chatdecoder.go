package openai

import (
	"encoding/json"
	"errors"
	"slices"
	"strconv"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/chat"
	"github.com/conclave-llm/conclave/llm/jsonread"
)

var errShape = errors.New("a member is of the wrong type")

// chunkDecoder reads a stream of chunks of chat completions, or of completions.
type chunkDecoder struct {
	list    []chat.Chunk
	choices []*choiceState
	now     delta
	id      string
	started bool
	ended   bool
	bad     bool // a member is of the wrong type
}

// choiceState is what must be known of a choice that goes on.
type choiceState struct {
	index    int
	calls    []callState
	reasoned int // bytes of reasoning that no signature has closed
	refused  bool
	finished bool
}

// callState is a call that goes on.
type callState struct {
	at       int64 // the provider's index
	id, name string
	held     []byte // arguments that came before the name
	custom   bool
	started  bool
}

// delta is what one event says of one choice.
type delta struct {
	index                    int64
	text, reasoning, refusal string
	blocks                   []chat.Part
	calls                    []callDelta
	media                    []chat.Part
	citations, probs         json.RawMessage
	finish, stop             string
}

// callDelta is what one event says of one call.
type callDelta struct {
	at                        int64 // -1: not said
	id, name, args, signature string
	custom                    bool
}

// NewDecoder reads a stream of chunks.
func (Chat) NewDecoder() chat.Decoder { return new(chunkDecoder) }

// Decode reads one event.
func (d *chunkDecoder) Decode(list []chat.Chunk, e llm.Event) ([]chat.Chunk, error) {
	if d.ended || len(e.Data) == 0 {
		return list, nil
	}
	if string(e.Data) == "[DONE]" {
		return d.finish(list), nil
	}
	d.list = list
	c := llm.NewCursor(e.Data)
	if c.Next() != '{' {
		switch {
		case e.Cut:
			return list, cut()
		case len(e.Type) > 0:
			return list, nil // an event of the vendor's own
		}
		return list, malformed(errors.New("an event is no JSON object"))
	}
	if !d.started {
		d.begin(e.Data)
	}
	more, err := d.event(&c)
	switch {
	case err != nil && e.Cut:
		return list, cut()
	case err != nil:
		return list, malformed(err)
	case more.broken:
		return list, Codec{}.Classify(noTime, 200, nil, slices.Clone(e.Data))
	case more.usage:
		d.usage(e.Data, more.tier)
	}
	return d.list, nil
}

// found is what an event has beside choices.
type found struct {
	usage, broken bool
	tier          string
}

// event reads one event.
func (d *chunkDecoder) event(c *llm.Cursor) (f found, err error) {
	for n := 0; c.Member(n); n++ {
		switch string(c.Name()) {
		case "choices":
			f.usage = d.readChoices(c) || f.usage
		case "usage", "x_groq":
			f.usage = c.Next() == '{' || f.usage
			c.Raw()
		case "error":
			f.broken = c.Next() != 'n'
			c.Raw()
		case "service_tier":
			f.tier = c.Text()
		default:
			c.Raw()
		}
	}
	if err = c.End(); err == nil && d.bad {
		err = errShape
	}
	return f, err
}

// begin adds the first chunk, of the first event that has an id or a choice. Azure's first has
// neither.
func (d *chunkDecoder) begin(data []byte) {
	start, choices := chat.Chunk{Type: chat.ChunkStart}, false
	c := llm.NewCursor(data)
	for n := 0; c.Member(n); n++ {
		switch string(c.Name()) {
		case "id":
			start.ID = c.Text()
		case "model":
			start.Model = c.Text()
		case "created":
			start.Created, _ = c.Int()
		case "choices":
			choices = len(c.Raw()) > 2
		default:
			c.Raw()
		}
	}
	if d.started = start.ID != "" || choices; d.started {
		d.id = start.ID
		d.list = append(d.list, start)
	}
}

// usage adds the usage that an event has.
func (d *chunkDecoder) usage(data []byte, tier string) {
	if r, err := llm.Read(data); err == nil && r.HasUsage {
		d.list = append(d.list, chat.Chunk{Type: chat.ChunkUsage, Usage: r.Usage, Tier: tier})
	}
}

// readChoices reads the array of choices and says whether one has a usage, as Moonshot's do.
func (d *chunkDecoder) readChoices(c *llm.Cursor) (usage bool) {
	d.expect(c, '[')
	for n := 0; c.Element(n); n++ {
		d.now = delta{index: int64(n), calls: d.now.calls[:0]}
		d.expect(c, '{')
		for m := 0; c.Member(m); m++ {
			if string(c.Name()) == "usage" {
				usage = c.Next() == '{' || usage
				c.Raw()
				continue
			}
			d.choiceMember(c)
		}
		d.emit()
	}
	return usage
}

// expect notes a value that is not of the type, nor null.
func (d *chunkDecoder) expect(c *llm.Cursor, first byte) {
	if next := c.Next(); next != first && next != 'n' {
		d.bad = true
	}
}

func (d *chunkDecoder) choiceMember(c *llm.Cursor) {
	switch string(c.Name()) {
	case "index":
		if n, ok := c.Int(); ok && n >= 0 && n < 1<<20 {
			d.now.index = n
		}
	case "delta", "message":
		d.expect(c, '{')
		for n := 0; c.Member(n); n++ {
			d.deltaMember(c)
		}
	case "text":
		d.now.text = c.Text()
	case "finish_reason":
		d.now.finish = c.Text()
	case "stop_reason":
		d.now.stop = c.Text()
	case "logprobs":
		d.now.probs = c.Copy()
	default:
		c.Raw()
	}
}

func (d *chunkDecoder) deltaMember(c *llm.Cursor) {
	switch string(c.Name()) {
	case "content":
		if c.Next() == '[' {
			d.contentParts(c)
			return
		}
		d.expect(c, '"')
		d.now.text = c.Text()
	case "reasoning_content", "reasoning":
		if text := c.Text(); text != "" {
			d.now.reasoning = text
		}
	case "tool_calls":
		d.expect(c, '[')
		for n := 0; c.Element(n); n++ {
			d.call(c)
		}
	case "function_call":
		call := callDelta{at: 0}
		if c.Next() == '{' {
			call.members(c)
			d.now.calls = append(d.now.calls, call)
			return
		}
		c.Raw()
	case "refusal":
		d.now.refusal = c.Text()
	case "role":
		c.Raw()
	default:
		d.rareMember(c)
	}
}

// rareMember reads the members of a delta that few have, as a message's are read.
func (d *chunkDecoder) rareMember(c *llm.Cursor) {
	r, s := reader{jsonread.From(*c)}, spoken{}
	if string(c.Name()) == "audio" {
		r.audio(&s)
	} else if !r.said(&s, string(c.Name())) {
		r.Raw()
	}
	*c = r.Cursor
	d.bad = d.bad || r.Fault != nil
	d.now.blocks = append(d.now.blocks, s.thoughts.blocks...)
	if len(s.thoughts.blocks) == 0 {
		d.now.blocks = append(d.now.blocks, s.thoughts.details...)
	}
	d.now.media = append(d.now.media, s.media...)
	if s.citations != nil {
		d.now.citations = s.citations
	}
}

// contentParts reads a content that is an array, as some models of Mistral's write.
func (d *chunkDecoder) contentParts(c *llm.Cursor) {
	r := reader{jsonread.From(*c)}
	for _, p := range r.content() {
		switch p.Type {
		case chat.PartText:
			d.now.text += p.Text
		case chat.PartReasoning:
			d.now.reasoning += p.Text
		case chat.PartImage, chat.PartAudio:
			d.now.media = append(d.now.media, p)
		}
	}
	*c = r.Cursor
	d.bad = d.bad || r.Fault != nil
}

// call reads an element of tool_calls.
func (d *chunkDecoder) call(c *llm.Cursor) {
	d.expect(c, '{')
	call := callDelta{at: -1}
	call.members(c)
	d.now.calls = append(d.now.calls, call)
}

func (call *callDelta) members(c *llm.Cursor) {
	for n := 0; c.Member(n); n++ {
		switch string(c.Name()) {
		case "index":
			if n, ok := c.Int(); ok {
				call.at = n
			}
		case "id":
			call.id = c.Text()
		case "function":
			call.members(c)
		case "custom":
			call.custom = c.Next() == '{'
			call.members(c)
		case "name":
			call.name = c.Text()
		case "arguments", "input":
			if c.Next() == '{' {
				call.args = string(c.Raw())
				break
			}
			call.args = c.Text()
		case "provider_specific_fields", "extra_content", "google":
			call.members(c)
		case "thought_signature":
			call.signature = c.Text()
		default:
			c.Raw()
		}
	}
}

// choice is the state of the choice.
func (d *chunkDecoder) choice(index int) *choiceState {
	for _, s := range d.choices {
		if s.index == index {
			return s
		}
	}
	s := &choiceState{index: index}
	d.choices = append(d.choices, s)
	return s
}

func (d *chunkDecoder) add(s *choiceState, typ chat.ChunkType, text string) {
	if text != "" {
		d.list = append(d.list, chat.Chunk{Type: typ, Choice: s.index, Text: text})
	}
}

// emit adds the chunks of what was read of one choice.
func (d *chunkDecoder) emit() {
	s, v := d.choice(int(d.now.index)), &d.now
	if s.finished {
		return
	}
	d.reasoning(s)
	d.add(s, chat.ChunkText, v.text)
	d.add(s, chat.ChunkRefusal, v.refusal)
	s.refused = s.refused || v.refusal != ""
	if v.citations != nil {
		d.list = append(d.list, chat.Chunk{Type: chat.ChunkCitations, Choice: s.index, Raw: v.citations, Origin: originChat})
	}
	for i := range v.media {
		p := &v.media[i]
		d.list = append(d.list, chat.Chunk{Type: chat.ChunkMedia, Choice: s.index, Media: p.Media, Text: p.Text, ID: p.ID})
	}
	for i := range v.calls {
		d.callOn(s, &v.calls[i])
	}
	if v.probs != nil {
		d.list = append(d.list, chat.Chunk{Type: chat.ChunkLogProbs, Choice: s.index, Raw: v.probs})
	}
	if v.finish != "" {
		d.finishChoice(s, v.finish, v.stop)
	}
}

// reasoning adds what was read of reasoning. Blocks repeat the text that came beside them, or, as
// our own writer has them, all of it since the last block.
func (d *chunkDecoder) reasoning(s *choiceState) {
	d.add(s, chat.ChunkReasoning, d.now.reasoning)
	s.reasoned += len(d.now.reasoning)
	for i := range d.now.blocks {
		b := &d.now.blocks[i]
		if d.now.reasoning == "" && len(b.Text) != s.reasoned {
			d.add(s, chat.ChunkReasoning, b.Text)
			s.reasoned += len(b.Text)
		}
		if b.Signature != "" || b.Data != "" {
			s.reasoned = 0
		}
		d.add(s, chat.ChunkSignature, b.Signature)
		d.add(s, chat.ChunkRedacted, b.Data)
	}
}

// callOn goes on with a call, or begins one.
func (d *chunkDecoder) callOn(s *choiceState, v *callDelta) {
	i := s.find(v)
	call := &s.calls[i]
	if call.id == "" {
		call.id = v.id
	}
	if call.name == "" {
		call.name = v.name
	}
	call.custom = call.custom || v.custom
	if !call.started {
		call.held = append(call.held, v.args...)
		if call.name == "" {
			return
		}
		d.startCall(s, i)
	} else if v.args != "" {
		d.args(s, i, v.args)
	}
	if v.signature != "" {
		d.list = append(d.list, chat.Chunk{Type: chat.ChunkSignature, Choice: s.index, Index: i, ID: call.id, Text: v.signature})
	}
}

// find is the place of the call that goes on. A provider that gives no index goes on with the
// last call until another id comes; some give all calls the same index.
func (s *choiceState) find(v *callDelta) int {
	for i := len(s.calls) - 1; i >= 0; i-- {
		c := &s.calls[i]
		if v.at >= 0 && c.at != v.at {
			continue
		}
		if v.id != "" && c.id != "" && c.id != v.id {
			if v.at >= 0 {
				continue
			}
			break
		}
		if v.at < 0 && v.id == "" && v.name != "" && c.name != "" {
			break // a whole call without an id
		}
		return i
	}
	s.calls = append(s.calls, callState{at: v.at})
	return len(s.calls) - 1
}

// startCall adds the beginning of a call.
func (d *chunkDecoder) startCall(s *choiceState, i int) {
	call := &s.calls[i]
	call.started = true
	if call.id == "" {
		call.id = callID(d.id, s.index) + "_" + strconv.Itoa(i)
	}
	d.list = append(d.list, chat.Chunk{Type: chat.ChunkToolStart, Choice: s.index, Index: i, ID: call.id, Name: call.name})
	held := string(call.held)
	call.held = nil
	if call.custom {
		d.list = append(d.list, chat.Chunk{Type: chat.ChunkToolArgs, Choice: s.index, Index: i, Text: `{"input":"`})
	}
	if held != "" {
		d.args(s, i, held)
	}
}

// args adds arguments. The text of a custom tool stands in a string.
func (d *chunkDecoder) args(s *choiceState, i int, text string) {
	if s.calls[i].custom {
		q := llm.AppendString(nil, text)
		text = string(q[1 : len(q)-1])
	}
	d.list = append(d.list, chat.Chunk{Type: chat.ChunkToolArgs, Choice: s.index, Index: i, Text: text})
}

// finishChoice ends a choice.
func (d *chunkDecoder) finishChoice(s *choiceState, reason, stop string) {
	s.finished = true
	for i := range s.calls {
		if !s.calls[i].started {
			d.startCall(s, i)
		}
		if s.calls[i].custom {
			d.list = append(d.list, chat.Chunk{Type: chat.ChunkToolArgs, Choice: s.index, Index: i, Text: `"}`})
		}
	}
	d.list = append(d.list, chat.Chunk{
		Type: chat.ChunkFinish, Choice: s.index, Finish: finishOf(reason, len(s.calls) > 0, s.refused), StopText: stop,
	})
}

// finish ends the stream, and the choices that the provider has not ended.
func (d *chunkDecoder) finish(list []chat.Chunk) []chat.Chunk {
	d.list, d.ended = list, true
	for _, s := range d.choices {
		if !s.finished {
			d.finishChoice(s, "stop", "")
		}
	}
	return append(d.list, chat.Chunk{Type: chat.ChunkEnd})
}

// End ends a stream that had no [DONE]: whole if all its choices have ended.
func (d *chunkDecoder) End(list []chat.Chunk) ([]chat.Chunk, error) {
	if d.ended {
		return list, nil
	}
	for _, s := range d.choices {
		if !s.finished {
			return list, cut()
		}
	}
	if len(d.choices) == 0 {
		return list, cut()
	}
	return d.finish(list), nil
}
