package fsm_test

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/resource"
)

// sink is a snapshot sink in memory.
type sink struct {
	bytes.Buffer
	closed, canceled bool
}

func (s *sink) ID() string    { return "s" }
func (s *sink) Close() error  { s.closed = true; return nil }
func (s *sink) Cancel() error { s.canceled = true; return nil }

func (h *harness) snapshot() []byte {
	h.t.Helper()
	snap, err := h.f.Snapshot()
	if err != nil {
		h.t.Fatalf("Snapshot: %v", err)
	}
	defer snap.Release()
	var s sink
	if err := snap.Persist(&s); err != nil {
		h.t.Fatalf("Persist: %v", err)
	}
	return s.Bytes()
}

func TestFSM_SnapshotRestore(t *testing.T) {
	t.Parallel()
	from := start(t)
	from.boot("n1", "n2")
	for i := range 300 {
		from.do(from.putKey(resource.Key{Meta: meta(fmt.Sprintf("k%03d", i))}, 0))
	}
	from.do(fsm.DeleteKey{ID: "k007"})
	b := from.snapshot()
	h, err := fsm.DecodeHeader(b[:fsm.HeaderSize])
	if err != nil {
		t.Fatal(err)
	}
	h.Index += 5 // as a snapshot store does, for entries that are no commands
	head, err := h.Encode()
	if err != nil {
		t.Fatal(err)
	}
	copy(b, head)

	to := start(t)
	to.do(to.putKey(resource.Key{Meta: meta("gone")}, 0))
	if err := to.f.Restore(io.NopCloser(bytes.NewReader(b))); err != nil {
		t.Fatalf("Restore: %v", err)
	}
	_, want := from.f.Hash()
	index, got := to.f.Hash()
	if index != h.Index || got != want {
		t.Errorf("got %d %x, want %d %x", index, got, h.Index, want)
	}
	if _, ok := to.f.Key("gone"); ok {
		t.Error("a key from before the restore is still there")
	}
	if _, _, total := to.f.Keys(fsm.ListQuery{}); total != 299 {
		t.Errorf("got %d keys, want 299", total)
	}
	if !to.last.Tables["key"] || to.last.Index != h.Index {
		t.Errorf("the watcher heard %+v", to.last)
	}
	if info, ok := to.f.Cluster(); !ok || info.ClusterID != "c1" {
		t.Errorf("Cluster: got %+v", info)
	}
	// Both go on and stay equal.
	from.index, to.index = h.Index, h.Index
	l := from.entry(master, fsm.DeleteKey{ID: "k001"})
	from.apply(l)
	to.apply(l)
	_, want = from.f.Hash()
	if _, got = to.f.Hash(); got != want {
		t.Errorf("states diverged after the restore: %x, %x", got, want)
	}
	// The restored file is the one that a restart finds.
	if err := to.stop(false); err != nil {
		t.Fatal(err)
	}
	to.open()
	if _, got = to.f.Hash(); got != want || !to.f.Kept() {
		t.Errorf("after a restart: kept %v, hash %x, want %x", to.f.Kept(), got, want)
	}
	if rest, _ := filepath.Glob(filepath.Join(to.cfg.Dir, "*.tmp")); len(rest) != 0 {
		t.Errorf("left behind: %v", rest)
	}
}

// TestFSM_SnapshotBytes: a snapshot of a restored snapshot has its bytes, so that both can be compared by anybody, and a state has one.
func TestFSM_SnapshotBytes(t *testing.T) {
	t.Parallel()
	from := start(t)
	from.boot("n1", "n2")
	for i := range 2000 {
		from.do(from.putKey(resource.Key{Meta: meta(fmt.Sprintf("k%04d", i)), Name: fmt.Sprintf("key %d", i)}, 0))
	}
	for i := range 500 {
		from.do(fsm.DeleteKey{ID: fmt.Sprintf("k%04d", 3*i)})
	}
	want := from.snapshot()
	for range 3 {
		to := start(t)
		if err := to.f.Restore(io.NopCloser(bytes.NewReader(want))); err != nil {
			t.Fatalf("Restore: %v", err)
		}
		if !bytes.Equal(to.snapshot(), want) || !bytes.Equal(from.snapshot(), want) {
			t.Fatal("the snapshot of the restored state has other bytes")
		}
	}
}

// A node that is sent a state while it makes a snapshot of its own: Raft goes on with the snapshot only when the state
// is restored, so a restore does not wait for one, and what is left of the old state makes none.
func TestFSM_RestoreBesideASnapshot(t *testing.T) {
	t.Parallel()
	from, to := start(t), start(t)
	from.boot("n1")
	to.do(to.putKey(resource.Key{Meta: meta("gone")}, 0))
	snap, err := to.f.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	defer snap.Release()
	if err := to.f.Restore(io.NopCloser(bytes.NewReader(from.snapshot()))); err != nil {
		t.Fatal(err)
	}
	var s sink
	if err := snap.Persist(&s); err == nil || !s.canceled {
		t.Errorf("Persist = %v, canceled %v: want no snapshot of a state that was replaced", err, s.canceled)
	}
	_, want := from.f.Hash()
	if _, got := to.f.Hash(); got != want || len(to.snapshot()) == 0 {
		t.Errorf("the restored state has the hash %x, want %x", got, want)
	}
}

func TestFSM_RestoreRefusesDamage(t *testing.T) {
	t.Parallel()
	from := start(t)
	from.boot("n1")
	whole := from.snapshot()
	flip := func(at int) []byte {
		b := bytes.Clone(whole)
		b[at] ^= 0x10
		return b
	}
	for _, tt := range []struct {
		name string
		b    []byte
	}{
		{"empty", nil},
		{"cut in the header", whole[:100]},
		{"cut in the body", whole[:len(whole)-1]},
		{"flipped header", flip(20)},
		{"flipped body", flip(fsm.HeaderSize + 9000)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			h := start(t)
			h.do(h.putKey(resource.Key{Meta: meta("k1")}, 0))
			index, hash := h.f.Hash()
			if err := h.f.Restore(io.NopCloser(bytes.NewReader(tt.b))); err == nil {
				t.Fatal("Restore took it")
			}
			gotIndex, gotHash := h.f.Hash()
			if gotIndex != index || gotHash != hash {
				t.Errorf("state moved to %d %x", gotIndex, gotHash)
			}
			h.do(fsm.DeleteKey{ID: "k1"})
		})
	}
}

func TestFSM_DamagedValue(t *testing.T) {
	t.Parallel()
	h := start(t)
	h.boot("n1")
	h.do(h.putKey(resource.Key{Meta: meta("k1"), Name: "findme"}, 0))
	if err := h.stop(false); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(h.cfg.Dir, "fsm.db")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b = bytes.ReplaceAll(b, []byte("findme"), []byte("findmf"))
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	h.open()
	if h.f.Kept() {
		t.Fatal("a damaged file was kept")
	}
	if got := h.f.Applied(); got != 0 {
		t.Errorf("applied index of a rebuilt state: got %d, want 0", got)
	}
}
