package requestlog

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/conclave-llm/conclave/ledger"
	"github.com/conclave-llm/conclave/ledger/requestlog/segment"
	"github.com/conclave-llm/conclave/ledger/rollup"
	"github.com/conclave-llm/conclave/resource"
)

// TotalsQuery asks a node for the sums of its own records.
type TotalsQuery struct {
	UpTo map[string]uint64 `json:"up_to"` // by node: number of the last record that counts
}

// Total is a node's sums of one holder on one day.
type Total struct {
	Kind string      `json:"kind"` // "total", or a word for a rollup.Dim
	ID   string      `json:"id,omitempty"`
	Day  int32       `json:"day"` // since 1970-01-01 UTC
	Sums rollup.Sums `json:"sums"`
}

// totalsKey names a Total.
type totalsKey struct {
	kind, id string
	day      int32
}

// totals are sums by holder and day.
type totals map[totalsKey]*rollup.Sums

func (t totals) add(kind, id string, day int32, s *rollup.Sums) {
	k := totalsKey{kind, id, day}
	if have, ok := t[k]; ok {
		have.Add(s)
		return
	}
	mine := *s
	t[k] = &mine
}

// holderDims are the dimensions that have totals of their own.
var holderDims = []rollup.Dim{
	rollup.Key, rollup.Team, rollup.Organization, rollup.Project, rollup.User, rollup.Model, rollup.Deployment,
	rollup.Provider, rollup.Customer, rollup.Tag,
}

// memberKind is the kind of a user's totals in a team, whose id is TEAM/USER.
const memberKind = "member"

// addDays adds the days of everything, of each holder and of the members of teams.
func (t totals) addDays(src rollup.Source) error {
	if err := t.addKind(src, "total"); err != nil {
		return err
	}
	for _, d := range holderDims {
		if err := t.addKind(src, d.String(), d); err != nil {
			return err
		}
	}
	return t.addKind(src, memberKind, rollup.Team, rollup.User)
}

func (t totals) addKind(src rollup.Source, kind string, by ...rollup.Dim) error {
	q := rollup.Query{To: maxSeconds, Granularity: "day", GroupBy: by}
	if err := q.Validate(); err != nil {
		return err
	}
	lines, err := q.Run(src)
	if err != nil {
		return err
	}
	for i := range lines {
		if l := &lines[i]; !slices.Contains(l.Names, "") { // else of requests without one
			t.add(kind, strings.Join(l.Names, "/"), int32(l.Start/rollup.Day.Seconds()), &l.Sums)
		}
	}
	return nil
}

const maxSeconds = 1 << 37 // in the year 6325

// Totals answers with the sums of this node's records up to the number, by holder and day.
// Days that are older than the retention of cells are not in it.
func (l *Log) Totals(ctx context.Context, q TotalsQuery) ([]Total, error) {
	upTo := q.UpTo[l.cfg.NodeID]
	if err := l.WaitTaken(ctx, upTo); err != nil {
		return nil, err
	}
	all := totals{}
	beside := l.lane.Beside()
	var taken uint64
	err := l.db.View(func(tx *bolt.Tx) error {
		taken = takenOf(tx)
		return all.addDays(cells{tx, func() error { return beside.Step(ctx) }})
	})
	if err != nil {
		return nil, fmt.Errorf("read totals: %w", err)
	}
	if err := l.without(all, upTo, taken); err != nil {
		return nil, fmt.Errorf("read totals: %w", err)
	}
	return all.list(), nil
}

// without takes the records with numbers in (after, to] out of the totals again.
func (l *Log) without(all totals, after, to uint64) error {
	for at := after; at < to; {
		records, next, err := l.cfg.Source.ReadFrom(at, readLimit)
		if err != nil {
			return err
		}
		if next == at {
			return nil
		}
		var late rollup.Batch
		for i := range records {
			if records[i].Number <= to {
				late.Add(&records[i], 1)
			}
		}
		sub := totals{}
		if err := sub.addDays(batchSource{&late}); err != nil {
			return err
		}
		for k, s := range sub {
			if have, ok := all[k]; ok {
				have.Sub(s)
			}
		}
		at = next
	}
	return nil
}

// batchSource reads the cells of a batch.
type batchSource struct{ b *rollup.Batch }

// Scan implements rollup.Source.
func (s batchSource) Scan(l rollup.Level, first, end []byte, visit func(key, value []byte) error) error {
	return s.b.Each(l, func(key []byte, sums *rollup.Sums) error {
		if k := string(key); k < string(first) || k >= string(end) {
			return nil
		}
		return visit(key, sums.Append(nil))
	})
}

func (t totals) list() []Total {
	out := make([]Total, 0, len(t))
	for k, s := range t {
		out = append(out, Total{k.kind, k.id, k.day, *s})
	}
	slices.SortFunc(out, func(a, b Total) int {
		return cmp.Or(strings.Compare(a.Kind, b.Kind), strings.Compare(a.ID, b.ID), cmp.Compare(a.Day, b.Day))
	})
	return out
}

// Report is what a node found out about its own files.
type Report struct {
	Node        string          `json:"node"`
	Taken       uint64          `json:"taken"`
	Segments    int             `json:"segments"`
	Rows        int64           `json:"rows"`
	Requests    int64           `json:"requests"`
	Journal     int64           `json:"journal"`          // records of the journal that were compared with rows
	Since       string          `json:"since"`            // first day whose rows are all kept
	Chained     int             `json:"chained"`          // segments that are in the node's chain; the rest was sealed before there was one
	Head        string          `json:"head,omitempty"`   // hash of all sealed rows: noted elsewhere, it proves that none was changed since
	Anchor      *segment.Anchor `json:"anchor,omitempty"` // of the segments that were removed for their age
	Differences []string        `json:"differences,omitempty"`
}

// maxDifferences bounds how many a Report names.
const maxDifferences = 100

func (r *Report) differ(format string, args ...any) {
	if len(r.Differences) < maxDifferences {
		r.Differences = append(r.Differences, fmt.Sprintf(format, args...))
	}
}

// Check folds all rows that this node has kept, in segments and in bbolt, and compares them
// with the cells of their days and with the records of the journal.
func (l *Log) Check(ctx context.Context) (*Report, error) {
	l.workMu.Lock() // nothing is taken or sealed meanwhile
	defer l.workMu.Unlock()
	rep := &Report{Node: l.cfg.NodeID, Taken: l.Taken()}
	folded := map[int32]*rollup.Sums{}
	journal := &journalCheck{l: l, rep: rep}
	oldest := resource.Time(maxSeconds)
	err := l.eachRow(ctx, rep, func(r *Row) error {
		rep.Rows++
		rep.Requests += r.Count
		rec := r.Record()
		s := rollup.Of(&rec)
		s.Requests, s.Failures = s.Requests*r.Count, s.Failures*r.Count
		day := int32(int64(r.Time) / (rollup.Day.Seconds() * 1e9))
		if have, ok := folded[day]; ok {
			have.Add(&s)
		} else {
			folded[day] = &s
		}
		oldest = min(oldest, r.Time/1e9)
		return journal.row(r.Number, r.Cost)
	})
	if err == nil {
		err = journal.row(rep.Taken+1, 0)
	}
	if err != nil {
		return nil, fmt.Errorf("check request log: %w", err)
	}
	complete := l.completeFrom(ctx, oldest, rep.Anchor)
	rep.Since = dayText(complete)
	if err := l.checkCells(ctx, rep, folded, complete); err != nil {
		return nil, fmt.Errorf("check request log: %w", err)
	}
	return rep, nil
}

// completeFrom is the first day of which no row was removed for its age.
func (l *Log) completeFrom(ctx context.Context, oldest resource.Time, gone *segment.Anchor) int32 {
	day := int32(int64(oldest) / rollup.Day.Seconds())
	if gone != nil {
		return day + 1
	}
	lines, err := l.Usage(ctx, rollup.Query{To: maxSeconds, Granularity: "day"})
	if err == nil && len(lines) > 0 && lines[0].Start/rollup.Day.Seconds() < int64(day) {
		return day + 1 // rows of days before are gone, and of this one some may be
	}
	return day
}

func dayText(day int32) string {
	return resource.Time(int64(day) * rollup.Day.Seconds() * 1e9).Std().Format("2006-01-02")
}

// eachRow visits all rows, the sealed ones first.
func (l *Log) eachRow(ctx context.Context, rep *Report, visit func(r *Row) error) error {
	chain, err := l.chainCheck(rep)
	if err != nil {
		return err
	}
	beside := l.lane.Beside()
	for _, s := range l.Segments() {
		if err := ctx.Err(); err != nil {
			return err
		}
		rows := int64(0)
		err := readChecked(chain, &s, l.path(&s), func(r *Row) error {
			rows++
			_ = beside.Step(ctx) // an error that is not the segment's, looked for above
			return visit(r)
		})
		if err != nil {
			rep.differ("segment %s cannot be read: %v", s.Name, err)
			chain.Unread(&s)
			continue
		}
		chain.End()
		if rows != s.Rows {
			rep.differ("segment %s has %d rows, and had %d when it was sealed", s.Name, rows, s.Rows)
		}
		rep.Segments++
	}
	rep.Chained, rep.Head = chain.Chained, chain.Head
	if chain.Anchor != (segment.Anchor{}) {
		rep.Anchor = &chain.Anchor
	}
	for from := []byte(nil); ; {
		rows, next, err := l.hotRows(from, sealBatch)
		if err != nil {
			return err
		}
		for i := range rows {
			if err := visit(&rows[i]); err != nil {
				return err
			}
		}
		if from = next; next == nil {
			return ctx.Err()
		}
	}
}

// readChecked visits the rows of a segment after the chain has looked at each.
func readChecked(chain *segment.Check, s *segment.Segment, path string, visit func(r *Row) error) error {
	f, err := segment.Open(path)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // read only
	own, err := f.Chained()
	if err != nil {
		return err
	}
	chain.Begin(s, own)
	return f.Each(func(r *Row) error {
		if err := chain.Row(r); err != nil {
			return err
		}
		return visit(r)
	})
}

// checkCells compares the folded rows with the cells of the same days.
func (l *Log) checkCells(ctx context.Context, rep *Report, folded map[int32]*rollup.Sums, from int32) error {
	lines, err := l.Usage(ctx, rollup.Query{From: int64(from) * rollup.Day.Seconds(), To: maxSeconds, Granularity: "day"})
	if err != nil {
		return err
	}
	for i := range lines {
		day := int32(lines[i].Start / rollup.Day.Seconds())
		have := folded[day]
		if have == nil {
			have = &rollup.Sums{}
		}
		delete(folded, day)
		if d := different(have, &lines[i].Sums); d != "" {
			rep.differ("%s: the rows and the sums of the day differ: %s", dayText(day), d)
		}
	}
	for day := range folded {
		if day >= from {
			rep.differ("%s: there are rows, and no sums of the day", dayText(day))
		}
	}
	return nil
}

// journalCheck compares what the journal still has with the rows, both in the order of their
// numbers. A record without a row is one that was counted in another, or whose segment was
// removed.
type journalCheck struct {
	l       *Log
	rep     *Report
	records []ledger.Record
	at      uint64
}

// row compares the records up to the number of the next row.
func (j *journalCheck) row(number uint64, cost resource.Money) error {
	for {
		if len(j.records) == 0 && j.at < j.rep.Taken {
			records, next, err := j.l.cfg.Source.ReadFrom(j.at, readLimit)
			if err != nil {
				return err
			}
			j.records, j.at = records, next
			if len(records) == 0 {
				j.at = j.rep.Taken // there is nothing more
			}
		}
		if len(j.records) == 0 || j.records[0].Number > number {
			return nil
		}
		r := &j.records[0]
		j.records = j.records[1:]
		if r.Number > j.rep.Taken {
			continue
		}
		j.rep.Journal++
		switch {
		case r.Number == number && cost != r.Cost:
			j.rep.differ("request %s (record %d): the journal says %s, the row %s", r.RequestID, r.Number, r.Cost, cost)
		case r.Number != number && !refused(r) && j.l.kept(r.Time):
			j.rep.differ("request %s (record %d) is in the journal and has no row", r.RequestID, r.Number)
		}
	}
}

// kept says whether rows of the time are young enough that none was removed.
func (l *Log) kept(at resource.Time) bool {
	list := l.Segments()
	return len(list) > 0 && at > list[0].From
}

// different says how the sums of rows differ from those of cells, "" if they do not.
func different(rows, sums *rollup.Sums) string {
	var out []string
	for _, f := range []struct {
		name       string
		rows, sums int64
	}{
		{"requests", rows.Requests, sums.Requests},
		{"failures", rows.Failures, sums.Failures},
		{"prompt tokens", rows.Prompt, sums.Prompt},
		{"completion tokens", rows.Completion, sums.Completion},
	} {
		if f.rows != f.sums {
			out = append(out, fmt.Sprintf("%s %d and %d", f.name, f.rows, f.sums))
		}
	}
	if rows.Cost != sums.Cost {
		out = append(out, fmt.Sprintf("cost %s and %s", resource.Money(rows.Cost), resource.Money(sums.Cost)))
	}
	return strings.Join(out, ", ")
}

// Replicated is one total of the cluster's replicated state.
type Replicated struct {
	Kind, ID           string
	Day                int32
	Cost               resource.Money
	Requests, Failures int64
	Prompt, Completion int64
}

// Verification is the outcome of Verify.
type Verification struct {
	Index       uint64    `json:"index"` // Raft index of the totals
	Compared    int       `json:"compared"`
	Nodes       []*Report `json:"nodes"`
	Missing     []string  `json:"missing,omitempty"`     // nodes that gave no answer: their spend cannot be folded
	Differences []string  `json:"differences,omitempty"` // empty: everything agrees
}

// verifiedDays is for how many days totals are compared: the replicated ones are kept for
// 400, and removed little by little.
const verifiedDays = 390

// checkTimeout bounds how long a node may fold its files.
const checkTimeout = 4 * time.Minute

// Verify lets all nodes check their files, and compares the sums of their records up to the
// numbers, which the replicated state has covered, with the totals of that state.
func (c *Cluster) Verify(ctx context.Context, index uint64, upTo map[string]uint64, want []Replicated) (*Verification, error) {
	v := &Verification{Index: index, Nodes: []*Report{}}
	replies, missing, err := c.ask(ctx, checkTimeout, func(Node) *question { return &question{Totals: &TotalsQuery{UpTo: upTo}} })
	if err != nil {
		return nil, err
	}
	checks, silent, err := c.ask(ctx, checkTimeout, func(Node) *question { return &question{Check: &struct{}{}} })
	if err != nil {
		return nil, err
	}
	v.Missing = slices.Compact(slices.Sorted(slices.Values(append(missing, silent...))))
	for _, n := range c.cfg.Nodes() {
		if r := checks[n.ID]; r != nil {
			v.Nodes = append(v.Nodes, r.Report)
			for _, d := range r.Report.Differences {
				v.Differences = append(v.Differences, "node "+cmp.Or(n.Name, n.ID)+": "+d)
			}
		}
	}
	folded := totals{}
	for _, r := range replies {
		for i := range r.Totals {
			t := &r.Totals[i]
			folded.add(t.Kind, t.ID, t.Day, &t.Sums)
		}
	}
	gone, err := c.addGone(folded, upTo)
	if err != nil {
		return nil, err
	}
	v.Missing = append(v.Missing, gone...)
	oldest := int32(c.cfg.Log.cfg.Now().Unix()/rollup.Day.Seconds()) - verifiedDays
	v.compare(folded, want, oldest)
	return v, nil
}

// addGone adds the copied cells of nodes that were removed, and names those of which there is
// no copy that goes as far as the replicated totals.
func (c *Cluster) addGone(folded totals, upTo map[string]uint64) (missing []string, err error) {
	l := c.cfg.Log
	nodes := c.cfg.Nodes()
	for _, id := range slices.Sorted(maps.Keys(upTo)) {
		if upTo[id] == 0 || slices.ContainsFunc(nodes, func(n Node) bool { return n.ID == id }) {
			continue
		}
		have, err := l.copyOf(id)
		if err != nil {
			return nil, err
		}
		if have.Taken < upTo[id] {
			missing = append(missing, fmt.Sprintf("%s (removed; the copy goes to record %d of %d)", id, have.Taken, upTo[id]))
		}
		err = l.db.View(func(tx *bolt.Tx) error {
			if b := tx.Bucket(bucketCopies).Bucket([]byte(id)); b != nil {
				return folded.addDays(copyCellsOf{b})
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return missing, nil
}

// compare names each difference between the folded and the replicated totals.
func (v *Verification) compare(folded totals, want []Replicated, oldest int32) {
	kinds := map[string]bool{}
	for i := range want {
		w := &want[i]
		kinds[w.Kind] = true
		k := totalsKey{w.Kind, w.ID, w.Day}
		have := folded[k]
		if have == nil {
			have = &rollup.Sums{}
		}
		delete(folded, k)
		if w.Day < oldest {
			continue
		}
		v.Compared++
		sums := rollup.Sums{Cost: int64(w.Cost), Requests: w.Requests, Failures: w.Failures, Prompt: w.Prompt, Completion: w.Completion}
		if d := different(have, &sums); d != "" {
			v.Differences = append(v.Differences, fmt.Sprintf("%s %s on %s: the nodes' records and the replicated total differ: %s", w.Kind, w.ID, dayText(w.Day), d))
		}
	}
	for _, t := range folded.list() {
		if kinds[t.Kind] && t.Day >= oldest && t.Sums.Requests != 0 {
			v.Differences = append(v.Differences, fmt.Sprintf("%s %s on %s: the nodes' records have %d requests, the replicated totals none", t.Kind, t.ID, dayText(t.Day), t.Sums.Requests))
		}
	}
}
