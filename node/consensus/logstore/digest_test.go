package logstore

import (
	"bytes"
	"errors"
	"os"
	"testing"
)

// Digests tell entries apart by index, term, type and content, not by when each node has stored them, and
// damage is an error.
func TestDigests(t *testing.T) {
	t.Parallel()
	write := func(change func(i uint64, data []byte) []byte) (string, []Digest) {
		dir := t.TempDir()
		s := openTest(t, dir)
		ls := entries(1, 30)
		for i, l := range ls {
			l.AppendedAt = l.AppendedAt.Add(1)
			l.Data = change(uint64(i+1), l.Data)
		}
		if err := errors.Join(s.StoreLogs(ls), s.DeleteRange(1, 12), s.Close()); err != nil {
			t.Fatal(err)
		}
		all, err := Digests(dir)
		if err != nil {
			t.Fatal(err)
		}
		return dir, all
	}
	_, one := write(func(_ uint64, data []byte) []byte { return data })
	dir, two := write(func(i uint64, data []byte) []byte {
		if i == 20 {
			return []byte("another")
		}
		return data
	})
	if len(one) != len(two) || one[len(one)-1].Index != 30 || one[0].Index > 13 {
		t.Fatalf("%d and %d digests, from %d to %d", len(one), len(two), one[0].Index, one[len(one)-1].Index)
	}
	for i := range one {
		if same := one[i] == two[i]; same != (one[i].Index != 20) {
			t.Errorf("entry %d: %+v and %+v", one[i].Index, one[i], two[i])
		}
		if want := one[i].Index/10 + 1; one[i].Term != want || one[i].Noop() != (one[i].Index%6 == 1) {
			t.Errorf("entry %d: term %d, no-op %v, want term %d", one[i].Index, one[i].Term, one[i].Noop(), want)
		}
	}
	files := logFiles(t, dir)
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if at := bytes.Index(b, []byte("entry 25")); at >= 0 {
			b[at] ^= 1
		}
		if err := os.WriteFile(f, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Digests(dir); !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrLost) {
		t.Errorf("with a flipped bit: %v, want ErrCorrupt or ErrLost", err)
	}
}
