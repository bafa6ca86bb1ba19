package rig

import (
	"bufio"
	"bytes"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// TestVolume: what was synced survives a power failure, and what was not is gone; a full volume takes nothing until it is freed.
func TestVolume(t *testing.T) {
	t.Parallel()
	if err := MayMount(); err != nil {
		t.Skip(err)
	}
	dir := t.TempDir()
	mount := filepath.Join(dir, "mount")
	v, err := NewVolume(filepath.Join(dir, "image"), mount, 32<<20)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := v.Close(); err != nil {
			t.Error(err)
		}
	})
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	synced, lost := filepath.Join(mount, "synced"), filepath.Join(mount, "lost")
	f, err := os.Create(synced)
	must(err)
	_, err = f.WriteString("kept")
	must(err)
	must(f.Sync())
	must(f.Close())
	must(os.WriteFile(lost, []byte("gone"), 0o600))
	must(v.Fail())
	if err := os.WriteFile(lost, nil, 0o600); err == nil {
		t.Error("a volume without power takes a file")
	}
	must(v.Back())
	if b, err := os.ReadFile(synced); err != nil || string(b) != "kept" {
		t.Errorf("what was synced: %q, %v", b, err)
	}
	if b, err := os.ReadFile(lost); err == nil && len(b) > 0 {
		t.Errorf("what was not synced is there: %q", b)
	}
	must(v.Fill(0))
	if err := os.WriteFile(lost, bytes.Repeat([]byte("x"), 1<<20), 0o600); err == nil {
		t.Error("a full volume takes a file")
	}
	must(v.Free())
	must(os.WriteFile(lost, bytes.Repeat([]byte("x"), 1<<20), 0o600))
}

func TestDamage(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, tt := range []struct {
		name, have, want string
		harm             func(path string) error
	}{
		{"a bit in the middle", "abcde\x00\x00", "absde\x00\x00", Flip},
		{"the last quarter", "abcdefgh\x00", "abcdef\x00\x00\x00", CutEnd},
		{"a word, wherever it is", "key.key.ke", "ley.ley.ke", func(path string) error {
			if n, err := Misspell(path, "key", 'l'); n != 2 || err != nil {
				t.Errorf("got %d, %v", n, err)
			}
			return nil
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(dir, tt.name)
			if err := os.WriteFile(path, []byte(tt.have), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := tt.harm(path); err != nil {
				t.Fatal(err)
			}
			if got, err := os.ReadFile(path); err != nil || string(got) != tt.want {
				t.Errorf("got %q, %v, want %q", got, err, tt.want)
			}
		})
	}
	empty := filepath.Join(dir, "empty")
	if err := os.WriteFile(empty, make([]byte, 8), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Flip(empty); err == nil {
		t.Error("a file of zeros can be damaged")
	}
	for _, name := range []string{"1.log", "2.log", "9.txt"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := Newest(dir, "*.log"); err != nil || filepath.Base(got) != "2.log" {
		t.Errorf("the newest: got %s, %v", got, err)
	}
	if got, err := Newest(dir, "*.seg"); err != nil || got != "" {
		t.Errorf("none: got %s, %v", got, err)
	}
}

// TestProcess freezes a process, and finds the child that it leaves behind.
func TestProcess(t *testing.T) {
	t.Parallel()
	if err := Adopt(); err != nil {
		t.Skip(err)
	}
	said, out := io.Pipe()
	p, err := Run(nil, []string{"sh", "-c", "sleep 600 >/dev/null 2>&1 & echo $!; while :; do :; done"}, out)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := bufio.NewReader(said).ReadString('\n'); err != nil { // the child is there
		t.Fatal(err)
	}
	if err := p.Freeze(); err != nil {
		t.Error(err)
	}
	if u, err := p.Usage(); err != nil || u.RSS == 0 || u.FDs == 0 || u.Threads == 0 {
		t.Errorf("usage: got %+v, %v", u, err)
	}
	p.Kill()
	all, err := Children()
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for pid, what := range all {
		if what != "sleep 600" {
			continue
		}
		found++
		child, err := os.FindProcess(pid)
		if err != nil {
			t.Fatal(err)
		}
		if err := child.Signal(syscall.SIGKILL); err != nil {
			t.Error(err)
		}
	}
	if found != 1 {
		t.Errorf("got %v, want the one that was left behind", all)
	}
}
