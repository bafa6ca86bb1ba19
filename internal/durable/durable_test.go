package durable_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/internal/durable"
)

// names are those of the files in a folder.
func names(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return strings.Join(all, " ")
}

// TestWriteFile makes a file, replaces it, and replaces it where a crash has left what others may read.
func TestWriteFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	elsewhere := filepath.Join(t.TempDir(), "elsewhere")
	for _, tt := range []struct {
		name   string
		before func() error
		text   string
	}{
		{"new", func() error { return nil }, "one"},
		{"old", func() error { return nil }, "another"},
		{"left by a crash", func() error { return os.WriteFile(path+".new", []byte("half of something longer"), 0o644) }, "third"},
		{"a link", func() error { return os.Symlink(elsewhere, path+".new") }, "fourth"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := errors.Join(tt.before(), durable.WriteFile(path, []byte(tt.text))); err != nil {
				t.Fatal(err)
			}
			b, err := os.ReadFile(path)
			if err != nil || string(b) != tt.text {
				t.Errorf("got %q, %v, want %q", b, err, tt.text)
			}
			if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
				t.Errorf("got mode %v, %v, want 0600", info.Mode(), err)
			}
			if got := names(t, dir); got != "file" {
				t.Errorf("the folder has %s, want the file alone", got)
			}
		})
	}
	if _, err := os.Lstat(elsewhere); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("it was written through a link: %v", err)
	}
}

// TestWriteFile_fails leaves what was there, and nothing else, and says which file it was.
func TestWriteFile_fails(t *testing.T) {
	t.Parallel()
	t.Run("no folder", func(t *testing.T) {
		t.Parallel()
		path := filepath.Join(t.TempDir(), "gone", "file")
		if err := durable.WriteFile(path, nil); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), path) {
			t.Errorf("got %v, want that there is no %s", err, path)
		}
	})
	t.Run("a folder of the name", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		path := filepath.Join(dir, "file")
		if err := os.MkdirAll(filepath.Join(path, "full"), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := durable.WriteFile(path, []byte("text")); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("got %v, want that %s cannot be replaced", err, path)
		}
		if got := names(t, dir); got != "file" {
			t.Errorf("the folder has %s, want what it had", got)
		}
	})
	t.Run("what is in the way stays", func(t *testing.T) {
		t.Parallel()
		path := filepath.Join(t.TempDir(), "file")
		if err := os.MkdirAll(filepath.Join(path+".new", "full"), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := durable.WriteFile(path, nil); err == nil || !strings.Contains(err.Error(), path+".new") {
			t.Errorf("got %v, want that %s.new is in the way", err, path)
		}
	})
}

// TestCommit gives a file its name with the mode that it has, or removes it.
func TestCommit(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	part := func() *os.File {
		f, err := os.CreateTemp(dir, "part-*")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteString("#!/bin/sh\n"); err != nil {
			t.Fatal(err)
		}
		return f
	}
	f := part()
	if err := errors.Join(f.Chmod(0o500), durable.Commit(f, filepath.Join(dir, "program"))); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(filepath.Join(dir, "program")); err != nil || info.Mode() != 0o500 || info.Size() != 10 {
		t.Errorf("got %v, %v, want ten bytes of mode 0500", info, err)
	}
	if err := durable.Discard(part()); err != nil {
		t.Error(err)
	}
	closed := part()
	if err := closed.Close(); err != nil {
		t.Fatal(err)
	}
	if err := durable.Commit(closed, filepath.Join(dir, "other")); !errors.Is(err, os.ErrClosed) {
		t.Errorf("a file that cannot be synced: got %v", err)
	}
	if got := names(t, dir); got != "program" {
		t.Errorf("the folder has %s, want the program alone", got)
	}
	if err := durable.SyncDir(filepath.Join(dir, "gone")); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "gone") {
		t.Errorf("a folder that is gone: got %v", err)
	}
}
