package consensus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/conclave-llm/conclave/node/consensus/join"
	"github.com/conclave-llm/conclave/node/consensus/roster"
	"github.com/conclave-llm/conclave/node/transport"
)

const (
	introduceWait = time.Second // for each node
	introducePace = 500 * time.Millisecond
	standingAfter = 5 * time.Second // without a leader, before a node asks whether it was removed
)

// tableAddress is a node's address in the table of members, "" if it is not there.
func (n *Node) tableAddress(id string) string {
	if m, ok := n.fsm.Member(id); ok && !m.Removed {
		return m.Address
	}
	return ""
}

// others are the ids of all other nodes of which anything is known.
func (n *Node) others() []string {
	ids := map[string]bool{}
	for _, m := range n.fsm.Catalog().Tables().Members {
		ids[m.ID] = !m.Removed
	}
	if n.raft != nil {
		for _, s := range n.raft.GetConfiguration().Configuration().Servers {
			ids[string(s.ID)] = true
		}
	}
	for _, id := range n.roster.Nodes() {
		ids[id] = true
	}
	delete(ids, n.id)
	return slices.Sorted(maps.Keys(ids))
}

// introduce tells the others where this node is, and learns where they are, while there is no
// leader that it follows: after a change of addresses that is how the nodes find each other.
func (n *Node) introduce() {
	lonely := n.cfg.Boot()
	for turn := 1; n.ctx.Err() == nil; pause(n.ctx, introducePace) {
		if turn++; turn%fenceEach == 0 {
			n.askFence()
		}
		if n.HasLeader() && n.caughtUp() {
			lonely = n.cfg.Boot()
			if err := n.roster.Keep(n.addresses()); err != nil {
				n.log.Warn("keep the addresses of the nodes", "error", err)
			}
			continue
		}
		if n.Removed() {
			continue
		}
		n.meetAll()
		if n.cfg.Boot()-lonely > standingAfter {
			n.askStanding()
		}
	}
}

// addresses are those of all members, for the file.
func (n *Node) addresses() map[string]string {
	all := map[string]string{}
	for _, m := range n.fsm.Catalog().Tables().Members {
		all[m.ID] = m.Address
	}
	return all
}

// meetAll introduces this node to everybody whose whereabouts are known, at once.
func (n *Node) meetAll() {
	body, err := json.Marshal(n.told())
	if err != nil {
		return // strings and numbers only
	}
	var wg sync.WaitGroup
	ask := func(call func(ctx context.Context) ([]byte, error)) {
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(n.ctx, introduceWait)
			defer cancel()
			var told map[string]roster.Hint
			if out, err := call(ctx); err == nil && json.Unmarshal(out, &told) == nil {
				n.hear(told)
			}
		})
	}
	for _, id := range n.others() {
		ask(func(ctx context.Context) ([]byte, error) { return n.rpc.Call(ctx, id, methodIntroduce, body) })
	}
	for _, addr := range n.cfg.Seeds {
		ask(func(ctx context.Context) ([]byte, error) { return n.rpc.CallAt(ctx, addr, methodIntroduce, body) })
	}
	wg.Wait()
}

// told is all that this node can tell of addresses: its own, and what it was told.
func (n *Node) told() map[string]roster.Hint {
	all := n.roster.Known()
	all[n.id] = roster.Hint{Addr: n.cfg.Transport.Addr(), Since: n.since}
	return all
}

// hear takes in what another node told.
func (n *Node) hear(told map[string]roster.Hint) {
	for id, h := range told {
		m, ok := n.fsm.Member(id)
		if id == n.id || h.Addr == "" || len(h.Addr) > 300 || ok && m.Removed {
			delete(told, id)
		}
	}
	n.roster.Learn(told, n.tableAddress)
}

// onIntroduce answers introduce of another node: where it says that it is it may say itself only.
func (n *Node) onIntroduce(_ context.Context, peerID string, body []byte) ([]byte, error) {
	var told map[string]roster.Hint
	if err := json.Unmarshal(body, &told); err != nil {
		return nil, fmt.Errorf("read an introduction: %w", err)
	}
	if h, ok := told[peerID]; ok && h.Addr != n.tableAddress(peerID) {
		n.log.Debug("a node is elsewhere", "node", peerID, "address", h.Addr)
	}
	n.hear(told)
	return json.Marshal(n.told())
}

// askStanding asks the others whether this node was removed: its certificate is refused by then,
// so that it has no other way to learn why.
func (n *Node) askStanding() {
	info, ok := n.fsm.Cluster()
	if !ok {
		return
	}
	for _, id := range n.others() {
		addr, ok := n.address(id)
		if !ok {
			continue
		}
		ctx, cancel := context.WithTimeout(n.ctx, introduceWait)
		err := join.Standing(ctx, addr, transport.Pin(info.CACert), n.id)
		cancel()
		if errors.Is(err, join.ErrRemoved) && n.removed.CompareAndSwap(false, true) {
			n.log.Error("this node was removed from the cluster; it does not serve any more. To let it in again, start it with an empty data folder and a join token", "told_by", id)
		}
	}
}
