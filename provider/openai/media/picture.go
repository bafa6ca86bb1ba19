package media

import (
	"strconv"
	"time"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/jsonread"
	"github.com/conclave-llm/conclave/llm/picture"
)

// maxPictures is how many pictures one request may ask for, as OpenAI has it.
const maxPictures = 10

// DecodePicture reads a client's request for pictures.
func DecodePicture(body []byte) (*picture.Request, error) {
	r, req := jsonread.New(body), new(picture.Request)
	texts := map[string]*string{
		"model": &req.Model, "prompt": &req.Prompt, "size": &req.Size, "quality": &req.Quality,
		"output_format": &req.Format, "response_format": &req.Answer, "background": &req.Background,
	}
	r.Members(func(name string) {
		switch {
		case texts[name] != nil:
			*texts[name] = r.Str()
		case name == "n":
			if req.N = r.Count(); req.N > maxPictures {
				r.Wrong("must be at most " + strconv.Itoa(maxPictures))
			}
		case name == "stream":
			req.Stream = r.True()
		default:
			keep(&r, &req.Extra, name)
		}
	})
	if err := r.Finish(); err != nil {
		return nil, err
	}
	return req, nil
}

// CheckPrompt refuses a request that says nothing.
func CheckPrompt(req *picture.Request) error {
	if req.Prompt == "" {
		return jsonread.Invalid("prompt", "must be a text that is not empty")
	}
	return nil
}

// EncodePicture writes the answer to a client: an object, or an event for each picture.
func EncodePicture(req *picture.Request, res *picture.Response, now time.Time) (body []byte, kind string) {
	if req.Stream {
		var dst []byte
		event := "image_generation.completed"
		if len(req.Inputs) > 0 {
			event = "image_edit.completed"
		}
		for i := range res.Pictures {
			data := llm.AppendString([]byte(`{"type":`), event)
			data = appendPicture(data, &res.Pictures[i])
			data = strconv.AppendInt(llm.AppendKey(data, "created_at"), now.Unix(), 10)
			if i == len(res.Pictures)-1 {
				data = append(appendTokens(append(llm.AppendKey(data, "usage"), '{'), res.Usage), '}')
			}
			dst = llm.AppendEvent(dst, event, append(data, '}'))
		}
		return dst, "text/event-stream"
	}
	dst := strconv.AppendInt([]byte(`{"created":`), now.Unix(), 10)
	dst = append(llm.AppendKey(dst, "data"), '[')
	for i := range res.Pictures {
		dst = append(llm.AppendComma(dst), '{')
		dst = append(appendPicture(dst, &res.Pictures[i]), '}')
	}
	dst = append(dst, ']')
	if res.Usage.Total() > 0 {
		dst = append(appendTokens(append(llm.AppendKey(dst, "usage"), '{'), res.Usage), '}')
	}
	return append(dst, '}'), ""
}

func appendPicture(dst []byte, p *picture.Picture) []byte {
	if p.Base64 != nil {
		dst = append(llm.AppendKey(dst, "b64_json"), '"')
		dst = append(append(dst, p.Base64...), '"')
	} else {
		dst = llm.AppendString(llm.AppendKey(dst, "url"), p.URL)
	}
	if p.Revised != "" {
		dst = llm.AppendString(llm.AppendKey(dst, "revised_prompt"), p.Revised)
	}
	return dst
}
