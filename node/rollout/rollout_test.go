package rollout

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft" //nolint:depguard // plays the part of the consensus

	"github.com/conclave-llm/conclave/bundle"
	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/fsm/memory"
	"github.com/conclave-llm/conclave/node/versions"
	"github.com/conclave-llm/conclave/plugins/pack"
	"github.com/conclave-llm/conclave/resource"
	"github.com/conclave-llm/conclave/resource/manifest"
	"github.com/conclave-llm/conclave/signing"
)

const platform = "linux/amd64"

// What becomes of the new program on a node.
const (
	lives = iota
	dies
	ails // it runs, and is never well
)

// simCluster is nodes whose processes are played, over a real state machine.
type simCluster struct {
	t      *testing.T
	f      *fsm.FSM
	index  uint64
	now    time.Time
	leader int
	nodes  []*simNode
	blobs  map[string][]byte
	key    signing.SecretKey
	prices int // imports
	turns  []string

	pack     []byte // a plugin's bundle that is in the file, nil: none
	distrust bool   // plugin_trust refuses its publisher
	sick     bool   // its processes do not come up
}

// Accept implements Plugins.
func (c *simCluster) Accept(p *resource.Plugin) error {
	if c.distrust {
		return &resource.Invalid{Field: "signature", Reason: "the setting plugin_trust refuses " + p.Name}
	}
	return nil
}

// Running implements Plugins.
func (c *simCluster) Running(_ context.Context, names []string) error {
	if c.sick && slices.Contains(names, "mine") {
		return errors.New("node n2: mine does not run with version 2")
	}
	return nil
}

// pluginVersion is that of the registered plugin.
func (c *simCluster) pluginVersion() string {
	c.t.Helper()
	for _, p := range c.f.Catalog().Tables().Plugins {
		return p.Bundle().Version
	}
	return ""
}

// packed is the bundle of a plugin.
func (c *simCluster) packed(version string) *pack.Bundle {
	c.t.Helper()
	b, err := pack.New(manifest.Manifest{Name: "mine", Version: version, Kind: "guardrail"}, []pack.Binary{{OS: "any", Arch: "any", Body: []byte("plugin " + version)}}, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	return b
}

// written is the file of a plugin's bundle.
func (c *simCluster) written(version string) []byte {
	c.t.Helper()
	var out bytes.Buffer
	if err := c.packed(version).Write(&out); err != nil {
		c.t.Fatal(err)
	}
	return out.Bytes()
}

// register registers version 1 of a plugin, and puts version 2 into the file.
func (c *simCluster) register() {
	c.t.Helper()
	for _, version := range []string{"1", "2"} {
		b := c.packed(version)
		for id := range b.Bodies {
			e, err := fsm.EncodedOf(resource.Blob{ID: id, Class: resource.BlobConfiguration, Kind: "plugin", Size: 8})
			if err != nil {
				c.t.Fatal(err)
			}
			c.must(fsm.Actor{Kind: "master"}, fsm.PutBlob{Blob: e})
		}
		if version == "2" {
			c.pack = c.written(version)
			return
		}
		e, err := fsm.EncodedOf(resource.Plugin{Meta: resource.Meta{ID: "p1"}, Name: "mine", Kind: "guardrail", Manifest: b.Text})
		if err != nil {
			c.t.Fatal(err)
		}
		c.must(fsm.Actor{Kind: "master"}, fsm.PutPlugin{Plugin: e})
	}
}

// simNode is one node: its process may be between two programs.
type simNode struct {
	c       *simCluster
	id      string
	machine string // its platform
	store   *versions.Store
	trust   signing.Trust
	running string
	chosen  bool
	fate    int
	down    int // ticks until the process is there again
	swaps   []Swap
	runner  *Runner
}

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

var (
	oldProgram = digest([]byte("old"))
	newProgram = digest([]byte("new"))
)

func newSim(t *testing.T, n int) *simCluster {
	t.Helper()
	f, err := fsm.Open(fsm.Config{Dir: t.TempDir(), Fatal: func(err error) { t.Errorf("state machine: %v", err) }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	c := &simCluster{t: t, f: f, now: time.Unix(1_800_000_000, 0), blobs: map[string][]byte{}}
	if c.key, err = signing.Generate(); err != nil {
		t.Fatal(err)
	}
	for i := range n {
		id := fmt.Sprint("n", i+1)
		node := &simNode{c: c, id: id, machine: platform, store: versions.New(t.TempDir()), trust: signing.Trust{c.key.Public()}, running: oldProgram}
		c.nodes = append(c.nodes, node)
		by := fsm.Actor{Kind: "node", ID: id}
		if i == 0 {
			c.must(by, fsm.Bootstrap{ClusterID: "c1"})
		}
		c.must(by, fsm.RegisterMember{Member: resource.Member{Meta: resource.Meta{ID: id}, Name: id, Address: id + ":1", FSMVersion: 1}})
		node.boot()
	}
	return c
}

func (c *simCluster) must(by fsm.Actor, cmd fsm.Command) {
	c.t.Helper()
	if _, err := c.Propose(c.t.Context(), by, "", cmd); err != nil {
		c.t.Fatal(err)
	}
}

// Propose implements Cluster for all nodes.
func (c *simCluster) Propose(_ context.Context, by fsm.Actor, _ string, cmd fsm.Command) (fsm.Result, error) {
	data, err := fsm.Encode(fsm.Envelope{At: resource.At(c.now), Actor: by, ReadIndex: c.index}, cmd)
	if err != nil {
		return fsm.Result{}, err
	}
	c.index++
	a := c.f.ApplyBatch([]*raft.Log{{Index: c.index, Term: 1, Data: data}})[0].(fsm.Applied)
	if adv, ok := cmd.(fsm.AdvanceRollout); ok && a.Err == nil && adv.Turn != "" {
		c.turns = append(c.turns, adv.State[:4]+" "+adv.Turn)
	}
	return a.Result, a.Err
}

func (c *simCluster) state() *fsm.Rollout {
	info, _ := c.f.Cluster()
	return info.Rollout
}

func (c *simCluster) members(context.Context) []Member {
	var out []Member
	for i, n := range c.nodes {
		out = append(out, Member{ID: n.id, Name: n.id, Voter: true, Leader: i == c.leader, Well: n.well()})
	}
	return out
}

func (n *simNode) well() bool { return n.down == 0 && (n.running != newProgram || n.fate != ails) }

// IsLeader implements Cluster.
func (n *simNode) IsLeader() bool { return n.c.nodes[n.c.leader] == n }

// StepDown implements Cluster.
func (n *simNode) StepDown(context.Context) error {
	n.c.leader = (n.c.leader + 1) % len(n.c.nodes)
	return nil
}

// Propose implements Cluster.
func (n *simNode) Propose(ctx context.Context, by fsm.Actor, id string, cmd fsm.Command) (fsm.Result, error) {
	return n.c.Propose(ctx, by, id, cmd)
}

// Read implements Blobs.
func (c *simCluster) Read(_ context.Context, digest string) ([]byte, error) {
	if b, ok := c.blobs[digest]; ok {
		return b, nil
	}
	return nil, resource.ErrNotFound
}

// Put implements Storage.
func (c *simCluster) Put(_ context.Context, _ fsm.Actor, _ string, b resource.Blob, body []byte) (*resource.Blob, error) {
	b.ID = digest(body)
	c.blobs[b.ID] = bytes.Clone(body)
	return &b, nil
}

// boot starts the node's process.
func (n *simNode) boot() {
	n.runner = New(Config{
		NodeID: n.id, Platform: n.machine, Running: n.running, Chosen: n.chosen, Base: oldProgram, Trust: n.trust, Versions: n.store,
		Drain: 10 * time.Second, State: n.c.state, Members: n.c.members, Cluster: n, Blobs: n.c,
		Prices:  func(context.Context, []byte) error { n.c.prices++; return nil },
		Plugins: n.c,
		Swap:    func(s Swap) { n.swaps = append(n.swaps, s) },
		Boot:    func() time.Duration { return time.Duration(n.c.now.UnixNano()) }, Now: func() time.Time { return n.c.now },
		Logger: slog.New(slog.DiscardHandler),
	})
}

// swap plays the process that stops and becomes another.
func (n *simNode) swap(s Swap) {
	must := func(err error) {
		n.c.t.Helper()
		if err != nil {
			n.c.t.Fatal(err)
		}
	}
	n.down = 2
	if n.IsLeader() {
		_ = n.StepDown(n.c.t.Context())
	}
	if s.Trial == nil {
		n.running, n.chosen = oldProgram, false
		return
	}
	must(n.store.Begin(*s.Trial))
	if n.fate == dies {
		must(n.store.Fail("it ended with status 3"))
		return
	}
	n.running, n.chosen = s.Trial.Program, true
}

// run lets seconds pass until the rollout has the state.
func (c *simCluster) run(state string) {
	c.t.Helper()
	for range 400 {
		c.now = c.now.Add(time.Second)
		down := 0
		for _, n := range c.nodes {
			if n.down > 0 {
				down++
				if n.down--; n.down == 0 {
					n.boot()
				}
				continue
			}
			n.runner.step(c.t.Context(), c.state())
			if len(n.swaps) > 0 {
				n.swap(n.swaps[0])
				n.swaps = nil
			}
		}
		if down > 1 {
			c.t.Fatalf("%d nodes are down at a time", down)
		}
		if c.state().State == state && down == 0 {
			return
		}
	}
	c.t.Fatalf("the rollout is not %s: %+v", state, c.state())
}

// file writes a bundle.
func (c *simCluster) file(key signing.SecretKey) []byte {
	c.t.Helper()
	dir := c.t.TempDir()
	for name, text := range map[string]string{"new": "new", "prices": "{}"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			c.t.Fatal(err)
		}
	}
	sources := []bundle.Source{
		{File: bundle.File{Path: "p", Kind: bundle.KindProgram, Platform: platform}, From: filepath.Join(dir, "new")},
		{File: bundle.File{Path: "prices.json", Kind: bundle.KindPrices}, From: filepath.Join(dir, "prices")},
	}
	if c.pack != nil {
		if err := os.WriteFile(filepath.Join(dir, "mine"), c.pack, 0o600); err != nil {
			c.t.Fatal(err)
		}
		sources = append(sources, bundle.Source{File: bundle.File{Path: "plugins/mine", Kind: bundle.KindPlugin, Name: "mine"}, From: filepath.Join(dir, "mine")})
	}
	var out bytes.Buffer
	_, err := bundle.Write(&out, "v2", c.now, key, sources)
	if err != nil {
		c.t.Fatal(err)
	}
	return out.Bytes()
}

func (c *simCluster) begin(file []byte, dry bool) error {
	c.t.Helper()
	_, err := c.nodes[0].runner.Begin(c.t.Context(), Order{
		By: fsm.Actor{Kind: "master"}, Body: bytes.NewReader(file), Health: 20 * time.Second, Hold: 3 * time.Second, DryRun: dry,
	}, c)
	return err
}

// expect compares what runs, and what each node starts next time.
func (c *simCluster) expect(program string, turns ...string) {
	c.t.Helper()
	for _, n := range c.nodes {
		st, err := n.store.State()
		current := st.Current
		if current == "" {
			current = oldProgram
		}
		if err != nil || n.running != program || current != program || st.Trial != nil {
			c.t.Errorf("node %s runs %.6s and has %+v, %v; want %.6s", n.id, n.running, st, err, program)
		}
	}
	if !slices.Equal(c.turns, turns) {
		c.t.Errorf("turns: got %q, want %q", c.turns, turns)
	}
}

func TestRollout_Good(t *testing.T) {
	t.Parallel()
	c := newSim(t, 3)
	if err := c.begin(c.file(c.key), true); err != nil || c.state() != nil || len(c.blobs) != 0 {
		t.Fatalf("a dry run: got %v, %+v", err, c.state())
	}
	if err := c.begin(c.file(c.key), false); err != nil {
		t.Fatal(err)
	}
	if err := c.begin(c.file(c.key), false); !errors.Is(err, resource.ErrRefused) {
		t.Errorf("another one meanwhile: got %v", err)
	}
	c.run(memory.RolloutDone)
	c.run(memory.RolloutDone)                             // the last node writes down that it stays
	c.expect(newProgram, "roll n2", "roll n3", "roll n1") // the leader is the last
	if c.prices != 1 {
		t.Errorf("prices were imported %d times", c.prices)
	}
	c.turns = nil
	if err := c.nodes[1].runner.Revert(t.Context(), fsm.Actor{Kind: "master"}, "", ""); err != nil {
		t.Fatal(err)
	}
	c.run(memory.RolloutReverted)
	if len(c.turns) != 3 {
		t.Errorf("turns: got %q", c.turns)
	}
	c.expect(oldProgram, c.turns...)
}

// TestRollout_Plugins switches a plugin after the programs, and back when an operator goes back.
func TestRollout_Plugins(t *testing.T) {
	t.Parallel()
	c := newSim(t, 3)
	c.register()
	if err := c.begin(c.file(c.key), false); err != nil {
		t.Fatal(err)
	}
	c.run(memory.RolloutDone)
	if v := c.pluginVersion(); v != "2" || c.prices != 1 {
		t.Errorf("after the rollout: plugin %s, %d imports of prices", v, c.prices)
	}
	c.run(memory.RolloutDone) // the last node writes down that it stays
	if err := c.nodes[1].runner.Revert(t.Context(), fsm.Actor{Kind: "master"}, "", ""); err != nil {
		t.Fatal(err)
	}
	if v := c.pluginVersion(); v != "1" {
		t.Errorf("after the order to go back: plugin %s", v)
	}
	c.run(memory.RolloutReverted)
}

func TestRollout_Alone(t *testing.T) {
	t.Parallel()
	c := newSim(t, 1)
	if err := c.begin(c.file(c.key), false); err != nil {
		t.Fatal(err)
	}
	c.run(memory.RolloutDone)
	c.run(memory.RolloutDone)
	c.expect(newProgram, "roll n1")
}

func TestRollout_Bad(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		change func(*simCluster)
		reason string
		turns  []string
	}{
		{"it dies on the first node", func(c *simCluster) { c.nodes[1].fate = dies }, "node n2: it ended with status 3", []string{"roll n2"}},
		{"it dies on the second", func(c *simCluster) { c.nodes[2].fate = dies }, "node n3: it ended with status 3", []string{"roll n2", "roll n3", "roll n2"}},
		{"it ails on the second", func(c *simCluster) { c.nodes[2].fate = ails }, "node n3 was ill for 20s", []string{"roll n2", "roll n3", "roll n3", "roll n2"}},
		{"it ails on the last", func(c *simCluster) { c.nodes[0].fate = ails }, "node n1 was ill for 20s", []string{"roll n2", "roll n3", "roll n1", "roll n1", "roll n3", "roll n2"}},
		{"the plugins do not come up", func(c *simCluster) { c.register(); c.sick = true }, "node n2: mine does not run", []string{"roll n2", "roll n3", "roll n1", "roll n1", "roll n3", "roll n2"}},
		{"it is for another machine than the third node is", func(c *simCluster) { c.nodes[2].machine = "linux/arm64"; c.nodes[2].boot() }, "node n3: the bundle has no program for linux/arm64", nil},
		{"a node does not trust the publisher", func(c *simCluster) { c.nodes[2].trust = nil; c.nodes[2].boot() }, "node n3: the publisher is not trusted", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := newSim(t, 3)
			tt.change(c)
			if err := c.begin(c.file(c.key), false); err != nil {
				t.Fatal(err)
			}
			c.run(memory.RolloutReverted)
			if r := c.state(); !strings.Contains(r.Reason, tt.reason) {
				t.Errorf("reason: got %q, want %q", r.Reason, tt.reason)
			}
			slices.Sort(c.turns)
			slices.Sort(tt.turns)
			c.expect(oldProgram, tt.turns...)
			if v := c.pluginVersion(); v == "2" {
				t.Error("a plugin of a bundle that was rolled back is registered")
			}
			if c.prices != 0 {
				t.Error("prices of a bundle that was rolled back were imported")
			}
		})
	}
}

func TestBegin_Refused(t *testing.T) {
	t.Parallel()
	stranger, err := signing.Generate()
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name   string
		file   func(*simCluster) []byte
		change func(*simCluster)
		code   string
	}{
		{"a stranger's", func(c *simCluster) []byte { return c.file(stranger) }, nil, "forbidden"},
		{"nobody is trusted", func(c *simCluster) []byte { return c.file(c.key) }, func(c *simCluster) { c.nodes[0].trust = nil; c.nodes[0].boot() }, "forbidden"},
		{"a flipped byte", func(c *simCluster) []byte { b := c.file(c.key); b[bytes.Index(b, []byte("new\x00"))] ^= 1; return b }, nil, "invalid"},
		{"its end is missing", func(c *simCluster) []byte { b := c.file(c.key); return b[:bytes.Index(b, []byte("{}"))] }, nil, "invalid"},
		{"for another machine", func(c *simCluster) []byte { return c.file(c.key) }, func(c *simCluster) { c.nodes[0].machine = "linux/arm64"; c.nodes[0].boot() }, "invalid"},
		{"no bundle", func(*simCluster) []byte { return []byte("#!/bin/sh") }, nil, "invalid"},
		{"plugin_trust refuses a plugin", func(c *simCluster) []byte { c.pack = c.written("2"); return c.file(c.key) }, func(c *simCluster) { c.distrust = true }, "invalid"},
		{"a plugin that is none", func(c *simCluster) []byte { c.pack = []byte("#!/bin/sh"); return c.file(c.key) }, nil, "invalid"},
		{"a node is not well", func(c *simCluster) []byte { return c.file(c.key) }, func(c *simCluster) { c.nodes[2].down = 1 }, "refused"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := newSim(t, 3)
			if tt.change != nil {
				tt.change(c)
			}
			err := c.begin(tt.file(c), false)
			if resource.Code(err) != tt.code || c.state() != nil || len(c.blobs) != 0 {
				t.Errorf("got %v (%s), want %s; %d blobs", err, resource.Code(err), tt.code, len(c.blobs))
			}
		})
	}
}
