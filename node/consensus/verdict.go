package consensus

import (
	"context"
	"encoding/binary"
	"errors"
	"sync"
	"time"

	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/node/consensus/seats"
)

// hashWait is how long a node is given to reach the index whose state hash is asked for.
const hashWait = 2 * time.Second

// onHash answers with the state hash at an index, once this node has applied it.
func (n *Node) onHash(ctx context.Context, _ string, body []byte) ([]byte, error) {
	if len(body) != 8 {
		return nil, errors.New("malformed question for a state hash")
	}
	index := binary.BigEndian.Uint64(body)
	if err := n.fsm.WaitApplied(ctx, index); err != nil {
		return nil, err
	}
	h, ok := n.fsm.HashAt(index)
	if !ok {
		return nil, errors.New("the state hash at that index is not kept any more")
	}
	return h[:], nil
}

// judge asks all members for their state hash at one index and quarantines those that differ from
// most; a cluster without a majority for one state only raises the alarm.
func (n *Node) judge(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, hashWait)
	defer cancel()
	index, mine := n.fsm.Hash()
	var mu sync.Mutex
	hashes := map[string][16]byte{n.id: mine}
	var wg sync.WaitGroup
	for _, m := range n.fsm.Catalog().Tables().Members {
		if m.ID == n.id || m.Removed {
			continue
		}
		wg.Go(func() {
			hash, err := n.hashAt(ctx, m.ID, index)
			if err != nil {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			hashes[m.ID] = hash
		})
	}
	wg.Wait()
	for _, id := range seats.Odd(hashes) {
		n.quarantine(id, index)
	}
}

// hashAt asks a node for its state hash at an index.
func (n *Node) hashAt(ctx context.Context, id string, index uint64) ([16]byte, error) {
	out, err := n.rpc.Call(ctx, id, methodHash, binary.BigEndian.AppendUint64(nil, index))
	if err == nil && len(out) != 16 {
		err = errors.New("malformed state hash")
	}
	if err != nil {
		return [16]byte{}, err
	}
	return [16]byte(out), nil
}

// quarantine takes a node out of service until it has fetched the state anew.
func (n *Node) quarantine(id string, index uint64) {
	if m, ok := n.fsm.Member(id); !ok || m.Removed || m.Quarantined != "" {
		return
	}
	ctx, cancel := context.WithTimeout(n.ctx, changeTimeout)
	defer cancel()
	since := n.partedAt(ctx, id)
	n.log.Error("a node is quarantined: its state differs from that of most", "node", id, "index", index, "since", since)
	_, err := n.Propose(ctx, n.self(), "", fsm.MarkMember{
		ID: id, Mark: fsm.MarkQuarantined, Reason: "its state differs from that of most nodes" + since + "; run conclave cluster repair",
	})
	if err != nil {
		n.log.Error("quarantine a node", "node", id, "error", err)
	}
}
