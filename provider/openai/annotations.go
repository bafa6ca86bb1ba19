package openai

import (
	"strings"
	"unicode/utf8"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/chat"
)

// originResponses is the name of the dialect of responses.
const originResponses = "responses"

// appendAnnotations appends the elements of the annotations of texts, as chat completions have
// them: what an annotation says stands in an object named as its type.
func appendAnnotations(b []byte, cited []citedPart) []byte {
	for _, p := range cited {
		b = appendNested(b, annotations(p.Part, p.from))
	}
	return b
}

// citedPart is a text with citations; from is the number of characters before it.
type citedPart struct {
	*chat.Part
	from int
}

// annotations are those of a text, in either of OpenAI's forms, as a list.
func annotations(p *chat.Part, from int) []byte {
	if isOpenAI(p.Origin) || len(p.Citations) == 0 {
		return p.Citations
	}
	return append(append([]byte{'['}, appendPages(nil, p.Citations, from, from+utf8.RuneCountInString(p.Text))...), ']')
}

// appendPages appends OpenAI's annotations, in the flat form, of those of another vendor's citations that name a page, from
// which the text has it that stands from one character to another. raw is a citation, or a list of them.
func appendPages(b, raw []byte, from, to int) []byte {
	c := llm.NewCursor(raw)
	if c.Next() != '[' {
		return appendPage(b, &c, from, to)
	}
	for n := 0; c.Element(n); n++ {
		b = appendPage(b, &c, from, to)
	}
	return b
}

func appendPage(b []byte, c *llm.Cursor, from, to int) []byte {
	if c.Next() != '{' {
		c.Raw()
		return b
	}
	url, title := "", ""
	for n := 0; c.Member(n); n++ {
		switch name := string(c.Name()); {
		case (name == "url" || name == "source") && c.Next() == '"':
			if at := c.Text(); strings.HasPrefix(at, "https://") || strings.HasPrefix(at, "http://") {
				url = at
			}
		case name == "title" && c.Next() == '"':
			title = c.Text()
		default:
			c.Raw()
		}
	}
	if url == "" {
		return b
	}
	b = appendInt(llm.AppendComma(b), `{"type":"url_citation","start_index":`, int64(from))
	b = appendInt(b, `,"end_index":`, int64(to))
	b = llm.AppendString(append(b, `,"url":`...), url)
	return append(llm.AppendString(append(b, `,"title":`...), title), '}')
}

// span is the text of a stream behind which citations of another vendor's stand, in characters: several may stand behind
// the same.
type span struct{ from, to int }

// reach goes on to the end of the text so far.
func (s *span) reach(end int) (from, to int) {
	if end > s.to {
		s.from, s.to = s.to, end
	}
	return s.from, s.to
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
