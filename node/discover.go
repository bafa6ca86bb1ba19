package node

import (
	"context"
	"fmt"

	"github.com/conclave-llm/conclave/plugins"
	"github.com/conclave-llm/conclave/provider"
	"github.com/conclave-llm/conclave/proxy/router"
	"github.com/conclave-llm/conclave/proxy/upstream"
	"github.com/conclave-llm/conclave/proxy/view"
	"github.com/conclave-llm/conclave/resource"
)

// models asks a provider which models it has, for the admin API. The requests go the way of those
// of a deployment with the credential.
func (n *Node) models(ctx context.Context, name, base string, c *resource.Credential) ([]string, error) {
	asked := &resource.Deployment{Provider: name, APIBase: base}
	if c != nil {
		asked.CredentialID = c.ID
	}
	if asked.PluginName() != "" {
		return n.pluginModels(ctx, asked)
	}
	seen := view.Cache{Secrets: n.opener(), Egress: n.egress}
	d := seen.Of(n.state.Catalog()).Deployment(&router.Target{Model: &resource.Model{}, Deployment: asked, Credential: c})
	if d.Err != nil {
		return nil, d.Err
	}
	return n.upstream.Models(ctx, &upstream.Attempt{Provider: d.Provider, Base: d.Base, Account: d.Account, Link: d.Link})
}

// pluginModels has a process of the plugin say which models it has, one that was configured as for the deployment and
// ends then: which models there are may depend on the credential, and no deployment need be there yet.
func (n *Node) pluginModels(ctx context.Context, d *resource.Deployment) ([]string, error) {
	cat := n.state.Catalog()
	s := plugins.ProviderSpec(cat, d, shipped)
	o := n.opener()
	config, err := configOf(cat, d, o)
	if err == nil {
		s.Config, err = resolveConfig(config, o.resolve)
	}
	if err != nil {
		return nil, &resource.Invalid{Field: "credential", Reason: "cannot be used: " + err.Error()}
	}
	says, err := n.plugins.Describe(ctx, s)
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case err != nil:
		return nil, &resource.Invalid{Field: "provider", Reason: "does not say which models it has: " + err.Error()}
	case len(says.Models) == 0:
		return nil, fmt.Errorf("provider %s: %w", d.Provider, provider.ErrNoList)
	}
	return says.Models, nil
}
