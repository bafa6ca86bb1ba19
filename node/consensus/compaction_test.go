package consensus_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/node/consensus"
	"github.com/conclave-llm/conclave/node/consensus/logstore"
)

// fill creates teams through a machine.
func fill(t *testing.T, m *machine, from, to int) {
	t.Helper()
	for i := from; i < to; i++ {
		if _, err := putTeam(t.Context(), m, fmt.Sprintf("t%d", i)); err != nil {
			t.Fatal(err)
		}
	}
}

// hasAll says which team is missing.
func hasAll(t *testing.T, m *machine, to int) {
	t.Helper()
	for i := range to {
		if !hasTeam(m, fmt.Sprintf("t%d", i)) {
			t.Errorf("%s has no t%d", m.name, i)
		}
	}
}

// crash makes the state's file look as after a crash of the whole system.
func crash(t *testing.T, m *machine) {
	t.Helper()
	m.stop(false)
	m.bootID = "another boot"
	if err := os.Remove(filepath.Join(m.dir, "fsm.stamp")); err != nil {
		t.Fatal(err)
	}
}

// flipNewest flips a bit in the newest snapshot of a machine that is stopped, and says how
// many snapshots it has.
func flipNewest(t *testing.T, m *machine) int {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(m.dir, "raft", "snapshots", "*", "state.bin"))
	if err != nil || len(files) == 0 {
		t.Fatalf("snapshots %v, %v", files, err)
	}
	newest := slices.MaxFunc(files, func(a, b string) int {
		var ta, ia, tb, ib int
		_, _ = fmt.Sscanf(filepath.Base(filepath.Dir(a)), "%d-%d-", &ta, &ia)
		_, _ = fmt.Sscanf(filepath.Base(filepath.Dir(b)), "%d-%d-", &tb, &ib)
		return ia - ib
	})
	b, err := os.ReadFile(newest)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/2] ^= 2
	if err := os.WriteFile(newest, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return len(files)
}

// The state's file is not trusted after a restart of the system, the newest snapshot is
// damaged, and the log no longer begins at the beginning: the older snapshot and the log do.
func TestRestart_fromTheOlderSnapshot(t *testing.T) {
	t.Parallel()
	a, f := found(t)
	a.start(&f.Bootstrap)
	ready(t, a)
	if err := a.node.KeepNoLogs(); err != nil {
		t.Fatal(err)
	}
	for i := range 3 { // the first is reaped, the log starts after the second
		fill(t, a, 10*i, 10*i+10)
		if err := a.node.Snapshot(); err != nil {
			t.Fatal(err)
		}
	}
	fill(t, a, 30, 35)
	newest, oldest := a.node.SnapshotBounds()
	if first := a.node.FirstLog(); first < 10 || first > oldest+1 || oldest >= newest {
		t.Errorf("the log begins at %d, snapshots are at %d and %d", first, oldest, newest)
	}
	_, want := a.fsm.Hash()
	crash(t, a)
	if n := flipNewest(t, a); n != 2 {
		t.Errorf("%d snapshots, want 2", n)
	}
	a.start(nil)
	if a.fsm.Kept() {
		t.Fatal("the state file was trusted")
	}
	ready(t, a)
	hasAll(t, a, 35)
	if _, got := a.fsm.Hash(); got != want {
		eventually(t, "the state is the same", func() bool { _, got := a.fsm.Hash(); return got == want })
	}
}

// With neither a good snapshot nor the beginning of the log there is no way to the state.
func TestRestart_refusesAGap(t *testing.T) {
	t.Parallel()
	a, f := found(t)
	a.start(&f.Bootstrap)
	ready(t, a)
	fill(t, a, 0, 10)
	if err := errors.Join(a.node.KeepNoLogs(), a.node.Snapshot()); err != nil {
		t.Fatal(err)
	}
	a.stop(true)
	flipNewest(t, a)
	if err := os.RemoveAll(filepath.Join(a.dir, "fsm.db")); err != nil {
		t.Fatal(err)
	}
	a.open()
	_, err := consensus.New(consensus.Config{Name: "a", Dir: a.dir, FSM: reopen(t, a), Transport: a.tr, Identity: a.id, Keeper: a.kek})
	if !errors.Is(err, logstore.ErrCorrupt) {
		t.Errorf("New = %v, want ErrCorrupt", err)
	}
	if err := a.tr.Close(); err != nil {
		t.Error(err)
	}
}

// A follower that was away longer than the log reaches gets a snapshot, though its own
// state has most of it, and a damaged one of the leader is replaced on the way.
func TestSnapshot_farBehind(t *testing.T) {
	t.Parallel()
	ms := three(t)
	l := leader(t, ms)
	away := ms[(slices.Index(ms, l)+1)%3]
	away.stop(false)
	for i := range 3 {
		fill(t, l, 20*i, 20*i+20)
		if err := errors.Join(l.node.KeepNoLogs(), l.node.Snapshot()); err != nil {
			t.Fatal(err)
		}
	}
	before, _ := l.node.SnapshotBounds()
	flipNewest(t, l)
	if err := l.node.ScrubSnapshots(); err != nil {
		t.Fatal(err)
	}
	fill(t, l, 60, 61) // something new to take a snapshot of
	away.restart()
	ready(t, away)
	eventually(t, "the follower has caught up", func() bool { return hasTeam(away, "t60") })
	hasAll(t, away, 61)
	if newest, _ := away.node.SnapshotBounds(); newest == 0 {
		t.Error("the follower got no snapshot")
	}
	eventually(t, "the damaged snapshot is replaced", func() bool { newest, _ := l.node.SnapshotBounds(); return newest >= before })
	eventually(t, "the states are equal", func() bool {
		i, h := l.fsm.Hash()
		j, g := away.fsm.Hash()
		return i == j && h == g
	})
	crash(t, away) // then it starts from the snapshot that it was sent, and its log
	away.restart()
	if away.fsm.Kept() {
		t.Error("the state file was trusted")
	}
	ready(t, away)
	hasAll(t, away, 61)
}

// raft takes no snapshot while its configuration is newer than what the state machine has
// applied: on an idle cluster that would be for ever.
func TestSnapshot_afterAChangeOfTheConfiguration(t *testing.T) {
	t.Parallel()
	a, f := found(t)
	a.start(&f.Bootstrap)
	ready(t, a)
	b := joinThrough(t, "b", a, token(t, a))
	ready(t, b)
	eventually(t, "b votes", func() bool { return voters(a) == 2 })
	for _, m := range []*machine{a, b} { // the last entries were of the configuration
		if err := m.node.Snapshot(); err != nil {
			t.Errorf("snapshot of %s: %v", m.name, err)
		}
	}
}

func TestSnapshot_whenTheNextStartWouldTakeLong(t *testing.T) {
	t.Parallel()
	a, f := found(t)
	var slow atomic.Bool
	a.watch = func(fsm.Change) {
		if slow.Load() {
			a.later.Add(int64(consensus.MaxReplay)) // by the node's clock it works that long
		}
	}
	a.start(&f.Bootstrap)
	ready(t, a)
	fill(t, a, 0, 3)
	if newest, _ := a.node.SnapshotBounds(); newest != 0 || a.node.Replay() <= 0 {
		t.Errorf("a snapshot at %d, replay %v", newest, a.node.Replay())
	}
	slow.Store(true)
	fill(t, a, 3, 4)
	slow.Store(false)
	eventually(t, "a snapshot is made", func() bool { newest, _ := a.node.SnapshotBounds(); return newest > 0 })
	eventually(t, "nothing is to be replayed", func() bool { return a.node.Replay() < consensus.MaxReplay })
}
