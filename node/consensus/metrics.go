package consensus

import "github.com/prometheus/client_golang/prometheus"

// metrics of the consensus.
type metrics struct {
	proposals *prometheus.CounterVec // by outcome
	retries   prometheus.Counter
	forwards  prometheus.Counter
}

// newMetrics makes the metrics and registers them, and gauges that look at n, unless r is nil.
func newMetrics(r prometheus.Registerer, n *Node) *metrics {
	m := &metrics{
		proposals: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "conclave_raft_proposals_total",
			Help: "Commands proposed on this node, by outcome: ok, refused, no_leader.",
		}, []string{"outcome"}),
		retries: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "conclave_raft_retries_total",
			Help: "Further tries of a command whose outcome was unknown or that found no leader.",
		}),
		forwards: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "conclave_raft_forwards_total",
			Help: "Commands sent on to the leader.",
		}),
	}
	if r == nil {
		return m
	}
	gauge := func(name, help string, f func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, f)
	}
	r.MustRegister(m.proposals, m.retries, m.forwards,
		gauge("conclave_raft_leader", "1 if this node is the leader.", func() float64 { return oneIf(n.IsLeader()) }),
		gauge("conclave_raft_stalled", "1 if the disk or the state machine of this node hangs.", func() float64 { return oneIf(n.gate.stalled()) }),
		gauge("conclave_raft_term", "Raft's term.", func() float64 { return float64(n.raft.CurrentTerm()) }),
		gauge("conclave_raft_commit_index", "Newest committed entry.", func() float64 { return float64(n.raft.CommitIndex()) }),
		gauge("conclave_raft_applied_index", "Newest entry that the state machine has applied.", func() float64 { return float64(n.fsm.Applied()) }),
		gauge("conclave_raft_last_index", "Newest entry of the log.", func() float64 { return float64(n.raft.LastIndex()) }),
	)
	return m
}

// oneIf is 1 for true.
func oneIf(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
