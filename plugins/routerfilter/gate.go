package routerfilter

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/conclave-llm/conclave/plugins/session"
	"github.com/conclave-llm/conclave/resource"
)

// Gate asks router filters by the names of their records. It may be used concurrently.
type Gate struct {
	session.Pools[*Client]

	choices *prometheus.CounterVec
	seconds *prometheus.HistogramVec
}

// NewGate makes a Gate that knows no plugin; a nil registerer registers nothing.
func NewGate(r prometheus.Registerer) *Gate {
	g := &Gate{
		choices: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "conclave_router_filter_choices_total", Help: "Questions to router filters, by what came of them: chosen, none, error.",
		}, []string{"filter", "result"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "conclave_router_filter_seconds", Help: "Time that router filters add to a request.", Buckets: prometheus.ExponentialBuckets(50e-6, 4, 9),
		}, []string{"filter"}),
	}
	if r != nil {
		r.MustRegister(g.choices, g.seconds)
	}
	return g
}

// Forget says that there is no router filter of the name any more.
func (g *Gate) Forget(name string) {
	g.choices.DeletePartialMatch(prometheus.Labels{"filter": name})
	g.seconds.DeletePartialMatch(prometheus.Labels{"filter": name})
}

// Running says whether a process serves it.
func (g *Gate) Running(name string) bool {
	p := g.Of(name)
	return p != nil && p.Running()
}

// Filter asks the filter of the record about a request. An error says that it could not be asked, or
// that its answer makes no sense.
func (g *Gate) Filter(ctx context.Context, f *resource.RouterFilter, r *Route) (chosen []int, err error) {
	began := time.Now()
	within, cancel := context.WithTimeout(ctx, time.Duration(f.DeadlineMS)*time.Millisecond)
	defer cancel()
	err = session.ErrNotRunning
	if p := g.Of(f.Name); p != nil {
		err = p.Each(func(c *Client) (err error) {
			chosen, err = c.Filter(within, r)
			return err
		})
	}
	g.seconds.WithLabelValues(f.Name).Observe(time.Since(began).Seconds())
	switch {
	case err != nil:
		g.choices.WithLabelValues(f.Name, "error").Inc()
		if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
			err = fmt.Errorf("no answer within %d ms", f.DeadlineMS)
		}
		return nil, fmt.Errorf("router filter %s: %w", f.Name, err)
	case len(chosen) == 0:
		g.choices.WithLabelValues(f.Name, "none").Inc()
	default:
		g.choices.WithLabelValues(f.Name, "chosen").Inc()
	}
	return chosen, nil
}
