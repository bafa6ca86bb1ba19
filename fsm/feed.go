package fsm

import "github.com/conclave-llm/conclave/resource"

// Change tells the watcher what a committed batch changed.
type Change struct {
	Index  uint64
	Tables map[string]bool // kinds that changed: "key", "team", "model", …; "epoch": read Leases anew, for any may be void
	Leases []Lease         // of this node, in the state after the batch
}

// Lease is what this node holds of one window of one account, as of the applied index.
// Its balance is Granted less what the node knows to have consumed.
type Lease struct {
	Account   resource.AccountID
	Window    resource.Window
	Epoch     uint64         // of the node; leases of another epoch are void
	Granted   resource.Money // cumulative, net of releases
	Settled   resource.Money // cumulative, of this node in this epoch, as ticks reported it
	Limit     resource.Money
	Overdraft resource.Money // that this node may still use; 0 while an old epoch of it is not closed
	Headroom  resource.Money // of the whole window: limit - settled - presumed - outstanding
	Recall    bool           // headroom has ended and somebody wants: release what is idle
}

// Account is one window of one account as everybody sees it.
type Account struct {
	ID       resource.AccountID `json:"id"`
	Window   resource.Window    `json:"window"`
	Limit    resource.Money     `json:"limit"`
	Settled  resource.Money     `json:"settled"`
	Presumed resource.Money     `json:"presumed"`
	Granted  resource.Money     `json:"granted"` // outstanding on all nodes
}

// Totals are a fold of spend deltas.
type Totals struct {
	Cost       resource.Money `json:"cost"`
	Requests   int64          `json:"requests"`
	Failures   int64          `json:"failures"`
	Prompt     int64          `json:"prompt_tokens"`
	Completion int64          `json:"completion_tokens"`
}
