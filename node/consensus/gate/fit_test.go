package gate

import (
	"testing"

	"github.com/hashicorp/raft"
)

func TestFit(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name          string
		sizes         []int
		commit        uint64
		sent, reaches uint64
	}{
		{"heartbeat", nil, 9, 0, 9},
		{"small ones", []int{10, 20, 30}, 9, 3, 9},
		{"just so", []int{maxMessage / 2, maxMessage / 2}, 9, 2, 9},
		{"one too many", []int{maxMessage / 2, maxMessage / 2, 1}, 9, 2, 2},
		{"one is too large", []int{2 * maxMessage, 1}, 9, 1, 1},
		{"commit is further back", []int{2 * maxMessage, 1}, 0, 1, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			args := &raft.AppendEntriesRequest{LeaderCommitIndex: tt.commit}
			for i, n := range tt.sizes {
				args.Entries = append(args.Entries, &raft.Log{Index: uint64(i + 1), Data: make([]byte, n)})
			}
			fit(args)
			if got := uint64(len(args.Entries)); got != tt.sent || args.LeaderCommitIndex != tt.reaches {
				t.Errorf("got %d entries, commit %d; want %d, %d", got, args.LeaderCommitIndex, tt.sent, tt.reaches)
			}
		})
	}
}
