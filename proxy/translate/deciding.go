package translate

import (
	"cmp"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/decision"
	"github.com/conclave-llm/conclave/provider"
)

// deciding is a request with questions whose answers have a type.
type deciding struct {
	in  provider.DecisionInbound
	out provider.DecisionOutbound
	req *decision.Request
}

func readDeciding(e llm.Endpoint, body []byte) (Task, error) {
	in, _ := provider.DecisionInboundOf(e) // Tasks says so
	req, err := in.DecodeRequest(body)
	if err != nil {
		return nil, err
	}
	return &deciding{in: in, req: req}, nil
}

// Write implements Task.
func (d *deciding) Write(at llm.Endpoint, t *llm.Target) (*llm.Sent, error) {
	d.out, _ = provider.DecisionOutboundOf(at)
	body, err := d.out.EncodeRequest(d.req, t)
	if err != nil {
		return nil, err
	}
	return &llm.Sent{Body: body}, t.Err()
}

// Follow implements Task: the first answer is the answer.
func (*deciding) Follow([]byte) (*llm.Step, error) { return nil, nil }

// Answer implements Task.
func (d *deciding) Answer(g *Given) (*Said, error) {
	res, err := d.out.DecodeResponse(d.req, g.Body)
	if err != nil {
		return nil, err
	}
	res.Model = cmp.Or(res.Model, d.req.Model)
	res.Usage = g.Complete(g.Report.Usage)
	body, err := d.in.EncodeResponse(d.req, res)
	return &Said{Body: body, Usage: res.Usage}, err
}
