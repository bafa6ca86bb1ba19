package node

import (
	"context"

	"github.com/conclave-llm/conclave/proxy/router"
	"github.com/conclave-llm/conclave/proxy/upstream"
	"github.com/conclave-llm/conclave/proxy/view"
	"github.com/conclave-llm/conclave/resource"
)

// models asks a provider which models it has, for the admin API. The requests go the way of those
// of a deployment with the credential.
func (n *Node) models(ctx context.Context, name, base string, c *resource.Credential) ([]string, error) {
	seen := view.Cache{Secrets: n.opener(), Egress: n.egress}
	d := seen.Of(n.state.Catalog()).Deployment(&router.Target{
		Model: &resource.Model{}, Deployment: &resource.Deployment{Provider: name, APIBase: base}, Credential: c,
	})
	if d.Err != nil {
		return nil, d.Err
	}
	return n.upstream.Models(ctx, &upstream.Attempt{Provider: d.Provider, Base: d.Base, Plugin: d.Plugin, Account: d.Account, Link: d.Link})
}
