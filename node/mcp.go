package node

import (
	"net/http"

	"github.com/conclave-llm/conclave/proxy"
	"github.com/conclave-llm/conclave/proxy/mcp"
	"github.com/conclave-llm/conclave/proxy/upstream"
)

// startMCP makes the gateway to MCP servers and mounts it. Its connections are dropped when
// the servers' records change.
func (n *Node) startMCP(mux *http.ServeMux) (err error) {
	n.mcp, err = mcp.New(mcp.Config{
		NodeID: n.cfg.Name, Version: n.cfg.Version, Catalog: n.state.Catalog, Auth: n.auth, Serving: n.serving, Customers: n.state,
		Limits: n.limits, Budgets: n.budgets, Guards: n.plugins.Guardrails(), Journal: n.journal, Secrets: opener{n.keys},
		Keep: func(s mcp.Said) {
			n.keepContent(proxy.Said{RequestID: s.RequestID, Time: s.Time, Who: s.Who, Customer: s.Customer, Tags: s.Tags, Request: s.Request, Response: s.Response})
		},
		Dial: upstream.Dialer(upstream.DefaultDialTimeout, nil), WorkDir: n.workDir(), Logger: n.log, Registerer: n.registry,
	})
	if err != nil {
		return err
	}
	n.mcp.Mount(mux)
	n.wg.Go(func() {
		for {
			select {
			case <-n.ctx.Done():
				return
			case <-n.servers:
				n.mcp.Sync()
			}
		}
	})
	return nil
}
