// Package pictures reads and writes the pictures of the models at Amazon Bedrock, asked with
// InvokeModel: Amazon's own (Titan and Nova Canvas), which have one form, and Stability AI's.
package pictures

import (
	"encoding/json"
	"strconv"
	"strings"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/picture"
)

// Format is InvokeModel for pictures.
type Format struct{}

// EncodeRequest writes a request for the provider.
func (Format) EncodeRequest(req *picture.Request, t *llm.Target) (*llm.Sent, error) {
	var body []byte
	var err error
	switch {
	case strings.Contains(t.Model, "titan-image"), strings.Contains(t.Model, "nova-canvas"):
		body = amazon(req, t)
	case strings.Contains(t.Model, "stability."):
		body, err = stability(req, t)
	default:
		err = llm.Unsayable("model", "The model is none that makes pictures at Bedrock: titan-image, nova-canvas or stability.")
	}
	if err != nil {
		return nil, err
	}
	return &llm.Sent{Body: body}, nil
}

// amazonOptions and stabilityOptions are the further members that are taken.
var (
	amazonOptions    = []string{"cfgScale", "seed"}
	stabilityOptions = []string{"negative_prompt", "seed", "aspect_ratio"}
	ratios           = []string{"1:1", "16:9", "9:16", "21:9", "9:21", "3:2", "2:3", "5:4", "4:5"}
)

func amazon(req *picture.Request, t *llm.Target) []byte {
	dst := amazonTask(req)
	for _, m := range req.Extra {
		if m.Name == "negative_prompt" || m.Name == "negativeText" {
			dst = llm.AppendRaw(llm.AppendKey(dst, "negativeText"), m.Value)
			break
		}
	}
	dst = append(dst, `},"imageGenerationConfig":{"numberOfImages":`...)
	dst = strconv.AppendInt(dst, req.Count(), 10)
	if w, h := req.Pixels(); w > 0 {
		dst = strconv.AppendInt(llm.AppendKey(dst, "width"), w, 10)
		dst = strconv.AppendInt(llm.AppendKey(dst, "height"), h, 10)
	}
	switch req.Quality {
	case "hd", "high", "premium":
		dst = append(llm.AppendKey(dst, "quality"), `"premium"`...)
	case "standard", "medium", "low":
		dst = append(llm.AppendKey(dst, "quality"), `"standard"`...)
	}
	dst = append(req.AppendKnown(dst, amazonOptions...), '}', '}')
	req.DropMask(t)
	req.Drop(t, append([]string{"negative_prompt", "negativeText"}, amazonOptions...), lacks(req, "background", "output_format")...)
	return dst
}

// amazonTask begins a request: pictures of a text, or of pictures with a text or without.
func amazonTask(req *picture.Request) []byte {
	if len(req.Inputs) == 0 {
		return llm.AppendString([]byte(`{"taskType":"TEXT_IMAGE","textToImageParams":{"text":`), req.Prompt)
	}
	dst := []byte(`{"taskType":"IMAGE_VARIATION","imageVariationParams":{"images":[`)
	for i := range req.Inputs {
		dst = req.Inputs[i].AppendBase64(llm.AppendComma(dst))
	}
	dst = append(dst, ']')
	if req.Prompt != "" {
		dst = llm.AppendString(llm.AppendKey(dst, "text"), req.Prompt)
	}
	return dst
}

func stability(req *picture.Request, t *llm.Target) ([]byte, error) {
	if len(req.Inputs) > 0 {
		return nil, llm.Unsayable("image", "The model changes no pictures here.")
	}
	if req.Count() > 1 {
		return nil, llm.Unsayable("n", "The model makes one picture at a time.")
	}
	dst := llm.AppendString([]byte(`{"prompt":`), req.Prompt)
	shaped := false
	for _, m := range req.Extra {
		shaped = shaped || m.Name == "aspect_ratio"
	}
	if ratio := req.Aspect(ratios...); ratio != "" && !shaped {
		dst = llm.AppendString(llm.AppendKey(dst, "aspect_ratio"), ratio)
	}
	if req.Format != "" {
		dst = llm.AppendString(llm.AppendKey(dst, "output_format"), req.Format)
	}
	dst = append(req.AppendKnown(dst, stabilityOptions...), '}')
	req.Drop(t, stabilityOptions, lacks(req, "quality", "background")...)
	return dst, nil
}

// lacks adds what nobody here does: pictures always come as their bytes.
func lacks(req *picture.Request, names ...string) []string {
	if req.Answer == "url" {
		names = append(names, "response_format")
	}
	return names
}

// DecodeResponse reads an answer of either form.
func (Format) DecodeResponse(body []byte) (*picture.Response, error) {
	var got struct {
		Images  []json.RawMessage `json:"images"`
		Error   string            `json:"error"`
		Reasons []*string         `json:"finish_reasons"`
	}
	if err := json.Unmarshal(body, &got); err != nil {
		return nil, picture.Malformed(err)
	}
	res := new(picture.Response)
	for _, raw := range got.Images {
		c := llm.NewCursor(raw)
		if data := picture.TakeBase64(&c); data != nil {
			res.Pictures = append(res.Pictures, picture.Picture{Base64: data})
		}
	}
	if len(res.Pictures) > 0 {
		return res.Counted()
	}
	if got.Error != "" {
		return nil, picture.Filtered(got.Error)
	}
	for _, why := range got.Reasons {
		if why != nil && *why != "" {
			return nil, picture.Filtered(*why)
		}
	}
	return res.Counted()
}
