package fsm_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/raft"

	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/resource"
)

// harness is a state machine with a log of its own.
type harness struct {
	t       testing.TB
	f       *fsm.FSM
	cfg     fsm.Config
	index   uint64
	now     resource.Time
	ids     uint64
	log     []*raft.Log // everything that was applied
	last    fsm.Change
	lastSeq map[string]uint64 // of each node and epoch, for the money model
}

const day0 = resource.Time(1_700_000_000_000_000_000)

func start(t testing.TB) *harness {
	t.Helper()
	h := &harness{t: t, now: day0}
	h.cfg = fsm.Config{Dir: t.TempDir(), NodeID: "n1", BootID: "boot"}
	h.open()
	t.Cleanup(func() { _ = h.f.Close() })
	return h
}

func (h *harness) open() {
	h.t.Helper()
	h.cfg.Watch = func(c fsm.Change) { h.last = c }
	f, err := fsm.Open(h.cfg)
	if err != nil {
		h.t.Fatalf("Open: %v", err)
	}
	h.f = f
}

var master = fsm.Actor{Kind: "master"}

func node(id string) fsm.Actor { return fsm.Actor{Kind: "node", ID: id} }

func (h *harness) entry(by fsm.Actor, cmd fsm.Command) *raft.Log {
	h.t.Helper()
	h.ids++
	env := fsm.Envelope{At: h.now, Actor: by, RequestID: "req", ReadIndex: h.index}
	binary.BigEndian.PutUint64(env.CommandID[:], h.ids*0x9e3779b97f4a7c15) // in no order, as random ids
	b, err := fsm.Encode(env, cmd)
	if err != nil {
		h.t.Fatalf("Encode(%T): %v", cmd, err)
	}
	h.index++
	return &raft.Log{Index: h.index, Term: 1, Type: raft.LogCommand, Data: b}
}

// try applies a command and returns what its proposer would hear.
func (h *harness) try(by fsm.Actor, cmd fsm.Command) fsm.Applied {
	h.t.Helper()
	return h.apply(h.entry(by, cmd))
}

func (h *harness) apply(l *raft.Log) fsm.Applied {
	h.t.Helper()
	h.log = append(h.log, l)
	a, ok := h.f.Apply(l).(fsm.Applied)
	if !ok {
		h.t.Fatalf("Apply gave no fsm.Applied")
	}
	return a
}

// do applies a command that must be accepted, by the master key.
func (h *harness) do(cmd fsm.Command) fsm.Result {
	h.t.Helper()
	return h.doAs(master, cmd)
}

func (h *harness) doAs(by fsm.Actor, cmd fsm.Command) fsm.Result {
	h.t.Helper()
	a := h.try(by, cmd)
	if a.Err != nil {
		h.t.Fatalf("%T: %v", cmd, a.Err)
	}
	return a.Result
}

// refused applies a command that must be refused with want.
func (h *harness) refused(by fsm.Actor, cmd fsm.Command, want error) {
	h.t.Helper()
	if a := h.try(by, cmd); !errors.Is(a.Err, want) {
		h.t.Errorf("%T by %v: got %v, want %v", cmd, by, a.Err, want)
	}
}

func encoded[T any](t testing.TB, r T) fsm.Encoded[T] {
	t.Helper()
	e, err := fsm.EncodedOf(r)
	if err != nil {
		t.Fatalf("EncodedOf(%T): %v", r, err)
	}
	return e
}

func meta(id string) resource.Meta { return resource.Meta{ID: id, CreatedAt: day0} }

func (h *harness) putKey(k resource.Key, read uint64) fsm.PutKey {
	if k.Hash == (resource.Hash{}) {
		k.Hash = resource.HashSecret("sk-" + k.ID)
	}
	return fsm.PutKey{Key: encoded(h.t, k), Read: read}
}

// boot makes a cluster of nodes, each with a running epoch.
func (h *harness) boot(nodes ...string) {
	h.t.Helper()
	h.do(fsm.Bootstrap{ClusterID: "c1", MasterHash: resource.HashSecret("master"), KEKID: "k", DEKID: "d", DEK: []byte{1}})
	for _, n := range nodes {
		h.doAs(node(n), fsm.RegisterMember{Member: resource.Member{Meta: meta(n), Name: n, Address: n + ":1", FSMVersion: 1}})
		h.doAs(node(n), fsm.OpenEpoch{Node: n})
	}
}

func TestFSM_Key(t *testing.T) {
	t.Parallel()
	h := start(t)
	h.do(fsm.PutTeam{Team: encoded(t, resource.Team{Meta: meta("t1"), Name: "research"})})
	k := resource.Key{Meta: meta("k1"), Name: "notebook", TeamID: "t1", Policy: resource.Policy{Models: []string{"demo"}}}
	made := h.do(h.putKey(k, 0))

	got, ok := h.f.KeyByHash(resource.HashSecret("sk-k1"))
	if !ok {
		t.Fatal("KeyByHash found nothing")
	}
	want := k
	want.Hash, want.Version = resource.HashSecret("sk-k1"), made.Version
	if d := cmp.Diff(&want, got); d != "" {
		t.Errorf("key differs (-want +got):\n%s", d)
	}
	h.refused(master, h.putKey(k, 0), resource.ErrConflict)
	h.refused(master, h.putKey(resource.Key{Meta: meta("k2"), Name: "notebook"}, 0), resource.ErrExists)
	h.refused(master, fsm.DeleteTeam{ID: "t1"}, resource.ErrInUse)

	h.do(fsm.BlockKey{ID: "k1", Blocked: true})
	h.refused(master, h.putKey(k, made.Version), resource.ErrConflict)
	if got, _ = h.f.Key("k1"); !got.Blocked {
		t.Error("key is not blocked")
	}
	k.Name = "book"
	h.do(h.putKey(k, got.Version))
	if got, _ = h.f.KeyByName("book"); got == nil || !got.Blocked {
		t.Errorf("an edit unblocked the key: %+v", got)
	}
	h.do(fsm.DeleteKey{ID: "k1"})
	if _, ok := h.f.KeyByHash(k.Hash); ok {
		t.Error("a deleted key is still found")
	}
	h.refused(master, h.putKey(k, 0), resource.ErrDead)
	h.refused(master, fsm.DeleteKey{ID: "k1"}, resource.ErrNotFound)
	h.do(fsm.DeleteTeam{ID: "t1"})

	audit, _ := h.f.Audit(fsm.AuditQuery{Kind: "key", ID: "k1"})
	var did []string
	for _, e := range audit {
		did = append(did, e.Action)
	}
	if d := cmp.Diff([]string{"delete_key", "put_key", "block_key", "put_key"}, did); d != "" {
		t.Errorf("audit differs (-want +got):\n%s", d)
	}
	if d := cmp.Diff([]string{"name"}, audit[1].Fields); d != "" {
		t.Errorf("fields differ (-want +got):\n%s", d)
	}
}

// TestDeleteKey_Callbacks: what was made for keys alone ends with the last of them; other callbacks stay.
func TestDeleteKey_Callbacks(t *testing.T) {
	t.Parallel()
	h := start(t)
	for _, name := range []string{"key:a:langfuse", "everybody's"} {
		h.do(fsm.PutCallback{Callback: encoded(t, resource.Callback{Meta: meta("id of " + name), Name: name, Plugin: "langfuse", Selection: resource.SelectChosen})})
	}
	for _, id := range []string{"k1", "k2"} {
		k := resource.Key{Meta: meta(id)}
		k.Callbacks = []string{"everybody's", "key:a:langfuse", "key:gone:langfuse"}
		h.do(h.putKey(k, 0))
	}
	left := func() (names []string) {
		for _, c := range h.f.Catalog().Tables().Callbacks {
			names = append(names, c.Name)
		}
		slices.Sort(names)
		return names
	}
	for _, tt := range []struct {
		delete string
		left   []string
	}{{"k1", []string{"everybody's", "key:a:langfuse"}}, {"k2", []string{"everybody's"}}} {
		h.do(fsm.DeleteKey{ID: tt.delete})
		if d := cmp.Diff(tt.left, left()); d != "" {
			t.Errorf("%s is deleted (-want +got):\n%s", tt.delete, d)
		}
	}
}

func TestFSM_RotatedKey(t *testing.T) {
	t.Parallel()
	h := start(t)
	one, two := resource.HashSecret("sk-one"), resource.HashSecret("sk-two")
	r := h.do(h.putKey(resource.Key{Meta: meta("k1"), Hash: one}, 0))
	r = h.do(h.putKey(resource.Key{Meta: meta("k1"), Hash: two, OldHashes: []resource.OldHash{{Hash: one, Until: day0 + 1e9}}}, r.Version))
	for _, s := range []resource.Hash{one, two} {
		if k, ok := h.f.KeyByHash(s); !ok || k.ID != "k1" {
			t.Errorf("secret %v is not found in its grace", s)
		}
	}
	h.refused(master, h.putKey(resource.Key{Meta: meta("k2"), Hash: one}, 0), resource.ErrExists)
	h.do(h.putKey(resource.Key{Meta: meta("k1"), Hash: two}, r.Version))
	if _, ok := h.f.KeyByHash(one); ok {
		t.Error("a dropped secret is still found")
	}
	h.do(h.putKey(resource.Key{Meta: meta("k2"), Hash: one}, 0))
}

func TestFSM_Dedupe(t *testing.T) {
	t.Parallel()
	h := start(t)
	l := h.entry(master, h.putKey(resource.Key{Meta: meta("k1")}, 0))
	first := h.apply(l)
	h.index++
	again := h.apply(&raft.Log{Index: h.index, Term: 1, Type: raft.LogCommand, Data: l.Data})
	if again.Err != nil || again.Result != first.Result {
		t.Errorf("second try: got %+v, want %+v", again, first)
	}
	l = h.entry(master, fsm.DeleteTeam{ID: "nobody"})
	h.apply(l)
	h.index += 70_000
	late := h.apply(&raft.Log{Index: h.index, Term: 1, Type: raft.LogCommand, Data: l.Data})
	if !errors.Is(late.Err, resource.ErrExpired) {
		t.Errorf("a stale command: got %v, want %v", late.Err, resource.ErrExpired)
	}
}

func TestFSM_Actor(t *testing.T) {
	t.Parallel()
	h := start(t)
	h.boot("n1")
	admin := h.do(h.putKey(resource.Key{Meta: meta("admin"), Role: resource.RoleAdmin, Policy: resource.Policy{ExpiresAt: day0 + 1e9}}, 0))
	plain := h.do(h.putKey(resource.Key{Meta: meta("plain")}, 0))
	by := fsm.Actor{Kind: "key", ID: "admin", Version: admin.Version}

	h.doAs(by, fsm.BlockKey{ID: "plain", Blocked: true})
	h.refused(fsm.Actor{Kind: "key", ID: "plain", Version: plain.Version}, fsm.BlockKey{ID: "admin"}, resource.ErrForbidden)
	h.refused(fsm.Actor{Kind: "key", ID: "admin", Version: 1}, fsm.BlockKey{ID: "plain"}, resource.ErrForbidden)
	h.refused(by, fsm.OpenEpoch{Node: "n1"}, resource.ErrForbidden)
	h.refused(node("n1"), fsm.BlockKey{ID: "plain"}, resource.ErrForbidden)
	h.refused(node("n2"), fsm.OpenEpoch{Node: "n1"}, resource.ErrForbidden)
	h.refused(fsm.Actor{Kind: "file"}, fsm.DeleteKey{ID: "plain"}, resource.ErrOwner)
	h.do(fsm.PutTeam{Team: encoded(t, resource.Team{Meta: meta("t"), Name: "t", Policy: resource.Policy{ExpiresAt: day0 + 1e9}})})
	of := h.do(h.putKey(resource.Key{Meta: meta("of"), Role: resource.RoleAdmin, TeamID: "t"}, 0))
	h.doAs(fsm.Actor{Kind: "key", ID: "of", Version: of.Version}, fsm.BlockKey{ID: "plain", Blocked: true})
	h.now += 2e9
	h.refused(by, fsm.BlockKey{ID: "plain"}, resource.ErrForbidden)
	h.refused(fsm.Actor{Kind: "key", ID: "of", Version: of.Version}, fsm.BlockKey{ID: "plain"}, resource.ErrForbidden)
	h.refused(fsm.Actor{}, fsm.BlockKey{ID: "plain"}, resource.ErrForbidden)
}

func TestFSM_Batch(t *testing.T) {
	t.Parallel()
	h := start(t)
	items := func(cmds ...fsm.Command) fsm.Batch {
		var b fsm.Batch
		for _, c := range cmds {
			it, err := fsm.ItemOf(c)
			if err != nil {
				t.Fatal(err)
			}
			b.Items = append(b.Items, it)
		}
		return b
	}
	model := fsm.PutModel{Model: encoded(t, resource.Model{Meta: meta("m1"), Name: "demo"})}
	dep := fsm.PutDeployment{Deployment: encoded(t, resource.Deployment{Meta: meta("d1"), ModelID: "m1", Provider: "openai"})}
	bad := fsm.PutDeployment{Deployment: encoded(t, resource.Deployment{Meta: meta("d2"), ModelID: "m2", Provider: "openai"})}

	a := h.try(master, items(model, dep, bad))
	if _, ok := errors.AsType[*resource.Invalid](a.Err); !ok {
		t.Errorf("batch with a bad item: got %v, want an *Invalid", a.Err)
	}
	if _, ok := h.f.Catalog().Model("demo"); ok {
		t.Error("a refused batch left its first item")
	}
	h.do(items(model, dep))
	if got := len(h.f.Catalog().Deployments("m1")); got != 1 {
		t.Errorf("got %d deployments, want 1", got)
	}
	audit, _ := h.f.Audit(fsm.AuditQuery{})
	if len(audit) != 2 || audit[0].Action != "put_deployment" {
		t.Errorf("audit: got %+v, want one entry for each item", audit)
	}
	h.do(fsm.DeleteModel{ID: "m1"})
	if got := len(h.f.Catalog().Tables().Deployments); got != 0 {
		t.Errorf("got %d deployments after their model, want 0", got)
	}
}

func TestFSM_Reopen(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		clean bool
		boot  string
		kept  bool
	}{
		{"clean stop", true, "another", true},
		{"killed, same boot", false, "boot", true},
		{"killed, system restarted", false, "another", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			h := start(t)
			h.boot("n1")
			h.do(h.putKey(resource.Key{Meta: meta("k1"), Name: "one"}, 0))
			index, hash := h.f.Hash()
			if err := h.stop(tt.clean); err != nil {
				t.Fatal(err)
			}
			h.cfg.BootID = tt.boot
			h.open()
			if got := h.f.Kept(); got != tt.kept {
				t.Fatalf("Kept: got %v, want %v", got, tt.kept)
			}
			gotIndex, gotHash := h.f.Hash()
			if tt.kept && (gotIndex != index || gotHash != hash) {
				t.Errorf("got %d %x, want %d %x", gotIndex, gotHash, index, hash)
			}
			for _, l := range h.log { // raft replays; what is there is skipped
				h.f.Apply(l)
			}
			if gotIndex, gotHash = h.f.Hash(); gotIndex != index || gotHash != hash {
				t.Errorf("after the replay: got %d %x, want %d %x", gotIndex, gotHash, index, hash)
			}
			if _, ok := h.f.KeyByName("one"); !ok {
				t.Error("the key is gone")
			}
			if err := h.f.Scrub(); err != nil {
				t.Errorf("Scrub: %v", err)
			}
		})
	}
}

// stop stops the state machine, cleanly or as kill -9 would leave it.
func (h *harness) stop(clean bool) error {
	stamp := h.cfg.Dir + "/fsm.stamp"
	if err := h.f.Close(); err != nil || clean {
		return err
	}
	return os.Remove(stamp)
}

func TestFSM_WaitApplied(t *testing.T) {
	t.Parallel()
	h := start(t)
	done := make(chan error, 1)
	go func() { done <- h.f.WaitApplied(context.Background(), 1) }()
	h.do(fsm.Bootstrap{ClusterID: "c1"})
	if err := <-done; err != nil {
		t.Errorf("WaitApplied: %v", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
	defer cancel()
	if err := h.f.WaitApplied(ctx, 99); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want %v", err, context.DeadlineExceeded)
	}
}

// TestFSM_UnknownKindStops: an entry that nobody knows stops the state machine, and leaves it what it had, at the next
// start too.
func TestFSM_UnknownKindStops(t *testing.T) {
	t.Parallel()
	h := start(t)
	h.boot("n1")
	before := h.f.Applied()
	l := h.entry(master, fsm.DeleteKey{ID: "k1"})
	l.Data = fsm.Forge(l.Data, 999)
	_ = h.f.Close()
	var fatal error
	h.cfg.Fatal = func(err error) { fatal = err }
	h.open()
	h.f.Apply(l)
	if _, ok := errors.AsType[*fsm.UnknownKind](fatal); !ok {
		t.Errorf("got %v, want an *UnknownKind", fatal)
	}
	if got := h.f.Applied(); got != before {
		t.Errorf("the entry moved the state from %d to %d", before, got)
	}
	if _, err := h.f.Snapshot(); err == nil {
		t.Error("a stopped state machine made a snapshot")
	}
	_ = h.f.Close()
	h.open()
	if got := h.f.Applied(); !h.f.Kept() || got != before {
		t.Errorf("after a start: state at %d, kept %v; want %d, true", got, h.f.Kept(), before)
	}
}

// TestFSM_ReadWhileApplying is for the race detector: no read waits for Apply or sees half
// of an entry.
func TestFSM_ReadWhileApplying(t *testing.T) {
	t.Parallel()
	h := start(t)
	h.boot("n1")
	h.fill(100)
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for range 3 {
		readers.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				id := fmt.Sprintf("key_%016d", i%100)
				k, ok := h.f.KeyByHash(resource.HashSecret("sk-" + id))
				if !ok || k.ID != id {
					t.Errorf("key %s is not found while another is written", id)
					return
				}
				h.f.Keys(fsm.ListQuery{Limit: 3})
				h.f.Accounts("key/k1")
				h.f.Catalog().Team("t1")
			}
		})
	}
	for i := range 3000 {
		id := fmt.Sprintf("x%d", i%1500)
		if k, ok := h.f.Key(id); ok {
			h.do(fsm.DeleteKey{ID: k.ID})
		} else {
			h.try(master, h.putKey(resource.Key{Meta: meta(id), Hash: resource.HashSecret(fmt.Sprint(i))}, 0))
		}
		if i == 1000 {
			if err := h.f.Restore(io.NopCloser(bytes.NewReader(h.snapshot()))); err != nil {
				t.Errorf("Restore: %v", err)
			}
		}
	}
	close(stop)
	readers.Wait()
}

// TestWatch_BeforeApplied checks that who waits for an index finds what Watch does with it
// done, after an entry and after a restore.
func TestWatch_BeforeApplied(t *testing.T) {
	t.Parallel()
	h := start(t)
	seen := 0
	watch := func(f func() *fsm.FSM) func(fsm.Change) {
		return func(c fsm.Change) {
			seen++
			if at := f().Applied(); at >= c.Index {
				t.Errorf("Applied() = %d while entry %d is told of", at, c.Index)
			}
		}
	}
	if err := h.f.Close(); err != nil {
		t.Fatal(err)
	}
	h.cfg.Watch = watch(func() *fsm.FSM { return h.f })
	f, err := fsm.Open(h.cfg)
	if err != nil {
		t.Fatal(err)
	}
	h.f = f
	h.try(master, fsm.PutSetting{Setting: encoded(t, resource.Setting{Meta: resource.Meta{ID: "serve_stale"}, Value: []byte(`"1h"`)})})
	snap := h.snapshot()
	cfg := h.cfg
	cfg.Dir = t.TempDir()
	var other *fsm.FSM
	cfg.Watch = watch(func() *fsm.FSM { return other })
	if other, err = fsm.Open(cfg); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = other.Close() })
	if err := other.Restore(io.NopCloser(bytes.NewReader(snap))); err != nil {
		t.Fatal(err)
	}
	if seen != 2 {
		t.Errorf("Watch was called %d times, want 2", seen)
	}
}
