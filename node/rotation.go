package node

import (
	"github.com/conclave-llm/conclave/adminapi/rotation"
	"github.com/conclave-llm/conclave/resource"
)

// startRotation begins to rotate the secrets that are due, while this node leads.
func (n *Node) startRotation() {
	n.rotation = rotation.New(rotation.Config{
		NodeID: n.identity.NodeID, Store: n.consensus, State: n.state, Seal: n.seal, Open: n.unseal,
		Look: n.cfg.Rotation.Look, HTTP: n.cfg.Rotation.HTTP, Now: n.cfg.Rotation.Now, Logger: n.log, Registerer: n.registry,
	})
	n.wg.Go(func() { n.rotation.Run(n.ctx, n.consensus.IsLeader) })
}

// unseal opens what seal has made.
func (n *Node) unseal(s *resource.Sealed, kind, id, field string) (string, error) {
	text, err := n.keys.Open(s, kind, id, field)
	return text.Reveal(), err
}
