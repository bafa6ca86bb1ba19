package gate

import (
	"io"

	"github.com/hashicorp/raft"
)

// History is what this node's disk has of the log.
type History interface {
	// Covered is the end of the newest snapshot, if the log lacks the entry at an index that the
	// snapshot covers, and 0 else.
	Covered(at uint64) uint64
	// Has says whether the log has the entry of a term at an index.
	Has(index, term uint64) bool
}

// overlap makes of a leader's message one that this node's raft understands whose log begins behind
// the message's start: what a snapshot covers is committed, and so the same on every node. raft
// compares with its log alone, refuses, and gets a snapshot that is older than its log; it then
// empties the log, still believes in its last entry, and refuses for ever. A snapshot counts only if
// raft has applied it: one that could not be restored lies on the disk, too.
func overlap(h History, applied uint64, req *raft.AppendEntriesRequest) {
	if req.PrevLogEntry == 0 {
		return
	}
	covered := h.Covered(req.PrevLogEntry)
	if covered == 0 || covered > applied {
		return
	}
	entries := req.Entries
	for len(entries) > 0 && entries[0].Index <= covered {
		entries = entries[1:]
	}
	last := covered
	if n := len(entries); n > 0 {
		last = entries[n-1].Index
	}
	req.PrevLogEntry, req.PrevLogTerm, req.Entries = 0, 0, entries // raft does not compare with 0
	req.LeaderCommitIndex = min(req.LeaderCommitIndex, last)
}

// superfluous says that a snapshot from a leader ends at an entry that this node has, and what follows
// it: then it is thrown away, as Raft has it, and the log stays.
func superfluous(h History, applied uint64, rpc raft.RPC) bool {
	req, ok := rpc.Command.(*raft.InstallSnapshotRequest)
	if !ok || req.LastLogIndex > applied && !h.Has(req.LastLogIndex, req.LastLogTerm) {
		return false
	}
	go func() { // ends with the sender's connection
		_, err := io.Copy(io.Discard, rpc.Reader)
		rpc.Respond(&raft.InstallSnapshotResponse{
			RPCHeader: raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax}, Term: req.Term, Success: err == nil,
		}, err)
	}()
	return true
}
