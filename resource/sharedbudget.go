package resource

import (
	"cmp"
	"maps"
	"net/url"
	"slices"
	"strings"
)

// Budget is a shared set of terms and limits. Each key, team, customer, … that names it has
// accounts and counters of its own under them.
type Budget struct {
	Meta
	Name        string            `json:"name,omitempty"`
	Terms       Terms             `json:"terms,omitzero"`         // with MaxMoney and no soft limit they bound nothing, and there is no account
	Budgets     []Terms           `json:"budgets,omitempty"`      // beside Terms: of single models, of other windows
	Limits      Limits            `json:"limits,omitzero"`        // of each holder; the lower of these and his own counts
	ModelLimits map[string]Limits `json:"model_limits,omitempty"` // by model name, beside Limits
}

// Label implements Record.
func (b *Budget) Label() string { return b.Name }

// Validate implements Record.
func (b *Budget) Validate() error {
	if err := validName("name", b.Name); err != nil {
		return err
	}
	if err := b.Terms.validate("terms"); err != nil {
		return err
	}
	rest := Allowance{Budgets: b.Budgets, Limits: b.Limits, ModelLimits: b.ModelLimits}
	if err := rest.validate(); err != nil {
		return err
	}
	for i, t := range b.Budgets {
		if t.canonicalize(); t.Name == cmp.Or(b.Terms.Name, b.Terms.defaultName()) {
			return invalidf("budgets", "%q is the name of the budget's terms, too (at %d)", t.Name, i)
		}
	}
	return nil
}

// Canonicalize implements Record.
func (b *Budget) Canonicalize() {
	b.Terms.canonicalize()
	for i := range b.Budgets {
		b.Budgets[i].canonicalize()
	}
}

// All are the terms of the budget that bound something.
func (b *Budget) All() []Terms {
	if b.Terms.Boundless() {
		return b.Budgets
	}
	if len(b.Budgets) == 0 {
		return []Terms{b.Terms}
	}
	return append([]Terms{b.Terms}, b.Budgets...)
}

// Boundless says that terms neither refuse nor alert.
func (t *Terms) Boundless() bool {
	return t.Unit() == UnitUSD && t.USD == MaxMoney && t.Soft == 0 && t.Increase == nil
}

// limited says that the budget has limits.
func (b *Budget) limited() bool { return !b.Limits.IsZero() || len(b.ModelLimits) > 0 }

// Within is the allowance with the limits of its shared budget, of which the lower count; the allowance itself if
// the budget, which may be nil, has none.
func (a *Allowance) Within(b *Budget) *Allowance {
	if b == nil || !b.limited() {
		return a
	}
	whole := *a
	whole.Limits = a.Limits.lower(&b.Limits)
	whole.ModelLimits = maps.Clone(b.ModelLimits)
	for model, own := range a.ModelLimits {
		shared := b.ModelLimits[model]
		if whole.ModelLimits == nil {
			whole.ModelLimits = map[string]Limits{}
		}
		whole.ModelLimits[model] = own.lower(&shared)
	}
	return &whole
}

// lower are the lower limits of both.
func (l *Limits) lower(o *Limits) Limits {
	return Limits{
		RPM: lower(l.RPM, o.RPM), TPM: lower(l.TPM, o.TPM), InputTPM: lower(l.InputTPM, o.InputTPM),
		OutputTPM: lower(l.OutputTPM, o.OutputTPM), Parallel: lower(l.Parallel, o.Parallel),
	}
}

// Limits are those of an allowance, with those of its shared budget.
func (c *Catalog) Limits(a *Allowance) Limits {
	if b := c.limiter(a); b != nil {
		return a.Limits.lower(&b.Limits)
	}
	return a.Limits
}

// ModelLimits are those of one model, with those of the shared budget; false: there are none.
func (c *Catalog) ModelLimits(a *Allowance, model string) (Limits, bool) {
	l, ok := a.ModelLimits[model]
	if b := c.limiter(a); b != nil {
		shared, has := b.ModelLimits[model]
		return l.lower(&shared), ok || has
	}
	return l, ok
}

// Limited says whether an allowance, or its shared budget, has limits.
func (c *Catalog) Limited(a *Allowance) bool {
	return !a.Limits.IsZero() || len(a.ModelLimits) > 0 || c.limiter(a) != nil
}

// limiter is the shared budget of an allowance if that has limits, else nil. c may be nil.
func (c *Catalog) limiter(a *Allowance) *Budget {
	if c == nil || a.BudgetID == "" {
		return nil
	}
	if b := c.budgets[a.BudgetID]; b != nil && b.limited() {
		return b
	}
	return nil
}

// The accounts of a customer under a budget that his record does not name stand under names that no terms can
// have: the mark, the budget's id, a colon, the name of its terms.
const givenMark = "@"

// Given is what a customer may spend who is given the budget by a setting or a key, not by his record.
func (b *Budget) Given() Allowance {
	terms := slices.Clone(b.All())
	for i := range terms {
		terms[i].Name = givenMark + url.QueryEscape(b.ID) + ":" + cmp.Or(terms[i].Name, terms[i].defaultName())
	}
	return Allowance{Budgets: terms, Limits: b.Limits, ModelLimits: b.ModelLimits}
}

// GivenBy is the id of the budget of which terms of this name are given; false if the terms are a record's own.
func GivenBy(name string) (budget string, ok bool) {
	rest, ok := strings.CutPrefix(name, givenMark)
	if !ok {
		return "", false
	}
	id, _, _ := strings.Cut(rest, ":")
	id, err := url.QueryUnescape(id)
	return id, err == nil
}

// GivenNamed finds the terms that Given gave the name.
func (b *Budget) GivenNamed(name string) (Terms, bool) {
	terms := b.Given().Budgets
	i := slices.IndexFunc(terms, func(t Terms) bool { return t.Name == name })
	if i < 0 {
		return Terms{}, false
	}
	return terms[i], true
}

// SettingCustomerBudget names the shared budget of end users who have none of their own.
const SettingCustomerBudget = "customer_budget"

// Shared finds a shared budget by its id, else by its name.
func (c *Catalog) Shared(ref string) (*Budget, bool) {
	if b, ok := c.budgets[ref]; ok {
		return b, true
	}
	i := slices.IndexFunc(c.tables.Budgets, func(b *Budget) bool { return b.Name == ref })
	if i < 0 {
		return nil, false
	}
	return c.tables.Budgets[i], true
}

func validCustomerBudget(ref string) error {
	if ref == "" {
		return nil
	}
	return validName("customer_budget", ref)
}

// CustomerLevel is the level of an end user, who may have no record. One that has no budgets of its own gets what the
// key of who asks, else its team, its organization or the setting, has for such end users; then the policy of one
// without a record is nil. who may be nil. none says that there is no level at all; ok is false if a budget is named
// that the catalog does not have.
func (c *Catalog) CustomerLevel(id string, record *Customer, who *Principal) (l Level, none, ok bool) {
	if record != nil {
		l, _ = LevelOf(record)
		if record.BudgetID != "" || len(record.Budgets) > 0 {
			return l, false, true
		}
	}
	given, ok := c.customerBudget(who)
	switch {
	case given == nil:
		return l, record == nil, ok
	case record == nil:
		return Level{Kind: HolderCustomer, ID: id, Allowance: given}, false, true
	}
	if record.IsZero() {
		l.Allowance = given
		return l, false, true
	}
	l.Allowance = record.Within(&Budget{Limits: given.Limits, ModelLimits: given.ModelLimits})
	whole := *l.Allowance
	whole.Budgets = given.Budgets
	l.Allowance = &whole
	return l, false, true
}

// customerBudget is what end users without budgets get whose requests come from who; nil for nothing.
func (c *Catalog) customerBudget(who *Principal) (given *Allowance, ok bool) {
	ref := c.settings.CustomerBudget
	if who != nil {
		ref = cmp.Or(who.customerBudget(), ref)
	}
	if ref == "" {
		return nil, true
	}
	given, ok = c.given[ref]
	return given, ok
}

// customerBudget is the shared budget that the innermost level names of which keys are part; "" for none.
func (p *Principal) customerBudget() string {
	switch {
	case p.Key != nil && p.Key.CustomerBudget != "":
		return p.Key.CustomerBudget
	case p.Team != nil && p.Team.CustomerBudget != "":
		return p.Team.CustomerBudget
	case p.Organization != nil:
		return p.Organization.CustomerBudget
	}
	return ""
}

// givenOf are the budgets as end users are given them, by name and by id, which wins.
func givenOf(budgets []*Budget) map[string]*Allowance {
	given := make(map[string]*Allowance, 2*len(budgets))
	all := make([]Allowance, len(budgets))
	for i, b := range slices.Backward(budgets) { // of two of one name the first, as Shared has it
		all[i] = b.Given()
		given[b.Name] = &all[i]
	}
	for i, b := range budgets {
		given[b.ID] = &all[i]
	}
	return given
}
