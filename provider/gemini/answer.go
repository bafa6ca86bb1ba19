package gemini

import (
	"bytes"
	"cmp"
	"fmt"
	"hash/fnv"
	"slices"
	"time"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/chat"
)

// finishes are what Google's reasons mean. Those that it does not know are a regular stop.
var finishes = map[string]chat.Finish{
	"MAX_TOKENS": chat.FinishLength, "SAFETY": chat.FinishFilter, "RECITATION": chat.FinishFilter, "BLOCKLIST": chat.FinishFilter,
	"PROHIBITED_CONTENT": chat.FinishFilter, "SPII": chat.FinishFilter, "IMAGE_SAFETY": chat.FinishFilter, "MODEL_ARMOR": chat.FinishFilter,
	"IMAGE_PROHIBITED_CONTENT": chat.FinishFilter, "IMAGE_RECITATION": chat.FinishFilter, "LANGUAGE": chat.FinishFilter,
}

// failures are the reasons of a model that failed: what it wrote is of no use, and another attempt
// may succeed.
var failures = map[string]bool{
	"MALFORMED_FUNCTION_CALL": true, "UNEXPECTED_TOOL_CALL": true, "TOO_MANY_TOOL_CALLS": true, "MISSING_THOUGHT_SIGNATURE": true, "MALFORMED_RESPONSE": true,
}

// maxCandidate bounds the index of a candidate.
const maxCandidate = 1 << 10

// NewDecoder implements provider.Outbound.
func (Dialect) NewDecoder() chat.Decoder { return &decoder{} }

// decoder reads the events of one stream. Reasons to end are kept to the end: Google sends parts
// and grounding beside them and after them.
type decoder struct {
	id      string
	begun   bool
	ended   bool
	choices []choiceState
	usage   llm.Usage
}

// choiceState is how far a choice has come.
type choiceState struct {
	index    int
	calls    int
	finished bool
	finish   chat.Finish
	text     []byte        // of the answer, to which annotations refer
	sources  []groundChunk // that were found so far
	cited    bool          // a part of the text was said to be from a source
}

// Decode implements chat.Decoder.
func (d *decoder) Decode(list []chat.Chunk, e llm.Event) ([]chat.Chunk, error) {
	if e.Data == nil {
		return list, nil
	}
	var h head
	if !h.read(e.Data) {
		if e.Cut {
			return list, cut()
		}
		return list, notJSON()
	}
	if h.failed {
		return list, Codec{}.Classify(time.Time{}, 200, nil, bytes.Clone(e.Data))
	}
	if !d.begun {
		d.begun, d.id = true, h.id
		list = append(list, chat.Chunk{Type: chat.ChunkStart, ID: h.id, Model: h.model, Created: h.created})
	}
	if h.usage {
		if u, ok := llm.ReadUsage(llm.DialectGemini, e.Data); ok {
			d.usage = u
		}
	}
	if h.blocked {
		if c := d.choice(0); !c.finished {
			c.finished, c.finish = true, chat.FinishFilter
		}
	}
	var err error
	s := llm.NewCursor(h.candidates)
	for n := 0; s.Element(n); n++ {
		if list, err = d.candidate(list, s.Raw(), n); err != nil {
			return list, err
		}
	}
	return list, nil
}

// head is what stands at the top of an answer, or of one event.
type head struct {
	candidates             []byte
	id, model              string
	created                int64
	usage, failed, blocked bool
}

// read says whether the data is a JSON object.
func (h *head) read(data []byte) bool {
	s := llm.NewCursor(data)
	if s.Next() != '{' {
		return false
	}
	for n := 0; s.Member(n); n++ {
		switch string(s.Name()) {
		case "candidates":
			h.candidates = s.Raw()
		case "promptFeedback":
			h.blocked = blocked(&s) != ""
		case "usageMetadata":
			h.usage = len(s.Raw()) > 2
		case "modelVersion":
			h.model = s.Text()
		case "responseId":
			h.id = s.Text()
		case "createTime":
			if t, err := time.Parse(time.RFC3339Nano, s.Text()); err == nil {
				h.created = t.Unix()
			}
		case "error":
			h.failed = string(s.Raw()) != "null"
		default:
			s.Raw()
		}
	}
	return s.End() == nil
}

func (d *decoder) choice(index int) *choiceState {
	i := slices.IndexFunc(d.choices, func(c choiceState) bool { return c.index == index })
	if i < 0 {
		i = len(d.choices)
		d.choices = append(d.choices, choiceState{index: index})
	}
	return &d.choices[i]
}

// candidate reads what an event adds to a choice, the nth that it names.
func (d *decoder) candidate(list []chat.Chunk, raw []byte, nth int) ([]chat.Chunk, error) { //nolint:gocyclo // one table of cases
	var parts, grounding, citations, probs []byte
	var reason, message string
	index := int64(nth)
	s := llm.NewCursor(raw)
	for n := 0; s.Member(n); n++ {
		switch string(s.Name()) {
		case "index":
			index, _ = s.Int()
		case "content":
			for m := 0; s.Member(m); m++ {
				if string(s.Name()) == "parts" {
					parts = s.Raw()
				} else {
					s.Raw()
				}
			}
		case "finishReason":
			reason = s.Text()
		case "finishMessage":
			message = s.Text()
		case "groundingMetadata":
			grounding = s.Raw()
		case "citationMetadata":
			citations = s.Raw()
		case "logprobsResult":
			probs = s.Raw()
		default:
			s.Raw()
		}
	}
	if index < 0 || index > maxCandidate || len(raw) == 0 || raw[0] != '{' {
		return list, errInvalid("The provider sent a candidate that cannot be read.")
	}
	c := d.choice(int(index))
	list, err := d.parts(list, c, parts)
	if err != nil {
		return list, err
	}
	if p := openAIProbs(probs); p != nil {
		list = append(list, chat.Chunk{Type: chat.ChunkLogProbs, Choice: c.index, Raw: p})
	}
	list = c.cite(list, grounding, citations)
	return list, c.finishWith(reason, message)
}

// finishWith notes why a choice ends.
func (c *choiceState) finishWith(reason, message string) error {
	switch {
	case reason == "" || reason == "FINISH_REASON_UNSPECIFIED":
		return nil
	case failures[reason]:
		return &llm.Error{
			Kind: llm.Upstream, Code: "malformed_answer",
			Message: "The model failed to answer: " + cmp.Or(message, reason) + ".",
		}
	}
	c.finished, c.finish = true, finishes[reason]
	switch {
	case c.finish != chat.FinishNone:
	case c.calls > 0:
		c.finish = chat.FinishTools
	default:
		c.finish = chat.FinishStop
	}
	return nil
}

func (d *decoder) parts(list []chat.Chunk, c *choiceState, parts []byte) ([]chat.Chunk, error) {
	if len(parts) > 0 && parts[0] != '[' && string(parts) != "null" {
		return list, errInvalid("The provider sent parts that cannot be read.")
	}
	s := llm.NewCursor(parts)
	for n := 0; s.Element(n); n++ {
		raw := s.Raw()
		var p answerPart
		if !p.read(raw) {
			return list, errInvalid("The provider sent a part that cannot be read.")
		}
		list = d.part(list, c, &p, raw)
	}
	return list, nil
}

// answerPart is a part of an answer.
type answerPart struct {
	text, signature   string
	hasText, thought  bool
	call, inline, uri []byte
}

func (p *answerPart) read(raw []byte) bool {
	s := llm.NewCursor(raw)
	if s.Next() != '{' {
		return false
	}
	sound := true
	for n := 0; s.Member(n); n++ {
		switch string(s.Name()) {
		case "text":
			sound = sound && (s.Next() == '"' || s.Next() == 'n')
			p.hasText = s.Next() == '"'
			p.text = s.Text()
		case "thought":
			p.thought, _ = s.Bool()
		case "thoughtSignature":
			p.signature = s.Text()
		case "functionCall":
			p.call = s.Copy()
			sound = sound && (p.call == nil || p.call[0] == '{')
		case "inlineData":
			p.inline = s.Raw()
		case "fileData":
			p.uri = s.Raw()
		default:
			s.Raw()
		}
	}
	return sound && s.End() == nil
}

// part reads one part of a choice.
func (d *decoder) part(list []chat.Chunk, c *choiceState, p *answerPart, raw []byte) []chat.Chunk {
	k := chat.Chunk{Choice: c.index}
	switch {
	case p.call != nil:
		return d.call(list, c, p)
	case p.hasText && p.thought:
		k.Type, k.Text = chat.ChunkReasoning, p.text
	case p.hasText:
		k.Type, k.Text = chat.ChunkText, p.text
		c.text = append(c.text, p.text...)
	case p.inline != nil, p.uri != nil:
		k.Type, k.Media = chat.ChunkMedia, answerMedia(p)
	case p.signature == "" && len(raw) > 2:
		k.Type, k.Raw, k.Origin = chat.ChunkOther, bytes.Clone(raw), origin
	}
	if p.signature != "" && !p.thought { // it signs the thoughts before the part
		list = sign(list, c.index, p.signature)
	}
	if k.Text != "" || k.Media != nil || k.Raw != nil {
		list = append(list, k)
	}
	if p.signature != "" && p.thought {
		list = sign(list, c.index, p.signature)
	}
	return list
}

func answerMedia(p *answerPart) *chat.Media {
	m := new(chat.Media)
	s := llm.NewCursor(p.inline)
	if p.inline == nil {
		s = llm.NewCursor(p.uri)
	}
	for n := 0; s.Member(n); n++ {
		switch string(s.Name()) {
		case "mimeType":
			m.MIME = s.Text()
		case "data":
			m.Data = stdBase64(s.Text())
		case "fileUri":
			m.URL = s.Text()
		case "displayName":
			m.Name = s.Text()
		default:
			s.Raw()
		}
	}
	return m
}

// sign adds a signature of thoughts, or another vendor's that came through Google's dialect.
func sign(list []chat.Chunk, choice int, thought string) []chat.Chunk {
	signature, data := fromClient(thought)
	if data != "" {
		return append(list, chat.Chunk{Type: chat.ChunkRedacted, Choice: choice, Text: data})
	}
	return append(list, chat.Chunk{Type: chat.ChunkSignature, Choice: choice, Text: signature})
}

// call reads a call of a tool, which comes whole.
func (d *decoder) call(list []chat.Chunk, c *choiceState, p *answerPart) []chat.Chunk {
	var id, name, args string
	s := llm.NewCursor(p.call)
	for n := 0; s.Member(n); n++ {
		switch string(s.Name()) {
		case "id":
			id = s.Text()
		case "name":
			name = s.Text()
		case "args":
			args = string(s.Raw())
		default:
			s.Raw()
		}
	}
	if args == "" || args == "null" {
		args = "{}"
	}
	if id == "" {
		id = d.callID(c, name, args)
	}
	at := chat.Chunk{Choice: c.index, Index: c.calls, ID: id}
	c.calls++
	start, more := at, at
	start.Type, start.Name = chat.ChunkToolStart, name
	list = append(list, start)
	if p.signature != "" {
		signed := at
		signed.Type, signed.Text = chat.ChunkSignature, p.signature
		list = append(list, signed)
	}
	more.Type, more.ID, more.Text = chat.ChunkToolArgs, "", args
	return append(list, more)
}

// callID makes the id of a call, which Google may leave out: the same for the same answer, and
// another in another answer.
func (d *decoder) callID(c *choiceState, name, args string) string {
	h := fnv.New64a()
	for _, s := range []string{d.id, name, args} {
		_, _ = h.Write([]byte(s)) // a hash takes everything
		_, _ = h.Write([]byte{0})
	}
	return fmt.Sprintf("call_%016x_%d_%d", h.Sum64(), c.index, c.calls)
}

// End implements chat.Decoder: a stream is whole when each of its choices has a reason to end.
func (d *decoder) End(list []chat.Chunk) ([]chat.Chunk, error) {
	if d.ended {
		return list, nil
	}
	whole := len(d.choices) > 0
	for i := range d.choices {
		whole = whole && d.choices[i].finished
	}
	if !whole {
		return list, cut()
	}
	d.ended = true
	return append(d.ends(list), chat.Chunk{Type: chat.ChunkEnd}), nil
}

// ends appends what was kept to the end.
func (d *decoder) ends(list []chat.Chunk) []chat.Chunk {
	for i := range d.choices {
		c := &d.choices[i]
		list = c.citeAll(list)
		list = append(list, chat.Chunk{Type: chat.ChunkFinish, Choice: c.index, Finish: c.finish})
	}
	if d.usage.Source != llm.UsageNone {
		list = append(list, chat.Chunk{Type: chat.ChunkUsage, Usage: d.usage})
	}
	return list
}

// cut is the error of a stream that ended too early.
func cut() error {
	return &llm.Error{Kind: llm.Upstream, Code: "upstream_cut", Message: "The provider's stream ended before its answer did."}
}

// DecodeResponse implements provider.Outbound. A whole answer is a stream of one event; a choice
// without a reason to end has ended.
func (Dialect) DecodeResponse(body []byte) (*chat.Response, error) {
	var d decoder
	chunks, err := d.Decode(nil, llm.Event{Data: body})
	if err != nil {
		return nil, err
	}
	if len(d.choices) == 0 {
		return nil, errInvalid("The provider sent an answer without a candidate.")
	}
	for i := range d.choices {
		if c := &d.choices[i]; !c.finished {
			_ = c.finishWith("STOP", "") // is no failure
		}
	}
	var c chat.Collector
	for _, k := range d.ends(chunks) {
		c.Add(&k)
	}
	return c.Response(), nil
}
