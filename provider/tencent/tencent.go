// Package tencent knows Tencent Cloud's TokenHub: OpenAI's format, and pictures at a path of their own, as
// its documents of 2026 have it: the pictures that are to be changed stand in the body.
package tencent

import (
	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/embed"
	"github.com/conclave-llm/conclave/llm/picture"
	"github.com/conclave-llm/conclave/provider/openai"
)

// draw is the path of pictures.
const draw = "/wand/si-image/generation"

// Codec is TokenHub's format.
type Codec struct{ openai.Codec }

// Path is the endpoint's path.
func (c Codec) Path(p llm.Place) string {
	if p.Endpoint == llm.TencentImages {
		return draw
	}
	return c.Codec.Path(p)
}

// Read reads a whole answer.
func (c Codec) Read(e llm.Endpoint, body []byte) (llm.Report, error) {
	if e == llm.TencentImages {
		return embed.Report(body, "") // what was made is counted where it is read
	}
	return c.Codec.Read(e, body)
}

// Pictures is the form of pictures.
type Pictures struct{}

// options are the further members that are taken.
var options = []string{"user", "seed", "watermark", "guidance_scale", "optimize_prompt_options"}

// EncodeRequest writes a request for the provider.
func (Pictures) EncodeRequest(req *picture.Request, t *llm.Target) (*llm.Sent, error) {
	if req.Count() > 1 {
		return nil, llm.Unsayable("n", "The model's provider makes one picture at a time.")
	}
	req.DropMask(t)
	dst := llm.AppendString([]byte(`{"model":`), t.Model)
	dst = llm.AppendString(llm.AppendKey(dst, "prompt"), req.Prompt)
	for i := range req.Inputs {
		if i == 0 {
			dst = append(llm.AppendKey(dst, "images"), '[')
		}
		dst = req.Inputs[i].AppendURL(llm.AppendComma(dst))
	}
	if len(req.Inputs) > 0 {
		dst = append(dst, ']')
	}
	for _, v := range []struct{ name, value string }{
		{"size", req.Size},
		{"response_format", req.Answer},
		{"output_format", req.Format},
		{"background", req.Background},
	} {
		if v.value != "" && v.value != "auto" {
			dst = llm.AppendString(llm.AppendKey(dst, v.name), v.value)
		}
	}
	dst = req.AppendKnown(dst, options...)
	req.Drop(t, options, "quality")
	return &llm.Sent{Body: append(dst, '}')}, nil
}

// DecodeResponse reads an answer, which is in OpenAI's form.
func (Pictures) DecodeResponse(body []byte) (*picture.Response, error) { return picture.FromData(body) }
