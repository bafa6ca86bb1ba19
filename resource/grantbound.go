package resource

import (
	"fmt"
	"reflect"
	"slices"
)

// bounds is the table of the fields in which a level that requests do not pass bounds a
// child (Grant.Bounds). Each function says what the child has that the level has not: a field
// that the child leaves empty has all, for nothing above it takes that away.
var bounds = []struct {
	field string
	of    func(*Policy) any
	more  func(g *Grant, child, bound *Policy) string
}{
	{"models", modelsOf, func(g *Grant, c, b *Policy) string {
		if c.AnyModel() && !b.AnyModel() {
			return "any"
		}
		return g.overModels(c, b)
	}},
	{"aliases", aliasesOf, (*Grant).overAliases},
	{"tags", func(p *Policy) any { return p.Tags }, (*Grant).moreTags},
	{"routes", func(p *Policy) any { return p.Routes }, func(_ *Grant, c, b *Policy) string {
		return anyOr(c.Routes, b.Routes, overRoutes(c.Routes, b.Routes))
	}},
	{"passthrough_routes", func(p *Policy) any { return p.PassThrough }, func(_ *Grant, c, b *Policy) string {
		return anyOr(c.PassThrough, b.PassThrough, overRoutes(c.PassThrough, b.PassThrough))
	}},
	{"denied_passthrough_routes", func(p *Policy) any { return p.DeniedPassThrough }, func(_ *Grant, c, b *Policy) string {
		return without(c.DeniedPassThrough, b.DeniedPassThrough)
	}},
	{"allowed_ips", func(p *Policy) any { return p.AllowedIPs }, func(g *Grant, c, b *Policy) string {
		return anyOr(c.AllowedIPs, b.AllowedIPs, g.overAddresses(c, b))
	}},
	{"budgets", func(p *Policy) any { return []any{p.Budgets, p.BudgetID} }, (*Grant).moreBudgets},
	{"limits", func(p *Policy) any { return p.Limits }, func(_ *Grant, c, b *Policy) string { return c.Limits.beyond(&b.Limits) }},
	{"model_limits", func(p *Policy) any { return []any{p.ModelLimits, p.Limits} }, func(_ *Grant, c, b *Policy) string {
		return moreParts(b.ModelLimits, func(model string) Limits { return c.ModelLimits[model] }, c)
	}},
	{"mcp_limits", func(p *Policy) any { return []any{p.MCPLimits, p.Limits} }, func(g *Grant, c, b *Policy) string {
		return moreParts(b.MCPLimits, g.mcpLimits(c), c)
	}},
	{"tag_limits", func(p *Policy) any { return []any{p.TagLimits, p.Limits} }, func(_ *Grant, c, b *Policy) string {
		return moreParts(b.TagLimits, func(tag string) Limits { return c.TagLimits[tag] }, c)
	}},
	{"default_output_hold", holdsOf, (*Grant).moreHolds},
	{"sessions", func(p *Policy) any { return p.Sessions }, (*Grant).moreSessions},
	{"objects", objectsOf, func(g *Grant, c, b *Policy) string {
		return g.compareObjects(c, b, (*Objects).beyond)
	}},
	{"expires_at", func(p *Policy) any { return p.ExpiresAt }, func(_ *Grant, c, b *Policy) string {
		if b.ExpiresAt != 0 && c.ExpiresAt == 0 {
			return "to last for ever"
		}
		return later(c.ExpiresAt, b.ExpiresAt)
	}},
	{"max_request_mb", func(p *Policy) any { return p.MaxRequestMB }, func(_ *Grant, c, b *Policy) string {
		return beyond("", c.MaxRequestMB, b.MaxRequestMB)
	}},
	{"max_response_mb", func(p *Policy) any { return p.MaxResponseMB }, func(_ *Grant, c, b *Policy) string {
		return beyond("", c.MaxResponseMB, b.MaxResponseMB)
	}},
	{"denied_ips", func(p *Policy) any { return p.DeniedIPs }, func(_ *Grant, c, b *Policy) string { return without(c.DeniedIPs, b.DeniedIPs) }},
	{"enforced_params", func(p *Policy) any { return p.EnforcedParams }, func(_ *Grant, c, b *Policy) string {
		return without(c.EnforcedParams, b.EnforcedParams)
	}},
	{"guardrails", func(p *Policy) any { return p.Guardrails }, func(_ *Grant, c, b *Policy) string { return without(c.Guardrails, b.Guardrails) }},
	{"callbacks", func(p *Policy) any { return p.Callbacks }, func(_ *Grant, c, b *Policy) string { return without(c.Callbacks, b.Callbacks) }},
	{"log_content", func(p *Policy) any { return p.LogContent }, func(_ *Grant, c, b *Policy) string {
		if b.LogContent != nil && !*b.LogContent && (c.LogContent == nil || *c.LogContent) {
			return "to keep content"
		}
		if c.LogContent != nil && *c.LogContent && (b.LogContent == nil || !*b.LogContent) {
			return "to keep content whatever the cluster says"
		}
		return ""
	}},
	{"log_content_days", func(p *Policy) any { return p.LogContentDays }, func(_ *Grant, c, b *Policy) string {
		return beyond("", c.LogContentDays, b.LogContentDays)
	}},
}

// checkBounds returns an *Invalid for the first field that has more than a bound.
func (g *Grant) checkBounds() error {
	for i := range bounds {
		f := &bounds[i]
		if g.Before != nil && reflect.DeepEqual(f.of(g.Before), f.of(g.Policy)) {
			continue
		}
		for _, l := range g.Bounds {
			if more := f.more(g, g.Policy, l.Policy); more != "" {
				return invalidf(f.field, "%s is more than the %s %s has", more, l.Kind, firstOf(l.Name, l.ID))
			}
		}
	}
	return nil
}

// anyOr is what a list has too much: anything at all, if it is empty and the bound is not.
func anyOr(child, bound []string, over string) string {
	if len(child) == 0 && len(bound) > 0 {
		return "any"
	}
	return over
}

// without says what a list that only takes away leaves out.
func without(child, bound []string) string {
	for _, name := range bound {
		if !slices.Contains(child, name) {
			return "to be without " + name
		}
	}
	return ""
}

// moreTags finds a tag that the child does without: what its record budgets, limits or forbids goes with it. One
// that has no record says nothing but its name.
func (g *Grant) moreTags(child, bound *Policy) string {
	for _, tag := range bound.Tags {
		if (g.Tagged == nil || g.Tagged(tag)) && !slices.Contains(child.Tags, tag) {
			return "to be without " + tag
		}
	}
	return ""
}

// beyond is over, and a limit that is not there is more than any.
func beyond(name string, child, bound *int64) string {
	if child == nil && bound != nil {
		return name + "without limit"
	}
	return over(name, child, bound)
}

func (l *Limits) beyond(b *Limits) string {
	for _, f := range []struct {
		name string
		c, b *int64
	}{
		{"rpm ", l.RPM, b.RPM},
		{"tpm ", l.TPM, b.TPM},
		{"input_tpm ", lower(l.InputTPM, l.TPM), b.InputTPM},
		{"output_tpm ", lower(l.OutputTPM, l.TPM), b.OutputTPM},
		{"parallel ", l.Parallel, b.Parallel},
	} {
		if more := beyond(f.name, f.c, f.b); more != "" {
			return more
		}
	}
	return ""
}

// moreBudgets finds a budget of the bound that none of the child's is as tight as. A budget
// with an overdraft, an increase, or unpriced requests that the bound's has not is not.
func (g *Grant) moreBudgets(child, bound *Policy) string {
	ours, theirs := g.terms(&child.Allowance), g.terms(&bound.Allowance)
	for i := range theirs {
		b := &theirs[i]
		if b.base() >= MaxMoney {
			continue
		}
		tight := slices.DeleteFunc(slices.Clone(ours), func(t Terms) bool { return looser(&t, b) })
		if g.most(tight, b) > b.base() {
			have := "a looser budget" // its amount would do
			if most := g.most(ours, b); most >= MaxMoney {
				have = "an unlimited budget"
			} else if most > b.base() {
				have = most.String()
			}
			return fmt.Sprintf("%s of %s in %s", have, firstOf(string(b.Unit()), "USD"), firstOf(b.Name, string(b.Per)))
		}
	}
	return ""
}

func looser(t, b *Terms) bool {
	raised := t.Increase != nil && !reflect.DeepEqual(t.Increase, b.Increase)
	free := t.Unpriced != b.Unpriced && t.Unpriced != UnpricedDeny
	alone := t.NoQuorum != b.NoQuorum && t.NoQuorum != NoQuorumBlock
	return t.Overdraft > b.Overdraft || raised || free || alone
}

// moreParts finds a limit of one model, MCP server or tag, of those of the bound, that the child has not.
func moreParts(parts map[string]Limits, of func(part string) Limits, child *Policy) string {
	for _, part := range sortedKeys(parts) {
		c, b := of(part), parts[part]
		have := c.lower(&child.Limits)
		if more := have.beyond(&b); more != "" {
			return part + ": " + more
		}
	}
	return ""
}

func (g *Grant) moreSessions(child, bound *Policy) string {
	c, b := child.Sessions, bound.Sessions
	if b == nil {
		return ""
	}
	if c == nil {
		return "without limit"
	}
	switch {
	case b.Budget > 0 && (c.Budget == 0 || c.Budget > b.Budget):
		return "budget " + c.Budget.String()
	case b.Iterations > 0 && (c.Iterations == 0 || c.Iterations > b.Iterations):
		return fmt.Sprintf("iterations %d", c.Iterations)
	case b.RequireTraceID && !c.RequireTraceID:
		return "to be without require_trace_id"
	}
	limits := Limits{RPM: c.RPM, TPM: c.TPM}
	return limits.beyond(&Limits{RPM: b.RPM, TPM: b.TPM})
}
