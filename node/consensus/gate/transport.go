package gate

import (
	"sync"
	"sync/atomic"

	"github.com/hashicorp/raft"
)

// Transport is raft's network transport with the gate before what a leader and a
// candidate send. It also lets the node tell itself to start an election.
type Transport struct {
	*raft.NetworkTransport
	gate    *Gate
	history History
	raft    atomic.Pointer[Raft] // see Know
	reach   reach
	held    atomic.Bool // see HoldVotes
	in      chan raft.RPC

	stop chan struct{}
	once sync.Once
	wg   sync.WaitGroup
}

// NewTransport wraps inner, which it closes.
func NewTransport(inner *raft.NetworkTransport, g *Gate, h History) *Transport {
	t := &Transport{NetworkTransport: inner, gate: g, history: h, in: make(chan raft.RPC), stop: make(chan struct{})}
	t.wg.Go(t.pump)
	return t
}

// pump hands on what comes from the network.
func (t *Transport) pump() {
	for {
		select {
		case <-t.stop:
			return
		case rpc := <-t.NetworkTransport.Consumer():
			if t.smooth(rpc) {
				continue
			}
			select {
			case t.in <- rpc:
			case <-t.stop:
				rpc.Respond(nil, raft.ErrTransportShutdown)
				return
			}
		}
	}
}

// Raft is what a Transport asks the raft that it serves.
type Raft struct {
	Applied func() uint64                            // the newest entry of its state machine
	Sends   func(term uint64, to raft.ServerID) bool // it leads in the term, and the node is one of its cluster's
}

// Know says whom the transport serves. Until then every message goes through as it is.
func (t *Transport) Know(r Raft) { t.raft.Store(&r) }

// HoldVotes has this node neither give votes nor ask for them, or ends that.
func (t *Transport) HoldVotes(held bool) { t.held.Store(held) }

// smooth mends or answers what raft would fall over, and what must not be answered yet; true: it is answered.
func (t *Transport) smooth(rpc raft.RPC) bool {
	switch rpc.Command.(type) {
	case *raft.RequestVoteRequest, *raft.RequestPreVoteRequest:
		if t.held.Load() {
			rpc.Respond(nil, ErrHeld)
			return true
		}
	}
	r := t.raft.Load()
	if r == nil {
		return false
	}
	if req, ok := rpc.Command.(*raft.AppendEntriesRequest); ok {
		overlap(t.history, r.Applied(), req)
		return false
	}
	return superfluous(t.history, r.Applied(), rpc)
}

// Consumer implements raft.Transport.
func (t *Transport) Consumer() <-chan raft.RPC { return t.in }

// ElectNow makes this node a candidate at once, as a leader that hands over to it would.
func (t *Transport) ElectNow(id string) {
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
func (t *Transport) AppendEntries(id raft.ServerID, target raft.ServerAddress, args *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) error {
	beat := heartbeat(args)
	if !beat {
		t.await(id, args.Term)
	}
	if t.gate.Stalled() {
		return ErrStalled
	}
	fit(args)
	err := t.NetworkTransport.AppendEntries(id, target, args, resp)
	if beat {
		t.reach.heard(id, err == nil)
	}
	return err
}

// AppendEntriesPipeline implements raft.Transport.
func (t *Transport) AppendEntriesPipeline(id raft.ServerID, target raft.ServerAddress) (raft.AppendPipeline, error) {
	if t.gate.Stalled() {
		return nil, ErrStalled
	}
	p, err := t.NetworkTransport.AppendEntriesPipeline(id, target)
	if err != nil {
		return nil, err
	}
	return newPipeline(p, t.gate), nil
}

// RequestPreVote implements raft.WithPreVote.
func (t *Transport) RequestPreVote(id raft.ServerID, target raft.ServerAddress, args *raft.RequestPreVoteRequest, resp *raft.RequestPreVoteResponse) error {
	switch {
	case t.held.Load():
		return ErrHeld
	case !t.gate.campaigns():
		return ErrStalled
	}
	return t.NetworkTransport.RequestPreVote(id, target, args, resp)
}

// RequestVote implements raft.Transport.
func (t *Transport) RequestVote(id raft.ServerID, target raft.ServerAddress, args *raft.RequestVoteRequest, resp *raft.RequestVoteResponse) error {
	if t.held.Load() {
		return ErrHeld
	}
	return t.NetworkTransport.RequestVote(id, target, args, resp)
}

// EncodePeer implements raft.Transport: the address alone, without what the
// provider of addresses may have put before it.
func (t *Transport) EncodePeer(_ raft.ServerID, addr raft.ServerAddress) []byte {
	return []byte(addr)
}

// Close implements raft.WithClose.
func (t *Transport) Close() error {
	t.once.Do(func() { close(t.stop) })
	err := t.NetworkTransport.Close()
	t.CloseStreams()
	t.wg.Wait()
	return err
}
