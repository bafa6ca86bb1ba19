package store_test

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	bolt "go.etcd.io/bbolt"

	"github.com/conclave-llm/conclave/fsm/frame"
	"github.com/conclave-llm/conclave/fsm/store"
)

func open(t *testing.T, dir, boot string, read func(*bolt.Tx) error) *store.File {
	t.Helper()
	f, err := store.Open(store.Config{Dir: dir, BootID: boot, Read: read, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	return f
}

func readable(*bolt.Tx) error { return nil }

func write(t *testing.T, f *store.File) store.Position {
	t.Helper()
	tx, err := f.Begin()
	if err != nil {
		t.Fatal(err)
	}
	key := []byte("k1")
	v := frame.Value{Version: 7, Payload: []byte("x")}.Encode(key)
	pos := store.Position{Index: 7, Term: 1, Hash: frame.Hash{}.Plus(frame.HashOf(byte(store.Keys), key, v))}
	if err := errors.Join(store.Keys.In(tx).Put(key, v), store.WritePosition(tx, pos), tx.Commit()); err != nil {
		t.Fatal(err)
	}
	return pos
}

func TestOpen_Trust(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		stop func(f *store.File, pos store.Position) error
		boot string
		read func(first bool) error
		kept bool
	}{
		{"clean stop", func(f *store.File, pos store.Position) error { return f.Close(pos) }, "b2", nil, true},
		{"stamp of another state", func(f *store.File, pos store.Position) error {
			pos.Index++
			return f.Close(pos)
		}, "b2", nil, false},
		{"doubted", func(f *store.File, pos store.Position) error {
			f.Doubt()
			return f.Close(pos)
		}, "b1", nil, false},
		{"refused by its reader", func(f *store.File, pos store.Position) error { return f.Close(pos) }, "b1", func(first bool) error {
			if first {
				return frame.ErrDamaged
			}
			return nil
		}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			f := open(t, dir, "b1", readable)
			if f.Kept() {
				t.Error("a new file was kept")
			}
			if err := tt.stop(f, write(t, f)); err != nil {
				t.Fatal(err)
			}
			first := true
			f = open(t, dir, tt.boot, func(*bolt.Tx) error {
				if tt.read == nil {
					return nil
				}
				defer func() { first = false }()
				return tt.read(first)
			})
			defer func() { _ = f.Close(store.Position{}) }()
			if f.Kept() != tt.kept {
				t.Errorf("kept: got %v, want %v", f.Kept(), tt.kept)
			}
			if f.Unclean() { // TestKilled of fsm has one that is
				t.Error("unclean, though it was closed")
			}
			if err := f.Scrub(); err != nil {
				t.Errorf("Scrub: %v", err)
			}
		})
	}
}

// TestView_Damaged has the sizes of all values lead out of the file while it is open: reading one is an error, and does not end the
// process.
func TestView_Damaged(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	f := open(t, dir, "b1", readable)
	write(t, f)
	defer func() { _ = f.Close(store.Position{}) }()
	file, err := os.OpenFile(filepath.Join(dir, "fsm.db"), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	info, err := file.Stat()
	if err != nil {
		t.Fatal(err)
	}
	const leaf, size, element = 2, 4096, 16
	for at := int64(0); at < info.Size(); at += size {
		var head [16]byte
		if _, err := file.ReadAt(head[:], at); err != nil || head[8] != leaf {
			continue
		}
		for i := range int64(head[10]) {
			if _, err := file.WriteAt([]byte{0x40}, at+element+i*element+15); err != nil { // the highest byte of the value's size
				t.Fatal(err)
			}
		}
	}
	err = f.View(func(tx *bolt.Tx) error {
		return tx.ForEach(func(_ []byte, b *bolt.Bucket) error {
			return b.ForEach(func(k, v []byte) error {
				_, err := frame.Parse(k, v)
				return err
			})
		})
	})
	if !errors.Is(err, frame.ErrDamaged) {
		t.Errorf("got %v, want %v", err, frame.ErrDamaged)
	}
}

func FuzzParsePosition(f *testing.F) {
	f.Add(store.Position{Index: 1, Term: 2, At: 3, Generation: 4}.Encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := store.ParsePosition(b)
		if err == nil && string(p.Encode()) != string(b) {
			t.Errorf("%x is read as what is written %x", b, p.Encode())
		}
	})
}
