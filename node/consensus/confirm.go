package consensus

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"github.com/conclave-llm/conclave/resource"
)

// longPoll is how long a peer is asked to wait for an index.
const longPoll = 250 * time.Millisecond

// ConfirmApplied waits, at most for wait, until every registered member has applied index,
// and returns the ids of those that have not confirmed it, sorted. A member that was late
// the last time is named without waiting, and asked again in the background.
func (n *Node) ConfirmApplied(ctx context.Context, index uint64, wait time.Duration) []string {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	var pending []string
	if n.fsm.WaitApplied(ctx, index) != nil {
		pending = append(pending, n.id)
	}
	waits := map[string]<-chan struct{}{}
	for _, m := range n.fsm.Catalog().Tables().Members {
		if m.ID == n.id || m.Removed {
			continue
		}
		if ch, late := n.confirms.watch(m.ID, index); late {
			pending = append(pending, m.ID)
		} else if ch != nil {
			waits[m.ID] = ch
		}
	}
	for id, ch := range waits {
		select {
		case <-ch:
		case <-ctx.Done():
			select {
			case <-ch: // both were ready
			default:
				pending = append(pending, id)
			}
		}
	}
	slices.Sort(pending)
	return pending
}

// confirmer knows how far each peer has applied. Each peer is asked by one goroutine at
// most, for all who wait.
type confirmer struct {
	n  *Node
	wg sync.WaitGroup

	mu    sync.Mutex // guards peers
	peers map[string]*confirmPeer
}

// confirmPeer is what is known of one peer.
type confirmPeer struct {
	applied atomic.Uint64
	late    atomic.Bool // did not answer in time, or lagged, when last asked

	mu      sync.Mutex // guards waiting, asking
	waiting []confirmWait
	asking  bool
}

// confirmWait is one who waits for an index.
type confirmWait struct {
	index uint64
	until time.Time
	done  chan struct{}
}

// newConfirmer makes the confirmer of n.
func newConfirmer(n *Node) *confirmer { return &confirmer{n: n, peers: map[string]*confirmPeer{}} }

// peer returns the entry of a node.
func (c *confirmer) peer(id string) *confirmPeer {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.peers[id]
	if p == nil {
		p = &confirmPeer{}
		c.peers[id] = p
	}
	return p
}

// watch returns a channel that is closed once the peer has applied index; nil if it has.
// late says that the peer was late before: it is asked, but nobody should wait.
func (c *confirmer) watch(id string, index uint64) (ch <-chan struct{}, late bool) {
	p := c.peer(id)
	if p.applied.Load() >= index {
		return nil, false
	}
	w := confirmWait{index: index, until: time.Now().Add(2 * longPoll), done: make(chan struct{})}
	p.mu.Lock()
	p.waiting = append(p.waiting, w)
	if !p.asking {
		p.asking = true
		c.wg.Go(func() { c.ask(id, p) })
	}
	p.mu.Unlock()
	return w.done, p.late.Load()
}

// ask polls the peer as long as somebody waits.
func (c *confirmer) ask(id string, p *confirmPeer) {
	for {
		want, ok := p.next()
		if !ok {
			return
		}
		got, err := c.n.appliedOf(c.n.ctx, id, want, longPoll)
		p.late.Store(err != nil || got < want)
		if got > p.applied.Load() {
			p.applied.Store(got)
		}
		p.release(err != nil || c.n.ctx.Err() != nil)
	}
}

// next is the lowest index that somebody waits for.
func (p *confirmPeer) next() (uint64, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.waiting) == 0 {
		p.asking = false
		return 0, false
	}
	lowest := p.waiting[0].index
	for _, w := range p.waiting {
		lowest = min(lowest, w.index)
	}
	return lowest, true
}

// release wakes those whose index is applied, and forgets those whose time is up.
func (p *confirmPeer) release(all bool) {
	applied, now := p.applied.Load(), time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.waiting = slices.DeleteFunc(p.waiting, func(w confirmWait) bool {
		if w.index <= applied {
			close(w.done)
			return true
		}
		return all || now.After(w.until)
	})
}

// wait waits for the goroutines, which end with the node.
func (c *confirmer) wait() { c.wg.Wait() }

// appliedOf asks a peer for its applied index, once it reaches want or after wait.
func (n *Node) appliedOf(ctx context.Context, id string, want uint64, wait time.Duration) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, wait+longPoll)
	defer cancel()
	req := binary.BigEndian.AppendUint64(nil, want)
	req = binary.BigEndian.AppendUint32(req, uint32(wait.Milliseconds()))
	out, err := n.rpc.Call(ctx, id, methodApplied, req)
	if err != nil {
		return 0, err
	}
	if len(out) != 8 {
		return 0, fmt.Errorf("read applied index of node %s: %d bytes", id, len(out))
	}
	return binary.BigEndian.Uint64(out), nil
}

// onApplied answers appliedOf.
func (n *Node) onApplied(ctx context.Context, _ string, body []byte) ([]byte, error) {
	if len(body) != 12 {
		return nil, fmt.Errorf("read index: %w", resource.ErrRefused)
	}
	wait := time.Duration(binary.BigEndian.Uint32(body[8:])) * time.Millisecond
	ctx, cancel := context.WithTimeout(ctx, min(wait, 2*time.Second))
	defer cancel()
	_ = n.fsm.WaitApplied(ctx, binary.BigEndian.Uint64(body)) // late is an answer too
	return binary.BigEndian.AppendUint64(nil, n.fsm.Applied()), nil
}

// LeaderIndex asks the leader for the newest committed entry, waits until this node has
// applied it, and returns its index: what is then read here is at least as new as anything
// that anybody had seen before the call. Many callers share one question, which is always
// asked after the latest of them came; there are at most 50 a second.
func (n *Node) LeaderIndex(ctx context.Context) (uint64, error) {
	index, err := n.leaderIdx.Do(ctx)
	if err != nil {
		return 0, err
	}
	if err := n.fsm.WaitApplied(ctx, index); err != nil {
		return 0, fmt.Errorf("wait for index %d: %w", index, err)
	}
	return index, nil
}

// askLeaderIndex asks once; while nobody leads it waits, a second at most: elections take less.
func (n *Node) askLeaderIndex() (uint64, error) {
	ctx, cancel := context.WithTimeout(n.ctx, time.Second)
	defer cancel()
	if err := n.idxRate.Wait(ctx); err != nil {
		return 0, fmt.Errorf("ask for the leader's index: %w", err)
	}
	id, _, ok := n.Leader()
	for ; !ok; id, _, ok = n.Leader() {
		if pause(ctx, 10*time.Millisecond); ctx.Err() != nil {
			return 0, resource.ErrNoLeader
		}
	}
	if id == n.id {
		return n.readIndex(ctx)
	}
	out, err := n.rpc.Call(ctx, id, methodIndex, nil)
	if err != nil {
		return 0, err
	}
	if len(out) != 8 {
		return 0, fmt.Errorf("read the leader's index: %d bytes", len(out))
	}
	return binary.BigEndian.Uint64(out), nil
}

// onIndex answers askLeaderIndex.
func (n *Node) onIndex(ctx context.Context, _ string, _ []byte) ([]byte, error) {
	index, err := n.readIndex(ctx)
	if err != nil {
		return nil, err
	}
	return binary.BigEndian.AppendUint64(nil, index), nil
}

// readIndex is the newest committed entry that reaches the state machine, as this leader
// knows it after most voters confirmed that it leads. A new leader knows what is committed
// only once an entry of its own term is, hence the barrier.
func (n *Node) readIndex(ctx context.Context) (uint64, error) {
	if !n.IsLeader() {
		return 0, resource.ErrNoLeader
	}
	term := n.raft.CurrentTerm()
	if n.settled.Load() != term {
		if err := waitFuture(ctx, n.raft.Barrier(changeTimeout)); err != nil {
			return 0, fmt.Errorf("%w: %w", resource.ErrNoLeader, err)
		}
	}
	index, err := n.lastForState(n.raft.CommitIndex())
	if err != nil {
		return 0, fmt.Errorf("%w: %w", resource.ErrNoLeader, err)
	}
	if err := waitFuture(ctx, n.raft.VerifyLeader()); err != nil {
		return 0, fmt.Errorf("%w: %w", resource.ErrNoLeader, err)
	}
	if n.raft.CurrentTerm() != term { // another led meanwhile, and may have committed more
		return 0, resource.ErrNoLeader
	}
	return index, nil
}

// lastForState is the last entry up to index that the state machine gets: not those by which
// raft marks the beginning of a term, and barriers.
func (n *Node) lastForState(index uint64) (uint64, error) {
	var l raft.Log
	for ; index > 0; index-- {
		err := n.store.GetLog(index, &l)
		if errors.Is(err, raft.ErrLogNotFound) {
			return n.fsm.Applied(), nil // it is in a snapshot, so it was applied long ago
		}
		if err != nil {
			return 0, err
		}
		if l.Type == raft.LogCommand || l.Type == raft.LogConfiguration {
			break
		}
	}
	return index, nil
}
