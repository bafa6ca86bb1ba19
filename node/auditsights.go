package node

import (
	"context"
	"fmt"
	"time"

	"github.com/conclave-llm/conclave/node/courier"
)

// auditLate is how long an audit entry waits for a sink before somebody is told.
const auditLate = 15 * time.Minute

// auditBehind tells of sinks of the audit log that take nothing.
func (n *Node) auditBehind(context.Context) ([]courier.Sight, bool) {
	var all []courier.Sight
	for _, b := range n.keeper.Behind() {
		if b.Since == 0 || n.alertNow().Std().Sub(b.Since.Std()) < auditLate {
			continue
		}
		all = append(all, courier.Sight{
			ID: b.Sink, Lasting: true, Subject: "setting/audit", Name: b.Sink,
			Text: fmt.Sprintf("The sink %s of the audit log lacks %d entries, the oldest of %s. They wait for twice the retention, then they are pruned.",
				b.Sink, b.Waiting, b.Since.Std().UTC().Format(time.RFC3339)),
		})
	}
	return all, true
}

// auditDropped tells of entries that a sink will never get, once a day on which there are more.
func (n *Node) auditDropped(context.Context) ([]courier.Sight, bool) {
	var all []courier.Sight
	for _, b := range n.keeper.Behind() {
		if b.Dropped == 0 {
			continue
		}
		all = append(all, courier.Sight{
			ID: b.Sink + "/" + b.DroppedAt.Std().UTC().Format(time.DateOnly), Subject: "setting/audit", Name: b.Sink,
			Text: fmt.Sprintf("%d entries of the audit log were pruned before the sink %s had taken them: it had been down for twice the retention.", b.Dropped, b.Sink),
		})
	}
	return all, true
}
