package watsonx

import (
	"encoding/json"
	"errors"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/multipart"
	"github.com/conclave-llm/conclave/llm/transcript"
)

// Listen is the form of transcriptions: OpenAI's, with a field that says who pays.
type Listen struct{}

// EncodeRequest writes a form.
func (Listen) EncodeRequest(req *transcript.Request, t *llm.Target) (*llm.Sent, error) {
	f := multipart.New()
	f.Field("model", t.Model)
	switch project, space := t.Options["project_id"], t.Options["space_id"]; {
	case project != "":
		f.Field("project_id", project)
	case space != "":
		f.Field("space_id", space)
	default:
		return nil, noPayer()
	}
	for _, v := range []struct{ name, value string }{
		{"language", req.Language},
		{"prompt", req.Prompt},
		{"temperature", req.Temperature},
		{"response_format", detail},
	} {
		if v.value != "" {
			f.Field(v.name, v.value)
		}
	}
	if req.Words {
		f.Field("timestamp_granularities[]", "word")
		f.Field("timestamp_granularities[]", "segment")
	}
	req.Texts(t) // knows none of them
	f.File("file", req.Name, req.Type, req.File)
	return &llm.Sent{Pieces: f.Pieces(), Type: f.Type()}, nil
}

// detail is the form of answers that has all that clients may want.
const detail = "verbose_json"

var errNoText = errors.New("it has no text")

// DecodeResponse reads an answer.
func (Listen) DecodeResponse(body []byte) (*transcript.Response, error) {
	var got struct {
		Text     *string `json:"text"`
		Language string  `json:"language"`
		Duration float64 `json:"duration"`
		Words    []struct {
			Word  string  `json:"word"`
			Start float64 `json:"start"`
			End   float64 `json:"end"`
		} `json:"words"`
		Segments []transcript.Segment `json:"segments"`
	}
	if err := json.Unmarshal(body, &got); err != nil {
		return nil, transcript.Malformed(err)
	}
	if got.Text == nil {
		return nil, transcript.Malformed(errNoText)
	}
	res := &transcript.Response{Text: *got.Text, Language: got.Language, Segments: got.Segments}
	res.Heard(got.Duration)
	for _, w := range got.Words {
		res.Words = append(res.Words, transcript.Word{Text: w.Word, Start: w.Start, End: w.End})
	}
	return res, nil
}
