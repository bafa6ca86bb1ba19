// Package runway reads and writes the pictures and the speech of Runway's API, version 2024-11-06, pictures
// partly from memory of its reference, speech by the types of its SDK for Python (2026), and not tried at Runway:
// one is ordered, and its task asked for until it is finished. What comes is an address that holds for some hours.
// Of a picture it is the answer; sound is fetched from it.
package runway

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/embed"
	"github.com/conclave-llm/conclave/llm/picture"
	"github.com/conclave-llm/conclave/provider/openai"
)

// Header says which version of the API is meant.
var Header = map[string]string{"X-Runway-Version": "2024-11-06"}

// Codec is Runway's format.
type Codec struct{ compatible openai.Codec }

// Path is where pictures or speech are ordered.
func (Codec) Path(p llm.Place) string {
	if p.Endpoint == llm.RunwaySpeak {
		return "/v1/text_to_speech"
	}
	return "/v1/text_to_image"
}

// Read reads a whole answer, which says what it used where it is translated.
func (Codec) Read(_ llm.Endpoint, body []byte) (llm.Report, error) { return embed.Report(body, "") }

// Meter is nil: nothing is streamed.
func (Codec) Meter(llm.Endpoint) llm.Meter { return nil }

// Frames is nil, likewise.
func (Codec) Frames(llm.Endpoint, io.Reader, int) llm.EventReader { return nil }

// Classify makes the error of an answer: {"error":"text"}.
func (c Codec) Classify(now time.Time, status int, h http.Header, body []byte) *llm.Error {
	return c.compatible.Classify(now, status, h, body)
}

// Format is the form of pictures.
type Format struct{}

// options are the further members that are taken, and ratios the shapes that a picture may have, the
// first if the client does not say.
var (
	options = []string{"seed", "contentModeration", "ratio"}
	ratios  = []string{"1024:1024", "1920:1080", "1080:1920", "1360:768", "1168:880", "1440:1080", "1080:1440", "1808:768", "2112:912"}
)

// maxInputs is how many pictures a prompt may refer to.
const maxInputs = 3

// EncodeRequest writes an order. Pictures that are to be changed are what the prompt refers to.
func (Format) EncodeRequest(req *picture.Request, t *llm.Target) (*llm.Sent, error) {
	if req.Count() > 1 {
		return nil, llm.Unsayable("n", "The model's provider makes one picture at a time.")
	}
	if len(req.Inputs) > maxInputs {
		return nil, llm.Unsayable("image", "The model's provider takes three pictures at most.")
	}
	dst := llm.AppendString([]byte(`{"model":`), t.Model)
	dst = llm.AppendString(llm.AppendKey(dst, "promptText"), req.Prompt)
	shaped := false
	for _, m := range req.Extra {
		shaped = shaped || m.Name == "ratio"
	}
	if !shaped {
		ratio := req.Aspect(ratios...)
		if ratio == "" {
			ratio = ratios[0]
		}
		dst = llm.AppendString(llm.AppendKey(dst, "ratio"), ratio)
	}
	for i := range req.Inputs {
		if i == 0 {
			dst = append(llm.AppendKey(dst, "referenceImages"), '[')
		}
		dst = append(req.Inputs[i].AppendURL(append(llm.AppendComma(dst), `{"uri":`...)), '}')
	}
	if len(req.Inputs) > 0 {
		dst = append(dst, ']')
	}
	req.DropMask(t)
	dst = req.AppendKnown(dst, options...)
	lacks := []string{"quality", "background", "output_format"}
	if req.Answer == "b64_json" {
		lacks = append(lacks, "response_format")
	}
	req.Drop(t, options, lacks...)
	return &llm.Sent{Body: append(dst, '}')}, nil
}

// task is an order, or what became of it.
type task struct {
	ID      string   `json:"id"`
	Status  string   `json:"status"`
	Output  []string `json:"output"`
	Failure string   `json:"failure"`
	Code    string   `json:"failureCode"`
}

// pause is how long is waited between two questions: the vendor asks for no less.
const pause = 5 * time.Second

// Follow asks for a task that is not finished; nil: the body is the answer.
func (Format) Follow(body []byte) (*llm.Step, error) {
	var got task
	if err := json.Unmarshal(body, &got); err != nil {
		return nil, picture.Malformed(err)
	}
	if got.ended() || got.ID == "" {
		return nil, nil
	}
	return got.again(), nil
}

// ended says whether the task goes on no more. One that was only ordered has no status.
func (t *task) ended() bool {
	switch t.Status {
	case "SUCCEEDED", "FAILED", "CANCELLED", "CANCELED":
		return true
	}
	return false
}

// again is the next question for the task.
func (t *task) again() *llm.Step {
	path := "/v1/tasks/" + url.PathEscape(t.ID)
	return &llm.Step{Method: http.MethodGet, Path: path, Wait: pause, Cancel: path, CancelMethod: http.MethodDelete}
}

// failed says whether an ended task made nothing, and refused whether the vendor's rules are why.
func (t *task) failed() bool  { return t.ended() && t.Status != "SUCCEEDED" }
func (t *task) refused() bool { return t.failed() && strings.HasPrefix(t.Code, safety) }

// safety is how the codes of tasks begin that the vendor's rules do not allow.
const safety = "SAFETY"

// DecodeResponse reads what became of a task.
func (Format) DecodeResponse(body []byte) (*picture.Response, error) {
	var got task
	if err := json.Unmarshal(body, &got); err != nil {
		return nil, picture.Malformed(err)
	}
	switch {
	case got.refused():
		return nil, picture.Filtered(got.Failure)
	case got.failed():
		return nil, &llm.Error{Kind: llm.Upstream, Code: "upstream_error", Message: "The provider could not make the picture: " + got.Failure}
	}
	res := new(picture.Response)
	for _, address := range got.Output {
		res.Pictures = append(res.Pictures, picture.Picture{URL: address})
	}
	return res.Counted()
}
