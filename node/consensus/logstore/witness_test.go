package logstore

import (
	"errors"
	"os"
	"testing"

	"github.com/hashicorp/raft"
)

// watcher notes what it is told.
type watcher struct {
	writes int
	failed []error
	broken []error
}

func (w *watcher) Begin()           { w.writes++ }
func (w *watcher) Broken(err error) { w.broken = append(w.broken, err) }
func (w *watcher) End(err error) {
	if err != nil {
		w.failed = append(w.failed, err)
	}
}

// What the witness does not know must not be acknowledged: a node whose witness cannot be
// kept ends, and stores nothing until then.
func TestStore_witnessFails(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		last uint64 // of the log afterwards
		do   func(s *Store) error
	}{
		{"when an entry is stored", 11, func(s *Store) error { return s.StoreLogs(entries(11, 11)) }},
		{"when a tail is deleted", 10, func(s *Store) error { return s.DeleteRange(9, 10) }},
		{"in the background", 10, func(s *Store) error { s.witness.sync(); return s.witness.failed() }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := &watcher{}
			s, err := Open(t.TempDir(), w)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := s.Close(); !errors.Is(err, os.ErrClosed) {
					t.Errorf("Close = %v, want ErrClosed", err)
				}
			})
			close(s.witness.stop) // of the background, which the test stands in for
			<-s.witness.done
			s.witness.stop = make(chan struct{})
			if err := s.StoreLogs(entries(1, 10)); err != nil || w.writes != 1 {
				t.Fatalf("StoreLogs = %v, told of %d writes", err, w.writes)
			}
			if err := s.witness.f.Close(); err != nil { // every write and sync fails from now on
				t.Fatal(err)
			}
			if err := tt.do(s); !errors.Is(err, os.ErrClosed) {
				t.Errorf("got %v, want ErrClosed", err)
			}
			if len(w.broken) != 1 {
				t.Errorf("told of %v, want one failure", w.broken)
			}
			if err := s.StoreLogs(entries(tt.last+1, tt.last+1)); !errors.Is(err, os.ErrClosed) {
				t.Errorf("the next entry: got %v, want ErrClosed", err)
			}
			if last, err := s.LastIndex(); last != tt.last || err != nil {
				t.Errorf("LastIndex = %d, %v, want %d", last, err, tt.last)
			}
			if err := s.GetLog(tt.last+1, new(raft.Log)); !errors.Is(err, raft.ErrLogNotFound) {
				t.Errorf("the next entry was stored: %v", err)
			}
		})
	}
}

func TestStarted(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, want := range []bool{false, true, true} {
		if got, err := Started(dir); got != want || err != nil {
			t.Errorf("Started = %v, %v, want %v", got, err, want)
		}
		if err := MarkStarted(dir); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Started("not\x00a folder"); err == nil {
		t.Error("a folder that cannot be looked at counts as one")
	}
	if err := MarkStarted(dir + "/none"); err == nil {
		t.Error("a folder that is not there was marked")
	}
}
