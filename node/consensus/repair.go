package consensus

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/node/transport"
	"github.com/conclave-llm/conclave/resource"
)

const (
	repairTimeout = 2 * time.Minute
	snapIdle      = 10 * time.Second // a state that is sent moves at least so often
)

// mayRepair refuses the leader, from which the state would come.
func (n *Node) mayRepair(id string) error {
	if leader, _, _ := n.Leader(); leader == id {
		return fmt.Errorf("it leads; transfer the leadership first: %w", resource.ErrRefused)
	}
	return nil
}

// repair has a node fetch the state anew and ends its quarantine.
func (n *Node) repair(ctx context.Context, c Change) error {
	ctx, cancel := context.WithTimeout(ctx, repairTimeout)
	defer cancel()
	var err error
	if c.ID == n.id {
		err = n.refetch(ctx)
	} else {
		_, err = n.rpc.Call(ctx, c.ID, methodRepair, nil)
	}
	if err != nil {
		return err
	}
	if m, ok := n.fsm.Member(c.ID); ok && m.Quarantined != "" {
		_, err = n.Propose(ctx, c.By, c.RequestID, fsm.MarkMember{ID: c.ID, Mark: fsm.MarkQuarantined, Off: true})
	}
	return err
}

// refetch puts the leader's state in the place of this node's. No entry is applied meanwhile, and
// the state that comes is not older than ours: so none is missed, and what it has already is
// skipped.
func (n *Node) refetch(ctx context.Context) error {
	id, _, ok := n.Leader()
	if !ok {
		return resource.ErrNoLeader
	}
	if id == n.id {
		return n.mayRepair(id)
	}
	resume := n.machine.Hold()
	err := n.fetch(ctx, id)
	resume()
	if err != nil {
		return fmt.Errorf("fetch the state from node %s: %w", id, err)
	}
	n.log.Info("fetched the state anew", "from", id, "index", n.fsm.Applied())
	n.wantSnapshot() // the one before may hold what was wrong
	return nil
}

// fetch restores what the node with an id sends.
func (n *Node) fetch(ctx context.Context, id string) error {
	addr, ok := n.address(id)
	if !ok {
		return errors.New("its address is not known")
	}
	c, err := n.cfg.Transport.DialNode(ctx, addr, transport.Snap, id)
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { _ = c.Close() })() // to end the reads
	if _, err := c.Write(binary.BigEndian.AppendUint64(nil, n.fsm.Applied())); err != nil {
		return errors.Join(err, c.Close())
	}
	return n.fsm.Restore(transport.Idle(c, snapIdle)) // closes c
}

// serveStates sends the state to members that fetch it, until the node stops.
func (n *Node) serveStates() {
	var wg sync.WaitGroup
	defer wg.Wait()
	l := n.cfg.Transport.Listener(transport.Snap)
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		wg.Go(func() {
			defer func() { _ = c.Close() }() // whoever asked sees that it is not whole
			defer context.AfterFunc(n.ctx, func() { _ = c.Close() })()
			if err := n.sendState(c); err != nil {
				n.log.Warn("send the state", "to", n.cfg.Transport.PeerID(c), "error", err)
			}
		})
	}
}

// sendState answers fetch, on the leader.
func (n *Node) sendState(c net.Conn) error {
	var ask [8]byte
	if _, err := io.ReadFull(transport.Idle(c, snapIdle), ask[:]); err != nil {
		return err
	}
	if !n.IsLeader() {
		return resource.ErrNoLeader
	}
	ctx, cancel := context.WithTimeout(n.ctx, snapIdle/2)
	defer cancel()
	if err := n.fsm.WaitApplied(ctx, binary.BigEndian.Uint64(ask[:])); err != nil {
		return err
	}
	s, err := n.fsm.Snapshot()
	if err != nil {
		return err
	}
	defer s.Release()
	return s.Persist(sink{transport.Idle(c, snapIdle)})
}

// sink is a connection as a snapshot is written to it.
type sink struct{ net.Conn }

// ID implements raft.SnapshotSink.
func (sink) ID() string { return "" }

// Cancel implements raft.SnapshotSink.
func (s sink) Cancel() error { return s.Close() }
