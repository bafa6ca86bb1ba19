package requestlog

import (
	"cmp"
	"container/heap"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/conclave-llm/conclave/ledger"
	"github.com/conclave-llm/conclave/ledger/requestlog/segment"
	"github.com/conclave-llm/conclave/resource"
)

// MaxRows bounds the rows of one page, with those that are skipped before it.
const MaxRows = 10_000

// disorder bounds by how much rows in bbolt, which are in the order of their numbers, may be
// out of the order of their times.
const disorder = 5 * time.Minute

const cachedFlag = uint32(ledger.Cached)

// Cursor is a place between two rows, in the order of time, number and node.
type Cursor struct {
	Time   resource.Time `json:"time"`
	Number uint64        `json:"number"`
	Node   string        `json:"node"`
}

// Filter says which rows are meant. Zero fields say nothing.
type Filter struct {
	From         resource.Time       `json:"from,omitzero"` // inclusive
	To           resource.Time       `json:"to,omitzero"`   // exclusive
	RequestID    string              `json:"request_id,omitempty"`
	Names        map[string][]string `json:"names,omitempty"`  // column ("key", "team", …, "tag") → any of
	Status       string              `json:"status,omitempty"` // "success" or "failure"
	ErrorCode    string              `json:"error_code,omitempty"`
	MinCost      *resource.Money     `json:"min_cost,omitempty"`
	MaxCost      *resource.Money     `json:"max_cost,omitempty"`
	CacheHitOnly bool                `json:"cache_hit_only,omitempty"`
	NoSystem     bool                `json:"no_system,omitempty"` // none of the gateway's own requests, such as paid health checks
}

// columns are what Filter.Names may name.
var columns = map[string]func(r *Row) string{
	"key":          func(r *Row) string { return r.KeyID },
	"team":         func(r *Row) string { return r.TeamID },
	"organization": func(r *Row) string { return r.Organization },
	"project":      func(r *Row) string { return r.ProjectID },
	"user":         func(r *Row) string { return r.UserID },
	"customer":     func(r *Row) string { return r.Customer },
	"session":      func(r *Row) string { return r.Session },
	"model":        func(r *Row) string { return r.Model },
	"deployment":   func(r *Row) string { return r.DeploymentID },
	"provider":     func(r *Row) string { return r.Provider },
	"endpoint":     func(r *Row) string { return r.Endpoint },
	"guardrail":    func(r *Row) string { return r.Guardrail },
	"prompt":       func(r *Row) string { return r.PromptName },
	"node":         func(r *Row) string { return r.Node },
	"tag":          nil, // one of many
}

// Query asks for rows.
type Query struct {
	Filter
	Sort      string  `json:"sort,omitempty"` // "" or "time", "cost", "tokens", "duration"
	Ascending bool    `json:"ascending,omitempty"`
	Limit     int     `json:"limit"`           // at most MaxRows
	After     *Cursor `json:"after,omitempty"` // of the row before the page; in the order of time only
	Count     bool    `json:"count,omitempty"` // count all rows, which reads all of them
}

// Validate says whether the query can be answered.
func (q *Query) Validate() error {
	if q.Limit < 1 || q.Limit > MaxRows {
		return &resource.Invalid{Field: "limit", Reason: fmt.Sprintf("%d is not between 1 and %d", q.Limit, MaxRows)}
	}
	if _, ok := orders[q.Sort]; !ok {
		return &resource.Invalid{Field: "sort", Reason: fmt.Sprintf("%q is not one of time, cost, tokens, duration", q.Sort)}
	}
	if q.After != nil && !q.byTime() {
		return &resource.Invalid{Field: "cursor", Reason: "is for rows in the order of time only"}
	}
	if q.Status != "" && q.Status != "success" && q.Status != "failure" {
		return &resource.Invalid{Field: "status", Reason: fmt.Sprintf("%q is neither success nor failure", q.Status)}
	}
	for name := range q.Names {
		if _, ok := columns[name]; !ok {
			return &resource.Invalid{Field: name, Reason: "is not what rows can be filtered by"}
		}
	}
	return nil
}

func (q *Query) byTime() bool { return q.Sort == "" || q.Sort == "time" }

var orders = map[string]func(a, b *Row) int{
	"":         byTime,
	"time":     byTime,
	"cost":     func(a, b *Row) int { return cmp.Or(cmp.Compare(a.Cost, b.Cost), byTime(a, b)) },
	"tokens":   func(a, b *Row) int { return cmp.Or(cmp.Compare(tokens(a), tokens(b)), byTime(a, b)) },
	"duration": func(a, b *Row) int { return cmp.Or(cmp.Compare(a.Duration, b.Duration), byTime(a, b)) },
}

func tokens(r *Row) int64 { return r.Prompt() + r.Completion() }

func byTime(a, b *Row) int {
	return cmp.Or(cmp.Compare(a.Time, b.Time), cmp.Compare(a.Number, b.Number), strings.Compare(a.Node, b.Node))
}

// compare orders rows as the query wants them.
func (q *Query) compare(a, b *Row) int {
	n := orders[q.Sort](a, b)
	if !q.Ascending {
		return -n
	}
	return n
}

// keeps says whether the filter, and the cursor, let the row through.
func (q *Query) keeps(r *Row) bool {
	f := &q.Filter
	switch {
	case f.From != 0 && r.Time < f.From, f.To != 0 && r.Time >= f.To,
		f.RequestID != "" && r.RequestID != f.RequestID,
		f.ErrorCode != "" && r.ErrorCode != f.ErrorCode,
		f.Status == "success" && r.Failed(), f.Status == "failure" && !r.Failed(),
		f.MinCost != nil && r.Cost < *f.MinCost, f.MaxCost != nil && r.Cost > *f.MaxCost,
		f.CacheHitOnly && r.Flags&cachedFlag == 0,
		f.NoSystem && r.TeamID == resource.SystemTeamID:
		return false
	}
	return f.named(r) && q.behind(r)
}

func (f *Filter) named(r *Row) bool {
	for name, values := range f.Names {
		if name == "tag" {
			if !slices.ContainsFunc(r.Tags, func(t string) bool { return slices.Contains(values, t) }) {
				return false
			}
		} else if !slices.Contains(values, columns[name](r)) {
			return false
		}
	}
	return true
}

// behind says whether the row comes after the cursor.
func (q *Query) behind(r *Row) bool {
	if q.After == nil {
		return true
	}
	c := Row{Time: q.After.Time, Number: q.After.Number, Node: q.After.Node}
	return q.compare(&c, r) < 0
}

// Page is an answer of rows.
type Page struct {
	Rows  []Row `json:"rows"`
	Total int64 `json:"total,omitempty"` // requests in all, if they were counted
	More  bool  `json:"more,omitempty"`  // there are more rows behind the last one
}

// best keeps the first rows in the order of a query.
type best struct {
	q     *Query
	step  func() error // is called for each row that is looked at
	rows  []Row
	total int64
	more  bool
}

func (b *best) Len() int           { return len(b.rows) }
func (b *best) Less(i, j int) bool { return b.q.compare(&b.rows[i], &b.rows[j]) > 0 } // the worst on top
func (b *best) Swap(i, j int)      { b.rows[i], b.rows[j] = b.rows[j], b.rows[i] }

// Push implements heap.Interface.
func (b *best) Push(x any) { b.rows = append(b.rows, x.(Row)) }

// Pop implements heap.Interface.
func (b *best) Pop() any {
	last := b.rows[len(b.rows)-1]
	b.rows = b.rows[:len(b.rows)-1]
	return last
}

// offer takes a row if the query lets it through.
func (b *best) offer(r *Row) {
	if b.q.keeps(r) {
		b.take(r)
	}
}

// take takes a row that the query lets through.
func (b *best) take(r *Row) {
	b.total += r.Count
	if len(b.rows) < b.q.Limit {
		heap.Push(b, *r)
		return
	}
	b.more = true
	if b.wants(r) {
		b.rows[0] = *r
		heap.Fix(b, 0)
	}
}

// done says that no row between the times can be among the first ones.
func (b *best) done(from, to resource.Time) bool {
	q := b.q
	if q.From != 0 && to < q.From || q.To != 0 && from >= q.To || b.passed(from, to) {
		return true
	}
	if q.Count || !q.byTime() || len(b.rows) < q.Limit {
		return false
	}
	worst := b.rows[0].Time
	late := from > worst
	if !q.Ascending {
		late = to < worst
	}
	b.more = b.more || late
	return late
}

// passed says that the cursor is behind all rows between the times.
func (b *best) passed(from, to resource.Time) bool {
	c := b.q.After
	switch {
	case c == nil:
		return false
	case b.q.Ascending:
		return to < c.Time
	default:
		return from > c.Time
	}
}

func (b *best) page() Page {
	slices.SortFunc(b.rows, func(x, y Row) int { return b.q.compare(&x, &y) })
	return Page{Rows: b.rows, Total: b.total, More: b.more}
}

// Rows answers a question about this node's rows.
func (l *Log) Rows(ctx context.Context, q Query) (Page, error) {
	if err := q.Validate(); err != nil {
		return Page{}, err
	}
	turn, err := l.lane.Enter(ctx)
	if err != nil {
		return Page{}, fmt.Errorf("read request log: %w", err)
	}
	defer turn.Leave()
	b := &best{q: &q, step: func() error { return turn.Step(ctx) }}
	var sealed []segment.Segment
	err = l.db.View(func(tx *bolt.Tx) (err error) { // one view of both: no row is in neither or in both
		defer forgetPages(tx)
		if sealed, err = listSegments(tx); err != nil {
			return err
		}
		return l.readHot(tx, b)
	})
	if err == nil {
		err = l.readSegments(sealed, b)
	}
	if err != nil {
		return Page{}, fmt.Errorf("read request log: %w", err)
	}
	return b.page(), nil
}

// readHot reads the rows in bbolt from the end at which the query begins.
func (l *Log) readHot(tx *bolt.Tx, b *best) error {
	c := tx.Bucket(bucketRows).Cursor()
	sealed := sealedOf(tx)
	k, v := c.Last()
	step := c.Prev
	if b.q.Ascending {
		k, v = c.Seek(numberKey(sealed + 1))
		step = c.Next
	}
	for ; k != nil && numberOf(k) > sealed; k, v = step() {
		if err := b.step(); err != nil {
			return err
		}
		at, err := timeOfHot(numberOf(k), v)
		if err != nil {
			return err
		}
		if b.late(at) {
			return nil
		}
		if b.done(at, at) {
			continue
		}
		r, count, err := parseHot(numberOf(k), v)
		if err != nil {
			return err
		}
		r.Node = l.cfg.NodeID
		row := segment.Bare(&r, count)
		if !b.q.keeps(&row) {
			continue
		}
		if b.wants(&row) {
			row.Receipt = segment.ReceiptOf(&r)
		}
		b.take(&row)
	}
	return nil
}

// wants says that the row would be among the first so far.
func (b *best) wants(r *Row) bool { return len(b.rows) < b.q.Limit || b.q.compare(r, &b.rows[0]) < 0 }

// late says that no row that comes after one of the time, in the order in which they are read, can be among the first.
func (b *best) late(at resource.Time) bool {
	q := b.q
	early, last := at-resource.Time(disorder), at+resource.Time(disorder)
	full := q.byTime() && !q.Count && len(b.rows) >= q.Limit
	if q.Ascending {
		full = full && early > b.rows[0].Time
		b.more = b.more || full && (q.To == 0 || at < q.To)
		return full || q.To != 0 && early >= q.To
	}
	full = full && last < b.rows[0].Time
	b.more = b.more || full && at >= q.From
	return full || q.From != 0 && last < q.From
}
