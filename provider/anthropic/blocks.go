package anthropic

import (
	"encoding/base64"
	"strings"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/chat"
)

// block is a block of content as it stands there.
type block struct {
	typ, text, id, call, name, thinking, signature, data, title, address string

	input, source, content, cache, citations []byte
	isError                                  bool
}

// content takes a string or an array of blocks.
func (r *reader) content(field string) (parts []chat.Part) {
	switch r.Next() {
	case '"':
		return []chat.Part{{Type: chat.PartText, Text: r.Text()}}
	case '[':
		for n := 0; r.Element(n); n++ {
			raw := r.Raw()
			in := r.within(raw, element(field, n))
			parts = in.part(parts, raw)
			r.join(in)
		}
	default:
		if !r.null() {
			r.fail(field, "must be a string or an array of blocks")
			r.Raw()
		}
	}
	return parts
}

// block reads one block.
func (r *reader) block() (b block) {
	if r.Next() != '{' {
		r.fail("type", "is missing")
		return b
	}
	for n := 0; r.Member(n); n++ {
		switch name := string(r.Name()); name {
		case "input":
			b.input = r.Copy()
		case "source":
			if r.Next() == '"' { // of a result of a search
				b.address = r.Text()
			} else {
				b.source = r.Raw()
			}
		case "content":
			b.content = r.Raw()
		case "cache_control":
			b.cache = r.raw(name)
		case "citations":
			b.citations = r.Copy()
		case "is_error":
			v := r.boolean(name)
			b.isError = v != nil && *v
		default:
			if to := b.member(name); to != nil {
				*to = r.text(name)
			} else {
				r.Raw()
			}
		}
	}
	return b
}

// member is where a member that is a text goes, nil if nowhere.
func (b *block) member(name string) *string {
	switch name {
	case "type":
		return &b.typ
	case "text":
		return &b.text
	case "id":
		return &b.id
	case "tool_use_id":
		return &b.call
	case "name":
		return &b.name
	case "thinking":
		return &b.thinking
	case "signature":
		return &b.signature
	case "data":
		return &b.data
	case "title":
		return &b.title
	}
	return nil
}

// part appends what the block says, whose bytes are raw.
func (r *reader) part(list []chat.Part, raw []byte) []chat.Part {
	b := r.block()
	p := chat.Part{CacheControl: b.cache}
	switch b.typ {
	case "":
		r.fail("type", "is missing")
		return list
	case "text":
		p.Type, p.Text = chat.PartText, b.text
		if len(b.citations) > 2 {
			p.Citations, p.Origin = b.citations, origin
		}
	case "image":
		p.Type = chat.PartImage
		p.Media, _ = r.media(&b)
	case "document":
		return r.document(list, &b, p)
	case "search_result":
		p.Type = chat.PartText
		p.Text = strings.Join([]string{b.title, b.address, chat.Text(r.inner(&b))}, "\n")
	case "thinking":
		p = chat.Part{Type: chat.PartReasoning, Text: b.thinking, Signature: b.signature, Origin: origin}
	case "redacted_thinking":
		p = chat.Part{Type: chat.PartReasoning, Data: b.data, Origin: origin}
	case "tool_use":
		p.Type, p.Name, p.Arguments = chat.PartToolCall, b.name, b.input
		p.ID, p.Signature = splitID(b.id)
		if b.name == "" {
			r.fail("name", "is missing")
		}
	case "tool_result":
		p.Type, p.Parts, p.IsError = chat.PartToolResult, r.inner(&b), b.isError
		p.ID, _ = splitID(b.call)
		if b.call == "" {
			r.fail("tool_use_id", "is missing")
		}
	default:
		p.Type, p.Raw, p.Origin = chat.PartOther, append([]byte(nil), raw...), origin
	}
	return append(list, p)
}

// inner reads the blocks inside a block.
func (r *reader) inner(b *block) []chat.Part {
	if len(b.content) == 0 {
		return nil
	}
	in := reader{Cursor: llm.NewCursor(b.content), at: r.at}
	parts := in.content("content")
	r.join(&in)
	return parts
}

// media reads the source of an image or a document; kind is its type.
func (r *reader) media(b *block) (m *chat.Media, kind string) {
	m = &chat.Media{Name: b.title}
	if len(b.source) == 0 || b.source[0] != '{' {
		r.fail("source", "must be an object")
		return m, ""
	}
	in := r.within(b.source, "source")
	for n := 0; in.Member(n); n++ {
		switch name := string(in.Name()); name {
		case "type":
			kind = in.text(name)
		case "media_type":
			m.MIME = in.text(name)
		case "data":
			m.Data = in.shared(name)
		case "url":
			m.URL = in.text(name)
		case "file_id":
			m.FileID = in.text(name)
		case "content":
			b.content = in.Raw()
		default:
			in.Raw()
		}
	}
	if m.Data == "" && m.URL == "" && m.FileID == "" && len(b.content) == 0 {
		in.fail("type", "names no data, url, file_id or content")
	}
	r.join(in)
	return m, kind
}

// document appends a document. Plain text, which every provider can take, becomes text.
func (r *reader) document(list []chat.Part, b *block, p chat.Part) []chat.Part {
	m, kind := r.media(b)
	switch kind {
	case "text":
		p.Type, p.Text = chat.PartText, m.Data
		if b.title != "" {
			p.Text = b.title + "\n" + m.Data
		}
	case "content":
		parts := r.inner(b)
		if n := len(parts); n > 0 && p.CacheControl != nil {
			parts[n-1].CacheControl = p.CacheControl
		}
		return append(list, parts...)
	default:
		p.Type, p.Media = chat.PartFile, m
		if m.MIME == "" && m.FileID == "" {
			m.MIME = "application/pdf"
		}
	}
	return append(list, p)
}

// signed separates the id of a call from the signature that belongs to it, which has no place of
// its own in a message: clients send ids back as they are.
const signed = "__sig__"

// joinID makes the id of a call that has a signature.
func joinID(id, signature string) string {
	if signature == "" {
		return id
	}
	return id + signed + base64.RawURLEncoding.EncodeToString([]byte(signature))
}

// splitID takes an id made by joinID apart.
func splitID(id string) (plain, signature string) {
	plain, code, found := strings.Cut(id, signed)
	if !found {
		return id, ""
	}
	text, err := base64.RawURLEncoding.DecodeString(code)
	if err != nil {
		return id, ""
	}
	return plain, string(text)
}
