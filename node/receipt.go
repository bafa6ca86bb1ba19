package node

import (
	"slices"
	"time"

	"github.com/conclave-llm/conclave/adminapi/client"
	"github.com/conclave-llm/conclave/node/consensus/clocks"
	"github.com/conclave-llm/conclave/resource"
)

// receipt says who has applied a write that is committed and applied here, and until when at most those
// that have not go on without it.
//
// A node serves as long as serve_stale lets it after its last own tick, and a tick that it has applied after
// the write brought it the write. So the last one of which this node knows counts, at the time by the late node's clock, which is
// no more than clocks.MaxSkew off; and in no case has it been sent after now.
func (n *Node) receipt(late []string, now time.Time) client.Receipt {
	var r client.Receipt
	for _, m := range n.state.Catalog().Tables().Members {
		switch {
		case m.Removed:
		case !slices.Contains(late, m.ID):
			r.EnforcedBy = append(r.EnforcedBy, m.Name)
		default:
			r.Pending = append(r.Pending, m.Name)
			until, ok := n.deadline(m, now)
			r.Forever = r.Forever || !ok
			if until.After(r.Until) {
				r.Until = until
			}
		}
	}
	if r.Forever {
		r.Until = time.Time{}
	}
	slices.Sort(r.EnforcedBy)
	slices.Sort(r.Pending)
	return r
}

// deadline is when a member that hears nothing any more stops serving inference; false: it may never.
func (n *Node) deadline(m *resource.Member, now time.Time) (time.Time, bool) {
	_, _, at, applied := n.state.LastTick(m.ID)
	limit := n.staleSetting()
	if own, err := resource.ParseServeStale(m.ServeStale); err == nil {
		limit = own
	} else if n.settingSince("serve_stale") > applied {
		return time.Time{}, false // it may not know the setting, which was another before
	}
	return servesUntil(limit, at, now)
}

// servesUntil is when a node ends that sent its last tick at a time by its own clock; false: it never does.
func servesUntil(limit time.Duration, tick resource.Time, now time.Time) (time.Time, bool) {
	if limit < 0 {
		return time.Time{}, false
	}
	last := tick.Std().Add(clocks.MaxSkew)
	if tick == 0 || last.After(now) {
		last = now
	}
	return last.Add(max(limit, freshFor)), true
}

// shorter is the one of two serve_stale under which a node stops first.
func shorter(a, b time.Duration) time.Duration {
	if a < 0 || b >= 0 && b < a {
		return b
	}
	return a
}

// settingSince is the index of the last write of a setting; 0: it was never written, or is the default again.
func (n *Node) settingSince(id string) uint64 {
	for _, s := range n.state.Catalog().Tables().Settings {
		if s.ID == id {
			return s.Version
		}
	}
	return 0
}

// staleSetting is the cluster's serve_stale.
func (n *Node) staleSetting() time.Duration { return n.state.Catalog().Settings().ServeStale }

// serveStale is for how long this node serves inference without a leader: as its file says, or else the
// setting. What it has told the others holds until it has told them otherwise: receipts name a deadline by that.
func (n *Node) serveStale() time.Duration {
	own := n.staleSetting()
	if n.cfg.ServeStale != nil {
		own = *n.cfg.ServeStale
	}
	m, ok := n.self()
	if !ok {
		return own
	}
	told, err := resource.ParseServeStale(m.ServeStale)
	if err != nil { // it has told nothing of its own
		told = n.staleSetting()
	}
	return shorter(own, told)
}
