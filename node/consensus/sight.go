package consensus

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/conclave-llm/conclave/node/consensus/seats"
)

// lookEvery is how often a leader asks voters how they are; the others it asks each time.
const lookEvery = time.Second

// status is what a node tells of itself.
type status struct {
	Last       uint64 `json:"last"`
	Applied    uint64 `json:"applied"`
	Generation uint64 `json:"generation,omitempty"` // of its state
	FSMVersion uint32 `json:"fsm_version,omitempty"`
	FSMOldest  uint32 `json:"fsm_oldest,omitempty"`
	Stalled    bool   `json:"stalled,omitempty"`
	Contact    int64  `json:"contact,omitempty"` // nanoseconds since it heard a leader; 0: it leads, or never did
	Clock      int64  `json:"clock,omitempty"`   // its wall clock, Unix nanoseconds; 0: its program does not tell
	Local      Local  `json:"local,omitzero"`
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

// status is this node's own.
func (n *Node) status() status {
	st := status{
		Last: n.raft.LastIndex(), Applied: n.fsm.Applied(), Generation: n.fsm.Generation(), FSMVersion: n.cfg.FSMVersion, FSMOldest: n.cfg.FSMOldest,
		Stalled: n.gate.Stalled(), Clock: n.cfg.Now().UnixNano(), Local: n.cfg.Describe(),
	}
	if t := n.raft.LastContact(); !n.IsLeader() && !t.IsZero() {
		st.Contact = int64(time.Since(t))
	}
	return st
}

// onStatus answers statusOf.
func (n *Node) onStatus(context.Context, string, []byte) ([]byte, error) {
	return json.Marshal(n.status())
}

// sight is what a leader saw of one node, in boot time. Its term begins with nobody seen: a
// node is never older dead than this leader is old.
type sight struct {
	asked time.Duration
	seen  time.Duration // of the last answer, or of the first question
	fit   time.Duration // since when it is fit; 0: it is not
	alive bool
	status
}

// sights are those of one leader, by node.
type sights map[string]*sight

// look asks the nodes how they are, those that vote once a second.
func (n *Node) look(ctx context.Context, seen sights) {
	var wg sync.WaitGroup
	now := n.cfg.Boot()
	for _, s := range n.raft.GetConfiguration().Configuration().Servers {
		id := string(s.ID)
		if id == n.id {
			continue
		}
		at := seen[id]
		if at == nil {
			at = &sight{seen: now}
			seen[id] = at
		} else if s.Suffrage == raft.Voter && now-at.asked < lookEvery {
			continue
		}
		at.asked = now
		wg.Go(func() { n.lookAt(ctx, id, at) })
	}
	wg.Wait()
}

// lookAt asks one node.
func (n *Node) lookAt(ctx context.Context, id string, at *sight) {
	st, err := n.statusOf(ctx, id, leadInterval)
	now := n.cfg.Boot()
	if at.alive = err == nil; !at.alive {
		at.fit = 0
		return
	}
	at.status, at.seen = st, now
	switch fit := st.Last+maxPromoteLag >= n.raft.CommitIndex() && st.Applied+maxPromoteLag >= n.fsm.Applied(); {
	case !fit:
		at.fit = 0
	case at.fit == 0:
		at.fit = now
	}
}

// seats are the servers as this leader knows them.
func (n *Node) seats(servers []raft.Server, seen sights) []seats.Seat {
	now := n.cfg.Boot()
	out := make([]seats.Seat, len(servers))
	for i, s := range servers {
		id := string(s.ID)
		out[i] = n.seat(s)
		if id == n.id {
			out[i].Leader, out[i].Alive = true, true
			continue
		}
		if at := seen[id]; at != nil {
			out[i].Alive = at.alive
			if !at.alive {
				out[i].Out = now - at.seen
			} else if at.fit != 0 {
				out[i].Fit = max(1, now-at.fit)
			}
		}
	}
	return out
}

// seat is a server without what is seen of it.
func (n *Node) seat(s raft.Server) seats.Seat {
	out := seats.Seat{ID: string(s.ID), Voter: s.Suffrage == raft.Voter}
	if m, ok := n.fsm.Member(out.ID); ok {
		out.Known, out.Removed, out.MayVote = true, m.Removed, m.MayVote()
	}
	return out
}

// unfitToLead says why this node should not lead, if another can.
func (n *Node) unfitToLead() string {
	m, ok := n.fsm.Member(n.id)
	switch {
	case ok && m.Drained:
		return "it is drained"
	case ok && m.Quarantined != "":
		return "it is quarantined"
	}
	switch l := n.cfg.Describe(); {
	case l.Draining:
		return "it is about to stop"
	case l.DiskLow:
		return "its disk is nearly full"
	}
	return ""
}

// handOver gives the office to a voter that is fitter, and says whether there was one.
func (n *Node) handOver(ctx context.Context, servers []raft.Server, seen sights, why string) bool {
	for _, s := range servers {
		at := seen[string(s.ID)]
		m, ok := n.fsm.Member(string(s.ID))
		if s.Suffrage != raft.Voter || at == nil || !at.alive || at.Stalled || at.Local.DiskLow || at.Local.Draining || !ok || m.Drained || !m.MayVote() {
			continue
		}
		n.log.Warn("this leader hands over", "why", why, "to", s.ID)
		if err := waitFuture(ctx, n.raft.LeadershipTransferToServer(s.ID, s.Address)); err != nil {
			n.log.Warn("hand leadership over", "error", err)
			continue
		}
		return true
	}
	return false
}
