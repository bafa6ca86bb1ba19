package records

import (
	"slices"

	"github.com/conclave-llm/conclave/adminapi/client"
	"github.com/conclave-llm/conclave/resource"
)

// rules show what counts of the fields that are no lists in common, no budgets and no limits: what every level adds, or
// what the level says that binds.
func (c *chain) rules() {
	c.each("enforced_params", func(p *resource.Policy) any { return listed(p.EnforcedParams) })
	c.each("guardrails", func(p *resource.Policy) any { return listed(p.Guardrails) })
	c.each("tags", func(p *resource.Policy) any { return listed(p.Tags) })
	c.each("denied_passthrough_routes", func(p *resource.Policy) any { return listed(p.DeniedPassThrough) })
	c.callbacks()
	c.content()
	c.sizes()
	c.sessions()
	c.outputHolds()
}

func (c *chain) rule(at int, field string, value any) {
	c.out.Rules = append(c.out.Rules, client.EffectiveRule{Field: field, Value: value, Level: c.shown[at]})
}

// each shows a field of every level that says something, which is not nil.
func (c *chain) each(field string, of func(p *resource.Policy) any) {
	for i := range c.levels {
		if v := of(c.levels[i].Policy); v != nil {
			c.rule(i, field, v)
		}
	}
}

// listed is nil for an empty list.
func listed(list []string) any {
	if len(list) == 0 {
		return nil
	}
	return list
}

// set is nil for false.
func set(on bool) any {
	if !on {
		return nil
	}
	return true
}

// one shows a number of the level that binds: the first whose number no other's is better than.
func (c *chain) one(field string, of func(p *resource.Policy) *int64, better func(a, b int64) bool, shown func(n int64) any) {
	at := -1
	for i := range c.levels {
		n := of(c.levels[i].Policy)
		if n != nil && (at < 0 || better(*n, *of(c.levels[at].Policy))) {
			at = i
		}
	}
	if at >= 0 {
		c.rule(at, field, shown(*of(c.levels[at].Policy)))
	}
}

func less(a, b int64) bool { return a < b }
func more(a, b int64) bool { return a > b }
func number(n int64) any   { return n }
func dollars(n int64) any  { return resource.Money(n) }

// named says that clients name the level in their requests: it takes nothing away from guardrails, and turns no log on.
func (c *chain) named(i int) bool {
	return c.levels[i].Kind == resource.HolderCustomer || c.levels[i].Kind == resource.HolderTag
}

// callbacks shows those that are told: of the nearest level of the credential's that names any, and of end user and tags.
func (c *chain) callbacks() {
	nearest := -1
	for i := range c.levels {
		if len(c.levels[i].Policy.Callbacks) > 0 && !c.named(i) {
			nearest = i
		}
	}
	for i := range c.levels {
		if list := c.levels[i].Policy.Callbacks; len(list) > 0 && (i == nearest || c.named(i)) {
			c.rule(i, "callbacks", list)
		}
	}
	c.each("metadata.litellm_disabled_callbacks", func(p *resource.Policy) any { return listed(p.WithoutCallbacks()) })
}

// content shows whether what requests say is kept, and judged: a no wins over whatever yes.
func (c *chain) content() {
	no := slices.ContainsFunc(c.levels, func(l resource.Level) bool { return l.Policy.LogContent != nil && !*l.Policy.LogContent })
	for i := range c.levels {
		p := c.levels[i].Policy
		if p.LogContent != nil && (!*p.LogContent || !no && !c.named(i)) {
			c.rule(i, "log_content", *p.LogContent)
		}
		if p.NoGuardrails && !c.named(i) {
			c.rule(i, "disable_global_guardrails", true)
		}
	}
	c.each("metadata.turn_off_message_logging", func(p *resource.Policy) any { return set(p.Unlogged()) })
	c.one("log_content_days", func(p *resource.Policy) *int64 { return p.LogContentDays }, less, number)
}

func (c *chain) sizes() {
	c.one("max_request_mb", func(p *resource.Policy) *int64 { return p.MaxRequestMB }, less, number)
	c.one("max_response_mb", func(p *resource.Policy) *int64 { return p.MaxResponseMB }, less, number)
}

// sessions shows the lowest limits of an agent's session.
func (c *chain) sessions() {
	of := func(field func(s *resource.SessionLimits) *int64) func(p *resource.Policy) *int64 {
		return func(p *resource.Policy) *int64 {
			if p.Sessions == nil {
				return nil
			}
			return field(p.Sessions)
		}
	}
	above := func(n int64) *int64 { // 0 is none
		if n == 0 {
			return nil
		}
		return &n
	}
	c.one("sessions.budget", of(func(s *resource.SessionLimits) *int64 { return above(int64(s.Budget)) }), less, dollars)
	c.one("sessions.iterations", of(func(s *resource.SessionLimits) *int64 { return above(s.Iterations) }), less, number)
	c.one("sessions.rpm", of(func(s *resource.SessionLimits) *int64 { return s.RPM }), less, number)
	c.one("sessions.tpm", of(func(s *resource.SessionLimits) *int64 { return s.TPM }), less, number)
	c.each("sessions.require_trace_id", func(p *resource.Policy) any { return set(p.Sessions != nil && p.Sessions.RequireTraceID) })
}

// outputHolds shows the largest, which count.
func (c *chain) outputHolds() {
	c.one("default_output_hold", func(p *resource.Policy) *int64 { return p.OutputHold }, more, number)
	models := map[string]bool{}
	for i := range c.levels {
		for model := range c.levels[i].Policy.ModelOutputHolds {
			models[model] = true
		}
	}
	for _, model := range sortedKeys(models) {
		c.one("model_output_holds."+model, func(p *resource.Policy) *int64 {
			if n, ok := p.ModelOutputHolds[model]; ok {
				return &n
			}
			return nil
		}, more, number)
	}
}
