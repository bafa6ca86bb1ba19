package guardrail

import (
	"context"
	"errors"
	"sync"

	"github.com/conclave-llm/conclave/plugins/proto"
	"github.com/conclave-llm/conclave/plugins/wiretext"
)

// maxAsks bounds the requests to models that one check makes.
const maxAsks = 64

// Errors of a request to a model.
var (
	ErrNoModels = errors.New("no model may be asked here: there is no request that would pay for it")
	errAsks     = errors.New("the check has asked models too often")
)

// Models asks models of the gateway on the account of the request that is checked. No guardrail sees
// what it asks, so that a check cannot lead to another one.
type Models interface {
	// Ask sends the body, JSON as a client of the endpoint sends it, and returns the whole answer. endpoint is
	// "chat" or "moderations"; the body names the model and must not ask for a stream.
	Ask(ctx context.Context, endpoint string, body []byte) ([]byte, error)
}

// lend lets the conversation ask models until the function that it returns is called, which waits for
// what is under way.
func (c *Client) lend(ctx context.Context, id uint64, models Models) (end func()) {
	if models == nil {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	asked := 0
	c.mu.Lock()
	c.asks[id] = func(q *proto.ModelRequest) { // called with mu held
		asked++
		if asked > maxAsks {
			wg.Go(func() { c.tellModel(ctx, id, q, nil, errAsks) })
			return
		}
		wg.Go(func() {
			body, err := models.Ask(ctx, q.GetEndpoint(), q.GetBody())
			c.tellModel(ctx, id, q, body, err)
		})
	}
	c.mu.Unlock()
	return func() {
		c.mu.Lock()
		delete(c.asks, id)
		c.mu.Unlock()
		cancel()
		wg.Wait()
	}
}

// tellModel hands an answer to the plugin.
func (c *Client) tellModel(ctx context.Context, id uint64, q *proto.ModelRequest, body []byte, err error) {
	a := &proto.ModelAnswer{Number: q.GetNumber(), Body: body}
	switch {
	case err != nil:
		a.Body, a.Error = nil, wiretext.Valid(err.Error())
	case len(body) > MaxAnswer:
		a.Body, a.Error = nil, "the answer of the model is too large"
	}
	_ = c.post(ctx, &proto.HostMessage{Id: id, Kind: &proto.HostMessage_Answer{Answer: a}}) // else nobody waits any more
}

// askLocked takes a plugin's request to a model. Nobody lends models to a check that is over.
func (c *Client) askLocked(id uint64, q *proto.ModelRequest) {
	if ask, ok := c.asks[id]; ok {
		ask(q)
		return
	}
	if _, ok := c.pending[id]; ok {
		c.wg.Go(func() { c.tellModel(c.ctx, id, q, nil, ErrNoModels) })
	}
}

// asker is how a plugin asks models within a check.
type asker struct {
	send  func(*proto.ModelRequest)
	slots chan struct{} // of checks: one that waits for models leaves its own to others

	mu      sync.Mutex // guards what follows
	last    uint32
	waiting int // requests that are not answered
	answers map[uint32]chan *proto.ModelAnswer
}

// Ask implements Models.
func (a *asker) Ask(ctx context.Context, endpoint string, body []byte) ([]byte, error) {
	answer := make(chan *proto.ModelAnswer, 1)
	a.mu.Lock()
	a.last++
	n := a.last
	a.answers[n] = answer
	if a.waiting++; a.waiting == 1 {
		<-a.slots
	}
	a.mu.Unlock()
	defer a.over(n)
	a.send(&proto.ModelRequest{Number: n, Endpoint: endpoint, Body: body})
	select {
	case got := <-answer:
		if e := got.GetError(); e != "" {
			return nil, errors.New(e)
		}
		return got.GetBody(), nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// over ends a request. The last one that waited takes the check's slot again.
func (a *asker) over(n uint32) {
	a.mu.Lock()
	delete(a.answers, n)
	a.waiting--
	last := a.waiting == 0
	a.mu.Unlock()
	if last {
		a.slots <- struct{}{}
	}
}

// answered takes the host's answer.
func (a *asker) answered(m *proto.ModelAnswer) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if answer, ok := a.answers[m.GetNumber()]; ok {
		answer <- m
		delete(a.answers, m.GetNumber())
	}
}
