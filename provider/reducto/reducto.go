// Package reducto has documents read by Reducto, as its API reference of 2026 has /upload and /parse,
// in its cloud and on one's own machines.
package reducto

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/document"
	"github.com/conclave-llm/conclave/llm/embed"
	"github.com/conclave-llm/conclave/llm/multipart"
	"github.com/conclave-llm/conclave/provider/openai"
)

// Paths of the service.
const (
	upload = "/upload"
	parse  = "/parse"
)

// Codec is Reducto's format.
type Codec struct{ compatible openai.Codec }

// Path is where a document is read.
func (Codec) Path(llm.Place) string { return parse }

// Read reads a whole answer, which says what it used where it is translated.
func (Codec) Read(_ llm.Endpoint, body []byte) (llm.Report, error) { return embed.Report(body, "") }

// Meter is nil: nothing is streamed.
func (Codec) Meter(llm.Endpoint) llm.Meter { return nil }

// Frames is nil, likewise.
func (Codec) Frames(llm.Endpoint, io.Reader, int) llm.EventReader { return nil }

// Classify makes the error of an answer: {"detail":"text"}.
func (c Codec) Classify(now time.Time, status int, h http.Header, body []byte) *llm.Error {
	return c.compatible.Classify(now, status, h, body)
}

// Format is the form of documents.
type Format struct{}

// options are the further members that are taken.
var options = []string{"enhance", "formatting", "settings", "spreadsheet"}

// EncodeRequest writes the upload of a document, or the order to read one that stands at an address.
func (Format) EncodeRequest(req *document.Request, t *llm.Target) (*llm.Sent, error) {
	req.Drop(t, options...)
	switch {
	case strings.HasPrefix(req.FileID, own):
		return &llm.Sent{Body: order(req, req.FileID), Path: parse}, nil
	case req.FileID != "":
		return nil, llm.Unsayable("document", "The model's provider does not keep the file: send the document itself as a data URL.")
	case req.URL != "":
		return &llm.Sent{Body: order(req, req.URL), Path: parse}, nil
	}
	data, err := req.Bytes()
	if err != nil {
		return nil, err
	}
	f := multipart.New()
	f.File("file", "document", req.Type, data)
	return &llm.Sent{Pieces: f.Pieces(), Type: f.Type(), Path: upload}, nil
}

// own is how the vendor's names of files begin.
const own = "reducto://"

// order is the order to read a document, page by page.
func order(req *document.Request, input string) []byte {
	dst := llm.AppendString([]byte(`{"input":`), input)
	dst = append(llm.AppendKey(dst, "retrieval"), `{"chunking":{"chunk_mode":"page"}}`...)
	for _, m := range req.Extra {
		for _, name := range options {
			if m.Name == name {
				dst = llm.AppendRaw(llm.AppendKey(dst, name), m.Value)
			}
		}
	}
	return append(dst, '}')
}

// Follow orders the reading of what was uploaded; nil: the body is the answer.
func (Format) Follow(req *document.Request, body []byte) (*llm.Step, error) {
	var got struct {
		FileID string          `json:"file_id"`
		Result json.RawMessage `json:"result"`
	}
	if err := json.Unmarshal(body, &got); err != nil {
		return nil, document.Malformed(err)
	}
	if got.FileID == "" || got.Result != nil {
		return nil, nil
	}
	return &llm.Step{Path: parse, Body: order(req, got.FileID)}, nil
}

// DecodeResponse reads an answer, which has a piece for each page.
func (Format) DecodeResponse(body []byte) (*document.Response, error) {
	var got struct {
		Result struct {
			Type   string `json:"type"`
			Chunks []struct {
				Content string `json:"content"`
				Blocks  []struct {
					Box struct {
						Page int64 `json:"page"`
					} `json:"bbox"`
				} `json:"blocks"`
			} `json:"chunks"`
		} `json:"result"`
		Usage struct {
			Pages int64 `json:"num_pages"`
		} `json:"usage"`
	}
	if err := json.Unmarshal(body, &got); err != nil {
		return nil, document.Malformed(err)
	}
	switch got.Result.Type {
	case "full":
	case "url":
		return nil, &llm.Error{Kind: llm.Upstream, Code: "answer_elsewhere", Message: "The provider put its answer, which is large, at another address: ask for fewer pages."}
	default:
		return nil, document.Malformed(document.ErrNone)
	}
	res := new(document.Response)
	for i, c := range got.Result.Chunks {
		page := int64(i)
		if len(c.Blocks) > 0 && c.Blocks[0].Box.Page > 0 {
			page = c.Blocks[0].Box.Page - 1
		}
		res.Pages = append(res.Pages, document.Page{Index: page, Markdown: c.Content})
	}
	res.Read(got.Usage.Pages)
	return res, nil
}
