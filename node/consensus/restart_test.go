package consensus_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/node/consensus"
	"github.com/conclave-llm/conclave/node/consensus/logstore"
	"github.com/conclave-llm/conclave/resource"
)

// A node that restarts with a long log, no snapshot and no state file replays all of it.
func TestRestart_longLog(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("writes 100,000 entries")
	}
	const n = 100_000
	a, f := found(t)
	store, err := logstore.Open(filepath.Join(a.dir, "raft"), nil)
	if err != nil {
		t.Fatal(err)
	}
	command := func(i uint64, cmd fsm.Command) []byte {
		b, err := fsm.Encode(fsm.Envelope{At: resource.Time(i), Actor: fsm.Actor{Kind: "master"}, ReadIndex: i}, cmd)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	conf := raft.EncodeConfiguration(raft.Configuration{Servers: []raft.Server{{ID: raft.ServerID(a.id.NodeID), Address: "127.0.0.1:1"}}})
	logs := []*raft.Log{
		{Index: 1, Term: 1, Type: raft.LogConfiguration, Data: conf},
		{Index: 2, Term: 1, Data: command(2, f.Bootstrap)},
	}
	team, err := fsm.EncodedOf(resource.Team{Meta: resource.Meta{ID: "last"}, Name: "last"})
	if err != nil {
		t.Fatal(err)
	}
	block := command(3, fsm.BlockKey{ID: "none"}) // refused, but it has to be applied
	for i := uint64(3); i <= n; i++ {
		data := block
		if i%60_000 == 0 { // a command may not have been read too long before
			block = command(i, fsm.BlockKey{ID: "none"})
		}
		if i == n {
			data = command(i, fsm.PutTeam{Team: team})
		}
		logs = append(logs, &raft.Log{Index: i, Term: 1, Data: data})
		if len(logs) == 5000 || i == n {
			if err := store.StoreLogs(logs); err != nil {
				t.Fatal(err)
			}
			logs = logs[:0]
		}
	}
	if err := errors.Join(store.SetUint64([]byte("CurrentTerm"), 1), store.Close()); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	a.start(nil)
	ready(t, a)
	t.Logf("ready after %v", time.Since(start))
	if !hasTeam(a, "last") || a.fsm.Applied() < n {
		t.Errorf("applied %d, team %v", a.fsm.Applied(), hasTeam(a, "last"))
	}
}

func TestRestart_refusesALogThatLostItsEnd(t *testing.T) {
	t.Parallel()
	a, f := found(t)
	a.start(&f.Bootstrap)
	ready(t, a)
	if _, err := putTeam(t.Context(), a, "t1"); err != nil {
		t.Fatal(err)
	}
	a.stop(true)
	store, err := logstore.Open(filepath.Join(a.dir, "raft"), nil)
	if err != nil {
		t.Fatal(err)
	}
	witness, err := os.ReadFile(filepath.Join(a.dir, "raft", "log.hwm"))
	if err != nil {
		t.Fatal(err)
	}
	last, err := store.LastIndex()
	if err := errors.Join(err, store.DeleteRange(last, last), store.Close()); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(a.dir, "raft", "log.hwm"), witness, 0o600); err != nil { // it knows nothing of that
		t.Fatal(err)
	}
	a.open()
	_, err = consensus.New(consensus.Config{Name: "a", Dir: a.dir, FSM: reopen(t, a), Transport: a.tr, Identity: a.id, Keeper: a.kek})
	if !errors.Is(err, logstore.ErrLost) {
		t.Errorf("New = %v, want ErrLost", err)
	}
	if err := a.tr.Close(); err != nil {
		t.Error(err)
	}
}

func TestRestart_refusesAnEmptyRaftFolder(t *testing.T) {
	t.Parallel()
	a, f := found(t)
	a.start(&f.Bootstrap)
	ready(t, a)
	a.stop(true)
	if err := os.RemoveAll(filepath.Join(a.dir, "raft")); err != nil {
		t.Fatal(err)
	}
	a.open()
	_, err := consensus.New(consensus.Config{Name: "a", Dir: a.dir, FSM: reopen(t, a), Transport: a.tr, Identity: a.id, Keeper: a.kek})
	if !errors.Is(err, logstore.ErrLost) {
		t.Errorf("New = %v, want ErrLost: the node has forgotten its vote", err)
	}
	if err := a.tr.Close(); err != nil {
		t.Error(err)
	}
}

// A node that joins after the log was compacted gets the snapshot, and restarts with it.
func TestJoin_afterCompaction(t *testing.T) {
	t.Parallel()
	a, f := found(t)
	a.start(&f.Bootstrap)
	ready(t, a)
	for i := range 20 {
		if _, err := putTeam(t.Context(), a, fmt.Sprintf("t%d", i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(a.node.KeepNoLogs(), a.node.Snapshot()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the log is compacted", func() bool { return a.node.FirstLog() > 15 })
	b := joinThrough(t, "b", a, token(t, a))
	ready(t, b)
	for range 2 {
		for i := range 20 {
			if !hasTeam(b, fmt.Sprintf("t%d", i)) {
				t.Fatalf("b has no t%d", i)
			}
		}
		eventually(t, "both have the same state", func() bool {
			ia, ha := a.fsm.Hash()
			ib, hb := b.fsm.Hash()
			return ia == ib && ha == hb
		})
		eventually(t, "b votes", func() bool { return voters(a) == 2 })
		b.stop(true)
		b.restart()
		ready(t, b)
	}
}

// reopen opens the state of a machine that is stopped.
func reopen(t *testing.T, m *machine) *fsm.FSM {
	t.Helper()
	f, err := fsm.Open(fsm.Config{Dir: m.dir, NodeID: m.id.NodeID})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

func TestStall_leaderIsReplaced(t *testing.T) {
	t.Parallel()
	ms := three(t)
	old := leader(t, ms)
	old.node.Hang()
	old.later.Add(int64(1100 * time.Millisecond)) // more than a write may take
	if !old.node.Stalled() {
		t.Error("the leader does not know that it is stalled")
	}
	start := time.Now()
	eventually(t, "another node leads", func() bool {
		for _, m := range ms {
			if m != old && m.node.IsLeader() {
				return true
			}
		}
		return false
	})
	t.Logf("another led after %v", time.Since(start))
	// its next write, of the new term, ends the stall
	eventually(t, "the old leader follows and writes", func() bool {
		_, err := putTeam(t.Context(), old, "t1")
		return err == nil && !old.node.IsLeader()
	})
}

func TestCertificate_renewsItselfAtStart(t *testing.T) {
	t.Parallel()
	a, f := found(t)
	if a.id.Due(time.Now()) {
		t.Fatal("a new certificate is due")
	}
	a.start(&f.Bootstrap)
	ready(t, a)
	before := a.id.Certificate().Leaf.NotAfter
	if err := a.id.Renew(time.Now().Add(72*time.Hour), func(box []byte) ([]byte, error) { return a.kek.Unwrap(box, "ca") }); err != nil {
		t.Fatal(err)
	}
	if after := a.id.Certificate().Leaf.NotAfter; after.Sub(before) < 71*time.Hour {
		t.Errorf("the certificate ends at %v, before %v", after, before)
	}
}
