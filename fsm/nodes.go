package fsm

import (
	"github.com/conclave-llm/conclave/fsm/money"
	"github.com/conclave-llm/conclave/fsm/overlay"
	"github.com/conclave-llm/conclave/fsm/store"
)

// allNodes returns every node that ever was, by id, read once for each command.
func (tx *Tx) allNodes() money.Nodes {
	if tx.nodes != nil {
		return tx.nodes
	}
	tx.nodes = money.Nodes{}
	for _, k := range tx.scan(store.Nodes, nil) {
		f, _ := tx.get(store.Nodes, k)
		n, err := money.ParseNode(f.Payload)
		if err != nil {
			overlay.Fail(err)
		}
		tx.nodes[string(k)] = n
	}
	return tx.nodes
}

func (tx *Tx) node(id string) (*money.Node, bool) {
	n, ok := tx.allNodes()[id]
	return n, ok
}

func (tx *Tx) putNode(id string, n *money.Node) {
	tx.allNodes()[id] = n
	tx.put(store.Nodes, []byte(id), n.Encode())
}
