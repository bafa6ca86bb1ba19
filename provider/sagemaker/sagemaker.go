// Package sagemaker knows the endpoints of Amazon SageMaker behind which a server speaks OpenAI's
// chat completions: they are relayed, wrapped in SageMaker's own paths, frames and errors.
package sagemaker

import (
	"bytes"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/provider/bedrock"
	"github.com/conclave-llm/conclave/provider/openai"
)

// Codec is OpenAI's format inside SageMaker's.
type Codec struct{ openai.Codec }

// Path is that of the endpoint, whose name is the model's.
func (Codec) Path(p llm.Place) string {
	path := "/endpoints/" + url.PathEscape(p.Model)
	if p.Stream {
		return path + "/invocations-response-stream"
	}
	return path + "/invocations"
}

// Frames reads the server-sent events out of SageMaker's frames, which split them anywhere.
func (Codec) Frames(_ llm.Endpoint, src io.Reader, most int) llm.EventReader {
	return llm.NewSSEReader(&payloads{frames: bedrock.NewReader(src, most)}, most)
}

// Classify makes the error of an answer. What the server itself answered is wrapped.
func (Codec) Classify(now time.Time, status int, h http.Header, body []byte) *llm.Error {
	if original, said := unwrap(body); original != 0 {
		return openai.Codec{}.Classify(now, original, h, []byte(said))
	}
	if status == http.StatusBadRequest && bytes.Contains(body, []byte("not found")) { // the endpoint
		status = http.StatusNotFound
	}
	return bedrock.Codec{}.Classify(now, status, h, body)
}

// unwrap reads what the server behind the endpoint answered, 0 if the error is SageMaker's own.
func unwrap(body []byte) (status int, said string) {
	c := llm.NewCursor(body)
	for n := 0; c.Member(n); n++ {
		switch string(c.Name()) {
		case "OriginalStatusCode":
			if v, ok := c.Int(); ok && v >= 400 && v < 600 {
				status = int(v)
			}
		case "OriginalMessage":
			said = c.Text()
		default:
			c.Raw()
		}
	}
	if c.End() != nil {
		return 0, ""
	}
	return status, said
}

// payloads is the stream of bytes in the frames.
type payloads struct {
	frames *bedrock.Reader
	rest   []byte
}

// Read implements io.Reader. A frame that tells of a failure ends the stream.
func (p *payloads) Read(b []byte) (int, error) {
	for len(p.rest) == 0 {
		e, err := p.frames.Next()
		if err != nil {
			return 0, err
		}
		if t := string(e.Type); t != "PayloadPart" && t != "" {
			if strings.HasPrefix(string(e.Data), `{"__type"`) {
				return 0, bedrock.Codec{}.Classify(time.Time{}, http.StatusBadGateway, nil, e.Data)
			}
			continue // of a kind that is not known
		}
		p.rest = e.Data
	}
	n := copy(b, p.rest)
	p.rest = p.rest[n:]
	return n, nil
}
