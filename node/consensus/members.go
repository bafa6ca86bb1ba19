package consensus

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/resource"
)

// statusWait is how long Members waits for each node.
const statusWait = 300 * time.Millisecond

// poll fills in what the nodes tell of themselves, all at once.
func (n *Node) poll(ctx context.Context, members map[string]*MemberStatus) {
	var wg sync.WaitGroup
	for id, m := range members {
		if id == n.id {
			m.Applied, m.Reachable = n.fsm.Applied(), true
			continue
		}
		wg.Go(func() {
			if st, err := n.statusOf(ctx, id, statusWait); err == nil {
				m.Applied, m.Reachable = st.Applied, true
			}
		})
	}
	wg.Wait()
}

// cmpStrings compares a to b, then c to d.
func cmpStrings(a, b, c, d string) int {
	return cmp.Or(strings.Compare(a, b), strings.Compare(c, d))
}

// JoinToken makes a token with which one node can join until ttl is over. It is shown once;
// the cluster keeps its hash.
func (n *Node) JoinToken(ctx context.Context, by fsm.Actor, requestID string, ttl time.Duration) (string, error) {
	info, ok := n.fsm.Cluster()
	if !ok {
		return "", fmt.Errorf("make join token: %w", resource.ErrNoLeader)
	}
	tok, err := newToken(info.ClusterID, info.CACert)
	if err != nil {
		return "", err
	}
	_, err = n.Propose(ctx, by, requestID, fsm.PutJoinToken{
		Hash: hashToken(tok.secret[:]), Expires: resource.At(time.Now().Add(ttl)),
	})
	if err != nil {
		return "", fmt.Errorf("make join token: %w", err)
	}
	return tok.String(), nil
}

// Remove takes a node out of the cluster for good: its id is dead, its connections end, and
// it is taken out of Raft's configuration. It returns when that is done. The only voter
// cannot be removed.
func (n *Node) Remove(ctx context.Context, by fsm.Actor, requestID, id string) error {
	s, in := n.server(id)
	if _, ok := n.fsm.Member(id); !ok && !in {
		return fmt.Errorf("remove node %s: %w", id, resource.ErrNotFound)
	}
	if in && s.Suffrage == raft.Voter && n.voters() == 1 {
		return fmt.Errorf("remove node %s: it is the only voter: %w", id, resource.ErrRefused)
	}
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
	for {
		if _, in := n.server(id); !in {
			n.cfg.Transport.Sweep()
			return nil
		}
		if pause(ctx, 20*time.Millisecond); ctx.Err() != nil {
			return fmt.Errorf("remove node %s: it is barred; still in the configuration: %w", id, ctx.Err())
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
	for {
		if now, _, ok := n.Leader(); ok && now != old {
			return nil
		}
		if pause(ctx, 10*time.Millisecond); ctx.Err() != nil {
			return fmt.Errorf("transfer leadership: %w: %w", resource.ErrNoLeader, ctx.Err())
		}
	}
}

// transfer hands this leader's office over.
func (n *Node) transfer(ctx context.Context, id string) error {
	if id == "" {
		return waitFuture(ctx, n.raft.LeadershipTransfer())
	}
	s, ok := n.server(id)
	if !ok {
		return fmt.Errorf("node %s: %w", id, resource.ErrNotFound)
	}
	if s.Suffrage != raft.Voter {
		return fmt.Errorf("node %s does not vote: %w", id, resource.ErrRefused)
	}
	return waitFuture(ctx, n.raft.LeadershipTransferToServer(s.ID, s.Address))
}

// onTransfer answers Transfer of another node.
func (n *Node) onTransfer(ctx context.Context, _ string, body []byte) ([]byte, error) {
	if !n.IsLeader() {
		return nil, resource.ErrNoLeader
	}
	return nil, n.transfer(ctx, string(body))
}
