package lives_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/conclave-llm/conclave/node/consensus/lives"
)

// TestBegin starts many processes from a folder, as a supervisor does of one that ends at each start, and one from a copy.
func TestBegin(t *testing.T) {
	t.Parallel()
	dir, other := t.TempDir(), t.TempDir()
	begin := func(dir string) *lives.Lives {
		t.Helper()
		l, err := lives.Begin(dir)
		if err != nil {
			t.Fatal(err)
		}
		if l.Own == 0 || !l.Had(l.Own) {
			t.Errorf("life %x is not of its own folder", l.Own)
		}
		return l
	}
	first := begin(dir)
	b, err := os.ReadFile(filepath.Join(dir, "lives"))
	if err == nil {
		err = os.WriteFile(filepath.Join(other, "lives"), append([]byte("no life\n"), b...), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	second, copied := begin(dir), begin(other)
	if !second.Had(first.Own) || !copied.Had(first.Own) {
		t.Error("the life before the copy is forgotten")
	}
	if second.Own == copied.Own || second.Had(copied.Own) || copied.Had(second.Own) {
		t.Error("the copy and the folder have one life")
	}
	var last *lives.Lives
	for range 70 {
		last = begin(dir)
	}
	if !last.Had(first.Own) {
		t.Error("seventy starts later the first is forgotten")
	}
}
