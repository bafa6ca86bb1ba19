package consensus_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/node/consensus"
	"github.com/conclave-llm/conclave/node/consensus/intake"
	"github.com/conclave-llm/conclave/resource"
)

func TestPropose_withAWrongClock(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("waits until tries are given up")
	}
	ms := three(t)
	l := leader(t, ms)
	write := func(m *machine, team string) error {
		_, err := putTeam(t.Context(), m, team)
		return err
	}
	var bad *machine
	for _, m := range ms {
		if m != l {
			bad = m
		}
	}
	// refused writes by a machine whose clock is off, until it is refused: a leader that was elected just now has not
	// heard the others' clocks.
	refused := func(of func() *machine, off time.Duration) (m *machine, team string) {
		t.Helper()
		tries := 0
		eventually(t, fmt.Sprintf("a clock that is %s off is refused", off), func() bool {
			tries++
			for _, m := range ms {
				if err := write(m, fmt.Sprintf("heard-%s-%s-%d", m.name, off, tries)); err != nil {
					t.Log(err)
					return false
				}
			}
			m, team = of(), fmt.Sprintf("off-%s-%d", off, tries)
			m.skew.Store(int64(off))
			err := write(m, team)
			if err == nil {
				m.skew.Store(0)
				return false
			}
			if !errors.Is(err, resource.ErrNoLeader) {
				t.Errorf("%s off: got %v", off, err)
			}
			return true
		})
		return m, team
	}
	_, team := refused(func() *machine { return bad }, time.Hour)
	if hasTeam(bad, team) {
		t.Error("the entry of a wrong clock was applied")
	}
	bad.skew.Store(0)
	l, _ = refused(func() *machine { return leader(t, ms) }, -time.Hour)
	eventually(t, "another leads", func() bool {
		for _, m := range ms {
			if m != l && m.node.IsLeader() {
				return true
			}
		}
		return false
	})
	for _, m := range ms {
		if m != l {
			if err := write(m, "last-"+m.name); err != nil {
				t.Error(err)
			}
		}
	}
}

func TestPropose_withoutLeader(t *testing.T) {
	t.Parallel()
	a, f := found(t)
	b := member(t, f, a.kek, "b")
	servers := []consensus.Server{{ID: a.id.NodeID, Address: "127.0.0.1:1"}, {ID: b.id.NodeID, Address: "127.0.0.1:2"}}
	b.start(nil, servers...) // its peer never comes
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := putTeam(ctx, b, "t"); !errors.Is(err, resource.ErrNoLeader) {
		t.Errorf("got %v, want ErrNoLeader", err)
	}
	if b.node.Ready() {
		t.Error("ready without a leader")
	}
}

// TestPropose_overloaded fills the leader with imports: they are refused as overloaded on every
// node, and neither changes nor blocks wait behind them.
func TestPropose_overloaded(t *testing.T) {
	t.Parallel()
	l, f := found(t)
	l.windows = intake.Defaults()
	l.windows[intake.Import].Wait = 10 * time.Millisecond
	l.start(&f.Bootstrap)
	ready(t, l)
	follower := joinThrough(t, "b", l, token(t, l))
	ready(t, follower)
	ms := []*machine{l, follower}
	empty, err := l.node.Fill(t.Context(), intake.Import)
	if err != nil {
		t.Fatal(err)
	}
	load := func(m *machine, name string) error {
		var b fsm.Batch
		for i := range 100 {
			it, err := fsm.ItemOf(teamCommand(t, fmt.Sprintf("%s-%d", name, i)))
			if err != nil {
				t.Fatal(err)
			}
			b.Items = append(b.Items, it)
		}
		_, err := m.node.Propose(t.Context(), fsm.Actor{Kind: "master"}, "r-"+name, b)
		return err
	}
	for _, m := range ms {
		if err := load(m, "refused-"+m.name); !errors.Is(err, resource.ErrBusy) || hasTeam(l, "refused-"+m.name+"-0") {
			t.Errorf("an import at %s: got %v", m.name, err)
		}
		if _, err := putTeam(t.Context(), m, "one-"+m.name); err != nil {
			t.Errorf("a change at %s beside imports: %v", m.name, err)
		}
	}
	empty()
	if empty, err = l.node.Fill(t.Context(), intake.Admin); err != nil {
		t.Fatal(err)
	}
	defer empty()
	for _, m := range ms {
		if err := load(m, "taken-"+m.name); err != nil {
			t.Errorf("an import at %s once there is room: %v", m.name, err)
		}
		block := fsm.BlockTeam{ID: "one-" + m.name, Blocked: true}
		if _, err := m.node.Propose(t.Context(), fsm.Actor{Kind: "master"}, "", block); err != nil {
			t.Errorf("a block at %s beside changes that wait: %v", m.name, err)
		}
	}
}
