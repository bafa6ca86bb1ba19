// Package textract has documents read by Amazon Textract, as its API reference of 2026 has
// DetectDocumentText: a picture or a document of one page goes out, lines come back.
package textract

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/document"
	"github.com/conclave-llm/conclave/llm/embed"
	"github.com/conclave-llm/conclave/provider/bedrock"
)

// Codec is Textract's format.
type Codec struct{}

// Path is that of all operations, which a header names.
func (Codec) Path(llm.Place) string { return "/" }

// Read reads a whole answer, which says what it used where it is translated.
func (Codec) Read(_ llm.Endpoint, body []byte) (llm.Report, error) { return embed.Report(body, "") }

// Meter is nil: nothing is streamed.
func (Codec) Meter(llm.Endpoint) llm.Meter { return nil }

// Frames is nil, likewise.
func (Codec) Frames(llm.Endpoint, io.Reader, int) llm.EventReader { return nil }

// ours are exceptions that the account's set-up causes, whose status is that of a wrong request.
var ours = []string{"AccessDeniedException", "UnrecognizedClientException", "InvalidSignatureException", "ExpiredTokenException", "MissingAuthenticationTokenException"}

// Classify makes the error of an answer: {"__type":"…Exception","Message":"text"}. Most have the status 400.
func (Codec) Classify(now time.Time, status int, h http.Header, body []byte) *llm.Error {
	for _, name := range ours {
		if status == http.StatusBadRequest && strings.Contains(string(body), name) {
			status = http.StatusForbidden
		}
	}
	if status == http.StatusBadRequest && (strings.Contains(string(body), "ThrottlingException") || strings.Contains(string(body), "ProvisionedThroughputExceededException")) {
		status = http.StatusTooManyRequests
	}
	return bedrock.Codec{}.Classify(now, status, h, body)
}

// Format is the form of documents.
type Format struct{}

// operation is what is asked for.
const operation = "Textract.DetectDocumentText"

// EncodeRequest writes a request for the provider, which takes bytes alone.
func (Format) EncodeRequest(req *document.Request, t *llm.Target) (*llm.Sent, error) {
	if req.Data == "" {
		return nil, llm.Unsayable("document", "The model's provider reads no addresses and no files of its own: send the document as a data URL, such as data:image/png;base64,….")
	}
	req.Drop(t)
	dst := llm.AppendString(append([]byte(nil), `{"Document":{"Bytes":`...), req.Data)
	return &llm.Sent{Body: append(dst, "}}"...), Type: "application/x-amz-json-1.1", Header: http.Header{"X-Amz-Target": {operation}}}, nil
}

// DecodeResponse reads an answer, whose lines stand in the order in which they are read.
func (Format) DecodeResponse(body []byte) (*document.Response, error) {
	var got struct {
		Metadata *struct {
			Pages int64 `json:"Pages"`
		} `json:"DocumentMetadata"`
		Blocks []struct {
			Kind string `json:"BlockType"`
			Text string `json:"Text"`
			Page int64  `json:"Page"`
		} `json:"Blocks"`
	}
	if err := json.Unmarshal(body, &got); err != nil {
		return nil, document.Malformed(err)
	}
	if got.Metadata == nil {
		return nil, document.Malformed(document.ErrNone)
	}
	res := new(document.Response)
	at := map[int64]int{}
	for _, b := range got.Blocks {
		page := max(b.Page, 1) - 1
		i, met := at[page]
		if !met && (b.Kind == "PAGE" || b.Kind == "LINE") {
			i = len(res.Pages)
			at[page] = i
			res.Pages = append(res.Pages, document.Page{Index: page})
		}
		if b.Kind == "LINE" {
			if res.Pages[i].Markdown != "" {
				res.Pages[i].Markdown += "\n"
			}
			res.Pages[i].Markdown += b.Text
		}
	}
	res.Read(got.Metadata.Pages)
	return res, nil
}
