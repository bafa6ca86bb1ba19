package ollama

import (
	"strconv"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/embed"
)

// Embed is Ollama's embeddings.
type Embed struct{}

// Tokens is false: Ollama takes texts.
func (Embed) Tokens() bool { return false }

// EncodeRequest writes a request for the provider.
func (Embed) EncodeRequest(req *embed.Request, t *llm.Target) (_ []byte, err error) {
	dst := llm.AppendString([]byte(`{"model":`), req.Model)
	if dst, err = req.AppendTexts(llm.AppendKey(dst, "input")); err != nil {
		return nil, err
	}
	if req.Dimensions > 0 {
		dst = strconv.AppendInt(llm.AppendKey(dst, "dimensions"), req.Dimensions, 10)
	}
	if req.Truncate != nil && req.Member("truncate") == nil {
		dst = strconv.AppendBool(llm.AppendKey(dst, "truncate"), *req.Truncate)
	}
	if req.User != "" && t.Drop("user") {
		dst = llm.AppendString(llm.AppendKey(dst, "user"), req.User)
	}
	if req.Common() != embed.PurposeUnsaid {
		t.Drop("input_type")
	}
	return append(req.AppendExtra(dst, t, "truncate", "options", "keep_alive"), '}'), nil
}

// DecodeResponse reads an answer.
func (Embed) DecodeResponse(body []byte) (*embed.Response, error) {
	r := embed.NewReader(body)
	r.Members(func(name string) {
		switch name {
		case "model":
			r.Res.Model = r.Text()
		case "embeddings":
			r.Vectors()
		case "prompt_eval_count":
			r.Used()
		default:
			r.Raw()
		}
	})
	return r.Finish()
}
