package vertex

import (
	"errors"
	"strconv"
	"strings"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/embed"
	"github.com/conclave-llm/conclave/provider/gemini/embeddings"
)

// maxInstances is how many texts the older models take at once. Those called gemini take one.
const maxInstances = 250

// MaxBatch is how many texts a model takes at once.
func MaxBatch(model string, _ map[string]string) int {
	name := model[strings.LastIndexByte(model, '/')+1:]
	if strings.HasPrefix(name, "gemini") || multimodal(name) {
		return 1
	}
	return maxInstances
}

// multimodal says whether a model is of those whose instances have other names.
func multimodal(model string) bool { return strings.Contains(model, "multimodalembedding") }

// Embed is Vertex's predict of the models that make embeddings.
type Embed struct{}

// Tokens is false: Vertex takes texts.
func (Embed) Tokens() bool { return false }

// EncodeRequest writes a request for the provider.
func (Embed) EncodeRequest(req *embed.Request, t *llm.Target) ([]byte, error) {
	content, size := "content", "outputDimensionality"
	if multimodal(req.Model) {
		content, size = "text", "dimension"
	}
	dst := []byte(`{"instances":[`)
	for i := range req.Inputs {
		in := &req.Inputs[i]
		if err := in.OnlyText(i); err != nil {
			return nil, err
		}
		dst = append(llm.AppendComma(dst), '{')
		dst = llm.AppendString(llm.AppendKey(dst, content), in.Text)
		if word := embeddings.Purposes.Of(req.PurposeOf(in), t); word != "" {
			dst = llm.AppendString(llm.AppendKey(dst, "task_type"), word)
		}
		if in.Title != "" {
			dst = llm.AppendString(llm.AppendKey(dst, "title"), in.Title)
		}
		dst = append(dst, '}')
	}
	dst = append(dst, `],"parameters":{`...)
	if req.Dimensions > 0 {
		dst = strconv.AppendInt(llm.AppendKey(dst, size), req.Dimensions, 10)
	}
	if req.Truncate != nil && req.Member("autoTruncate") == nil {
		dst = strconv.AppendBool(llm.AppendKey(dst, "autoTruncate"), *req.Truncate)
	}
	if req.User != "" {
		t.Drop("user")
	}
	return append(req.AppendExtra(dst, t, "autoTruncate"), "}}"...), nil
}

var errPrediction = errors.New("a prediction has no embeddings")

// DecodeResponse reads an answer.
func (Embed) DecodeResponse(body []byte) (*embed.Response, error) {
	r := embed.NewReader(body)
	r.Members(func(name string) {
		if name != "predictions" {
			r.Raw()
			return
		}
		r.Each(func(name string) {
			switch name {
			case "embeddings":
				if r.Next() != '{' {
					r.Fail(errPrediction)
				}
				r.Members(func(name string) { prediction(r, name) })
			case "textEmbedding":
				r.Vector()
			default:
				r.Raw()
			}
		})
	})
	return r.Finish()
}

func prediction(r *embed.Reader, name string) {
	switch name {
	case "values":
		r.Vector()
	case "statistics":
		r.Members(func(name string) {
			if name == "token_count" {
				r.Used()
			} else {
				r.Raw()
			}
		})
	default:
		r.Raw()
	}
}
