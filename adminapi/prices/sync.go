package prices

import (
	"context"
	"errors"
	"time"

	"github.com/conclave-llm/conclave/adminapi/client"
	"github.com/conclave-llm/conclave/adminapi/records"
	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/pricing"
	"github.com/conclave-llm/conclave/resource"
)

const (
	lookEvery  = 15 * time.Second // how often Run looks whether a download is due
	retryAfter = 15 * time.Minute // after one that failed, or earlier if more are asked for
)

// errNoURL says that there is nothing to download.
var errNoURL = &resource.Invalid{Field: "price_sync", Reason: "the setting names no url; set it to an object with url, every and apply"}

// Sync downloads prices from where the setting price_sync says, and from nowhere else, and
// applies them as it says. A failure leaves the prices as they were.
func (p *Prices) Sync(ctx context.Context, by records.Caller) (client.PriceDiff, records.Written, error) {
	return p.sync(ctx, by.Actor(), by.RequestID)
}

func (p *Prices) sync(ctx context.Context, by fsm.Actor, requestID string) (client.PriceDiff, records.Written, error) {
	p.syncing.Lock()
	defer p.syncing.Unlock()
	at := p.cfg.Now()
	diff, w, err := p.download(ctx, by, requestID)
	run := client.PriceSyncRun{At: resource.At(at), Result: "applied", Held: diff.Held}
	switch {
	case err != nil:
		run.Result, run.Error = "failed", err.Error()
		p.cfg.Logger.Error("prices were not synchronized; the old ones go on", "url", p.cfg.Catalog().Settings().PriceSync.URL, "error", err)
	case w.Index == "":
		run.Result = "unchanged"
	case diff.Held > 0:
		p.cfg.Logger.Warn("prices wait for a person", "held", diff.Held)
	}
	p.metrics.syncs.WithLabelValues(run.Result).Inc()
	p.mu.Lock()
	p.last = run
	p.mu.Unlock()
	return diff, w, err
}

func (p *Prices) download(ctx context.Context, by fsm.Actor, requestID string) (client.PriceDiff, records.Written, error) {
	cat := p.cfg.Catalog()
	conf := cat.Settings().PriceSync
	if conf.URL == "" {
		return client.PriceDiff{}, records.Written{}, errNoURL
	}
	etag := ""
	if t := cat.Prices(); t != nil && t.Source == conf.URL {
		etag = t.ETag
	}
	ctx, cancel := context.WithTimeout(ctx, downloadTimeout)
	defer cancel()
	f, err := pricing.Fetch(ctx, p.cfg.HTTP, conf.URL, etag)
	if err != nil {
		return client.PriceDiff{}, records.Written{}, &unreachable{err}
	}
	if f.NotModified || p.same(conf.URL, f.Data) {
		return client.PriceDiff{Changes: []pricing.Change{}}, records.Written{}, nil
	}
	return p.apply(ctx, by, requestID, Import{
		Source: conf.URL, ETag: f.ETag, Data: f.Data,
		How: pricing.How{Replace: true, Review: conf.Apply != resource.ApplyAuto},
	})
}

// Last is the last download by this node; the zero value if there was none.
func (p *Prices) Last() client.PriceSyncRun {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.last
}

// same says that the file is the one that was applied last.
func (p *Prices) same(url string, data []byte) bool {
	t := p.cfg.Catalog().Prices()
	return t != nil && t.Source == url && t.SHA256 == pricing.Sum(data)
}

// unreachable is a download that failed. To the one who asked for it that is a wrong address.
type unreachable struct{ err error }

func (e *unreachable) Error() string { return e.err.Error() }

// Unwrap makes it an *resource.Invalid beside the cause.
func (e *unreachable) Unwrap() []error {
	return []error{&resource.Invalid{Field: "price_sync.url", Reason: e.err.Error()}, e.err}
}

// Run downloads prices when the settings say so, as long as this node leads, until ctx ends.
func (p *Prices) Run(ctx context.Context, node string, leads func() bool) {
	t := time.NewTicker(lookEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		if !leads() {
			p.rest()
			continue
		}
		if !p.due() {
			continue
		}
		if _, _, err := p.sync(ctx, fsm.Actor{Kind: "node", ID: node}, ""); err != nil && errors.Is(ctx.Err(), context.Canceled) {
			return
		}
	}
}

// due says whether the next download is.
func (p *Prices) due() bool {
	next := p.NextSync()
	return !next.IsZero() && !p.cfg.Now().Before(next)
}

// rest notes that another node leads: what is due until now is its to do.
func (p *Prices) rest() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rested = resource.At(p.cfg.Now())
}

// NextSync is when the next download is due, zero for never; what is due already, now. The times follow from the
// newest file that was applied, so that all nodes know them and a new leader goes on with them: downloads that bring
// nothing new are not told to the others.
func (p *Prices) NextSync() time.Time {
	cat := p.cfg.Catalog()
	conf := cat.Settings().PriceSync
	if conf.URL == "" || conf.Every == 0 {
		return time.Time{}
	}
	now := p.cfg.Now()
	p.mu.Lock()
	last, known, failed := p.last.At, max(p.last.At, p.rested), p.last.Result == "failed"
	p.mu.Unlock()
	every := resource.Time(conf.Every)
	var next resource.Time
	switch t := cat.Prices(); {
	case failed && (t == nil || t.At <= last):
		next = last + min(every, resource.Time(retryAfter))
	case t != nil && t.Source == conf.URL && t.At > 0:
		since := max(known-t.At, 0)
		next = t.At + (since/every+1)*every
	case last > 0:
		next = last + every
	}
	if at := next.Std(); at.After(now) {
		return at
	}
	return now
}
