package node

import (
	"slices"

	"github.com/conclave-llm/conclave/ledger"
	"github.com/conclave-llm/conclave/ledger/reprice"
	"github.com/conclave-llm/conclave/ledger/requestlog"
	"github.com/conclave-llm/conclave/resource"
)

// startReprice lets the requests of all nodes be priced anew.
func (n *Node) startReprice() {
	n.repricer = reprice.New(reprice.Config{
		Log: n.rows, Journal: n.journal, NodeID: n.identity.NodeID, Adjust: n.adjustBudgets, Nodes: n.requestNodes, Call: n.consensus.Call,
	})
	n.consensus.Handle(reprice.Method, n.repricer.Serve)
}

// requestNodes are the members that have requests.
func (n *Node) requestNodes() (all []requestlog.Node) {
	for _, m := range n.living() {
		all = append(all, requestlog.Node{ID: m.ID, Name: m.Name})
	}
	return all
}

// adjustBudgets changes what budgets in dollars were charged.
func (n *Node) adjustBudgets(charges []ledger.AccountCharge) []ledger.AccountCharge {
	return n.budgets.Adjust(slices.DeleteFunc(charges, func(c ledger.AccountCharge) bool { return !n.inDollars(c) }))
}

func (n *Node) inDollars(c ledger.AccountCharge) bool {
	kind, id, _, ok := c.Account.Split()
	if !ok {
		return false
	}
	for _, a := range n.state.Accounts(kind + "/" + id) {
		if a.ID == c.Account && a.Window.Start == c.Start {
			return a.Unit == resource.UnitUSD
		}
	}
	return false
}
