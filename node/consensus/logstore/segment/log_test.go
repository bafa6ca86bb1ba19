package segment

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// testSize makes files small, so that a test fills some.
const testSize = 512

var errCrash = errors.New("the process was killed")

// record is what is stored under an index in a life of the log: another one each time.
func record(index uint64, life int) []byte {
	return bytes.Repeat(fmt.Appendf(nil, "record %d of %d;", index, life), 1+int(index%7))
}

func put(first uint64, life int) func([]byte, int) ([]byte, error) {
	return func(b []byte, i int) ([]byte, error) { return append(b, record(first+uint64(i), life)...), nil }
}

func open(t testing.TB, dir string, first, acked uint64) *Log {
	t.Helper()
	l, err := Open(Config{Dir: dir, First: first, Acked: acked, Size: testSize})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// same says where the log differs from the records of lives, by index.
func same(l *Log, first, last uint64, life func(uint64) int) error {
	if f, la := l.Bounds(); f != first || la != last {
		return fmt.Errorf("the log is %d to %d, want %d to %d", f, la, first, last)
	}
	for i := first; i <= last && last > 0; i++ {
		b, err := l.Read(i, nil)
		if err != nil {
			return fmt.Errorf("record %d: %w", i, err)
		}
		if want := record(i, life(i)); !bytes.Equal(b, want) {
			return fmt.Errorf("record %d is %q, want %q", i, b, want)
		}
	}
	return nil
}

func always(life int) func(uint64) int { return func(uint64) int { return life } }

// model is what is known to be stored, and what may be.
type model struct {
	first, last uint64         // acknowledged
	maybe       uint64         // at most so far
	lowest      uint64         // at least from here on, for a cut that may have been done
	floor       uint64         // at least so far
	lives       map[uint64]int // of each record
}

// action is one change of the log in a run of actions.
type action struct {
	name string
	do   func(l *Log, m *model, life int) error
}

func appending(n uint64) action {
	return action{fmt.Sprintf("append %d", n), func(l *Log, m *model, life int) error {
		from := m.last + 1
		for i := from; i < from+n; i++ {
			m.lives[i] = life
		}
		m.maybe = m.last + n
		if err := l.Append(from, int(n), put(from, life)); err != nil {
			return err
		}
		m.last, m.floor = m.maybe, m.maybe
		if m.first == 0 {
			m.first, m.lowest = from, from
		}
		return nil
	}}
}

func cutTail(n uint64) action {
	return action{fmt.Sprintf("cut %d off the tail", n), func(l *Log, m *model, _ int) error {
		m.maybe, m.floor = m.last, m.last-n // what the witness says: it was lowered first
		if err := l.CutTail(m.last - n); err != nil {
			return err
		}
		m.last = m.floor
		m.maybe = m.floor
		return nil
	}}
}

func cutHead(n uint64) action {
	return action{fmt.Sprintf("cut %d off the head", n), func(l *Log, m *model, _ int) error {
		m.first += n // whoever cuts has noted it
		return l.CutHead(m.first)
	}}
}

var actions = []action{
	appending(1), appending(3), appending(20), appending(2), cutTail(4), appending(5), appending(40), cutHead(9),
	appending(7), cutTail(30), appending(30), appending(1), cutHead(25), appending(200), cutTail(60), appending(3), cutHead(40),
}

// The process is killed before each change on disk in turn. What was acknowledged is there
// afterwards, as it was written, and the log goes on from there.
func TestLog_killed(t *testing.T) {
	t.Parallel()
	steps := 0
	for kill := 1; ; kill++ {
		dir := t.TempDir()
		l := open(t, dir, 0, 0)
		steps = 0
		l.step = func(string) error {
			if steps++; steps == kill {
				return errCrash
			}
			return nil
		}
		m := &model{lives: map[uint64]int{}}
		var err error
		var at action
		for life, a := range actions {
			if at = a; err == nil {
				err = a.do(l, m, life)
			}
			if err != nil {
				break
			}
		}
		_ = l.Close() // it writes nothing
		if err != nil && !errors.Is(err, errCrash) {
			t.Fatalf("step %d, %s: %v", kill, at.name, err)
		}
		again := open(t, dir, m.first, m.floor)
		_, last := again.Bounds()
		if last < m.floor || last > m.maybe {
			t.Fatalf("killed at step %d (%s): the log ends with %d, want %d to %d", kill, at.name, last, m.floor, m.maybe)
		}
		if m.floor > 0 {
			if err := same(again, m.first, last, func(i uint64) int { return m.lives[i] }); err != nil {
				t.Fatalf("killed at step %d (%s): %v", kill, at.name, err)
			}
		}
		if err := again.Append(last+1, 2, put(last+1, 99)); err != nil {
			t.Fatalf("killed at step %d (%s): append: %v", kill, at.name, err)
		}
		if steps < kill {
			break
		}
	}
	if steps < 40 {
		t.Errorf("only %d steps were tried", steps)
	}
}

// A power cut leaves any of the sectors of the write under way, in any order.
func TestLog_tornWrite(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	l := open(t, dir, 0, 0)
	l.size = 1 << 16
	if err := errors.Join(l.Append(1, 5, put(1, 0)), l.Append(6, 3, put(6, 0))); err != nil {
		t.Fatal(err)
	}
	path := l.tail().path
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(l.Append(9, 30, put(9, 0)), l.Close()); err != nil {
		t.Fatal(err)
	}
	after, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	const sector = 64
	var changed []int
	for at := 0; at < len(before); at += sector {
		if !bytes.Equal(before[at:at+sector], after[at:at+sector]) {
			changed = append(changed, at)
		}
	}
	for n := range 4 * len(changed) { // a prefix, all but one, one alone, every other
		b := bytes.Clone(before)
		for i, at := range changed {
			one := n / 4
			if n%4 == 0 && i < one || n%4 == 1 && i != one || n%4 == 2 && i == one || n%4 == 3 && i%2 == one%2 {
				copy(b[at:at+sector], after[at:at+sector])
			}
		}
		to := t.TempDir()
		if err := os.WriteFile(filepath.Join(to, filepath.Base(path)), b, 0o600); err != nil {
			t.Fatal(err)
		}
		again := open(t, to, 0, 8)
		_, last := again.Bounds()
		if last < 8 || last > 38 {
			t.Fatalf("case %d: the log ends with %d", n, last)
		}
		if err := same(again, 1, last, always(0)); err != nil {
			t.Fatalf("case %d: %v", n, err)
		}
		if err := errors.Join(again.Append(last+1, 1, put(last+1, 1)), again.Close()); err != nil {
			t.Fatalf("case %d: %v", n, err)
		}
		third := open(t, to, 0, last+1) // nothing of the torn write came back behind it
		if _, got := third.Bounds(); got != last+1 {
			t.Fatalf("case %d: the log ends with %d, want %d", n, got, last+1)
		}
	}
}

// Damage of what was acknowledged is told, and nothing is cut.
func TestLog_damage(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		acked uint64
		file  int // of several
		flip  func(s *file) int64
		open  bool   // it opens all the same
		bad   uint64 // then reading this one fails
		last  uint64 // and this is the last
	}{
		{"a byte of a record", 12, 0, func(s *file) int64 { return s.places[1].at + frameSize + 3 }, true, 2, 12},
		{"the size of a record", 12, 1, func(s *file) int64 { return s.places[0].at + 3 }, false, 0, 0},
		{"a link", 12, 1, func(s *file) int64 { return s.places[0].at + 9 }, false, 0, 0},
		{"a link of the file before", 12, 0, func(s *file) int64 { return s.places[1].at + 9 }, false, 0, 0},
		{"a head", 12, 1, func(*file) int64 { return 17 }, false, 0, 0},
		{"of a batch before the last, which the witness does not know", 0, 1, func(s *file) int64 { return s.places[0].at + frameSize }, true, 11, 12},
		{"of the last batch, which was not acknowledged", 11, 1, func(s *file) int64 { return s.places[1].at + frameSize }, true, 12, 11},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			l := open(t, dir, 0, 0)
			if err := errors.Join(l.Append(1, 10, put(1, 0)), l.Append(11, 1, put(11, 0)), l.Append(12, 1, put(12, 0)), l.Close()); err != nil {
				t.Fatal(err)
			}
			l = open(t, dir, 0, 12)
			if len(l.files) != 2 {
				t.Fatalf("%d files, want 2", len(l.files))
			}
			s := l.files[tt.file]
			at := tt.flip(s)
			b, err := os.ReadFile(s.path)
			if err != nil {
				t.Fatal(err)
			}
			b[at] ^= 1
			if err := errors.Join(l.Close(), os.WriteFile(s.path, b, 0o600)); err != nil {
				t.Fatal(err)
			}
			again, err := Open(Config{Dir: dir, Acked: tt.acked, Size: testSize})
			if !tt.open {
				if !errors.Is(err, ErrDamaged) {
					t.Errorf("Open = %v, want ErrDamaged", err)
				}
				if now, err := os.ReadFile(s.path); err != nil || !bytes.Equal(now, b) {
					t.Errorf("the damaged file was changed (%v)", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = again.Close() }()
			if _, last := again.Bounds(); last != tt.last {
				t.Errorf("the log ends with %d, want %d", last, tt.last)
			}
			want := ErrDamaged
			if tt.bad > tt.last {
				want = ErrNotFound
			}
			if _, err := again.Read(tt.bad, nil); !errors.Is(err, want) {
				t.Errorf("record %d: got %v, want %v", tt.bad, err, want)
			}
		})
	}
}

// A file in the middle that is missing is damage, and so is one of another log.
func TestLog_missingFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	l := open(t, dir, 0, 0)
	for i := uint64(1); i <= 40; i++ {
		if err := l.Append(i, 1, put(i, 0)); err != nil {
			t.Fatal(err)
		}
	}
	if len(l.files) < 4 {
		t.Fatalf("%d files", len(l.files))
	}
	path := l.files[1].path
	if err := errors.Join(l.Close(), os.Remove(path)); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(Config{Dir: dir, Acked: 40, Size: testSize}); !errors.Is(err, ErrDamaged) {
		t.Errorf("Open = %v, want ErrDamaged", err)
	}
}

// After a sync that failed nothing is written: the next sync could succeed without it.
func TestLog_failedSync(t *testing.T) {
	t.Parallel()
	l := open(t, t.TempDir(), 0, 0)
	if err := l.Append(1, 1, put(1, 0)); err != nil {
		t.Fatal(err)
	}
	if err := l.tail().f.Close(); err != nil {
		t.Fatal(err)
	}
	if err := l.Append(2, 1, put(2, 0)); err == nil {
		t.Fatal("a write to a closed file succeeded")
	}
	_ = l.fail(errCrash)
	for name, err := range map[string]error{"Append": l.Append(2, 1, put(2, 0)), "CutTail": l.CutTail(0)} {
		if !errors.Is(err, errCrash) {
			t.Errorf("%s = %v, want the first failure", name, err)
		}
	}
	if _, last := l.Bounds(); last != 1 {
		t.Errorf("the log ends with %d, want 1", last)
	}
}

func TestLog_refuses(t *testing.T) {
	t.Parallel()
	l := open(t, t.TempDir(), 0, 0)
	if err := l.Append(5, 2, put(5, 0)); err != nil {
		t.Fatal(err)
	}
	none := func(b []byte, _ int) ([]byte, error) { return b, nil }
	for name, err := range map[string]error{
		"a gap": l.Append(8, 1, put(8, 0)), "an overlap": l.Append(6, 1, put(6, 0)), "an empty record": l.Append(7, 1, none),
		"a head behind the end": l.CutHead(7), "a head before the start": l.CutHead(4),
	} {
		if err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if err := same(l, 5, 6, always(0)); err != nil {
		t.Error(err)
	}
}

// A record that is larger than a file has one of its own.
func TestLog_large(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	l := open(t, dir, 0, 0)
	large := bytes.Repeat([]byte("x"), 3000)
	for i := uint64(1); i < 6; i++ {
		if err := l.Append(i, 1, func(b []byte, _ int) ([]byte, error) { return append(b, large...), nil }); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l = open(t, dir, 0, 5)
	for i := uint64(1); i < 6; i++ {
		if b, err := l.Read(i, nil); err != nil || !bytes.Equal(b, large) {
			t.Errorf("record %d: %d bytes, %v", i, len(b), err)
		}
	}
}

// FuzzOpen changes a file: whatever can be read then is what was written.
func FuzzOpen(f *testing.F) {
	dir := f.TempDir()
	l := open(f, dir, 0, 0)
	if err := errors.Join(l.Append(1, 4, put(1, 0)), l.Append(5, 3, put(5, 0))); err != nil {
		f.Fatal(err)
	}
	path := l.tail().path
	whole, err := os.ReadFile(path)
	if err := errors.Join(err, l.Close()); err != nil {
		f.Fatal(err)
	}
	f.Add(uint16(3), []byte{1}, uint64(7))
	f.Add(uint16(headSize), []byte{0x80, 0, 0, 9}, uint64(3))
	f.Add(uint16(headSize+frameSize), []byte("other"), uint64(0))
	f.Add(uint16(200), make([]byte, 300), uint64(0))
	f.Fuzz(func(t *testing.T, at uint16, b []byte, acked uint64) {
		damaged := bytes.Clone(whole)
		copy(damaged[min(int(at), len(damaged)):], b)
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(path)), damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		l, err := Open(Config{Dir: dir, Acked: acked % 8, Size: testSize})
		if err != nil {
			if !errors.Is(err, ErrDamaged) {
				t.Errorf("Open = %v, want ErrDamaged", err)
			}
			return
		}
		defer func() { _ = l.Close() }()
		first, last := l.Bounds()
		for i := first; i <= last && last > 0; i++ {
			got, err := l.Read(i, nil)
			if err == nil && !bytes.Equal(got, record(i, 0)) {
				t.Errorf("record %d is %q", i, got)
			}
		}
	})
}
