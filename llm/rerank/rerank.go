// Package rerank is a request to order documents by what they have to do with a query, and its
// answer, in terms that every dialect can express.
package rerank

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/conclave-llm/conclave/llm"
)

// Document is one of those that are ordered.
type Document struct {
	Text string
	// Raw is a document that came as an object, as JSON; nil for a text. Text is then what of it is
	// compared.
	Raw []byte
}

// Request asks for an order. It is not changed once it was read.
type Request struct {
	Model     string
	Query     string
	Documents []Document
	TopN      int64 // how many of the best are wanted; 0: all
	Return    bool  // the documents stand in the answer
	MaxTokens int64 // of a document, what is longer is cut; 0: as the provider says
	Extra     []llm.Member
}

// Member is the value of a member that only some vendors know, nil if there is none.
func (r *Request) Member(name string) []byte {
	for _, m := range r.Extra {
		if m.Name == name {
			return m.Value
		}
	}
	return nil
}

// AppendTexts appends the documents as an array of strings, or of objects with the one member
// named, if member is not "".
func (r *Request) AppendTexts(dst []byte, member string) []byte {
	dst = append(dst, '[')
	for i := range r.Documents {
		dst = llm.AppendComma(dst)
		if member == "" {
			dst = llm.AppendString(dst, r.Documents[i].Text)
			continue
		}
		dst = llm.AppendString(llm.AppendKey(append(dst, '{'), member), r.Documents[i].Text)
		dst = append(dst, '}')
	}
	return append(dst, ']')
}

// AppendExtra appends the members that the vendor knows, which are named, and those that the policy
// passes on. All others are dropped.
func (r *Request) AppendExtra(dst []byte, t *llm.Target, known ...string) []byte {
	return t.AppendExtra(dst, r.Extra, known...)
}

// Result is one document's place.
type Result struct {
	Index int // of the document in the request
	Score float64
}

// Response is the documents' order, the best first.
type Response struct {
	ID      string // "": the provider has none
	Results []Result
	Usage   llm.Usage // Source is UsageNone if nobody said
}

// Malformed is the error of an answer that cannot be read.
func Malformed(err error) error {
	return &llm.Error{Kind: llm.Upstream, Code: "invalid_response", Message: "The provider sent an answer that cannot be read.", Err: err}
}

var errTwice = errors.New("it names a document twice")

// Arrange orders the results as the request wants them: the best first, and no more than it asks
// for. An answer that names documents that are not there, or one twice, is an *llm.Error of kind
// Upstream.
func (r *Response) Arrange(q *Request) error {
	seen := make([]bool, len(q.Documents))
	for _, one := range r.Results {
		if one.Index < 0 || one.Index >= len(seen) {
			return Malformed(fmt.Errorf("it names document %d of %d", one.Index, len(seen)))
		}
		if seen[one.Index] {
			return Malformed(errTwice)
		}
		seen[one.Index] = true
	}
	want := len(seen)
	if q.TopN > 0 && q.TopN < int64(want) {
		want = int(q.TopN)
	}
	if len(r.Results) < want {
		return Malformed(fmt.Errorf("it orders %d documents, and %d were asked for", len(r.Results), want))
	}
	slices.SortStableFunc(r.Results, func(a, b Result) int { return cmp.Compare(b.Score, a.Score) })
	r.Results = r.Results[:want]
	return nil
}

// TextOf is what is compared of a document that is an object: the fields that are named, a line
// each, else its text, else all of it.
func TextOf(raw []byte, fields []string) string {
	values := map[string]string{}
	c := llm.NewCursor(raw)
	for n := 0; c.Member(n); n++ {
		name := string(c.Name())
		if c.Next() == '"' {
			values[name] = c.Text()
		} else {
			values[name] = string(c.Raw())
		}
	}
	var lines []string
	for _, f := range fields {
		if v, ok := values[f]; ok {
			lines = append(lines, f+": "+v)
		}
	}
	if lines != nil {
		return strings.Join(lines, "\n")
	}
	if text, ok := values["text"]; ok && len(fields) == 0 {
		return text
	}
	return string(raw)
}
