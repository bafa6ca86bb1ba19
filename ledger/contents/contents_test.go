package contents_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/ledger/contents"
	"github.com/conclave-llm/conclave/resource"
)

// xor is a sealer that hides the text and is bound to the id.
type xor struct{}

func (xor) Seal(plain []byte, id string) ([]byte, error) {
	out := append([]byte(id), 0)
	for _, b := range plain {
		out = append(out, b^0x5a)
	}
	return out, nil
}

func (xor) Open(sealed []byte, id string) ([]byte, error) {
	rest, ok := bytes.CutPrefix(sealed, append([]byte(id), 0))
	if !ok {
		return nil, errors.New("sealed for another request")
	}
	out := make([]byte, 0, len(rest))
	for _, b := range rest {
		out = append(out, b^0x5a)
	}
	return out, nil
}

var noon = time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)

func content(id, key string, at time.Time, text string) contents.Content {
	return contents.Content{RequestID: id, Time: resource.At(at), Owners: contents.Owners{KeyID: key}, Request: []byte(text), Response: []byte("answer to " + text)}
}

// open opens the store; what is put is there once the store is closed and opened again.
func open(t *testing.T, cfg contents.Config) *contents.Store {
	t.Helper()
	cfg.Sealer, cfg.Now = xor{}, func() time.Time { return noon }
	s, err := contents.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func find(t *testing.T, s *contents.Store, id, key string) string {
	t.Helper()
	c, err := s.Find(id, key)
	if err != nil {
		t.Fatal(err)
	}
	if c == nil {
		return ""
	}
	return string(c.Request)
}

func TestStore(t *testing.T) {
	t.Parallel()
	var denied atomic.Pointer[string]
	cfg := contents.Config{
		Dir: filepath.Join(t.TempDir(), "content"), Keep: func(o *contents.Owners) time.Duration {
			if d := denied.Load(); d != nil && *d == o.KeyID {
				return 0
			}
			return 48 * time.Hour
		},
	}
	s := open(t, cfg)
	s.Put(content("r1", "a", noon, "first"))
	s.Put(content("r1", "b", noon.Add(time.Second), "second"))
	s.Put(content("r2", "b", noon.AddDate(0, 0, -1), "yesterday"))
	s.Put(content("r3", "b", noon.AddDate(0, 0, -5), "long ago"))
	s.Put(content("big", "b", noon, string(make([]byte, contents.MaxBytes+1))))
	s.Close()
	s = open(t, cfg)
	for _, tt := range []struct{ id, key, want string }{
		{"r1", "", "second"}, {"r1", "a", "first"}, {"r1", "c", ""}, {"r2", "", "yesterday"}, {"r4", "", ""},
	} {
		if got := find(t, s, tt.id, tt.key); got != tt.want {
			t.Errorf("%s of %q: got %q, want %q", tt.id, tt.key, got, tt.want)
		}
	}
	if c, err := s.Find("big", ""); err != nil || c == nil || len(c.Request) != contents.MaxBytes || !c.Truncated {
		t.Errorf("a long one: %v", err)
	}
	s.Close()
	if _, err := os.Stat(filepath.Join(cfg.Dir, "2026-02-27.db")); err == nil {
		t.Error("what is too old is still there")
	}
	gone := "b"
	denied.Store(&gone)
	s = open(t, cfg)
	if find(t, s, "r1", "b") != "" || find(t, s, "r1", "") != "first" {
		t.Error("what is not to be kept any more is shown")
	}
	s.Close()
	denied.Store(nil) // who says yes again does not get back what was removed
	s = open(t, cfg)
	defer s.Close()
	if got := find(t, s, "r1", ""); got != "first" || find(t, s, "r2", "") != "" {
		t.Errorf("after the purge: got %q", got)
	}
}

// Holders may have a time of their own: what is older goes, beside what stays.
func TestStore_agesOfHolders(t *testing.T) {
	t.Parallel()
	cfg := contents.Config{Dir: t.TempDir(), Keep: func(o *contents.Owners) time.Duration {
		if o.KeyID == "short" {
			return 24 * time.Hour
		}
		return 240 * time.Hour
	}}
	s := open(t, cfg)
	s.Put(content("r1", "short", noon.AddDate(0, 0, -3), "first"))
	s.Put(content("r2", "long", noon.AddDate(0, 0, -3), "second"))
	s.Put(content("r3", "short", noon, "third"))
	s.Put(content("r4", "short", noon.AddDate(0, 0, -4), "alone in its file"))
	s.Flush()
	for id, want := range map[string]string{"r1": "", "r2": "second", "r3": "third", "r4": ""} {
		if got := find(t, s, id, ""); got != want {
			t.Errorf("%s before anything was removed: got %q, want %q", id, got, want)
		}
	}
	s.Close()
	open(t, contents.Config{Dir: cfg.Dir, Keep: func(o *contents.Owners) time.Duration {
		return map[string]time.Duration{"short": 24 * time.Hour, "long": 240 * time.Hour}[o.KeyID]
	}}).Close()
	s = open(t, contents.Config{Dir: cfg.Dir, Keep: func(*contents.Owners) time.Duration { return 2400 * time.Hour }})
	defer s.Close()
	for id, want := range map[string]string{"r1": "", "r2": "second", "r3": "third", "r4": ""} {
		if got := find(t, s, id, ""); got != want {
			t.Errorf("%s on disk: got %q, want %q", id, got, want)
		}
	}
	if files, _ := filepath.Glob(filepath.Join(cfg.Dir, "*")); len(files) != 2 {
		t.Errorf("got %v, want the files of two days", files)
	}
}

// A file that was removed for its age while somebody looks for a content does not come back.
func TestStore_removedMeanwhile(t *testing.T) {
	t.Parallel()
	cfg := contents.Config{Dir: t.TempDir(), Keep: func(*contents.Owners) time.Duration { return 48 * time.Hour }}
	s := open(t, cfg)
	s.Put(content("r1", "a", noon.AddDate(0, 0, -1), "yesterday"))
	s.Put(content("r2", "a", noon.AddDate(0, 0, -2), "the day before"))
	s.Flush()
	err := s.Each(func(o *contents.Owners) bool { return true }, func(c *contents.Content) error {
		return os.Remove(filepath.Join(cfg.Dir, "2026-03-02.db"))
	})
	if err != nil {
		t.Errorf("each: %v", err)
	}
	s.Close()
	if _, err := os.Stat(filepath.Join(cfg.Dir, "2026-03-02.db")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the removed file: %v", err)
	}
}

func TestStore_hidesText(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, contents.Config{Dir: dir})
	s.Put(content("r1", "a", noon, "CANARY"))
	s.Close()
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	b, err := os.ReadFile(files[0])
	if err != nil || bytes.Contains(b, []byte("CANARY")) {
		t.Errorf("the text stands in the file: %v", err)
	}
}

// What comes faster than it is written is left out, and counted.
// A disk that is nearly full is not filled with contents: what is needed more has the room.
func TestStore_full(t *testing.T) {
	t.Parallel()
	var full atomic.Bool
	s := open(t, contents.Config{Dir: t.TempDir(), Full: full.Load})
	defer s.Close()
	for id, none := range map[string]bool{"kept": false, "left out": true, "kept again": false} {
		full.Store(none)
		s.Put(content(id, "k", noon, "text"))
		s.Flush()
		if got := find(t, s, id, "k"); (got == "") != none {
			t.Errorf("%s: got %q", id, got)
		}
	}
	if n := s.LeftOut(); n != 1 {
		t.Errorf("%d are counted as left out", n)
	}
}

func TestStore_bounded(t *testing.T) {
	t.Parallel()
	s := open(t, contents.Config{Dir: t.TempDir()})
	defer s.Close()
	for range 5000 {
		s.Put(content("r", "a", noon, string(make([]byte, 100<<10))))
	}
	if s.LeftOut() == 0 {
		t.Error("half a gigabyte was queued")
	}
}
