package fsm_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/fsm/store"
	"github.com/conclave-llm/conclave/resource"
)

// flip changes a byte of a text everywhere in the open file, as a bad disk does.
func flip(t *testing.T, path, text string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	b, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	for at := 0; ; at++ {
		i := bytes.Index(b[at:], []byte(text))
		if i < 0 {
			return
		}
		at += i
		if _, err := f.WriteAt([]byte{text[0] ^ 1}, int64(at)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestFSM_DamageWhileRunning(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		touch func(h *harness) error
	}{
		{"scrub", func(h *harness) error { return h.f.Scrub() }},
		{"snapshot", func(h *harness) error {
			snap, err := h.f.Snapshot()
			if err != nil {
				return err
			}
			var s sink
			if err = snap.Persist(&s); err != nil && !s.canceled {
				t.Error("a failed snapshot was not canceled")
			}
			return err
		}},
		{"apply", func(h *harness) error { return h.try(master, fsm.BlockKey{ID: "k1"}).Err }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			h := start(t)
			_ = h.f.Close()
			var fatal error
			h.cfg.Fatal = func(err error) { fatal = err }
			h.open()
			h.do(h.putKey(resource.Key{Meta: meta("k1"), Hint: "damage me"}, 0))
			flip(t, filepath.Join(h.cfg.Dir, "fsm.db"), "damage me")
			if err := tt.touch(h); !errors.Is(err, fsm.ErrDamaged) {
				t.Fatalf("got %v, want %v", err, fsm.ErrDamaged)
			}
			if tt.name == "apply" {
				if fatal == nil {
					t.Error("the node was not stopped")
				}
				if err := h.try(master, fsm.DeleteKey{ID: "k2"}).Err; !errors.Is(err, fsm.ErrDamaged) {
					t.Errorf("a later entry: got %v, want the first error", err)
				}
			}
			_ = h.f.Close()
			h.open()
			if h.f.Kept() {
				t.Error("the damaged file was kept")
			}
		})
	}
}

// fatten puts keys with long metadata: k0, k1, …
func (h *harness) fatten(keys int) {
	fat := []byte(`{"a":"` + strings.Repeat("x", 32<<10) + `"}`)
	for i := range keys {
		h.do(h.putKey(resource.Key{Meta: meta(fmt.Sprintf("k%d", i)), Policy: resource.Policy{Metadata: fat}}, 0))
	}
}

func TestShrink(t *testing.T) {
	t.Parallel()
	h := start(t)
	h.fatten(60)
	for i := range 60 {
		h.do(fsm.DeleteKey{ID: fmt.Sprintf("k%d", i)})
	}
	index, hash := h.f.Hash()
	if err := h.f.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(h.cfg.Dir, "fsm.db")
	big, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Shrink(h.cfg.Dir, 0); err != nil {
		t.Fatal(err)
	}
	if small, err := os.Stat(path); err != nil || small.Size()*2 > big.Size() {
		t.Errorf("the copy has %d bytes of %d", small.Size(), big.Size())
	}
	h.open()
	if gotIndex, got := h.f.Hash(); gotIndex != index || got != hash || !h.f.Kept() {
		t.Errorf("got %d %x, want %d %x", gotIndex, got, index, hash)
	}
}

// TestCompact makes the file of a state small that is read and snapshotted meanwhile, and goes on with it.
func TestCompact(t *testing.T) {
	t.Parallel()
	h := start(t)
	h.fatten(60)
	if h.f.Wasteful(0) {
		t.Error("a full file is wasteful")
	}
	for i := range 59 {
		h.do(fsm.DeleteKey{ID: fmt.Sprintf("k%d", i)})
	}
	h.do(h.putKey(resource.Key{Meta: meta("new")}, 0)) // the pages that the last change gave back are free now
	path := filepath.Join(h.cfg.Dir, "fsm.db")
	big, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if freed, err := h.f.Compact(big.Size() + 1); err != nil || freed != 0 {
		t.Errorf("a file that is too small for it: freed %d, %v", freed, err)
	}
	index, hash := h.f.Hash()
	open, err := h.f.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if k, ok := h.f.Key("k59"); !ok || len(k.Metadata) == 0 {
					t.Error("a reader misses a key")
					return
				}
			}
		})
	}
	freed, err := h.f.Compact(0)
	if err != nil || freed <= 0 {
		t.Errorf("freed %d, %v", freed, err)
	}
	close(stop)
	readers.Wait()
	if small, err := os.Stat(path); err != nil || small.Size()*2 > big.Size() {
		t.Errorf("the copy has %d bytes of %d", small.Size(), big.Size())
	}
	if gotIndex, got := h.f.Hash(); gotIndex != index || got != hash {
		t.Errorf("got %d %x, want %d %x", gotIndex, got, index, hash)
	}
	open.Release()
	if freed, err := h.f.Compact(0); err != nil || freed != 0 {
		t.Errorf("again: freed %d, %v", freed, err)
	}
	h.do(h.putKey(resource.Key{Meta: meta("after")}, 0))
	h.verify()
	index, hash = h.f.Hash()
	if err := h.f.Close(); err != nil {
		t.Fatal(err)
	}
	h.open()
	if gotIndex, got := h.f.Hash(); gotIndex != index || got != hash || !h.f.Kept() {
		t.Errorf("opened again: got %d %x, want %d %x", gotIndex, got, index, hash)
	}
	if left, _ := filepath.Glob(filepath.Join(h.cfg.Dir, "*.tmp")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// TestRaft runs a state machine under raft itself: apply, snapshot, restart, user restore.
func TestRaft(t *testing.T) {
	t.Parallel()
	h := start(t)
	conf := raft.DefaultConfig()
	conf.LocalID, conf.LogOutput = "n1", io.Discard
	conf.HeartbeatTimeout, conf.ElectionTimeout, conf.LeaderLeaseTimeout = 50*time.Millisecond, 50*time.Millisecond, 50*time.Millisecond
	store, snaps := raft.NewInmemStore(), raft.NewInmemSnapshotStore()
	addr, transport := raft.NewInmemTransport("n1")
	run := func() *raft.Raft {
		t.Helper()
		r, err := raft.NewRaft(conf, h.f, store, store, snaps, transport)
		if err != nil {
			t.Fatal(err)
		}
		if !<-r.LeaderCh() {
			t.Fatal("the only node does not lead")
		}
		return r
	}
	if err := raft.BootstrapCluster(conf, store, store, snaps, transport, raft.Configuration{
		Servers: []raft.Server{{ID: "n1", Address: addr}},
	}); err != nil {
		t.Fatal(err)
	}
	r := run()
	apply := func(cmd fsm.Command) fsm.Result {
		t.Helper()
		f := r.Apply(h.entry(master, cmd).Data, time.Second)
		if err := f.Error(); err != nil {
			t.Fatal(err)
		}
		a, ok := f.Response().(fsm.Applied)
		if !ok || a.Err != nil || a.Result.Index != f.Index() {
			t.Fatalf("%T: got %+v at %d", cmd, f.Response(), f.Index())
		}
		return a.Result
	}
	apply(h.putKey(resource.Key{Meta: meta("k1")}, 0))
	take := r.Snapshot()
	if err := take.Error(); err != nil {
		t.Fatal(err)
	}
	info, rc, err := take.Open()
	if err != nil {
		t.Fatal(err)
	}
	backup, err := io.ReadAll(rc)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Shutdown().Error(); err != nil {
		t.Fatal(err)
	}
	if err := h.f.Close(); err != nil {
		t.Fatal(err)
	}
	h.open()
	conf.NoSnapshotRestoreOnStart = h.f.Kept() && h.f.Applied() >= info.Index
	r = run()
	defer func() { _ = r.Shutdown().Error() }()
	apply(fsm.DeleteKey{ID: "k1"})
	again, err := fsm.Regenerate(bytes.NewReader(backup), h.f.Generation()+1)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Restore(info, again, time.Second); err != nil {
		t.Fatal(err)
	}
	if _, ok := h.f.Key("k1"); !ok || h.f.Generation() != 1 {
		t.Errorf("after the restore: key %v, generation %d", ok, h.f.Generation())
	}
	f := r.Apply(h.entry(master, fsm.DeleteKey{ID: "k1"}).Data, time.Second)
	if err := f.Error(); err != nil {
		t.Fatal(err)
	}
	if a, ok := f.Response().(fsm.Applied); !ok || a.Err != nil || a.Result.Generation != 1 {
		t.Errorf("after the restore: got %+v", f.Response())
	}
}

// TestFSM_OtherHistory starts with a log that has, where the state ends, another entry than the one that was applied: the
// state is made anew.
func TestFSM_OtherHistory(t *testing.T) {
	t.Parallel()
	h := start(t)
	h.do(h.putKey(resource.Key{Meta: meta("k1")}, 0))
	last := h.log[len(h.log)-1]
	var fatal error
	h.cfg.Fatal = func(err error) { fatal = err }
	if err := h.f.Close(); err != nil {
		t.Fatal(err)
	}
	h.open()
	for _, l := range h.log { // as raft does
		if a := h.f.Apply(l).(fsm.Applied); a.Err != nil {
			t.Fatalf("an entry of its own history: %v", a.Err)
		}
	}
	other := *last
	other.Term++
	if a := h.f.Apply(&other).(fsm.Applied); !errors.Is(a.Err, fsm.ErrDamaged) || !errors.Is(fatal, fsm.ErrDamaged) {
		t.Errorf("got %v, fatal %v, want ErrDamaged", a.Err, fatal)
	}
	_ = h.f.Close() // it is doubted
	h.open()
	if h.f.Kept() {
		t.Error("the state was kept")
	}
}
