// Package fal reads and writes the pictures of fal's models, and the answers of those that are asked about
// one, asked at once (fal.run), as its reference of 2026 has them.
package fal

import (
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/embed"
	"github.com/conclave-llm/conclave/llm/picture"
	"github.com/conclave-llm/conclave/provider/openai"
)

// Codec is fal's format.
type Codec struct{ compatible openai.Codec }

// Path is the model's name: "fal-ai/flux/schnell".
func (Codec) Path(p llm.Place) string { return llm.ModelPath(p.Model) }

// Read reads a whole answer, which says what it used where it is translated.
func (Codec) Read(e llm.Endpoint, body []byte) (llm.Report, error) {
	if e == llm.FalChat {
		p, _, err := readChat(body)
		if err != nil {
			return llm.Report{}, err
		}
		return p.Report(), nil
	}
	return embed.Report(body, "")
}

// Meter is nil: nothing is streamed.
func (Codec) Meter(llm.Endpoint) llm.Meter { return nil }

// Frames is nil, likewise.
func (Codec) Frames(llm.Endpoint, io.Reader, int) llm.EventReader { return nil }

// Classify makes the error of an answer: {"detail":"text"} or {"detail":[{"loc":[…],"msg":"text"}]}.
func (c Codec) Classify(now time.Time, status int, h http.Header, body []byte) *llm.Error {
	var said struct {
		Detail json.RawMessage `json:"detail"`
	}
	var message, code string
	var list []struct {
		Message string `json:"msg"`
		Type    string `json:"type"`
	}
	if json.Unmarshal(body, &said) == nil && json.Unmarshal(said.Detail, &message) != nil && json.Unmarshal(said.Detail, &list) == nil && len(list) > 0 {
		message, code = list[0].Message, list[0].Type
	}
	if message == "" {
		return c.compatible.Classify(now, status, h, body)
	}
	raw := llm.AppendString([]byte(`{"error":{"message":`), message)
	raw = llm.AppendString(append(raw, `,"code":`...), code)
	e := c.compatible.Classify(now, status, h, append(raw, "}}"...))
	e.Body = nil
	return e
}

// Format is the form of pictures.
type Format struct{}

// options are the further members that models take.
var options = []string{
	"negative_prompt", "seed", "num_inference_steps", "guidance_scale", "image_size", "aspect_ratio", "enable_safety_checker", "safety_tolerance", "style", "loras",
}

// EncodeRequest writes a request for the provider.
func (Format) EncodeRequest(req *picture.Request, t *llm.Target) (*llm.Sent, error) {
	dst := llm.AppendString([]byte(`{"prompt":`), req.Prompt)
	dst = strconv.AppendInt(llm.AppendKey(dst, "num_images"), req.Count(), 10)
	dst = appendInputs(dst, req.Inputs)
	req.DropMask(t)
	lacks := []string{"quality", "background"}
	if w, h := req.Pixels(); w > 0 && !has(req.Extra, "image_size") {
		dst = strconv.AppendInt(append(llm.AppendKey(dst, "image_size"), `{"width":`...), w, 10)
		dst = append(strconv.AppendInt(append(dst, `,"height":`...), h, 10), '}')
	}
	if req.Format != "" {
		dst = llm.AppendString(llm.AppendKey(dst, "output_format"), req.Format)
	}
	if req.Answer == "b64_json" { // the bytes stand in the answer, as a URL of their own
		dst = append(llm.AppendKey(dst, "sync_mode"), "true"...)
	}
	dst = req.AppendKnown(dst, options...)
	req.Drop(t, options, lacks...)
	return &llm.Sent{Body: append(dst, '}')}, nil
}

// appendInputs appends the pictures that are to be changed: one has a member of its own.
func appendInputs(dst []byte, inputs []picture.Input) []byte {
	if len(inputs) == 1 {
		return inputs[0].AppendURL(llm.AppendKey(dst, "image_url"))
	}
	for i := range inputs {
		if i == 0 {
			dst = append(llm.AppendKey(dst, "image_urls"), '[')
		}
		dst = inputs[i].AppendURL(llm.AppendComma(dst))
	}
	if len(inputs) > 0 {
		dst = append(dst, ']')
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

// DecodeResponse reads an answer: pictures, or one.
func (Format) DecodeResponse(body []byte) (*picture.Response, error) {
	type image struct {
		URL string `json:"url"`
	}
	var got struct {
		Images []image `json:"images"`
		Image  *image  `json:"image"`
		Unsafe []bool  `json:"has_nsfw_concepts"`
	}
	if err := json.Unmarshal(body, &got); err != nil {
		return nil, picture.Malformed(err)
	}
	if got.Image != nil {
		got.Images = append(got.Images, *got.Image)
	}
	res := new(picture.Response)
	for i, one := range got.Images {
		if i < len(got.Unsafe) && got.Unsafe[i] || one.URL == "" { // a black picture
			continue
		}
		p := picture.Picture{URL: one.URL}
		if head, data, ok := strings.Cut(one.URL, ";base64,"); ok && strings.HasPrefix(head, "data:") {
			c := llm.NewCursor(llm.AppendString(nil, data))
			if p.Base64 = picture.TakeBase64(&c); p.Base64 == nil {
				continue
			}
		}
		res.Pictures = append(res.Pictures, p)
	}
	if len(res.Pictures) == 0 && len(got.Images) > 0 {
		return nil, picture.Filtered("")
	}
	return res.Counted()
}
