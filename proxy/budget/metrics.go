package budget

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/conclave-llm/conclave/resource"
)

// metrics are what the budgets count.
type metrics struct {
	refused  *prometheus.CounterVec // by reason
	waited   prometheus.Histogram
	overruns prometheus.Counter
	overrun  prometheus.Counter // dollars
}

// newMetrics registers with reg unless that is nil.
func newMetrics(reg prometheus.Registerer, b *Budgets) metrics {
	m := metrics{
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "conclave_budget_refusals_total", Help: "Requests refused for their budget, by reason.",
		}, []string{"reason"}),
		waited: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "conclave_budget_wait_seconds", Help: "Time that requests waited for a grant which came.",
			Buckets: prometheus.ExponentialBuckets(0.002, 2, 8),
		}),
		overruns: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "conclave_budget_overruns_total", Help: "Requests that cost more than their hold.",
		}),
		overrun: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "conclave_budget_overrun_dollars_total", Help: "What requests cost beyond their holds; the third term of the bound.",
		}),
	}
	if reg != nil {
		reg.MustRegister(m.refused, m.waited, m.overruns, m.overrun,
			prometheus.NewGaugeFunc(prometheus.GaugeOpts{
				Name: "conclave_budget_lease_dollars", Help: "Balance of this node's leases that were used of late.",
			}, func() float64 { lease, _ := b.standing(); return dollars(lease) }),
			prometheus.NewGaugeFunc(prometheus.GaugeOpts{
				Name: "conclave_budget_overdraft_dollars", Help: "What this node has spent or holds beyond its leases; the second term of the bound.",
			}, func() float64 { _, over := b.standing(); return dollars(over) }),
		)
	}
	return m
}

// standing sums up the balances of the windows in dollars of the active accounts, those above and those
// below zero.
func (b *Budgets) standing() (lease, over resource.Money) {
	b.activeMu.Lock()
	defer b.activeMu.Unlock()
	for _, a := range b.active {
		a.mu.Lock()
		for _, w := range a.windows {
			if a.terms.Unit() != resource.UnitUSD {
				continue
			}
			if left := w.balance(); left > 0 {
				lease += left
			} else {
				over -= left
			}
		}
		a.mu.Unlock()
	}
	return lease, over
}

func dollars(m resource.Money) float64 { return float64(m) / float64(resource.Dollar) }
