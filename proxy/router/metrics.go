package router

import "github.com/prometheus/client_golang/prometheus"

// collector gives the numbers of the deployments to Prometheus as they are when it asks.
type collector struct {
	stats     *Stats
	inFlight  *prometheus.Desc
	others    *prometheus.Desc
	first     *prometheus.Desc
	speed     *prometheus.Desc
	errors    *prometheus.Desc
	coolsDown *prometheus.Desc
}

func newCollector(s *Stats) *collector {
	desc := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc("conclave_deployment_"+name, help, []string{"deployment"}, nil)
	}
	return &collector{
		stats:     s,
		inFlight:  desc("in_flight", "Requests in flight from this node."),
		others:    desc("in_flight_others", "Requests in flight from the other nodes, as last heard and faded."),
		first:     desc("first_token_seconds", "Average time to the first token."),
		speed:     desc("tokens_per_second", "Average speed of this node's answers."),
		errors:    desc("error_share", "Average share of this node's attempts that failed."),
		coolsDown: desc("cooldown_seconds", "Time left of the cooldown."),
	}
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.inFlight, c.others, c.first, c.speed, c.errors, c.coolsDown} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	for _, l := range c.stats.Loads() {
		for _, m := range []struct {
			desc *prometheus.Desc
			v    float64
		}{
			{c.inFlight, float64(l.InFlight)},
			{c.others, l.Others},
			{c.first, l.FirstToken.Seconds()},
			{c.speed, l.TokensPerSec},
			{c.errors, l.ErrorShare},
			{c.coolsDown, l.CoolsDown.Seconds()},
		} {
			ch <- prometheus.MustNewConstMetric(m.desc, prometheus.GaugeValue, m.v, l.DeploymentID)
		}
	}
}
