package node

import (
	"context"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/conclave-llm/conclave/ledger/contents"
	"github.com/conclave-llm/conclave/plugins/guardrail"
)

const (
	maxMasking   = 64       // contents that guardrails are asked about at a time
	maxUnmasked  = 1024     // contents that wait for that or are under way
	maxUnmaskedB = 64 << 20 // bytes of them
)

// masking shows contents to the guardrails that are for what is kept alone (log_only), beside the requests:
// what comes faster than they answer is left out.
type masking struct {
	put   func(contents.Content) // keeps what was masked
	slots chan struct{}
	left  prometheus.Counter

	mu      sync.Mutex               // guards what follows
	pending map[string]chan struct{} // closed when the request's content is kept or left out
	bytes   int
}

func newMasking(put func(contents.Content), reg prometheus.Registerer) (*masking, error) {
	m := &masking{
		put: put, slots: make(chan struct{}, maxMasking), pending: map[string]chan struct{}{},
		left: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "conclave_contents_unmasked_total", Help: "Contents that were left out because guardrails of the mode log_only did not let them pass, or were too slow.",
		}),
	}
	if reg == nil {
		return m, nil
	}
	return m, reg.Register(m.left)
}

// begin takes a content in; false: there are too many, and it is left out. What it returns must be
// called with the content once it is masked; nil leaves it out.
func (m *masking) begin(id string, size int) (end func(*contents.Content), ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, twice := m.pending[id]; twice || len(m.pending) >= maxUnmasked || m.bytes+size > maxUnmaskedB {
		m.left.Inc()
		return nil, false
	}
	done := make(chan struct{})
	m.pending[id], m.bytes = done, m.bytes+size
	return func(c *contents.Content) {
		if c != nil {
			m.put(*c)
		} else {
			m.left.Inc()
		}
		m.mu.Lock()
		delete(m.pending, id)
		m.bytes -= size
		m.mu.Unlock()
		close(done)
	}, true
}

// run masks one content.
func (m *masking) run(ctx context.Context, set *guardrail.Set, info guardrail.Info, c contents.Content, end func(*contents.Content)) {
	select {
	case m.slots <- struct{}{}:
		defer func() { <-m.slots }()
	case <-ctx.Done():
		end(nil)
		return
	}
	k := guardrail.Kept{Info: info, Request: c.Request, Response: c.Response, Truncated: c.Truncated}
	if !set.Mask(ctx, &k) {
		end(nil)
		return
	}
	c.Request, c.Response, c.Truncated = k.Request, k.Response, k.Truncated
	end(&c)
}

// wait returns when the content of the request is not being masked.
func (m *masking) wait(ctx context.Context, id string) {
	m.mu.Lock()
	done := m.pending[id]
	m.mu.Unlock()
	if done == nil {
		return
	}
	select {
	case <-done:
	case <-ctx.Done():
	}
}
