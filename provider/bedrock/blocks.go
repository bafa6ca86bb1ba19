package bedrock

import (
	"encoding/json"
	"strings"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/chat"
)

// marks are the marks of a cache as Anthropic has them, which chat has too.
var marks = map[string]json.RawMessage{
	"":   json.RawMessage(`{"type":"ephemeral"}`),
	"5m": json.RawMessage(`{"type":"ephemeral","ttl":"5m"}`),
	"1h": json.RawMessage(`{"type":"ephemeral","ttl":"1h"}`),
}

// blocks reads the content of a message.
func (r *reader) blocks() (parts []chat.Part) {
	r.List(func(int) { r.Entry(func(name string) { parts = r.block(parts, name) }) })
	return parts
}

// block reads the one member of a block.
func (r *reader) block(parts []chat.Part, name string) []chat.Part {
	p := chat.Part{}
	switch name {
	case "text":
		p.Text = r.Str()
	case "toolUse":
		r.toolUse(&p)
	case "toolResult":
		r.toolResult(&p)
	case "reasoningContent":
		r.reasoning(&p)
	case "citationsContent":
		r.citations(&p)
	case "cachePoint":
		mark := r.cachePoint()
		if n := len(parts); n > 0 {
			parts[n-1].CacheControl = mark
		}
		return parts
	default:
		if t, ok := mediaPart(name); ok {
			p.Type = t
			r.media(&p, name)
			break
		}
		p = r.other(name)
	}
	return append(parts, p)
}

// other keeps a block that only Bedrock understands.
func (r *reader) other(name string) chat.Part {
	raw := append(llm.AppendString([]byte{'{'}, name), ':')
	return chat.Part{Type: chat.PartOther, Origin: origin, Raw: append(llm.AppendRaw(raw, r.Raw()), '}')}
}

func (r *reader) toolUse(p *chat.Part) {
	p.Type = chat.PartToolCall
	r.object(func(name string) {
		switch name {
		case "toolUseId":
			p.ID = r.Str()
		case "name":
			p.Name = r.Str()
		case "input":
			p.Arguments = r.Copy()
		default:
			r.Raw()
		}
	})
}

func (r *reader) toolResult(p *chat.Part) {
	p.Type = chat.PartToolResult
	r.object(func(name string) {
		switch name {
		case "toolUseId":
			p.ID = r.Str()
		case "content":
			r.List(func(int) {
				r.Entry(func(name string) {
					if name == "json" { // all other dialects have a text there
						p.Parts = append(p.Parts, chat.Part{Text: string(r.Raw())})
						return
					}
					p.Parts = r.block(p.Parts, name)
				})
			})
		case "status":
			p.IsError = r.Str() == "error"
		default:
			r.Raw()
		}
	})
}

func (r *reader) reasoning(p *chat.Part) {
	p.Type = chat.PartReasoning
	r.object(func(name string) {
		switch name {
		case "reasoningText":
			r.object(func(name string) {
				switch name {
				case "text":
					p.Text = r.Str()
				case "signature":
					p.Signature = r.Str()
				default:
					r.Raw()
				}
			})
		case "redactedContent":
			p.Data = r.Str()
		default:
			r.Raw()
		}
	})
}

// citations reads a text with what it cites.
func (r *reader) citations(p *chat.Part) {
	p.Origin = origin
	r.object(func(name string) {
		switch name {
		case "content":
			r.List(func(int) {
				r.Entry(func(name string) {
					if name == "text" {
						p.Text += r.Str()
						return
					}
					r.Raw()
				})
			})
		case "citations":
			p.Citations = r.Copy()
		default:
			r.Raw()
		}
	})
}

// cachePoint reads a mark.
func (r *reader) cachePoint() json.RawMessage {
	ttl := ""
	r.object(func(name string) {
		if name == "ttl" {
			ttl = r.Str()
			return
		}
		r.Raw()
	})
	if m, ok := marks[ttl]; ok {
		return m
	}
	return marks[""]
}

// media reads an image, a video, audio or a document.
func (r *reader) media(p *chat.Part, kind string) {
	p.Media = new(chat.Media)
	r.object(func(name string) {
		switch name {
		case "format":
			p.Media.MIME = typeOf(kind, r.Str())
		case "name":
			p.Media.Name = r.Str()
		case "source":
			r.object(func(name string) { r.source(p.Media, name) })
		default:
			r.Raw()
		}
	})
}

// source reads where media are.
func (r *reader) source(m *chat.Media, name string) {
	switch name {
	case "bytes":
		m.Data = r.Str()
	case "text":
		m.Data = encodeText(r.Str())
	case "s3Location":
		r.object(func(name string) {
			if name == "uri" {
				m.URL = r.Str()
				return
			}
			r.Raw()
		})
	case "content":
		var text strings.Builder
		r.List(func(int) {
			r.Entry(func(name string) {
				if name == "text" {
					text.WriteString(r.Str())
					return
				}
				r.Raw()
			})
		})
		m.Data = encodeText(text.String())
	default:
		r.Wrong("is no source that is known: bytes, text, content or s3Location")
		r.Raw()
	}
}
