package ratelimit

import "github.com/prometheus/client_golang/prometheus"

// metrics are what the limiter counts.
type metrics struct {
	refused *prometheus.CounterVec // by dimension
	unowned prometheus.Counter
}

// newMetrics registers with reg unless that is nil.
func newMetrics(reg prometheus.Registerer) metrics {
	m := metrics{
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "conclave_ratelimit_refusals_total", Help: "Requests refused for a limit, by what it counts.",
		}, []string{"limit"}),
		unowned: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "conclave_ratelimit_owner_timeouts_total", Help: "Requests counted without the owner of their small limit, which did not answer.",
		}),
	}
	if reg != nil {
		reg.MustRegister(m.refused, m.unowned)
	}
	return m
}
