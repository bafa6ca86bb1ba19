package consensus

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/hashicorp/raft"

	"github.com/conclave-llm/conclave/node/consensus/logstore"
	"github.com/conclave-llm/conclave/node/consensus/seats"
	"github.com/conclave-llm/conclave/resource"
)

const (
	damagedDir  = "raft.damaged"   // where a damaged log is put
	reseatWait  = 60 * time.Second // of all tries, at a start
	reseatPause = time.Second
)

// isDamaged says that a log cannot be trusted any more.
func isDamaged(err error) bool {
	return errors.Is(err, logstore.ErrCorrupt) || errors.Is(err, logstore.ErrLost)
}

// reseat has the cluster take this node's vote, after which its damaged log may be put aside: a
// node that has forgotten what it acknowledged must not vote, and one without a vote may begin
// with an empty log, which the leader fills. The vote comes back by itself once it has caught up.
// Without others that keep the quorum the damage stays what it is: an error.
func (n *Node) reseat(dir string, cause error) error {
	ctx, cancel := context.WithTimeout(n.ctx, reseatWait)
	defer cancel()
	n.log.Error("this node's log is damaged; it asks the others to go on without its vote, and then fetches everything anew", "error", cause)
	for {
		err := n.askReseat(ctx)
		if err == nil {
			break
		}
		if !errors.Is(err, resource.ErrNoLeader) {
			return fmt.Errorf("%w; the other nodes cannot help: %w", cause, err)
		}
		n.log.Warn("nobody can take this node's vote yet", "error", err)
		if pause(ctx, reseatPause); ctx.Err() != nil {
			return fmt.Errorf("%w; the other nodes cannot help: %w", cause, err)
		}
	}
	aside := filepath.Join(n.cfg.Dir, damagedDir)
	if err := os.RemoveAll(aside); err != nil {
		return fmt.Errorf("put the damaged log aside: %w", err)
	}
	if err := os.Rename(dir, aside); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("put the damaged log aside: %w", err)
	}
	n.log.Warn("this node begins with an empty log", "damaged", aside)
	return nil
}

// askReseat asks the others in turn; resource.ErrNoLeader if it is worth trying again.
func (n *Node) askReseat(ctx context.Context) error {
	err := fmt.Errorf("no other node is known: %w", resource.ErrRefused)
	for _, id := range n.others() {
		ctx, cancel := context.WithTimeout(ctx, changeTimeout)
		_, e := n.rpc.Call(ctx, id, methodReseat, []byte(n.id))
		cancel()
		switch {
		case e == nil:
			return nil
		case errors.Is(e, resource.ErrQuorum), errors.Is(e, resource.ErrDead):
			return e
		}
		err = fmt.Errorf("%w: %w", resource.ErrNoLeader, e)
	}
	return err
}

// onReseat takes the vote of the node that asks, on the leader; elsewhere the leader is asked.
func (n *Node) onReseat(ctx context.Context, peerID string, body []byte) ([]byte, error) {
	id := string(body)
	if n.raft == nil {
		return nil, resource.ErrNoLeader
	}
	if !n.IsLeader() {
		leader, _, ok := n.Leader()
		if !ok || leader == n.id || peerID != id { // forwarded once only
			return nil, resource.ErrNoLeader
		}
		return n.rpc.Call(ctx, leader, methodReseat, body)
	}
	if m, ok := n.fsm.Member(id); ok && m.Removed {
		return nil, fmt.Errorf("node %s was removed: %w", id, resource.ErrDead)
	}
	prev := n.raft.GetConfiguration().Index() // what is decided holds for this configuration only
	s, in := n.server(id)
	if !in || s.Suffrage != raft.Voter {
		return nil, nil
	}
	if err := seats.Check(n.seen(ctx), id); err != nil {
		return nil, err
	}
	n.log.Warn("a node with a damaged log loses its vote until it has caught up", "node", id)
	return nil, waitFuture(ctx, n.raft.DemoteVoter(s.ID, prev, changeTimeout))
}
