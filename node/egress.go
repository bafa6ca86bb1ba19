package node

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/conclave-llm/conclave/adminapi/client"
	"github.com/conclave-llm/conclave/egress"
	"github.com/conclave-llm/conclave/resource"
)

const (
	egressMethod  = "egress/report"
	egressTimeout = 3 * time.Second // for all nodes to answer
)

// startEgress opens the one way out of the node.
func (n *Node) startEgress(context.Context) (err error) {
	n.egress, err = egress.New(egress.Config{
		Proxy: n.cfg.Proxy, FromEnvironment: n.cfg.ProxyFromEnvironment, Sealed: n.cfg.Sealed,
		Catalog: n.catalog, Blobs: n.namedBlob, Logger: n.log, Registerer: n.registry, Beside: n.cfg.KeyServices, BesideName: "key service",
	})
	return err
}

// catalog is the newest one; an empty one before there is any.
func (n *Node) catalog() *resource.Catalog {
	if n.state == nil {
		return emptyCatalog
	}
	return n.state.Catalog()
}

var emptyCatalog = resource.NewCatalog(resource.Tables{})

// serveEgress answers another node's question.
func (n *Node) serveEgress(context.Context, string, []byte) ([]byte, error) {
	return json.Marshal(n.egress.Report())
}

// Egress implements adminapi.Cluster: what every node may dial, and what it did.
func (m members) Egress(ctx context.Context) []client.NodeEgress {
	ctx, cancel := context.WithTimeout(ctx, egressTimeout)
	defer cancel()
	living := m.n.living()
	out := make([]client.NodeEgress, len(living))
	var wg sync.WaitGroup
	for i, member := range living {
		wg.Go(func() {
			out[i] = client.NodeEgress{NodeID: member.ID, Node: member.Name}
			report, err := m.egressOf(ctx, member.ID)
			if err != nil {
				out[i].Error = err.Error()
				return
			}
			out[i].Report = report
		})
	}
	wg.Wait()
	return out
}

func (m members) egressOf(ctx context.Context, id string) (*client.EgressReport, error) {
	body, err := m.n.serveEgress(ctx, "", nil)
	if id != m.n.identity.NodeID {
		body, err = m.n.consensus.Call(ctx, id, egressMethod, nil)
	}
	if err != nil {
		return nil, err
	}
	var r client.EgressReport
	if err := json.Unmarshal(body, &r); err != nil {
		return nil, fmt.Errorf("read report of egress: %w", err)
	}
	return &r, nil
}
