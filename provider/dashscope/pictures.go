package dashscope

import (
	"encoding/json"
	"strconv"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/picture"
)

// Pictures is the form of pictures: a message of a user, whose answer is pictures.
type Pictures struct{}

// options are the further parameters that are taken, and maxInputs is how many pictures may be given.
var options = []string{"negative_prompt", "prompt_extend", "watermark", "seed"}

const maxInputs = 3

// EncodeRequest writes a request for the provider.
func (Pictures) EncodeRequest(req *picture.Request, t *llm.Target) (*llm.Sent, error) {
	if len(req.Inputs) > maxInputs {
		return nil, llm.Unsayable("image", "The model's provider takes "+strconv.Itoa(maxInputs)+" pictures at most.")
	}
	req.DropMask(t)
	dst := llm.AppendString([]byte(`{"model":`), t.Model)
	dst = append(dst, `,"input":{"messages":[{"role":"user","content":[`...)
	for i := range req.Inputs {
		dst = append(req.Inputs[i].AppendURL(append(llm.AppendComma(dst), `{"image":`...)), '}')
	}
	dst = llm.AppendString(append(llm.AppendComma(dst), `{"text":`...), req.Prompt)
	dst = append(dst, `}]}]},"parameters":{`...)
	if req.N > 0 {
		dst = strconv.AppendInt(llm.AppendKey(dst, "n"), req.N, 10)
	}
	if w, h := req.Pixels(); w > 0 {
		dst = llm.AppendString(llm.AppendKey(dst, "size"), strconv.FormatInt(w, 10)+"*"+strconv.FormatInt(h, 10))
	}
	dst = req.AppendKnown(dst, options...)
	lacks := []string{"quality", "background", "output_format"}
	if req.Answer == "b64_json" {
		lacks = append(lacks, "response_format")
	}
	req.Drop(t, options, lacks...)
	return &llm.Sent{Body: append(dst, "}}"...)}, nil
}

// DecodeResponse reads an answer.
func (Pictures) DecodeResponse(body []byte) (*picture.Response, error) {
	var got struct {
		Output struct {
			Choices []struct {
				Message struct {
					Content []struct {
						Image string `json:"image"`
					} `json:"content"`
				} `json:"message"`
			} `json:"choices"`
		} `json:"output"`
	}
	if err := json.Unmarshal(body, &got); err != nil {
		return nil, picture.Malformed(err)
	}
	res := new(picture.Response)
	for _, choice := range got.Output.Choices {
		for _, part := range choice.Message.Content {
			if part.Image != "" {
				res.Pictures = append(res.Pictures, picture.Picture{URL: part.Image})
			}
		}
	}
	return res.Counted()
}
