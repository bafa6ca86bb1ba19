package requestlog

import "github.com/prometheus/client_golang/prometheus"

// metrics are what a Log tells about itself.
type metrics struct {
	taken    prometheus.Counter
	merged   prometheus.Counter
	sealed   prometheus.Counter
	removed  prometheus.Counter
	failures prometheus.Counter
}

func newMetrics(reg prometheus.Registerer, l *Log) metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Namespace: "conclave", Subsystem: "requestlog", Name: name, Help: help})
	}
	m := metrics{
		taken:    counter("records_total", "Journal records that the request log has taken."),
		merged:   counter("merged_total", "Refusals that were counted in a row like them."),
		sealed:   counter("sealed_rows_total", "Rows that were sealed into segments."),
		removed:  counter("removed_segments_total", "Segments that were removed for their age or size."),
		failures: counter("failures_total", "Failures to take, seal or remove."),
	}
	size := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Namespace: "conclave", Subsystem: "requestlog", Name: "segment_bytes", Help: "Size of all segments.",
	}, func() float64 { return float64(l.segmentBytes()) })
	if reg != nil {
		reg.MustRegister(m.taken, m.merged, m.sealed, m.removed, m.failures, size)
	}
	return m
}
