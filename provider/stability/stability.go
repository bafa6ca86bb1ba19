// Package stability reads and writes the pictures of Stability AI's second API (v2beta), as its
// reference of 2026 has them: a form goes out, one picture comes back.
package stability

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/embed"
	"github.com/conclave-llm/conclave/llm/multipart"
	"github.com/conclave-llm/conclave/llm/picture"
	"github.com/conclave-llm/conclave/provider/openai"
)

// Codec is Stability's format.
type Codec struct{ compatible openai.Codec }

// Path is where a model's service is.
func (Codec) Path(p llm.Place) string {
	service := "sd3"
	switch {
	case strings.Contains(p.Model, "ultra"):
		service = "ultra"
	case strings.Contains(p.Model, "core"):
		service = "core"
	}
	return "/v2beta/stable-image/generate/" + service
}

// Read reads a whole answer, which says what it used where it is translated.
func (Codec) Read(_ llm.Endpoint, body []byte) (llm.Report, error) { return embed.Report(body, "") }

// Meter is nil: nothing is streamed.
func (Codec) Meter(llm.Endpoint) llm.Meter { return nil }

// Frames is nil, likewise.
func (Codec) Frames(llm.Endpoint, io.Reader, int) llm.EventReader { return nil }

// Classify makes the error of an answer: {"id":"…","name":"bad_request","errors":["text"]}.
func (c Codec) Classify(now time.Time, status int, h http.Header, body []byte) *llm.Error {
	name, message := "", ""
	cur := llm.NewCursor(body)
	for n := 0; cur.Member(n); n++ {
		switch string(cur.Name()) {
		case "name":
			name = cur.Text()
		case "errors":
			for i := 0; cur.Element(i); i++ {
				if text := cur.Text(); i == 0 {
					message = text
				}
			}
		default:
			cur.Raw()
		}
	}
	if cur.End() != nil || message == "" {
		return c.compatible.Classify(now, status, h, body)
	}
	if name == "content_moderation" { // which has the status of a key that may not
		e, _ := errors.AsType[*llm.Error](picture.Filtered(message))
		return e
	}
	raw := llm.AppendString([]byte(`{"error":{"message":`), message)
	raw = llm.AppendString(append(raw, `,"code":`...), name)
	e := c.compatible.Classify(now, status, h, append(raw, "}}"...))
	e.Body = nil
	return e
}

// Format is the form of pictures.
type Format struct{}

// ratios are the shapes that a picture may have, and options the further members that are taken.
var (
	ratios  = []string{"1:1", "16:9", "9:16", "21:9", "9:21", "3:2", "2:3", "5:4", "4:5"}
	options = []string{"negative_prompt", "aspect_ratio", "seed", "style_preset"}
)

// EncodeRequest writes a request for the provider.
func (Format) EncodeRequest(req *picture.Request, t *llm.Target) (*llm.Sent, error) {
	if req.Count() > 1 {
		return nil, llm.Unsayable("n", "The model's provider makes one picture at a time.")
	}
	f := multipart.New()
	f.Field("prompt", req.Prompt)
	shaped := false
	for _, m := range req.Extra {
		for _, name := range options {
			if m.Name == name {
				c := llm.NewCursor(m.Value)
				text := string(m.Value)
				if c.Next() == '"' {
					text = c.Text()
				}
				f.Field(name, text)
				shaped = shaped || name == "aspect_ratio"
			}
		}
	}
	if ratio := req.Aspect(ratios...); ratio != "" && !shaped {
		f.Field("aspect_ratio", ratio)
	}
	if req.Format != "" {
		f.Field("output_format", req.Format)
	}
	if strings.HasPrefix(t.Model, "sd3") && t.Model != "sd3" {
		f.Field("model", t.Model)
	}
	lacks := []string{"quality", "background"}
	if req.Answer == "url" {
		lacks = append(lacks, "response_format")
	}
	req.Drop(t, options, lacks...)
	return &llm.Sent{Pieces: f.Pieces(), Type: f.Type()}, nil
}

// DecodeResponse reads an answer.
func (Format) DecodeResponse(body []byte) (*picture.Response, error) {
	res, reason := new(picture.Response), ""
	c := llm.NewCursor(body)
	for n := 0; c.Member(n); n++ {
		switch string(c.Name()) {
		case "image":
			if raw := picture.TakeBase64(&c); raw != nil {
				res.Pictures = append(res.Pictures, picture.Picture{Base64: raw})
			}
		case "finish_reason":
			reason = c.Text()
		default:
			c.Raw()
		}
	}
	if err := c.End(); err != nil {
		return nil, picture.Malformed(err)
	}
	if reason == "CONTENT_FILTERED" {
		return nil, picture.Filtered("")
	}
	return res.Counted()
}
