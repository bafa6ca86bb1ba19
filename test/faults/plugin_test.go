//go:build e2e

package faults

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/internal/launch"
	"github.com/conclave-llm/conclave/internal/ports"
	"github.com/conclave-llm/conclave/test/cluster"
)

func contains(text []byte, part string) bool { return bytes.Contains(text, []byte(part)) }

// pluginPIDs are the processes with the words in their command that are children of node.
func pluginPIDs(node *cluster.Node, words string) []int {
	var pids []int
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		cmd, err := os.ReadFile(filepath.Join(dir, "cmdline"))
		if err != nil || !strings.Contains(string(cmd), words) {
			continue
		}
		stat, err := os.ReadFile(filepath.Join(dir, "stat"))
		if err != nil {
			continue
		}
		_, rest, _ := strings.Cut(string(stat), ") ")
		f := strings.Fields(rest)
		if ppid, _ := strconv.Atoi(f[1]); ppid == node.PID() && f[0] != "Z" {
			pid, _ := strconv.Atoi(filepath.Base(dir))
			pids = append(pids, pid)
		}
	}
	return pids
}

// misbehaver builds the guardrail that does as it is told, and returns its path and its SHA-256.
func misbehaver(t *testing.T) (path, digest string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "misbehave")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-ldflags=-s -w", "-o", path, "./misbehave")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	body, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return path, fmt.Sprintf("%x", sha256.Sum256(body))
}

// pluginFault is something that the process of a guardrail does or has done to it.
type pluginFault struct {
	name string
	ends bool // the process, which another one replaces
	do   func(l *pluginLoad, pid int)
}

// pluginFaults are what TestPlugin_FailsUnderLoad tries. Those that end processes are as many as may end in a minute before
// a plugin has to wait.
var pluginFaults = []pluginFault{
	{"kill -9", true, func(l *pluginLoad, pid int) { l.signal(pid, syscall.SIGKILL) }},
	{"SIGSTOP", true, func(l *pluginLoad, pid int) { l.signal(pid, syscall.SIGSTOP) }},
	{"flood of its log", false, func(l *pluginLoad, _ int) { l.tell("flood") }},
	{"wrong answer", false, func(l *pluginLoad, _ int) { l.tell("wrong") }},
	{"answer without end", true, func(l *pluginLoad, _ int) { l.tell("large") }},
	{"memory", true, func(l *pluginLoad, _ int) { l.tell("grow") }},
	{"silence", true, func(l *pluginLoad, _ int) { l.tell("mute") }},
}

const (
	pluginRounds = 3           // with a guardrail, and so a count of crashes, of their own
	pluginBack   = time.Second // within which a guardrail judges again
)

// TestPlugin_FailsUnderLoad has the process of a guardrail killed, stopped, flooding its log, answering wrongly, without
// end or not at all, and taking memory, at 500 requests a second. With on_error = pass no request fails; with block a clean
// prompt is answered or refused with 503, and no forbidden one is answered. The guardrail judges again within a second, with
// the deadline that guardrails have, in one of three rounds at least: in the others the machine may be busy elsewhere.
func TestPlugin_FailsUnderLoad(t *testing.T) {
	path, digest := misbehaver(t)
	for _, onError := range []string{"pass", "block"} {
		t.Run(onError, func(t *testing.T) {
			c := cluster.Start(t, 1)
			call := func(method, what string, in any, want int) {
				t.Helper()
				if got, text := cluster.CallRaw(t, method, c.Nodes[0].URL+"/api/v1/"+what, cluster.MasterKey, in); got != want {
					t.Fatalf("%s %s: status %d: %s", method, what, got, text)
				}
			}
			call(http.MethodPost, "plugins", map[string]any{"name": "misbehave", "kind": "guardrail", "path": path, "sha256": digest}, http.StatusCreated)
			_, secret := c.NewKey(0, map[string]any{})
			l := &pluginLoad{t: t, url: c.Nodes[0].URL + "/v1/chat/completions", key: secret, pass: onError == "pass"}
			took := map[string][]time.Duration{}
			for round := range pluginRounds {
				guard := fmt.Sprintf("words-%d", round)
				call(http.MethodPost, "guardrails", map[string]any{
					"name": guard, "plugin": "misbehave", "on_error": onError,
				}, http.StatusCreated)
				if round > 0 { // the new one judges by now, or refuses all
					call(http.MethodDelete, fmt.Sprintf("guardrails/words-%d", round-1), nil, http.StatusNoContent)
				}
				c.Await("the guardrail refuses", 20*time.Second, func() bool { return len(pluginPIDs(c.Nodes[0], digest)) == 1 && l.judges(guard) })
				if round == 0 {
					l.start()
					defer l.stop()
				}
				for _, fault := range pluginFaults {
					took[fault.name] = append(took[fault.name], l.suffer(c, fault, guard, digest))
				}
			}
			for _, fault := range pluginFaults {
				of := took[fault.name]
				slices.Sort(of)
				t.Logf("%s: back after %s, in the worst of %d rounds %s", fault.name, of[len(of)/2], len(of), of[len(of)-1])
				if of[0] > pluginBack {
					t.Errorf("%s: the guardrail judges again after %s, want %s", fault.name, of, pluginBack)
				}
			}
			t.Logf("%.0f requests a second were begun", l.rate())
		})
	}
}

// suffer has the guardrail do or endure the fault, and returns how long it takes until it judges again.
func (l *pluginLoad) suffer(c *cluster.Cluster, fault pluginFault, guard, digest string) time.Duration {
	l.t.Helper()
	before := pluginPIDs(c.Nodes[0], digest)
	if len(before) != 1 {
		l.t.Fatalf("%s: %d processes serve the guardrail, want 1", fault.name, len(before))
	}
	began := time.Now()
	fault.do(l, before[0])
	var since time.Time // it is another process that judges, if it has to be
	c.Await("the guardrail refuses again after "+fault.name, 30*time.Second, func() bool {
		if since.IsZero() {
			another := slices.ContainsFunc(pluginPIDs(c.Nodes[0], digest), func(pid int) bool { return pid != before[0] })
			if another == fault.ends {
				since = time.Now()
			}
			return false
		}
		return l.refusedSince(since, guard)
	})
	took := time.Since(began).Round(time.Millisecond)
	c.Await("the process of before ends", 30*time.Second, func() bool { return len(pluginPIDs(c.Nodes[0], digest)) == 1 })
	return took
}

// pluginRate is how many requests a second are begun, whether or not those before have ended.
const pluginRate = 500

// pluginLoad is requests to one node with a guardrail.
type pluginLoad struct {
	t        *testing.T
	url, key string
	pass     bool // nothing may fail
	done     chan struct{}
	wg       sync.WaitGroup
	begun    time.Time
	sent     atomic.Int64
	refused  atomic.Pointer[refusal] // the newest
}

// refusal is of what is forbidden.
type refusal struct {
	text  string
	begun time.Time // when the request was
}

// ask says the text, as a client.
func (l *pluginLoad) ask(text string) (int, []byte) {
	body := cluster.ChatBody()
	body["messages"] = []map[string]string{{"role": "user", "content": text}}
	return cluster.CallRaw(l.t, http.MethodPost, l.url, l.key, body)
}

// forbidden asks what is forbidden.
func (l *pluginLoad) forbidden() (int, []byte) {
	begun := time.Now()
	s, text := l.ask("a forbidden word")
	if s == http.StatusBadRequest {
		l.refused.Store(&refusal{string(text), begun})
	}
	return s, text
}

// judges says whether the guardrail refuses what is forbidden.
func (l *pluginLoad) judges(guard string) bool {
	s, text := l.forbidden()
	return s == http.StatusBadRequest && contains(text, guard)
}

// refusedSince says whether the guardrail has refused one of the requests of the load that were begun after t.
func (l *pluginLoad) refusedSince(t time.Time, guard string) bool {
	r := l.refused.Load()
	return r != nil && r.begun.After(t) && strings.Contains(r.text, guard)
}

// clean asks something harmless; what it is answered is right or not.
func (l *pluginLoad) clean(text string) {
	if s, answer := l.ask(text); s != http.StatusOK && (l.pass || s != http.StatusServiceUnavailable) {
		l.t.Errorf("%s: status %d: %s", text, s, answer)
	}
}

// tell has the guardrail do something, by a request that is as harmless as others.
func (l *pluginLoad) tell(what string) { l.wg.Go(func() { l.clean(what) }) }

func (l *pluginLoad) signal(pid int, s syscall.Signal) {
	l.t.Helper()
	if err := launch.Signal(pid, s); err != nil {
		l.t.Fatal(err)
	}
}

// start begins the requests; each twentieth is forbidden.
func (l *pluginLoad) start() {
	l.done, l.begun = make(chan struct{}), time.Now()
	l.wg.Go(func() {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-l.done:
				return
			case <-tick.C:
			}
			for due := int64(time.Since(l.begun).Seconds() * pluginRate); l.sent.Load() < due; {
				if l.sent.Add(1)%20 != 0 {
					l.wg.Go(func() { l.clean("hello") })
					continue
				}
				l.wg.Go(func() {
					if s, text := l.forbidden(); s == http.StatusOK && !l.pass {
						l.t.Errorf("a forbidden prompt was answered: %s", text)
					}
				})
			}
		}
	})
}

// rate is how many requests a second have been begun.
func (l *pluginLoad) rate() float64 { return float64(l.sent.Load()) / time.Since(l.begun).Seconds() }

func (l *pluginLoad) stop() {
	close(l.done)
	l.wg.Wait()
}

// unreliable is a sink over HTTP that is not there at first, then forgets to answer, answers errors, and is away again.
type unreliable struct {
	t       *testing.T
	address string
	mu      sync.Mutex // guards what follows
	server  *http.Server
	asked   int
	taken   map[string]int // requests that it said that it took, by their ids
	places  []uint64       // of what it took, in the order in which it came
}

func (u *unreliable) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var records []struct {
		ID       string `json:"id"`
		Position uint64 `json:"position"`
	}
	err := json.NewDecoder(r.Body).Decode(&records)
	u.mu.Lock()
	defer u.mu.Unlock()
	u.asked++
	switch {
	case err != nil:
		w.WriteHeader(http.StatusInternalServerError) // its sender was killed
		return
	case u.asked%3 == 1:
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	for _, one := range records {
		u.taken[one.ID]++
		u.places = append(u.places, one.Position)
	}
	if u.asked%3 == 2 {
		panic(http.ErrAbortHandler) // it has them, and nobody knows
	}
}

// up starts it, and down cuts all that is under way.
func (u *unreliable) up() {
	l, err := new(net.ListenConfig).Listen(u.t.Context(), "tcp", u.address)
	if err != nil {
		u.t.Error(err)
		return
	}
	u.server = &http.Server{Handler: u, ReadHeaderTimeout: time.Minute, ErrorLog: log.New(io.Discard, "", 0)}
	go func() { _ = u.server.Serve(l) }()
}

func (u *unreliable) down() { _ = u.server.Close() }

func (u *unreliable) has() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return len(u.taken)
}

// inOrder says where what came for the first time came behind what is newer; 0: nowhere.
func (u *unreliable) inOrder() uint64 {
	u.mu.Lock()
	defer u.mu.Unlock()
	newest, seen := uint64(0), map[uint64]bool{}
	for _, at := range u.places {
		if !seen[at] && at < newest {
			return at
		}
		seen[at], newest = true, max(newest, at)
	}
	return 0
}

// TestCallback_DeliversEverything runs a callback to a file and one to a server while their processes, the node and the
// server are killed, and expects every request at both, once or more, in order.
func TestCallback_DeliversEverything(t *testing.T) {
	t.Parallel()
	c := cluster.Start(t, 1)
	n := c.Nodes[0]
	path := filepath.Join(t.TempDir(), "requests.jsonl")
	address, err := ports.Addr()
	if err != nil {
		t.Fatal(err)
	}
	u := &unreliable{t: t, address: address, taken: map[string]int{}}
	for _, sink := range []map[string]any{
		{"name": "log", "plugin": "file", "config": map[string]any{"path": path}},
		{"name": "hook", "plugin": "webhook", "config": map[string]any{"url": "http://" + address + "/", "batch": 20}},
	} {
		if got, text := cluster.CallRaw(t, http.MethodPost, n.URL+"/api/v1/callbacks", cluster.MasterKey, sink); got != http.StatusCreated {
			t.Fatalf("create callback: status %d: %s", got, text)
		}
	}
	id, secret := c.NewKey(0, map[string]any{})
	const requests = 200
	for i := range requests {
		if got := c.Chat(0, secret); got != http.StatusOK {
			t.Fatalf("request %d: status %d", i, got)
		}
		switch i {
		case 25, 75, 125, 175:
			for _, pid := range append(pluginPIDs(n, "plugin\x00serve\x00file"), pluginPIDs(n, "plugin\x00serve\x00webhook")...) {
				_ = launch.Signal(pid, syscall.SIGKILL) // it may have ended already
			}
		case 60, 160: // for the first time before the server has taken anything
			n.Kill()
			n.Start()
			n.AwaitReady()
		case 80:
			u.up()
		case 110:
			u.down()
		case 140:
			u.up()
		}
	}
	defer u.down()
	lines := func() int {
		text, _ := os.ReadFile(path)
		seen := map[string]bool{}
		for line := range strings.Lines(string(text)) {
			if strings.Contains(line, id) && strings.HasSuffix(line, "}\n") { // a kill may cut one, which comes again
				seen[line] = true
			}
		}
		return len(seen)
	}
	c.Await(fmt.Sprintf("%d requests are in the file", requests), 15*time.Second, func() bool { return lines() >= requests })
	c.Await(fmt.Sprintf("%d requests are at the server", requests), 30*time.Second, func() bool { return u.has() >= requests })
	if n := u.has(); n != requests || u.inOrder() != 0 {
		t.Errorf("%d requests are at the server, want %d; one that came late: %d", n, requests, u.inOrder())
	}
	if n := lines(); n != requests {
		t.Errorf("%d different records are in the file, want %d", n, requests)
	}
}
