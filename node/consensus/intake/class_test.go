package intake_test

import (
	"testing"

	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/node/consensus/intake"
)

func TestClassOf(t *testing.T) {
	t.Parallel()
	batch := func(n int, more ...fsm.Command) fsm.Batch {
		var b fsm.Batch
		for range n {
			b.Items = append(b.Items, fsm.Item{Kind: fsm.KindPutKey})
		}
		for _, cmd := range more {
			b.Items = append(b.Items, fsm.Item{Kind: fsm.KindOf(cmd)})
		}
		return b
	}
	for _, tt := range []struct {
		name string
		cmd  fsm.Command
		size int
		want intake.Class
	}{
		{"a key", fsm.PutKey{}, 500, intake.Admin},
		{"a very large record", fsm.PutModel{}, 1 << 20, intake.Import},
		{"a block", fsm.BlockKey{}, 100, intake.Urgent},
		{"a delete", fsm.DeleteKey{}, 100, intake.Urgent},
		{"a member", fsm.RegisterMember{}, 100, intake.Urgent},
		{"ticks", fsm.TickGroup{}, 1 << 20, intake.Node},
		{"a team with its members", batch(5), 5000, intake.Admin},
		{"keys in bulk", batch(1000), 500_000, intake.Import},
		{"a team deleted with its keys", batch(0, fsm.DeleteKey{}, fsm.DeleteTeam{}), 300, intake.Urgent},
		{"a change that deletes a key", batch(1000, fsm.DeleteKey{}), 500_000, intake.Urgent},
		{"prices", fsm.PutPrices{}, 300_000, intake.Import},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := intake.ClassOf(tt.cmd, tt.size); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}
