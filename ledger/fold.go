package ledger

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/conclave-llm/conclave/resource"
)

const day = 24 * 3600 * 1_000_000_000 // nanoseconds

// SpendDelta is the sum of some records that agree in all its names.
type SpendDelta struct {
	KeyID        string // "" for the master key, and so for every name that a record lacks
	TeamID       string
	Model        string
	Day          int32 // days since 1970-01-01 UTC
	Cost         resource.Money
	Requests     int64
	Failures     int64
	Prompt       int64 // tokens
	Completion   int64 // tokens
	Organization string
	Project      string
	User         string // whose key it is
	Customer     string
	Tags         []string // sorted, each once
	Provider     string
	Deployment   string
}

// folds are settlements on their way to the Ticker: the part of each record that a tick
// needs, and one list of all their charges.
type folds struct {
	items   []fold
	charges []AccountCharge
}

type fold struct {
	number uint64
	delta  SpendDelta
	count  int // of its charges
}

func (f *folds) add(number uint64, r *Record) {
	f.items = append(f.items, fold{number, deltaOf(r), len(r.Charges)})
	f.charges = append(f.charges, r.Charges...)
}

func (f *folds) reset() {
	clear(f.items)
	clear(f.charges)
	f.items, f.charges = f.items[:0], f.charges[:0]
}

func deltaOf(r *Record) SpendDelta {
	d := SpendDelta{
		KeyID: r.KeyID, TeamID: r.TeamID, Model: r.Model, Day: int32(int64(r.Time) / day),
		Cost: r.Cost, Requests: 1, Prompt: r.Usage.Prompt(), Completion: r.Usage.Completion(),
		Organization: r.OrganizationID, Project: r.ProjectID, User: r.UserID, Customer: r.CustomerID,
		Provider: r.Provider, Deployment: r.DeploymentID,
	}
	if len(r.Tags) > 0 { // the record's list may be used again
		d.Tags = slices.Clone(r.Tags)
		slices.Sort(d.Tags)
		d.Tags = slices.Compact(d.Tags)
	}
	if r.Failed() {
		d.Failures = 1
	}
	return d
}

// spendKey is the names and the day of a delta.
type spendKey struct {
	key, team, model, organization, project, user, customer, tags, provider, deployment string

	day int32
}

func (d *SpendDelta) names() spendKey {
	return spendKey{
		d.KeyID, d.TeamID, d.Model, d.Organization, d.Project, d.User, d.Customer, strings.Join(d.Tags, "\x00"),
		d.Provider, d.Deployment, d.Day,
	}
}

func (k *spendKey) compare(o *spendKey) int {
	return cmp.Or(
		strings.Compare(k.key, o.key), strings.Compare(k.team, o.team), strings.Compare(k.model, o.model),
		cmp.Compare(k.day, o.day), strings.Compare(k.organization, o.organization), strings.Compare(k.project, o.project),
		strings.Compare(k.user, o.user), strings.Compare(k.customer, o.customer), strings.Compare(k.tags, o.tags),
		strings.Compare(k.provider, o.provider), strings.Compare(k.deployment, o.deployment),
	)
}

type chargeKey struct {
	account resource.AccountID
	start   resource.Time
}

// sums are records folded together.
type sums struct {
	spend  map[spendKey]*SpendDelta
	settle map[chargeKey]resource.Money
}

func newSums() *sums {
	return &sums{spend: make(map[spendKey]*SpendDelta), settle: make(map[chargeKey]resource.Money)}
}

func (s *sums) add(d *SpendDelta, charges []AccountCharge) {
	k := d.names()
	if t, ok := s.spend[k]; ok {
		t.Cost += d.Cost
		t.Requests += d.Requests
		t.Failures += d.Failures
		t.Prompt += d.Prompt
		t.Completion += d.Completion
	} else {
		c := *d
		s.spend[k] = &c
	}
	for _, c := range charges {
		if c.Amount != 0 {
			s.settle[chargeKey{c.Account, c.Start}] += c.Amount
		}
	}
}

func (s *sums) len() int { return len(s.spend) + len(s.settle) }

// lists returns the sums in an order that does not change.
func (s *sums) lists() (spend []SpendDelta, settle []AccountCharge) {
	names := slices.SortedFunc(maps.Keys(s.spend), func(a, b spendKey) int { return a.compare(&b) })
	for _, k := range names {
		spend = append(spend, *s.spend[k])
	}
	for k, m := range s.settle {
		settle = append(settle, AccountCharge{k.account, k.start, m})
	}
	SortCharges(settle)
	return spend, settle
}

// SortCharges sorts by account, then window.
func SortCharges(cs []AccountCharge) {
	slices.SortFunc(cs, func(a, b AccountCharge) int {
		return cmp.Or(strings.Compare(string(a.Account), string(b.Account)), cmp.Compare(a.Start, b.Start))
	})
}

// takeFolds moves the settlements of this process up to the number into f.
func (j *Journal) takeFolds(to uint64, f *folds) {
	f.reset()
	j.mu.Lock()
	defer j.mu.Unlock()
	n, charges := 0, 0
	for n < len(j.folds.items) && j.folds.items[n].number <= to {
		charges += j.folds.items[n].count
		n++
	}
	if n == len(j.folds.items) { // mostly: swap instead of copying
		j.folds, *f = *f, j.folds
		return
	}
	f.items = append(f.items, j.folds.items[:n]...)
	f.charges = append(f.charges, j.folds.charges[:charges]...)
	j.folds.items = slices.Delete(j.folds.items, 0, n)
	j.folds.charges = slices.Delete(j.folds.charges, 0, charges)
}
