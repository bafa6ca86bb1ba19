package provider

import (
	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/rerank"
	bedrockrerank "github.com/conclave-llm/conclave/provider/bedrock/rerank"
	coherererank "github.com/conclave-llm/conclave/provider/cohere/rerank"
	"github.com/conclave-llm/conclave/provider/deepinfra"
	"github.com/conclave-llm/conclave/provider/nvidia"
	"github.com/conclave-llm/conclave/provider/tei"
	"github.com/conclave-llm/conclave/provider/vertex"
	"github.com/conclave-llm/conclave/provider/watsonx"
)

// RerankInbound is the client's half of a dialect of rerankings. It does no I/O, and its methods
// may be called concurrently.
type RerankInbound interface {
	// DecodeRequest reads a request's body. Errors are *llm.Error of kind Invalid that name the
	// field. A request has a query and a document at least.
	DecodeRequest(body []byte) (*rerank.Request, error)
	// EncodeResponse writes the answer, which was arranged for the request.
	EncodeResponse(req *rerank.Request, res *rerank.Response) ([]byte, error)
}

// RerankOutbound is the provider's half of a dialect of rerankings. It does no I/O, and its methods
// may be called concurrently.
type RerankOutbound interface {
	// EncodeRequest writes a request's body. It must not change the request.
	EncodeRequest(req *rerank.Request, t *llm.Target) ([]byte, error)
	// DecodeResponse reads an answer, whose results may stand in any order. Errors are *llm.Error of
	// kind Upstream.
	DecodeResponse(body []byte) (*rerank.Response, error)
}

// rerankInbound are the dialects of rerankings that clients speak, and rerankOutbound those of
// providers.
var (
	rerankInbound  = map[llm.Endpoint]RerankInbound{llm.Rerank: coherererank.Cohere}
	rerankOutbound = map[llm.Endpoint]RerankOutbound{
		llm.Rerank:          coherererank.Cohere,
		llm.VoyageRerank:    coherererank.Voyage,
		llm.FireworksRerank: coherererank.Fireworks,
		llm.TEIRerank:       tei.Rerank{},
		llm.WatsonxRerank:   watsonx.Rerank{},
		llm.BedrockRerank:   bedrockrerank.Format{},
		llm.VertexRank:      vertex.Rank{},
		llm.NvidiaRank:      nvidia.Rerank{},
		llm.DeepInfraRank:   deepinfra.Rerank{},
	}
)

// RerankInboundOf is the client's half of an endpoint's dialect.
func RerankInboundOf(e llm.Endpoint) (RerankInbound, bool) {
	f, ok := rerankInbound[e]
	return f, ok
}

// RerankOutboundOf is the provider's half of an endpoint's dialect.
func RerankOutboundOf(e llm.Endpoint) (RerankOutbound, bool) {
	f, ok := rerankOutbound[e]
	return f, ok
}
