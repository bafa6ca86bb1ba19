package rollup

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"
	"time"
)

// MaxLines bounds the lines of an answer.
const MaxLines = 200_000

// Condition keeps the cells whose dimension is, or with Not is not, one of the values.
type Condition struct {
	Dim    Dim      `json:"dim"`
	Not    bool     `json:"not,omitempty"`
	Values []string `json:"values"`
}

func (c *Condition) keeps(name []byte) bool {
	return slices.Contains(c.Values, string(name)) != c.Not
}

// Query is a question about spend. The zero value asks for the sum of everything.
type Query struct {
	From        int64       `json:"from"` // Unix seconds
	To          int64       `json:"to"`   // exclusive
	Granularity string      `json:"granularity,omitempty"`
	GroupBy     []Dim       `json:"group_by,omitempty"`
	Filter      []Condition `json:"filter,omitempty"`
}

// Granularities are what a Query may ask for: one line for each minute, hour, day or month
// in UTC, or one for all ("total", and "").
var Granularities = []string{"total", "minute", "hour", "day", "month"}

// Line is the sums of one time and one combination of names.
type Line struct {
	Start int64    `json:"start,omitempty"` // Unix seconds; 0 for a total
	Names []string `json:"names,omitempty"` // as GroupBy has them
	Sums  Sums     `json:"sums"`
}

// Source reads cells.
type Source interface {
	// Scan calls visit for each cell of the level from the key first to before the key end.
	// Neither slice is valid after visit.
	Scan(l Level, first, end []byte, visit func(key, value []byte) error) error
}

// Validate says whether the query can be answered, and rounds its times outwards to what is
// kept: minutes, or hours where customers or tags are asked for.
func (q *Query) Validate() error {
	fam, err := familyOf(q.used())
	if err != nil {
		return err
	}
	if q.Granularity == "" {
		q.Granularity = "total"
	}
	if !slices.Contains(Granularities, q.Granularity) {
		return fmt.Errorf("granularity %q is not one of %v", q.Granularity, Granularities)
	}
	least := families[fam].finest
	if q.Granularity == "minute" && least != Minute {
		return fmt.Errorf("spend by customer or tag is kept by the hour")
	}
	if q.Granularity == "hour" {
		least = Hour
	}
	q.From = least.Floor(max(q.From, 0))
	q.To = least.Floor(q.To + least.Seconds() - 1)
	if q.To < q.From {
		return fmt.Errorf("the range ends before it begins")
	}
	return nil
}

// For how long cells of a minute and of an hour are kept at least.
const (
	MinutesKept = 48 * time.Hour
	HoursKept   = 62 * 24 * time.Hour
)

// Fit validates the query and rounds its times outwards to what is still kept at now: to
// hours two days ago, to days two months ago.
func (q *Query) Fit(now time.Time) error {
	level := func(at int64) Level {
		switch age := now.Unix() - at; {
		case age > int64((HoursKept - 25*time.Hour).Seconds()):
			return Day
		case age > int64((MinutesKept - 2*time.Hour).Seconds()):
			return Hour
		default:
			return Minute
		}
	}
	if err := q.Validate(); err != nil {
		return err
	}
	from, to := level(q.From), level(q.To)
	if q.Granularity == "minute" && from > Minute || q.Granularity == "hour" && from > Hour {
		return fmt.Errorf("minutes are kept for two days and hours for two months: the range begins before that")
	}
	q.From, q.To = from.Floor(q.From), to.Floor(q.To+to.Seconds()-1)
	return nil
}

func (q *Query) used() []Dim {
	used := slices.Clone(q.GroupBy)
	for i := range q.Filter {
		used = append(used, q.Filter[i].Dim)
	}
	return used
}

// NeedsMinutes says whether the query cannot be answered from hours and days.
func (q *Query) NeedsMinutes() bool {
	fam, err := familyOf(q.used())
	return err == nil && slices.ContainsFunc(q.spans(families[fam].finest), func(s span) bool { return s.level == Minute })
}

// span is a range of time that is read from one level.
type span struct {
	level    Level
	from, to int64
}

// spans covers the range with cells as coarse as granularity and edges allow.
func (q *Query) spans(finest Level) []span {
	coarsest := Day
	switch q.Granularity {
	case "minute":
		coarsest = Minute
	case "hour":
		coarsest = Hour
	}
	return cover(nil, coarsest, finest, q.From, q.To)
}

func cover(out []span, l, finest Level, from, to int64) []span {
	if from >= to {
		return out
	}
	if l == finest {
		return append(out, span{l, from, to})
	}
	first, last := l.Floor(from+l.Seconds()-1), l.Floor(to)
	if first >= last {
		return cover(out, l-1, finest, from, to)
	}
	out = cover(out, l-1, finest, from, first)
	out = append(out, span{l, first, last})
	return cover(out, l-1, finest, last, to)
}

// Run answers a query that has been validated.
func (q *Query) Run(src Source) ([]Line, error) {
	fam, err := familyOf(q.used())
	if err != nil {
		return nil, err
	}
	g := groups{q: q, lines: map[string]*Line{}}
	g.cell.noNames = len(q.used()) == 0
	for _, sp := range q.spans(families[fam].finest) {
		first, end := bounds(fam, sp.from, sp.to)
		if err := src.Scan(sp.level, first, end, g.take); err != nil {
			return nil, err
		}
	}
	return g.sorted(), nil
}

// groups are lines on their way.
type groups struct {
	q       *Query
	lines   map[string]*Line
	scratch []byte
	cell    cell
	last    *Line // of the cell before, which most often is of the same time
	lastKey []byte
}

func (g *groups) take(key, value []byte) error {
	if err := g.cell.parse(key); err != nil {
		return err
	}
	for i := range g.q.Filter {
		if c := &g.q.Filter[i]; !c.keeps(g.cell.names[c.Dim]) {
			return nil
		}
	}
	start := g.q.bucket(g.cell.start)
	g.scratch = binary.BigEndian.AppendUint64(g.scratch[:0], uint64(start))
	for _, d := range g.q.GroupBy {
		g.scratch = append(binary.AppendUvarint(g.scratch, uint64(len(g.cell.names[d]))), g.cell.names[d]...)
	}
	if g.last == nil || !bytes.Equal(g.scratch, g.lastKey) {
		line, err := g.line(start)
		if err != nil {
			return err
		}
		g.last, g.lastKey = line, append(g.lastKey[:0], g.scratch...)
	}
	return g.last.Sums.addEncoded(value)
}

// line finds or makes the line whose key is in scratch.
func (g *groups) line(start int64) (*Line, error) {
	if line, ok := g.lines[string(g.scratch)]; ok {
		return line, nil
	}
	if len(g.lines) == MaxLines {
		return nil, fmt.Errorf("the answer has more than %d lines: ask for less at once", MaxLines)
	}
	line := &Line{Start: start}
	for _, d := range g.q.GroupBy {
		line.Names = append(line.Names, string(g.cell.names[d]))
	}
	g.lines[string(g.scratch)] = line
	return line, nil
}

// bucket is the start of the line that a cell belongs to.
func (q *Query) bucket(at int64) int64 {
	switch q.Granularity {
	case "minute":
		return at
	case "hour":
		return Hour.Floor(at)
	case "day":
		return Day.Floor(at)
	case "month":
		t := time.Unix(at, 0).UTC()
		return time.Date(t.Year(), t.Month(), 1, 0, 0, 0, 0, time.UTC).Unix()
	default:
		return 0
	}
}

func (g *groups) sorted() []Line {
	out := make([]Line, 0, len(g.lines))
	for _, l := range g.lines {
		out = append(out, *l)
	}
	sortLines(out)
	return out
}

func sortLines(lines []Line) {
	slices.SortFunc(lines, func(a, b Line) int {
		return cmp.Or(cmp.Compare(a.Start, b.Start), slices.Compare(a.Names, b.Names))
	})
}

// Merge adds up the answers of several nodes to one query.
func Merge(answers ...[]Line) []Line {
	all := slices.Concat(answers...)
	sortLines(all)
	out := all[:0]
	for _, l := range all {
		if n := len(out); n > 0 && out[n-1].Start == l.Start && slices.Equal(out[n-1].Names, l.Names) {
			out[n-1].Sums.Add(&l.Sums)
		} else {
			out = append(out, l)
		}
	}
	return out
}
