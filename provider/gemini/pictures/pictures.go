// Package pictures reads and writes the pictures of Google's Imagen (predict), at the Gemini API and at
// Vertex, and of its models that talk and draw (generateContent).
package pictures

import (
	"encoding/json"
	"strconv"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/picture"
)

// Imagen is the form of Imagen.
type Imagen struct{}

// ratios are the shapes that a picture may have, and options the parameters that are taken as they are.
var (
	ratios  = []string{"1:1", "3:4", "4:3", "9:16", "16:9"}
	options = []string{"aspectRatio", "negativePrompt", "personGeneration", "safetySetting", "seed", "language", "enhancePrompt", "addWatermark", "sampleImageSize", "storageUri"}
)

// EncodeRequest writes a request for the provider.
func (Imagen) EncodeRequest(req *picture.Request, t *llm.Target) (*llm.Sent, error) {
	dst := llm.AppendString([]byte(`{"instances":[{"prompt":`), req.Prompt)
	dst = append(dst, `}],"parameters":{"sampleCount":`...)
	dst = strconv.AppendInt(dst, req.Count(), 10)
	shaped := false
	for _, m := range req.Extra {
		shaped = shaped || m.Name == "aspectRatio"
	}
	if ratio := req.Aspect(ratios...); ratio != "" && !shaped {
		dst = llm.AppendString(llm.AppendKey(dst, "aspectRatio"), ratio)
	}
	if req.Format == "png" || req.Format == "jpeg" {
		dst = append(append(append(llm.AppendKey(dst, "outputOptions"), `{"mimeType":"image/`...), req.Format...), `"}`...)
	}
	dst = append(req.AppendKnown(dst, options...), '}', '}')
	lacks := []string{"quality", "background"}
	if req.Format == "webp" {
		lacks = append(lacks, "output_format")
	}
	if req.Answer == "url" {
		lacks = append(lacks, "response_format")
	}
	req.Drop(t, options, lacks...)
	return &llm.Sent{Body: dst}, nil
}

// DecodeResponse reads an answer.
func (Imagen) DecodeResponse(body []byte) (*picture.Response, error) {
	var got struct {
		Predictions []struct {
			Data     json.RawMessage `json:"bytesBase64Encoded"`
			Prompt   string          `json:"prompt"`
			Filtered string          `json:"raiFilteredReason"`
		} `json:"predictions"`
	}
	if err := json.Unmarshal(body, &got); err != nil {
		return nil, picture.Malformed(err)
	}
	res, why := new(picture.Response), ""
	for _, p := range got.Predictions {
		c := llm.NewCursor(p.Data)
		if data := picture.TakeBase64(&c); data != nil {
			res.Pictures = append(res.Pictures, picture.Picture{Base64: data, Revised: p.Prompt})
		}
		if p.Filtered != "" {
			why = p.Filtered
		}
	}
	if len(res.Pictures) == 0 && (why != "" || got.Predictions == nil) { // what is filtered may be left out
		return nil, picture.Filtered(why)
	}
	return res.Counted()
}

// Talking is the form of models that talk and draw.
type Talking struct{}

// shapes are those that such models know.
var shapes = []string{"1:1", "2:3", "3:2", "3:4", "4:3", "4:5", "5:4", "9:16", "16:9", "21:9"}

// EncodeRequest writes a request for the provider.
func (Talking) EncodeRequest(req *picture.Request, t *llm.Target) (*llm.Sent, error) {
	if req.Count() > 1 {
		return nil, llm.Unsayable("n", "The model makes one picture at a time.")
	}
	dst := []byte(`{"contents":[{"role":"user","parts":[`)
	for i := range req.Inputs {
		dst = llm.AppendString(append(dst, `{"inlineData":{"mimeType":`...), req.Inputs[i].Type)
		dst = append(req.Inputs[i].AppendBase64(llm.AppendKey(dst, "data")), `}},`...)
	}
	dst = llm.AppendString(append(dst, `{"text":`...), req.Prompt)
	req.DropMask(t)
	dst = append(dst, `}]}],"generationConfig":{"responseModalities":["TEXT","IMAGE"]`...)
	if ratio := req.Aspect(shapes...); ratio != "" {
		dst = append(llm.AppendString(append(llm.AppendKey(dst, "imageConfig"), `{"aspectRatio":`...), ratio), '}')
	}
	lacks := []string{"quality", "background", "output_format"}
	if req.Answer == "url" {
		lacks = append(lacks, "response_format")
	}
	req.Drop(t, nil, lacks...)
	return &llm.Sent{Body: append(dst, '}', '}')}, nil
}

// DecodeResponse reads an answer.
func (Talking) DecodeResponse(body []byte) (*picture.Response, error) {
	var got struct {
		Candidates []struct {
			Content struct {
				Parts []struct {
					Inline struct {
						Data json.RawMessage `json:"data"`
					} `json:"inlineData"`
				} `json:"parts"`
			} `json:"content"`
			Reason string `json:"finishReason"`
		} `json:"candidates"`
		Feedback struct {
			Reason string `json:"blockReason"`
		} `json:"promptFeedback"`
	}
	if err := json.Unmarshal(body, &got); err != nil {
		return nil, picture.Malformed(err)
	}
	res, why := new(picture.Response), got.Feedback.Reason
	for _, candidate := range got.Candidates {
		for _, part := range candidate.Content.Parts {
			c := llm.NewCursor(part.Inline.Data)
			if data := picture.TakeBase64(&c); data != nil {
				res.Pictures = append(res.Pictures, picture.Picture{Base64: data})
			}
		}
		if candidate.Reason != "STOP" && candidate.Reason != "MAX_TOKENS" {
			why = candidate.Reason
		}
	}
	if len(res.Pictures) == 0 && why != "" {
		return nil, picture.Filtered(why)
	}
	if u, ok := llm.ReadUsage(llm.DialectGemini, body); ok {
		res.Usage = u
	}
	return res.Counted()
}
