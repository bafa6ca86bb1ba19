package bedrock

import (
	"encoding/base64"
	"encoding/json"
	"io"
	"strings"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/chat"
)

func isBase64(s string) bool {
	_, err := io.Copy(io.Discard, base64.NewDecoder(base64.StdEncoding, strings.NewReader(s)))
	return err == nil
}

func appendText(b []byte, text string) []byte {
	return append(llm.AppendString(append(b, `{"text":`...), text), '}')
}

// appendBlock appends a text, a call under the id, reasoning, or a block of Bedrock's own.
func appendBlock(b []byte, p *chat.Part, id string) []byte {
	switch p.Type {
	case chat.PartToolCall:
		b = append(b, `{"toolUse":{"toolUseId":`...)
		b = llm.AppendString(b, id)
		b = append(b, `,"name":`...)
		b = llm.AppendString(b, p.Name)
		b = append(b, `,"input":`...)
		return append(appendArguments(b, p.Arguments), "}}"...)
	case chat.PartReasoning:
		return appendReasoning(b, p)
	case chat.PartOther:
		return llm.AppendRaw(b, p.Raw)
	}
	if len(p.Citations) == 0 || p.Origin != origin {
		return appendText(b, p.Text)
	}
	b = append(b, `{"citationsContent":{"content":[`...)
	b = appendText(b, p.Text)
	b = append(b, `],"citations":`...)
	return append(llm.AppendRaw(b, p.Citations), "}}"...)
}

// appendArguments appends the arguments of a call, which must be an object. What a model broke
// stands in one.
func appendArguments(b []byte, args json.RawMessage) []byte {
	text := strings.TrimSpace(string(args))
	switch {
	case text == "" || text == "null":
		return append(b, "{}"...)
	case text[0] == '{' && json.Valid(args):
		return llm.AppendRaw(b, args)
	}
	b = append(b, `{"INVALID_JSON":`...)
	return append(llm.AppendString(b, string(args)), '}')
}

// appendReasoning appends reasoning: a block that may be read, one that may not, or both.
func appendReasoning(b []byte, p *chat.Part) []byte {
	if p.Text != "" || p.Signature != "" || p.Data == "" {
		b = append(b, `{"reasoningContent":{"reasoningText":{"text":`...)
		b = llm.AppendString(b, p.Text)
		if p.Signature != "" {
			b = append(b, `,"signature":`...)
			b = llm.AppendString(b, p.Signature)
		}
		b = append(b, "}}}"...)
		if p.Data == "" {
			return b
		}
		b = append(b, ',')
	}
	b = append(b, `{"reasoningContent":{"redactedContent":`...)
	return append(llm.AppendString(b, p.Data), "}}"...)
}

// appendMedia appends media. Only documents have a name.
func appendMedia(b []byte, p *chat.Part, format, name string) []byte {
	b = append(b, `{"`...)
	b = append(b, media[p.Type]...)
	b = append(b, `":{"format":"`...)
	b = append(b, format...)
	if name != "" {
		b = append(b, `","name":"`...)
		b = append(b, name...)
	}
	b = append(b, `","source":{`...)
	if p.Media.Data != "" {
		b = append(b, `"bytes":`...)
		return append(llm.AppendString(b, p.Media.Data), "}}}"...)
	}
	b = append(b, `"s3Location":{"uri":`...)
	return append(llm.AppendString(b, p.Media.URL), "}}}}"...)
}

// appendCachePoint appends the mark of a cache up to here.
func appendCachePoint(b []byte, mark json.RawMessage) []byte {
	b = append(llm.AppendComma(b), `{"cachePoint":{"type":"default"`...)
	c := llm.NewCursor(mark)
	for n := 0; c.Member(n); n++ {
		if string(c.Name()) != "ttl" {
			c.Raw()
		} else if c.Text() == "1h" {
			b = append(b, `,"ttl":"1h"`...)
		}
	}
	return append(b, "}}"...)
}
