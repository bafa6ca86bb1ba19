package provider

import (
	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/chat"
	"github.com/conclave-llm/conclave/provider/bedrock"
)

// CountOutbound is the provider's half of a dialect in which the tokens of a request are counted. It does no I/O,
// and its methods may be called concurrently.
type CountOutbound interface {
	// EncodeRequest writes a request's body. It must not change the request.
	EncodeRequest(q *chat.Request, t *llm.Target) ([]byte, error)
	// DecodeResponse reads how many tokens there are. Errors are *llm.Error of kind Upstream.
	DecodeResponse(body []byte) (tokens int64, err error)
}

// countOutbound are the dialects of providers beside those that clients speak, and counted is whose requests those
// of a client's endpoint are that are counted.
var (
	countOutbound = map[llm.Endpoint]CountOutbound{
		llm.BedrockCount: bedrock.Count{},
	}
	counted = map[llm.Endpoint]llm.Endpoint{
		llm.CountTokens: llm.Messages, llm.CountContent: llm.GenerateContent, llm.InputTokens: llm.Responses,
	}
)

// CountOutboundOf is the provider's half of an endpoint's dialect.
func CountOutboundOf(e llm.Endpoint) (CountOutbound, bool) {
	f, ok := countOutbound[e]
	return f, ok
}

// CountInboundOf is the client's half of the dialect whose requests are counted at an endpoint.
func CountInboundOf(e llm.Endpoint) (Inbound, bool) {
	if _, ok := counted[e]; !ok {
		return nil, false
	}
	return InboundOf(counted[e])
}
