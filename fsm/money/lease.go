package money

import "github.com/conclave-llm/conclave/resource"

// Lease is what a node holds of one window of one account, as of the applied index.
// Its balance is Granted less what the node knows to have consumed.
type Lease struct {
	Account   resource.AccountID
	Window    resource.Window
	Epoch     uint64         // of the node; leases of another epoch are void
	Granted   resource.Money // cumulative, net of releases
	Settled   resource.Money // cumulative, of the node in this epoch, as ticks reported it
	Limit     resource.Money
	Overdraft resource.Money // that the node may still use; 0 while an old epoch of it is not closed
	Beyond    resource.Money // what its earlier epochs have, or may have, spent beyond their leases
	Headroom  resource.Money // of the whole window: limit - settled - presumed - outstanding
	Recall    bool           // headroom has ended and somebody wants: release what is idle
	Raise     resource.Money // part of the limit, and of what came of it, that ends
	Until     resource.Time  // when; 0: there is none
	Lapsed    resource.Money // part of Granted that has ended: release it
}

// Lease tells what a node holds of the window of the account with the id that starts at
// start.
func (a *Account) Lease(id resource.AccountID, start resource.Time, n *Node, nodes Nodes) Lease {
	beyond := a.beyond(n)
	l := Lease{
		Account: id, Window: resource.Window{Start: start, End: a.End}, Epoch: n.Epoch,
		Limit: a.Limit, Overdraft: max(0, a.Overdraft-min(beyond, a.Overdraft)), Beyond: beyond, Headroom: a.Headroom(nodes), Recall: a.Recall,
		Raise: a.Raise, Until: a.Until,
	}
	for _, h := range a.Holds {
		if h.Node == n.Ordinal && h.Epoch == n.Epoch && !n.Removed {
			l.Granted, l.Settled, l.Lapsed = h.Granted, h.Consumed, h.Lapsed
		}
	}
	return l
}
