package translate

import (
	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/document"
	"github.com/conclave-llm/conclave/provider"
	"github.com/conclave-llm/conclave/provider/mistral"
)

// reading is a request for the text of a document.
type reading struct {
	out provider.DocumentOutbound
	req *document.Request
}

func readReading(body []byte) (Task, error) {
	req, err := mistral.DecodeOCR(body)
	if err != nil {
		return nil, err
	}
	return &reading{req: req}, nil
}

// Write implements Task.
func (r *reading) Write(at llm.Endpoint, t *llm.Target) (*llm.Sent, error) {
	r.out, _ = provider.DocumentOutboundOf(at)
	sent, err := r.out.EncodeRequest(r.req, t)
	if err != nil {
		return nil, err
	}
	return sent, t.Err()
}

// Follow implements Task.
func (r *reading) Follow(body []byte) (*llm.Step, error) {
	if f, ok := r.out.(provider.DocumentFollower); ok {
		return f.Follow(r.req, body)
	}
	return nil, nil
}

// Answer implements Task.
func (r *reading) Answer(g *Given) (*Said, error) {
	res, err := r.out.DecodeResponse(g.Body)
	if err != nil {
		return nil, err
	}
	res.Select(r.req)
	res.Usage = g.Complete(res.Usage)
	return &Said{Body: mistral.EncodeOCR(r.req, res), Usage: res.Usage}, nil
}
