// Package fireworks knows Fireworks AI: OpenAI's format, with audio at hosts of its own, and pictures in
// forms of its own, as its API reference of 2026 has them. Some models make a picture at once, others
// take an order and are asked until it is there.
package fireworks

import (
	"bytes"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/embed"
	"github.com/conclave-llm/conclave/llm/picture"
	"github.com/conclave-llm/conclave/provider/openai"
)

// The rows of the table of providers that serve the models that write audio down, each at its own host.
const (
	RowAudio      = "fireworks_ai_audio"
	RowAudioTurbo = "fireworks_ai_audio_turbo"
)

// Row is the row that serves a model: those of audio have hosts of their own.
func Row(model string) string {
	switch name := model[strings.LastIndexByte(model, '/')+1:]; {
	case strings.HasPrefix(name, "whisper") && strings.HasSuffix(name, "turbo"):
		return RowAudioTurbo
	case strings.HasPrefix(name, "whisper"):
		return RowAudio
	}
	return ""
}

// Codec is Fireworks' format.
type Codec struct{ openai.Codec }

// Path is the endpoint's path, in which the model stands for pictures:
// "accounts/fireworks/models/flux-1-schnell-fp8".
func (c Codec) Path(p llm.Place) string {
	if p.Endpoint != llm.FireworksImages {
		return c.Codec.Path(p)
	}
	switch name := path(p.Model); formOf(p.Model) {
	case samples:
		return "/image_generation" + name
	case orders:
		return "/workflows" + name
	default:
		return "/workflows" + name + "/text_to_image"
	}
}

// path is the model's full name as a path.
func path(model string) string {
	if !strings.Contains(model, "/") {
		model = "accounts/fireworks/models/" + model
	}
	return llm.ModelPath(model)
}

// Read reads a whole answer.
func (c Codec) Read(e llm.Endpoint, body []byte) (llm.Report, error) {
	if e == llm.FireworksImages {
		return embed.Report(body, "") // what was made is counted where it is read
	}
	return c.Codec.Read(e, body)
}

// form is how a model is asked for pictures.
type form uint8

// The forms.
const (
	atOnce  form = iota // a shape and a prompt
	samples             // a size, and several pictures
	orders              // an order, which may have a picture that is to be changed
)

// formOf is the form of a model.
func formOf(model string) form {
	switch {
	case strings.Contains(model, "kontext"):
		return orders
	case strings.Contains(model, "flux"):
		return atOnce
	}
	return samples
}

// Pictures is the form of pictures.
type Pictures struct{}

// What models take beside what OpenAI's form has.
var (
	ratios = []string{"1:1", "21:9", "16:9", "3:2", "5:4", "4:5", "2:3", "9:16", "9:21", "4:3", "3:4"}
	known  = map[form][]string{
		atOnce:  {"aspect_ratio", "guidance_scale", "num_inference_steps", "seed"},
		samples: {"negative_prompt", "cfg_scale", "sampler", "steps", "seed", "safety_check"},
		orders:  {"aspect_ratio", "seed", "prompt_upsampling", "safety_tolerance"},
	}
)

// EncodeRequest writes a request for the provider.
func (Pictures) EncodeRequest(req *picture.Request, t *llm.Target) (*llm.Sent, error) {
	kind := formOf(t.Model)
	if err := kind.takes(req, t.Model); err != nil {
		return nil, err
	}
	req.DropMask(t)
	dst := llm.AppendString([]byte(`{"prompt":`), req.Prompt)
	lacks := []string{"quality", "background"}
	if kind == samples {
		dst = appendSize(dst, req)
	} else if ratio := req.Aspect(ratios...); ratio != "" && !slices.ContainsFunc(req.Extra, func(m llm.Member) bool { return m.Name == "aspect_ratio" }) {
		dst = llm.AppendString(llm.AppendKey(dst, "aspect_ratio"), ratio)
	}
	if kind == orders && len(req.Inputs) > 0 {
		dst = req.Inputs[0].AppendURL(llm.AppendKey(dst, "input_image"))
	}
	if kind == orders && (req.Format == "png" || req.Format == "jpeg") {
		dst = llm.AppendString(llm.AppendKey(dst, "output_format"), req.Format)
	} else {
		lacks = append(lacks, "output_format")
	}
	if kind == orders && req.Answer == "b64_json" || kind != orders && req.Answer == "url" {
		lacks = append(lacks, "response_format")
	}
	dst = req.AppendKnown(dst, known[kind]...)
	req.Drop(t, known[kind], lacks...)
	return &llm.Sent{Body: append(dst, '}'), Header: http.Header{"Accept": {"application/json"}}}, nil
}

// takes says why a model of the form cannot make what is asked for.
func (f form) takes(req *picture.Request, model string) error {
	switch {
	case len(req.Inputs) > 0 && f != orders:
		return llm.Unsayable("image", "The model "+model+" changes no pictures: those of the family kontext do.")
	case len(req.Inputs) > 1:
		return llm.Unsayable("image", "The model's provider changes one picture at a time.")
	case req.Count() > 1 && f != samples:
		return llm.Unsayable("n", "The model's provider makes one picture at a time.")
	}
	return nil
}

func appendSize(dst []byte, req *picture.Request) []byte {
	if w, h := req.Pixels(); w > 0 {
		dst = strconv.AppendInt(llm.AppendKey(dst, "width"), w, 10)
		dst = strconv.AppendInt(llm.AppendKey(dst, "height"), h, 10)
	}
	return strconv.AppendInt(llm.AppendKey(dst, "samples"), req.Count(), 10)
}

// pause is how long is waited between two questions.
const pause = 500 * time.Millisecond

// job is an order, or what became of it.
type job struct {
	Request string `json:"request_id"`
	ID      string `json:"id"`
	Status  string `json:"status"`
	Result  struct {
		Sample string `json:"sample"`
	} `json:"result"`
}

// Follow asks for an order that is not finished; nil: the body is the answer.
func (Pictures) Follow(t *llm.Target, body []byte) (*llm.Step, error) {
	if formOf(t.Model) != orders {
		return nil, nil
	}
	var got job
	if err := json.Unmarshal(body, &got); err != nil {
		return nil, picture.Malformed(err)
	}
	id := got.Request
	if id == "" && got.Status == "Pending" {
		id = got.ID
	}
	if id == "" {
		return nil, nil
	}
	ask := append(llm.AppendString([]byte(`{"id":`), id), '}')
	return &llm.Step{Path: "/workflows" + path(t.Model) + "/get_result", Body: ask, Wait: pause}, nil
}

// DecodeResponse reads an answer: {"base64":[…],"finishReason":…}, [{"base64":…,"finishReason":…}], or what
// became of an order.
func (Pictures) DecodeResponse(body []byte) (*picture.Response, error) {
	c := llm.NewCursor(body)
	res := new(picture.Response)
	if c.Next() == '[' {
		filtered := false
		for i := 0; c.Element(i); i++ {
			filtered = one(&c, res) || filtered
		}
		return finished(&c, res, filtered)
	}
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
	if got.Result.Sample != "" {
		res.Pictures = []picture.Picture{{URL: got.Result.Sample}}
		return res.Counted()
	}
	return finished(&c, res, one(&c, res))
}

func finished(c *llm.Cursor, res *picture.Response, filtered bool) (*picture.Response, error) {
	if err := c.End(); err != nil {
		return nil, picture.Malformed(err)
	}
	if filtered && len(res.Pictures) == 0 {
		return nil, picture.Filtered("")
	}
	return res.Counted()
}

// one reads an object with a picture or several, and says whether what was made may not be seen.
func one(c *llm.Cursor, res *picture.Response) (filtered bool) {
	var made []picture.Picture
	for n := 0; c.Member(n); n++ {
		switch string(c.Name()) {
		case "base64":
			if c.Next() == '[' {
				for i := 0; c.Element(i); i++ {
					made = take(c, made)
				}
			} else {
				made = take(c, made)
			}
		case "finishReason":
			filtered = c.Text() == "CONTENT_FILTERED"
		default:
			c.Raw()
		}
	}
	if !filtered {
		res.Pictures = append(res.Pictures, made...)
	}
	return filtered
}

// take takes a picture, which may be a data URL.
func take(c *llm.Cursor, made []picture.Picture) []picture.Picture {
	raw := c.Raw()
	if i := bytes.Index(raw, []byte(";base64,")); i >= 0 && bytes.HasPrefix(raw, []byte(`"data:`)) {
		raw = append([]byte{'"'}, raw[i+len(";base64,"):]...)
	}
	in := llm.NewCursor(raw)
	if data := picture.TakeBase64(&in); data != nil {
		made = append(made, picture.Picture{Base64: data})
	}
	return made
}
