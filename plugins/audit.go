package plugins

import (
	"context"
	"fmt"

	"github.com/conclave-llm/conclave/plugins/callback"
	"github.com/conclave-llm/conclave/resource"
)

// DeliverAudit hands audit entries to the callback with the name and returns how many of
// them, from the first, are safe in its sink.
func (h *Host) DeliverAudit(ctx context.Context, name string, entries []resource.AuditEntry) (int, error) {
	h.mu.Lock()
	v, ok := h.running[key{KindCallback, name, 0}]
	h.mu.Unlock()
	if !ok {
		return 0, fmt.Errorf("callback %s is not configured", name)
	}
	p := v.queue.Running()
	if p == nil {
		return 0, fmt.Errorf("callback %s is not running", name)
	}
	to, ok := p.(callback.Auditor)
	if !ok {
		return 0, fmt.Errorf("callback %s: %w", name, callback.ErrNoAudit)
	}
	return to.DeliverAudit(ctx, entries)
}
