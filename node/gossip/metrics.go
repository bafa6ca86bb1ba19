package gossip

import "github.com/prometheus/client_golang/prometheus"

// metrics count what the gossip does.
type metrics struct {
	alive      prometheus.Gauge
	sent       prometheus.Counter
	received   prometheus.Counter
	dropped    prometheus.Counter
	refused    prometheus.Counter
	unreadable prometheus.Counter
}

func newMetrics(r prometheus.Registerer) *metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Namespace: "conclave", Subsystem: "gossip", Name: name, Help: help})
	}
	m := &metrics{
		alive: prometheus.NewGauge(prometheus.GaugeOpts{
			Namespace: "conclave", Subsystem: "gossip", Name: "alive_nodes",
			Help: "Nodes that this one holds alive, itself among them.",
		}),
		sent:       counter("frames_sent_total", "Frames sent to other nodes."),
		received:   counter("frames_received_total", "Frames of other nodes that were news."),
		dropped:    counter("frames_dropped_total", "Frames dropped because too many were waiting."),
		refused:    counter("payloads_refused_total", "Payloads of this node that were too large to send."),
		unreadable: counter("frames_unreadable_total", "Frames that could not be read."),
	}
	if r != nil {
		r.MustRegister(m.alive, m.sent, m.received, m.dropped, m.refused, m.unreadable)
	}
	return m
}
