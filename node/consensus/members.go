package consensus

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/node/consensus/clocks"
	"github.com/conclave-llm/conclave/resource"
)

// statusWait is how long Members waits for each node.
const statusWait = 300 * time.Millisecond

// transferWait is how long Transfer waits to hear of the new leader.
const transferWait = 2 * time.Second

// MemberStatus is a node of the cluster as this one sees it.
type MemberStatus struct {
	resource.Member

	Voter, Leader bool
	Reachable     bool      // answered within 300 ms; else what follows is not known
	Applied       uint64    // 0 if it did not answer
	Lag           uint64    // entries behind the newest applied anywhere
	LastTick      time.Time // as applied here
	Epoch         uint64    // of its process, as applied here

	Stalled bool          // its disk or state machine hangs
	Contact time.Duration // since it heard a leader
	Local   Local

	ClockOff time.Duration // of its wall clock from the middle of the others', if three at least have answered

	clock time.Time // when it answered, by its clock and put back to the begin of all questions
}

// Members returns the registered nodes, and those of Raft's configuration, by name. It asks
// each for its status and takes 300 ms at most.
func (n *Node) Members(ctx context.Context) []MemberStatus {
	byID := map[string]*MemberStatus{}
	at := func(id string) *MemberStatus {
		if byID[id] == nil {
			byID[id] = &MemberStatus{Member: resource.Member{Meta: resource.Meta{ID: id}}}
		}
		return byID[id]
	}
	for _, m := range n.fsm.Catalog().Tables().Members {
		if !m.Removed {
			at(m.ID).Member = *m
		}
	}
	for _, srv := range n.raft.GetConfiguration().Configuration().Servers {
		s := at(string(srv.ID))
		s.Voter = srv.Suffrage == raft.Voter
		if s.Address == "" {
			s.Address = string(srv.Address)
		}
	}
	n.poll(ctx, byID)
	leader, _, _ := n.Leader()
	var newest uint64
	for _, s := range byID {
		newest = max(newest, s.Applied)
	}
	out := make([]MemberStatus, 0, len(byID))
	for id, s := range byID {
		s.Leader = id == leader
		if s.Reachable {
			s.Lag = newest - s.Applied
		}
		_, _, tick, _ := n.fsm.LastTick(id)
		s.LastTick, s.Epoch = tick.Std(), n.fsm.Epoch(id)
		out = append(out, *s)
	}
	slices.SortFunc(out, func(a, b MemberStatus) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.ID, b.ID))
	})
	return out
}

// poll fills in what the nodes tell of themselves, all at once.
func (n *Node) poll(ctx context.Context, members map[string]*MemberStatus) {
	var wg sync.WaitGroup
	began := time.Now()
	for id, m := range members {
		if id == n.id {
			m.tell(n.status(), time.Since(began))
			continue
		}
		wg.Go(func() {
			if st, err := n.statusOf(ctx, id, statusWait); err == nil {
				m.tell(st, time.Since(began))
			}
		})
	}
	wg.Wait()
	told := map[string]time.Time{}
	for id, m := range members {
		if !m.clock.IsZero() {
			told[id] = m.clock
		}
	}
	for id, off := range clocks.Off(told) {
		members[id].ClockOff = off
	}
}

// tell takes in what a node told of itself, and how long after the question.
func (m *MemberStatus) tell(st status, after time.Duration) {
	if st.Clock != 0 {
		m.clock = time.Unix(0, st.Clock).Add(-after)
	}
	m.Reachable, m.Applied, m.Stalled = true, st.Applied, st.Stalled
	m.Contact, m.Local = time.Duration(st.Contact), st.Local
}

// remove takes a node out of the cluster for good: its id is dead, its connections end, and
// it is taken out of Raft's configuration. It returns when that is done, or as soon as it is
// sure to be done if the node is this one.
func (n *Node) remove(ctx context.Context, by fsm.Actor, requestID, id string) error {
	if leader, _, _ := n.Leader(); leader == id {
		if err := n.Transfer(ctx, ""); err != nil {
			return fmt.Errorf("remove node %s: %w", id, err)
		}
	}
	_, err := n.Propose(ctx, by, requestID, fsm.RemoveMember{ID: id})
	if err != nil && !errors.Is(err, resource.ErrDead) {
		return fmt.Errorf("remove node %s: %w", id, err)
	}
	n.wake()
	if id == n.id {
		return nil // the next leader takes it out; this node is not told when
	}
	for {
		if _, in := n.server(id); !in {
			n.cfg.Transport.Sweep()
			return nil
		}
		if pause(ctx, 20*time.Millisecond); ctx.Err() != nil {
			return fmt.Errorf("it is barred; still in the configuration: %w", ctx.Err())
		}
	}
}

// wake makes the leader's loop look at once, if this node leads.
func (n *Node) wake() {
	select {
	case n.kick <- struct{}{}:
	default:
	}
}

// Transfer hands leadership to a voter, "" to the one most up to date, and returns when
// this node follows another leader than before. Any node may be asked.
func (n *Node) Transfer(ctx context.Context, id string) error {
	old, _, ok := n.Leader()
	if !ok {
		return fmt.Errorf("transfer leadership: %w", resource.ErrNoLeader)
	}
	if old == id {
		return nil
	}
	var err error
	if old == n.id {
		err = n.transfer(ctx, id)
	} else {
		_, err = n.rpc.Call(ctx, old, methodTransfer, []byte(id))
	}
	if err != nil {
		return fmt.Errorf("transfer leadership: %w", err)
	}
	wait, cancel := context.WithTimeout(ctx, transferWait) // the old leader may be elected again meanwhile
	defer cancel()
	for {
		if now, _, ok := n.Leader(); ok && now != old {
			return nil
		}
		if pause(wait, 10*time.Millisecond); wait.Err() != nil {
			return fmt.Errorf("transfer leadership: node %s leads again, or nobody: %w", old, resource.ErrNoLeader)
		}
	}
}

// transfer hands this leader's office over. That nobody has taken it in time, or that another transfer is under way, says
// nothing against another try.
func (n *Node) transfer(ctx context.Context, id string) error {
	if id == "" {
		return again(waitFuture(ctx, n.raft.LeadershipTransfer()))
	}
	s, ok := n.server(id)
	if !ok {
		return fmt.Errorf("node %s: %w", id, resource.ErrNotFound)
	}
	if s.Suffrage != raft.Voter {
		return fmt.Errorf("node %s does not vote: %w", id, resource.ErrRefused)
	}
	return again(waitFuture(ctx, n.raft.LeadershipTransferToServer(s.ID, s.Address)))
}

// again gives raft's refusal of a transfer the sentinel by which callers know that they may try again.
func again(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: %w", resource.ErrNoLeader, err)
}

// onTransfer answers Transfer of another node.
func (n *Node) onTransfer(ctx context.Context, _ string, body []byte) ([]byte, error) {
	if !n.IsLeader() {
		return nil, resource.ErrNoLeader
	}
	return nil, n.transfer(ctx, string(body))
}
