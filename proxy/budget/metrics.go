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
func newMetrics(reg prometheus.Registerer) metrics {
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
		reg.MustRegister(m.refused, m.waited, m.overruns, m.overrun)
	}
	return m
}

func dollars(m resource.Money) float64 { return float64(m) / float64(resource.Dollar) }
