package ratelimit

import "github.com/prometheus/client_golang/prometheus"

// metrics are what the limiter counts.
type metrics struct {
	refused    *prometheus.CounterVec // by dimension
	questions  prometheus.Counter
	unanswered prometheus.Counter
	unkept     prometheus.Counter
}

// newMetrics registers with reg unless that is nil.
func newMetrics(reg prometheus.Registerer, handingOver func() float64) metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "conclave_ratelimit_" + name + "_total", Help: help})
	}
	m := metrics{
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "conclave_ratelimit_refusals_total", Help: "Requests refused for a limit, by what it counts.",
		}, []string{"limit"}),
		questions:  counter("questions", "Questions to other nodes for what they have left of a limit."),
		unanswered: counter("questions_unanswered", "Questions to other nodes that were not answered in time."),
		unkept:     counter("tape_errors", "Records of what was admitted that could not be written: a restart within the minute forgets them."),
	}
	if reg != nil {
		reg.MustRegister(m.refused, m.questions, m.unanswered, m.unkept, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "conclave_ratelimit_handover",
			Help: "1 while this node's part of a limit is the smallest it was among the members of the last minute, since not all others have confirmed to keep to theirs.",
		}, handingOver))
	}
	return m
}
