package consensus

import "github.com/prometheus/client_golang/prometheus"

// metrics of the consensus.
type metrics struct {
	n         *Node
	proposals *prometheus.CounterVec // by outcome
	retries   prometheus.Counter
	forwards  prometheus.Counter
	writes    prometheus.Histogram
}

// newMetrics makes the metrics of n.
func newMetrics(n *Node) *metrics {
	return &metrics{
		n: n,
		proposals: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "conclave_raft_proposals_total",
			Help: "Commands proposed on this node, by outcome: ok, refused, no_leader, overloaded.",
		}, []string{"outcome"}),
		retries: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "conclave_raft_retries_total",
			Help: "Further tries of a command whose outcome was unknown or that found no leader.",
		}),
		forwards: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "conclave_raft_forwards_total",
			Help: "Commands sent on to the leader.",
		}),
		writes: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "conclave_raft_write_seconds",
			Help:    "Synced writes of Raft's log, term and vote.",
			Buckets: prometheus.ExponentialBuckets(0.0001, 2.5, 12), // 0.1 ms to 2.4 s
		}),
	}
}

// register registers the metrics, and gauges that look at the node, unless r is nil. The
// node must be open.
func (m *metrics) register(r prometheus.Registerer) {
	if r == nil {
		return
	}
	n := m.n
	n.intake.Register(r)
	gauge := func(name, help string, f func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, f)
	}
	r.MustRegister(m.proposals, m.retries, m.forwards, m.writes,
		gauge("conclave_raft_leader", "1 if this node is the leader.", func() float64 { return oneIf(n.IsLeader()) }),
		gauge("conclave_raft_stalled", "1 if the disk or the state machine of this node hangs.", func() float64 { return oneIf(n.gate.Stalled()) }),
		gauge("conclave_state_mismatches", "On the leader: nodes whose state differs from its own at the same index. Anything but 0 is an alarm.", n.mismatches),
		gauge("conclave_clock_skew_seconds", "On the leader: how far the worst clock of a node is off the others'.", n.skew),
		gauge("conclave_raft_term", "Raft's term.", func() float64 { return float64(n.raft.CurrentTerm()) }),
		gauge("conclave_raft_commit_index", "Newest committed entry.", func() float64 { return float64(n.raft.CommitIndex()) }),
		gauge("conclave_raft_applied_index", "Newest entry that the state machine has applied.", func() float64 { return float64(n.fsm.Applied()) }),
		gauge("conclave_raft_last_index", "Newest entry of the log.", func() float64 { return float64(n.raft.LastIndex()) }),
	)
}

// skew is for the metric.
func (n *Node) skew() float64 {
	if !n.IsLeader() {
		return 0
	}
	return n.clocks.Worst().Seconds()
}

// mismatches is for the metric.
func (n *Node) mismatches() float64 {
	if !n.IsLeader() {
		return 0
	}
	return float64(n.hashes.count.Load())
}

// oneIf is 1 for true.
func oneIf(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
