package openai

import (
	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/chat"
)

// originResponses is the name of the dialect of responses.
const originResponses = "responses"

// appendAnnotations appends the elements of the annotations of texts, as chat completions have
// them: what an annotation says stands in an object named as its type.
func appendAnnotations(b []byte, cited []*chat.Part) []byte {
	for _, p := range cited {
		if isOpenAI(p.Origin) {
			b = appendNested(b, p.Citations)
		}
	}
	return b
}

// appendNested appends annotations of either form in the nested one.
func appendNested(b, list []byte) []byte {
	c := llm.NewCursor(list)
	for n := 0; c.Element(n); n++ {
		raw := c.Raw()
		kind, nested := annotation(raw)
		if nested != nil || kind == "" {
			b = llm.AppendRaw(llm.AppendComma(b), raw)
			continue
		}
		b = append(llm.AppendComma(b), `{"type":`...)
		b = llm.AppendString(b, kind)
		b = append(b, ',')
		b = llm.AppendString(b, kind)
		b = append(b, ':', '{')
		b = append(appendMembers(b, raw, "type"), "}}"...)
	}
	return b
}

// appendFlat appends annotations of either form in the flat one, which responses have.
func appendFlat(b, list []byte) []byte {
	c := llm.NewCursor(list)
	for n := 0; c.Element(n); n++ {
		raw := c.Raw()
		kind, nested := annotation(raw)
		if nested == nil {
			b = llm.AppendRaw(llm.AppendComma(b), raw)
			continue
		}
		b = append(llm.AppendComma(b), `{"type":`...)
		b = llm.AppendString(b, kind)
		b = append(appendMembers(b, nested, ""), '}')
	}
	return b
}

// annotation finds the type of an annotation, and the object named so if there is one.
func annotation(raw []byte) (kind string, nested []byte) {
	c := llm.NewCursor(raw)
	for n := 0; c.Member(n); n++ {
		if string(c.Name()) == "type" {
			kind = c.Text()
			continue
		}
		c.Raw()
	}
	c = llm.NewCursor(raw)
	for n := 0; c.Member(n); n++ {
		if string(c.Name()) == kind && c.Next() == '{' {
			nested = c.Raw()
			continue
		}
		c.Raw()
	}
	return kind, nested
}

// appendMembers appends the members of an object but one.
func appendMembers(b, raw []byte, but string) []byte {
	c := llm.NewCursor(raw)
	for n := 0; c.Member(n); n++ {
		name := string(c.Name())
		v := c.Raw()
		if name == but && but != "" {
			continue
		}
		b = llm.AppendString(llm.AppendComma(b), name)
		b = llm.AppendRaw(append(b, ':'), v)
	}
	return b
}
