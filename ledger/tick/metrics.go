package tick

import "github.com/prometheus/client_golang/prometheus"

// metrics are what the ticker counts.
type metrics struct {
	ticks *prometheus.CounterVec // by outcome
	bared prometheus.Counter
}

// newMetrics registers with reg unless that is nil.
func newMetrics(reg prometheus.Registerer, t *Ticker) metrics {
	m := metrics{ticks: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "conclave_ledger_ticks_total", Help: "Ticks proposed, by what became of them.",
	}, []string{"outcome"}), bared: prometheus.NewCounter(prometheus.CounterOpts{
		Name: "conclave_ledger_bared_records_total", Help: "Records that the replicated state did not take as they are: their cost counts, without tags and foreign names.",
	})}
	if reg != nil {
		reg.MustRegister(m.ticks, m.bared, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "conclave_ledger_lag_records", Help: "Journal records that the replicated state does not have yet.",
		}, func() float64 { return float64(t.lag()) }))
	}
	return m
}
