package blob_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/node/blob"
	"github.com/conclave-llm/conclave/resource"
	"github.com/conclave-llm/conclave/secret"
)

var start = time.Unix(1_700_000_000, 0)

func keyring(t testing.TB) *secret.Keyring {
	t.Helper()
	kek, err := secret.NewKEK()
	if err != nil {
		t.Fatal(err)
	}
	keys := secret.NewKeyring(kek)
	id, wrapped, err := keys.NewDEK()
	if err == nil {
		err = keys.AddDEK(id, wrapped)
	}
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

// lab is some nodes whose Raft is a map.
type lab struct {
	t     *testing.T
	nodes map[string]*blob.Store
	dirs  map[string]string

	mu    sync.Mutex // guards known, dead
	known map[string]*resource.Blob
	dead  map[string]bool
	gone  []string // removed members
}

func newLab(t *testing.T, names ...string) *lab {
	l := &lab{t: t, nodes: map[string]*blob.Store{}, dirs: map[string]string{}, known: map[string]*resource.Blob{}, dead: map[string]bool{}}
	keys := keyring(t)
	for _, name := range names {
		l.dirs[name] = t.TempDir()
		f, err := blob.OpenFolder(l.dirs[name], blob.Sealed(keys))
		if err != nil {
			t.Fatal(err)
		}
		l.nodes[name] = blob.New(blob.Config{
			NodeID: name, Folder: f, Cluster: caller{l, name}, State: l, Quota: func() int64 { return 0 },
			Peers: func() []string {
				return slices.DeleteFunc(slices.Clone(names), func(n string) bool { return n == name || l.isGone(n) })
			},
			Leads: func() bool { return name == names[0] }, Now: func() time.Time { return start },
		})
	}
	return l
}

func (l *lab) kill(name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.dead[name] = true
}

func (l *lab) remove(name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.gone = append(l.gone, name)
}

func (l *lab) isGone(name string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Contains(l.gone, name)
}

func (l *lab) Blob(id string) (*resource.Blob, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	b, ok := l.known[id]
	return b, ok
}

// Applied and WaitApplied are the whole lab's, but for a test that has a node behind.
func (l *lab) Applied() uint64 { return 1 }

func (l *lab) WaitApplied(context.Context, uint64) error { return nil }

func (l *lab) Blobs(after string, limit int) (all []*resource.Blob) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, b := range l.known {
		if b.ID > after {
			all = append(all, b)
		}
	}
	slices.SortFunc(all, func(a, b *resource.Blob) int { return bytes.Compare([]byte(a.ID), []byte(b.ID)) })
	return all[:min(limit, len(all))]
}

type caller struct {
	*lab
	name string
}

func (c caller) Call(ctx context.Context, node, method string, body []byte) ([]byte, error) {
	c.mu.Lock()
	dead := c.dead[node]
	c.mu.Unlock()
	if dead {
		return nil, errors.New("cut off")
	}
	if method == blob.MethodPull {
		return c.nodes[node].OnPull(ctx, c.name, body)
	}
	return c.nodes[node].OnRead(ctx, c.name, body)
}

func (c caller) Propose(_ context.Context, _ fsm.Actor, _ string, cmd fsm.Command) (fsm.Result, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch cmd := cmd.(type) {
	case fsm.PutBlob:
		b := *cmd.Blob.Record()
		c.known[b.ID] = &b
	case fsm.SweepBlobs:
		for _, id := range cmd.IDs {
			delete(c.known, id)
		}
	}
	return fsm.Result{}, nil
}

func (l *lab) put(name string, b resource.Blob, body []byte) *resource.Blob {
	l.t.Helper()
	out, err := l.nodes[name].Put(l.t.Context(), fsm.Actor{Kind: "master"}, "", b, body)
	if err != nil {
		l.t.Fatal(err)
	}
	return out
}

func (l *lab) holds(id string) (names []string) {
	for name, dir := range l.dirs {
		if _, err := os.Stat(filepath.Join(dir, id)); err == nil {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

var client = resource.Blob{Class: resource.BlobClient, Kind: "response"}

func TestStore_twoCopiesBeforePutReturns(t *testing.T) {
	t.Parallel()
	l := newLab(t, "a", "b", "c")
	body := bytes.Repeat([]byte("0123456789"), 1<<20) // three parts
	b := l.put("a", client, body)
	held := l.holds(b.ID)
	if len(held) != 2 || !slices.Equal(held, b.Holders) {
		t.Fatalf("held by %v, told %v", held, b.Holders)
	}
	l.kill("a")
	got, err := l.nodes["c"].Read(t.Context(), b.ID)
	if err != nil || !bytes.Equal(got, body) {
		t.Errorf("got %d bytes, %v", len(got), err)
	}
	raw, err := os.ReadFile(filepath.Join(l.dirs["a"], b.ID))
	if err != nil || bytes.Contains(raw, body[:20]) {
		t.Errorf("the file shows what is in it (%v)", err)
	}
	info, err := os.Stat(filepath.Join(l.dirs["a"], b.ID))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

func TestStore_noSecondNode(t *testing.T) {
	t.Parallel()
	l := newLab(t, "a", "b", "c")
	l.kill("b")
	l.kill("c")
	_, err := l.nodes["a"].Put(t.Context(), fsm.Actor{Kind: "master"}, "", client, []byte("x"))
	wantUnavailable(t, err)
	if len(l.known) != 0 {
		t.Error("Raft was told of it")
	}
	one := newLab(t, "a")
	one.put("a", client, nil)
}

func wantUnavailable(t *testing.T, err error) {
	t.Helper()
	e, ok := errors.AsType[*llm.Error](err)
	if !ok || e.Kind != llm.Unavailable || e.Code != "blob_unavailable" {
		t.Errorf("got %v, want blob_unavailable", err)
	}
}

func TestStore_corruptCopies(t *testing.T) {
	t.Parallel()
	l := newLab(t, "a", "b")
	b := l.put("a", client, []byte("hello"))
	for _, damage := range []struct {
		name string
		do   func([]byte) []byte
	}{
		{"bit", func(b []byte) []byte { b[len(b)-1] ^= 1; return b }},
		{"cut", func(b []byte) []byte { return b[:len(b)/2] }},
		{"empty", func([]byte) []byte { return nil }},
		{"noise", func([]byte) []byte { return []byte("\x01\xffnoise") }},
	} {
		spoil := func(node string) {
			path := filepath.Join(l.dirs[node], b.ID)
			raw, err := os.ReadFile(path)
			if err == nil {
				err = os.WriteFile(path, damage.do(raw), 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		spoil("a")
		got, err := l.nodes["a"].Read(t.Context(), b.ID)
		if err != nil || string(got) != "hello" {
			t.Errorf("%s: got %q, %v", damage.name, got, err)
		}
		if _, err := l.nodes["a"].Read(t.Context(), b.ID); err != nil || len(l.holds(b.ID)) != 2 {
			t.Errorf("%s: the copy is not mended: %v", damage.name, err)
		}
		checks, err := l.nodes["b"].Verify(t.Context(), b.ID)
		if err != nil || len(checks) != 2 || !checks[0].Holds || !checks[1].Holds {
			t.Errorf("%s: got %+v, %v", damage.name, checks, err)
		}
	}
	for _, dir := range l.dirs {
		if err := os.WriteFile(filepath.Join(dir, b.ID), []byte("gone"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	_, err := l.nodes["a"].Read(t.Context(), b.ID)
	wantUnavailable(t, err)
	if _, err := l.nodes["a"].Read(t.Context(), blob.Digest([]byte("other"))); !errors.Is(err, resource.ErrNotFound) {
		t.Errorf("unknown: %v", err)
	}
}

func TestStore_Tend(t *testing.T) {
	t.Parallel()
	l := newLab(t, "a", "b", "c")
	kept := l.put("a", resource.Blob{Class: resource.BlobConfiguration, Kind: "plugin"}, []byte("plugin"))
	over := l.put("a", resource.Blob{Class: resource.BlobClient, Kind: "file", ExpiresAt: resource.At(start)}, []byte("over"))
	for _, n := range l.nodes {
		if err := n.Tend(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if got := l.holds(kept.ID); len(got) != 3 {
		t.Errorf("configuration is on %v", got)
	}
	if _, ok := l.Blob(over.ID); ok {
		t.Error("what has expired is known")
	}
	for _, dir := range l.dirs { // an hour later
		_ = os.Chtimes(filepath.Join(dir, over.ID), start, start.Add(-2*time.Hour))
	}
	for _, n := range l.nodes {
		if err := n.Tend(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if got := l.holds(over.ID); len(got) != 0 {
		t.Errorf("forgotten, but on %v", got)
	}
}

func TestStore_holderGoneForGood(t *testing.T) {
	t.Parallel()
	l := newLab(t, "a", "b", "c", "d")
	b := l.put("a", client, []byte("kept"))
	other := b.Holders[1]
	tend := func() {
		t.Helper()
		if err := l.nodes["a"].Tend(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	l.kill(other)
	tend()
	if got, _ := l.Blob(b.ID); !slices.Equal(got.Holders, b.Holders) {
		t.Fatalf("copied again although %s is a member: %v", other, got.Holders)
	}
	l.remove(other)
	tend()
	got, _ := l.Blob(b.ID)
	fresh := slices.DeleteFunc(slices.Clone(got.Holders), func(n string) bool { return n == "a" || n == other })
	if len(fresh) != 1 || !slices.Contains(l.holds(b.ID), fresh[0]) {
		t.Fatalf("told %v, held by %v", got.Holders, l.holds(b.ID))
	}
	l.kill("a")
	if body, err := l.nodes[fresh[0]].Read(t.Context(), b.ID); err != nil || string(body) != "kept" {
		t.Errorf("got %q, %v", body, err)
	}
}

// behind is the state of a node that has not applied yet what others have forgotten.
type behind struct {
	*lab
	catchUp func(ctx context.Context) error // until it has
	asked   uint64                          // for which index it waited
	knows   map[string]*resource.Blob
}

func (b *behind) Blob(id string) (*resource.Blob, bool) {
	r, ok := b.knows[id]
	return r, ok
}

func (b *behind) WaitApplied(ctx context.Context, index uint64) error {
	b.asked = index
	return b.catchUp(ctx)
}

// TestStore_OnDrop: a node that is behind waits until it has forgotten a body too, and keeps it if that lasts.
func TestStore_OnDrop(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, drop string
		stuck      bool
		index      uint64
		kept       bool
	}{
		{"in time", " 7", false, 7, false},
		{"too late", " 7", true, 7, true},
		{"of a node that says no index", "", false, 0, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f, err := blob.OpenFolder(t.TempDir(), blob.Sealed(keyring(t)))
				if err != nil {
					t.Fatal(err)
				}
				l := &lab{t: t, known: map[string]*resource.Blob{}, dead: map[string]bool{}}
				b := &behind{lab: l, knows: map[string]*resource.Blob{}}
				b.catchUp = func(ctx context.Context) error {
					if tt.stuck {
						<-ctx.Done()
						return ctx.Err()
					}
					clear(b.knows)
					return nil
				}
				s := blob.New(blob.Config{
					NodeID: "a", Folder: f, Cluster: caller{l, "a"}, State: b, Quota: func() int64 { return 0 },
					Peers: func() []string { return nil }, Leads: func() bool { return true }, Now: time.Now,
				})
				made, err := s.Put(t.Context(), fsm.Actor{Kind: "master"}, "", resource.Blob{Kind: "template", Class: resource.BlobConfiguration}, []byte("secret words"))
				if err != nil {
					t.Fatal(err)
				}
				b.knows[made.ID] = made
				_, err = s.OnDrop(t.Context(), "b", []byte(made.ID+tt.drop))
				if f.Has(made.ID) != tt.kept || (err != nil) != tt.kept || b.asked != tt.index {
					t.Errorf("kept %t (%v), waited for %d; want %t, %d", f.Has(made.ID), err, b.asked, tt.kept, tt.index)
				}
			})
		})
	}
}

func TestFolder_crash(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	keys := keyring(t)
	f, err := blob.OpenFolder(dir, blob.Sealed(keys))
	if err != nil {
		t.Fatal(err)
	}
	digest, err := f.Write([]byte("whole"))
	if err != nil {
		t.Fatal(err)
	}
	half := filepath.Join(dir, ".new-123") // as a process leaves it that ends before the rename
	if err := os.WriteFile(half, []byte("ha"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err = blob.OpenFolder(dir, blob.Sealed(keys))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := f.Read(digest); err != nil || string(got) != "whole" {
		t.Errorf("got %q, %v", got, err)
	}
	if _, err := os.Stat(half); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the half file is there: %v", err)
	}
	if _, err := f.Read("../etc/passwd"); !errors.As(err, new(*resource.Invalid)) {
		t.Errorf("a path for a digest: %v", err)
	}
	// Another cluster's keys: the file may be good, and stays.
	other, err := blob.OpenFolder(dir, blob.Sealed(keyring(t)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.Read(digest); !errors.Is(err, secret.ErrNoKey) || !f.Has(digest) {
		t.Errorf("without the key: %v", err)
	}
}

func FuzzSealed(f *testing.F) {
	s := blob.Sealed(keyring(f))
	digest := blob.Digest([]byte("hello"))
	good, err := s.Seal([]byte("hello"), digest)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte{})
	f.Add([]byte{1, 255})
	f.Fuzz(func(t *testing.T, b []byte) {
		body, err := s.Open(b, digest)
		if err == nil && string(body) != "hello" {
			t.Errorf("%x opens as %q", b, body)
		}
	})
}
