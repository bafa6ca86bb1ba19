// Package rollout brings a program to every node of the cluster, one after the other. What is to
// be done, and how far it is, is replicated (fsm/memory.Rollout), so that any leader goes on where
// the last one was. Each node follows: it fetches the program, verifies the publisher's signature
// itself, swaps when it is its turn, and goes back when it is told to. The leader gives the turns,
// watches the nodes' health, and turns the rollout back when a node stays ill.
package rollout

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/conclave-llm/conclave/bundle"
	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/fsm/memory"
	"github.com/conclave-llm/conclave/node/versions"
	"github.com/conclave-llm/conclave/resource"
	"github.com/conclave-llm/conclave/signing"
)

const (
	look        = 250 * time.Millisecond // how often a busy rollout is looked at
	idle        = 5 * time.Second        // how often, while there is none
	stageWait   = 10 * time.Minute       // for every node to have the program on its disk
	trialMargin = 5 * time.Second        // of a trial, beside its health, for the leader to call it good
	swapMargin  = 30 * time.Second       // of a swap, beside the drain and the health
)

// Member is a node as the leader sees it.
type Member struct {
	ID, Name string
	Voter    bool
	Leader   bool
	Well     bool // it answers and may serve
}

// Cluster is what the rollout needs of the consensus.
type Cluster interface {
	Propose(ctx context.Context, by fsm.Actor, requestID string, cmd fsm.Command) (fsm.Result, error)
	IsLeader() bool
	StepDown(ctx context.Context) error
}

// Blobs are the bodies that the bundle was cut into.
type Blobs interface {
	Read(ctx context.Context, digest string) ([]byte, error)
}

// Swap is a wish to the process: stop the node and start what the store of versions says.
type Swap struct {
	Trial *versions.Trial // to be put on trial first; nil: the way back is in the store already
}

// Config is what New needs; all of it.
type Config struct {
	NodeID   string
	Platform string // "linux/amd64"
	Running  string // SHA-256 of the program that runs
	Chosen   bool   // it runs because the store says so, not because the operator installed it
	Base     string // SHA-256 of the program that the operator installed
	Trust    signing.Trust
	Versions *versions.Store
	Drain    time.Duration // that a node may take to stop
	State    func() *fsm.Rollout
	Members  func(ctx context.Context) []Member
	Cluster  Cluster
	Blobs    Blobs
	Prices   func(ctx context.Context, data []byte) error
	Plugins  Plugins
	Swap     func(Swap) // must not block
	Changed  <-chan struct{}
	Boot     func() time.Duration
	Now      func() time.Time
	Logger   *slog.Logger
}

// Runner follows rollouts on one node, and leads them while the node leads.
type Runner struct {
	cfg Config
	log *slog.Logger

	asked string                   // rollout and direction for which the process was asked to swap
	ill   map[string]time.Duration // since when by the boot clock; of this leader
	well  time.Duration            // since when the node whose turn it is is well, or the plugins are up; 0: it is not
	ails  time.Duration            // since when plugins that were switched are not up; 0: they are
	led   bool
}

// New makes a Runner.
func New(cfg Config) *Runner {
	return &Runner{cfg: cfg, log: cfg.Logger, ill: map[string]time.Duration{}}
}

// Run follows until ctx ends.
func (r *Runner) Run(ctx context.Context) {
	for {
		wait := idle
		if now := r.cfg.State(); now != nil {
			if now.Busy() || r.behind(now) {
				wait = look
			}
			r.log.Debug("rollout", "state", now.State, "turn", now.Turn)
			r.step(ctx, now)
		}
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-r.cfg.Changed:
			t.Stop()
		case <-t.C:
		}
	}
}

// behind says that this node has something to do although the rollout is over.
func (r *Runner) behind(now *fsm.Rollout) bool {
	return now.State == memory.RolloutDone && now.Node(r.cfg.NodeID).Step == memory.NodeGood && r.onTrial(now)
}

func (r *Runner) step(ctx context.Context, now *fsm.Rollout) {
	if err := r.follow(ctx, now); err != nil && ctx.Err() == nil {
		r.log.Warn("a step of the rollout is not taken yet", "error", err)
	}
	if !r.cfg.Cluster.IsLeader() {
		r.led = false
		return
	}
	if !r.led {
		r.led, r.well, r.ails = true, 0, 0
		clear(r.ill)
	}
	if err := r.lead(ctx, now); err != nil && ctx.Err() == nil && !errors.Is(err, resource.ErrConflict) {
		r.log.Warn("the rollout does not go on yet", "error", err)
	}
}

// target is the digest of the program that this node should run, as the publisher signed it.
func (r *Runner) target(now *fsm.Rollout) (memory.Program, error) {
	m, _, err := bundle.Verify(r.cfg.Trust, now.Manifest, now.Signed)
	if err != nil {
		return memory.Program{}, err
	}
	f, ok := m.Program(r.cfg.Platform)
	if !ok {
		return memory.Program{}, errors.New("the bundle has no program for " + r.cfg.Platform)
	}
	p, ok := now.For(r.cfg.Platform)
	if !ok || p.SHA256 != f.SHA256 || p.Size != f.Size {
		return memory.Program{}, errors.New("the program is not the one that was signed")
	}
	return p, nil
}

// note says that this node has taken a step.
func (r *Runner) note(ctx context.Context, now *fsm.Rollout, step, reason string) error {
	_, err := r.cfg.Cluster.Propose(ctx, r.self(), "", fsm.NoteRollout{ID: now.ID, Node: r.cfg.NodeID, Step: step, Reason: reason})
	if err == nil {
		r.log.Info("a step of the rollout is taken", "version", now.Version, "step", step, "reason", reason)
	}
	return err
}

func (r *Runner) self() fsm.Actor { return fsm.Actor{Kind: "node", ID: r.cfg.NodeID} }
