// Package nvidia knows NVIDIA's services: OpenAI's format for conversations, and a form of their own
// for rerankings, hosted and in the containers (NIM) that one runs oneself.
package nvidia

import (
	"strings"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/rerank"
	"github.com/conclave-llm/conclave/provider/openai"
)

// Where conversations and rerankings are hosted.
const (
	Base         = "https://integrate.api.nvidia.com/v1"
	rankingsBase = "https://ai.api.nvidia.com/v1"
)

// RootOf is the address of an endpoint: NVIDIA hosts rerankings at another than conversations.
func RootOf(e llm.Endpoint, base string) string {
	if e == llm.NvidiaRank && base == Base {
		return rankingsBase
	}
	return base
}

// Codec is NVIDIA's format.
type Codec struct{ openai.Codec }

// Path is the endpoint's path. Hosted rerankings name the model in it, with underscores for dots.
func (c Codec) Path(p llm.Place) string {
	switch {
	case p.Endpoint != llm.NvidiaRank:
		return c.Codec.Path(p)
	case p.Base != rankingsBase:
		return "/ranking"
	}
	return "/retrieval" + llm.ModelPath(strings.ReplaceAll(p.Model, ".", "_")) + "/reranking"
}

// Rerank is the form of rerankings.
type Rerank struct{}

// EncodeRequest writes a request for the provider. The body's name of a model has dots where the
// path's has underscores.
func (Rerank) EncodeRequest(req *rerank.Request, t *llm.Target) ([]byte, error) {
	dst := llm.AppendString([]byte(`{"model":`), strings.ReplaceAll(t.Model, "_", "."))
	dst = append(llm.AppendString(append(llm.AppendKey(dst, "query"), `{"text":`...), req.Query), '}')
	dst = req.AppendTexts(llm.AppendKey(dst, "passages"), "text")
	if req.MaxTokens > 0 {
		t.Drop("max_tokens_per_doc")
	}
	return append(req.AppendExtra(dst, t, "truncate"), '}'), nil
}

// DecodeResponse reads an answer, whose scores are logits.
func (Rerank) DecodeResponse(body []byte) (*rerank.Response, error) {
	r := rerank.NewReader(body)
	r.Members(func(name string) {
		if name == "rankings" {
			r.Each("index", "logit")
		} else {
			r.Raw()
		}
	})
	return r.Finish()
}
