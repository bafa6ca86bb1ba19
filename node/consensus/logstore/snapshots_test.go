package logstore

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/raft"

	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/internal/slogbridge"
)

// testSnapshots opens a store and says what it logs at Error.
func testSnapshots(t *testing.T, dir string, damaged func()) (*Snapshots, *bytes.Buffer) {
	t.Helper()
	var out bytes.Buffer
	log := slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelError}))
	s, err := OpenSnapshots(dir, log, slogbridge.New(log, "raft"), damaged)
	if err != nil {
		t.Fatal(err)
	}
	return s, &out
}

// framed is a snapshot as the state machine writes it, with an index of its own.
func framed(t *testing.T, body string, edit func(*fsm.Header)) []byte {
	t.Helper()
	h := fsm.Header{FSMVersion: 1, Index: 5, Term: 1, Size: uint64(len(body)), SHA256: sha256.Sum256([]byte(body)), ClusterID: "c"}
	if edit != nil {
		edit(&h)
	}
	b, err := h.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return append(b, body...)
}

// save stores a snapshot at an index, a few bytes at a time.
func save(t *testing.T, s *Snapshots, index uint64, b []byte) error {
	t.Helper()
	_, trans := raft.NewInmemTransport("")
	sink, err := s.Create(1, index, 3, raft.Configuration{}, 1, trans)
	if err != nil {
		t.Fatal(err)
	}
	for len(b) > 0 {
		n := min(len(b), 100)
		if _, err := sink.Write(b[:n]); err != nil {
			return errors.Join(err, sink.Cancel())
		}
		b = b[n:]
	}
	return errors.Join(sink.Close(), sink.Close()) // twice, as raft does
}

func TestSnapshots_frame(t *testing.T) {
	t.Parallel()
	s, _ := testSnapshots(t, t.TempDir(), nil)
	body := strings.Repeat("state ", 100)
	if err := save(t, s, 17, framed(t, body, nil)); err != nil {
		t.Fatal(err)
	}
	metas, err := s.List()
	if err != nil || len(metas) != 1 {
		t.Fatalf("List = %v, %v", metas, err)
	}
	meta, rc, err := s.Open(metas[0].ID)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = rc.Close() }()
	h, err := fsm.ReadHeader(rc)
	if err != nil || h.Index != 17 || h.Term != 3 || h.ClusterID != "c" {
		t.Errorf("header %+v, %v, want Raft's index 17 and term 3", h, err)
	}
	got, err := io.ReadAll(rc)
	if err != nil || string(got) != body || meta.Size != int64(fsm.HeaderSize+len(body)) {
		t.Errorf("body of %d bytes, %v, size %d", len(got), err, meta.Size)
	}
}

func TestSnapshots_refusesWhatIsNotWhole(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		b    []byte
	}{
		{"nothing", nil},
		{"a part of the frame", framed(t, "", nil)[:100]},
		{"no frame", bytes.Repeat([]byte{1}, 300)},
		{"a body that is cut off", framed(t, "body", func(h *fsm.Header) { h.Size++ })},
		{"another body", framed(t, "body", func(h *fsm.Header) { h.SHA256[0] ^= 1 })},
		{"more than the body", append(framed(t, "body", nil), 'x')},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s, _ := testSnapshots(t, t.TempDir(), nil)
			if err := save(t, s, 9, tt.b); err == nil {
				t.Error("it was stored")
			}
			if metas, err := s.List(); err != nil || len(metas) > 0 {
				t.Errorf("List = %v, %v", metas, err)
			}
		})
	}
}

func TestSnapshots_damage(t *testing.T) {
	t.Parallel()
	flip := func(at int) func(path string) error {
		return func(path string) error {
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			b[at] ^= 8
			return os.WriteFile(path, b, 0o600)
		}
	}
	for _, tt := range []struct {
		name   string
		damage func(path string) error
	}{
		{"a bit of the body", flip(fsm.HeaderSize + 3)},
		{"a bit of the frame", flip(20)},
		{"the end is missing", func(p string) error { return os.Truncate(p, fsm.HeaderSize+2) }},
		{"it is empty", func(p string) error { return os.Truncate(p, 0) }},
		{"the file is missing", os.Remove},
		{"the frame of another", func(p string) error {
			return os.WriteFile(p, framed(t, "newest", func(h *fsm.Header) { h.Index, h.Term = 19, 3 }), 0o600)
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			told := 0
			s, log := testSnapshots(t, dir, func() { told++ })
			if err := errors.Join(save(t, s, 10, framed(t, "oldest", nil)), save(t, s, 20, framed(t, "newest", nil))); err != nil {
				t.Fatal(err)
			}
			metas, err := s.List()
			if err != nil || len(metas) != 2 {
				t.Fatalf("List = %v, %v", metas, err)
			}
			if err := tt.damage(filepath.Join(dir, snapshotDir, metas[0].ID, stateFile)); err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(s.Settle(), s.Scrub()); err != nil {
				t.Fatal(err)
			}
			if newest, oldest, err := s.Bounds(); newest != 10 || oldest != 10 || err != nil {
				t.Errorf("bounds = %d, %d, %v, want the older one alone", newest, oldest, err)
			}
			if told != 1 || strings.Count(log.String(), "damaged and was set aside") != 1 {
				t.Errorf("told %d times, logged %q", told, log)
			}
			if _, err := os.Stat(filepath.Join(dir, damagedDir, metas[0].ID)); err != nil {
				t.Errorf("it was not kept aside: %v", err)
			}
		})
	}
}

func TestSnapshots_removesWhatACrashLeft(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	part := filepath.Join(dir, snapshotDir, "3-7-1"+partSuffix)
	if err := os.MkdirAll(part, 0o700); err != nil {
		t.Fatal(err)
	}
	testSnapshots(t, dir, nil)
	if _, err := os.Stat(part); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v, want the half snapshot to be gone", err)
	}
}
