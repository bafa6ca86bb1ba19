package nodetest

import (
	"context"
	"errors"
	"net/http/httptest"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/adminapi/client"
	"github.com/conclave-llm/conclave/internal/ports"
	"github.com/conclave-llm/conclave/mock"
	"github.com/conclave-llm/conclave/node"
	"github.com/conclave-llm/conclave/resource"
	"github.com/conclave-llm/conclave/secret"
)

// MasterKey is the master key of every cluster.
const MasterKey = "sk-nodetest-master-0123456789"

// The prices of the demo model for one token.
const (
	PromptPrice     resource.Money = 150_000 // $150 for a million
	CompletionPrice resource.Money = 600_000
)

const patience = time.Minute // for conditions; far more than any of them takes

// Fields are the fields of a record.
type Fields = map[string]any

// Config says how a cluster is made. The zero value is good.
type Config struct {
	Mock mock.Config
	KEK  secret.Text // of the cluster; "": a new one in each data folder
	// Edit changes a node's configuration before its first start; i counts from 0. Nil: none.
	Edit func(i int, cfg *node.Config)
}

// Cluster is some nodes and the upstream that all of them use.
type Cluster struct {
	Nodes   []*Node
	Mock    *mock.Server
	MockURL string // with /v1
	Log     *Log   // of all nodes, at the level debug

	t   testing.TB
	cfg Config
	dir string

	mu  sync.Mutex      // guards cut
	cut map[string]bool // cluster addresses of nodes that are cut off
}

// Start runs a cluster of n nodes with the model demo and waits until all are ready.
func Start(t testing.TB, n int) *Cluster {
	t.Helper()
	return Config{}.Start(t, n)
}

// Start runs a cluster of n nodes with the model demo and waits until all are ready.
func (cfg Config) Start(t testing.TB, n int) *Cluster {
	t.Helper()
	if cfg.Mock.Journal == 0 {
		cfg.Mock.Journal = 1 << 14
	}
	c := &Cluster{Mock: mock.New(cfg.Mock), Log: &Log{}, t: t, cfg: cfg, dir: t.TempDir(), cut: map[string]bool{}}
	upstream := httptest.NewServer(c.Mock)
	c.MockURL = upstream.URL + "/v1"
	t.Cleanup(func() {
		c.stop()
		upstream.CloseClientConnections()
		upstream.Close()
	})
	var seats []node.Seat
	for range n {
		s := c.add()
		seats = append(seats, node.Seat{Name: s.Name, DataDir: s.Dir, Cluster: s.Address})
	}
	if err := node.Found(secret.New(MasterKey), cfg.KEK, seats...); err != nil {
		t.Fatalf("found cluster: %v", err)
	}
	var wg sync.WaitGroup
	for _, s := range c.Nodes {
		wg.Go(func() { s.Launch() })
	}
	wg.Wait()
	c.AwaitReady()
	c.Model("demo", c.MockURL)
	return c
}

// Join adds a node to the cluster with a token and waits until it is ready.
func (c *Cluster) Join() *Node {
	c.t.Helper()
	token, err := c.Nodes[0].Admin().JoinToken(c.t.Context(), "5m", client.Do)
	if err != nil {
		c.t.Fatalf("join token: %v", err)
	}
	n := c.add()
	n.cfg.Join, n.cfg.Token = c.Nodes[0].Address, token.Token
	n.Launch()
	n.cfg.Join, n.cfg.Token = "", ""
	n.AwaitReady()
	return n
}

// add makes the next node without starting it.
func (c *Cluster) add() *Node {
	i := len(c.Nodes)
	n := &Node{
		Name: "n" + strconv.Itoa(i+1), Address: FreeAddr(c.t), client: FreeAddr(c.t), cluster: c,
		Dir: filepath.Join(c.dir, "n"+strconv.Itoa(i+1)),
	}
	n.URL = "http://" + n.client
	n.cfg = node.Config{
		Name: n.Name, DataDir: n.Dir, Listen: n.client, Cluster: n.Address, MasterKey: secret.New(MasterKey),
		DrainTimeout: 2 * time.Second, Version: "test", KEK: c.cfg.KEK, Logger: c.Log.logger(), Fatal: n.fatal, Reach: n.reach,
		Multiplier: 2, // many clusters share the machine: a pause of half a second is no sign of a dead leader
	}
	if c.cfg.Edit != nil {
		c.cfg.Edit(i, &n.cfg)
	}
	c.Nodes = append(c.Nodes, n)
	return n
}

// Model makes a model whose one deployment is at base, and waits until every node has it.
func (c *Cluster) Model(name, base string) {
	c.t.Helper()
	c.write("create model "+name, 0, func(api *client.Client) error {
		_, err := api.Models().Create(c.t.Context(), Fields{
			"name": name,
			"deployments": []any{Fields{
				"name": name + "-1", "provider": "openai", "api_base": base, "model": name, "api_key": UpstreamKey,
				"price": Fields{"input": PerMillion(PromptPrice), "output": PerMillion(CompletionPrice)},
			}},
		})
		return err
	})
}

// UpstreamKey is the credential of every deployment that Model makes.
const UpstreamKey = "sk-upstream-canary-5c1f0e"

// PerMillion is the price of a million tokens, as a record has it.
func PerMillion(one resource.Money) resource.Money { return one * 1_000_000 }

// Sync waits until every running node that is not cut off has what the client has written.
func (c *Cluster) Sync(api *client.Client) {
	c.t.Helper()
	for _, n := range c.Nodes {
		if n.Running() && !n.isCut() {
			c.Await("node "+n.Name+" reaches index "+api.Index(), func() bool {
				status, body := n.Do("GET", "/api/v1/cluster", MasterKey, nil, "X-Conclave-Min-Index", api.Index())
				if status != 200 && status != 503 { // it waits, but not for as long as a busy machine may need
					c.t.Fatalf("node %s: %d %s", n.Name, status, body)
				}
				return status == 200
			})
		}
	}
}

// Key makes a key through node i and waits until every node has it.
func (c *Cluster) Key(i int, fields Fields) client.Key {
	c.t.Helper()
	var k client.Key
	c.write("create key", i, func(api *client.Client) (err error) {
		k, err = api.Keys().Create(c.t.Context(), fields)
		return err
	})
	return k
}

// write has node i do something, again as long as there is no leader, as on a busy machine there may be none for a while, and waits
// until every node has it.
func (c *Cluster) write(what string, i int, do func(*client.Client) error) {
	c.t.Helper()
	api := c.Nodes[i].Admin()
	c.Await(what, func() bool {
		err := do(api)
		if p, ok := errors.AsType[*client.Problem](err); err != nil && (!ok || p.Code != "no_leader") {
			c.t.Fatalf("%s: %v", what, err)
		}
		return err == nil
	})
	c.Sync(api)
}

// Bill is what the upstream would bill at the prices of Model.
func (c *Cluster) Bill() resource.Money {
	u := c.Mock.Usage()
	return resource.Money(u.PromptTokens)*PromptPrice + resource.Money(u.CompletionTokens)*CompletionPrice
}

// AwaitReady waits until every running node is ready.
func (c *Cluster) AwaitReady() {
	c.t.Helper()
	for _, n := range c.Nodes {
		if n.Running() {
			n.AwaitReady()
		}
	}
}

// Leader waits until the nodes that can reach each other know a leader among themselves.
func (c *Cluster) Leader() *Node {
	c.t.Helper()
	var leader *Node
	c.Await("a leader is known", func() bool {
		for _, n := range c.Nodes {
			if !n.Running() || n.isCut() {
				continue
			}
			if at := c.node(n.Leader()); at != nil && at.Running() && !at.isCut() {
				leader = at
				return true
			}
		}
		return false
	})
	return leader
}

// Followers are the running nodes that do not lead.
func (c *Cluster) Followers() []*Node {
	c.t.Helper()
	leader := c.Leader()
	var out []*Node
	for _, n := range c.Nodes {
		if n != leader && n.Running() {
			out = append(out, n)
		}
	}
	return out
}

func (c *Cluster) node(id string) *Node {
	for _, n := range c.Nodes {
		if n.id == id && id != "" {
			return n
		}
	}
	return nil
}

// Await waits until cond holds; the test fails if it does not within twenty seconds.
func (c *Cluster) Await(what string, cond func() bool) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), patience)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			c.t.Fatalf("not within %s: %s", patience, what)
		}
	}
}

// stop ends what runs, all nodes at once and without a majority to wait for.
func (c *Cluster) stop() {
	c.Heal()
	var wg sync.WaitGroup
	for _, n := range c.Nodes {
		if n.Running() {
			wg.Go(func() { n.end(-1) })
		}
	}
	wg.Wait()
	if c.t.Failed() {
		c.t.Log(c.Log.tail(8000))
	}
}

// FreeAddr returns an address on loopback that is free for TCP and UDP, also when the node
// that got it is started a second time.
func FreeAddr(t testing.TB) string {
	t.Helper()
	addr, err := ports.Addr()
	if err != nil {
		t.Fatal(err)
	}
	return addr
}
