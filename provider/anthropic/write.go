package anthropic

import (
	"encoding/base64"
	"strings"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/chat"
)

// conversation writes instructions and messages.
func (w *writer) conversation() {
	if len(w.system) > 0 {
		w.key("system")
		w.blocks(w.system)
	}
	w.key("messages")
	w.out = append(w.out, '[')
	for i := range w.turns {
		w.out = append(llm.AppendComma(w.out), '{')
		role := "assistant"
		if w.turns[i].user {
			role = "user"
		}
		w.str("role", role)
		w.key("content")
		w.blocks(w.turns[i].parts)
		w.out = append(w.out, '}')
	}
	w.out = append(w.out, ']')
}

// blocks writes parts as an array of blocks.
func (w *writer) blocks(parts []chat.Part) {
	w.out = append(w.out, '[')
	w.list(parts)
	w.out = append(w.out, ']')
}

func (w *writer) list(parts []chat.Part) {
	for i := range parts {
		p := &parts[i]
		if p.Type == chat.PartToolResult && p.ID == "" { // of no call
			w.list(sayable(p.Parts))
			continue
		}
		w.block(p)
	}
}

// block writes one part.
func (w *writer) block(p *chat.Part) {
	if p.Type == chat.PartOther {
		w.out = llm.AppendRaw(llm.AppendComma(w.out), p.Raw)
		return
	}
	w.out = append(llm.AppendComma(w.out), '{')
	switch p.Type {
	case chat.PartText, chat.PartRefusal:
		w.str("type", "text")
		w.str("text", p.Text)
		if own := ownCitations(p.Citations); p.Origin == origin && own != nil {
			w.raw("citations", own)
		}
	case chat.PartReasoning:
		w.out = appendThinking(w.out, p)
	case chat.PartToolCall:
		w.str("type", "tool_use")
		w.str("id", p.ID)
		w.str("name", p.Name)
		w.key("input")
		w.out = appendInput(w.out, p.Arguments)
	case chat.PartToolResult:
		w.result(p)
	case chat.PartImage:
		w.str("type", "image")
		w.media(p)
	case chat.PartFile:
		w.str("type", "document")
		w.media(p)
	default:
		w.fail("audio and video")
	}
	if p.Type != chat.PartReasoning {
		w.cache(p.CacheControl)
	}
	w.out = append(w.out, '}')
}

// fail notes that something cannot be said.
func (w *writer) fail(what string) {
	if w.err == nil {
		w.err = llm.Unsayable("messages", "The model "+w.t.Model+" does not take "+what+".")
	}
}

// appendThinking appends the members of a block of thoughts.
func appendThinking(dst []byte, p *chat.Part) []byte {
	if p.Data != "" {
		dst = append(dst, `"type":"redacted_thinking","data":`...)
		return llm.AppendString(dst, p.Data)
	}
	dst = append(dst, `"type":"thinking","thinking":`...)
	dst = llm.AppendString(dst, p.Text)
	dst = append(dst, `,"signature":`...)
	return llm.AppendString(dst, p.Signature)
}

// appendInput appends the arguments of a call, which must be an object: what a model wrote that
// is none goes into one as it is.
func appendInput(dst, arguments []byte) []byte {
	c := llm.NewCursor(arguments)
	switch c.Next() {
	case 0:
		return append(dst, "{}"...)
	case '{':
		c.Raw()
		if c.End() == nil {
			return llm.AppendRaw(dst, arguments)
		}
	}
	dst = append(dst, `{"arguments":`...)
	dst = llm.AppendString(dst, string(arguments))
	return append(dst, '}')
}

// result writes the result of a call.
func (w *writer) result(p *chat.Part) {
	w.str("type", "tool_result")
	w.str("tool_use_id", p.ID)
	if parts := sayable(p.Parts); len(parts) > 0 {
		w.key("content")
		w.blocks(parts)
	}
	if p.IsError {
		w.raw("is_error", []byte("true"))
	}
}

// media writes the source of an image or a document.
func (w *writer) media(p *chat.Part) {
	m := p.Media
	if m == nil {
		w.fail("media without a source")
		return
	}
	mime, data := m.MIME, m.Data
	if rest, ok := strings.CutPrefix(m.URL, "data:"); ok && data == "" {
		mime, data, ok = strings.Cut(rest, ";base64,")
		if !ok {
			w.fail("data URLs that are not base64")
			return
		}
	}
	w.key("source")
	w.out = append(w.out, '{')
	switch {
	case data != "":
		w.data(p.Type, mime, data)
	case strings.HasPrefix(m.URL, "http://") || strings.HasPrefix(m.URL, "https://"):
		w.str("type", "url")
		w.str("url", m.URL)
	case m.FileID != "":
		w.str("type", "file")
		w.str("file_id", m.FileID)
	default:
		w.fail("media at such an address")
	}
	w.out = append(w.out, '}')
	if p.Type == chat.PartFile && m.Name != "" {
		w.str("title", m.Name)
	}
}

// data writes the source of media that come with the request.
func (w *writer) data(typ chat.PartType, mime, data string) {
	mime, _, _ = strings.Cut(mime, ";")
	switch {
	case typ == chat.PartImage:
		if mime == "" || mime == "image/*" {
			mime = imageType(data)
		}
		if mime == "image/jpg" {
			mime = "image/jpeg"
		}
	case strings.HasPrefix(mime, "text/") || mime == "application/json":
		text, err := base64.StdEncoding.DecodeString(data)
		if err != nil {
			w.fail("files that are not base64")
			return
		}
		w.str("type", "text")
		w.str("media_type", "text/plain")
		w.str("data", string(text))
		return
	case mime == "":
		mime = "application/pdf"
	case mime != "application/pdf":
		w.fail("files of type " + mime)
		return
	}
	w.str("type", "base64")
	w.str("media_type", mime)
	w.str("data", data)
}

// imageType recognises an image by its beginning.
func imageType(data string) string {
	for prefix, mime := range map[string]string{"/9j/": "image/jpeg", "R0lG": "image/gif", "UklG": "image/webp"} {
		if strings.HasPrefix(data, prefix) {
			return mime
		}
	}
	return "image/png"
}
