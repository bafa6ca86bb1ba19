package pricing

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/conclave-llm/conclave/resource"
)

// tooMuch is how many times a price may rise or fall before a person has to look at it.
const tooMuch = 100

// Change is what a file changes of one model, in dollars. A price that is new has no Old, one
// that is gone no New.
type Change struct {
	Provider string        `json:"provider"`
	Model    string        `json:"model"`
	Kind     string        `json:"kind"`           // added, changed, removed, refused
	Held     string        `json:"held,omitempty"` // why it is not applied without a person's word
	Prices   []PriceChange `json:"prices,omitempty"`
}

// PriceChange is a change of one price.
type PriceChange struct {
	Name string `json:"name"` // as in the row form: "input", ">200000 input"
	Old  string `json:"old,omitempty"`
	New  string `json:"new,omitempty"`
}

// The kinds of changes.
const (
	Added   = "added"
	Changed = "changed"
	Removed = "removed"
	Refused = "refused"
)

// Plan is what a file does to the prices.
type Plan struct {
	Changes   []Change // sorted by provider and model
	Unchanged int
	Rows      []*Entry // the imported rows afterwards
	proposals []proposal
}

// proposal is a row that waits for a person; reason says why.
type proposal struct {
	reason string
	kind   string
	entry  *Entry
}

// How says how a file is applied.
type How struct {
	// Replace drops imported rows that the file does not have; else they stay.
	Replace bool
	// Review holds every change for a person.
	Review bool
	// Accept holds nothing.
	Accept bool
	// InUse are the rows, "provider/model", at which a deployment is priced.
	InUse map[string]bool
}

// ErrShrunk is returned for a file that would drop more than half of the rows.
var ErrShrunk = errors.New("the file has fewer than half of the rows that it replaces")

// NewPlan compares a file with the prices that count now.
func NewPlan(now *Book, f *File, how How) (*Plan, error) {
	if how.Replace && !how.Accept && len(f.Entries) < len(now.imported)/2 {
		return nil, fmt.Errorf("plan %d rows over %d: %w", len(f.Entries), len(now.imported), ErrShrunk)
	}
	p := &Plan{}
	rows := maps.Clone(now.imported)
	if rows == nil {
		rows = map[string]*Entry{}
	}
	seen := make(map[string]bool, len(f.Entries))
	for _, r := range f.Refused {
		seen[r.Provider+"/"+r.Model] = true
		p.hold(Refused, "refused: "+r.Reason, &Entry{Provider: r.Provider, Model: r.Model}, nil)
	}
	for _, e := range f.Entries {
		seen[e.key()] = true
		if p.compare(now, e, how) {
			rows[e.key()] = e
		}
	}
	for key, e := range now.imported {
		if !how.Replace || seen[key] {
			continue
		}
		reason := ""
		switch {
		case how.Accept:
		case how.InUse[key]:
			reason = "a model in use has vanished"
		case how.Review:
			reason = "review"
		}
		if reason != "" {
			p.hold(Removed, reason, e, diff(e, nil))
			continue
		}
		delete(rows, key)
		p.Changes = append(p.Changes, Change{Provider: e.Provider, Model: e.Model, Kind: Removed, Prices: diff(e, nil)})
	}
	p.Rows = slices.Collect(maps.Values(rows))
	byName := func(a, b Change) int {
		return cmp.Or(strings.Compare(a.Provider, b.Provider), strings.Compare(a.Model, b.Model))
	}
	slices.SortStableFunc(p.Changes, byName)
	return p, nil
}

func (p *Plan) hold(kind, reason string, e *Entry, prices []PriceChange) {
	p.Changes = append(p.Changes, Change{Provider: e.Provider, Model: e.Model, Kind: kind, Held: reason, Prices: prices})
	p.proposals = append(p.proposals, proposal{reason: reason, kind: kind, entry: e})
}

// compare takes in one row and says whether it may be applied.
func (p *Plan) compare(now *Book, e *Entry, how How) bool {
	old, _, ok := now.Row(e.Provider, e.Model)
	prices := diff(old, e)
	if ok && len(prices) == 0 {
		p.Unchanged++
		return true
	}
	kind := Changed
	if !ok {
		kind = Added
	}
	reason := ""
	switch {
	case how.Accept:
	case how.Review:
		reason = "review"
	}
	if why := suspicious(old, e, how.InUse[e.key()]); why != "" && !how.Accept {
		reason = why
	}
	if reason == "" {
		p.Changes = append(p.Changes, Change{Provider: e.Provider, Model: e.Model, Kind: kind, Prices: prices})
		return true
	}
	p.hold(kind, reason, e, prices)
	return false
}

// suspicious says what about a change looks like a mistake, "" for nothing. A price that has vanished, where a lower one
// then stands in its place, is one for a row in use.
func suspicious(old, e *Entry, inUse bool) string {
	if old == nil || old.Price == nil {
		return ""
	}
	if e.Price == nil {
		return "the price is gone"
	}
	before, after := pricesOf(old), pricesOf(e)
	names := maps.Clone(before)
	maps.Copy(names, after)
	for _, name := range slices.Sorted(maps.Keys(names)) {
		_, had := before[name]
		_, has := after[name]
		a, b := charged(old.Price, name), charged(e.Price, name)
		switch {
		case a == b || a == 0 && !had:
		case a == 0 || b == 0:
			return name + " goes from or to 0"
		case !has && b < a && inUse:
			return name + " is gone, and what stands in its place is lower"
		case a/tooMuch > b || b/tooMuch > a:
			return name + " changes more than 100 times"
		}
	}
	return ""
}

// charged is what is charged under the name of a price in the row form, ">200000 input", whether the price has it
// or something else is taken in its place; 0: nothing is. Only for the same name can two be compared.
func charged(p *resource.Price, name string) int64 {
	words := strings.Split(name, " ")
	class, ok := classNamed(words[len(words)-1])
	if !ok {
		switch name {
		case "request":
			return int64(p.Request)
		case "gpus":
			return p.GPUCount()
		}
		if r := p.Unit(name); r != nil {
			return int64(*r)
		}
		return 0
	}
	t := &terms{price: p, half: 1}
	for _, word := range words[:len(words)-1] {
		if above, isAbove := strings.CutPrefix(word, ">"); isAbove {
			t.prompt, _ = strconv.ParseInt(above, 10, 64) // pricesOf wrote it
			t.prompt++
		} else {
			t.service = word
		}
	}
	rate := int64(t.rate(class))
	return rate * 2 / int64(t.half)
}

// diff lists the prices that differ; either entry may be nil.
func diff(old, now *Entry) []PriceChange {
	var before, after map[string]string
	if old != nil {
		before = pricesOf(old)
	}
	if now != nil {
		after = pricesOf(now)
	}
	names := slices.Sorted(maps.Keys(after))
	for _, name := range slices.Sorted(maps.Keys(before)) {
		if _, ok := after[name]; !ok {
			names = append(names, name)
		}
	}
	var out []PriceChange
	for _, name := range names {
		if before[name] != after[name] {
			out = append(out, PriceChange{Name: name, Old: shown(name, before[name]), New: shown(name, after[name])})
		}
	}
	return out
}

// shown writes a price of the row form in dollars.
func shown(name, value string) string {
	n, err := strconv.ParseInt(value, 10, 64)
	if err != nil {
		return ""
	}
	if name != "gpus" && slices.Contains(resource.UnitNames(), name) {
		return resource.Rate(n).String()
	}
	return resource.Money(n).String()
}

// Keep is a plan that changes nothing, and proposes nothing any more.
func (b *Book) Keep() *Plan {
	return &Plan{Rows: slices.Collect(maps.Values(b.imported))}
}

// Held counts the changes that wait for a person.
func (p *Plan) Held() int { return len(p.proposals) }

// Write puts the rows and the proposals into the table.
func (p *Plan) Write(t *resource.PriceTable) (err error) {
	if t.Rows, err = Pack(p.Rows); err != nil {
		return err
	}
	t.Count = int64(len(p.Rows))
	t.Proposed, t.ProposedCount = nil, int64(len(p.proposals))
	if len(p.proposals) == 0 {
		return nil
	}
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	for _, r := range p.proposals {
		if _, err := io.WriteString(z, clean(r.reason)+"\t"+r.kind+"\t"+r.entry.Row()+"\n"); err != nil {
			return fmt.Errorf("pack proposals: %w", err)
		}
	}
	if err := z.Close(); err != nil {
		return fmt.Errorf("pack proposals: %w", err)
	}
	t.Proposed = b.Bytes()
	return nil
}

// clean keeps a reason in its field.
func clean(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' {
			return ' '
		}
		return r
	}, s)
	return s[:min(len(s), 300)]
}

// Proposed lists the changes of a table that wait for a person.
func Proposed(now *Book) ([]Change, error) {
	proposals, err := proposalsOf(now.table)
	if err != nil {
		return nil, err
	}
	out := make([]Change, 0, len(proposals))
	for _, r := range proposals {
		c := Change{Provider: r.entry.Provider, Model: r.entry.Model, Kind: r.kind, Held: r.reason}
		old, _, _ := now.Row(c.Provider, c.Model)
		switch r.kind {
		case Refused:
		case Removed:
			c.Prices = diff(old, nil)
		default:
			c.Prices = diff(old, r.entry)
		}
		out = append(out, c)
	}
	return out, nil
}

// Accept makes a plan of the proposals of a table. only, if not empty, picks some by
// "provider/model"; the others go on waiting.
func Accept(now *Book, only []string) (*Plan, error) {
	proposals, err := proposalsOf(now.table)
	if err != nil {
		return nil, err
	}
	p := &Plan{}
	rows := maps.Clone(now.imported)
	if rows == nil {
		rows = map[string]*Entry{}
	}
	for _, r := range proposals {
		key := r.entry.key()
		if len(only) > 0 && !slices.Contains(only, key) {
			p.proposals = append(p.proposals, r)
			continue
		}
		old, _, _ := now.Row(r.entry.Provider, r.entry.Model)
		c := Change{Provider: r.entry.Provider, Model: r.entry.Model, Kind: r.kind}
		switch r.kind {
		case Refused:
			continue // there is nothing to take
		case Removed:
			delete(rows, key)
			c.Prices = diff(old, nil)
		default:
			rows[key] = r.entry
			c.Prices = diff(old, r.entry)
		}
		p.Changes = append(p.Changes, c)
	}
	p.Rows = slices.Collect(maps.Values(rows))
	return p, nil
}

func proposalsOf(t *resource.PriceTable) ([]proposal, error) {
	if t == nil || len(t.Proposed) == 0 {
		return nil, nil
	}
	lines, err := unpackLines(t.Proposed)
	if err != nil {
		return nil, err
	}
	var out []proposal
	for i, line := range lines {
		reason, rest, ok := strings.Cut(line, "\t")
		kind, row, ok2 := strings.Cut(rest, "\t")
		if !ok || !ok2 {
			return nil, fmt.Errorf("read proposals, line %d: no reason", i+1)
		}
		e, err := parseProposal(kind, row)
		if err != nil {
			return nil, fmt.Errorf("read proposals, line %d: %w", i+1, err)
		}
		out = append(out, proposal{reason: reason, kind: kind, entry: e})
	}
	return out, nil
}

// parseProposal reads a row; one that was refused may have no provider.
func parseProposal(kind, row string) (*Entry, error) {
	if kind == Refused {
		cols := strings.SplitN(row, "\t", 3)
		return &Entry{Provider: cols[0], Model: cols[1]}, nil
	}
	return parseRow(row)
}
