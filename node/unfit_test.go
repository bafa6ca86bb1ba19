package node

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/ledger"
	"github.com/conclave-llm/conclave/ledger/tick"
	"github.com/conclave-llm/conclave/resource"
)

// refusing encodes commands as the consensus does, and then has no leader.
type refusing struct{}

func (refusing) Propose(_ context.Context, by fsm.Actor, _ string, cmd fsm.Command) (fsm.Result, error) {
	if _, err := fsm.Encode(fsm.Envelope{Actor: by}, cmd); err != nil {
		return fsm.Result{}, err
	}
	return fsm.Result{}, resource.ErrNoLeader
}

// TestMoney_Unfit tells ticks that no log ever takes from those that have to wait.
func TestMoney_Unfit(t *testing.T) {
	t.Parallel()
	state, err := fsm.Open(fsm.Config{Dir: t.TempDir(), NodeID: "n1"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = state.Close() })
	m := &money{nodeID: "n1", state: state, propose: refusing{}, boot: func() time.Duration { return 0 }, now: time.Now}
	var many []ledger.SpendDelta
	for i := range 20_000 {
		many = append(many, ledger.SpendDelta{Customer: fmt.Sprint(i, strings.Repeat("c", 500))})
	}
	for _, tt := range []struct {
		name  string
		spend []ledger.SpendDelta
		want  error
	}{
		{"no leader", []ledger.SpendDelta{{Customer: "José"}}, resource.ErrNoLeader},
		{"a name that is not UTF-8", []ledger.SpendDelta{{Customer: "Jos\xe9"}}, tick.ErrUnfit},
		{"too large", many, tick.ErrUnfit},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if _, err := m.submit(t.Context(), tick.Tick{Node: "n1", Epoch: 1, Seq: 1, Spend: tt.spend}); !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
		})
	}
}
