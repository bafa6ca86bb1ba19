// Package deepinfra knows DeepInfra: OpenAI's format, and a form of its own for rerankings.
package deepinfra

import (
	"errors"
	"strings"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/embed"
	"github.com/conclave-llm/conclave/llm/rerank"
	"github.com/conclave-llm/conclave/provider/openai"
)

// RootOf is the address of an endpoint: what has a form of its own is beside OpenAI's paths, and not
// below them.
func RootOf(e llm.Endpoint, base string) string {
	if e == llm.DeepInfraRank {
		return strings.TrimSuffix(base, "/openai")
	}
	return base
}

// Codec is DeepInfra's format.
type Codec struct{ openai.Codec }

// Path is the endpoint's path, in which the model stands for rerankings.
func (c Codec) Path(p llm.Place) string {
	if p.Endpoint != llm.DeepInfraRank {
		return c.Codec.Path(p)
	}
	return "/inference" + llm.ModelPath(p.Model)
}

// Read reads a whole answer.
func (c Codec) Read(e llm.Endpoint, body []byte) (llm.Report, error) {
	if e == llm.DeepInfraRank {
		return embed.Report(body, "input_tokens")
	}
	return c.Codec.Read(e, body)
}

// Rerank is the form of rerankings.
type Rerank struct{}

// EncodeRequest writes a request for the provider, which wants the query once for each document.
func (Rerank) EncodeRequest(req *rerank.Request, t *llm.Target) ([]byte, error) {
	dst := []byte(`{"queries":[`)
	for range req.Documents {
		dst = llm.AppendString(llm.AppendComma(dst), req.Query)
	}
	dst = req.AppendTexts(llm.AppendKey(append(dst, ']'), "documents"), "")
	if req.MaxTokens > 0 {
		t.Drop("max_tokens_per_doc")
	}
	return append(req.AppendExtra(dst, t, "instruction", "service_tier"), '}'), nil
}

var errScore = errors.New("a score is no number")

// DecodeResponse reads an answer: the scores in the order of the documents.
func (Rerank) DecodeResponse(body []byte) (*rerank.Response, error) {
	r := rerank.NewReader(body)
	r.Members(func(name string) {
		switch name {
		case "request_id":
			r.Res.ID = r.Text()
		case "scores":
			for i := 0; r.Element(i); i++ {
				score, ok := r.Float()
				if !ok {
					r.Fail(errScore)
				}
				r.Add(rerank.Result{Index: i, Score: score})
			}
		default:
			r.Raw()
		}
	})
	return r.Finish()
}
