package consensus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"

	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/node/consensus/logstore"
	"github.com/conclave-llm/conclave/resource"
)

const (
	leadInterval  = 200 * time.Millisecond
	changeTimeout = 5 * time.Second // of one change of the configuration
	maxVoters     = 5
	wantedVoters  = 3
	maxPromoteLag = 100              // entries behind the commit index
	promoteSoon   = time.Second      // while voters are wanted
	promoteLater  = 10 * time.Second // after that
)

// handlers sets the methods of the consensus.
func (n *Node) handlers() {
	n.rpc.Handle(methodPropose, n.onPropose)
	n.rpc.Handle(methodIndex, n.onIndex)
	n.rpc.Handle(methodApplied, n.onApplied)
	n.rpc.Handle(methodStatus, n.onStatus)
	n.rpc.Handle(methodTransfer, n.onTransfer)
	n.rpc.Handle(methodJoin, n.onJoin)
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
	since := map[raft.ServerID]time.Duration{} // when a non-voter was first seen fit
	tick := time.NewTicker(leadInterval)
	defer tick.Stop()
	for last := ""; ; {
		if off := n.clocks.own(); off.Abs() > maxSkew {
			n.yield(ctx, off)
		}
		n.compareStates()
		if err := n.reconcile(ctx, since); err != nil && ctx.Err() == nil && err.Error() != last {
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
func (n *Node) reconcile(ctx context.Context, since map[raft.ServerID]time.Duration) error {
	f := n.raft.GetConfiguration()
	if err := f.Error(); err != nil {
		return err
	}
	servers, prev := f.Configuration().Servers, f.Index()
	for _, s := range servers {
		m, ok := n.fsm.Member(string(s.ID))
		switch {
		case !ok:
			continue
		case m.Removed && string(s.ID) == n.id:
			return waitFuture(ctx, n.raft.LeadershipTransfer())
		case m.Removed:
			n.log.Info("removing a server from the configuration", "node", s.ID)
			return waitFuture(ctx, n.raft.RemoveServer(s.ID, prev, changeTimeout))
		case m.Address != string(s.Address) && string(s.ID) != n.id:
			n.log.Info("a server has moved", "node", s.ID, "address", m.Address)
			return waitFuture(ctx, n.add(s.Suffrage, s.ID, raft.ServerAddress(m.Address), prev))
		}
	}
	return n.promote(ctx, servers, prev, since)
}

// add adds or updates a server.
func (n *Node) add(as raft.ServerSuffrage, id raft.ServerID, addr raft.ServerAddress, prev uint64) raft.IndexFuture {
	if as == raft.Voter {
		return n.raft.AddVoter(id, addr, prev, changeTimeout)
	}
	return n.raft.AddNonvoter(id, addr, prev, changeTimeout)
}

// promote makes the first non-voter a voter that was fit for long enough.
func (n *Node) promote(ctx context.Context, servers []raft.Server, prev uint64, since map[raft.ServerID]time.Duration) error {
	voters := 0
	for _, s := range servers {
		if s.Suffrage == raft.Voter {
			voters++
		}
	}
	need := promoteLater
	if voters < wantedVoters {
		need = promoteSoon
	}
	for _, s := range servers {
		if s.Suffrage == raft.Voter {
			delete(since, s.ID)
			continue
		}
		if voters >= maxVoters || !n.fit(ctx, string(s.ID)) {
			delete(since, s.ID)
			continue
		}
		now := n.cfg.Boot()
		if _, ok := since[s.ID]; !ok {
			since[s.ID] = now
		}
		if now-since[s.ID] >= need {
			n.log.Info("promoting a server to voter", "node", s.ID)
			return waitFuture(ctx, n.raft.AddVoter(s.ID, s.Address, prev, changeTimeout))
		}
	}
	return nil
}

// fit says that a non-voter is a registered member, answers and is nearly caught up.
func (n *Node) fit(ctx context.Context, id string) bool {
	if m, ok := n.fsm.Member(id); !ok || m.Removed {
		return false
	}
	st, err := n.statusOf(ctx, id, leadInterval)
	return err == nil && st.Last+maxPromoteLag >= n.raft.CommitIndex() && st.Applied+maxPromoteLag >= n.fsm.Applied()
}

// status is what a node tells of itself.
type status struct {
	Last    uint64 `json:"last"`
	Applied uint64 `json:"applied"`
}

// statusOf asks a node.
func (n *Node) statusOf(ctx context.Context, id string, wait time.Duration) (status, error) {
	var st status
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	out, err := n.rpc.Call(ctx, id, methodStatus, nil)
	if err != nil {
		return st, err
	}
	if err := json.Unmarshal(out, &st); err != nil {
		return st, fmt.Errorf("read status of node %s: %w", id, err)
	}
	return st, nil
}

// onStatus answers statusOf.
func (n *Node) onStatus(context.Context, string, []byte) ([]byte, error) {
	return json.Marshal(status{Last: n.raft.LastIndex(), Applied: n.fsm.Applied()})
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
		ClientURL: n.cfg.ClientURL, Version: n.cfg.Version, FSMVersion: n.cfg.FSMVersion,
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
		a.Version == b.Version && a.FSMVersion == b.FSMVersion
}

// insist proposes until the command is applied or refused.
func (n *Node) insist(what string, cmd fsm.Command) {
	for n.ctx.Err() == nil {
		_, err := n.Propose(n.ctx, n.self(), "", cmd)
		switch {
		case err == nil:
			return
		case errors.Is(err, resource.ErrNoLeader):
			pause(n.ctx, backoff(4))
		case errors.Is(err, resource.ErrRefused):
			return // the cluster is there
		default:
			n.log.Error("refused by the cluster", "command", what, "error", err)
			return
		}
	}
}
