// Package cluster runs real Conclave processes for tests: nodes that bootstrap, join with a
// token and restart as an operator would start them, and a demo upstream that keeps the
// true bill. It signals only processes that it started.
package cluster

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/internal/ports"
	"github.com/conclave-llm/conclave/node/torture/rig"
)

// MasterKey is the master key of every cluster.
const MasterKey = "sk-test-master-0123456789abcdef"

// Cluster is some nodes and the upstream that all of them use.
type Cluster struct {
	Nodes []*Node
	Mock  *Process
	Typed []string // the commands that made it, as an operator types them
	t     testing.TB
	bin   string
	dir   string
	mock  string       // address of the upstream
	net   *rig.Network // nil: all on loopback
	wires *wires       // nil: nodes speak directly
	how   Config
	added int // nodes beside Nodes
}

// Config says how a cluster is made; the zero value is a cluster on loopback.
type Config struct {
	Lines   string                  // further lines in each node block
	Prepare func(i int, dir string) // called before node i starts for the first time, with its data folder
	Relayed bool                    // every node is reached by the others through a Relay
	Program string                  // of the nodes; "": Binary
	Env     func(i int) []string    // variables of node i beside this process's; nil: none
	Apart   bool                    // each node in a network namespace of its own, so that Cut can part them: needs root and ip
	Wired   bool                    // Apart, and what nodes say to each other takes wires, so that Wire can delay it: needs /dev/net/tun

	// Remembered is how many requests the upstream remembers; 0: its default.
	Remembered int
}

// Node is one node, running or not.
type Node struct {
	Name    string
	URL     string // of the client port
	Address string // of the cluster port
	File    string // its configuration
	Dir     string // its data folder
	Relay   *Relay // through which the others reach it; nil: directly
	*Process
	cluster *Cluster
}

// Binary is the program under test: CONCLAVE_BIN. The test fails if it is not set.
func Binary(t testing.TB) string {
	t.Helper()
	bin := os.Getenv("CONCLAVE_BIN")
	if bin == "" {
		t.Fatal("CONCLAVE_BIN names no binary; run make e2e")
	}
	return bin
}

// Start runs n nodes and waits until all are ready and vote.
func Start(t testing.TB, n int) *Cluster {
	t.Helper()
	return Config{}.Start(t, n)
}

// StartWith is Start with further lines in each node block.
func StartWith(t testing.TB, n int, lines string) *Cluster {
	t.Helper()
	return Config{Lines: lines}.Start(t, n)
}

// Start runs n nodes and waits until all are ready and vote.
func (how Config) Start(t testing.TB, n int) *Cluster {
	t.Helper()
	c := &Cluster{t: t, bin: Binary(t), dir: t.TempDir(), mock: freeAddr(t), how: how}
	if how.Apart || how.Wired {
		w, err := rig.NewNetwork(n)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(w.Close)
		c.net, c.mock = w, w.Gateway()+":4090"
		if how.Wired {
			c.wire(t, n)
		}
	}
	c.Mock = c.run("mock", nil, "mock", "--listen", c.mock, "--journal", strconv.Itoa(how.Remembered))
	t.Cleanup(c.stop)
	c.await("the demo upstream answers", 10*time.Second, func() bool { return ok(c.MockURL() + "/v1/models") })
	for i := range n {
		c.Nodes = append(c.Nodes, c.add(i))
	}
	for i, node := range c.Nodes {
		args := []string{"--bootstrap"}
		if i > 0 {
			args = []string{"--join", c.Nodes[0].Address, "--token", c.joinToken()}
		}
		c.typed(append([]string{"serve", "--config", node.File}, args...)...)
		node.Start(args...)
		node.AwaitReady()
	}
	c.AwaitVoters(n)
	return c
}

// MockURL is where the demo upstream listens.
func (c *Cluster) MockURL() string { return "http://" + c.mock }

// Upstream starts another demo upstream with the given flags, until the test ends, and returns where it listens.
func (c *Cluster) Upstream(flags ...string) (url string) {
	c.t.Helper()
	address := freeAddr(c.t)
	p := c.run("mock", nil, append([]string{"mock", "--listen", address}, flags...)...)
	c.t.Cleanup(p.Stop)
	url = "http://" + address
	c.await("the demo upstream answers", 10*time.Second, func() bool { return ok(url + "/v1/models") })
	return url
}

// Add makes the file of one more node, which is none of Nodes until it is put there.
func (c *Cluster) Add() *Node {
	c.t.Helper()
	c.added++
	n := c.add(len(c.Nodes) + c.added - 1)
	c.t.Cleanup(func() {
		if n.Process != nil {
			n.Stop()
		}
	})
	return n
}

func (c *Cluster) add(i int) *Node {
	name := string(rune('a' + i))
	n := &Node{Name: name, cluster: c, File: filepath.Join(c.dir, name+".hcl"), Dir: filepath.Join(c.dir, name)}
	client := freeAddr(c.t)
	address := freeAddr(c.t)
	lines := c.how.Lines
	if c.net != nil {
		client, address = c.net.Host(i)+":4000", c.net.Host(i)+":4001"
	}
	if c.wires != nil {
		address = wireHost(i) + ":4001"
	}
	n.URL, n.Address = "http://"+client, address
	if c.how.Relayed {
		r, err := NewRelay(address)
		if err != nil {
			c.t.Fatal(err)
		}
		c.t.Cleanup(r.Close)
		n.Relay, n.Address = r, r.Address()
		lines = fmt.Sprintf("advertise = %q\n  %s", r.Address(), lines)
	}
	if c.how.Prepare != nil {
		c.how.Prepare(i, n.Dir)
	}
	text := fmt.Sprintf(nodeFile, name, n.Dir, client, address, lines)
	if i == 0 {
		text += fmt.Sprintf(resources, c.MockURL()+"/v1")
	}
	if err := os.WriteFile(n.File, []byte(text), 0o600); err != nil {
		c.t.Fatal(err)
	}
	return n
}

const nodeFile = `
node {
  name       = %q
  data_dir   = %q
  listen     = %q
  cluster    = %q
  master_key = env("CONCLAVE_MASTER_KEY")
  %s
}
`

const resources = `
model "demo" {
  strategy = "least_busy"

  deployment "d1" {
    provider = "openai"
    api_base = %q
    model    = "demo"

    price {
      input  = 0.15
      output = 0.60
    }
  }
}
`

func (c *Cluster) joinToken() string {
	args := []string{"cluster", "join-token", "--ttl", "15m"}
	cmd := exec.CommandContext(c.t.Context(), c.bin, args...)
	cmd.Env = append(cmd.Environ(), "CONCLAVE_SERVER="+c.Nodes[0].URL, "CONCLAVE_MASTER_KEY="+MasterKey)
	c.typed(args...)
	out, err := cmd.Output()
	if err != nil {
		c.t.Fatalf("join token: %v\n%s", err, stderrOf(err))
	}
	return strings.TrimSpace(string(out))
}

// typed notes a command.
func (c *Cluster) typed(args ...string) {
	c.Typed = append(c.Typed, "conclave "+strings.ReplaceAll(strings.Join(args, " "), c.dir+"/", ""))
}

func stderrOf(err error) []byte {
	if e, ok := err.(*exec.ExitError); ok { //nolint:errorlint // Output returns it bare
		return e.Stderr
	}
	return nil
}

// Start starts the node; without arguments it restarts from what it has.
func (n *Node) Start(args ...string) {
	n.cluster.t.Helper()
	c := n.cluster
	bin, env := c.bin, []string(nil)
	if c.how.Program != "" {
		bin = c.how.Program
	}
	if c.how.Env != nil {
		env = c.how.Env(c.index(n.Name))
	}
	n.StartProgram(bin, env, args...)
}

// StartProgram starts the node with another program, and with variables beside this process's.
func (n *Node) StartProgram(bin string, env []string, args ...string) {
	n.cluster.t.Helper()
	c := n.cluster
	args = append([]string{bin, "serve", "--config", n.File}, args...)
	if c.net != nil {
		args = c.net.Within(c.index(n.Name), args)
	}
	n.Process = c.exec("node "+n.Name, append([]string{"CONCLAVE_MASTER_KEY=" + MasterKey}, env...), args)
}

// AwaitReady waits until the node's readiness is 200.
func (n *Node) AwaitReady() {
	n.cluster.t.Helper()
	n.cluster.await("node "+n.Name+" is ready", 20*time.Second, func() bool {
		if n.Ended() {
			n.cluster.t.Fatalf("node %s ended:\n%s", n.Name, n.Log())
		}
		return ok(n.URL + "/health/readiness")
	})
}

// AwaitVoters waits until n members vote and are caught up.
func (c *Cluster) AwaitVoters(n int) {
	c.t.Helper()
	c.await(fmt.Sprintf("%d members vote", n), 30*time.Second, func() bool {
		voters := 0
		for _, m := range c.Members(0) {
			if m.Voter {
				voters++
			}
		}
		return voters == n
	})
}

// Member is one row of the cluster's status.
type Member struct {
	ID     string `json:"id"`
	Name   string `json:"name"`
	Voter  bool   `json:"voter"`
	Leader bool   `json:"leader"`
}

// Members asks node i for the members; nil if it does not answer.
func (c *Cluster) Members(i int) []Member {
	var out struct {
		Members []Member `json:"members"`
	}
	if status := c.Admin(i, http.MethodGet, "/api/v1/cluster", nil, &out); status != http.StatusOK {
		return nil
	}
	return out.Members
}

// Leader is the index of the leading node, as living nodes see it.
func (c *Cluster) Leader() int {
	c.t.Helper()
	leader := -1
	c.await("a leader is known", 15*time.Second, func() bool {
		for i, n := range c.Nodes {
			if n.Ended() {
				continue
			}
			for _, m := range c.Members(i) {
				if m.Leader {
					leader = c.index(m.Name)
				}
			}
		}
		return leader >= 0 && !c.Nodes[leader].Ended()
	})
	return leader
}

func (c *Cluster) index(name string) int {
	for i, n := range c.Nodes {
		if n.Name == name {
			return i
		}
	}
	return -1
}

// Admin calls node i's admin API with the master key; out takes the answer if it is not nil.
// It returns the status, or 0 if there was no answer.
func (c *Cluster) Admin(i int, method, path string, in, out any) int {
	return Call(c.t, method, c.Nodes[i].URL+path, MasterKey, in, out)
}

// NewKey makes a key on node i with the given fields and returns its id and secret.
func (c *Cluster) NewKey(i int, fields map[string]any) (id, secret string) {
	c.t.Helper()
	var out struct {
		ID     string `json:"id"`
		Secret string `json:"secret"`
	}
	if status := c.Admin(i, http.MethodPost, "/api/v1/keys", fields, &out); status != http.StatusCreated || out.Secret == "" {
		c.t.Fatalf("create key on node %s: status %d", c.Nodes[i].Name, status)
	}
	return out.ID, out.Secret
}

// Chat sends one short chat request to node i and returns the status, or 0.
func (c *Cluster) Chat(i int, key string) int {
	return Call(c.t, http.MethodPost, c.Nodes[i].URL+"/v1/chat/completions", key, ChatBody(), nil)
}

// ChatBody is a short chat request for the demo model.
func ChatBody() map[string]any {
	return map[string]any{
		"model": "demo", "max_tokens": 16,
		"messages": []map[string]string{{"role": "user", "content": "hello"}},
	}
}

// patience is how long a condition is waited for at least: a machine may be busy elsewhere, and what is promised of times is
// measured, not waited for.
const patience = time.Minute

// Await waits until cond holds; the test fails after limit, or a minute if that is longer.
func (c *Cluster) Await(what string, limit time.Duration, cond func() bool) {
	c.t.Helper()
	c.await(what, limit, cond)
}

// AwaitThat is Await where cond also says what there is instead.
func (c *Cluster) AwaitThat(what string, limit time.Duration, cond func() (ok bool, instead string)) {
	c.t.Helper()
	limit = max(limit, patience)
	end := time.NewTimer(limit)
	defer end.Stop()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		ok, instead := cond()
		if ok {
			return
		}
		select {
		case <-tick.C:
		case <-end.C:
			c.t.Fatalf("not within %s: %s; instead: %s\n%s", limit, what, instead, c.logs())
		}
	}
}

func (c *Cluster) await(what string, limit time.Duration, cond func() bool) {
	c.t.Helper()
	c.AwaitThat(what, limit, func() (bool, string) { return cond(), "not" })
}

func (c *Cluster) logs() string {
	var b strings.Builder
	for _, n := range c.Nodes {
		if n.Process != nil {
			fmt.Fprintf(&b, "--- node %s\n%s\n", n.Name, tail(n.Log(), 4000))
		}
	}
	return b.String()
}

func tail(s string, n int) string {
	if len(s) > n {
		return s[len(s)-n:]
	}
	return s
}

func (c *Cluster) stop() {
	var wg sync.WaitGroup
	for _, n := range c.Nodes {
		if n.Process != nil {
			wg.Go(n.Stop)
		}
	}
	wg.Wait()
	c.Mock.Stop()
	if c.t.Failed() {
		c.t.Log(c.logs())
	}
}

// Process is a child of the test.
type Process = rig.Process

func (c *Cluster) run(what string, env []string, args ...string) *Process {
	c.t.Helper()
	return c.exec(what, env, append([]string{c.bin}, args...))
}

func (c *Cluster) exec(what string, env, args []string) *Process {
	c.t.Helper()
	p, err := rig.Run(env, args, nil)
	if err != nil {
		c.t.Fatalf("start %s: %v", what, err)
	}
	return p
}

var httpClient = &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 64}}

// Call sends in as JSON and decodes the answer into out if it is not nil and the status is
// below 300. It returns the status, or 0 if there was no answer.
func Call(t testing.TB, method, url, key string, in, out any) int {
	t.Helper()
	status, body := CallRaw(t, method, url, key, in)
	if out != nil && status/100 == 2 {
		if err := json.Unmarshal(body, out); err != nil {
			t.Errorf("%s %s: answer is not what was expected: %v: %s", method, url, err, tail(string(body), 300))
		}
	}
	return status
}

// CallRaw sends in as JSON and returns the status, or 0 if there was no answer, and the body.
func CallRaw(t testing.TB, method, url, key string, in any) (int, []byte) {
	t.Helper()
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			t.Fatal(err)
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(t.Context(), method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+key)
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	res, err := httpClient.Do(req)
	if err != nil {
		return 0, nil
	}
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		return 0, nil
	}
	return res.StatusCode, text
}

// Send sends the bytes and returns the status, or 0 if there was no answer, and the answer.
func Send(t testing.TB, method, url, key string, body []byte) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+key)
	req.Header.Set("Content-Type", "application/octet-stream")
	res, err := httpClient.Do(req)
	if err != nil {
		return 0, ""
	}
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		return 0, ""
	}
	return res.StatusCode, string(text)
}

func ok(url string) bool {
	res, err := httpClient.Get(url)
	if err != nil {
		return false
	}
	_ = res.Body.Close()
	return res.StatusCode == http.StatusOK
}

func freeAddr(t testing.TB) string {
	t.Helper()
	addr, err := ports.Addr()
	if err != nil {
		t.Fatal(err)
	}
	return addr
}
