// Package capture compares what was recorded of a provider with what that bills for the same days: on demand,
// for LiteLLM's /spend/capture_rate, and once a day for the cluster, on the node that leads. It only reads;
// the comparison is that of package reconcile, which conclave ledger reconcile makes, too.
package capture

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/conclave-llm/conclave/egress"
	"github.com/conclave-llm/conclave/internal/clock"
	"github.com/conclave-llm/conclave/ledger/reconcile"
	"github.com/conclave-llm/conclave/ledger/rollup"
	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/resource"
	"github.com/conclave-llm/conclave/secret"
)

const (
	// KeyVariable names the variable that holds the admin key of an organization at OpenAI.
	KeyVariable = "OPENAI_ADMIN_KEY"

	openAI      = "openai"
	pageTimeout = 30 * time.Second // of one answer
	allTimeout  = time.Minute      // of a whole check
)

// recordedAs are the names under which what a provider bills is recorded.
var recordedAs = map[string][]string{openAI: {openAI, "text-completion-openai"}}

// Config says what a Checker works on. Catalog and Usage are required.
type Config struct {
	Catalog func() *resource.Catalog
	// Usage asks all nodes what was recorded, and names those that gave no answer.
	Usage func(ctx context.Context, q rollup.Query) ([]rollup.Line, []string, error)
	// Key is the value of KeyVariable, or says why there is none. Nil: there is none.
	Key func() (secret.Text, error)
	// HTTP reads bills. Nil: a client with a timeout of half a minute.
	HTTP       reconcile.Doer
	Now        func() time.Time      // default: clock.Now
	Logger     *slog.Logger          // default: discards
	Registerer prometheus.Registerer // nil: metrics go nowhere
}

// Checker compares bills with what was recorded. It may be used concurrently.
type Checker struct {
	cfg    Config
	rate   *prometheus.GaugeVec   // by provider
	checks *prometheus.CounterVec // by provider and outcome

	mu   sync.Mutex // guards what follows
	conf *resource.CaptureCheck
	last []Result
}

// New returns a Checker. Nothing is started; see Run.
func New(cfg Config) *Checker {
	if cfg.Key == nil {
		cfg.Key = func() (secret.Text, error) { return secret.Text{}, errors.New(KeyVariable + " is not set") }
	}
	if cfg.HTTP == nil {
		cfg.HTTP = egress.Direct(nil).Client(pageTimeout)
	}
	if cfg.Now == nil {
		cfg.Now = clock.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	c := &Checker{
		cfg: cfg,
		rate: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "conclave_spend_capture_rate",
			Help: "The part of a provider's bill that was recorded, over the days of the setting spend_capture_rate_check; NaN where the last check found none. Of the leader.",
		}, []string{"provider"}),
		checks: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "conclave_spend_capture_checks_total",
			Help: "Daily comparisons of a provider's bill with what was recorded, by this node, by what came of them: ok, low, unbilled, incomplete or failed.",
		}, []string{"provider", "result"}),
	}
	if cfg.Registerer != nil {
		cfg.Registerer.MustRegister(c.rate, c.checks)
	}
	return c
}

// Question is which bill is compared.
type Question struct {
	Provider    string
	First, Last time.Time // days in UTC, both included
	Threshold   float64   // under which a rate is low
	Projects    []string  // of OpenAI, whose costs count; empty: all
}

// Answer is what came of a comparison, with LiteLLM's names. Rates are null where nothing was billed.
type Answer struct {
	Provider  string         `json:"provider"`
	First     string         `json:"start_date"`
	Last      string         `json:"end_date"`
	Captured  resource.Money `json:"captured_spend"`
	Billed    resource.Money `json:"provider_spend"`
	Rate      *float64       `json:"capture_rate"`
	Threshold float64        `json:"threshold"`
	Below     bool           `json:"below_threshold"`
	Days      []Day          `json:"days"`
}

// Day is one day of an Answer.
type Day struct {
	Date     string         `json:"date"`
	Captured resource.Money `json:"captured_spend"`
	Billed   resource.Money `json:"provider_spend"`
	Rate     *float64       `json:"capture_rate"`
}

// Check compares now. It names the nodes whose records the answer lacks. Its errors are *llm.Error of the
// kind Unavailable without a key, and Upstream where the bill cannot be read.
func (c *Checker) Check(ctx context.Context, q Question) (*Answer, []string, error) {
	ctx, cancel := context.WithTimeout(ctx, allTimeout)
	defer cancel()
	key, err := c.cfg.Key()
	if err != nil {
		return nil, nil, &llm.Error{
			Kind: llm.Unavailable, Code: "admin_key_missing",
			Message: "the bill of " + q.Provider + " cannot be read without its admin key: " + err.Error(),
		}
	}
	bill, err := reconcile.FetchOpenAI(ctx, c.cfg.HTTP, reconcile.OpenAICosts{
		Base: c.base(), Key: key, First: q.First, Last: q.Last, Projects: q.Projects,
	})
	if err != nil {
		return nil, nil, &llm.Error{Kind: llm.Upstream, Code: "bill_unreadable", Message: err.Error()}
	}
	ours, missing, err := c.recorded(ctx, q)
	if err != nil {
		return nil, nil, err
	}
	return answer(q, bill.Days(ours, q.First, q.Last)), missing, nil
}

// base is where OpenAI's costs are read.
func (c *Checker) base() string {
	if conf := c.cfg.Catalog().Settings().CaptureCheck; conf != nil {
		return conf.APIBase
	}
	return resource.DefaultCaptureCheck().APIBase
}

// recorded is what the nodes recorded of the provider.
func (c *Checker) recorded(ctx context.Context, q Question) ([]reconcile.Entry, []string, error) {
	query := rollup.Query{
		From: q.First.Unix(), To: q.Last.AddDate(0, 0, 1).Unix(), Granularity: "day",
		Filter: []rollup.Condition{{Dim: rollup.Provider, Values: recordedAs[q.Provider]}},
	}
	if err := query.Fit(c.cfg.Now()); err != nil {
		return nil, nil, err
	}
	lines, missing, err := c.cfg.Usage(ctx, query)
	if err != nil {
		return nil, nil, err
	}
	ours := make([]reconcile.Entry, len(lines))
	for i := range lines {
		ours[i] = reconcile.Entry{Day: time.Unix(lines[i].Start, 0).UTC().Format(time.DateOnly), Cost: resource.Money(lines[i].Sums.Cost)}
	}
	return ours, missing, nil
}

func answer(q Question, days []reconcile.Day) *Answer {
	a := &Answer{
		Provider: q.Provider, First: q.First.Format(time.DateOnly), Last: q.Last.Format(time.DateOnly), Threshold: q.Threshold,
		Days: make([]Day, len(days)),
	}
	var all reconcile.Day
	for i := range days {
		d := &days[i]
		a.Days[i] = Day{d.Date, d.Ours, d.Billed, rateOf(d)}
		all.Ours += d.Ours
		all.Billed += d.Billed
	}
	a.Captured, a.Billed, a.Rate = all.Ours, all.Billed, rateOf(&all)
	a.Below = a.Rate != nil && *a.Rate < q.Threshold
	return a
}

func rateOf(d *reconcile.Day) *float64 {
	rate, ok := d.Rate()
	if !ok {
		return nil
	}
	return &rate
}
