package capture

import (
	"context"
	"errors"
	"math"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/resource"
)

const (
	lookEvery  = 15 * time.Second
	checkAt    = 75 * time.Minute // into the day, in UTC, when a check is due: bills lag behind
	retryAfter = 15 * time.Minute // after a check that found no rate for want of something
)

// Outcome is what came of a daily check.
type Outcome string

// The outcomes.
const (
	OK         Outcome = "ok"
	Low        Outcome = "low"        // the rate is under the threshold
	Unbilled   Outcome = "unbilled"   // the provider bills nothing, so that there is no rate
	Incomplete Outcome = "incomplete" // it would be low, and nodes gave no answer that may have recorded the rest
	Failed     Outcome = "failed"     // the bill cannot be read, or there is no key to read it
)

// Result is what came of the last daily check of a provider.
type Result struct {
	Provider string
	At       time.Time
	Outcome  Outcome
	Answer   *Answer // nil for Incomplete and Failed
	Error    string
}

// Run compares daily what the setting spend_capture_rate_check names, as long as this node leads, until ctx
// ends. look says when to see whether a check is due; nil: every fifteen seconds.
func (c *Checker) Run(ctx context.Context, look <-chan time.Time, leads func() bool) {
	if look == nil {
		t := time.NewTicker(lookEvery)
		defer t.Stop()
		look = t.C
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-look:
		}
		conf := c.cfg.Catalog().Settings().CaptureCheck
		if conf == nil || !leads() {
			c.rest()
			continue
		}
		if c.due(conf) {
			c.checkAll(ctx, conf)
		}
	}
}

// Last is what came of the last daily check, by provider; none if this node has made none since it leads.
func (c *Checker) Last() []Result {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.last)
}

// rest forgets what only the leader knows: another one checks for himself.
func (c *Checker) rest() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.conf, c.last = nil, nil
	c.rate.Reset()
}

// due says whether the next check is: one a day, sooner if the last found nothing or another is asked for.
func (c *Checker) due(conf *resource.CaptureCheck) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.last) == 0 || !reflect.DeepEqual(conf, c.conf) {
		return true
	}
	now := c.cfg.Now()
	slot := midnight(now).Add(checkAt)
	if slot.After(now) {
		slot = slot.AddDate(0, 0, -1)
	}
	return slices.ContainsFunc(c.last, func(r Result) bool {
		again := r.Outcome == Failed || r.Outcome == Incomplete
		return r.At.Before(slot) || again && now.Sub(r.At) >= retryAfter
	})
}

func midnight(t time.Time) time.Time { return t.UTC().Truncate(24 * time.Hour) }

// checkAll compares the bills of the setting's providers over its days.
func (c *Checker) checkAll(ctx context.Context, conf *resource.CaptureCheck) {
	all := make([]Result, 0, len(conf.Providers))
	today := midnight(c.cfg.Now())
	for _, provider := range conf.Providers {
		r := c.checkOne(ctx, Question{
			Provider: provider, First: today.AddDate(0, 0, -conf.Days), Last: today.AddDate(0, 0, -1), Threshold: conf.Threshold, Projects: conf.Projects,
		})
		if ctx.Err() != nil {
			return
		}
		all = append(all, r)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.conf, c.last = conf, all
	c.rate.Reset()
	for _, r := range all {
		rate := math.NaN()
		if r.Answer != nil && r.Answer.Rate != nil {
			rate = *r.Answer.Rate
		}
		c.rate.WithLabelValues(r.Provider).Set(rate)
		c.checks.WithLabelValues(r.Provider, string(r.Outcome)).Inc()
	}
}

func (c *Checker) checkOne(ctx context.Context, q Question) Result {
	r := Result{Provider: q.Provider, At: c.cfg.Now()}
	a, missing, err := c.Check(ctx, q)
	if _, ok := errors.AsType[*llm.Error](err); ok {
		r.Outcome, r.Error = Failed, err.Error()
	} else if err != nil {
		r.Outcome, r.Error = Incomplete, err.Error()
	} else if r.Outcome, r.Answer = outcomeOf(a), a; r.Outcome == Low && len(missing) > 0 {
		r.Outcome, r.Answer, r.Error = Incomplete, nil, "these nodes gave no answer: "+strings.Join(missing, ", ")
	}
	if r.Error != "" && ctx.Err() == nil {
		c.cfg.Logger.Warn("a provider's bill was not compared with what was recorded", "provider", q.Provider, "result", string(r.Outcome), "error", r.Error)
	}
	return r
}

func outcomeOf(a *Answer) Outcome {
	switch {
	case a.Rate == nil:
		return Unbilled
	case a.Below:
		return Low
	default:
		return OK
	}
}
