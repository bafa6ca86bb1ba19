// Package triton reads and writes the texts of NVIDIA's Triton Inference Server, as its generate
// extension has them, for models of its backends of TensorRT-LLM and of vLLM, and the embeddings of
// models that it infers, as version 2 of KServe's protocol has tensors.
package triton

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/chat"
	"github.com/conclave-llm/conclave/llm/embed"
	"github.com/conclave-llm/conclave/provider/openai"
	"github.com/conclave-llm/conclave/provider/plain"
)

// generate and infer are the ends of addresses that name their model themselves.
const (
	generate = "/generate"
	infer    = "/infer"
)

// Codec is the server's format.
type Codec struct{ compatible openai.Codec }

// Path is the model's path, or what an address that ends in /generate or in /infer lacks of it.
func (Codec) Path(p llm.Place) string {
	if p.Endpoint == llm.TritonEmbed {
		return embedPath(p)
	}
	path := "/v2/models/" + url.PathEscape(p.Model) + generate
	if strings.HasSuffix(p.Base, generate) {
		path = ""
	}
	if p.Stream {
		path += "_stream"
	}
	return path
}

// Read reads a whole answer, or an event. The server counts no tokens.
func (Codec) Read(e llm.Endpoint, body []byte) (llm.Report, error) {
	if e == llm.TritonEmbed {
		return embed.Report(body, "")
	}
	p, err := read(body)
	if err != nil {
		return llm.Report{}, err
	}
	return p.Report(), nil
}

// Meter is nil: Read reads each event.
func (Codec) Meter(llm.Endpoint) llm.Meter { return nil }

// Frames is nil: streams are server-sent events.
func (Codec) Frames(llm.Endpoint, io.Reader, int) llm.EventReader { return nil }

// Classify makes the error of an answer: {"error":"text"}.
func (c Codec) Classify(now time.Time, status int, h http.Header, body []byte) *llm.Error {
	return c.compatible.Classify(now, status, h, body)
}

// optionBackend says, with "vllm", that the model's parameters stand in an object of their own.
const optionBackend = "triton_backend"

// defaultTokens is what is asked for where the client does not say, because TensorRT-LLM must be told.
const defaultTokens = 1024

// Chat is the dialect.
type Chat struct{}

// EncodeRequest writes a request for the provider.
func (Chat) EncodeRequest(q *chat.Request, t *llm.Target) ([]byte, error) {
	p, err := plain.Ask(q, t, "seed", "top_k")
	if err != nil {
		return nil, err
	}
	dst := llm.AppendString([]byte(`{"text_input":`), p.Text)
	vllm := t.Options[optionBackend] == "vllm"
	most, stop, seed := "max_tokens", "stop_words", "random_seed"
	if vllm {
		stop, seed = "stop", "seed"
		dst = append(llm.AppendKey(dst, "parameters"), '{')
		dst = append(llm.AppendKey(dst, "exclude_input_in_output"), "true"...)
	}
	tokens := q.MaxTokens
	if tokens == 0 {
		tokens = defaultTokens
		if t.MaxOutput > 0 {
			tokens = min(tokens, t.MaxOutput)
		}
	}
	dst = strconv.AppendInt(llm.AppendKey(dst, most), tokens, 10)
	dst = plain.AppendFloat(dst, "temperature", q.Temperature)
	dst = plain.AppendFloat(dst, "top_p", q.TopP)
	dst = plain.AppendInt(dst, "top_k", q.TopK)
	dst = plain.AppendInt(dst, seed, q.Seed)
	dst = plain.AppendTexts(dst, stop, p.Stop)
	dst = strconv.AppendBool(llm.AppendKey(dst, "stream"), q.Stream)
	if vllm {
		dst = append(dst, '}')
	}
	return append(dst, '}'), t.Err()
}

// read reads an answer or an event: {"text_output":"…"}.
func read(body []byte) (*plain.Piece, error) {
	var got struct {
		Text  *string `json:"text_output"`
		Error string  `json:"error"`
	}
	if err := json.Unmarshal(body, &got); err != nil {
		return nil, plain.Malformed(err)
	}
	p := &plain.Piece{Some: got.Text != nil, Fault: got.Error}
	if got.Text != nil {
		p.Text = *got.Text
	}
	return p, nil
}

// DecodeResponse reads a whole answer.
func (Chat) DecodeResponse(body []byte) (*chat.Response, error) {
	p, err := read(body)
	if err != nil {
		return nil, err
	}
	return p.Response()
}

// NewDecoder reads one stream.
func (Chat) NewDecoder() chat.Decoder { return &plain.Decoder{Read: read} }
