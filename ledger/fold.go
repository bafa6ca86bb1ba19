package ledger

import (
	"cmp"
	"slices"
	"strings"

	"github.com/conclave-llm/conclave/ledger/fields"
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

// Folds are settlements on their way into a tick: the part of each record that it needs, and
// one list of all their charges.
type Folds struct {
	Items   []Fold
	Charges []AccountCharge
}

// Fold is one settlement.
type Fold struct {
	Number uint64
	Delta  SpendDelta
	Count  int // of its charges
}

func (f *Folds) add(number uint64, r *Record) {
	f.Items = append(f.Items, Fold{number, DeltaOf(r), len(r.Charges)})
	f.Charges = append(f.Charges, r.Charges...)
}

func (f *Folds) reset() {
	clear(f.Items)
	clear(f.Charges)
	f.Items, f.Charges = f.Items[:0], f.Charges[:0]
}

// DeltaOf returns what one record adds. Its names are texts that the replicated state takes, whatever the
// record has: a tick that it refuses would hold up all that come after it.
func DeltaOf(r *Record) SpendDelta {
	d := SpendDelta{
		KeyID: r.KeyID, TeamID: r.TeamID, Model: r.Model, Day: int32(int64(r.Time) / day),
		Cost: r.Cost, Requests: 1, Prompt: r.Usage.Prompt(), Completion: r.Usage.Completion(),
		Organization: r.OrganizationID, Project: r.ProjectID, User: r.UserID, Customer: r.CustomerID,
		Provider: r.Provider, Deployment: r.DeploymentID,
	}
	for _, s := range [...]*string{
		&d.KeyID, &d.TeamID, &d.Model, &d.Organization, &d.Project, &d.User, &d.Customer, &d.Provider, &d.Deployment,
	} {
		*s = fields.Cut(*s, maxName)
	}
	if len(r.Tags) > 0 { // the record's list may be used again
		d.Tags = cutTags(r.Tags)
		slices.Sort(d.Tags)
		d.Tags = slices.Compact(d.Tags)
	}
	if r.Failed() {
		d.Failures = 1
	}
	if r.Flags.Has(Adjustment) {
		d.Requests, d.Failures = 0, 0
	}
	return d
}

// SortCharges sorts by account, then window.
func SortCharges(cs []AccountCharge) {
	slices.SortFunc(cs, func(a, b AccountCharge) int {
		return cmp.Or(strings.Compare(string(a.Account), string(b.Account)), cmp.Compare(a.Start, b.Start))
	})
}

// TakeFolds moves the settlements of this process up to the number into f, in the place of
// what is there. One reader takes them all.
func (j *Journal) TakeFolds(to uint64, f *Folds) {
	f.reset()
	j.mu.Lock()
	defer j.mu.Unlock()
	n, charges := 0, 0
	for n < len(j.folds.Items) && j.folds.Items[n].Number <= to {
		charges += j.folds.Items[n].Count
		n++
	}
	if n == len(j.folds.Items) { // mostly: swap instead of copying
		j.folds, *f = *f, j.folds
		return
	}
	f.Items = append(f.Items, j.folds.Items[:n]...)
	f.Charges = append(f.Charges, j.folds.Charges[:charges]...)
	j.folds.Items = slices.Delete(j.folds.Items, 0, n)
	j.folds.Charges = slices.Delete(j.folds.Charges, 0, charges)
}
