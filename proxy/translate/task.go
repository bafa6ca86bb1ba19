package translate

import (
	"net/http"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/rerank"
	"github.com/conclave-llm/conclave/provider"
)

// Task is a request that neither talks nor asks for vectors, read once and written for each
// deployment that is tried.
type Task interface {
	// Write writes the request for a provider's endpoint.
	Write(at llm.Endpoint, t *llm.Target) (*Sent, error)
	// Answer says the provider's answer in the client's dialect.
	Answer(at llm.Endpoint, a *Given) (*Said, error)
}

// Sent is a request as a provider wants it.
type Sent struct {
	Body []byte
}

// Given is a provider's answer, which came whole, and what is known of it beside its bytes.
type Given struct {
	ID     string // of the exchange, for answers that have none of their own
	Header http.Header
	Body   []byte
	Usage  llm.Usage // what was used, as far as it is known or can be told
}

// Said is an answer as the client wants it.
type Said struct {
	Body []byte
	Type string // its content type; "": JSON
}

// Tasks says whether requests of an endpoint of clients are tasks.
func Tasks(e llm.Endpoint) bool { return e.Family() == llm.FamilyRanking }

// ReadTask reads the body of a client's request. Errors are *llm.Error of kind Invalid.
func ReadTask(e llm.Endpoint, body []byte) (Task, error) {
	in, _ := provider.RerankInboundOf(e) // Tasks says so
	req, err := in.DecodeRequest(body)
	if err != nil {
		return nil, err
	}
	return &ranking{in: in, req: req}, nil
}

// ranking is a request for a reranking.
type ranking struct {
	in  provider.RerankInbound
	req *rerank.Request
}

// Write implements Task.
func (r *ranking) Write(at llm.Endpoint, t *llm.Target) (*Sent, error) {
	out, _ := provider.RerankOutboundOf(at)
	body, err := out.EncodeRequest(r.req, t)
	if err != nil {
		return nil, err
	}
	return &Sent{Body: body}, t.Err()
}

// Answer implements Task.
func (r *ranking) Answer(at llm.Endpoint, a *Given) (*Said, error) {
	out, _ := provider.RerankOutboundOf(at)
	res, err := out.DecodeResponse(a.Body)
	if err != nil {
		return nil, err
	}
	if err := res.Arrange(r.req); err != nil {
		return nil, err
	}
	if res.ID == "" {
		res.ID = a.ID
	}
	res.Usage = a.Usage
	body, err := r.in.EncodeResponse(r.req, res)
	return &Said{Body: body}, err
}
