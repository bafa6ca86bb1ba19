package guardrail

import (
	"github.com/prometheus/client_golang/prometheus"
)

// Metrics count what guardrails do.
type Metrics struct {
	Checks  *prometheus.CounterVec   // by guardrail, hook and status
	Seconds *prometheus.HistogramVec // by guardrail and hook; of a stream: all its chunks
}

// NewMetrics makes the metrics and registers them; a nil registerer registers nothing.
func NewMetrics(r prometheus.Registerer) *Metrics {
	m := &Metrics{
		Checks: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "conclave_guardrail_checks_total",
			Help: "Checks of guardrails by outcome; not_run is a guardrail that could not be asked.",
		}, []string{"guardrail", "hook", "status"}),
		Seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "conclave_guardrail_seconds",
			Help:    "Time that guardrails add to a request.",
			Buckets: prometheus.ExponentialBuckets(50e-6, 4, 9),
		}, []string{"guardrail", "hook"}),
	}
	if r != nil {
		r.MustRegister(m.Checks, m.Seconds)
	}
	return m
}

// forget is Chain.Forget.
func (m *Metrics) forget(name string) {
	if m == nil {
		return
	}
	m.Checks.DeletePartialMatch(prometheus.Labels{"guardrail": name})
	m.Seconds.DeletePartialMatch(prometheus.Labels{"guardrail": name})
}

func (m *Metrics) observe(r Result) {
	if m == nil {
		return
	}
	m.Checks.WithLabelValues(r.Guardrail, string(r.Hook), string(r.Status)).Inc()
	m.Seconds.WithLabelValues(r.Guardrail, string(r.Hook)).Observe(r.Duration.Seconds())
}
