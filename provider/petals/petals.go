// Package petals reads and writes the texts of Petals' chat server (chat.petals.dev and one's own), as its README
// and its source have POST /api/v1/generate: a form, and an answer in JSON. The server's WebSockets, which stream,
// are not asked: one streams as one answer.
package petals

import (
	"encoding/json"
	"net/url"
	"strconv"
	"strings"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/chat"
	"github.com/conclave-llm/conclave/provider/plain"
)

// Header is the content type of requests.
var Header = map[string]string{"Content-Type": "application/x-www-form-urlencoded"}

// Format is the server's dialect, both its codec and its half that writes requests.
type Format struct{ plain.Codec }

// New makes the format.
func New() Format { return Format{plain.Codec{Reader: read}} }

// generate is where texts are made.
const generate = "/api/v1/generate"

// Path is the endpoint's. A base may be the endpoint itself, as LiteLLM takes it.
func (Format) Path(p llm.Place) string {
	if strings.HasSuffix(p.Base, generate) {
		return ""
	}
	return generate
}

// defaultTokens is what is asked for where nobody says: the server wants a limit named.
const defaultTokens = 256

// EncodeRequest writes a request for the provider. The server draws lots only if it is told to.
func (Format) EncodeRequest(q *chat.Request, t *llm.Target) ([]byte, error) {
	p, err := plain.Ask(q, t, "top_k", "repetition_penalty")
	if err != nil {
		return nil, err
	}
	if len(q.Stop) > 0 {
		t.Drop("stop")
	}
	most := q.MaxTokens
	if most == 0 {
		most = plain.Most(t, defaultTokens)
	}
	form := url.Values{"model": {t.Model}, "inputs": {p.Text}, "max_new_tokens": {strconv.FormatInt(most, 10)}}
	if q.Temperature != nil && *q.Temperature > 0 || q.TopP != nil || q.TopK != nil {
		form.Set("do_sample", "1")
		setFloat(form, "temperature", q.Temperature)
		setFloat(form, "top_p", q.TopP)
		if q.TopK != nil {
			form.Set("top_k", strconv.FormatInt(*q.TopK, 10))
		}
	}
	if v, ok := q.Extra["repetition_penalty"]; ok {
		form.Set("repetition_penalty", string(v))
	}
	return []byte(form.Encode()), t.Err()
}

func setFloat(form url.Values, name string, v *float64) {
	if v != nil {
		form.Set(name, strconv.FormatFloat(*v, 'g', -1, 64))
	}
}

// read reads an answer: {"ok":true,"outputs":"text"} or {"ok":false,"traceback":"…"}, of which the last line says
// what went wrong.
func read(body []byte) (*plain.Piece, error) {
	var got struct {
		OK        *bool   `json:"ok"`
		Outputs   *string `json:"outputs"`
		Traceback string  `json:"traceback"`
	}
	if err := json.Unmarshal(body, &got); err != nil {
		return nil, plain.Malformed(err)
	}
	p := &plain.Piece{}
	if got.OK != nil && !*got.OK {
		lines := strings.Split(strings.TrimSpace(got.Traceback), "\n")
		if p.Fault = strings.TrimSpace(lines[len(lines)-1]); p.Fault == "" {
			p.Fault = "The provider could not make the text."
		}
		return p, nil
	}
	if got.Outputs != nil {
		p.Some, p.Text, p.Finish = true, *got.Outputs, chat.FinishStop
	}
	return p, nil
}
