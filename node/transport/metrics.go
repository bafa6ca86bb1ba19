package transport

import "github.com/prometheus/client_golang/prometheus"

// metrics of the cluster port.
type metrics struct {
	connections *prometheus.GaugeVec
	refused     prometheus.Counter
}

// newMetrics makes the metrics and registers them with r, unless it is nil.
func newMetrics(r prometheus.Registerer) *metrics {
	m := &metrics{
		connections: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "conclave_cluster_connections",
			Help: "Open connections of the cluster port, both directions.",
		}, []string{"protocol"}),
		refused: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "conclave_cluster_refused_total",
			Help: "Connections to the cluster port that did not finish the handshake or were not allowed.",
		}),
	}
	if r != nil {
		r.MustRegister(m.connections, m.refused)
	}
	return m
}
