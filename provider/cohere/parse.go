package cohere

import (
	"encoding/json"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/document"
)

// Parse is the form of documents that are read: a picture of a page goes out, Markdown comes back.
type Parse struct{}

// EncodeRequest writes a request for the provider, which takes pictures alone.
func (Parse) EncodeRequest(req *document.Request, t *llm.Target) (*llm.Sent, error) {
	if req.FileID != "" {
		return nil, llm.Unsayable("document", "The model's provider keeps no files: send the document itself as a data URL.")
	}
	if req.Type == "application/pdf" {
		return nil, llm.Unsayable("document", "The model reads pictures of pages, and no PDF: send each page as a picture, such as data:image/png;base64,….")
	}
	req.Drop(t)
	dst := llm.AppendString([]byte(`{"model":`), t.Model)
	dst = append(dst, `,"document":{"type":"image_url","image_url":`...)
	if req.Data == "" {
		dst = llm.AppendString(dst, req.URL)
	} else {
		kind := req.Type
		if kind == "" {
			kind = "image/png"
		}
		dst = llm.AppendString(dst, "data:"+kind+";base64,"+req.Data)
	}
	return &llm.Sent{Body: append(dst, `},"output_format":"markdown"}`...)}, nil
}

// DecodeResponse reads an answer.
func (Parse) DecodeResponse(body []byte) (*document.Response, error) {
	var got struct {
		Pages []struct {
			Index    int64 `json:"index"`
			Markdown *struct {
				Content string `json:"content"`
			} `json:"markdown"`
		} `json:"pages"`
		Meta struct {
			Billed struct {
				Pages float64 `json:"pages"`
			} `json:"billed_units"`
		} `json:"meta"`
	}
	if err := json.Unmarshal(body, &got); err != nil {
		return nil, document.Malformed(err)
	}
	res := new(document.Response)
	for _, p := range got.Pages {
		if p.Markdown != nil {
			res.Pages = append(res.Pages, document.Page{Index: p.Index, Markdown: p.Markdown.Content})
		}
	}
	if len(res.Pages) == 0 {
		return nil, document.Malformed(document.ErrNone)
	}
	read := int64(len(res.Pages))
	if billed := got.Meta.Billed.Pages; billed >= 1 && billed <= llm.MaxTokenCount {
		read = int64(billed)
	}
	res.Read(read)
	return res, nil
}
