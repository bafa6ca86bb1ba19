package tick

import "github.com/prometheus/client_golang/prometheus"

// metrics are what the ticker counts.
type metrics struct {
	ticks *prometheus.CounterVec // by outcome
}

// newMetrics registers with reg unless that is nil.
func newMetrics(reg prometheus.Registerer, t *Ticker) metrics {
	m := metrics{ticks: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "conclave_ledger_ticks_total", Help: "Ticks proposed, by what became of them.",
	}, []string{"outcome"})}
	if reg != nil {
		reg.MustRegister(m.ticks, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "conclave_ledger_lag_records", Help: "Journal records that the replicated state does not have yet.",
		}, func() float64 { return float64(t.lag()) }))
	}
	return m
}
