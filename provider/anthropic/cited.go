package anthropic

import (
	"cmp"
	"slices"
	"strings"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/chat"
)

const (
	// maxTitle is how many characters the title of a citation has at most.
	maxTitle = 512
	// originResponses is the dialect whose annotations say where they are in their own text, and not in all texts.
	originResponses = "responses"
)

// page is a page that another vendor's model cites. from and to are the characters of the text that are from it; to is 0
// where the vendor does not say.
type page struct {
	url, title string
	from, to   int
}

// pagesOf are those of OpenAI's annotations, flat or nested, and of others of that form, in the order of their places.
// What has no address is none.
func pagesOf(raw []byte) (list []page) {
	c := llm.NewCursor(raw)
	if c.Next() == '{' {
		list = appendPage(list, &c)
		return list
	}
	for n := 0; c.Element(n); n++ {
		list = appendPage(list, &c)
	}
	slices.SortStableFunc(list, func(a, b page) int { return cmp.Compare(a.from, b.from) })
	return list
}

func appendPage(list []page, c *llm.Cursor) []page {
	var p page
	p.read(c)
	if !strings.HasPrefix(p.url, "https://") && !strings.HasPrefix(p.url, "http://") {
		return list
	}
	return append(list, p)
}

func (p *page) read(c *llm.Cursor) {
	if c.Next() != '{' {
		c.Raw()
		return
	}
	for n := 0; c.Member(n); n++ {
		switch name := string(c.Name()); {
		case name == "url_citation":
			p.read(c)
		case name == "url" && c.Next() == '"':
			p.url = c.Text()
		case name == "title" && c.Next() == '"':
			p.title = c.Text()
		case name == "start_index":
			p.from = place(c)
		case name == "end_index":
			p.to = place(c)
		default:
			c.Raw()
		}
	}
}

func place(c *llm.Cursor) int {
	n, _ := c.Int()
	return int(min(max(n, 0), 1<<31-1))
}

// append appends the page as Anthropic cites what its own search has found. What it quotes of the page and the
// index by which it finds it again are not said by others: they are empty.
func (p *page) append(dst []byte) []byte {
	dst = append(llm.AppendComma(dst), `{"type":"web_search_result_location","cited_text":"","encrypted_index":"","title":`...)
	title := p.title
	if r := []rune(title); len(r) > maxTitle {
		title = string(r[:maxTitle])
	}
	dst = appendOrNull(dst, title)
	return append(llm.AppendString(append(dst, `,"url":`...), p.url), '}')
}

// cited is a part of a text, from byte to byte, with the pages that it is from.
type cited struct {
	from, to int
	pages    []page
}

// divide divides a text, before which so many characters stand, so that each page stands at what is from it. Pages whose
// places overlap stand at all of these; one without a place is for the whole text. A part is never of spaces alone, which
// Anthropic refuses.
func divide(text string, before int, list []page) []cited {
	var parts []cited
	at := 0
	for _, p := range list {
		from, to := byteAt(text, p.from-before), byteAt(text, p.to-before)
		if from >= to {
			return []cited{{0, len(text), list}}
		}
		last := len(parts) - 1
		switch {
		case from < at:
			at = max(to, at)
			parts[last].to, parts[last].pages = at, append(parts[last].pages, p)
			continue
		case strings.TrimSpace(text[at:from]) != "":
			parts = append(parts, cited{at, from, nil})
		case last >= 0:
			parts[last].to = from
		default:
			from = at
		}
		parts = append(parts, cited{from, to, []page{p}})
		at = to
	}
	if strings.TrimSpace(text[at:]) != "" || len(parts) == 0 {
		return append(parts, cited{at, len(text), nil})
	}
	parts[len(parts)-1].to = len(text)
	return parts
}

// byteAt is where the character number n of a text begins.
func byteAt(text string, n int) int {
	for at := range text {
		if n <= 0 {
			return at
		}
		n--
	}
	return len(text)
}

// appendCited appends the blocks of a text that has another vendor's citations. said are the characters of the texts before.
func appendCited(dst []byte, p *chat.Part, said int) []byte {
	if p.Origin == originResponses {
		said = 0
	}
	for _, part := range divide(p.Text, said, pagesOf(p.Citations)) {
		dst = append(llm.AppendComma(dst), `{"type":"text","text":`...)
		dst = llm.AppendString(dst, p.Text[part.from:part.to])
		if part.pages != nil {
			dst = append(dst, `,"citations":[`...)
			for i := range part.pages {
				dst = part.pages[i].append(dst)
			}
			dst = append(dst, ']')
		}
		dst = append(dst, '}')
	}
	return dst
}

// ownCitations are those of Anthropic's citations that it has made itself: without the pages of another vendor's answer
// that come back with a conversation, and that it could not find again. nil: there are none.
func ownCitations(raw []byte) []byte {
	var own []byte
	c := llm.NewCursor(raw)
	for n := 0; c.Element(n); n++ {
		if one := c.Raw(); !isForeign(one) {
			own = llm.AppendRaw(llm.AppendComma(own), one)
		}
	}
	if own == nil || c.Err() != nil {
		return nil
	}
	return slices.Concat([]byte{'['}, own, []byte{']'})
}

// isForeign says whether a citation has no index.
func isForeign(raw []byte) bool {
	c := llm.NewCursor(raw)
	for n := 0; c.Member(n); n++ {
		if v := string(c.Name()); v == "encrypted_index" {
			return string(c.Raw()) == `""`
		}
		c.Raw()
	}
	return false
}
