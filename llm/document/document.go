// Package document is a document that is to be read, and the text of its pages, in terms that every
// dialect can express.
package document

import (
	"encoding/base64"
	"errors"
	"slices"
	"strings"

	"github.com/conclave-llm/conclave/llm"
)

// Request is a document to be read: at an address, or itself.
type Request struct {
	Model  string
	URL    string  // "": Data holds it
	Data   string  // base64, standard alphabet
	Type   string  // "application/pdf"; "": unknown
	FileID string  // of a file that the provider keeps; then there is nothing else
	Pages  []int64 // that are wanted, from 0; nil: all
	Extra  []llm.Member
}

// Bytes are the document's own.
func (r *Request) Bytes() ([]byte, error) {
	data, err := base64.StdEncoding.DecodeString(r.Data)
	if err != nil {
		return nil, &llm.Error{Kind: llm.Invalid, Code: "invalid_value", Param: "document", Message: "The document's data URL must hold base64.", Err: err}
	}
	return data, nil
}

// TakeURL takes an address, which may be a data URL.
func (r *Request) TakeURL(address string) {
	rest, isData := strings.CutPrefix(address, "data:")
	head, data, ok := strings.Cut(rest, ",")
	kind, coded := strings.CutSuffix(head, ";base64")
	if !isData || !ok || !coded {
		r.URL = address
		return
	}
	kind, _, _ = strings.Cut(kind, ";")
	r.Data, r.Type = data, kind
}

// Wants says whether a page is one of those that are wanted.
func (r *Request) Wants(page int64) bool { return r.Pages == nil || slices.Contains(r.Pages, page) }

// Drop drops the members that have no field and that the vendor does not know.
func (r *Request) Drop(t *llm.Target, known ...string) {
	for _, m := range r.Extra {
		if !slices.Contains(known, m.Name) {
			t.Drop(m.Name)
		}
	}
}

// Page is the text of one page.
type Page struct {
	Index    int64 // from 0
	Markdown string
}

// Response is what was read.
type Response struct {
	Pages []Page // in order
	Usage llm.Usage
}

// Read notes how many pages were read, which is what vendors charge for.
func (r *Response) Read(pages int64) {
	if pages > 0 && pages <= llm.MaxTokenCount {
		r.Usage.Units.Pages, r.Usage.Source = pages, llm.UsageProvider
	}
}

// Select leaves those pages that are wanted, in order.
func (r *Response) Select(req *Request) {
	r.Pages = slices.DeleteFunc(r.Pages, func(p Page) bool { return !req.Wants(p.Index) })
	slices.SortStableFunc(r.Pages, func(a, b Page) int { return int(min(max(a.Index-b.Index, -1), 1)) })
}

// ErrNone is an answer without pages.
var ErrNone = errors.New("it has no pages")

// Malformed is the error of an answer that cannot be read.
func Malformed(err error) error {
	return &llm.Error{Kind: llm.Upstream, Code: "invalid_response", Message: "The provider sent an answer that cannot be read.", Err: err}
}
