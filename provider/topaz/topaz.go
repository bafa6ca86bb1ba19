// Package topaz has pictures enhanced by Topaz Labs' image API, as its reference of 2026 has it: a
// picture goes out as a form, and its process is asked for until it is finished. What comes is an address
// that holds for an hour; bytes are not to be had.
package topaz

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/embed"
	"github.com/conclave-llm/conclave/llm/multipart"
	"github.com/conclave-llm/conclave/llm/picture"
	"github.com/conclave-llm/conclave/provider/openai"
)

// Codec is the vendor's format.
type Codec struct{ compatible openai.Codec }

// services are where models are, whose names begin as is said here; all others enhance.
var services = []struct{ model, service string }{
	{"redefine", "enhance-gen"}, {"recovery", "enhance-gen"}, {"wonder", "enhance-gen"}, {"standard max", "enhance-gen"},
	{"dust-scratch", "restore-gen"}, {"super focus", "sharpen-gen"}, {"sharpen", "sharpen"}, {"lens blur", "sharpen"}, {"motion blur", "sharpen"},
	{"denoise", "denoise"}, {"normal", "denoise"}, {"extreme", "denoise"},
}

// Path is where a model's service is.
func (Codec) Path(p llm.Place) string {
	service := "enhance"
	for _, one := range services {
		if strings.HasPrefix(strings.ToLower(p.Model), one.model) {
			service = one.service
			break
		}
	}
	return "/image/v1/" + service + "/async"
}

// Read reads a whole answer, which says what it used where it is translated.
func (Codec) Read(_ llm.Endpoint, body []byte) (llm.Report, error) { return embed.Report(body, "") }

// Meter is nil: nothing is streamed.
func (Codec) Meter(llm.Endpoint) llm.Meter { return nil }

// Frames is nil, likewise.
func (Codec) Frames(llm.Endpoint, io.Reader, int) llm.EventReader { return nil }

// Classify makes the error of an answer: {"message":"text"}.
func (c Codec) Classify(now time.Time, status int, h http.Header, body []byte) *llm.Error {
	return c.compatible.Classify(now, status, h, body)
}

// Format is the form of pictures.
type Format struct{}

// options are the further fields that models take.
var options = []string{"face_enhancement", "face_enhancement_creativity", "face_enhancement_strength", "subject_detection", "crop_to_fill", "sharpen", "denoise", "fix_compression", "creativity", "texture", "prompt", "strength"}

// EncodeRequest writes an order: a variation of a picture is the picture, enhanced.
func (Format) EncodeRequest(req *picture.Request, t *llm.Target) (*llm.Sent, error) {
	if req.Count() > 1 {
		return nil, llm.Unsayable("n", "The model's provider makes one picture at a time.")
	}
	if len(req.Inputs) != 1 {
		return nil, llm.Unsayable("image", "The model's provider enhances one picture.")
	}
	f := multipart.New()
	f.Field("model", t.Model)
	if w, h := req.Pixels(); w > 0 {
		f.Field("output_width", strconv.FormatInt(w, 10))
		f.Field("output_height", strconv.FormatInt(h, 10))
	}
	lacks := []string{"quality", "background"}
	switch req.Format {
	case "png", "jpeg":
		f.Field("output_format", req.Format)
	case "webp":
		lacks = append(lacks, "output_format")
	}
	for _, name := range options {
		if text, ok := member(req.Extra, name); ok {
			f.Field(name, text)
		}
	}
	in := &req.Inputs[0]
	f.File("image", "image", in.Type, in.Data)
	if req.Answer == "b64_json" {
		lacks = append(lacks, "response_format")
	}
	req.DropMask(t)
	req.Drop(t, options, lacks...)
	return &llm.Sent{Pieces: f.Pieces(), Type: f.Type()}, nil
}

// member is a further field as a text.
func member(extra []llm.Member, name string) (string, bool) {
	for _, m := range extra {
		if m.Name != name {
			continue
		}
		c := llm.NewCursor(m.Value)
		if c.Next() == '"' {
			return c.Text(), true
		}
		return string(m.Value), true
	}
	return "", false
}

// process is an order, what became of it, or the picture.
type process struct {
	ID      string `json:"process_id"`
	Status  string `json:"status"`
	Address string `json:"download_url"`
}

// pause is how long is waited between two questions.
const pause = 2 * time.Second

var errNone = errors.New("it names no process")

// Follow asks for a process that is not finished, then for the picture; nil: the body is the answer.
func (Format) Follow(body []byte) (*llm.Step, error) {
	var got process
	if err := json.Unmarshal(body, &got); err != nil {
		return nil, picture.Malformed(err)
	}
	switch {
	case got.Address != "", got.Status == "Failed", got.Status == "Cancelled":
		return nil, nil
	case got.ID == "":
		return nil, picture.Malformed(errNone)
	case got.Status == "Completed":
		return &llm.Step{Method: http.MethodGet, Path: "/image/v1/download/" + url.PathEscape(got.ID)}, nil
	}
	return &llm.Step{
		Method: http.MethodGet, Path: "/image/v1/status/" + url.PathEscape(got.ID), Wait: pause,
		Cancel: "/image/v1/cancel/" + url.PathEscape(got.ID), CancelMethod: http.MethodDelete,
	}, nil
}

// DecodeResponse reads the picture's address.
func (Format) DecodeResponse(body []byte) (*picture.Response, error) {
	var got process
	if err := json.Unmarshal(body, &got); err != nil {
		return nil, picture.Malformed(err)
	}
	if got.Status == "Failed" || got.Status == "Cancelled" {
		return nil, &llm.Error{Kind: llm.Upstream, Code: "upstream_error", Message: "The provider could not enhance the picture."}
	}
	res := new(picture.Response)
	if got.Address != "" {
		res.Pictures = []picture.Picture{{URL: got.Address}}
	}
	return res.Counted()
}
