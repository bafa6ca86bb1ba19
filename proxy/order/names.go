package order

import (
	"bytes"
	"slices"
	"strings"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/resource"
)

// Names are the models' names in a batch: as its client wrote them, and as its provider was sent them.
type Names []resource.ModelName

// Add adds a name, unless the provider was sent it in the place of another: the first one counts.
func (n *Names) Add(asked, sent string) {
	if asked == sent || asked == "" || len(*n) >= resource.MaxModelNames || slices.ContainsFunc(*n, func(m resource.ModelName) bool { return m.Sent == sent }) {
		return
	}
	*n = append(*n, resource.ModelName{Asked: asked, Sent: sent})
}

// Asked is the client's name for a model that an answer names: by the name that was sent, or by the longest one that it
// begins with, as dated versions do. What nobody has sent stays as it is.
func (n Names) Asked(answered string) string {
	name, length := answered, -1
	for _, m := range n {
		if rest, ok := strings.CutPrefix(answered, m.Sent); ok && len(m.Sent) > length && (rest == "" || rest[0] == '-' || rest[0] == '@') {
			name, length = m.Asked, len(m.Sent)
		}
	}
	return name
}

// The members in which a line of a batch's file, or of its results, has a request or an answer, which have the model's
// name: OpenAI's, Mistral's and Anthropic's.
var holders = []string{"response", "body", "result", "message", "params"}

// AppendLine appends a line of a batch's file or results with the client's names in it. A line that cannot be read stays as it is.
func (n Names) AppendLine(dst, line []byte) []byte {
	if !bytes.Contains(line, []byte(`"model"`)) {
		return append(dst, line...)
	}
	text := bytes.TrimRight(line, "\r\n")
	c := llm.NewCursor(text)
	out := n.value(dst, &c, 0)
	if c.End() != nil {
		return append(dst, line...)
	}
	return append(out, line[len(text):]...)
}

// maxDepth is how deep a holder stands: "response" and "body".
const maxDepth = 2

// value appends a value that may have a model's name.
func (n Names) value(dst []byte, c *llm.Cursor, depth int) []byte {
	if c.Next() != '{' {
		return append(dst, c.Raw()...)
	}
	dst = append(dst, '{')
	for i := 0; c.Member(i); i++ {
		name := string(c.Name())
		dst = append(llm.AppendString(llm.AppendComma(dst), name), ':')
		switch {
		case name == "model" && depth > 0 && c.Next() == '"':
			dst = llm.AppendString(dst, n.Asked(c.Text()))
		case depth < maxDepth && slices.Contains(holders, name):
			dst = n.value(dst, c, depth+1)
		default:
			dst = append(dst, c.Raw()...)
		}
	}
	return append(dst, '}')
}

// maxLine bounds a line that is read; a longer one passes as it is.
const maxLine = 64 << 20

// Lines cuts bytes that come piece by piece into lines.
type Lines struct {
	begun []byte // of a line that has not ended
	long  bool   // it is too long to be one, and what follows of it is passed on
}

// Feed calls line for each line that ends in the piece, with its end, and rest for pieces of lines that are too long. What
// they are given is valid during the call.
func (l *Lines) Feed(piece []byte, line, rest func([]byte)) {
	for len(piece) > 0 {
		end := bytes.IndexByte(piece, '\n') + 1
		part := piece
		if end > 0 {
			part = piece[:end]
		}
		piece = piece[len(part):]
		switch {
		case l.long:
			rest(part)
			l.long = end == 0
		case end == 0 && len(l.begun)+len(part) > maxLine:
			rest(l.begun)
			rest(part)
			l.begun, l.long = nil, true
		case end == 0:
			l.begun = append(l.begun, part...)
		case len(l.begun) == 0:
			line(part)
		default:
			line(append(l.begun, part...))
			l.begun = l.begun[:0]
		}
	}
}

// End calls line for the last line, if it had no end.
func (l *Lines) End(line func([]byte)) {
	if len(l.begun) > 0 {
		line(l.begun)
		l.begun = nil
	}
}
