// Package bfl reads and writes the pictures of Black Forest Labs' FLUX models, as the reference of its
// API of 2026 has them: one is ordered, and asked for until it is there. What comes is an address that
// holds for some minutes; bytes are not to be had.
package bfl

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/embed"
	"github.com/conclave-llm/conclave/llm/picture"
	"github.com/conclave-llm/conclave/provider/openai"
)

// Codec is the vendor's format.
type Codec struct{ compatible openai.Codec }

// Path is the model's name: "flux-2-pro".
func (Codec) Path(p llm.Place) string { return "/v1/" + url.PathEscape(p.Model) }

// Read reads a whole answer, which says what it used where it is translated.
func (Codec) Read(_ llm.Endpoint, body []byte) (llm.Report, error) { return embed.Report(body, "") }

// Meter is nil: nothing is streamed.
func (Codec) Meter(llm.Endpoint) llm.Meter { return nil }

// Frames is nil, likewise.
func (Codec) Frames(llm.Endpoint, io.Reader, int) llm.EventReader { return nil }

// Classify makes the error of an answer: {"detail":"text"} or {"detail":[{"loc":[…],"msg":"text"}]}.
func (c Codec) Classify(now time.Time, status int, h http.Header, body []byte) *llm.Error {
	var said struct {
		Detail []struct {
			Message string `json:"msg"`
			Type    string `json:"type"`
		} `json:"detail"`
	}
	if json.Unmarshal(body, &said) != nil || len(said.Detail) == 0 || said.Detail[0].Message == "" {
		return c.compatible.Classify(now, status, h, body)
	}
	raw := llm.AppendString([]byte(`{"error":{"message":`), said.Detail[0].Message)
	raw = llm.AppendString(append(raw, `,"code":`...), said.Detail[0].Type)
	e := c.compatible.Classify(now, status, h, append(raw, "}}"...))
	e.Body = nil
	return e
}

// Format is the form of pictures.
type Format struct{}

// options are the further members that models take, and ratios the shapes of those that take no size.
var (
	options = []string{"seed", "safety_tolerance", "prompt_upsampling", "aspect_ratio", "steps", "guidance", "raw"}
	ratios  = []string{"1:1", "16:9", "9:16", "21:9", "9:21", "3:2", "2:3", "4:3", "3:4"}
)

// maxInputs is how many pictures an order may have.
const maxInputs = 8

// EncodeRequest writes an order.
func (Format) EncodeRequest(req *picture.Request, t *llm.Target) (*llm.Sent, error) {
	if req.Count() > 1 {
		return nil, llm.Unsayable("n", "The model's provider makes one picture at a time.")
	}
	if len(req.Inputs) > maxInputs {
		return nil, llm.Unsayable("image", "The model's provider takes "+strconv.Itoa(maxInputs)+" pictures at most.")
	}
	dst := llm.AppendString([]byte(`{"prompt":`), req.Prompt)
	dst = appendInputs(dst, req, t)
	if strings.Contains(t.Model, "kontext") || strings.Contains(t.Model, "ultra") {
		if ratio := req.Aspect(ratios...); ratio != "" && !has(req.Extra, "aspect_ratio") {
			dst = llm.AppendString(llm.AppendKey(dst, "aspect_ratio"), ratio)
		}
	} else if w, h := req.Pixels(); w > 0 {
		dst = strconv.AppendInt(llm.AppendKey(dst, "width"), w, 10)
		dst = strconv.AppendInt(llm.AppendKey(dst, "height"), h, 10)
	}
	if req.Format == "png" || req.Format == "jpeg" {
		dst = llm.AppendString(llm.AppendKey(dst, "output_format"), req.Format)
	}
	dst = req.AppendKnown(dst, options...)
	lacks := []string{"quality", "background"}
	if req.Format == "webp" {
		lacks = append(lacks, "output_format")
	}
	if req.Answer == "b64_json" {
		lacks = append(lacks, "response_format")
	}
	req.Drop(t, options, lacks...)
	return &llm.Sent{Body: append(dst, '}')}, nil
}

// appendInputs appends the pictures that are to be changed. The model that fills has one, and where.
func appendInputs(dst []byte, req *picture.Request, t *llm.Target) []byte {
	fills := strings.Contains(t.Model, "fill")
	if !fills {
		req.DropMask(t)
	}
	for i := range req.Inputs {
		name := "input_image"
		switch {
		case fills && i > 0:
			t.Drop("image")
			continue
		case fills:
			name = "image"
		case i > 0:
			name += "_" + strconv.Itoa(i+1)
		}
		dst = req.Inputs[i].AppendBase64(llm.AppendKey(dst, name))
	}
	if fills && req.Masked {
		dst = req.Mask.AppendBase64(llm.AppendKey(dst, "mask"))
	}
	return dst
}

func has(extra []llm.Member, name string) bool {
	for _, m := range extra {
		if m.Name == name {
			return true
		}
	}
	return false
}

// job is an order, or what became of it.
type job struct {
	ID      string `json:"id"`
	Polling string `json:"polling_url"`
	Status  string `json:"status"`
	Result  struct {
		Sample string `json:"sample"`
	} `json:"result"`
	Details json.RawMessage `json:"details"`
}

// pause is how long is waited between two questions.
const pause = time.Second

// Follow asks for an order that is not finished, at the region's address that the vendor names; nil:
// the body is the answer.
func (Format) Follow(body []byte) (*llm.Step, error) {
	var got job
	if err := json.Unmarshal(body, &got); err != nil {
		return nil, picture.Malformed(err)
	}
	if got.ID == "" || got.Polling == "" && got.Status != "Pending" {
		return nil, nil
	}
	step := &llm.Step{Method: http.MethodGet, Path: "/v1/get_result?id=" + url.QueryEscape(got.ID), Wait: pause}
	if u, err := url.Parse(got.Polling); err == nil && u.Host != "" {
		step.Root = u.Scheme + "://" + u.Host
	}
	return step, nil
}

// DecodeResponse reads what became of an order.
func (Format) DecodeResponse(body []byte) (*picture.Response, error) {
	var got job
	if err := json.Unmarshal(body, &got); err != nil {
		return nil, picture.Malformed(err)
	}
	switch got.Status {
	case "Request Moderated", "Content Moderated":
		return nil, picture.Filtered("")
	case "Error", "Failed", "Task not found":
		return nil, &llm.Error{Kind: llm.Upstream, Code: "upstream_error", Message: "The provider could not make the picture: " + got.Status + "."}
	}
	res := new(picture.Response)
	if got.Result.Sample != "" {
		res.Pictures = []picture.Picture{{URL: got.Result.Sample}}
	}
	return res.Counted()
}
