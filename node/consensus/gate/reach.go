package gate

import (
	"errors"
	"io"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// lookEvery is how often a message that waits for a node looks whether it still has a sender.
const lookEvery = 100 * time.Millisecond

// errAway has raft open its newest snapshot for a node that was away.
var errAway = errors.New("the node was away; it is sent the newest snapshot now")

// reach knows which nodes answer a leader's heartbeats. Raft doubles its pause with each message to a
// node that fails, up to ten seconds, and would find one that is back only as much later as it was away; the
// heartbeats, whose pauses stay short, find it at once. So what is not a heartbeat waits for one that is answered.
type reach struct {
	mu     sync.Mutex
	silent map[raft.ServerID]chan struct{} // closed when the node answers; a node that answers has none
}

// heard takes in whether a heartbeat was answered.
func (r *reach) heard(id raft.ServerID, answered bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	back, silent := r.silent[id]
	switch {
	case answered && silent:
		close(back)
		delete(r.silent, id)
	case !answered && !silent:
		if r.silent == nil {
			r.silent = map[raft.ServerID]chan struct{}{}
		}
		r.silent[id] = make(chan struct{})
	}
}

// back is closed when the node answers again; nil: it is not silent.
func (r *reach) back(id raft.ServerID) <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.silent[id]
}

// heartbeat says that a message is one, as raft's receivers tell them.
func heartbeat(args *raft.AppendEntriesRequest) bool {
	return args.Term != 0 && args.PrevLogEntry == 0 && args.PrevLogTerm == 0 && len(args.Entries) == 0 && args.LeaderCommitIndex == 0
}

// await waits while the node is silent, or this one stalled, as long as raft has something to send to it in
// the term; it says whether it waited.
func (t *Transport) await(id raft.ServerID, term uint64) (waited bool) {
	r := t.raft.Load()
	if r == nil {
		return false
	}
	for {
		back := t.reach.back(id)
		if back == nil && !t.gate.Stalled() || !r.Sends(term, id) {
			return waited
		}
		waited = true
		select {
		case <-back:
		case <-t.stop:
			return true
		case <-time.After(lookEvery):
		}
	}
}

// InstallSnapshot implements raft.Transport.
func (t *Transport) InstallSnapshot(id raft.ServerID, target raft.ServerAddress, args *raft.InstallSnapshotRequest, resp *raft.InstallSnapshotResponse, data io.Reader) error {
	if t.await(id, args.Term) {
		return errAway
	}
	return t.NetworkTransport.InstallSnapshot(id, target, args, resp, data)
}
