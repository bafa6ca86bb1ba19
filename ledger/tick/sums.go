package tick

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/conclave-llm/conclave/ledger"
	"github.com/conclave-llm/conclave/resource"
)

// spendKey is the names and the day of a delta.
type spendKey struct {
	key, team, model, organization, project, user, customer, tags, provider, deployment string

	day int32
}

func names(d *ledger.SpendDelta) spendKey {
	return spendKey{
		d.KeyID, d.TeamID, d.Model, d.Organization, d.Project, d.User, d.Customer, strings.Join(d.Tags, "\x00"),
		d.Provider, d.Deployment, d.Day,
	}
}

func (k *spendKey) bytes() int {
	return len(k.key) + len(k.team) + len(k.model) + len(k.organization) + len(k.project) + len(k.user) + len(k.customer) +
		len(k.tags) + len(k.provider) + len(k.deployment)
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
	spend  map[spendKey]*ledger.SpendDelta
	settle map[chargeKey]resource.Money
	bytes  int // of their names
}

func newSums() *sums {
	return &sums{spend: make(map[spendKey]*ledger.SpendDelta), settle: make(map[chargeKey]resource.Money)}
}

func (s *sums) add(d *ledger.SpendDelta, charges []ledger.AccountCharge) {
	k := names(d)
	if t, ok := s.spend[k]; ok {
		t.Cost += d.Cost
		t.Requests += d.Requests
		t.Failures += d.Failures
		t.Prompt += d.Prompt
		t.Completion += d.Completion
	} else {
		c := *d
		s.spend[k] = &c
		s.bytes += k.bytes()
	}
	for _, c := range charges {
		if c.Amount == 0 {
			continue
		}
		k := chargeKey{c.Account, c.Start}
		if _, ok := s.settle[k]; !ok {
			s.bytes += len(c.Account)
		}
		s.settle[k] += c.Amount
	}
}

func (s *sums) len() int { return len(s.spend) + len(s.settle) }

// full says that no further record goes into a tick of so many deltas at most.
func (s *sums) full(most int) bool { return s.len() >= most || s.bytes >= maxBytes }

// lists returns the sums in an order that does not change.
func (s *sums) lists() (spend []ledger.SpendDelta, settle []ledger.AccountCharge) {
	names := slices.SortedFunc(maps.Keys(s.spend), func(a, b spendKey) int { return a.compare(&b) })
	for _, k := range names {
		spend = append(spend, *s.spend[k])
	}
	for k, m := range s.settle {
		settle = append(settle, ledger.AccountCharge{Account: k.account, Start: k.start, Amount: m})
	}
	ledger.SortCharges(settle)
	return spend, settle
}
