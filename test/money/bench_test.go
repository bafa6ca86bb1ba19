package money_test

import (
	"context"
	"log/slog"
	"testing"

	"github.com/conclave-llm/conclave/ledger"
	"github.com/conclave-llm/conclave/proxy/budget"
	"github.com/conclave-llm/conclave/resource"
)

// BenchmarkPath is all that money adds to a request: the reservation in the budgets of six
// levels and in the journal, and their settlement.
func BenchmarkPath(b *testing.B) {
	for _, bb := range []struct {
		name   string
		levels []string
	}{
		{"no budget", nil},
		{"one level", []string{"key"}},
		{"six levels", []string{"organization", "team", "project", "user", "member", "key"}},
	} {
		b.Run(bb.name, func(b *testing.B) {
			j, err := ledger.OpenJournal(ledger.Config{Dir: b.TempDir(), NodeID: "n1", BootID: "run", Logger: slog.New(slog.DiscardHandler)})
			if err != nil {
				b.Fatal(err)
			}
			bs := budget.New(budget.Config{})
			bs.SetEpoch(1)
			var levels []resource.Level
			var leases []budget.Lease
			for _, kind := range bb.levels {
				a := &resource.Allowance{Budgets: []resource.Terms{{Name: "total", USD: resource.MaxMoney, Per: resource.PerTotal}}}
				levels = append(levels, resource.Level{Kind: kind, ID: "x", Allowance: a})
				leases = append(leases, budget.Lease{Account: resource.Account(kind, "x", "total"), Epoch: 1, Granted: resource.MaxMoney, Limit: resource.MaxMoney})
			}
			bs.Leases(1, leases)
			r := budget.Request{Catalog: resource.NewCatalog(resource.Tables{}), Levels: levels, Model: "demo", Most: budget.Amounts{Cost: 100, Tokens: 10}}
			b.ReportAllocs()
			for b.Loop() {
				h, err := bs.Reserve(context.Background(), r)
				if err != nil {
					b.Fatal(err)
				}
				n, err := j.Reserve(&ledger.Reservation{RequestID: "01234567-89ab-cdef", KeyID: "key_1", Model: "demo", Hold: 100, Holds: h.Holds()})
				if err != nil {
					b.Fatal(err)
				}
				rec := ledger.Record{RequestID: "01234567-89ab-cdef", KeyID: "key_1", Model: "demo", Status: 200, Cost: 1, Hold: 100, Charges: h.Settle(budget.Amounts{Cost: 1, Tokens: 2})}
				if err := j.Settle(n, &rec); err != nil {
					b.Fatal(err)
				}
				h.Release()
			}
			b.StopTimer()
			if err := j.Close(); err != nil {
				b.Fatal(err)
			}
		})
	}
}
