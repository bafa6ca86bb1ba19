package tei

import (
	"strconv"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/rerank"
)

// Rerank is the server's form of rerankings.
type Rerank struct{}

// EncodeRequest writes a request for the provider. All documents are scored: the gateway takes the
// best.
func (Rerank) EncodeRequest(req *rerank.Request, t *llm.Target) ([]byte, error) {
	dst := llm.AppendString([]byte(`{"query":`), req.Query)
	dst = req.AppendTexts(llm.AppendKey(dst, "texts"), "")
	if req.MaxTokens > 0 { // the model's own limit is the only one that it can cut at
		t.Drop("max_tokens_per_doc")
		if req.Member("truncate") == nil {
			dst = strconv.AppendBool(llm.AppendKey(dst, "truncate"), true)
		}
	}
	return append(req.AppendExtra(dst, t, "truncate", "truncation_direction", "raw_scores"), '}'), nil
}

// DecodeResponse reads an answer, which is an array of results.
func (Rerank) DecodeResponse(body []byte) (*rerank.Response, error) {
	r := rerank.NewReader(body)
	r.Each("index", "score")
	return r.Finish()
}
