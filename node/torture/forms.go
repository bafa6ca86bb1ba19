package torture

import (
	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/ledger"
	"github.com/conclave-llm/conclave/ledger/tick"
	"github.com/conclave-llm/conclave/proxy/budget"
)

// Tick is the ledger's tick as the state machine's command has it.
func Tick(t tick.Tick) fsm.Tick {
	out := fsm.Tick{Node: t.Node, Epoch: t.Epoch, Seq: t.Seq, From: t.From, To: t.To, OldEpoch: t.OldEpoch, Settle: deltas(t.Settle), Release: deltas(t.Release)}
	for _, d := range t.Spend {
		out.Spend = append(out.Spend, fsm.SpendDelta(d))
	}
	for _, w := range t.Want {
		out.Want = append(out.Want, fsm.Want{
			OpenWindow: fsm.OpenWindow{Account: w.Account, Window: w.Window, Limit: w.Limit, Overdraft: w.Overdraft}, Amount: w.Amount, Need: w.Need,
		})
	}
	return out
}

func deltas(cs []ledger.AccountCharge) (out []fsm.AccountDelta) {
	for _, c := range cs {
		out = append(out, fsm.AccountDelta(c))
	}
	return out
}

// Leases are the state's leases as the budgets of a node read them.
func Leases(ls []fsm.Lease) (out []budget.Lease) {
	for _, l := range ls {
		out = append(out, Lease(l))
	}
	return out
}

// Lease is one of them.
func Lease(l fsm.Lease) budget.Lease {
	return budget.Lease{Account: l.Account, Window: l.Window, Epoch: l.Epoch, Granted: l.Granted, Settled: l.Settled, Limit: l.Limit, Overdraft: l.Overdraft, Beyond: l.Beyond, Headroom: l.Headroom, Recall: l.Recall, Raise: l.Raise, Until: l.Until, Lapsed: l.Lapsed}
}
