package gemini

import (
	"encoding/json"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/chat"
)

// finishReason is Google's word for why a model stopped.
func finishReason(f chat.Finish) string {
	switch f {
	case chat.FinishLength, chat.FinishOverflow:
		return "MAX_TOKENS"
	case chat.FinishFilter, chat.FinishRefusal:
		return "SAFETY"
	}
	return "STOP"
}

// EncodeResponse implements provider.Inbound.
func (Dialect) EncodeResponse(_ *chat.Request, res *chat.Response) ([]byte, error) {
	w := writer{first: true}
	w.open('{')
	w.member("candidates")
	w.open('[')
	for i := range res.Choices {
		ch := &res.Choices[i]
		w.element('{')
		w.member("content")
		w.open('{')
		w.member("parts")
		w.open('[')
		for j := range ch.Parts {
			w.part(&ch.Parts[j])
		}
		w.close(']')
		w.member("role").str("model")
		w.close('}')
		w.member("finishReason").str(finishReason(ch.Finish))
		w.member("index").integer(int64(ch.Index))
		for j := range ch.Parts {
			if p := &ch.Parts[j]; p.Origin == origin && len(p.Citations) > 0 {
				w.member("groundingMetadata").json(grounding(p.Citations))
				break
			}
		}
		w.close('}')
	}
	w.close(']')
	w.usage(&res.Usage)
	w.head(res.ID, res.Model)
	w.close('}')
	return w.out, nil
}

// grounding is Google's object, which a collector may have put into a list.
func grounding(raw json.RawMessage) json.RawMessage {
	var list []json.RawMessage
	if json.Unmarshal(raw, &list) == nil && len(list) > 0 {
		return list[len(list)-1]
	}
	return raw
}

// head writes the members that name an answer.
func (w *writer) head(id, model string) {
	if model != "" {
		w.member("modelVersion").str(model)
	}
	if id != "" {
		w.member("responseId").str(id)
	}
}

// usage writes usageMetadata, unless nothing is known.
func (w *writer) usage(u *llm.Usage) {
	if u.Source == llm.UsageNone {
		return
	}
	w.member("usageMetadata")
	w.open('{')
	w.member("promptTokenCount").integer(u.Prompt())
	w.member("candidatesTokenCount").integer(u.Completion() - u.Reasoning)
	w.member("totalTokenCount").integer(u.Total())
	if n := u.CacheRead + u.CacheReadAudio + u.CacheReadImage; n > 0 {
		w.member("cachedContentTokenCount").integer(n)
	}
	if u.Reasoning > 0 {
		w.member("thoughtsTokenCount").integer(u.Reasoning)
	}
	w.close('}')
}

// part writes a part of an answer. What Google has no word for is left out.
func (w *writer) part(p *chat.Part) {
	switch p.Type {
	case chat.PartText, chat.PartRefusal:
		w.text(p.Text, false)
	case chat.PartReasoning:
		if p.Text != "" {
			w.text(p.Text, true)
		}
		if s := toClient(p.Signature, p.Data); s != "" {
			w.signature(s)
		}
	case chat.PartToolCall:
		w.call(p.ID, p.Name, p.Arguments, p.Signature)
	case chat.PartImage, chat.PartAudio, chat.PartVideo, chat.PartFile:
		w.media(p.Media)
	case chat.PartOther:
		if p.Origin == origin {
			w.sep()
			w.json(p.Raw)
		}
	}
}

func (w *writer) text(s string, thought bool) {
	w.element('{')
	w.member("text").str(s)
	if thought {
		w.member("thought").raw("true")
	}
	w.close('}')
}

func (w *writer) signature(s string) {
	w.element('{')
	w.member("text").str("")
	w.member("thoughtSignature").str(s)
	w.close('}')
}

func (w *writer) call(id, name string, args []byte, signature string) {
	w.element('{')
	w.member("functionCall")
	w.open('{')
	if id != "" {
		w.member("id").str(id)
	}
	w.member("name").str(name)
	w.member("args").json(object(args))
	w.close('}')
	if signature != "" {
		w.member("thoughtSignature").str(signature)
	}
	w.close('}')
}

// object is the arguments of a call as the object that Google wants: what a model wrote that is
// none stands in it as a text.
func object(args []byte) []byte {
	if len(args) == 0 {
		return []byte("{}")
	}
	var o map[string]json.RawMessage
	if json.Unmarshal(args, &o) == nil && o != nil {
		return args
	}
	return append(llm.AppendString([]byte(`{"arguments":`), string(args)), '}')
}

func (w *writer) media(m *chat.Media) {
	if m == nil {
		return
	}
	w.element('{')
	if m.Data != "" {
		w.member("inlineData")
		w.open('{')
		w.member("mimeType").str(m.MIME)
		w.member("data").data(m.Data)
	} else {
		w.member("fileData")
		w.open('{')
		w.member("mimeType").str(m.MIME)
		w.member("fileUri").str(m.URL)
	}
	w.close('}')
	w.close('}')
}

// NewEncoder implements provider.Inbound.
func (Dialect) NewEncoder(*chat.Request) chat.Encoder { return &encoder{} }

// encoder writes one stream as server-sent events. Calls of tools leave whole, and the reasons to
// end leave last, together with the usage.
type encoder struct {
	id, model string
	calls     []openCall
	ends      []chat.Chunk
	usage     llm.Usage
	citations json.RawMessage
}

// openCall is a call whose arguments still come.
type openCall struct {
	choice, index       int
	id, name, signature string
	args                []byte
}

// Encode implements chat.Encoder.
func (e *encoder) Encode(dst []byte, c *chat.Chunk) []byte {
	switch c.Type {
	case chat.ChunkStart:
		e.id, e.model = c.ID, c.Model
	case chat.ChunkText, chat.ChunkRefusal:
		return e.parts(dst, c.Choice, func(w *writer) { w.text(c.Text, false) })
	case chat.ChunkReasoning:
		return e.parts(dst, c.Choice, func(w *writer) { w.text(c.Text, true) })
	case chat.ChunkSignature:
		if call := e.call(c); c.ID != "" && call != nil {
			call.signature = c.Text
			return dst
		}
		return e.parts(dst, c.Choice, func(w *writer) { w.signature(toClient(c.Text, "")) })
	case chat.ChunkRedacted:
		return e.parts(dst, c.Choice, func(w *writer) { w.signature(toClient("", c.Text)) })
	case chat.ChunkToolStart:
		e.calls = append(e.calls, openCall{choice: c.Choice, index: c.Index, id: c.ID, name: c.Name})
	case chat.ChunkToolArgs:
		if call := e.call(c); call != nil {
			call.args = append(call.args, c.Text...)
		}
	case chat.ChunkMedia:
		return e.parts(dst, c.Choice, func(w *writer) { w.media(c.Media) })
	case chat.ChunkCitations:
		if c.Origin == origin {
			e.citations = c.Raw
		}
	case chat.ChunkOther:
		if c.Origin == origin {
			return e.parts(dst, c.Choice, func(w *writer) { w.sep(); w.json(c.Raw) })
		}
	case chat.ChunkUsage:
		e.usage = c.Usage
	case chat.ChunkFinish:
		dst = e.flush(dst, c.Choice)
		e.ends = append(e.ends, *c)
	case chat.ChunkEnd:
		return e.end(dst)
	}
	return dst
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

// flush writes the calls of a choice, whose arguments are whole.
func (e *encoder) flush(dst []byte, choice int) []byte {
	for i := range e.calls {
		if c := &e.calls[i]; c.choice == choice {
			dst = e.parts(dst, choice, func(w *writer) { w.call(c.id, c.name, c.args, c.signature) })
		}
	}
	return dst
}

// parts writes an event with parts of one choice.
func (e *encoder) parts(dst []byte, choice int, write func(*writer)) []byte {
	w := writer{out: append(dst, "data: "...)}
	w.open('{')
	w.member("candidates")
	w.open('[')
	w.element('{')
	w.member("content")
	w.open('{')
	w.member("parts")
	w.open('[')
	write(&w)
	w.close(']')
	w.member("role").str("model")
	w.close('}')
	w.member("index").integer(int64(choice))
	w.close('}')
	w.close(']')
	w.head(e.id, e.model)
	w.close('}')
	return append(w.out, "\r\n\r\n"...)
}

// end writes the last event.
func (e *encoder) end(dst []byte) []byte {
	w := writer{out: append(dst, "data: "...)}
	w.open('{')
	w.member("candidates")
	w.open('[')
	for i := range e.ends {
		w.element('{')
		w.member("content")
		w.open('{')
		w.member("parts")
		w.open('[')
		w.text("", false)
		w.close(']')
		w.member("role").str("model")
		w.close('}')
		w.member("finishReason").str(finishReason(e.ends[i].Finish))
		w.member("index").integer(int64(e.ends[i].Choice))
		if len(e.citations) > 0 {
			w.member("groundingMetadata").json(grounding(e.citations))
		}
		w.close('}')
	}
	w.close(']')
	w.usage(&e.usage)
	w.head(e.id, e.model)
	w.close('}')
	return append(w.out, "\r\n\r\n"...)
}
