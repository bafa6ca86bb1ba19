// Package meter tells how the state machine does, in metrics.
package meter

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/conclave-llm/conclave/fsm/money"
	"github.com/conclave-llm/conclave/resource"
)

// Metrics tell how the state machine does.
type Metrics struct {
	Apply         prometheus.Histogram   // seconds of one batch with its commit
	Refused       *prometheus.CounterVec // commands, by code
	Snapshot      prometheus.Histogram   // seconds of making and handing over one snapshot
	SnapshotBytes prometheus.Gauge       // of the newest
}

// New makes the metrics; nobody sees them before Register.
func New() *Metrics {
	return &Metrics{
		Apply: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "conclave_fsm_apply_seconds", Help: "Time of applying one batch of entries, with its commit.",
			Buckets: prometheus.ExponentialBuckets(0.0001, 2.5, 12), // 0.1 ms to 2.4 s
		}),
		Refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "conclave_fsm_refusals_total", Help: "Commands that were applied as refused, by code.",
		}, []string{"code"}),
		Snapshot: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "conclave_fsm_snapshot_seconds", Help: "Time of making one snapshot and handing it over.",
			Buckets: prometheus.ExponentialBuckets(0.01, 2.5, 10), // 10 ms to 38 s
		}),
		SnapshotBytes: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "conclave_fsm_snapshot_bytes", Help: "Size of the newest snapshot made here.",
		}),
	}
}

// Register registers the metrics, and gauges that look at the open state machine, unless r
// is nil.
func (m *Metrics) Register(r prometheus.Registerer, applied func() uint64, keys func() int, names func() money.Names) {
	if r == nil {
		return
	}
	gauge := func(name, help string, look func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, look)
	}
	r.MustRegister(m.Apply, m.Refused, m.Snapshot, m.SnapshotBytes,
		gauge("conclave_fsm_applied_index", "Index of the newest entry in the state.", func() float64 { return float64(applied()) }),
		gauge("conclave_fsm_keys", "Virtual keys in the state.", func() float64 { return float64(keys()) }),
		gauge("conclave_fsm_counted_customers", "End users without a record that have totals of their own.", func() float64 { return float64(names().Customers) }),
		gauge("conclave_fsm_counted_tags", "Tags without a record that have totals of their own.", func() float64 { return float64(names().Tags) }),
	)
}

// Count counts a command's outcome; err is its refusal.
func (m *Metrics) Count(err error) {
	if err != nil {
		m.Refused.WithLabelValues(resource.Code(err)).Inc()
	}
}
