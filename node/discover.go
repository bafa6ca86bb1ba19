package node

import (
	"cmp"
	"context"

	"github.com/conclave-llm/conclave/provider"
	"github.com/conclave-llm/conclave/proxy/view"
	"github.com/conclave-llm/conclave/resource"
)

// models asks a provider which models it has, for the admin API. The requests go the way of
// those of clients.
func (n *Node) models(ctx context.Context, name, base string, c *resource.Credential) ([]string, error) {
	p, _ := provider.Lookup(name) // the caller has found it
	accounts := view.Cache{Secrets: opener{n.keys}}
	account, err := accounts.AccountOf(c)
	if err != nil {
		return nil, err
	}
	if c != nil {
		base = cmp.Or(base, c.APIBase)
	}
	return n.upstream.Models(ctx, p, base, account)
}
