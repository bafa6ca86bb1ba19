package secret_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/secret"
)

// TestKept exchanges the KEK twice: what was sealed under the first one opens by what was kept, also on a node that missed the second
// exchange and takes it from another one.
func TestKept(t *testing.T) {
	t.Parallel()
	keks := make([]*secret.KEK, 3)
	for i := range keks {
		keks[i], _ = secret.NewKEK()
	}
	here, there := secret.Kept(t.TempDir()), secret.Kept(t.TempDir())
	var sealed []string
	for _, k := range keks {
		s, err := secret.SealValue(k, secret.New("value of "+k.ID()))
		if err != nil {
			t.Fatal(err)
		}
		sealed = append(sealed, s)
	}
	exchange := func(f secret.Kept, from, to *secret.KEK, theirs string) {
		t.Helper()
		ring := secret.NewRing(from)
		ring.Add(to)
		ring.Use(to.ID())
		if err := f.Keep(ring, theirs); err != nil {
			t.Fatal(err)
		}
	}
	exchange(here, keks[0], keks[1], "")
	exchange(here, keks[1], keks[2], "")
	text, err := here.Export()
	if err != nil {
		t.Fatal(err)
	}
	exchange(there, keks[0], keks[2], text+"\nrubbish\nkek_0000000000000000 AAAA\n")
	for name, f := range map[string]secret.Kept{"here": here, "there": there} {
		ring := secret.NewRing(keks[2])
		kept, err := f.Load(ring)
		if err != nil || len(kept) != 2 {
			t.Errorf("%s: %d keys are kept, %v, want 2", name, len(kept), err)
		}
		for i, s := range sealed {
			got, kek, err := (&secret.Values{Ring: ring, Kept: kept}).Open(s)
			if want := "value of " + keks[i].ID(); err != nil || got.Reveal() != want || kek != keks[i].ID() {
				t.Errorf("%s: got %q under %s, %v, want %q", name, got.Reveal(), kek, err, want)
			}
		}
		if kept, _ := f.Load(keks[1]); len(kept) != 0 {
			t.Errorf("%s: a KEK that was exchanged opens %d keys", name, len(kept))
		}
	}
	b, err := os.ReadFile(filepath.Join(string(here), "kek.values"))
	if err != nil || strings.Contains(string(b), string(keks[0].Bytes())) {
		t.Errorf("the file: %v", err)
	}
	if info, _ := os.Stat(filepath.Join(string(here), "kek.values")); info.Mode().Perm() != 0o600 {
		t.Errorf("the file's mode is %v", info.Mode())
	}
}

// TestKept_damaged keeps lines that do not open, for they may be another KEK's, and opens what does.
func TestKept_damaged(t *testing.T) {
	t.Parallel()
	first, _ := secret.NewKEK()
	second, _ := secret.NewKEK()
	f := secret.Kept(t.TempDir())
	path := filepath.Join(string(f), "kek.values")
	if err := os.WriteFile(path, []byte("kek_ffffffffffffffff AAAA\n\nhalf a li"), 0o600); err != nil {
		t.Fatal(err)
	}
	ring := secret.NewRing(first)
	ring.Add(second)
	ring.Use(second.ID())
	if err := f.Keep(ring, ""); err != nil {
		t.Fatal(err)
	}
	if kept, err := f.Load(ring); err != nil || len(kept) != 1 || kept[0].ID() != first.ID() {
		t.Errorf("got %v, %v, want the first KEK's", kept, err)
	}
	if b, _ := os.ReadFile(path); !strings.Contains(string(b), "kek_ffffffffffffffff AAAA\n") {
		t.Errorf("what does not open is gone: %q", b)
	}
	sealed, _ := secret.SealValue(first, secret.New("x"))
	if _, kek, err := (&secret.Values{Ring: secret.NewRing(second)}).Open(sealed); !errors.Is(err, secret.ErrWrongKey) || kek != first.ID() || !strings.Contains(err.Error(), first.ID()) {
		t.Errorf("without the file: got %s, %v, want the error to name the KEK", kek, err)
	}
}
