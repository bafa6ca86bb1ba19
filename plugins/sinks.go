package plugins

import (
	"context"
	"fmt"
	"time"

	"github.com/conclave-llm/conclave/plugins/callback"
)

// Sink gives the queue of the callback with the name; false: it is not configured here.
func (h *Host) Sink(name string) (*callback.Queue, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	v, ok := h.running[key{kind: KindCallback, name: name}]
	if !ok || v.queue == nil {
		return nil, false
	}
	return v.queue, true
}

// TestSink sends an event through the process of the callback with the name, which tells of no
// request. Its error wraps callback.ErrNotRunning if there is no process.
func (h *Host) TestSink(ctx context.Context, name, node string) error {
	q, ok := h.Sink(name)
	if !ok {
		return fmt.Errorf("%s is not configured: %w", name, callback.ErrNotRunning)
	}
	p := q.Running()
	if p == nil {
		return fmt.Errorf("%s: %w", name, callback.ErrNotRunning)
	}
	now := time.Now()
	_, err := p.Deliver(ctx, []callback.Record{{
		Position: uint64(now.UnixNano()), RequestID: fmt.Sprintf("conclave-test-%d", now.UnixNano()), NodeID: node,
		StartedAt: now.UTC(), Endpoint: "test", Model: "conclave-test", Status: "success", HTTPStatus: 200, Attempts: 1, Priced: true,
	}})
	return err
}
