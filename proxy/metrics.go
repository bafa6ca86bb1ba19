package proxy

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/proxy/reply"
)

// metrics are what the data path counts. Labels are bounded: routes and statuses.
type metrics struct {
	requests  *prometheus.CounterVec
	seconds   *prometheus.HistogramVec
	overhead  prometheus.Histogram
	inFlight  prometheus.Gauge
	attempts  prometheus.Counter
	unsettled prometheus.Counter
}

// newMetrics makes the metrics and registers them, if there is somewhere to.
func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "conclave_requests_total", Help: "Requests for inference that have ended, by route and status.",
		}, []string{"route", "status"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "conclave_request_seconds", Help: "Time from a request's arrival to its end.",
			Buckets: prometheus.ExponentialBuckets(0.001, 4, 10),
		}, []string{"route"}),
		overhead: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "conclave_request_overhead_seconds", Help: "Time that a request spent in the gateway before an upstream was asked.",
			Buckets: prometheus.ExponentialBuckets(0.00002, 2.5, 12),
		}),
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "conclave_requests_in_flight", Help: "Requests that are being served.",
		}),
		attempts: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "conclave_upstream_attempts_total", Help: "Attempts at deployments.",
		}),
		unsettled: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "conclave_unsettled_total", Help: "Requests whose settlement the journal refused.",
		}),
	}
	if reg == nil {
		return m, nil
	}
	var err error
	for _, c := range []prometheus.Collector{m.requests, m.seconds, m.overhead, m.inFlight, m.attempts, m.unsettled} {
		err = errors.Join(err, reg.Register(c))
	}
	return m, err
}

// bind looks up what every request of the route counts in.
func (m *metrics) bind(r *Route) {
	r.ok = m.requests.WithLabelValues(r.name, strconv.Itoa(http.StatusOK))
	r.seconds = m.seconds.WithLabelValues(r.name)
}

// observe counts a request that has ended, and writes its line.
func (s *Server) observe(c *Call, e *llm.Error) {
	status := c.result.status
	if e != nil && !c.result.begun {
		status = e.HTTPStatus()
	}
	now := s.now()
	took := now.Sub(c.started)
	if status == http.StatusOK {
		c.route.ok.Inc()
	} else {
		s.metrics.requests.WithLabelValues(c.route.name, strconv.Itoa(status)).Inc()
	}
	c.route.seconds.Observe(took.Seconds())
	if c.result.attempts > 0 {
		s.metrics.attempts.Add(float64(c.result.attempts))
		s.metrics.overhead.Observe(c.result.dialled.Sub(c.started).Seconds())
	}
	level := slog.LevelDebug // the journal holds what was served
	if e != nil || c.unasked != nil {
		level = slog.LevelInfo
	}
	if s.log.Enabled(context.Background(), level) {
		s.logLine(c, e, level, status, now)
	}
}

// logLine writes the one line of a request. It holds no prompt, answer, key or header. It goes
// to the handler without the logger, which would look up the caller each time.
func (s *Server) logLine(c *Call, e *llm.Error, level slog.Level, status int, now time.Time) {
	var room [15]slog.Attr
	attrs := append(room[:0],
		slog.String("request_id", c.id), slog.String("route", c.route.name), slog.Int("status", status),
		slog.Int64("micros", now.Sub(c.started).Microseconds()), slog.String("model", c.modelName()), slog.Int("attempts", c.result.attempts),
		slog.Int64("tokens", c.result.usage.Total()), slog.String("cost", c.result.cost.String()),
	)
	if c.who != nil {
		attrs = append(attrs, slog.String("actor", c.who.Actor()))
	}
	if c.result.target.Deployment != nil {
		attrs = append(attrs, slog.String("deployment", c.result.target.Deployment.ID))
	}
	if c.prompt.Name != "" {
		attrs = append(attrs, slog.String("prompt", c.prompt.Name), slog.Int64("prompt_version", c.prompt.Version))
	}
	if e != nil {
		attrs = append(attrs, slog.String("code", reply.Recorded(e)))
		if e.Err != nil {
			attrs = append(attrs, slog.String("cause", e.Err.Error()))
		}
	}
	if c.unasked != nil {
		attrs = append(attrs, slog.String("guardrail_error", c.unasked.Error()))
	}
	r := slog.NewRecord(now, level, "request", 0)
	r.AddAttrs(attrs...)
	_ = s.log.Handler().Handle(context.Background(), r) // there is nobody to tell, as in slog.Logger
}
