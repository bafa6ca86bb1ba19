package consensus_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/node/consensus"
	"github.com/conclave-llm/conclave/node/consensus/join"
	"github.com/conclave-llm/conclave/resource"
)

// TestRemove_twoAtOnce has two operators each remove a node that the cluster could do without, while a
// third is down. What each looked at before is old when its entry reaches the leader.
func TestRemove_twoAtOnce(t *testing.T) {
	t.Parallel()
	ms := together(t, "b", "c", "d")
	l := leader(t, ms)
	rest := slices.DeleteFunc(slices.Clone(ms), func(m *machine) bool { return m == l })
	x, y, d := rest[0], rest[1], rest[2]
	y.stop(true)
	bury := func(m *machine) error {
		_, err := x.node.Propose(t.Context(), fsm.Actor{Kind: "master"}, "r", fsm.RemoveMember{ID: m.id.NodeID})
		return err
	}
	first, second := make(chan error, 1), make(chan error, 1)
	go func() { first <- bury(d) }()
	go func() { second <- bury(x) }()
	err1, err2 := <-first, <-second
	if (err1 == nil) == (err2 == nil) {
		t.Fatalf("got %v and %v, want one of them refused", err1, err2)
	}
	if err := errors.Join(err1, err2); !errors.Is(err, resource.ErrQuorum) || !strings.Contains(err.Error(), "1 of 2 voters") {
		t.Errorf("got %v, want ErrQuorum with the count", err)
	}
	if _, err := putTeam(t.Context(), l, "after"); err != nil {
		t.Errorf("the cluster has no leader any more: %v", err)
	}
	y.restart()
	ready(t, y)
}

// together founds a cluster in which all vote from the start: one called a, and those of the names.
func together(t testing.TB, names ...string) []*machine {
	t.Helper()
	a, f := found(t)
	ms := []*machine{a}
	for _, name := range names {
		ms = append(ms, member(t, f, a.kek, name))
	}
	var servers []consensus.Server
	for _, m := range ms {
		m.open()
		servers = append(servers, consensus.Server{ID: m.id.NodeID, Address: m.tr.Addr()})
	}
	start := time.Now()
	for i, m := range ms {
		boot := &f.Bootstrap
		if i > 0 {
			boot = nil
		}
		m.start(boot, servers...)
	}
	for _, m := range ms {
		ready(t, m)
	}
	t.Logf("ready after %v", time.Since(start))
	for _, m := range ms {
		eventually(t, "all are registered", func() bool { return voters(m) == len(ms) })
	}
	return ms
}

// TestReplace_afterADeath makes a token while all is well, and uses it when another node has died: the
// newcomer waits until that one is back.
func TestReplace_afterADeath(t *testing.T) {
	t.Parallel()
	ms := trio(t)
	l, x, y := apart(t, ms)
	tok, err := l.node.JoinToken(t.Context(), consensus.TokenRequest{
		By: fsm.Actor{Kind: "master"}, RequestID: "r", TTL: time.Minute, Replaces: x.id.NodeID,
	})
	if err != nil {
		t.Fatal(err)
	}
	y.stop(true)
	eventually(t, "the newcomer is told to try again, with the count", func() bool { // the leader may have to see first that y is gone
		_, err = join.Ask(t.Context(), join.Config{
			Addrs: []string{l.tr.Addr()}, Token: tok, Name: "heir", Address: freeAddr(t), MasterHash: masterHash, Timeout: time.Second,
		})
		if err == nil || errors.Is(err, join.ErrRefused) {
			t.Fatalf("joined while the one that it replaces is needed: got %v, want a reason to try again", err)
		}
		return strings.Contains(err.Error(), "1 of 2 voters")
	})
	if m, _ := l.fsm.Member(x.id.NodeID); m.Removed {
		t.Fatal("the node that the quorum needs was removed")
	}
	y.restart()
	ready(t, y)
	heir := joinThrough(t, "heir", l, tok)
	ready(t, heir)
	eventually(t, "the heir votes in its place", func() bool {
		m, ok := l.fsm.Member(x.id.NodeID)
		return ok && m.Removed && voters(l) == 3
	})
}
