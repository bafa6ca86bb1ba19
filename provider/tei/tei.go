// Package tei reads and writes the form of Hugging Face's server of embeddings (Text Embeddings
// Inference), which is also that of the feature extraction of its router.
package tei

import (
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/embed"
	"github.com/conclave-llm/conclave/provider/openai"
)

// MaxInputs is what the server takes at once if it was not told otherwise.
const MaxInputs = 32

// routerHost is where Hugging Face serves models, below a path of each.
const routerHost = "://router.huggingface.co"

// Embed is the form of embeddings.
type Embed struct{}

// Tokens is false: texts are taken alone.
func (Embed) Tokens() bool { return false }

// EncodeRequest writes a request for the provider.
func (Embed) EncodeRequest(req *embed.Request, t *llm.Target) (_ []byte, err error) {
	dst := []byte(`{"inputs":`)
	if dst, err = req.AppendTexts(dst); err != nil {
		return nil, err
	}
	if req.Dimensions > 0 {
		dst = strconv.AppendInt(llm.AppendKey(dst, "dimensions"), req.Dimensions, 10)
	}
	if req.Truncate != nil && req.Member("truncate") == nil {
		dst = strconv.AppendBool(llm.AppendKey(dst, "truncate"), *req.Truncate)
	}
	if req.User != "" {
		t.Drop("user")
	}
	if req.Common() != embed.PurposeUnsaid { // what a purpose is called, the model's own file says: prompt_name
		t.Drop("input_type")
	}
	return append(req.AppendExtra(dst, t, "truncate", "truncation_direction", "normalize", "prompt_name"), '}'), nil
}

// DecodeResponse reads an answer, which is an array of vectors.
func (Embed) DecodeResponse(body []byte) (*embed.Response, error) {
	r := embed.NewReader(body)
	r.Vectors()
	return r.Finish()
}

// Codec is the server's format: its own for embeddings, OpenAI's for conversations.
type Codec struct{ compatible openai.Codec }

// Path is the endpoint's path. Conversations are below /v1, which an address may have at its end.
func (c Codec) Path(p llm.Place) string {
	switch {
	case p.Endpoint == llm.TEIRerank:
		return "/rerank"
	case p.Endpoint != llm.TEIEmbed && strings.HasSuffix(p.Base, "/v1"):
		return c.compatible.Path(p)
	case p.Endpoint != llm.TEIEmbed:
		return "/v1" + c.compatible.Path(p)
	case strings.HasSuffix(p.Base, routerHost):
		return "/hf-inference/models/" + modelPath(p.Model) + "/pipeline/feature-extraction"
	}
	return "/embed"
}

// modelPath is a model's name as part of a path: its owner, a slash, its own.
func modelPath(name string) string {
	const hex = "0123456789ABCDEF"
	b := make([]byte, 0, len(name))
	for i := range len(name) {
		c := name[i]
		plain := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-_.~/", c) >= 0
		if plain {
			b = append(b, c)
		} else {
			b = append(b, '%', hex[c>>4], hex[c&15])
		}
	}
	return strings.ReplaceAll(strings.Trim(string(b), "/"), "..", "%2E%2E")
}

// Read reads a whole answer. The server says in a header, and not in the body, what was used.
func (c Codec) Read(e llm.Endpoint, body []byte) (llm.Report, error) {
	if e != llm.TEIEmbed && e != llm.TEIRerank {
		return c.compatible.Read(e, body)
	}
	return embed.Report(body, "")
}

// Meter reads a stream.
func (c Codec) Meter(e llm.Endpoint) llm.Meter { return c.compatible.Meter(e) }

// Frames splits a stream.
func (c Codec) Frames(e llm.Endpoint, src io.Reader, most int) llm.EventReader {
	return c.compatible.Frames(e, src, most)
}

// Classify makes the error of an answer: {"error":"text","error_type":"Validation"}. That it
// is overloaded the server says with 429, and the router with 503 how many seconds a model takes to
// be loaded.
func (c Codec) Classify(now time.Time, status int, h http.Header, body []byte) *llm.Error {
	e := c.compatible.Classify(now, status, h, body)
	if e.Kind == llm.Unavailable && e.RetryAfter == 0 {
		e.RetryAfter = loading(body)
	}
	return e
}

// longestLoad bounds what is believed of the time that a model takes to be loaded.
const longestLoad = 10 * time.Minute

// loading reads {"estimated_time":20.0}.
func loading(body []byte) (wait time.Duration) {
	c := llm.NewCursor(body)
	for n := 0; c.Member(n); n++ {
		if string(c.Name()) != "estimated_time" {
			c.Raw()
		} else if s, ok := c.Float(); ok && s > 0 {
			wait = time.Duration(min(s, longestLoad.Seconds()) * float64(time.Second))
		}
	}
	if c.End() != nil {
		return 0
	}
	return wait
}
