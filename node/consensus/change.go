package consensus

import (
	"context"
	"fmt"
	"time"

	"github.com/hashicorp/raft"

	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/node/consensus/seats"
	"github.com/conclave-llm/conclave/resource"
)

// voteWait is how long Change waits to see that a node has got or lost its vote.
const voteWait = 5 * time.Second

// Verb is what an operator wants done with a node.
type Verb string

// The verbs.
const (
	VerbRemove   Verb = "remove"   // for ever
	VerbPromote  Verb = "promote"  // it may vote again, as soon as it has caught up
	VerbDemote   Verb = "demote"   // it does not vote until it is promoted
	VerbDrain    Verb = "drain"    // no traffic, no leadership
	VerbUndrain  Verb = "undrain"  // the end of that
	VerbTransfer Verb = "transfer" // it is to lead
	VerbRepair   Verb = "repair"   // it fetches the state anew from the leader
)

// Change is one wish of an operator.
type Change struct {
	Verb      Verb
	ID        string // of the node; "" with VerbTransfer: any other voter
	DryRun    bool   // check only
	By        fsm.Actor
	RequestID string
}

// Change does what an operator wants, or with DryRun says whether it would. The tally is that
// of the voters afterwards, when everything that was decided before has been done, too. Without a leader it tries for 5 s. Errors wrap resource.ErrNotFound, ErrNoLeader, ErrRefused and, with
// the count in the text, ErrQuorum.
func (n *Node) Change(ctx context.Context, c Change) (seats.Tally, error) {
	t, err := n.change(ctx, c)
	if err != nil {
		return t, fmt.Errorf("%s node %s: %w", c.Verb, c.ID, err)
	}
	return t, nil
}

func (n *Node) change(ctx context.Context, c Change) (seats.Tally, error) {
	if err := n.exists(c.ID); err != nil && (c.ID != "" || c.Verb != VerbTransfer) {
		return seats.Tally{}, err
	}
	if err := n.AwaitLeader(ctx); err != nil {
		return seats.Tally{}, err
	}
	all := seats.Staying(n.seen(ctx))
	after := seats.Count(all)
	do := func() error { return n.mark(ctx, c) }
	var err error
	switch c.Verb {
	case VerbRemove:
		after, err = seats.Count(all, c.ID), seats.Check(all, c.ID)
		do = func() error { return n.remove(ctx, c.By, c.RequestID, c.ID) }
	case VerbDemote:
		after, err = seats.Count(all, c.ID), seats.Check(all, c.ID)
	case VerbPromote:
		err = n.mayPromote(c.ID)
	case VerbTransfer:
		err = n.mayLead(c.ID)
		do = func() error { return n.Transfer(ctx, c.ID) }
	case VerbRepair:
		err = n.mayRepair(c.ID)
		do = func() error { return n.repair(ctx, c) }
	case VerbDrain, VerbUndrain:
	default:
		err = fmt.Errorf("there is no such verb: %w", resource.ErrRefused)
	}
	if err != nil || c.DryRun {
		return after, err
	}
	return after, do()
}

// AwaitLeader waits as long as Propose does for a leader to be known, and returns resource.ErrNoLeader if none comes: an
// operator's wish does not fail because of an election.
func (n *Node) AwaitLeader(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, n.hold())
	defer cancel()
	for !n.HasLeader() {
		if pause(ctx, 10*time.Millisecond); ctx.Err() != nil {
			return resource.ErrNoLeader
		}
	}
	return nil
}

// exists refuses a node that is unknown or removed.
func (n *Node) exists(id string) error {
	if m, ok := n.fsm.Member(id); ok && !m.Removed {
		return nil
	}
	if _, in := n.server(id); in {
		return nil
	}
	return resource.ErrNotFound
}

// mayPromote refuses what never votes.
func (n *Node) mayPromote(id string) error {
	m, ok := n.fsm.Member(id)
	switch {
	case ok && m.Role == resource.MemberRead:
		return fmt.Errorf("its configuration says role = %q: such a node never votes: %w", m.Role, resource.ErrRefused)
	case ok && m.Quarantined != "":
		return fmt.Errorf("it is quarantined (%s); repair it first: %w", m.Quarantined, resource.ErrRefused)
	}
	return nil
}

// mayLead refuses a node that cannot lead.
func (n *Node) mayLead(id string) error {
	if id == "" {
		if n.voters() < 2 {
			return fmt.Errorf("there is no other voter: %w", resource.ErrRefused)
		}
		return nil
	}
	if s, ok := n.server(id); !ok || s.Suffrage != raft.Voter {
		return fmt.Errorf("it does not vote: %w", resource.ErrRefused)
	}
	return nil
}

// mark writes what the operator decided and waits until the leader has acted on it.
func (n *Node) mark(ctx context.Context, c Change) error {
	cmd := map[Verb]fsm.MarkMember{
		VerbPromote: {Mark: fsm.MarkNonvoter, Off: true}, VerbDemote: {Mark: fsm.MarkNonvoter},
		VerbDrain: {Mark: fsm.MarkDrained}, VerbUndrain: {Mark: fsm.MarkDrained, Off: true},
	}[c.Verb]
	cmd.ID = c.ID
	if _, err := n.Propose(ctx, c.By, c.RequestID, cmd); err != nil {
		return err
	}
	n.wake()
	if c.Verb == VerbDemote {
		return n.awaitVote(ctx, c.ID, raft.Nonvoter)
	}
	return nil
}

// awaitVote waits until a node has or has not a vote, as this node's configuration says.
func (n *Node) awaitVote(ctx context.Context, id string, want raft.ServerSuffrage) error {
	ctx, cancel := context.WithTimeout(ctx, voteWait)
	defer cancel()
	for {
		if s, in := n.server(id); !in || s.Suffrage == want {
			return nil
		}
		if pause(ctx, 20*time.Millisecond); ctx.Err() != nil {
			return fmt.Errorf("it is decided; the leader has not done it yet: %w", ctx.Err())
		}
	}
}
