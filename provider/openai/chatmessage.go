package openai

import (
	"bytes"
	"encoding/json"
	"strconv"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/chat"
)

// spoken is a message as it stands in a request or an answer, before its parts are in order.
type spoken struct {
	role, name, callID string
	content            []chat.Part
	isNull             bool // content is null or not there
	refusal            string
	calls              []chat.Part
	thoughts           thoughts
	media              []chat.Part
	citations          json.RawMessage
	cache              json.RawMessage
	extra              map[string]json.RawMessage
}

// thoughts are what a message says of reasoning, in the words of several vendors.
type thoughts struct {
	text    string      // reasoning_content or reasoning
	blocks  []chat.Part // thinking_blocks
	details []chat.Part // reasoning_details
}

// parts are the thoughts in the order in which they came. Of several words for one thing those
// with signatures count.
func (t *thoughts) parts() []chat.Part {
	switch {
	case len(t.blocks) == 1 && t.blocks[0].Text == "" && t.blocks[0].Data == "" && t.text != "":
		t.blocks[0].Text = t.text
		return t.blocks
	case len(t.blocks) > 0:
		return t.blocks
	case len(t.details) > 0:
		return t.details
	case t.text != "":
		return []chat.Part{{Type: chat.PartReasoning, Text: t.text}}
	}
	return nil
}

func (r *reader) messages() (list []chat.Message) {
	r.List(func(i int) {
		s := spoken{isNull: true}
		r.Entry(func(name string) { r.spokenMember(&s, name) })
		list = append(list, r.message(&s, i))
	})
	return list
}

// roles are OpenAI's names.
var roles = map[string]chat.Role{
	"system": chat.RoleSystem, "developer": chat.RoleDeveloper, "user": chat.RoleUser,
	"assistant": chat.RoleAssistant, "tool": chat.RoleTool, "function": chat.RoleTool,
}

// message puts what was read of a message in order.
func (r *reader) message(s *spoken, i int) chat.Message {
	role, ok := roles[s.role]
	if !ok {
		r.WrongAt(r.Prefix+"role", `must be "system", "developer", "user", "assistant" or "tool"`)
	}
	m := chat.Message{Role: role, Name: s.name, Extra: s.extra}
	switch role {
	case chat.RoleTool:
		m.Name = ""
		p := chat.Part{Type: chat.PartToolResult, ID: s.callID, Name: s.name, Parts: s.content, CacheControl: s.cache}
		m.Parts = []chat.Part{p}
	case chat.RoleAssistant:
		m.Parts = s.answer("call_" + strconv.Itoa(i))
	default:
		m.Parts = s.content
	}
	if n := len(m.Parts); n > 0 && s.cache != nil && m.Parts[n-1].CacheControl == nil {
		m.Parts[n-1].CacheControl = s.cache
	}
	return m
}

// answer puts the parts of an assistant's message in order. Calls without an id get one that
// begins with id.
func (s *spoken) answer(id string) []chat.Part {
	parts := s.thoughts.parts()
	for i := range s.content {
		if p := &s.content[i]; p.Type != chat.PartText || p.Text != "" {
			parts = append(parts, *p)
		}
	}
	if len(s.citations) > 0 {
		parts = cite(parts, s.citations)
	}
	if s.refusal != "" {
		parts = append(parts, chat.Part{Type: chat.PartRefusal, Text: s.refusal})
	}
	parts = append(parts, s.media...)
	for i := range s.calls {
		if s.calls[i].ID == "" {
			s.calls[i].ID = id + "_" + strconv.Itoa(i)
		}
	}
	return append(parts, s.calls...)
}

// cite puts annotations on the last text.
func cite(parts []chat.Part, citations json.RawMessage) []chat.Part {
	for i := len(parts) - 1; i >= 0; i-- {
		if parts[i].Type == chat.PartText {
			parts[i].Citations, parts[i].Origin = citations, originChat
			return parts
		}
	}
	return parts
}

// nameResults finds the ids of results that name their function alone, as of old.
func nameResults(list []chat.Message) {
	ids := make(map[string]string)
	for i := range list {
		for k := range list[i].Parts {
			switch p := &list[i].Parts[k]; {
			case p.Type == chat.PartToolCall:
				ids[p.Name] = p.ID
			case p.Type == chat.PartToolResult && p.ID == "":
				p.ID = ids[p.Name]
			}
		}
	}
}

// spokenMember reads a member of a message of a request.
func (r *reader) spokenMember(s *spoken, name string) {
	switch name {
	case "role":
		s.role = r.Str()
	case "name":
		s.name = r.Str()
	case "tool_call_id":
		s.callID = r.Str()
	case "content":
		s.isNull = r.Next() == 'n'
		s.content = r.content()
	case "cache_control":
		s.cache = r.Copy()
	case "audio":
		r.audio(s)
	default:
		if r.said(s, name) {
			return
		}
		if raw := r.Copy(); raw != nil {
			if s.extra == nil {
				s.extra = make(map[string]json.RawMessage)
			}
			s.extra[name] = raw
		}
	}
}

// said reads a member that an assistant's message has in requests and in answers.
func (r *reader) said(s *spoken, name string) bool {
	switch name {
	case "refusal":
		s.refusal = r.Str()
	case "tool_calls":
		r.List(func(int) {
			s.calls = append(s.calls, r.call())
		})
	case "function_call":
		if r.Next() != '{' {
			r.Raw()
			break
		}
		p := chat.Part{Type: chat.PartToolCall}
		r.Object(func(name string) { r.called(&p, name) })
		s.calls = append(s.calls, p)
	case "reasoning_content", "reasoning":
		if text := r.Text(); text != "" {
			s.thoughts.text = text
		}
	case "thinking_blocks":
		r.List(func(int) { s.thoughts.blocks = append(s.thoughts.blocks, r.block()) })
	case "reasoning_details":
		r.List(func(int) { s.thoughts.details = append(s.thoughts.details, r.detail()) })
	case "annotations":
		if raw := r.Copy(); string(raw) != "[]" {
			s.citations = raw
		}
	case "images":
		r.List(func(int) { s.media = append(s.media, r.part()) })
	default:
		return false
	}
	return true
}

// audio reads what an assistant said aloud, or the id of it.
func (r *reader) audio(s *spoken) {
	if r.Next() != '{' {
		r.Raw()
		return
	}
	p := chat.Part{Type: chat.PartAudio, Media: &chat.Media{MIME: "audio/*"}}
	r.Object(func(name string) {
		switch name {
		case "id":
			p.ID = r.Str()
		case "data":
			p.Media.Data = r.Str()
		case "transcript":
			p.Text = r.Str()
		default:
			r.Raw()
		}
	})
	s.media = append(s.media, p)
}

// call reads an element of tool_calls.
func (r *reader) call() chat.Part {
	p := chat.Part{Type: chat.PartToolCall}
	r.Entry(func(name string) {
		switch name {
		case "id":
			p.ID = r.Str()
		case "function", "custom":
			r.Object(func(name string) { r.called(&p, name) })
		case "cache_control":
			p.CacheControl = r.Copy()
		default:
			r.callSignature(&p, name)
		}
	})
	return p
}

// callSignature reads Gemini's signature of a call, as LiteLLM and as Google itself have it.
func (r *reader) callSignature(p *chat.Part, name string) {
	switch name {
	case "provider_specific_fields", "extra_content", "google":
		r.Members(func(name string) { r.callSignature(p, name) })
	case "thought_signature":
		p.Signature = r.Text()
	default:
		r.Raw()
	}
}

// called reads a member of the function that is called.
func (r *reader) called(p *chat.Part, name string) {
	switch name {
	case "name":
		p.Name = r.Str()
	case "arguments":
		if r.Next() == '{' { // of vendors that do not write it as a string
			p.Arguments = r.Copy()
			return
		}
		if text := r.Str(); text != "" {
			p.Arguments = json.RawMessage(text)
		}
	case "input":
		p.Arguments = wrapInput(r.Str())
	default:
		r.callSignature(p, name)
	}
}

// wrapInput makes arguments of the text that a custom tool takes.
func wrapInput(text string) json.RawMessage {
	return append(llm.AppendString([]byte(`{"input":`), text), '}')
}

// unwrapInput is the text of a custom tool in the arguments; what is none is the text itself.
func unwrapInput(args []byte) string {
	c, text, found := llm.NewCursor(args), "", false
	for n := 0; c.Member(n); n++ {
		if string(c.Name()) == "input" && c.Next() == '"' {
			text, found = c.Text(), true
			continue
		}
		c.Raw()
	}
	if c.End() != nil || !found {
		return string(args)
	}
	return text
}

// block reads an element of thinking_blocks, which are Anthropic's.
func (r *reader) block() chat.Part {
	p := chat.Part{Type: chat.PartReasoning}
	r.Entry(func(name string) {
		switch name {
		case "thinking":
			p.Text = r.Str()
		case "signature":
			p.Signature = r.Str()
		case "data":
			p.Data = r.Str()
		case "cache_control":
			p.CacheControl = r.Copy()
		default:
			r.Raw()
		}
	})
	return p
}

// detail reads an element of reasoning_details, which are OpenRouter's.
func (r *reader) detail() chat.Part {
	p := chat.Part{Type: chat.PartReasoning}
	r.Entry(func(name string) {
		switch name {
		case "text", "summary":
			p.Text = r.Str()
		case "signature":
			p.Signature = r.Str()
		case "data":
			p.Data = r.Str()
		default:
			r.Raw()
		}
	})
	return p
}

// content reads the content of a message: a string, an array of parts or null.
func (r *reader) content() (parts []chat.Part) {
	switch r.Next() {
	case '"':
		return []chat.Part{{Text: r.Text()}}
	case '{': // of clients that leave the brackets out
		r.Within(func() { parts = append(parts, r.part()) })
		return parts
	}
	r.List(func(int) { parts = append(parts, r.part()) })
	return parts
}

// part reads an element of a content.
func (r *reader) part() chat.Part {
	if r.Next() == '"' {
		return chat.Part{Text: r.Text()}
	}
	start := *r
	var p chat.Part
	kind := ""
	r.Entry(func(name string) {
		switch name {
		case "type":
			kind = r.Str()
		case "cache_control":
			p.CacheControl = r.Copy()
		case "citations", "annotations":
			p.Citations, p.Origin = r.Copy(), originChat
		default:
			r.partMember(&p, name)
		}
	})
	typ, known := partTypes[kind]
	if !known {
		if kind == "" {
			r.WrongAt(r.Prefix+"type", "must be given")
		}
		return chat.Part{Type: chat.PartOther, Raw: bytes.Clone(start.Raw()), Origin: originChat, CacheControl: p.CacheControl}
	}
	if p.Type = typ; isMedia(typ) && (p.Media == nil || *p.Media == chat.Media{MIME: p.Media.MIME, Name: p.Media.Name, Detail: p.Media.Detail}) {
		r.WrongAt(r.Prefix+kind, "must hold an address, data or the id of a file")
	}
	return p
}

func isMedia(t chat.PartType) bool {
	return t == chat.PartImage || t == chat.PartAudio || t == chat.PartVideo || t == chat.PartFile
}

// partTypes are the types of parts, OpenAI's and those that clients of LiteLLM send.
var partTypes = map[string]chat.PartType{
	"text": chat.PartText, "image_url": chat.PartImage, "input_audio": chat.PartAudio, "audio_url": chat.PartAudio,
	"video_url": chat.PartVideo, "file": chat.PartFile, "refusal": chat.PartRefusal,
	"image": chat.PartImage, "document": chat.PartFile, "thinking": chat.PartReasoning, "redacted_thinking": chat.PartReasoning,
}

// partMember reads a member of a part that is not its type.
func (r *reader) partMember(p *chat.Part, name string) {
	switch name {
	case "text", "refusal", "thinking":
		if r.Next() == '[' { // Mistral's thinking is a list of texts
			p.Text = chat.Text(r.content())
			return
		}
		p.Text = r.Str()
	case "signature":
		p.Signature = r.Str()
	case "data":
		p.Data = r.Text()
	case "image_url", "video_url", "audio_url":
		r.address(p)
	case "input_audio", "file", "source":
		p.Media = new(chat.Media)
		r.Object(func(name string) { r.mediaMember(p.Media, name) })
	default:
		r.Raw()
	}
}

// address reads an image_url: an object or the address itself.
func (r *reader) address(p *chat.Part) {
	if r.Next() == '"' {
		p.Media = mediaOf(r.Shared())
		return
	}
	p.Media = new(chat.Media)
	r.Object(func(name string) { r.mediaMember(p.Media, name) })
	if m := p.Media; m.URL == "" && m.Data == "" && m.FileID == "" {
		r.WrongAt(r.Prefix+"image_url.url", "must be given")
	}
}

// mediaMember reads a member of an object that holds media.
func (r *reader) mediaMember(m *chat.Media, name string) {
	switch name {
	case "url", "file_data":
		found := mediaOf(r.Shared())
		if found.MIME == "" {
			found.MIME = m.MIME
		}
		if name == "file_data" && found.URL != "" { // base64 alone
			found.Data, found.URL = found.URL, ""
		}
		m.URL, m.Data, m.MIME = found.URL, found.Data, found.MIME
	case "data":
		m.Data = r.Shared()
	case "detail":
		m.Detail = r.Str()
	case "file_id":
		m.FileID = r.Shared()
		if found := mediaOf(m.FileID); found.Data != "" || isWeb(m.FileID) { // as clients of LiteLLM may write
			m.URL, m.Data, m.MIME, m.FileID = found.URL, found.Data, found.MIME, ""
		}
	case "filename":
		m.Name = r.Str()
	case "media_type":
		m.MIME = r.Str()
	case "format":
		m.MIME = audioMIME(r.Str())
	default:
		r.Raw()
	}
}

// isWeb says whether s is an address in the web.
func isWeb(s string) bool {
	return len(s) > 8 && (s[:7] == "http://" || s[:8] == "https://")
}
