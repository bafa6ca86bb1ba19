package ledger

import "github.com/prometheus/client_golang/prometheus"

// metrics are what the journal and the ticker count.
type metrics struct {
	sync   prometheus.Histogram
	failed prometheus.Gauge

	dropped prometheus.Counter

	spent, credited *prometheus.CounterVec // by provider, in nanodollars: whole numbers, which counters add exactly
}

// settled counts what a record cost. Its model, team and user are no labels: clients choose some of them.
func (m *metrics) settled(r *Record) {
	switch {
	case r.Cost > 0:
		m.spent.WithLabelValues(r.Provider).Add(float64(r.Cost))
	case r.Cost < 0:
		m.credited.WithLabelValues(r.Provider).Add(float64(-r.Cost))
	}
}

// newMetrics registers with reg unless that is nil.
func newMetrics(reg prometheus.Registerer, j *Journal) metrics {
	m := metrics{
		sync: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "conclave_journal_sync_seconds", Help: "Time of one sync of the journal.",
			Buckets: prometheus.ExponentialBuckets(0.0002, 2, 14),
		}),
		failed: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "conclave_journal_failed", Help: "1 if the journal's disk has failed.",
		}),
		dropped: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "conclave_journal_dropped_total", Help: "Finished requests that were removed before every reader had read them.",
		}),
		spent: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "conclave_spend_nanodollars_total", Help: "Cost of the records that this process has written, by provider of the deployment.",
		}, []string{"provider"}),
		credited: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "conclave_spend_credited_nanodollars_total", Help: "What adjustments have taken off costs that were recorded, by provider.",
		}, []string{"provider"}),
	}
	if reg != nil {
		reg.MustRegister(m.sync, m.failed, m.dropped, m.spent, m.credited,
			prometheus.NewCounterFunc(prometheus.CounterOpts{
				Name: "conclave_journal_records_total", Help: "Number of the newest record.",
			}, func() float64 { return float64(j.Last()) }),
			prometheus.NewGaugeFunc(prometheus.GaugeOpts{
				Name: "conclave_journal_unsynced_records", Help: "Records that a power cut would take.",
			}, func() float64 { return float64(j.Last() - min(j.Last(), j.Synced())) }),
			prometheus.NewGaugeFunc(prometheus.GaugeOpts{
				Name: "conclave_journal_open_reservations", Help: "Requests between their two records.",
			}, func() float64 { return float64(j.Open()) }),
			prometheus.NewGaugeFunc(prometheus.GaugeOpts{
				Name: "conclave_journal_holes", Help: "Damaged places found when the journal was opened.",
			}, func() float64 { return float64(j.Holes()) }),
		)
	}
	return m
}
