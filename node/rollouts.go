package node

import (
	"context"
	"runtime"
	"time"

	"github.com/conclave-llm/conclave/adminapi"
	"github.com/conclave-llm/conclave/adminapi/client"
	"github.com/conclave-llm/conclave/adminapi/membership"
	"github.com/conclave-llm/conclave/adminapi/prices"
	"github.com/conclave-llm/conclave/adminapi/records"
	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/internal/clock"
	"github.com/conclave-llm/conclave/node/rollout"
	"github.com/conclave-llm/conclave/node/versions"
	"github.com/conclave-llm/conclave/signing"
)

// Program is what a process knows of the program that it runs.
type Program struct {
	Versions  *versions.Store // nil: the process cannot start another program in its place
	Running   string          // SHA-256 of the program that runs
	Installed string          // SHA-256 of the one that the operator installed
	Chosen    bool            // it runs because the store says so
}

// Swap is a wish of the node to its process: stop the node, and start the program that the store of
// versions says.
type Swap = rollout.Swap

// Swaps tells the process when the node is to change its program.
func (n *Node) Swaps() <-chan Swap { return n.swaps }

// startRollouts follows the programs that are rolled out, if the process can change its own.
func (n *Node) startRollouts(context.Context) error {
	if n.cfg.Program.Versions == nil {
		return nil
	}
	trust, err := signing.ParseTrust(n.cfg.UpgradePublishers)
	if err != nil {
		return refuse("upgrade_publishers: %w", err)
	}
	n.rollouts = rollout.New(rollout.Config{
		NodeID: n.identity.NodeID, Platform: runtime.GOOS + "/" + runtime.GOARCH,
		Running: n.cfg.Program.Running, Chosen: n.cfg.Program.Chosen, Base: n.cfg.Program.Installed,
		Trust: trust, Versions: n.cfg.Program.Versions, Drain: n.cfg.DrainTimeout,
		State: n.rollout, Members: n.rolloutMembers, Cluster: n.consensus, Blobs: n.blobs, Prices: n.receivePrices,
		Swap: n.askSwap, Changed: n.rolled, Boot: clock.Boot, Now: time.Now, Logger: n.log,
	})
	n.wg.Go(func() { n.rollouts.Run(n.ctx) })
	return nil
}

// rollout is the newest one, nil if there was none.
func (n *Node) rollout() *fsm.Rollout {
	info, _ := n.state.Cluster()
	return info.Rollout
}

// askSwap hands the wish to the process; a second one while the first waits says the same.
func (n *Node) askSwap(s Swap) {
	select {
	case n.swaps <- s:
	default:
	}
}

func (n *Node) rolloutMembers(ctx context.Context) []rollout.Member {
	var out []rollout.Member
	for _, m := range n.consensus.Members(ctx) {
		out = append(out, rollout.Member{
			ID: m.ID, Name: m.Name, Voter: m.Voter, Leader: m.Leader,
			Well: m.Reachable && m.Local.NotReady == "" && !m.Local.Draining && !m.Stalled,
		})
	}
	return out
}

func (n *Node) receivePrices(ctx context.Context, data []byte) error {
	return n.prices.Receive(ctx, n.identity.NodeID, prices.Import{Data: data, Source: "bundle"})
}

// upgrader is the rollouts as the admin API takes them.
type upgrader struct{ n *Node }

// Start implements adminapi.Upgrader.
func (u upgrader) Start(ctx context.Context, o adminapi.UpgradeOrder) (client.Rollout, error) {
	r, err := u.n.rollouts.Begin(ctx, rollout.Order{
		By: o.By.Actor(), RequestID: o.By.RequestID, Body: o.Body, Health: o.Health, Hold: o.Hold, DryRun: o.DryRun,
	}, u.n.blobs)
	if err != nil {
		return client.Rollout{}, err
	}
	return *membership.RolloutView(r, u.n.state.Catalog()), nil
}

// Rollback implements adminapi.Upgrader.
func (u upgrader) Rollback(ctx context.Context, by records.Caller, reason string) error {
	return u.n.rollouts.Revert(ctx, by.Actor(), by.RequestID, reason)
}

// upgrader is nil where the process cannot change its program.
func (n *Node) upgrader() adminapi.Upgrader {
	if n.rollouts == nil {
		return nil
	}
	return upgrader{n}
}
