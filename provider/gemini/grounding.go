package gemini

import (
	"strconv"
	"unicode/utf8"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/chat"
)

// originChat is the dialect whose annotations are the common form of citations: OpenAI's
// url_citation, whose places are characters of the text.
const originChat = "chat"

// groundChunk is a source that Google searched.
type groundChunk struct{ uri, title string }

// cite adds the annotations of what the grounding and the citations of an event tell.
func (c *choiceState) cite(list []chat.Chunk, grounding, citations []byte) []chat.Chunk {
	var out []byte
	var supports []byte
	s := llm.NewCursor(grounding)
	for n := 0; s.Member(n); n++ {
		switch string(s.Name()) {
		case "groundingChunks":
			for m := 0; s.Element(m); m++ {
				c.sources = append(c.sources, readSource(&s))
			}
		case "groundingSupports":
			supports = s.Raw()
		default:
			s.Raw()
		}
	}
	s = llm.NewCursor(supports)
	for n := 0; s.Element(n); n++ {
		out = c.support(out, &s)
	}
	s = llm.NewCursor(citations)
	for n := 0; s.Member(n); n++ {
		switch string(s.Name()) {
		case "citationSources", "citations": // of the Gemini API, of Vertex
			for m := 0; s.Element(m); m++ {
				out = c.citation(out, &s)
			}
		default:
			s.Raw()
		}
	}
	if out == nil {
		return list
	}
	c.cited = true
	return append(list, chat.Chunk{Type: chat.ChunkCitations, Choice: c.index, Raw: append(out, ']'), Origin: originChat})
}

// citeAll adds the sources of a text of which no part is said to be from any.
func (c *choiceState) citeAll(list []chat.Chunk) []chat.Chunk {
	if c.cited {
		return list
	}
	var out []byte
	for i := range c.sources {
		out = c.annotation(out, &c.sources[i], 0, len(c.text))
	}
	if out == nil {
		return list
	}
	return append(list, chat.Chunk{Type: chat.ChunkCitations, Choice: c.index, Raw: append(out, ']'), Origin: originChat})
}

// readSource takes a groundingChunk, of the web, of an image, of a document or of a map.
func readSource(s *llm.Cursor) (g groundChunk) {
	for n := 0; s.Member(n); n++ {
		for m := 0; s.Member(m); m++ {
			switch string(s.Name()) {
			case "uri", "sourceUri":
				g.uri = s.Text()
			case "title":
				g.title = s.Text()
			default:
				s.Raw()
			}
		}
	}
	return g
}

// support takes a groundingSupport: a segment of the text and the sources that say so.
func (c *choiceState) support(out []byte, s *llm.Cursor) []byte {
	var start, end int64
	var from []int64
	for n := 0; s.Member(n); n++ {
		switch string(s.Name()) {
		case "segment":
			for m := 0; s.Member(m); m++ {
				switch string(s.Name()) {
				case "startIndex":
					start, _ = s.Int()
				case "endIndex":
					end, _ = s.Int()
				default:
					s.Raw()
				}
			}
		case "groundingChunkIndices":
			for m := 0; s.Element(m); m++ {
				if i, ok := s.Int(); ok {
					from = append(from, i)
				}
			}
		default:
			s.Raw()
		}
	}
	for _, i := range from {
		if i >= 0 && i < int64(len(c.sources)) {
			out = c.annotation(out, &c.sources[i], int(start), int(end))
		}
	}
	return out
}

// citation takes a source of the citationMetadata, from which the model recited.
func (c *choiceState) citation(out []byte, s *llm.Cursor) []byte {
	var start, end int64
	var g groundChunk
	for n := 0; s.Member(n); n++ {
		switch string(s.Name()) {
		case "startIndex":
			start, _ = s.Int()
		case "endIndex":
			end, _ = s.Int()
		case "uri":
			g.uri = s.Text()
		case "title":
			g.title = s.Text()
		default:
			s.Raw()
		}
	}
	return c.annotation(out, &g, int(start), int(end))
}

// annotation appends OpenAI's annotation to a list that begins with the first.
func (c *choiceState) annotation(out []byte, g *groundChunk, start, end int) []byte {
	if g.uri == "" {
		return out
	}
	if out == nil {
		out = append(out, '[')
	}
	start, end = c.characters(start), c.characters(end)
	out = append(llm.AppendComma(out), `{"type":"url_citation","url_citation":{"start_index":`...)
	out = strconv.AppendInt(out, int64(start), 10)
	out = strconv.AppendInt(append(out, `,"end_index":`...), int64(max(start, end)), 10)
	out = llm.AppendString(append(out, `,"url":`...), g.uri)
	out = llm.AppendString(append(out, `,"title":`...), g.title)
	return append(out, "}}"...)
}

// characters is a place of the text in characters; Google counts bytes.
func (c *choiceState) characters(at int) int {
	return utf8.RuneCount(c.text[:min(max(at, 0), len(c.text))])
}

// appendGrounding appends groundingMetadata of annotations, for a client in Google's dialect: of
// OpenAI's, whose places are characters of the text, and of others that have a URL.
func appendGrounding(dst, annotations []byte, text string) []byte {
	var chunks, supports []byte
	count := 0
	c := llm.NewCursor(annotations)
	for n := 0; c.Element(n); n++ {
		var a annotation
		if a.read(&c); a.url == "" {
			continue
		}
		chunks = append(llm.AppendComma(chunks), `{"web":{"uri":`...)
		chunks = llm.AppendString(chunks, a.url)
		chunks = append(llm.AppendString(append(chunks, `,"title":`...), a.title), "}}"...)
		if a.end > a.start {
			supports = appendSupport(supports, &a, text, count)
		}
		count++
	}
	dst = append(dst, `{"groundingChunks":[`...)
	dst = append(dst, chunks...)
	dst = append(dst, `],"groundingSupports":[`...)
	dst = append(dst, supports...)
	return append(dst, "]}"...)
}

// annotation is one of OpenAI's, or of another vendor's that names a page.
type annotation struct {
	url, title string
	start, end int64
}

func (a *annotation) read(c *llm.Cursor) {
	for n := 0; c.Member(n); n++ {
		switch string(c.Name()) {
		case "url_citation":
			a.read(c)
		case "url":
			a.url = c.Text()
		case "title":
			a.title = c.Text()
		case "start_index":
			a.start, _ = c.Int()
		case "end_index":
			a.end, _ = c.Int()
		default:
			c.Raw()
		}
	}
}

func appendSupport(dst []byte, a *annotation, text string, chunk int) []byte {
	start, end := byteAt(text, a.start), byteAt(text, a.end)
	if len(dst) > 0 {
		dst = append(dst, ',')
	}
	dst = strconv.AppendInt(append(dst, `{"segment":{"startIndex":`...), int64(start), 10)
	dst = strconv.AppendInt(append(dst, `,"endIndex":`...), int64(end), 10)
	dst = llm.AppendString(append(dst, `,"text":`...), text[start:end])
	dst = strconv.AppendInt(append(dst, `},"groundingChunkIndices":[`...), int64(chunk), 10)
	return append(dst, "]}"...)
}

// byteAt is where the character number n of the text begins.
func byteAt(text string, n int64) int {
	for at := range text {
		if n <= 0 {
			return at
		}
		n--
	}
	return len(text)
}
