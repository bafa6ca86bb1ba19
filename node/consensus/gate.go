package consensus

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hashicorp/raft"

	"github.com/conclave-llm/conclave/internal/clock"
)

const (
	stallMin    = time.Second      // a write that takes longer, or two heartbeats, is a stall
	applyStall  = 2 * time.Second  // a batch that is not applied by then is one
	quietAfter  = 60 * time.Second // no campaigning after a stall, so that leadership does not flap
	failWindow  = 30 * time.Second
	maxFailures = 3                // failed writes in failWindow end the process
	stallFatal  = 10 * time.Second // a write that hangs this long does
)

// errStalled is what a gated leader's messages end with.
var errStalled = errors.New("this node's disk or state machine is stalled")

// gate knows whether this node can still write and apply. While it cannot, the messages by
// which a leader stays one are held back: Raft itself never notices, because heartbeats do
// not touch the disk. It may be used by several goroutines.
type gate struct {
	boot  clock.Func
	limit time.Duration // of one write
	fatal func(error)   // called at most once

	writing  atomic.Int64              // boot time at which the write under way began; 0: none
	applying atomic.Int64              // the same for a batch of the state machine
	quiet    atomic.Int64              // boot time until which this node does not campaign
	dead     atomic.Bool               // fatal was called
	armed    atomic.Bool               // the node is up: before that, New returns what is wrong
	observe  func(write time.Duration) // nil: nobody measures

	mu       sync.Mutex // guards failures
	failures []time.Duration
}

// newGate makes a gate for a heartbeat timeout.
func newGate(boot clock.Func, heartbeat time.Duration, fatal func(error)) *gate {
	return &gate{boot: boot, limit: max(2*heartbeat, stallMin), fatal: fatal}
}

// begin implements writeWatch.
func (g *gate) begin() { g.writing.Store(int64(g.boot())) }

// end implements writeWatch. A failed sync is never tried again: the kernel may have dropped
// the pages, and the second sync would lie.
func (g *gate) end(err error) {
	now := g.boot()
	if t := g.writing.Swap(0); t != 0 {
		took := now - time.Duration(t)
		if took > g.limit {
			g.quiet.Store(int64(now + quietAfter))
		}
		if g.observe != nil {
			g.observe(took)
		}
	}
	if err == nil {
		return
	}
	if errors.Is(err, syscall.EIO) || g.failing(now) {
		g.die(fmt.Errorf("write Raft's log: %w", err))
	}
}

// damaged implements writeWatch: a node whose log is damaged must not go on.
func (g *gate) damaged(err error) { g.die(err) }

// failing counts a failed write and says whether there were too many.
func (g *gate) failing(now time.Duration) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	for len(g.failures) > 0 && now-g.failures[0] > failWindow {
		g.failures = g.failures[1:]
	}
	g.failures = append(g.failures, now)
	return len(g.failures) >= maxFailures
}

// die calls fatal once, if the node is up.
func (g *gate) die(err error) {
	if g.armed.Load() && g.dead.CompareAndSwap(false, true) {
		g.fatal(err)
	}
}

// stalled says that a write or a batch takes too long, or that the node is about to end.
func (g *gate) stalled() bool {
	now := g.boot()
	if t := g.writing.Load(); t != 0 && now-time.Duration(t) > g.limit {
		return true
	}
	if t := g.applying.Load(); t != 0 && now-time.Duration(t) > applyStall {
		return true
	}
	return g.dead.Load()
}

// check is called now and then; a write that hangs for good ends the process.
func (g *gate) check() {
	if t := g.writing.Load(); t != 0 && g.boot()-time.Duration(t) > stallFatal {
		g.die(fmt.Errorf("write Raft's log: hangs for more than %v", stallFatal))
	}
}

// campaigns says whether the node may ask for votes.
func (g *gate) campaigns() bool {
	return !g.stalled() && g.boot() >= time.Duration(g.quiet.Load())
}

// gatedTransport is raft's network transport with the gate before what a leader and a
// candidate send. It also lets the node tell itself to start an election.
type gatedTransport struct {
	*raft.NetworkTransport
	gate *gate
	in   chan raft.RPC

	stop chan struct{}
	once sync.Once
	wg   sync.WaitGroup
}

// newGatedTransport wraps inner, which it closes.
func newGatedTransport(inner *raft.NetworkTransport, g *gate) *gatedTransport {
	t := &gatedTransport{NetworkTransport: inner, gate: g, in: make(chan raft.RPC), stop: make(chan struct{})}
	t.wg.Go(t.pump)
	return t
}

// pump hands on what comes from the network.
func (t *gatedTransport) pump() {
	for {
		select {
		case <-t.stop:
			return
		case rpc := <-t.NetworkTransport.Consumer():
			select {
			case t.in <- rpc:
			case <-t.stop:
				rpc.Respond(nil, raft.ErrTransportShutdown)
				return
			}
		}
	}
}

// Consumer implements raft.Transport.
func (t *gatedTransport) Consumer() <-chan raft.RPC { return t.in }

// electNow makes this node a candidate at once, as a leader that hands over to it would.
func (t *gatedTransport) electNow(id string) {
	resp := make(chan raft.RPCResponse, 1)
	req := &raft.TimeoutNowRequest{RPCHeader: raft.RPCHeader{
		ProtocolVersion: raft.ProtocolVersionMax, ID: []byte(id), Addr: []byte(t.LocalAddr()),
	}}
	select {
	case t.in <- raft.RPC{Command: req, RespChan: resp}:
	case <-t.stop:
	}
}

// AppendEntries implements raft.Transport.
func (t *gatedTransport) AppendEntries(id raft.ServerID, target raft.ServerAddress, args *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) error {
	if t.gate.stalled() {
		return errStalled
	}
	return t.NetworkTransport.AppendEntries(id, target, args, resp)
}

// AppendEntriesPipeline implements raft.Transport.
func (t *gatedTransport) AppendEntriesPipeline(id raft.ServerID, target raft.ServerAddress) (raft.AppendPipeline, error) {
	if t.gate.stalled() {
		return nil, errStalled
	}
	p, err := t.NetworkTransport.AppendEntriesPipeline(id, target)
	if err != nil {
		return nil, err
	}
	return newGatedPipeline(p, t.gate), nil
}

// RequestPreVote implements raft.WithPreVote.
func (t *gatedTransport) RequestPreVote(id raft.ServerID, target raft.ServerAddress, args *raft.RequestPreVoteRequest, resp *raft.RequestPreVoteResponse) error {
	if !t.gate.campaigns() {
		return errStalled
	}
	return t.NetworkTransport.RequestPreVote(id, target, args, resp)
}

// EncodePeer implements raft.Transport: the address alone, without the node id that
// nodeAddress puts before it.
func (t *gatedTransport) EncodePeer(_ raft.ServerID, addr raft.ServerAddress) []byte {
	return []byte(addr)
}

// Close implements raft.WithClose.
func (t *gatedTransport) Close() error {
	t.once.Do(func() { close(t.stop) })
	err := t.NetworkTransport.Close()
	t.CloseStreams()
	t.wg.Wait()
	return err
}
