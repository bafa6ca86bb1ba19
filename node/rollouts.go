package node

import (
	"cmp"
	"context"
	"fmt"
	"runtime"
	"slices"

	"github.com/conclave-llm/conclave/adminapi"
	"github.com/conclave-llm/conclave/adminapi/client"
	"github.com/conclave-llm/conclave/adminapi/membership"
	"github.com/conclave-llm/conclave/adminapi/prices"
	"github.com/conclave-llm/conclave/adminapi/records"
	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/internal/clock"
	"github.com/conclave-llm/conclave/node/rollout"
	"github.com/conclave-llm/conclave/node/versions"
	"github.com/conclave-llm/conclave/plugins"
	"github.com/conclave-llm/conclave/resource"
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
		Plugins: rolloutPlugins{n},
		Swap:    n.askSwap, Changed: n.rolled, Boot: clock.Boot, Now: clock.Now, Logger: n.log,
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
func (u upgrader) Rollback(ctx context.Context, by records.Caller, reason string, how client.Run) error {
	if how == client.Check {
		return u.n.rollouts.MayRevert(u.n.state.FSMVersion())
	}
	return u.n.rollouts.Revert(ctx, by.Actor(), by.RequestID, reason)
}

// upgrader is nil where the process cannot change its program.
func (n *Node) upgrader() adminapi.Upgrader {
	if n.rollouts == nil {
		return nil
	}
	return upgrader{n}
}

// pluginNamed is the record of a plugin, nil if there is none.
func pluginNamed(cat *resource.Catalog, name string) *resource.Plugin {
	for _, p := range cat.Tables().Plugins {
		if p.Name == name {
			return p
		}
	}
	return nil
}

// rolloutPlugins are the cluster's plugins as rollouts see them.
type rolloutPlugins struct{ n *Node }

// Accept implements rollout.Plugins.
func (p rolloutPlugins) Accept(next *resource.Plugin) error {
	cat := p.n.state.Catalog()
	if err := cat.Settings().CheckTrust(next); err != nil {
		return err
	}
	if now := pluginNamed(cat, next.Name); now != nil && now.Owner == resource.OwnerFile {
		return fmt.Errorf("a file owns the record: apply a file without it first: %w", resource.ErrOwner)
	}
	return nil
}

// Running implements rollout.Plugins.
func (p rolloutPlugins) Running(ctx context.Context, names []string) error {
	cat := p.n.state.Catalog()
	for _, node := range pluginProcesses(p).Processes(ctx) {
		if node.Error != "" {
			return fmt.Errorf("node %s does not tell about its plugins: %s", node.Node, node.Error)
		}
		for i := range node.Processes {
			one := &node.Processes[i]
			if !slices.Contains(names, one.Plugin) {
				continue
			}
			m := pluginNamed(cat, one.Plugin).Bundle()
			if m == nil {
				continue // it has been deleted, or replaced by a path, since
			}
			if one.State != string(plugins.StateRunning) || one.Outdated || !slices.Contains(m.Digests(), one.Runs) {
				return fmt.Errorf("node %s: the %s %s does not run with version %s of the plugin %s: %s",
					node.Node, one.Kind, one.Name, m.Version, one.Plugin, cmp.Or(one.Error, one.State))
			}
		}
	}
	return nil
}
