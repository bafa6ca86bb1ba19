package node

import (
	"context"
	"errors"
	"fmt"

	"github.com/conclave-llm/conclave/adminapi/records"
	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/internal/clock"
	"github.com/conclave-llm/conclave/node/probe"
	"github.com/conclave-llm/conclave/proxy"
	"github.com/conclave-llm/conclave/resource"
)

// systemBudget is what the gateway's own requests may cost a day, until an admin says otherwise.
const systemBudget = resource.Dollar

// startPaidProbes makes the node's part of the health checks by requests, of deployments that want them.
// A leader that has lost its cluster asks nothing, though it does not know yet that it leads no more.
func (n *Node) startPaidProbes() {
	paid := probe.Paid()
	n.paidProbes = probe.New(probe.Config{
		Kind: &paid, NodeID: n.identity.NodeID, Catalog: n.state.Catalog,
		Leads:  func() bool { return n.consensus.IsLeader() && n.fresh.Fresh() },
		Ask:    n.askDeployment,
		Logger: n.log, Registerer: n.registry,
	})
}

// askDeployment asks a deployment by a request to its model, which costs money.
func (n *Node) askDeployment(ctx context.Context, d *resource.Deployment) error {
	if err := n.foundSystemTeam(ctx); err != nil {
		return fmt.Errorf("%w: %w", probe.ErrSkipped, err)
	}
	err := n.data.CheckHealth(ctx, d)
	if errors.Is(err, proxy.ErrNotAsked) {
		return fmt.Errorf("%w: %w", probe.ErrSkipped, err)
	}
	return err
}

// foundSystemTeam creates the team of the gateway's own requests, with a budget, if there never was one.
func (n *Node) foundSystemTeam(ctx context.Context) error {
	if _, ok := n.state.Catalog().Team(resource.SystemTeamID); ok {
		return nil
	}
	now, by := clock.Now(), "node/"+n.identity.NodeID
	t := &resource.Team{
		Meta: resource.Meta{
			ID: resource.SystemTeamID, Owner: resource.OwnerAPI, CreatedAt: resource.At(now), CreatedBy: by, UpdatedAt: resource.At(now), UpdatedBy: by,
		},
		Name:   resource.SystemTeamID,
		Policy: resource.Policy{Allowance: resource.Allowance{Budgets: []resource.Terms{{USD: systemBudget, Per: resource.PerDay}}}},
	}
	t.Canonicalize()
	cmd, err := records.FoundTeam(t, now)
	if err != nil {
		return err
	}
	_, err = n.consensus.Propose(ctx, fsm.Actor{Kind: "node", ID: n.identity.NodeID}, "", cmd)
	if errors.Is(err, resource.ErrDead) {
		return fmt.Errorf("the team %s was deleted", resource.SystemTeamID)
	}
	return err
}

// verdicts are the newest about a deployment, of all kinds of checks: first the one that counts, which is
// the one that says what is wrong.
func (n *Node) verdicts(d *resource.Deployment) []check {
	var all []check
	if v, ok := n.paidProbes.Of(d); ok && d.HealthCheckModel != "" {
		all = append(all, check{v, checkedByRequest})
	}
	if v, ok := n.probes.Of(d); ok {
		all = append(all, check{v, checkedBackground})
	}
	if len(all) == 2 && all[0].Result.Healthy() && !all[1].Result.Healthy() {
		all[0], all[1] = all[1], all[0]
	}
	return all
}

// check is a verdict, and what found it.
type check struct {
	probe.Verdict
	by string
}

// What finds verdicts, by the settings' names.
const (
	checkedBackground = "background_health_checks"
	checkedByRequest  = "health_check_model"
)

// checks are all verdicts about a deployment that this node has heard.
func (n *Node) checks(d *resource.Deployment) []check {
	var all []check
	for _, v := range n.probes.History(d) {
		all = append(all, check{v, checkedBackground})
	}
	if d.HealthCheckModel == "" {
		return all
	}
	for _, v := range n.paidProbes.History(d) {
		all = append(all, check{v, checkedByRequest})
	}
	return all
}
