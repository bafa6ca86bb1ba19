package gate

import (
	"bytes"
	"testing"

	"github.com/hashicorp/raft"
)

// disk is a History: a snapshot up to 76, and the log from 77 on, of term 2.
type disk struct{}

func (disk) Covered(at uint64) uint64 {
	if at >= 77 {
		return 0
	}
	return 76
}

func (disk) Has(index, term uint64) bool { return index >= 77 && index <= 80 && term == 2 }

func entries(indexes ...uint64) (out []*raft.Log) {
	for _, i := range indexes {
		out = append(out, &raft.Log{Index: i, Term: 2})
	}
	return out
}

func TestOverlap(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name                   string
		prev, commit, applied  uint64
		sent                   []*raft.Log
		wantPrev, wantCommit   uint64
		wantFirst, wantEntries int
	}{
		{"the snapshot's last entry", 76, 90, 80, entries(77, 78), 0, 78, 77, 2},
		{"before it", 74, 90, 80, entries(75, 76, 77), 0, 77, 77, 1},
		{"all of it is covered", 70, 90, 80, entries(71, 72), 0, 76, 0, 0},
		{"a question only", 76, 70, 80, nil, 0, 70, 0, 0},
		{"the log has it", 78, 90, 80, entries(79), 78, 90, 79, 1},
		{"the beginning", 0, 90, 80, entries(1), 0, 90, 1, 1},
		{"a snapshot that could not be restored", 76, 90, 50, entries(77), 76, 90, 77, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			req := &raft.AppendEntriesRequest{PrevLogEntry: tt.prev, PrevLogTerm: 2, Entries: tt.sent, LeaderCommitIndex: tt.commit}
			overlap(disk{}, tt.applied, req)
			first := 0
			if len(req.Entries) > 0 {
				first = int(req.Entries[0].Index)
			}
			if req.PrevLogEntry != tt.wantPrev || req.LeaderCommitIndex != tt.wantCommit || first != tt.wantFirst || len(req.Entries) != tt.wantEntries {
				t.Errorf("got prev %d, commit %d, %d entries from %d", req.PrevLogEntry, req.LeaderCommitIndex, len(req.Entries), first)
			}
		})
	}
}

func TestSuperfluous(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name        string
		index, term uint64
		want        bool
	}{
		{"applied long ago", 60, 1, true},
		{"in the log", 79, 2, true},
		{"in the log, of another term", 79, 1, false},
		{"newer than all", 90, 2, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			body := bytes.NewReader(make([]byte, 1000))
			resp := make(chan raft.RPCResponse, 1)
			rpc := raft.RPC{Command: &raft.InstallSnapshotRequest{Term: 2, LastLogIndex: tt.index, LastLogTerm: tt.term}, Reader: body, RespChan: resp}
			if got := superfluous(disk{}, 76, rpc); got != tt.want {
				t.Fatalf("got %v, want %v", got, tt.want)
			}
			if !tt.want {
				return
			}
			r := <-resp
			if a, ok := r.Response.(*raft.InstallSnapshotResponse); !ok || !a.Success || r.Error != nil || body.Len() != 0 {
				t.Errorf("answer %+v, %d bytes not read", r, body.Len())
			}
		})
	}
}
