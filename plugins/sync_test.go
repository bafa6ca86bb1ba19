package plugins_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/internal/launch"
	"github.com/conclave-llm/conclave/plugins"
	"github.com/conclave-llm/conclave/plugins/callback"
	"github.com/conclave-llm/conclave/plugins/guardrail"
	"github.com/conclave-llm/conclave/resource"
)

// externalProbe is a copy of the test binary behind a name that serves the probe. The copy is
// external: it is pinned, and has no arguments.
func externalProbe(t *testing.T) (path, digest string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	script := fmt.Sprintf("#!/bin/sh\nexec %s plugin serve probe\n", self)
	path = filepath.Join(t.TempDir(), "probe")
	if err := os.WriteFile(path, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256([]byte(script))
	return path, hex.EncodeToString(sum[:])
}

func TestHost_External(t *testing.T) {
	t.Parallel()
	path, digest := externalProbe(t)
	for _, noMTLS := range []bool{false, true} {
		t.Run(fmt.Sprintf("mtls=%v", !noMTLS), func(t *testing.T) {
			t.Parallel()
			h := newHost(t, plugins.Config{})
			spec := guard("p", "mine", "")
			spec.Path, spec.SHA256, spec.NoMTLS = path, digest, noMTLS
			syncReady(t, h, spec)
			if d := before(t, h, "block told to"); d.Message != "told to" {
				t.Errorf("got %+v, want the plugin's block", d)
			}
		})
	}
}

func TestHost_BareServer(t *testing.T) {
	t.Parallel()
	h := newHost(t, plugins.Config{})
	spec := guard("p", "bare", "")
	spec.NoMTLS = true
	syncReady(t, h, spec)
	if d := before(t, h, "block told to"); d.Message != "told to" {
		t.Errorf("got %+v, want the plugin's block", d)
	}
}

func TestHost_ELFRunsFromItsDescriptor(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(b)
	dir := t.TempDir()
	h := newHost(t, plugins.Config{Dir: dir})
	spec := guard("p", "mine", "")
	spec.Path, spec.SHA256 = self, hex.EncodeToString(sum[:])
	syncReady(t, h, spec)
	link, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", waitRunning(t, h, 0)))
	if err != nil || link != filepath.Join(dir, "bin", spec.SHA256) {
		t.Errorf("runs %s, %v, want the kept copy", link, err)
	}
	st, err := os.Stat(filepath.Join(dir, "bin", spec.SHA256))
	if err != nil || st.Mode().Perm() != 0o500 {
		t.Errorf("kept binary: %v, %v, want mode 0500", st, err)
	}
}

func TestHost_WrongDigest(t *testing.T) {
	t.Parallel()
	path, digest := externalProbe(t)
	h := newHost(t, plugins.Config{RestartMax: 10 * time.Millisecond})
	spec := guard("p", "mine", "")
	spec.Path, spec.SHA256 = path, strings.Repeat("0", 64)
	if err := h.Sync([]plugins.Spec{spec}); err != nil {
		t.Fatal(err)
	}
	eventually(t, 5*time.Second, "the binary is refused", func() bool {
		return strings.Contains(h.Status()[0].Error, plugins.ErrDigest.Error())
	})
	if h.Ready() == nil {
		t.Error("ready without its guardrail")
	}
	if d := before(t, h, "hello"); d.Action != guardrail.Block {
		t.Errorf("got %+v, want a block", d)
	}

	spec.SHA256 = digest
	syncReady(t, h, spec)
	pid := waitRunning(t, h, 0)
	if err := os.WriteFile(path, []byte("#!/bin/sh\nexit 9\n"), 0o600); err != nil { // the pinned copy is run
		t.Fatal(err)
	}
	if err := launch.Signal(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	pid = waitRunning(t, h, pid)

	t.Log("another digest is registered: what runs goes on, and once it has ended does not come back")
	spec.SHA256 = strings.Repeat("1", 64)
	syncReady(t, h, spec)
	eventually(t, 5*time.Second, "the new binary is refused", func() bool {
		return strings.Contains(h.Status()[0].Error, plugins.ErrDigest.Error())
	})
	if now := h.Status()[0].PID; now != pid {
		t.Fatalf("process %d became %d", pid, now)
	}
	if err := launch.Signal(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, 5*time.Second, "it has ended", func() bool { return h.Status()[0].PID == 0 })
	tries := h.Status()[0].Restarts
	eventually(t, 5*time.Second, "the new one is tried again", func() bool { return h.Status()[0].Restarts > tries+2 })
	if d := before(t, h, "hello"); d.Action != guardrail.Block || h.Status()[0].PID != 0 {
		t.Errorf("got %+v, want a block: the binary is not the one that is registered", d)
	}
}

func TestHost_DamagedCopyIsReplaced(t *testing.T) {
	t.Parallel()
	path, digest := externalProbe(t)
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "bin"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "bin", digest), []byte("#!/bin/sh\nexit 9\n"), 0o500); err != nil {
		t.Fatal(err)
	}
	h := newHost(t, plugins.Config{Dir: dir})
	spec := guard("p", "mine", "")
	spec.Path, spec.SHA256 = path, digest
	syncReady(t, h, spec)
}

func TestHost_Sync(t *testing.T) {
	t.Parallel()
	h := newHost(t, plugins.Config{})
	words := guard("w", "keywords", `{"words":["one"]}`)
	syncReady(t, h, words)
	pid := waitRunning(t, h, 0)
	since := h.Status()[0].Since

	t.Log("nothing has changed")
	syncReady(t, h, words)
	if got := h.Status()[0]; got.PID != pid || !got.Since.Equal(since) {
		t.Errorf("process %d since %s was replaced by %d since %s", pid, since, got.PID, got.Since)
	}

	t.Log("only how it is asked has changed")
	words.OnError = resource.OnErrorPass
	words.Models = []string{"other"}
	syncReady(t, h, words)
	if got := h.Status()[0].PID; got != pid || h.Guardrails().For("demo", guardrail.Choice{}) != nil {
		t.Errorf("process %d became %d, or the model is still checked", pid, got)
	}
	words.Models = nil

	t.Log("a configuration that the plugin refuses: the last one goes on")
	words.Config = []byte(`{"words":[]}`)
	syncReady(t, h, words)
	eventually(t, 5*time.Second, "the refusal is shown", func() bool {
		return strings.Contains(h.Status()[0].Error, "give at least one")
	})
	if d := before(t, h, "one"); d.Action != guardrail.Block {
		t.Errorf("got %+v, want the last accepted configuration enforced", d)
	}

	t.Log("a new configuration, without a request that is not checked")
	words.Config = []byte(`{"words":["two"]}`)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			if d := before(t, h, "hello"); d.Results[0].Status != guardrail.StatusPassed {
				t.Errorf("got %v while the configuration changes", d.Results)
				return
			}
		}
	})
	syncReady(t, h, words)
	eventually(t, 5*time.Second, "the new word is blocked", func() bool {
		return before(t, h, "two").Action == guardrail.Block && before(t, h, "one").Action == guardrail.Pass
	})
	close(stop)
	wg.Wait()
	waitRunning(t, h, pid)
	if got := h.Status()[0].Since; !got.After(since) {
		t.Errorf("the new process runs since %s, the old one did since %s", got, since)
	}

	t.Log("removed")
	syncReady(t, h)
	if len(h.Status()) != 0 || h.Guardrails().For("demo", guardrail.Choice{}) != nil {
		t.Error("a removed guardrail is still there")
	}
	eventually(t, 5*time.Second, "the first process is gone", func() bool { return gone(pid) })
}

// A configuration that cannot even be given to the plugin leaves what runs as it is: it goes on, comes back after a
// crash, and is not started anew when the fault is taken back.
func TestHost_FaultKeepsWhatRuns(t *testing.T) {
	t.Parallel()
	h := newHost(t, plugins.Config{})
	good := guard("w", "keywords", `{"words":["one"]}`)
	syncReady(t, h, good)
	pid := waitRunning(t, h, 0)
	blocks := func(word string) bool { return before(t, h, word).Action == guardrail.Block }

	faulty := good
	faulty.Config, faulty.Fault = []byte(`{"words":["env://NOWHERE"]}`), "there is no variable NOWHERE"
	syncReady(t, h, faulty)
	outdated := func() bool {
		s := h.Status()[0]
		return s.Outdated && s.State == plugins.StateRunning && strings.Contains(s.Error, faulty.Fault)
	}
	eventually(t, 5*time.Second, "the fault is shown beside what runs", outdated)
	if now := h.Status()[0].PID; now != pid || !blocks("one") {
		t.Errorf("process %d became %d, or does not protect", pid, now)
	}

	t.Log("what ran is killed: its configuration comes back, not none")
	if err := launch.Signal(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	again := waitRunning(t, h, pid)
	eventually(t, 5*time.Second, "the fault is still shown", outdated)
	if !blocks("one") || h.Ready() != nil {
		t.Error("the last configuration that ran does not protect after a crash")
	}

	t.Log("the fault is taken back")
	syncReady(t, h, good)
	eventually(t, 5*time.Second, "nothing is wrong any more", func() bool {
		s := h.Status()[0]
		return !s.Outdated && s.Error == "" && s.PID == again
	})

	t.Log("another configuration that works takes the place of one that does not")
	syncReady(t, h, faulty)
	eventually(t, 5*time.Second, "the fault is shown", outdated)
	next := good
	next.Config = []byte(`{"words":["two"]}`)
	syncReady(t, h, next)
	eventually(t, 5*time.Second, "the new word is blocked", func() bool { return blocks("two") && !blocks("one") })

	t.Log("a plugin that is registered no more does not run, whatever ran")
	next.Missing = true
	if err := h.Sync([]plugins.Spec{next}); err != nil {
		t.Fatal(err)
	}
	eventually(t, 5*time.Second, "nothing runs", func() bool {
		s := h.Status()[0]
		return s.State == plugins.StateMissing && s.PID == 0 && !s.Outdated
	})
	if h.Ready() == nil || !blocks("hello") {
		t.Error("a guardrail without a plugin lets requests pass")
	}
}

// A process that dies while a newer configuration is refused by the plugin comes back with the configuration that it had.
func TestHost_RefusalKeepsWhatRan(t *testing.T) {
	t.Parallel()
	h := newHost(t, plugins.Config{Crashes: 100})
	spec := guard("p", "probe", "")
	syncReady(t, h, spec)
	pid := waitRunning(t, h, 0)
	spec.Config = []byte(`"refuse"`)
	syncReady(t, h, spec)
	for range 3 {
		eventually(t, 10*time.Second, "the refusal is shown beside what runs", func() bool {
			s := h.Status()[0]
			return s.Outdated && s.State == plugins.StateRunning && strings.Contains(s.Error, "this configuration is refused")
		})
		if err := launch.Signal(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		pid = waitRunning(t, h, pid)
		if d := before(t, h, "block told to"); d.Message != "told to" {
			t.Errorf("got %+v, want the block of what ran", d)
		}
	}
	spec.Config = nil
	syncReady(t, h, spec)
	eventually(t, 10*time.Second, "it is as it was", func() bool { s := h.Status()[0]; return !s.Outdated && s.Error == "" })
}

func TestHost_Missing(t *testing.T) {
	t.Parallel()
	h := newHost(t, plugins.Config{})
	cat := resource.NewCatalog(resource.Tables{Guardrails: []*resource.Guardrail{{Name: "g", Plugin: "nope", OnError: resource.OnErrorBlock}}})
	if err := h.Sync(plugins.Specs(cat, func(plugins.Kind, string) bool { return false })); err != nil {
		t.Fatal(err)
	}
	if d := before(t, h, "hello"); d.Action != guardrail.Block || h.Ready() == nil {
		t.Errorf("got %+v for a plugin that is not there, want a block", d)
	}
}

// A host that cannot run plugins must not look like one that has none.
func TestHost_CannotRun(t *testing.T) {
	t.Parallel()
	occupied := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(occupied, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	h := newHost(t, plugins.Config{Dir: occupied})
	if err := h.Sync([]plugins.Spec{guard("w", "keywords", `{"words":["one"]}`)}); err == nil {
		t.Error("Sync says nothing")
	}
	if d := before(t, h, "hello"); d.Action != guardrail.Block || h.Ready() == nil {
		t.Errorf("got %+v, want a block and not ready", d)
	}
}

func TestHost_CallbackWithoutJournal(t *testing.T) {
	t.Parallel()
	h := newHost(t, plugins.Config{})
	err := h.Sync([]plugins.Spec{
		{Kind: plugins.KindCallback, Name: "log", Plugin: "file"},
		guard("w", "keywords", `{"words":["one"]}`),
	})
	if err == nil {
		t.Error("Sync says nothing about the callback")
	}
	eventually(t, 5*time.Second, "the guardrail is up all the same", func() bool { return h.Ready() == nil })
}

func TestSpecs(t *testing.T) {
	t.Parallel()
	no := false
	cat := resource.NewCatalog(resource.Tables{
		Guardrails: []*resource.Guardrail{
			{Meta: resource.Meta{ID: "1"}, Name: "a", Plugin: "mine", DeadlineMS: 250},
			{Meta: resource.Meta{ID: "2"}, Name: "b", Plugin: "keywords"},
		},
		Callbacks: []*resource.Callback{{Meta: resource.Meta{ID: "3"}, Name: "c", Plugin: "mine"}},
		Plugins:   []*resource.Plugin{{Name: "mine", Kind: "guardrail", Path: "/x", SHA256: "s", MTLS: &no}},
	})
	specs := plugins.Specs(cat, func(k plugins.Kind, name string) bool { return name == "keywords" })
	if len(specs) != 3 {
		t.Fatalf("got %d specs, want 3", len(specs))
	}
	if s := specs[0]; s.Path != "/x" || !s.NoMTLS || s.Deadline != 250*time.Millisecond || s.Missing {
		t.Errorf("got %+v, want the registered plugin", s)
	}
	if s := specs[1]; s.Path != "" || s.Missing {
		t.Errorf("got %+v, want the shipped plugin", s)
	}
	if s := specs[2]; !s.Missing {
		t.Errorf("got %+v: a guardrail plugin is no callback", s)
	}
}

// journal is a Source with n records.
type journal struct {
	mu sync.Mutex
	n  uint64
}

func (j *journal) Read(_ *callback.Subscription, from uint64, limit int) ([]callback.Record, uint64, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	var out []callback.Record
	for ; from < j.n && len(out) < limit; from++ {
		out = append(out, callback.Record{Position: from, RequestID: fmt.Sprint(from), StartedAt: time.Now()})
	}
	return out, from, nil
}

func (j *journal) add(n uint64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.n += n
}

// A sink that is killed again and again, under a host that is replaced, gets every record in order.
func TestHost_CallbackSurvivesKills(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	j := &journal{}
	spec := plugins.Spec{
		Kind: plugins.KindCallback, ID: "cb_1", Name: "log", Plugin: "file", Config: []byte(`{"path":"out.jsonl"}`),
	}
	for range 2 {
		h := plugins.NewHost(plugins.Config{Dir: dir, Source: j, Crashes: 1000, RestartMin: time.Millisecond, RestartMax: time.Millisecond})
		if err := h.Sync([]plugins.Spec{spec}); err != nil {
			t.Fatal(err)
		}
		pid := 0
		for range 5 {
			pid = waitRunning(t, h, pid)
			j.add(100)
			h.Wake()
			_ = launch.Signal(pid, syscall.SIGKILL)
		}
		j.add(10)
		eventually(t, 10*time.Second, "everything is delivered", func() bool {
			at, ok := h.Delivered()
			return ok && at == j.n
		})
		h.Close()
	}
	b, err := os.ReadFile(filepath.Join(dir, "out.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	next := 0
	for line := range bytes.Lines(b) {
		var at int
		if _, rest, ok := bytes.Cut(line, []byte(`"position":`)); !ok {
			continue // cut by a kill
		} else if _, err := fmt.Sscanf(string(rest), "%d", &at); err != nil {
			continue
		}
		if at > next {
			t.Fatalf("record %d comes after %d", at, next-1)
		}
		next = max(next, at+1)
	}
	if next != int(j.n) {
		t.Errorf("got %d records, want %d", next, j.n)
	}
}

func TestHost_Stream(t *testing.T) {
	t.Parallel()
	h := newHost(t, plugins.Config{})
	syncReady(t, h, guard("w", "keywords", `{"words":["forbidden"]}`))
	set := h.Guardrails().For("demo", guardrail.Choice{})
	c, err := set.Stream(t.Context(), &guardrail.Request{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var sent []byte
	for _, s := range []string{"a long and harmless beginning, ", "then for", "bid", "den fruit"} {
		var out [][]byte
		out, err = c.Feed(t.Context(), fmt.Appendf(nil, "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":%q}}]}\n\n", s))
		sent = append(sent, bytes.Join(out, nil)...)
		if err != nil {
			break
		}
	}
	if !guardrail.IsBlocked(err) || bytes.Contains(sent, []byte("then for")) || !bytes.Contains(sent, []byte("harmless")) {
		t.Errorf("got %q, %v, want the beginning and a block", sent, err)
	}
}

func BenchmarkSet_Before(b *testing.B) {
	h := newHost(b, plugins.Config{})
	syncReady(b, h, guard("p", "probe", ""))
	set, q := h.Guardrails().For("demo", guardrail.Choice{}), chat(strings.Repeat("word ", 200))
	b.ReportAllocs()
	for b.Loop() {
		if d, err := set.Before(context.Background(), q); err != nil || d.Action != guardrail.Pass {
			b.Fatal(d, err)
		}
	}
}

func BenchmarkStreamCheck_Feed(b *testing.B) {
	h := newHost(b, plugins.Config{})
	syncReady(b, h, guard("p", "probe", ""))
	c, err := h.Guardrails().For("demo", guardrail.Choice{}).Stream(context.Background(), &guardrail.Request{})
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	event := []byte("data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\" word\"},\"finish_reason\":null}]}\n\n")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Feed(context.Background(), event); err != nil {
			b.Fatal(err)
		}
	}
}
