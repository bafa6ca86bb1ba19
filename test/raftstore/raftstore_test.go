package raftstore_test

import (
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/raft"
	boltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"

	"github.com/conclave-llm/conclave/node/consensus/logstore"
)

// store is what raft needs of one.
type store interface {
	raft.LogStore
	raft.StableStore
	Close() error
}

// stores are the two that are compared.
var stores = []struct {
	name string
	open func(dir string) (store, error)
}{
	{"conclave", func(dir string) (store, error) { return logstore.Open(dir, nil) }},
	{"raft-boltdb", func(dir string) (store, error) {
		return boltdb.New(boltdb.Options{
			Path:                    filepath.Join(dir, "raft.db"),
			BoltOptions:             &bbolt.Options{NoFreelistSync: true, FreelistType: bbolt.FreelistMapType},
			MsgpackUseNewTimeFormat: true,
		})
	}},
}

func open(t testing.TB, f func(string) (store, error), dir string) store {
	t.Helper()
	s, err := f(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// entries are log entries of all types.
func entries(from, to uint64) []*raft.Log {
	var ls []*raft.Log
	for i := from; i <= to; i++ {
		l := &raft.Log{Index: i, Term: i/7 + 1, Type: raft.LogType(i % 6), Data: fmt.Appendf(nil, "entry %d", i), AppendedAt: time.Unix(0, int64(i)).UTC()}
		if i%5 == 0 {
			l.Extensions = []byte{byte(i)}
		}
		ls = append(ls, l)
	}
	return ls
}

// step is one call and what must be seen after it.
type step struct {
	name        string
	do          func(s store) error
	first, last uint64
}

// steps are what raft does to a store in its life.
var steps = []step{
	{"empty", func(store) error { return nil }, 0, 0},
	{"the first entry", func(s store) error { return s.StoreLog(entries(1, 1)[0]) }, 1, 1},
	{"a batch", func(s store) error { return s.StoreLogs(entries(2, 300)) }, 1, 300},
	{"nothing", func(s store) error { return s.StoreLogs(nil) }, 1, 300},
	{"a follower drops its tail", func(s store) error { return s.DeleteRange(290, 300) }, 1, 289},
	{"and gets another", func(s store) error { return s.StoreLogs(entries(290, 320)) }, 1, 320},
	{"compaction", func(s store) error { return s.DeleteRange(1, 100) }, 101, 320},
	{"compaction again", func(s store) error { return s.DeleteRange(101, 101) }, 102, 320},
	{"one more", func(s store) error { return s.StoreLog(entries(321, 321)[0]) }, 102, 321},
	{"all is dropped for a snapshot", func(s store) error { return s.DeleteRange(102, 321) }, 0, 0},
	{"what follows the snapshot", func(s store) error { return s.StoreLogs(entries(5000, 5010)) }, 5000, 5010},
}

func TestBehavior(t *testing.T) {
	t.Parallel()
	for _, tt := range stores {
		for _, reopen := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, reopened %v", tt.name, reopen), func(t *testing.T) {
				t.Parallel()
				dir := t.TempDir()
				s := open(t, tt.open, dir)
				for _, st := range steps {
					if err := st.do(s); err != nil {
						t.Fatalf("%s: %v", st.name, err)
					}
					if reopen {
						if err := s.Close(); err != nil {
							t.Fatalf("%s: %v", st.name, err)
						}
						s = open(t, tt.open, dir)
					}
					look(t, st, s)
				}
			})
		}
	}
}

// look compares all that can be read with what a step should leave.
func look(t *testing.T, st step, s store) {
	t.Helper()
	first, err1 := s.FirstIndex()
	last, err2 := s.LastIndex()
	if first != st.first || last != st.last || err1 != nil || err2 != nil {
		t.Errorf("%s: indexes %d to %d, %v, %v, want %d to %d", st.name, first, last, err1, err2, st.first, st.last)
	}
	for i := uint64(1); i < 330; i++ {
		var l raft.Log
		err := s.GetLog(i, &l)
		if i < st.first || i > st.last {
			if !errors.Is(err, raft.ErrLogNotFound) {
				t.Errorf("%s: entry %d: got %v, want ErrLogNotFound", st.name, i, err)
			}
			continue
		}
		l.AppendedAt = l.AppendedAt.UTC()
		if diff := cmp.Diff(*entries(i, i)[0], l); err != nil || diff != "" {
			t.Fatalf("%s: entry %d: %v (-want +got)\n%s", st.name, i, err, diff)
		}
	}
}

func TestStable(t *testing.T) {
	t.Parallel()
	for _, tt := range stores {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			s := open(t, tt.open, dir)
			if _, err := s.Get([]byte("none")); err == nil || err.Error() != "not found" { // raft looks for the text
				t.Errorf("got %v, want not found", err)
			}
			if v, err := s.GetUint64([]byte("none")); v != 0 || (err != nil && err.Error() != "not found") {
				t.Errorf("got %d, %v", v, err)
			}
			if err := errors.Join(s.Set([]byte("LastVoteCand"), []byte("b")), s.SetUint64([]byte("CurrentTerm"), math.MaxUint64), s.Close()); err != nil {
				t.Fatal(err)
			}
			s = open(t, tt.open, dir)
			cand, err1 := s.Get([]byte("LastVoteCand"))
			term, err2 := s.GetUint64([]byte("CurrentTerm"))
			if string(cand) != "b" || term != math.MaxUint64 || err1 != nil || err2 != nil {
				t.Errorf("after a restart: %q, %v, %d, %v", cand, err1, term, err2)
			}
		})
	}
}

// raft itself must not see a difference: a cluster of one writes, restarts and goes on.
func TestRaft(t *testing.T) {
	t.Parallel()
	for _, tt := range stores {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			snaps := raft.NewInmemSnapshotStore()
			for life := range 3 {
				s := open(t, tt.open, dir)
				addr, trans := raft.NewInmemTransport("a")
				rc := raft.DefaultConfig()
				rc.LocalID, rc.LogLevel = "a", "OFF"
				rc.HeartbeatTimeout, rc.ElectionTimeout, rc.LeaderLeaseTimeout = 50*time.Millisecond, 50*time.Millisecond, 50*time.Millisecond
				if life == 0 {
					conf := raft.Configuration{Servers: []raft.Server{{ID: "a", Address: addr}}}
					if err := raft.BootstrapCluster(rc, s, s, snaps, trans, conf); err != nil {
						t.Fatal(err)
					}
				}
				fsm := &raft.MockFSM{}
				r, err := raft.NewRaft(rc, fsm, s, s, snaps, trans)
				if err != nil {
					t.Fatal(err)
				}
				select {
				case <-r.LeaderCh():
				case <-time.After(10 * time.Second):
					t.Fatal("no leader after 10 s")
				}
				for i := range 20 {
					if err := r.Apply(fmt.Appendf(nil, "%d-%d", life, i), time.Second).Error(); err != nil {
						t.Fatal(err)
					}
				}
				if got, want := len(fsm.Logs()), 20*(life+1); got != want {
					t.Errorf("life %d: applied %d, want %d", life, got, want)
				}
				if err := errors.Join(r.Shutdown().Error(), s.Close()); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkStoreLogs(b *testing.B) {
	for _, size := range []int{1, 64} {
		for _, tt := range stores {
			b.Run(fmt.Sprintf("batch=%d/%s", size, tt.name), func(b *testing.B) {
				s := open(b, tt.open, b.TempDir())
				logs := entries(1, uint64(size))
				for _, l := range logs {
					l.Data = make([]byte, 300)
				}
				b.ReportAllocs()
				for b.Loop() {
					if err := s.StoreLogs(logs); err != nil {
						b.Fatal(err)
					}
					for _, l := range logs {
						l.Index += uint64(size)
					}
				}
			})
		}
	}
}

func BenchmarkGetLog(b *testing.B) {
	for _, tt := range stores {
		b.Run(tt.name, func(b *testing.B) {
			s := open(b, tt.open, b.TempDir())
			if err := s.StoreLogs(entries(1, 1000)); err != nil {
				b.Fatal(err)
			}
			var l raft.Log
			b.ReportAllocs()
			for b.Loop() {
				if err := s.GetLog(500, &l); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
