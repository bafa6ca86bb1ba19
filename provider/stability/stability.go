// Package stability reads and writes the pictures of Stability AI's second API (v2beta), as its
// reference of 2026 has them: a form goes out, one picture comes back. Some services make pictures, others
// change them.
package stability

import (
	"errors"
	"io"
	"net/http"
	"slices"
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
	if changes, ok := changing(p.Model); ok {
		return "/v2beta/stable-image/" + changes.path
	}
	service := "sd3"
	switch {
	case strings.Contains(p.Model, "ultra"):
		service = "ultra"
	case strings.Contains(p.Model, "core"):
		service = "core"
	}
	return "/v2beta/stable-image/generate/" + service
}

// changer is a service that changes a picture.
type changer struct {
	name, path string
	prompts    bool // it is told what to make
	masks      bool // it can be told where
	options    []string
}

// changers are the services that change pictures; a model is one of them if its name ends like this, as
// "stable-image-inpaint" does.
var changers = []changer{
	{name: "inpaint", path: "edit/inpaint", prompts: true, masks: true, options: []string{"grow_mask"}},
	{name: "erase", path: "edit/erase", masks: true, options: []string{"grow_mask"}},
	{name: "outpaint", path: "edit/outpaint", prompts: true, options: []string{"left", "right", "up", "down", "creativity"}},
	{name: "search-and-replace", path: "edit/search-and-replace", prompts: true, options: []string{"search_prompt", "grow_mask"}},
	{name: "search-and-recolor", path: "edit/search-and-recolor", prompts: true, options: []string{"select_prompt", "grow_mask"}},
	{name: "remove-background", path: "edit/remove-background"},
	{name: "control-sketch", path: "control/sketch", prompts: true, options: []string{"control_strength"}},
	{name: "control-structure", path: "control/structure", prompts: true, options: []string{"control_strength"}},
	{name: "style-guide", path: "control/style", prompts: true, options: []string{"fidelity"}},
	{name: "conservative-upscale", path: "upscale/conservative", prompts: true, options: []string{"creativity"}},
	{name: "fast-upscale", path: "upscale/fast"},
}

// changing is the service that a model names.
func changing(model string) (*changer, bool) {
	for i := range changers {
		if strings.HasSuffix(model, changers[i].name) {
			return &changers[i], true
		}
	}
	return nil, false
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
	options = []string{"negative_prompt", "aspect_ratio", "seed", "style_preset", "strength"}
)

// EncodeRequest writes a request for the provider.
func (Format) EncodeRequest(req *picture.Request, t *llm.Target) (*llm.Sent, error) {
	if req.Count() > 1 {
		return nil, llm.Unsayable("n", "The model's provider makes one picture at a time.")
	}
	service, changes := changing(t.Model)
	known := options
	if changes {
		known = append([]string{"negative_prompt", "seed", "style_preset"}, service.options...)
	}
	f := multipart.New()
	if !changes || service.prompts {
		f.Field("prompt", req.Prompt)
	}
	shaped := false
	for _, m := range req.Extra {
		if slices.Contains(known, m.Name) {
			c := llm.NewCursor(m.Value)
			text := string(m.Value)
			if c.Next() == '"' {
				text = c.Text()
			}
			f.Field(m.Name, text)
			shaped = shaped || m.Name == "aspect_ratio"
		}
	}
	if err := addInputs(f, req, t, service); err != nil {
		return nil, err
	}
	if ratio := req.Aspect(ratios...); ratio != "" && !shaped && !changes && len(req.Inputs) == 0 {
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
	if len(req.Inputs) > 0 { // whose shape stays
		lacks = append(lacks, "size")
	}
	req.Drop(t, known, lacks...)
	return &llm.Sent{Pieces: f.Pieces(), Type: f.Type()}, nil
}

// defaultStrength is how much of a picture a model makes anew that is asked for a change of one, which
// must be told.
const defaultStrength = "0.65"

// addInputs adds the picture that is to be changed: by the service that the model is, or by a model
// that makes pictures, beginning with this one.
func addInputs(f *multipart.Form, req *picture.Request, t *llm.Target, service *changer) error {
	if service == nil || !service.masks {
		req.DropMask(t)
	}
	switch {
	case len(req.Inputs) > 1:
		return llm.Unsayable("image", "The model's provider changes one picture at a time.")
	case len(req.Inputs) == 0 && service != nil:
		return llm.Unsayable("image", "The model "+t.Model+" changes a picture: ask for an edit.")
	case len(req.Inputs) == 0:
		return nil
	case service == nil && strings.Contains(t.Model, "core"):
		return llm.Unsayable("image", "The model "+t.Model+" changes no pictures.")
	case service == nil:
		if strings.HasPrefix(t.Model, "sd3") {
			f.Field("mode", "image-to-image")
		}
		if !slices.ContainsFunc(req.Extra, func(m llm.Member) bool { return m.Name == "strength" }) {
			f.Field("strength", defaultStrength)
		}
	}
	in := &req.Inputs[0]
	f.File("image", "image", in.Type, in.Data)
	if service != nil && service.masks && req.Masked {
		f.File("mask", "mask", req.Mask.Type, req.Mask.Data)
	}
	return nil
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
