package watsonx

import (
	"strconv"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/rerank"
)

// Rerank is the dialect of rerankings.
type Rerank struct{}

// EncodeRequest writes a request for the provider.
func (Rerank) EncodeRequest(req *rerank.Request, t *llm.Target) ([]byte, error) {
	dst, err := appendHead(nil, t)
	if err != nil {
		return nil, err
	}
	dst = llm.AppendString(llm.AppendKey(dst, "query"), req.Query)
	dst = req.AppendTexts(llm.AppendKey(dst, "inputs"), "text")
	if req.Member("parameters") == nil && (req.TopN > 0 || req.MaxTokens > 0) {
		dst = append(llm.AppendKey(dst, "parameters"), '{')
		if req.MaxTokens > 0 {
			dst = strconv.AppendInt(llm.AppendKey(dst, "truncate_input_tokens"), req.MaxTokens, 10)
		}
		if req.TopN > 0 {
			dst = strconv.AppendInt(append(llm.AppendKey(dst, "return_options"), `{"top_n":`...), req.TopN, 10)
			dst = append(dst, '}')
		}
		dst = append(dst, '}')
	}
	return append(req.AppendExtra(dst, t, "parameters"), '}'), nil
}

// DecodeResponse reads an answer.
func (Rerank) DecodeResponse(body []byte) (*rerank.Response, error) {
	r := rerank.NewReader(body)
	r.Members(func(name string) {
		if name == "results" {
			r.Each("index", "score")
		} else {
			r.Raw()
		}
	})
	return r.Finish()
}
