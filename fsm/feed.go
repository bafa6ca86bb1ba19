package fsm

import (
	"github.com/conclave-llm/conclave/fsm/memory"
	"github.com/conclave-llm/conclave/fsm/money"
	"github.com/conclave-llm/conclave/fsm/served"
	"github.com/conclave-llm/conclave/resource"
)

// Change tells the watcher what a committed batch changed.
type Change struct {
	Index  uint64
	Tables map[string]bool // kinds that changed: "key", "team", "model", …; "epoch": read Leases anew, for any may be void
	Leases []Lease         // of this node, in the state after the batch
	Soft   []SoftLimit     // that were passed

	Generation uint64 // of the state after the batch: a higher one says that a person has restored a backup
}

// SoftLimit tells that what was settled in a window has passed its soft limit, which it does
// once. Amounts are in the budget's unit.
type SoftLimit struct {
	Account resource.AccountID
	Window  resource.Window
	Unit    resource.Unit
	Soft    resource.Money
	Limit   resource.Money
	Settled resource.Money
}

// Lease is what this node holds of one window of one account, as of the applied index.
type Lease = money.Lease

// SpendDelta is the sum of some journal records that agree in all its names.
type SpendDelta = money.SpendDelta

// Totals are a fold of spend deltas.
type Totals = money.Totals

// Account is one window of one account as everybody sees it.
type Account = served.Account

// ListQuery selects records. Zero fields select all.
type ListQuery = memory.Query

// NodeState is what the state knows of a node's journal and ticks.
type NodeState = served.NodeState

// OldEpoch is an epoch of a process that is gone, whose holdings are presumed spent.
type OldEpoch = served.OldEpoch

// EpochHold is what an old epoch of a node left presumed spent of one window.
type EpochHold = served.EpochHold
