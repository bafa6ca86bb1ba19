package consensus

import (
	"context"

	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/node/consensus/seats"
	"github.com/conclave-llm/conclave/resource"
)

// seen are the seats as this node sees them just now.
func (n *Node) seen(ctx context.Context) []seats.Seat {
	alive := map[string]bool{}
	for _, m := range n.Members(ctx) {
		alive[m.ID] = m.Reachable
	}
	var all []seats.Seat
	for _, s := range n.raft.GetConfiguration().Configuration().Servers {
		seat := n.seat(s)
		seat.Alive = alive[seat.ID]
		all = append(all, seat)
	}
	return all
}

// mayLeave refuses to remove a node that the quorum needs. Where it is not the leader that asks,
// or the decision is for later, that is advice: guardQuorum decides.
func (n *Node) mayLeave(ctx context.Context, id string) error {
	if err := n.exists(id); err != nil {
		return err
	}
	return seats.Check(seats.Staying(n.seen(ctx)), id)
}

// guardQuorum refuses, on the leader, an entry that takes a node out of the cluster for good, if the
// rest would have no quorum. Such entries pass one at a time: the next is not looked at before
// the last was applied and release is called. So two operators who remove two nodes at the same
// time, each of which the cluster could do without, do not remove both; and a token that was
// made to replace a node while all were well is not used while the cluster needs that node.
func (n *Node) guardQuorum(ctx context.Context, cmd fsm.Command) (release func(), out outcome, err error) {
	if !mayBury(cmd) {
		return func() {}, notDone, nil
	}
	select {
	case n.leaving <- struct{}{}:
	case <-ctx.Done():
		return nil, notDone, ctx.Err()
	}
	release = func() { <-n.leaving }
	if err := waitFuture(ctx, n.raft.Barrier(changeTimeout)); err != nil { // of one before this the outcome may be unknown
		release()
		return nil, notDone, err
	}
	if id := n.buries(cmd); id != "" {
		if err := seats.Check(seats.Staying(n.seen(ctx)), id); err != nil {
			release()
			return nil, done, err
		}
	}
	return release, notDone, nil
}

// mayBury says whether a command may make a tombstone.
func mayBury(cmd fsm.Command) bool {
	switch c := cmd.(type) {
	case fsm.RemoveMember:
		return true
	case fsm.RegisterMember:
		return c.Token != resource.Hash{}
	}
	return false
}

// buries is the node for which a command makes a tombstone, "" if there is none to make.
func (n *Node) buries(cmd fsm.Command) string {
	var id string
	switch c := cmd.(type) {
	case fsm.RemoveMember:
		id = c.ID
	case fsm.RegisterMember:
		if tok, ok := n.fsm.JoinToken(c.Token); ok {
			id = tok.Replaces
		}
	}
	if m, ok := n.fsm.Member(id); ok && !m.Removed {
		return id
	}
	return ""
}
