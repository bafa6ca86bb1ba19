package consensus_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/node/consensus"
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
	var bad, good *machine
	for _, m := range ms {
		if err := write(m, "first-"+m.name); err != nil {
			t.Fatal(err)
		}
		if m != l && bad == nil {
			bad = m
		} else if m != l {
			good = m
		}
	}
	bad.skew.Store(int64(time.Hour))
	if err := write(bad, "ahead"); !errors.Is(err, resource.ErrNoLeader) || !strings.Contains(err.Error(), "clock") {
		t.Errorf("a follower an hour ahead: got %v", err)
	}
	if hasTeam(l, "ahead") {
		t.Error("the entry of a wrong clock was applied")
	}
	bad.skew.Store(0)
	if err := errors.Join(write(bad, "again"), write(good, "good")); err != nil {
		t.Fatal(err)
	}
	l = leader(t, ms)
	l.skew.Store(-int64(time.Hour))
	if err := write(l, "behind"); !errors.Is(err, resource.ErrNoLeader) {
		t.Errorf("a leader an hour behind: got %v", err)
	}
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
