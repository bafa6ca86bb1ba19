// Package rerank reads and writes the rerankings of Amazon Bedrock, which one operation has for the
// models of Amazon and of Cohere. Its form is that of Rerank in the API reference of Bedrock's agents.
package rerank

import (
	"errors"
	"strconv"
	"strings"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/rerank"
)

// Format is the operation.
type Format struct{}

// maxSources is how many documents one request may have.
const maxSources = 1000

// EncodeRequest writes a request for the provider.
func (Format) EncodeRequest(req *rerank.Request, t *llm.Target) ([]byte, error) {
	if len(req.Documents) > maxSources {
		return nil, llm.Unsayable("documents", "The model's provider takes no more than "+strconv.Itoa(maxSources)+" documents.")
	}
	dst := llm.AppendString([]byte(`{"queries":[{"type":"TEXT","textQuery":{"text":`), req.Query)
	dst = append(dst, `}}],"sources":[`...)
	for i := range req.Documents {
		dst = append(llm.AppendComma(dst), `{"type":"INLINE","inlineDocumentSource":{"type":`...)
		if d := &req.Documents[i]; d.Raw != nil {
			dst = llm.AppendRaw(append(dst, `"JSON","jsonDocument":`...), d.Raw)
		} else {
			dst = append(llm.AppendString(append(dst, `"TEXT","textDocument":{"text":`...), d.Text), '}')
		}
		dst = append(dst, '}', '}')
	}
	model := llm.AppendString([]byte(`{"modelArn":`), ARN(t.Model, t.Options["region"]))
	if req.MaxTokens > 0 {
		if strings.Contains(t.Model, "cohere.") {
			model = strconv.AppendInt(append(model, `,"additionalModelRequestFields":{"max_tokens_per_doc":`...), req.MaxTokens, 10)
			model = append(model, '}')
		} else {
			t.Drop("max_tokens_per_doc")
		}
	}
	dst = append(dst, `],"rerankingConfiguration":{"type":"BEDROCK_RERANKING_MODEL","bedrockRerankingConfiguration":{"numberOfResults":`...)
	want := int64(len(req.Documents))
	if req.TopN > 0 {
		want = min(want, req.TopN)
	}
	dst = strconv.AppendInt(dst, want, 10)
	dst = append(append(dst, `,"modelConfiguration":`...), model...)
	return append(req.AppendExtra(append(dst, '}', '}', '}'), t), '}'), nil
}

// ARN is the name of a model as the operation wants it.
func ARN(model, region string) string {
	if strings.HasPrefix(model, "arn:") {
		return model
	}
	partition := "aws"
	switch {
	case strings.HasPrefix(region, "cn-"):
		partition = "aws-cn"
	case strings.HasPrefix(region, "us-gov-"):
		partition = "aws-us-gov"
	}
	return "arn:" + partition + ":bedrock:" + region + "::foundation-model/" + model
}

var errPages = errors.New("it has more than one page")

// DecodeResponse reads an answer.
func (Format) DecodeResponse(body []byte) (*rerank.Response, error) {
	r := rerank.NewReader(body)
	r.Members(func(name string) {
		switch name {
		case "results":
			r.Each("index", "relevanceScore")
		case "nextToken":
			if r.Text() != "" {
				r.Fail(errPages)
			}
		default:
			r.Raw()
		}
	})
	return r.Finish()
}
