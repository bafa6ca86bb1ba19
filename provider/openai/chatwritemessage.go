package openai

import (
	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/chat"
)

// messages writes the conversation. Results of tools are messages of their own, and stand
// behind the message that called them.
func (w *writer) messages(list []chat.Message) error {
	w.key("messages")
	w.b = append(w.b, '[')
	custom := customNames(w.q)
	open := make(map[string]bool) // calls that have no result yet
	for i := range list {
		if err := w.message(&list[i], custom, open); err != nil {
			return err
		}
	}
	if err := w.flush(); err != nil {
		return err
	}
	w.b = append(w.b, ']')
	return nil
}

// message writes one message.
func (w *writer) message(m *chat.Message, custom, open map[string]bool) error {
	switch m.Role {
	case chat.RoleAssistant:
		clear(open)
		if err := w.flush(); err != nil {
			return err
		}
		return w.assistant(m, custom, open)
	case chat.RoleSystem, chat.RoleDeveloper:
		if err := w.flush(); err != nil {
			return err
		}
		// All servers know the role, and OpenAI's models take both for the same.
		return w.turn(chat.RoleSystem, m.Name, m.Parts)
	}
	var rest []chat.Part
	for i := range m.Parts {
		if p := &m.Parts[i]; p.Type == chat.PartToolResult {
			w.result(p, open)
		} else {
			rest = append(rest, *p)
		}
	}
	if len(rest) == 0 && len(m.Parts) > 0 {
		return nil
	}
	rest = append(w.later, rest...)
	w.later = nil
	return w.turn(chat.RoleUser, m.Name, rest)
}

// flush shows what is left of results.
func (w *writer) flush() error {
	if len(w.later) == 0 {
		return nil
	}
	parts := w.later
	w.later = nil
	return w.turn(chat.RoleUser, "", parts)
}

// turn writes a message that is not the assistant's.
func (w *writer) turn(role chat.Role, name string, parts []chat.Part) error {
	w.b = append(llm.AppendComma(w.b), `{"role":"`...)
	w.b = append(w.b, role...)
	w.b = append(w.b, '"')
	w.text("name", name)
	if err := w.content(parts); err != nil {
		return err
	}
	w.b = append(w.b, '}')
	return nil
}

// result writes the result of a tool. What cannot stand in it is shown by a message behind all
// results: images and files, and all of a result that belongs to no call.
func (w *writer) result(p *chat.Part, open map[string]bool) {
	if p.IsError {
		w.t.Drop("is_error")
	}
	if !open[p.ID] {
		w.later = append(w.later, p.Parts...)
		return
	}
	delete(open, p.ID)
	var texts []chat.Part
	for i := range p.Parts {
		if part := p.Parts[i]; part.Type == chat.PartText {
			texts = append(texts, part)
		} else {
			w.later = append(w.later, part)
		}
	}
	w.b = append(llm.AppendComma(w.b), `{"role":"tool","tool_call_id":`...)
	w.b = llm.AppendString(w.b, p.ID)
	w.key("content")
	w.b = llm.AppendString(w.b, chat.Text(texts))
	w.b = append(w.b, '}')
}

// content writes the content of a message: a string if it is one text.
func (w *writer) content(parts []chat.Part) error {
	w.key("content")
	if len(parts) == 0 || len(parts) == 1 && plain(&parts[0]) {
		w.b = llm.AppendString(w.b, chat.Text(parts))
		return nil
	}
	w.b = append(w.b, '[')
	for i := range parts {
		if err := w.part(&parts[i]); err != nil {
			return err
		}
	}
	w.b = append(w.b, ']')
	return nil
}

// plain says whether a part is a text and nothing else.
func plain(p *chat.Part) bool { return p.Type == chat.PartText && p.CacheControl == nil }

// part writes one part of a content, which stands last in an array.
func (w *writer) part(p *chat.Part) error {
	before := len(w.b)
	w.b = llm.AppendComma(w.b)
	switch p.Type {
	case chat.PartText:
		w.b = append(w.b, `{"type":"text"`...)
		w.key("text")
		w.b = llm.AppendString(w.b, p.Text)
	case chat.PartImage, chat.PartAudio, chat.PartVideo, chat.PartFile:
		if err := w.media(p); err != nil {
			return err
		}
	case chat.PartOther:
		if p.Origin != originChat {
			w.b = w.b[:before]
			w.t.Drop("messages.content")
			return nil
		}
		w.b = llm.AppendRaw(w.b, p.Raw)
		return nil
	default:
		w.b = w.b[:before]
		return nil
	}
	if p.CacheControl != nil && w.t.Drop("cache_control") {
		w.member("cache_control", p.CacheControl)
	}
	w.b = append(w.b, '}')
	return nil
}

// media writes a part that is media, but for its closing brace.
func (w *writer) media(p *chat.Part) error {
	m := p.Media
	switch {
	case m == nil:
		return unsayable("empty media")
	case p.Type == chat.PartImage && (m.URL != "" || m.Data != ""):
		w.b = append(w.b, `{"type":"image_url","image_url":{`...)
		w.address("url", m, "image/png")
		w.text("detail", m.Detail)
	case p.Type == chat.PartVideo && (m.URL != "" || m.Data != ""):
		w.b = append(w.b, `{"type":"video_url","video_url":{`...)
		w.address("url", m, "video/mp4")
	case p.Type == chat.PartAudio && m.Data != "":
		w.b = append(w.b, `{"type":"input_audio","input_audio":{`...)
		w.text("data", m.Data)
		w.text("format", audioFormat(mimeOf(m, "audio/wav")))
	case p.Type == chat.PartFile && (m.FileID != "" || m.Data != ""):
		return w.file(m)
	default:
		return w.noMedia(p)
	}
	w.b = append(w.b, '}')
	return nil
}

// noMedia is the error of media that cannot be said.
func (w *writer) noMedia(p *chat.Part) error {
	switch p.Type {
	case chat.PartImage:
		return unsayable("images by the id of a file")
	case chat.PartAudio:
		return unsayable("audio by its address")
	case chat.PartVideo:
		return unsayable("video by the id of a file")
	}
	return unsayable("documents by their address")
}

// file writes a document; one that is text is said as text.
func (w *writer) file(m *chat.Media) error {
	if text, ok := plainFile(m); ok {
		w.b = append(w.b, `{"type":"text"`...)
		w.key("text")
		w.b = llm.AppendString(w.b, text)
		return nil
	}
	w.b = append(w.b, `{"type":"file","file":{`...)
	if m.FileID != "" {
		w.text("file_id", m.FileID)
	} else {
		name := m.Name
		if name == "" {
			name = "document.pdf" // without a name OpenAI refuses it
		}
		w.text("filename", name)
		w.address("file_data", m, "application/pdf")
	}
	w.b = append(w.b, '}')
	return nil
}

// assistant writes a message of the model's, and notes its calls.
func (w *writer) assistant(m *chat.Message, custom, open map[string]bool) error {
	w.b = append(llm.AppendComma(w.b), `{"role":"assistant"`...)
	w.text("name", m.Name)
	var texts, calls []chat.Part
	refusal, thoughts := "", ""
	for i := range m.Parts {
		switch p := &m.Parts[i]; p.Type {
		case chat.PartToolCall:
			calls = append(calls, *p)
		case chat.PartRefusal:
			refusal += p.Text
		case chat.PartReasoning:
			thoughts += p.Text
		case chat.PartAudio, chat.PartImage, chat.PartVideo, chat.PartFile:
			w.made(p)
		default:
			texts = append(texts, *p)
		}
	}
	if thoughts != "" && w.t.Drop("reasoning_content") {
		w.text("reasoning_content", thoughts)
	}
	w.text("refusal", refusal)
	if err := w.words(texts, len(calls) > 0 || refusal != ""); err != nil {
		return err
	}
	w.calls(calls, custom, open)
	w.b = append(w.b, '}')
	return nil
}

// made writes media that the model made: audio by its id. It does not see what it drew.
func (w *writer) made(p *chat.Part) {
	if p.Type != chat.PartAudio || p.ID == "" {
		w.t.Drop("messages.content")
		return
	}
	w.key("audio")
	w.b = append(w.b, `{"id":`...)
	w.b = append(llm.AppendString(w.b, p.ID), '}')
}

// words writes the content of the model's message: texts become one string, null if there is
// none and something else stands in its place.
func (w *writer) words(parts []chat.Part, orNull bool) error {
	if len(parts) == 0 && orNull {
		w.raw("content", nil)
		return nil
	}
	for i := range parts {
		if !plain(&parts[i]) {
			return w.content(parts)
		}
	}
	w.key("content")
	w.b = llm.AppendString(w.b, chat.Text(parts))
	return nil
}

// calls writes the calls of a message and notes that they have no result yet.
func (w *writer) calls(calls []chat.Part, custom, open map[string]bool) {
	if len(calls) == 0 {
		return
	}
	w.key("tool_calls")
	w.b = append(w.b, '[')
	for i := range calls {
		p := &calls[i]
		open[p.ID] = true
		w.b = appendCall(llm.AppendComma(w.b), p, custom[p.Name])
		if p.Signature != "" && w.t.Drop("thought_signature") {
			w.b = append(w.b[:len(w.b)-1], `,"extra_content":{"google":{"thought_signature":`...)
			w.b = append(llm.AppendString(w.b, p.Signature), "}}}"...)
		}
	}
	w.b = append(w.b, ']')
}

// appendCall appends a whole call of a tool.
func appendCall(dst []byte, p *chat.Part, custom bool) []byte {
	dst = append(dst, `{"id":`...)
	dst = llm.AppendString(dst, p.ID)
	if custom {
		dst = append(dst, `,"type":"custom","custom":{"name":`...)
		dst = llm.AppendString(dst, p.Name)
		dst = append(dst, `,"input":`...)
		return append(llm.AppendString(dst, unwrapInput(p.Arguments)), "}}"...)
	}
	dst = append(dst, `,"type":"function","function":{"name":`...)
	dst = llm.AppendString(dst, p.Name)
	dst = append(dst, `,"arguments":`...)
	args := string(p.Arguments)
	if args == "" {
		args = "{}"
	}
	return append(llm.AppendString(dst, args), "}}"...)
}
