package provider

import (
	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/decision"
	"github.com/conclave-llm/conclave/provider/openai/decisions"
	"github.com/conclave-llm/conclave/provider/typesafe"
)

// DecisionInbound is the client's half of a dialect of decisions. It does no I/O, and its methods may be
// called concurrently.
type DecisionInbound interface {
	// DecodeRequest reads a request's body. Errors are *llm.Error of kind Invalid that name the field. A
	// request has a question at least.
	DecodeRequest(body []byte) (*decision.Request, error)
	// EncodeResponse writes the answer, which has one to each question of the request.
	EncodeResponse(req *decision.Request, res *decision.Response) ([]byte, error)
}

// DecisionOutbound is the provider's half of a dialect of decisions. It does no I/O, and its methods may
// be called concurrently.
type DecisionOutbound interface {
	// EncodeRequest writes a request's body. It must not change the request.
	EncodeRequest(req *decision.Request, t *llm.Target) ([]byte, error)
	// DecodeResponse reads an answer to the request. Errors are *llm.Error of kind Upstream.
	DecodeResponse(req *decision.Request, body []byte) (*decision.Response, error)
}

// decisionRows are vendors, and servers of one's own, of models that decide.
var decisionRows = []Provider{
	{Name: "typesafe", Base: "https://api.typesafe.ai", KeyVars: []string{"TYPESAFE_API_KEY"}, BaseVars: []string{"TYPESAFE_API_BASE"}, Endpoints: systemOne, Codec: typesafe.Codec{}},
	{Name: "nace", Base: "https://console.nace.ai", KeyVars: []string{"NACE_API_KEY"}, BaseVars: []string{"NACE_API_BASE"}, Endpoints: systemOne, Codec: typesafe.Codec{}},
	{Name: "eu_jev", Base: "https://eu-jev.com", KeyVars: []string{"EU_JEV_API_KEY"}, BaseVars: []string{"EU_JEV_API_BASE"}, Endpoints: systemOne, Codec: typesafe.Codec{}},
	{Name: "laya", KeyVars: []string{"LAYA_API_KEY"}, BaseVars: []string{"LAYA_API_BASE"}, Endpoints: []llm.Endpoint{llm.SystemOne, llm.Extraction}, Codec: typesafe.Codec{}},
	{Name: "bespoke", KeyVars: []string{"BESPOKE_API_KEY"}, BaseVars: []string{"BESPOKE_API_BASE"}, Endpoints: []llm.Endpoint{llm.SystemOne, llm.Extraction}, Codec: typesafe.Codec{}},
	{
		Name: typesafe.RowStrands, BaseOf: typesafe.RuntimeBase, KeyVars: []string{"STRANDS_DECIDER_API_KEY"}, BaseVars: []string{"STRANDS_DECIDER_API_BASE"},
		Auth: RuntimeSigV4, Endpoints: systemOne, Codec: typesafe.Codec{}, Header: typesafe.RuntimeHeader,
	},
}

var systemOne = []llm.Endpoint{llm.SystemOne}

// decisionInbound are the dialects of decisions that clients speak, and decisionOutbound those of
// providers.
var (
	decisionInbound = map[llm.Endpoint]DecisionInbound{
		llm.Decisions: decisions.Format{},
		llm.SystemOne: typesafe.SystemOne{},
	}
	decisionOutbound = map[llm.Endpoint]DecisionOutbound{
		llm.Decisions: decisions.Format{},
		llm.SystemOne: typesafe.SystemOne{},
	}
)

// DecisionInboundOf is the client's half of an endpoint's dialect.
func DecisionInboundOf(e llm.Endpoint) (DecisionInbound, bool) {
	f, ok := decisionInbound[e]
	return f, ok
}

// DecisionOutboundOf is the provider's half of an endpoint's dialect.
func DecisionOutboundOf(e llm.Endpoint) (DecisionOutbound, bool) {
	f, ok := decisionOutbound[e]
	return f, ok
}
