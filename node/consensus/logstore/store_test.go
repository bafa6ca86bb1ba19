package logstore

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/raft"
	"pgregory.net/rapid"

	"github.com/conclave-llm/conclave/node/consensus/logstore/segment"
)

// testSize makes the log's files small, so that a test fills some.
const testSize = 2048

func openTest(t testing.TB, dir string) *Store {
	t.Helper()
	s, err := openSized(dir, nil, testSize)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func entries(from, to uint64) []*raft.Log {
	var ls []*raft.Log
	for i := from; i <= to; i++ {
		ls = append(ls, &raft.Log{Index: i, Term: i/10 + 1, Type: raft.LogType(i % 6), Data: fmt.Appendf(nil, "entry %d", i), AppendedAt: time.Unix(0, int64(i))})
	}
	return ls
}

// op is one step on both stores.
type op struct {
	name string
	do   func(s interface {
		raft.LogStore
		raft.StableStore
	}) error
}

// look describes what a reader sees of a store.
func look(s interface {
	raft.LogStore
	raft.StableStore
}, upTo uint64,
) string {
	first, err1 := s.FirstIndex()
	last, err2 := s.LastIndex()
	out := fmt.Sprintf("first %d %v, last %d %v\n", first, err1, last, err2)
	for i := uint64(0); i <= upTo; i++ {
		var l raft.Log
		err := s.GetLog(i, &l)
		out += fmt.Sprintf("%d: %v %d %d %v %q %q %d\n", i, err, l.Index, l.Term, l.Type, l.Data, l.Extensions, l.AppendedAt.UnixNano())
	}
	for _, k := range []string{"CurrentTerm", "LastVoteCand", "none"} {
		v, err := s.Get([]byte(k))
		n, err2 := s.GetUint64([]byte(k + "#"))
		out += fmt.Sprintf("%s: %q %v %d %v\n", k, v, err, n, err2)
	}
	return out
}

func TestStore_behavesLikeInmemStore(t *testing.T) {
	t.Parallel()
	store := func(ls ...*raft.Log) op {
		return op{fmt.Sprintf("store %d entries", len(ls)), func(s interface {
			raft.LogStore
			raft.StableStore
		},
		) error {
			return s.StoreLogs(ls)
		}}
	}
	del := func(lo, hi uint64) op {
		return op{fmt.Sprintf("delete %d to %d", lo, hi), func(s interface {
			raft.LogStore
			raft.StableStore
		},
		) error {
			return s.DeleteRange(lo, hi)
		}}
	}
	set := func(k, v string, n uint64) op {
		return op{"set " + k, func(s interface {
			raft.LogStore
			raft.StableStore
		},
		) error {
			return errors.Join(s.Set([]byte(k), []byte(v)), s.SetUint64([]byte(k+"#"), n))
		}}
	}
	ext := &raft.Log{Index: 1, Term: 1, Data: []byte("d"), Extensions: []byte("e"), AppendedAt: time.Unix(5, 0)}
	for _, tt := range []struct {
		name string
		ops  []op
	}{
		{"empty", nil},
		{"one entry", []op{store(entries(1, 1)...)}},
		{"extensions", []op{store(ext)}},
		{"starts anywhere", []op{store(entries(57, 60)...)}},
		{"batches", []op{store(entries(1, 5)...), store(entries(6, 6)...), store(entries(7, 20)...)}},
		{"head", []op{store(entries(1, 20)...), del(1, 7)}},
		{"tail", []op{store(entries(1, 20)...), del(15, 20), store(entries(15, 17)...)}},
		{"all, then a gap", []op{store(entries(1, 20)...), del(1, 20), store(entries(50, 51)...)}},
		{"head and tail", []op{store(entries(1, 20)...), del(1, 5), del(18, 20), store(entries(18, 30)...), del(6, 29)}},
		{"term and vote", []op{set("CurrentTerm", "x", 7), set("CurrentTerm", "", 0), set("LastVoteCand", "node-1", 1<<63)}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			got, want := openTest(t, dir), raft.NewInmemStore()
			for _, o := range tt.ops {
				if err := errors.Join(o.do(got), o.do(want)); err != nil {
					t.Fatalf("%s: %v", o.name, err)
				}
			}
			if diff := cmp.Diff(look(want, 70), look(got, 70)); diff != "" {
				t.Errorf("against InmemStore (-want +got):\n%s", diff)
			}
			if err := got.Close(); err != nil {
				t.Fatal(err)
			}
			again := openTest(t, dir)
			if err := again.Check(0); err != nil {
				t.Errorf("Check after reopening: %v", err)
			}
			if diff := cmp.Diff(look(want, 70), look(again, 70)); diff != "" {
				t.Errorf("after reopening (-want +got):\n%s", diff)
			}
		})
	}
}

func TestStore_randomOperations(t *testing.T) {
	t.Parallel()
	base := t.TempDir()
	n := 0
	rapid.Check(t, func(t *rapid.T) {
		n++
		dir := filepath.Join(base, fmt.Sprint(n))
		s, err := openSized(dir, nil, 512)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = s.Close() }()
		model := raft.NewInmemStore()
		for range rapid.IntRange(1, 12).Draw(t, "steps") {
			first, _ := model.FirstIndex()
			last, _ := model.LastIndex()
			switch rapid.IntRange(0, 3).Draw(t, "op") {
			case 0, 1:
				from := last + 1
				if last == 0 {
					from = rapid.Uint64Range(1, 30).Draw(t, "from")
				}
				ls := entries(from, from+rapid.Uint64Range(0, 10).Draw(t, "n"))
				if err := errors.Join(s.StoreLogs(ls), model.StoreLogs(ls)); err != nil {
					t.Fatal(err)
				}
			case 2: // tail
				if last > 0 {
					lo := rapid.Uint64Range(first, last).Draw(t, "lo")
					if err := errors.Join(s.DeleteRange(lo, last), model.DeleteRange(lo, last)); err != nil {
						t.Fatal(err)
					}
				}
			case 3: // head
				if last > 0 {
					hi := rapid.Uint64Range(first, last).Draw(t, "hi")
					if err := errors.Join(s.DeleteRange(first, hi), model.DeleteRange(first, hi)); err != nil {
						t.Fatal(err)
					}
				}
			}
		}
		if diff := cmp.Diff(look(model, 120), look(s, 120)); diff != "" {
			t.Fatalf("(-want +got):\n%s", diff)
		}
	})
}

func TestStore_refusesGaps(t *testing.T) {
	t.Parallel()
	s := openTest(t, t.TempDir())
	if err := s.StoreLogs(entries(1, 10)); err != nil {
		t.Fatal(err)
	}
	for name, err := range map[string]error{
		"a gap":                 s.StoreLogs(entries(12, 13)),
		"an overlap":            s.StoreLogs(entries(10, 11)),
		"a gap inside":          s.StoreLogs([]*raft.Log{{Index: 11}, {Index: 13}}),
		"a hole in the middle":  s.DeleteRange(3, 5),
		"deleting none":         errors.Join(s.DeleteRange(11, 20), errors.New("fine")),
		"deleting with lo > hi": errors.Join(s.DeleteRange(5, 4), errors.New("fine")),
	} {
		if err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if first, _ := s.FirstIndex(); first != 1 {
		t.Errorf("first = %d, want 1", first)
	}
	if last, _ := s.LastIndex(); last != 10 {
		t.Errorf("last = %d, want 10", last)
	}
}

func TestStore_manyDeletes(t *testing.T) {
	t.Parallel()
	const n = 5000
	dir := t.TempDir()
	s := openTest(t, dir)
	for at := uint64(1); at <= n; at += 50 {
		if err := s.StoreLogs(entries(at, at+49)); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.DeleteRange(1, n/2+5); err != nil {
		t.Fatal(err)
	}
	if err := s.DeleteRange(n/2+20, 1<<40); err != nil {
		t.Fatal(err)
	}
	first, _ := s.FirstIndex()
	last, _ := s.LastIndex()
	if first != n/2+6 || last != n/2+19 {
		t.Errorf("got %d to %d, want %d to %d", first, last, n/2+6, n/2+19)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if files := logFiles(t, dir); len(files) > 2 {
		t.Errorf("%d files are left for 14 entries", len(files))
	}
}

// logFiles are the files of the log, in order.
func logFiles(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, logDir, "*.log"))
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(files)
	return files
}

func TestStore_findsDamage(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := openTest(t, dir)
	if err := errors.Join(s.StoreLogs(entries(1, 3)), s.SetUint64([]byte("CurrentTerm"), 7)); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	flip := func(t *testing.T, what []byte, in int) *Store {
		t.Helper()
		to := t.TempDir()
		if err := os.CopyFS(to, os.DirFS(dir)); err != nil {
			t.Fatal(err)
		}
		hit := false
		for _, path := range append(logFiles(t, to), filepath.Join(to, logDir, stableFile)) {
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			for at := 0; ; { // every copy: bbolt leaves old pages behind
				i := bytes.Index(b[at:], what)
				if i < 0 {
					break
				}
				b[at+i+in] ^= 4
				at, hit = at+i+1, true
			}
			if err := os.WriteFile(path, b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if !hit {
			t.Fatalf("%x is in no file", what)
		}
		return openTest(t, to)
	}
	var l raft.Log
	t.Run("a bit of an entry's data", func(t *testing.T) {
		s := flip(t, []byte("entry 2"), 6)
		if err := s.GetLog(2, &l); !errors.Is(err, ErrCorrupt) {
			t.Errorf("got %v, want ErrCorrupt", err)
		}
		if err := s.GetLog(1, &l); err != nil {
			t.Errorf("its neighbor: %v", err)
		}
	})
	t.Run("a bit of the last entry", func(t *testing.T) {
		if err := flip(t, []byte("entry 3"), 0).Check(0); !errors.Is(err, ErrCorrupt) {
			t.Errorf("Check: got %v, want ErrCorrupt", err)
		}
	})
	t.Run("a bit of the term", func(t *testing.T) {
		v := encodeStable([]byte("CurrentTerm"), []byte{0, 0, 0, 0, 0, 0, 0, 7})
		if _, err := flip(t, v, len(v)-1).GetUint64([]byte("CurrentTerm")); !errors.Is(err, ErrCorrupt) {
			t.Errorf("got %v, want ErrCorrupt", err)
		}
	})
}

func TestStore_witness(t *testing.T) {
	t.Parallel()
	build := func(t *testing.T, after func(*Store) error) string {
		t.Helper()
		dir := t.TempDir()
		s := openTest(t, dir)
		if err := s.StoreLogs(entries(1, 20)); err != nil {
			t.Fatal(err)
		}
		if err := after(s); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	none := func(*Store) error { return nil }
	// lose removes entries behind the store's back.
	lose := func(t *testing.T, dir string, from uint64) {
		t.Helper()
		log, err := segment.Open(segment.Config{Dir: filepath.Join(dir, logDir), Size: testSize})
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(log.CutTail(from-1), log.Close()); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		name     string
		after    func(*Store) error
		lose     uint64 // 0: nothing
		snapshot uint64
		want     error
	}{
		{"whole", none, 0, 0, nil},
		{"the end is missing", none, 18, 0, ErrLost},
		{"all is missing", none, 1, 0, ErrLost},
		{"all is missing, but in a snapshot", none, 1, 20, nil},
		{"the snapshot does not reach", none, 18, 19, ErrLost},
		{"the tail was deleted by raft", func(s *Store) error { return s.DeleteRange(15, 20) }, 0, 0, nil},
		{"the tail was deleted, and more is missing", func(s *Store) error { return s.DeleteRange(15, 20) }, 14, 0, ErrLost},
		{"compacted", func(s *Store) error { return s.DeleteRange(1, 18) }, 0, 18, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := build(t, tt.after)
			if tt.lose > 0 {
				lose(t, dir, tt.lose)
			}
			if err := openTest(t, dir).Check(tt.snapshot); !errors.Is(err, tt.want) {
				t.Errorf("Check(%d) = %v, want %v", tt.snapshot, err, tt.want)
			}
		})
	}
	t.Run("one slot is torn", func(t *testing.T) {
		t.Parallel()
		dir := build(t, none)
		path := filepath.Join(dir, witnessFile)
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		b[witnessSlot+9] ^= 1 // the newest: its sequence is odd
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := openTest(t, dir).Check(0); err != nil {
			t.Errorf("got %v, want the other slot to do", err)
		}
	})
	t.Run("both slots are damaged", func(t *testing.T) {
		t.Parallel()
		dir := build(t, none)
		if err := os.WriteFile(filepath.Join(dir, witnessFile), make([]byte, 2*witnessSlot), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(dir, nil); !errors.Is(err, ErrCorrupt) {
			t.Errorf("got %v, want ErrCorrupt", err)
		}
	})
}

func TestStore_offersNoCommitTracking(t *testing.T) {
	t.Parallel()
	var s any = &Store{}
	if _, ok := s.(raft.CommitTrackingLogStore); ok {
		t.Error("the store offers CommitTrackingLogStore: see DESIGN.md")
	}
	if m, ok := s.(raft.MonotonicLogStore); !ok || !m.IsMonotonic() {
		t.Error("the store does not say that it is monotonic")
	}
}

func FuzzDecodeLog(f *testing.F) {
	f.Add(appendLog(nil, entries(7, 7)[0]))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		var l raft.Log
		if err := decodeLog(b, 7, &l); err != nil {
			if !errors.Is(err, ErrCorrupt) {
				t.Errorf("got %v, want ErrCorrupt", err)
			}
			return
		}
		var again raft.Log
		if err := decodeLog(appendLog(nil, &l), 7, &again); err != nil || !cmp.Equal(l, again) {
			t.Errorf("got %+v, %v, want %+v", again, err, l)
		}
	})
}

func BenchmarkStore_StoreLogs(b *testing.B) {
	s, err := Open(b.TempDir(), nil)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = s.Close() })
	ls := entries(1, 1)
	ls[0].Data = make([]byte, 300)
	b.ReportAllocs()
	for b.Loop() {
		if err := s.StoreLogs(ls); err != nil {
			b.Fatal(err)
		}
		ls[0].Index++
	}
}

func BenchmarkStore_GetLog(b *testing.B) {
	s := openTest(b, b.TempDir())
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
}

// TestStore_Follow: a log that ends before the newest snapshot, as a crash while one was received leaves
// it, begins anew behind it. Else Raft could never append again: the store refuses gaps.
func TestStore_Follow(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s, err := Open(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(s.StoreLogs(entries(1, 10)), s.Follow(0), s.Follow(8), s.Follow(10)); err != nil {
		t.Fatal(err)
	}
	if _, last := s.log.Bounds(); last != 10 {
		t.Fatalf("a log that reaches the snapshot ends at %d, want 10", last)
	}
	if err := s.Follow(12); err != nil {
		t.Fatal(err)
	}
	if first, last := s.log.Bounds(); first != 0 || last != 0 {
		t.Errorf("a log that ends before the snapshot has %d to %d, want nothing", first, last)
	}
	if err := errors.Join(s.StoreLogs(entries(13, 14)), s.Close()); err != nil {
		t.Fatal(err)
	}
	if s, err = Open(dir, nil); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(s.Check(12), s.Follow(12)); err != nil {
		t.Error(err)
	}
	if first, last := s.log.Bounds(); first != 13 || last != 14 {
		t.Errorf("opened again: %d to %d, want 13 to 14", first, last)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}
