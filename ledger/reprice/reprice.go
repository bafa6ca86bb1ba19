// Package reprice corrects the cost of requests that were charged at a price which has turned
// out to be wrong. Nothing that was recorded is changed: for each request the node that served
// it books an adjustment, a record of its own in its journal, which counts no request and
// whose cost is the difference, in the same scopes. So every total, and every budget whose
// window is still known, has it, and the totals of before stay readable.
//
// What a request costs is what it was charged and all adjustments of it. Booking compares that
// with the new price: doing it again with the same price books nothing, and doing it after it
// was interrupted books the rest.
package reprice

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/conclave-llm/conclave/internal/clock"
	"github.com/conclave-llm/conclave/ledger"
	"github.com/conclave-llm/conclave/ledger/requestlog"
	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/pricing"
	"github.com/conclave-llm/conclave/resource"
)

const (
	// Method is the name under which nodes ask each other.
	Method = "reprice"
	// Endpoint is that of adjustments.
	Endpoint = "adjustment"

	pageRows    = 2000
	callTimeout = 4 * time.Minute // of one node
)

// Question says which requests are priced anew, and how.
type Question struct {
	Filter requestlog.Filter `json:"filter"`
	Price  resource.Price    `json:"price"`
	Apply  bool              `json:"apply,omitempty"`
	By     string            `json:"by,omitempty"` // who books: "key/ID"
}

// Validate returns an *resource.Invalid for what cannot be answered.
func (q *Question) Validate() error {
	if q.Price.Units != (resource.Units{}) {
		return &resource.Invalid{Field: "price", Reason: "has prices by the unit, and the request log keeps tokens only"}
	}
	query := requestlog.Query{Filter: q.Filter, Limit: pageRows}
	if err := query.Validate(); err != nil {
		return err
	}
	return q.Price.Validate("price")
}

// Line is what the requests of one model cost, and would cost or do cost now.
type Line struct {
	Model    string         `json:"model"`
	Requests int64          `json:"requests"`
	Cost     resource.Money `json:"cost"` // with the adjustments of before
	Repriced resource.Money `json:"repriced"`
	Change   resource.Money `json:"change"`
	Booked   int64          `json:"booked"`  // adjustments that were written
	Skipped  int64          `json:"skipped"` // requests without tokens to price: their cost stays
}

// Result is the answer of all nodes.
type Result struct {
	Lines   []Line   `json:"items"`
	Missing []string `json:"missing_nodes,omitempty"` // gave no answer: nothing of theirs is booked
}

// Log is the node's rows; *requestlog.Log is one.
type Log interface {
	Rows(ctx context.Context, q requestlog.Query) (requestlog.Page, error)
	WaitTaken(ctx context.Context, number uint64) error
}

// Journal takes the adjustments; *ledger.Journal is one.
type Journal interface {
	Settle(reserved uint64, r *ledger.Record) error
	Last() uint64
}

// Config says what is priced anew, and whom to ask for the rest.
type Config struct {
	Log     Log
	Journal Journal
	NodeID  string
	// Adjust changes what the accounts in dollars were charged, those whose windows are known,
	// and returns what it has changed.
	Adjust func(charges []ledger.AccountCharge) []ledger.AccountCharge
	Nodes  func() []requestlog.Node // all members, this one too
	Call   func(ctx context.Context, nodeID, method string, body []byte) ([]byte, error)
	Now    func() time.Time // nil: clock.Now
}

// Repricer prices requests anew. Its methods may be called concurrently.
type Repricer struct {
	cfg Config
	mu  sync.Mutex // held while booking: two at once would both see what neither has booked
}

// New returns the Repricer.
func New(cfg Config) *Repricer {
	if cfg.Now == nil {
		cfg.Now = clock.Now
	}
	return &Repricer{cfg: cfg}
}

// Reprice asks all nodes at once and adds their answers up.
func (p *Repricer) Reprice(ctx context.Context, q Question) (Result, error) {
	if err := q.Validate(); err != nil {
		return Result{}, err
	}
	body, err := json.Marshal(q)
	if err != nil {
		return Result{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	var (
		wg  sync.WaitGroup
		mu  sync.Mutex // guards sum, out
		sum = map[string]*Line{}
		out Result
	)
	for _, n := range p.cfg.Nodes() {
		wg.Go(func() {
			lines, err := p.ask(ctx, n.ID, &q, body)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				out.Missing = append(out.Missing, fmt.Sprintf("%s (%v)", cmp.Or(n.Name, n.ID), err))
				return
			}
			add(sum, lines)
		})
	}
	wg.Wait()
	slices.Sort(out.Missing)
	out.Lines = sorted(sum)
	return out, nil
}

func add(sum map[string]*Line, lines []Line) {
	for i := range lines {
		l := &lines[i]
		to := sum[l.Model]
		if to == nil {
			to = &Line{Model: l.Model}
			sum[l.Model] = to
		}
		to.Requests += l.Requests
		to.Cost += l.Cost
		to.Repriced += l.Repriced
		to.Change += l.Change
		to.Booked += l.Booked
		to.Skipped += l.Skipped
	}
}

func sorted(sum map[string]*Line) []Line {
	out := make([]Line, 0, len(sum))
	for _, name := range slices.Sorted(maps.Keys(sum)) {
		out = append(out, *sum[name])
	}
	return out
}

func (p *Repricer) ask(ctx context.Context, node string, q *Question, body []byte) (lines []Line, err error) {
	if node == p.cfg.NodeID {
		return p.Own(ctx, q)
	}
	answer, err := p.cfg.Call(ctx, node, Method, body)
	if err != nil {
		return nil, err
	}
	return lines, json.Unmarshal(answer, &lines)
}

// Serve answers what another node asks.
func (p *Repricer) Serve(ctx context.Context, _ string, body []byte) ([]byte, error) {
	var q Question
	if err := json.Unmarshal(body, &q); err != nil {
		return nil, fmt.Errorf("read question: %w", err)
	}
	lines, err := p.Own(ctx, &q)
	if err != nil {
		return nil, err
	}
	return json.Marshal(lines)
}

// Own prices this node's requests anew and, if that is asked for, books the differences.
func (p *Repricer) Own(ctx context.Context, q *Question) ([]Line, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.cfg.Log.WaitTaken(ctx, p.cfg.Journal.Last()); err != nil {
		return nil, err
	}
	booked, err := p.booked(ctx)
	if err != nil {
		return nil, err
	}
	sum := map[string]*Line{}
	f := q.Filter
	if now := resource.At(p.cfg.Now()); f.To == 0 || f.To > now {
		f.To = now // what comes meanwhile is charged at today's price anyway
	}
	err = p.each(ctx, f, func(r *requestlog.Row) error {
		if isAdjustment(r) {
			return nil
		}
		l := sum[r.Model]
		if l == nil {
			l = &Line{Model: r.Model}
			sum[r.Model] = l
		}
		return p.row(q, r, r.Cost+booked[r.Number], l)
	})
	return sorted(sum), err
}

func isAdjustment(r *requestlog.Row) bool { return ledger.Flags(r.Flags).Has(ledger.Adjustment) }

// booked sums the adjustments of before by the number of what they adjust.
func (p *Repricer) booked(ctx context.Context) (map[uint64]resource.Money, error) {
	sum := map[uint64]resource.Money{}
	err := p.each(ctx, requestlog.Filter{Names: map[string][]string{"endpoint": {Endpoint}}}, func(r *requestlog.Row) error {
		if isAdjustment(r) {
			sum[r.Adjusts] += r.Cost
		}
		return nil
	})
	return sum, err
}

// each visits the rows of the filter, the oldest first.
func (p *Repricer) each(ctx context.Context, f requestlog.Filter, visit func(r *requestlog.Row) error) error {
	q := requestlog.Query{Filter: f, Ascending: true, Limit: pageRows}
	for {
		page, err := p.cfg.Log.Rows(ctx, q)
		if err != nil {
			return err
		}
		for i := range page.Rows {
			if err := visit(&page.Rows[i]); err != nil {
				return err
			}
		}
		if !page.More || len(page.Rows) == 0 {
			return nil
		}
		last := &page.Rows[len(page.Rows)-1]
		q.After = &requestlog.Cursor{Time: last.Time, Number: last.Number, Node: last.Node}
	}
}

// row counts one request, which has cost so much up to now, and books its difference.
func (p *Repricer) row(q *Question, r *requestlog.Row, cost resource.Money, l *Line) error {
	l.Requests += r.Count
	l.Cost += cost
	if !priceable(r) {
		l.Skipped += r.Count
		l.Repriced += cost
		return nil
	}
	price := pricing.Bill(&q.Price, resource.Adjustment{}, usageOf(r))
	l.Repriced += price
	l.Change += price - cost
	if !q.Apply || price == cost {
		return nil
	}
	if err := p.book(q, r, price-cost); err != nil {
		return fmt.Errorf("book adjustment of request %s (record %d): %w", r.RequestID, r.Number, err)
	}
	l.Booked++
	return nil
}

// priceable says whether a price by the token says what the request costs. What came from the
// cache cost nothing, and what was charged its hold has no usage.
func priceable(r *requestlog.Row) bool {
	flags := ledger.Flags(r.Flags)
	return r.UsageSource != "" && r.UsageSource != "none" && r.Prompt()+r.Completion() > 0 &&
		!flags.Has(ledger.Cached) && !flags.Has(ledger.HoldCharged)
}

func usageOf(r *requestlog.Row) llm.Usage {
	return llm.Usage{
		Input: r.Input - r.AudioInput - r.ImageInput, CacheRead: r.CacheRead, CacheWrite: r.CacheWrite - r.CacheWrite1h, CacheWrite1h: r.CacheWrite1h,
		AudioInput: r.AudioInput, ImageInput: r.ImageInput, Output: r.Output - r.AudioOutput - r.ImageOutput, Reasoning: r.Reasoning,
		AudioOutput: r.AudioOutput, ImageOutput: r.ImageOutput, Service: llm.ServiceOf([]byte(r.Service)), Source: llm.UsageProvider,
	}
}

// book writes one adjustment. The accounts come first, as they do for a request: what is in
// the journal will be subtracted from this node's leases.
func (p *Repricer) book(q *Question, r *requestlog.Row, by resource.Money) error {
	receipt, err := r.Explain()
	if err != nil && r.Receipt != "" {
		return fmt.Errorf("read receipt: %w", err)
	}
	var charges []ledger.AccountCharge
	for _, c := range receipt.Charges {
		charges = append(charges, ledger.AccountCharge{Account: resource.AccountID(c.Account), Start: c.Window, Amount: by})
	}
	rec := ledger.Record{
		RequestID: r.RequestID, KeyID: r.KeyID, TeamID: r.TeamID, UserID: r.UserID, OrganizationID: r.Organization, ProjectID: r.ProjectID,
		CustomerID: r.Customer, SessionID: r.Session, Tags: r.Tags, Model: r.Model, DeploymentID: r.DeploymentID, Provider: r.Provider,
		Endpoint: Endpoint, Status: 200, Cost: by, Adjusts: r.Number,
		Flags:   ledger.Adjustment | ledger.Flags(r.Flags)&ledger.Private,
		Receipt: ledger.Receipt{PriceSource: "priced anew by " + q.By},
	}
	if len(charges) > 0 {
		rec.Charges = p.cfg.Adjust(charges)
	}
	if err := p.cfg.Journal.Settle(0, &rec); err != nil {
		if undo := negated(rec.Charges); len(undo) > 0 && errors.Is(err, ledger.ErrClosed) {
			p.cfg.Adjust(undo)
		}
		return err
	}
	return nil
}

func negated(charges []ledger.AccountCharge) []ledger.AccountCharge {
	out := slices.Clone(charges)
	for i := range out {
		out[i].Amount = -out[i].Amount
	}
	return out
}
