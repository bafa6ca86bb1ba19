package node

import (
	"context"
	"fmt"
	"time"

	"github.com/conclave-llm/conclave/adminapi/client"
	"github.com/conclave-llm/conclave/adminapi/membership"
	"github.com/conclave-llm/conclave/internal/clock"
	"github.com/conclave-llm/conclave/node/consensus"
	"github.com/conclave-llm/conclave/node/consensus/clocks"
	"github.com/conclave-llm/conclave/node/renewal"
	"github.com/conclave-llm/conclave/resource"
)

// members is the cluster as the admin API sees it.
type members struct{ n *Node }

// Members implements membership.Cluster.
func (m members) Members(ctx context.Context) []client.Member {
	all := m.n.consensus.Members(ctx)
	out := make([]client.Member, len(all))
	generation := m.n.state.Generation()
	for i := range all {
		out[i] = memberView(&all[i])
		node, ok := m.n.state.Node(all[i].ID)
		out[i].Replaying = ok && node.Epoch != 0 && node.Generation < generation
	}
	return out
}

func memberView(s *consensus.MemberStatus) client.Member {
	v := client.Member{
		ID: s.ID, Name: s.Name, Address: s.Address, ClientURL: s.ClientURL, Role: roleOf(s), Voter: s.Voter, Leader: s.Leader,
		Reachable: s.Reachable, Applied: s.Applied, Lag: s.Lag, LastTick: resource.At(s.LastTick), Epoch: s.Epoch,
		Version: s.Version, FSMVersion: max(1, s.FSMVersion), FSMOldest: max(1, s.FSMOldest),
		Demoted: s.Nonvoter, Drained: s.Drained, Quarantined: s.Quarantined,
	}
	if !s.Reachable {
		return v
	}
	l := s.Local
	v.Ready, v.NotReady, v.InFlight, v.Draining, v.Stalled = l.NotReady == "", l.NotReady, l.InFlight, l.Draining, s.Stalled
	v.ContactMS = float64(s.Contact.Microseconds()) / 1000
	v.DiskFree, v.DiskSize, v.DiskLow, v.Warnings = l.DiskFree, l.DiskSize, l.DiskLow, l.Warnings
	v.ClockOffMS = s.ClockOff.Milliseconds()
	if w := clockWarning(s.ClockOff); w != "" {
		v.Warnings = append(v.Warnings, w)
	}
	return v
}

// clockWarning says that a clock is so wrong that the node's entries are refused, "" if it is not.
func clockWarning(off time.Duration) string {
	how := "ahead of"
	if off < 0 {
		how = "behind"
	}
	if off.Abs() <= clocks.MaxSkew {
		return ""
	}
	return fmt.Sprintf("Its clock is %s %s the other nodes': what it writes and spends is refused until it is set right.", off.Abs().Round(100*time.Millisecond), how)
}

func roleOf(s *consensus.MemberStatus) string {
	switch {
	case s.Leader:
		return "leader"
	case s.Voter:
		return "voter"
	case s.Role == resource.MemberRead:
		return "read"
	default:
		return "nonvoter"
	}
}

// JoinToken implements membership.Cluster.
func (m members) JoinToken(ctx context.Context, t membership.Token) (string, error) {
	return m.n.consensus.JoinToken(ctx, consensus.TokenRequest(t))
}

// Change implements membership.Cluster.
func (m members) Change(ctx context.Context, c membership.Change) (client.Votes, error) {
	t, err := m.n.consensus.Change(ctx, consensus.Change{Verb: consensus.Verb(c.Verb), ID: c.ID, DryRun: c.DryRun, By: c.By, RequestID: c.RequestID})
	return client.Votes(t), err
}

// Rotate implements membership.Rotator.
func (m members) Rotate(ctx context.Context, r membership.Rotate) error {
	return m.n.renewal.Begin(ctx, renewal.Request(r))
}

// Confirm implements membership.Cluster.
func (m members) Confirm(ctx context.Context, index uint64, wait time.Duration) client.Receipt {
	return m.n.receipt(m.n.consensus.ConfirmApplied(ctx, index, wait), clock.Now())
}
