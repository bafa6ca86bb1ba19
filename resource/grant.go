package resource

import (
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"time"
)

// Grant is a policy that somebody gives to a record under other levels. It is the one place
// that says what a child may be granted: never more than each level above it has.
//
// An empty field inherits, for a request passes every level. What only takes away
// (guardrails, denied addresses, enforced parameters, …) may be added at any level.
type Grant struct {
	Policy *Policy
	Before *Policy // that is replaced, nil for a new record: what it had already may stay
	Above  []Level // in any order
	Bounds []Level // that requests do not pass, so that a field left empty has more than they have
	// Terms returns the inline terms of an allowance with its shared ones; nil: the inline.
	Terms func(a *Allowance) []Terms
	// Groups returns the access groups of a model; nil: there are none.
	Groups func(model string) []string
	// AccessGroup returns the access group with the id, nil if there is none; nil: there are none.
	AccessGroup func(id string) *AccessGroup
	// Tagged says whether a tag has a record, whose budgets and rules go with it; nil: each has.
	Tagged func(tag string) bool
	// Called finds what else an MCP server is called; nil: it has one name.
	Called Called
}

// grants is the table of the fields that are compared. Each function says what of the child
// is more than the parent has, "" for nothing.
var grants = []struct {
	field string
	of    func(*Policy) any
	over  func(g *Grant, child, parent *Policy) string
}{
	{"models", modelsOf, (*Grant).overModels},
	{"aliases", aliasesOf, (*Grant).overAliases},
	{"routes", func(p *Policy) any { return p.Routes }, func(_ *Grant, c, p *Policy) string { return overRoutes(c.Routes, p.Routes) }},
	{"passthrough_routes", func(p *Policy) any { return p.PassThrough }, func(_ *Grant, c, p *Policy) string {
		return overRoutes(c.PassThrough, p.PassThrough)
	}},
	{"allowed_ips", func(p *Policy) any { return p.AllowedIPs }, (*Grant).overAddresses},
	{"budgets", func(p *Policy) any { return []any{p.Budgets, p.BudgetID} }, (*Grant).overBudgets},
	{"limits", func(p *Policy) any { return p.Limits }, (*Grant).overLimits},
	{"model_limits", func(p *Policy) any { return p.ModelLimits }, func(_ *Grant, c, p *Policy) string {
		return overParts(c.ModelLimits, func(model string) Limits { return p.ModelLimits[model] }, c, p)
	}},
	{"mcp_limits", func(p *Policy) any { return p.MCPLimits }, func(g *Grant, c, p *Policy) string {
		return overParts(c.MCPLimits, g.mcpLimits(p), c, p)
	}},
	{"tag_limits", func(p *Policy) any { return p.TagLimits }, func(_ *Grant, c, p *Policy) string {
		return overParts(c.TagLimits, func(tag string) Limits { return p.TagLimits[tag] }, c, p)
	}},
	{"budget_fallbacks", func(p *Policy) any { return []any{p.BudgetFallbacks, p.Aliases, p.Models, p.AccessGroupIDs} }, (*Grant).overBudgetFallbacks},
	{"default_output_hold", holdsOf, (*Grant).overHolds},
	{"sessions", func(p *Policy) any { return p.Sessions }, (*Grant).overSessions},
	{"objects", objectsOf, (*Grant).overObjects},
	{"expires_at", func(p *Policy) any { return p.ExpiresAt }, func(_ *Grant, c, p *Policy) string { return later(c.ExpiresAt, p.ExpiresAt) }},
	{"max_request_mb", func(p *Policy) any { return p.MaxRequestMB }, func(_ *Grant, c, p *Policy) string {
		return over("", c.MaxRequestMB, p.MaxRequestMB)
	}},
	{"max_response_mb", func(p *Policy) any { return p.MaxResponseMB }, func(_ *Grant, c, p *Policy) string {
		return over("", c.MaxResponseMB, p.MaxResponseMB)
	}},
	{"log_content_days", func(p *Policy) any { return p.LogContentDays }, func(_ *Grant, c, p *Policy) string {
		return over("", c.LogContentDays, p.LogContentDays)
	}},
}

// Check returns an *Invalid for the first field that grants more than a level above has.
func (g *Grant) Check() error {
	for i := range grants {
		f := &grants[i]
		if g.Before != nil && reflect.DeepEqual(f.of(g.Before), f.of(g.Policy)) {
			continue
		}
		for _, l := range g.Above {
			if l.Policy == nil {
				continue
			}
			if more := f.over(g, g.Policy, l.Policy); more != "" {
				return invalidf(f.field, "%s is more than the %s %s has", more, l.Kind, firstOf(l.Name, l.ID))
			}
		}
	}
	return g.checkBounds()
}

func firstOf(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// modelsOf is what a policy says about models.
func modelsOf(p *Policy) any { return []any{p.Models, p.AccessGroupIDs} }

// aliasesOf is what a policy says about names: an alias gives what the models do not have.
func aliasesOf(p *Policy) any { return []any{p.Aliases, p.Models, p.AccessGroupIDs} }

// objectsOf is what a policy says about other things.
func objectsOf(p *Policy) any { return []any{p.Objects, p.AccessGroupIDs} }

// groups are the access groups of a policy.
func (g *Grant) groups(p *Policy) (all []*AccessGroup) {
	if g.AccessGroup == nil {
		return nil
	}
	for _, id := range p.AccessGroupIDs {
		if group := g.AccessGroup(id); group != nil {
			all = append(all, group)
		}
	}
	return all
}

// models is a policy's list with what its access groups add to it; of one that may have any model (Policy.AnyModel)
// it is empty.
func (g *Grant) models(p *Policy) []string {
	if p.AnyModel() {
		return nil
	}
	list := slices.Clip(p.Models)
	for _, group := range g.groups(p) {
		list = append(list, group.Models...)
	}
	return list
}

func (g *Grant) overModels(child, parent *Policy) string {
	for _, m := range g.models(child) {
		if !g.has(parent, m) {
			return fmt.Sprintf("%q", m)
		}
	}
	return ""
}

// has says whether a policy's models have whatever an entry of a list of models has.
func (g *Grant) has(p *Policy, entry string) bool {
	if p.AnyModel() {
		return true
	}
	list := g.models(p)
	return len(list) > 0 && g.covers(list, entry) || entry == NoModels
}

// overAliases finds a model that an alias of the child stands for, which neither the child's models have, that
// overModels looks at, nor the parent's, nor an alias of the parent. One that the child's list does not name yet
// counts: whoever adds the name one day would give what he does not see. As the parent has it, it may stay so.
func (g *Grant) overAliases(child, parent *Policy) string {
	for _, alias := range sortedKeys(child.Aliases) {
		to := child.Aliases[alias]
		idle := parent.Aliases[alias] == to && !child.Renames(alias)
		if idle || g.has(child, to) || g.has(parent, to) || g.leads(parent, to) {
			continue
		}
		return fmt.Sprintf("%q, which %q stands for,", to, alias)
	}
	return ""
}

// leads says whether an alias of a policy leads its requests to the model.
func (g *Grant) leads(p *Policy, model string) bool {
	for alias, to := range p.Aliases {
		if to == model && p.Renames(alias) {
			return true
		}
	}
	return false
}

func (g *Grant) overObjects(child, parent *Policy) string {
	return g.compareObjects(child, parent, (*Objects).over)
}

// compareObjects compares the policies' own objects, and what each access group of the child gives.
func (g *Grant) compareObjects(child, parent *Policy, compare func(o, p *Objects, groups []*AccessGroup, called Called) (field, what string)) string {
	groups := g.groups(parent)
	if field, what := compare(child.Objects, parent.Objects, groups, g.Called); what != "" {
		return field + ": " + what
	}
	for _, group := range g.groups(child) {
		if slices.Contains(parent.AccessGroupIDs, group.ID) || group.objects().namesNoMCP() {
			continue
		}
		if field, what := compare(group.instead(child.Objects), parent.Objects, groups, g.Called); what != "" {
			return field + ": " + what + " of the access group " + group.Name
		}
	}
	return ""
}

// covers says whether a list has whatever an entry of another list has: a name, a prefix*,
// or an access group.
func (g *Grant) covers(list []string, entry string) bool {
	if len(list) == 0 || entry == NoModels || AllowsModel(list, entry) {
		return true
	}
	if g.Groups == nil || strings.HasSuffix(entry, "*") {
		return false
	}
	return AllowsModel(list, entry, g.Groups(entry)...)
}

func overRoutes(child, parent []string) string {
	for _, r := range child {
		if !AllowsRoute(parent, r) {
			return fmt.Sprintf("%q", r)
		}
	}
	return ""
}

func (g *Grant) overAddresses(child, parent *Policy) string {
	if len(parent.AllowedIPs) == 0 {
		return ""
	}
	for _, a := range child.AllowedIPs {
		inner, err := ParseAddresses(a)
		if err != nil {
			return fmt.Sprintf("%q", a)
		}
		inside := false
		for _, b := range parent.AllowedIPs {
			outer, err := ParseAddresses(b)
			inside = inside || (err == nil && outer.Bits() <= inner.Bits() && outer.Contains(inner.Addr()))
		}
		if !inside {
			return fmt.Sprintf("%q", a)
		}
	}
	return ""
}

func (g *Grant) terms(a *Allowance) []Terms {
	if g.Terms != nil {
		return g.Terms(a)
	}
	return a.Budgets
}

// overBudgets compares each budget of the child with those of the parent that count the same
// unit, at least its models, and over at least its time: of a budget that is larger, the
// child could never spend the rest.
func (g *Grant) overBudgets(child, parent *Policy) string {
	ours, theirs := g.terms(&child.Allowance), g.terms(&parent.Allowance)
	for i := range ours {
		c := &ours[i]
		most := g.most(ours, c)
		if most >= MaxMoney { // it has a soft limit alone
			continue
		}
		if g.most(theirs, c) < most {
			return fmt.Sprintf("%s of %s in %s", c.base(), firstOf(string(c.Unit()), "USD"), firstOf(c.Name, string(c.Per)))
		}
	}
	return ""
}

// most is the lowest limit of the terms that bound all that c counts; MaxMoney if none does.
func (g *Grant) most(all []Terms, c *Terms) Money {
	most := MaxMoney
	for i := range all {
		t := &all[i]
		if t.Unit() == c.Unit() && c.length() <= t.length() && g.counts(t, c) {
			most = min(most, t.base())
		}
	}
	return most
}

// counts says whether the parent's terms count all that the child's count.
func (g *Grant) counts(parent, child *Terms) bool {
	if len(parent.Models) == 0 {
		return true
	}
	for _, m := range child.Models {
		if !g.covers(parent.Models, m) {
			return false
		}
	}
	return len(child.Models) > 0
}

// base is the limit of a window without what is added for a time.
func (t *Terms) base() Money { return t.Limit(math.MaxInt64) }

// length is about how long a window is.
func (t *Terms) length() time.Duration {
	const day = 24 * time.Hour
	every := time.Duration(max(t.Every, 1))
	switch t.Per {
	case PerHour:
		return every * time.Hour
	case PerDay:
		return every * day
	case PerWeek:
		return every * 7 * day
	case PerMonth:
		return every * 31 * day
	}
	return math.MaxInt64
}

func (g *Grant) overLimits(child, parent *Policy) string {
	return child.Limits.over(&child.Limits, &parent.Limits)
}

// over says which limit is over one of the parent's; what is not limited inherits. within are limits that bound l, too: a
// limit above them grants nothing.
func (l *Limits) over(within, p *Limits) string {
	for _, f := range []struct {
		name      string
		own, c, p *int64
	}{
		{"rpm", l.RPM, lower(l.RPM, within.RPM), p.RPM},
		{"tpm", l.TPM, lower(l.TPM, within.TPM), p.TPM},
		{"input_tpm", l.InputTPM, lower(l.InputTPM, lower(l.TPM, lower(within.InputTPM, within.TPM))), lower(p.InputTPM, p.TPM)},
		{"output_tpm", l.OutputTPM, lower(l.OutputTPM, lower(l.TPM, lower(within.OutputTPM, within.TPM))), lower(p.OutputTPM, p.TPM)},
		{"parallel", l.Parallel, lower(l.Parallel, within.Parallel), p.Parallel},
	} {
		if f.own == nil {
			continue
		}
		if more := over(f.name+" ", f.c, f.p); more != "" {
			return more
		}
	}
	return ""
}

// lower is the lower of two limits; nil is none.
func lower(a, b *int64) *int64 {
	if a == nil || b != nil && *b < *a {
		return b
	}
	return a
}

// overParts finds a limit of one model, MCP server or tag, of those of the child, that is over what the parent has
// for that or for all requests.
func overParts(parts map[string]Limits, of func(part string) Limits, child, parent *Policy) string {
	for _, part := range sortedKeys(parts) {
		c, p := parts[part], of(part)
		bound := p.lower(&parent.Limits)
		if more := c.over(&child.Limits, &bound); more != "" {
			return part + ": " + more
		}
	}
	return ""
}

// mcpLimits finds a policy's limits of an MCP server by anything that it is called.
func (g *Grant) mcpLimits(p *Policy) func(server string) Limits {
	return func(server string) (l Limits) {
		for _, name := range g.Called.names(server) {
			own := p.MCPLimits[name]
			l = l.lower(&own)
		}
		return l
	}
}

func (g *Grant) overSessions(child, parent *Policy) string {
	c, p := child.Sessions, parent.Sessions
	if c == nil || p == nil {
		return ""
	}
	switch {
	case p.Budget > 0 && c.Budget > p.Budget:
		return "budget " + c.Budget.String()
	case p.Iterations > 0 && c.Iterations > p.Iterations:
		return fmt.Sprintf("iterations %d", c.Iterations)
	}
	limits := Limits{RPM: c.RPM, TPM: c.TPM}
	return limits.over(&limits, &Limits{RPM: p.RPM, TPM: p.TPM})
}

// later is an end that is after the parent's.
func later(child, parent Time) string {
	if child == 0 || parent == 0 || child <= parent {
		return ""
	}
	return child.Std().UTC().Format(time.RFC3339)
}

func over(name string, child, parent *int64) string {
	if child == nil || parent == nil || *child <= *parent {
		return ""
	}
	return fmt.Sprintf("%s%d", name, *child)
}
