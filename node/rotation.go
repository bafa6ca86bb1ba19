package node

import (
	"net/http"
	"time"

	"github.com/conclave-llm/conclave/adminapi/rotation"
	"github.com/conclave-llm/conclave/resource"
)

// startRotation begins to rotate the secrets that are due, while this node leads.
func (n *Node) startRotation() {
	n.rotation = rotation.New(rotation.Config{
		NodeID: n.identity.NodeID, Store: n.consensus, State: n.state, Seal: n.seal, Open: n.unseal,
		Look: n.cfg.Rotation.Look, HTTP: n.rotationHTTP(), Now: n.cfg.Rotation.Now, Logger: n.log, Registerer: n.registry,
	})
	n.wg.Go(func() { n.rotation.Run(n.ctx, n.consensus.IsLeader) })
}

// rotationHTTP brings secrets to webhooks. It follows no redirect: a secret goes nowhere else.
func (n *Node) rotationHTTP() *http.Client {
	if n.cfg.Rotation.HTTP != nil {
		return n.cfg.Rotation.HTTP
	}
	c := n.egress.Client(10 * time.Second)
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return c
}

// unseal opens what seal has made.
func (n *Node) unseal(s *resource.Sealed, kind, id, field string) (string, error) {
	text, err := n.keys.Open(s, kind, id, field)
	return text.Reveal(), err
}
