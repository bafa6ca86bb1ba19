// Package mistral reads and writes what of Mistral's forms clients speak: the reading of documents
// (/ocr), as its API document of 2026 has it.
package mistral

import (
	"strconv"
	"strings"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/document"
	"github.com/conclave-llm/conclave/llm/jsonread"
)

// DecodeOCR reads a client's request.
func DecodeOCR(body []byte) (*document.Request, error) {
	r, req := jsonread.New(body), new(document.Request)
	some := false
	r.Members(func(name string) {
		switch name {
		case "model":
			req.Model = r.Str()
		case "document":
			some = true
			readDocument(&r, req)
		case "pages":
			req.Pages = readPages(&r)
		default:
			if raw := r.Copy(); raw != nil && string(raw) != "null" {
				req.Extra = append(req.Extra, llm.Member{Name: name, Value: raw})
			}
		}
	})
	if err := r.Finish(); err != nil {
		return nil, err
	}
	if !some || req.URL == "" && req.Data == "" && req.FileID == "" {
		return nil, jsonread.Invalid("document", "must have a document_url, an image_url or a file_id that is not empty")
	}
	return req, nil
}

func readDocument(r *jsonread.Reader, req *document.Request) {
	r.Object(func(name string) {
		switch name {
		case "document_url":
			req.TakeURL(r.Shared())
		case "image_url":
			if r.Next() != '{' {
				req.TakeURL(r.Shared())
				return
			}
			r.Object(func(name string) {
				if name == "url" {
					req.TakeURL(r.Shared())
				} else {
					r.Raw()
				}
			})
		case "file_id":
			req.FileID = r.Str()
		default: // its type, which its members say, and its name
			r.Raw()
		}
	})
}

// wrongPages says what pages must be.
const wrongPages = `must be a list of numbers from 0, or a text such as "0-3,7"`

// maxPages bounds the numbers of pages, and how many a request may name.
const maxPages = 10_000

// readPages reads a list of pages, or a text such as "0-3,7".
func readPages(r *jsonread.Reader) (pages []int64) {
	switch r.Next() {
	case '"':
		for part := range strings.SplitSeq(r.Str(), ",") {
			from, to, ranged := strings.Cut(strings.TrimSpace(part), "-")
			if !ranged {
				to = from
			}
			a, errA := strconv.ParseInt(from, 10, 32)
			b, errB := strconv.ParseInt(to, 10, 32)
			if errA != nil || errB != nil || a < 0 || b < a || b >= maxPages {
				r.WrongAt("pages", wrongPages)
				return nil
			}
			for ; a <= b && len(pages) < maxPages; a++ {
				pages = append(pages, a)
			}
		}
		return pages
	case '[':
		r.List(func(int) {
			n, ok := r.Int()
			if !ok || n < 0 || n >= maxPages || len(pages) >= maxPages {
				r.WrongAt("pages", wrongPages)
				return
			}
			pages = append(pages, n)
		})
		return pages
	case 'n':
		r.Raw()
		return nil
	}
	r.WrongAt("pages", wrongPages)
	r.Raw()
	return nil
}

// EncodeOCR writes the answer to a request. Of pictures and sizes it knows nothing.
func EncodeOCR(req *document.Request, res *document.Response) []byte {
	dst := append([]byte(nil), `{"pages":[`...)
	for i := range res.Pages {
		p := &res.Pages[i]
		dst = strconv.AppendInt(append(llm.AppendComma(dst), `{"index":`...), p.Index, 10)
		dst = llm.AppendString(llm.AppendKey(dst, "markdown"), p.Markdown)
		dst = append(dst, `,"images":[],"dimensions":null}`...)
	}
	dst = llm.AppendString(append(dst, `],"model":`...), req.Model)
	dst = strconv.AppendInt(append(dst, `,"document_annotation":null,"usage_info":{"pages_processed":`...), res.Usage.Units.Pages, 10)
	return append(dst, `,"doc_size_bytes":null}}`...)
}
