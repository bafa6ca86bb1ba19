package ledger

import "github.com/prometheus/client_golang/prometheus"

// metrics are what the journal and the ticker count.
type metrics struct {
	sync   prometheus.Histogram
	failed prometheus.Gauge

	dropped prometheus.Counter
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
	}
	if reg != nil {
		reg.MustRegister(m.sync, m.failed, m.dropped,
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
