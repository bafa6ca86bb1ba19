package consensus

import (
	"context"
	"errors"
	"time"

	"github.com/hashicorp/raft"

	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/node/consensus/clocks"
	"github.com/conclave-llm/conclave/node/consensus/logstore"
	"github.com/conclave-llm/conclave/node/consensus/seats"
	"github.com/conclave-llm/conclave/resource"
)

const (
	leadInterval  = 200 * time.Millisecond
	changeTimeout = 5 * time.Second  // of one change of the configuration
	clockHandOff  = 10 * time.Second // between two tries of a leader with a wrong clock to hand over
	maxPromoteLag = 100              // entries behind the commit index
)

// handlers sets the methods of the consensus.
func (n *Node) handlers() {
	n.rpc.Handle(methodPropose, n.onPropose)
	n.rpc.Handle(methodIndex, n.onIndex)
	n.rpc.Handle(methodApplied, n.onApplied)
	n.rpc.Handle(methodStatus, n.onStatus)
	n.rpc.Handle(methodTransfer, n.onTransfer)
	n.rpc.Handle(methodJoin, n.onJoin)
	n.rpc.Handle(methodHash, n.onHash)
	n.rpc.Handle(methodMarks, n.onMarks)
	n.rpc.Handle(methodRepair, func(ctx context.Context, _ string, _ []byte) ([]byte, error) { return nil, n.refetch(ctx) })
	n.rpc.Handle(methodReseat, n.onReseat)
	n.rpc.Handle(methodIntroduce, n.onIntroduce)
}

// watchLeadership runs the leader's work while this node leads.
func (n *Node) watchLeadership(notify <-chan bool) {
	stop := func() {}
	defer func() { stop() }()
	for {
		select {
		case <-n.ctx.Done():
			return
		case leads := <-notify:
			stop()
			stop = func() {}
			if !leads {
				continue
			}
			ctx, cancel := context.WithCancel(n.ctx)
			done := make(chan struct{})
			go func() {
				defer close(done)
				n.lead(ctx)
			}()
			stop = func() { cancel(); <-done }
		}
	}
}

// lead keeps Raft's configuration what the table of members says. It starts behind a
// barrier, so that it never acts on a state that lacks what earlier leaders did.
func (n *Node) lead(ctx context.Context) {
	for !n.settle(ctx) {
		if pause(ctx, leadInterval); ctx.Err() != nil {
			return
		}
	}
	seen := sights{}
	tick := time.NewTicker(leadInterval)
	defer tick.Stop()
	for last := ""; ; {
		if off := n.clocks.Own(); off.Abs() > clocks.MaxSkew {
			n.yield(ctx, off)
		}
		n.compareStates(ctx)
		n.look(ctx, seen)
		if err := n.reconcile(ctx, seen); err != nil && ctx.Err() == nil && err.Error() != last {
			last = err.Error() // it is tried again and again
			n.log.Warn("change the cluster's configuration", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-n.kick:
		}
	}
}

// settle puts a barrier into the log and says whether it was applied. It is not if leadership
// is lost, or if the disk is so slow that raft does not take it in time.
func (n *Node) settle(ctx context.Context) bool {
	term := n.raft.CurrentTerm()
	if err := waitFuture(ctx, n.raft.Barrier(changeTimeout)); err != nil {
		n.log.Debug("lead not yet", "term", term, "error", err)
		return false
	}
	n.settled.Store(term)
	return true
}

// yield hands leadership over because this node's clock is wrong, and pauses.
func (n *Node) yield(ctx context.Context, off time.Duration) {
	n.log.Error("this leader's clock is wrong: it hands over", "off", off)
	if err := waitFuture(ctx, n.raft.LeadershipTransfer()); err != nil && ctx.Err() == nil {
		n.log.Warn("hand leadership over", "error", err)
	}
	pause(ctx, clockHandOff)
}

// reconcile makes at most one change of the configuration.
func (n *Node) reconcile(ctx context.Context, seen sights) error {
	if n.installing.Load() {
		return nil // a state is not replaced while the configuration changes
	}
	f := n.raft.GetConfiguration()
	if err := f.Error(); err != nil {
		return err
	}
	servers, prev := f.Configuration().Servers, f.Index()
	for _, s := range servers {
		m, ok := n.fsm.Member(string(s.ID))
		if ok && !m.Removed && m.Address != string(s.Address) && string(s.ID) != n.id {
			n.log.Info("a server has moved", "node", s.ID, "address", m.Address)
			return waitFuture(ctx, n.add(s.Suffrage, s.ID, raft.ServerAddress(m.Address), prev))
		}
	}
	if why := n.unfitToLead(); why != "" && n.handOver(ctx, servers, seen, why) {
		return nil
	}
	return n.step(ctx, seats.Next(n.seats(servers, seen), n.limits()), prev)
}

// limits is when dead nodes are removed, as the settings have it.
func (n *Node) limits() seats.Limits {
	s := n.fsm.Catalog().Settings()
	return seats.Limits{Off: !s.DeadCleanup, After: s.DeadAfter, MinVoters: int(s.DeadMinVoters)}
}

// step makes a change.
func (n *Node) step(ctx context.Context, s seats.Step, prev uint64) error {
	id := raft.ServerID(s.ID)
	if s.Action != seats.None {
		n.log.Info("changing the cluster's configuration", "action", s.Action.String(), "node", s.ID, "why", s.Why)
	}
	switch s.Action {
	case seats.Leave:
		return waitFuture(ctx, n.raft.LeadershipTransfer())
	case seats.Remove:
		return waitFuture(ctx, n.raft.RemoveServer(id, prev, changeTimeout))
	case seats.Demote:
		return waitFuture(ctx, n.raft.DemoteVoter(id, prev, changeTimeout))
	case seats.Promote:
		srv, ok := n.server(s.ID)
		if !ok {
			return nil
		}
		return waitFuture(ctx, n.raft.AddVoter(id, srv.Address, prev, changeTimeout))
	case seats.Bury:
		n.log.Warn("removing a dead node", "node", s.ID, "why", s.Why)
		_, err := n.Propose(ctx, n.self(), "", fsm.RemoveMember{ID: s.ID})
		return err
	default:
		return nil
	}
}

// add adds or updates a server.
func (n *Node) add(as raft.ServerSuffrage, id raft.ServerID, addr raft.ServerAddress, prev uint64) raft.IndexFuture {
	if as == raft.Voter {
		return n.raft.AddVoter(id, addr, prev, changeTimeout)
	}
	return n.raft.AddNonvoter(id, addr, prev, changeTimeout)
}

// becomeReady waits for a leader and catches up with it.
func (n *Node) becomeReady() {
	for n.ctx.Err() == nil {
		if _, founded := n.fsm.Cluster(); founded && n.HasLeader() && n.catchUp() == nil {
			if err := logstore.MarkStarted(n.cfg.Dir); err != nil {
				n.log.Error("become ready", "error", err)
			}
			close(n.ready)
			return
		}
		pause(n.ctx, 10*time.Millisecond)
	}
}

// catchUp returns once this node has applied what the leader had at the time of the call.
func (n *Node) catchUp() error {
	ctx, cancel := context.WithTimeout(n.ctx, time.Minute)
	defer cancel()
	if n.IsLeader() {
		return waitFuture(ctx, n.raft.Barrier(changeTimeout))
	}
	_, err := n.LeaderIndex(ctx)
	return err
}

// announce proposes the first entry, if this node founds the cluster, and keeps this node's
// row in the table of members up to date. It ends when that is done.
func (n *Node) announce() {
	if n.cfg.Bootstrap != nil {
		n.insist("found the cluster", *n.cfg.Bootstrap)
	}
	select {
	case <-n.ready:
	case <-n.ctx.Done():
		return
	}
	want := resource.Member{
		Meta: resource.Meta{ID: n.id}, Name: n.cfg.Name, Address: n.cfg.Transport.Addr(),
		ClientURL: n.cfg.ClientURL, Version: n.cfg.Version, FSMVersion: n.cfg.FSMVersion, FSMOldest: n.cfg.FSMOldest, Role: n.cfg.Role,
		ServeStale: n.cfg.ServeStale,
	}
	if m, ok := n.fsm.Member(n.id); ok {
		if m.Removed || sameMember(m, &want) {
			return
		}
		want.Meta = m.Meta
	}
	n.insist("register this node", fsm.RegisterMember{Member: want})
}

// sameMember compares what a node says of itself.
func sameMember(a, b *resource.Member) bool {
	return a.Name == b.Name && a.Address == b.Address && a.ClientURL == b.ClientURL &&
		a.Version == b.Version && a.FSMVersion == b.FSMVersion && a.FSMOldest == b.FSMOldest && a.Role == b.Role &&
		a.ServeStale == b.ServeStale
}

// insist proposes until the command is applied or refused.
func (n *Node) insist(what string, cmd fsm.Command) {
	for n.ctx.Err() == nil {
		_, err := n.Propose(n.ctx, n.self(), "", cmd)
		switch {
		case err == nil:
			return
		case errors.Is(err, resource.ErrNoLeader), errors.Is(err, resource.ErrBusy):
			pause(n.ctx, backoff(4))
		case errors.Is(err, resource.ErrRefused):
			return // the cluster is there
		default:
			n.log.Error("refused by the cluster", "command", what, "error", err)
			return
		}
	}
}
