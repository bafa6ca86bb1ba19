package versions_test

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/conclave-llm/conclave/node/versions"
)

func digest(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

func add(t *testing.T, s *versions.Store, text string) string {
	t.Helper()
	id := digest(text)
	if err := s.Add(id, int64(len(text)), strings.NewReader(text)); err != nil {
		t.Fatal(err)
	}
	return id
}

func TestStore_Add(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := versions.New(dir)
	id := add(t, s, "program")
	if err := s.Check(id); err != nil {
		t.Error(err)
	}
	if info, err := os.Stat(s.Path(id)); err != nil || info.Mode().Perm() != 0o500 {
		t.Errorf("mode: got %v, %v", info.Mode(), err)
	}
	for _, tt := range []struct {
		name, id, body string
		size           int64
	}{
		{"other bytes", digest("one"), "two", 3},
		{"more bytes", digest("one"), "one more", 3},
		{"fewer bytes", digest("one"), "on", 3},
		{"no digest", "../../etc/passwd", "one", 3},
	} {
		if err := s.Add(tt.id, tt.size, strings.NewReader(tt.body)); !errors.Is(err, versions.ErrDamaged) {
			t.Errorf("%s: got %v, want ErrDamaged", tt.name, err)
		}
	}
	if files, _ := os.ReadDir(filepath.Join(dir, "versions")); len(files) != 1 {
		t.Errorf("%d files, want the one program", len(files))
	}
	_ = os.Chmod(s.Path(id), 0o700)
	if err := os.WriteFile(s.Path(id), []byte("changed"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := s.Check(id); !errors.Is(err, versions.ErrDamaged) {
		t.Errorf("a program that was changed: got %v", err)
	}
	add(t, s, "program") // is put right
	if err := s.Check(id); err != nil {
		t.Error(err)
	}
}

// TestStore_Life tries, confirms, fails and reverts programs; each step is read by another process.
func TestStore_Life(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := versions.New(dir)
	expect := func(what string, want versions.State) {
		t.Helper()
		got, err := versions.New(dir).State()
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s (-want +got):\n%s", what, d)
		}
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	expect("nothing", versions.State{})
	one, two, bad := add(t, s, "one"), add(t, s, "two"), add(t, s, "bad")
	trial := func(id, rollout string) versions.Trial {
		return versions.Trial{Program: id, Rollout: rollout, Limit: time.Minute}
	}
	must(s.Begin(trial(bad, "r0")))
	must(s.Confirm("another", "base")) // is not on trial
	failed := trial(bad, "r0")
	failed.Reason = "it ended"
	must(s.Fail("it ended"))
	expect("failed", versions.State{Failed: &failed})
	must(s.Begin(trial(one, "r1")))
	must(s.Confirm("r1", "base"))
	expect("one", versions.State{Installed: "base", Current: one, Rollout: "r1"})
	if s.Check(bad) == nil || s.Check(two) == nil || s.Check(one) != nil {
		t.Error("programs that nothing names are kept, or the current one is not")
	}
	two = add(t, s, "two")
	must(s.Begin(trial(two, "r2")))
	must(s.Revert("r2")) // before it was called good
	expect("one again", versions.State{Installed: "base", Current: one, Rollout: "r1"})
	must(s.Begin(trial(two, "r2")))
	must(s.Confirm("r2", "base"))
	expect("two", versions.State{Installed: "base", Current: two, Previous: one, Rollout: "r2"})
	must(s.Revert("r1")) // is not what brought two
	must(s.Revert("r2"))
	expect("back at one", versions.State{Installed: "base", Current: one})
	if err := s.Check(one); err != nil {
		t.Error(err)
	}
}
