package node

import (
	"cmp"
	"time"

	"github.com/conclave-llm/conclave/ledger"
	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/plugins/callback"
	"github.com/conclave-llm/conclave/resource"
)

// callbackFloor is the name under which the journal keeps what callbacks still need.
const callbackFloor = "callbacks"

// journalSource is the journal as callbacks read it.
type journalSource struct {
	journal *ledger.Journal
	catalog func() *resource.Catalog
}

// Read implements callback.Source.
func (s journalSource) Read(from uint64, limit int) ([]callback.Record, uint64, error) {
	after := from - min(from, 1)
	if oldest, count, gone := s.journal.Missing(after); gone {
		return nil, from, &callback.Truncated{Oldest: oldest, Records: count}
	}
	records, next, err := s.journal.ReadFrom(after, limit)
	if err != nil {
		return nil, from, err
	}
	cat := s.catalog()
	out := make([]callback.Record, 0, len(records))
	for i := range records {
		if r := &records[i]; !r.Flags.Has(ledger.Adjustment) { // is no request
			out = append(out, callbackRecord(r, cat))
		}
	}
	return out, next + 1, nil
}

func callbackRecord(r *ledger.Record, cat *resource.Catalog) callback.Record {
	out := callback.Record{
		Position: r.Number, RequestID: r.RequestID, NodeID: r.Node,
		StartedAt: r.Time.Std().Add(-r.Duration), Duration: r.Duration, FirstToken: r.TTFT,
		Endpoint: r.Endpoint, Model: r.Model, DeploymentID: r.DeploymentID,
		Provider: r.Provider, Attempts: r.Attempts,
		KeyID: r.KeyID, TeamID: r.TeamID, UserID: r.UserID, EndUser: r.User, Tags: r.Tags,
		Stream: r.Flags.Has(ledger.Streamed), Status: callbackStatus(r), HTTPStatus: r.Status,
		ErrorCode: r.ErrorCode, Usage: r.Usage, CostNanoUSD: int64(r.Cost), Priced: !r.Flags.Has(ledger.Unpriced),
	}
	if d, ok := cat.Deployment(r.DeploymentID); ok {
		out.Provider, out.UpstreamModel = cmp.Or(out.Provider, d.Provider), cmp.Or(d.Upstream, out.Model)
	}
	for _, g := range r.Guardrails {
		out.Guardrails = append(out.Guardrails, callback.GuardrailResult{Guardrail: g.Guardrail, Hook: g.Hook, Status: g.Status, Found: g.Found})
	}
	return out
}

func callbackStatus(r *ledger.Record) string {
	switch {
	case r.Status == 499 || r.ErrorKind == llm.Canceled.String():
		return "canceled"
	case r.ErrorKind == llm.Blocked.String() || r.ErrorCode == "guardrail_blocked":
		return "blocked"
	case r.Failed():
		return "failure"
	default:
		return "success"
	}
}

// holdFloor keeps the journal's records that callbacks still need, as far as the journal lets
// a sink that is dead hold it.
func (n *Node) holdFloor() {
	tick := time.NewTicker(10 * time.Second)
	defer tick.Stop()
	for {
		if mark, ok := n.plugins.Delivered(); ok {
			n.journal.SetSoftFloor(callbackFloor, mark-min(mark, 1))
		} else {
			n.journal.DropFloor(callbackFloor)
		}
		select {
		case <-n.ctx.Done():
			return
		case <-tick.C:
		}
	}
}
