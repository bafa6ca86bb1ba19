package node

import (
	"bytes"
	"context"
	"encoding/json"
	"slices"
	"time"

	"github.com/conclave-llm/conclave/adminapi/litellm/models"
	"github.com/conclave-llm/conclave/proxy"
	"github.com/conclave-llm/conclave/proxy/router"
	"github.com/conclave-llm/conclave/proxy/upstream"
	"github.com/conclave-llm/conclave/resource"
)

// trialTimeout bounds how long a trial of a deployment waits for its answer.
const trialTimeout = time.Minute

// tryDeployment asks a deployment, which need not be stored, as a health check by a request does: by the steps of
// every request, in a data path of its own that sees a catalog with this one deployment. Limits, budgets, journal
// and the way out are the node's; the numbers that requests are routed by are not.
func (n *Node) tryDeployment(ctx context.Context, d *resource.Deployment) (t models.Tried) {
	ctx, cancel := context.WithTimeout(ctx, trialTimeout)
	defer cancel()
	if t.Err = n.foundSystemTeam(ctx); t.Err != nil {
		return t
	}
	cat := trialCatalog(n.state.Catalog(), d)
	cfg := n.dataConfig
	cfg.Catalog = func() *resource.Catalog { return cat }
	cfg.Router = router.New(router.Config{NodeID: n.identity.NodeID})
	cfg.Upstream = tap{cfg.Upstream, &t}
	cfg.Turns, cfg.Artifacts, cfg.Registerer = nil, nil, nil
	s, err := proxy.New(cfg)
	if err == nil {
		err = s.CheckHealth(ctx, d)
	}
	t.Err = err
	return t
}

// trialCatalog is the catalog that a trial sees: of the cluster's, what decides about the gateway's own requests
// and how they are sent; and the deployment, as the only one of its model. What lasts past a trial, as the limits and
// budgets of a deployment do, a deployment that is not stored does not have.
func trialCatalog(cat *resource.Catalog, d *resource.Deployment) *resource.Catalog {
	all := cat.Tables()
	t := resource.Tables{
		Index: all.Index, Prices: all.Prices,
		Credentials: slices.Clone(all.Credentials), Budgets: slices.Clone(all.Budgets), AccessGroups: slices.Clone(all.AccessGroups),
		Settings: slices.Clone(all.Settings), Members: slices.Clone(all.Members),
	}
	if team, ok := cat.Team(resource.SystemTeamID); ok {
		t.Teams = []*resource.Team{team}
	}
	m, ok := cat.ModelByID(d.ModelID)
	if !ok {
		m = &resource.Model{Meta: resource.Meta{ID: d.ModelID}, Name: d.ModelID}
	}
	d.Allowance = resource.Allowance{}
	if stored, ok := cat.Deployment(d.ID); ok {
		d.Allowance = stored.Allowance
	}
	t.Models, t.Deployments = []*resource.Model{m}, []*resource.Deployment{d}
	return resource.NewCatalog(t)
}

// tap notes what is sent.
type tap struct {
	proxy.Upstream
	seen *models.Tried
}

// Do implements proxy.Upstream.
func (t tap) Do(ctx context.Context, a *upstream.Attempt) (proxy.Answer, error) {
	if url, h, err := upstream.Describe(a); err == nil {
		t.seen.URL, t.seen.Header = url, h
		if t.seen.Body = bytes.Clone(a.Body); !json.Valid(t.seen.Body) {
			t.seen.Body = nil
		}
	}
	return t.Upstream.Do(ctx, a)
}
