package replay

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/plugins/guardrail"
	"github.com/conclave-llm/conclave/proxy/auth"
	"github.com/conclave-llm/conclave/proxy/policy"
	"github.com/conclave-llm/conclave/proxy/router"
	"github.com/conclave-llm/conclave/resource"
)

// began is when the request came, as exactly as its row tells.
func (j *judge) began() time.Time {
	at := j.r.Time.Std()
	if j.r.Count > 1 {
		return at // its duration is that of several
	}
	return at.Add(-time.Duration(j.r.Duration))
}

// auth asks who may use the key at all, and for what.
func (j *judge) auth() error {
	who, err := auth.New(auth.Config{Keys: j.state, Now: j.began}).Holder(j.cat, j.r.KeyID)
	if err != nil {
		return err
	}
	j.who, j.key = who, who.Key
	j.levels = who.Levels(nil)
	j.above = len(j.levels)
	if j.f.Path == "" {
		return nil
	}
	if err := policy.CheckType(j.key, j.f.Path); err != nil {
		return err
	}
	if err := j.checkPaths(j.levels); err != nil {
		return err
	}
	return j.checkAddress(j.levels)
}

func (j *judge) body() error { return j.checkSize(j.levels) }

// policies adds the levels that the body names, and asks what all of them demand.
func (j *judge) policies() error {
	if j.r.Receipt.Step == "policy" && j.r.ErrorCode == policy.CodeValue {
		return nil // a header is wrong, which is found first
	}
	customer := j.f.Customer
	if customer == "" {
		customer = j.r.Customer
	}
	chain := len(j.levels)
	if customer != "" {
		record, _ := j.state.Customer(customer)
		if err := policy.CheckCustomer(customer, j.cat.Settings(), record); err != nil {
			return err
		}
		l, none, ok := j.cat.CustomerLevel(customer, record, j.who)
		if !ok {
			return policy.NoBudget()
		}
		if !none {
			j.levels = append(j.levels, l)
		}
	}
	for _, id := range j.r.Tags {
		if t, ok := j.cat.Tag(id); ok {
			l, _ := resource.LevelOf(t)
			j.levels = append(j.levels, l)
		}
	}
	j.above = len(j.levels)
	if added := j.levels[chain:]; len(added) > 0 {
		if err := j.checkAdded(added); err != nil {
			return err
		}
	}
	if err := policy.CheckAbsent(j.f.Absent, j.cat.Settings(), j.key, j.levels, customer); err != nil && j.asksBodies() {
		return err
	}
	return policy.CheckSession(j.levels, j.r.Session)
}

// checkAdded asks of the levels that the body names what the key's were asked before.
func (j *judge) checkAdded(added []resource.Level) error {
	if err := policy.CheckExpiry(added, j.began()); err != nil {
		return err
	}
	if err := j.checkPaths(added); err != nil {
		return err
	}
	if err := j.checkAddress(added); err != nil {
		return err
	}
	return j.checkSize(added)
}

// asksBodies says whether what the body lacks is known: the receipt has facts.
func (j *judge) asksBodies() bool { return j.f.Path != "" }

// access finds the model, and asks whether all levels allow it.
func (j *judge) access() error {
	asked := j.f.Asked
	if asked == "" {
		asked = j.r.Model
	}
	levels := j.levels[:j.above]
	if j.f.Apart {
		j.model, _ = j.cat.Resolve(j.r.Model)
	} else {
		m, err := policy.Model(j.cat, levels, asked)
		if err != nil {
			return err
		}
		if err := policy.Fallbacks(j.cat, levels, slices.Clone(j.f.Fallbacks)); err != nil {
			return err
		}
		j.model = m
		if j.f.Spent != "" { // another was asked, whose budgets decided
			if j.model, err = policy.Model(j.cat, levels, j.r.Model); err != nil {
				return err
			}
		}
	}
	if j.model != nil {
		j.levels = j.cat.ModelLevels(j.levels, nil, j.model)
	}
	return nil
}

// level is the one whose limit or budget the receipt tells of.
func (j *judge) level() (*resource.Level, bool) {
	i := slices.IndexFunc(j.levels, func(l resource.Level) bool {
		return l.Kind == j.r.Receipt.Scope && l.ID == j.r.Receipt.Entity && l.Allowance != nil
	})
	if i < 0 {
		return nil, false
	}
	return &j.levels[i], true
}

func (j *judge) modelName() string {
	if j.model == nil {
		return j.r.Model
	}
	return j.model.Name
}

// exhausted says whether what was left is too little under another limit than the one of then.
func exhausted(c *llm.Count, limit int64) bool {
	more := limit - c.Limit
	return c.Left+more < c.Asked || c.Late && more <= 0
}

// limits asks whether the limit that refused is there, and still too low.
func (j *judge) limits() error {
	c := j.f.Count
	if j.r.Receipt.Step != "limits" || c == nil {
		return nil
	}
	l, ok := j.level()
	if !ok {
		return nil
	}
	var limits resource.Limits
	switch c.Part {
	case llm.PartModel:
		limits, _ = j.cat.ModelLimits(l.Allowance, j.modelName())
	case llm.PartSession:
		if l.Policy == nil || l.Policy.Sessions == nil {
			return nil
		}
		limits = resource.Limits{RPM: l.Policy.Sessions.RPM, TPM: l.Policy.Sessions.TPM}
	case llm.PartTag:
		if l.Policy == nil {
			return nil
		}
		limits = l.Policy.TagLimits[c.Name]
	default:
		limits = j.cat.Limits(l.Allowance)
	}
	limit := map[string]*int64{
		"rpm": limits.RPM, "tpm": limits.TPM, "input_tpm": limits.InputTPM, "output_tpm": limits.OutputTPM, "parallel": limits.Parallel,
	}[c.Of]
	if limit == nil || !exhausted(c, *limit) {
		return nil
	}
	return &llm.Error{
		Kind: llm.RateLimited, Code: "rate_limit_exceeded", Scope: l.Kind, Entity: l.ID,
		Message: fmt.Sprintf("the %s of the %s is %d, and %d were left for %d", c.Of, l.Kind, *limit, max(0, c.Left+*limit-c.Limit), c.Asked),
	}
}

// terms are those of the budget that the receipt tells of.
func (j *judge) terms(l *resource.Level, c *llm.Count) (*resource.Terms, bool) {
	all, ok := j.cat.Terms(l.Allowance.Budgets, l.Allowance.BudgetID)
	if !ok {
		return nil, false
	}
	if l.Policy != nil {
		all = append(slices.Clip(all), l.Policy.Sessions.SessionTerms(j.r.Session)...)
	}
	for i := range all {
		t := &all[i]
		if nameOf(t) == c.Of && string(t.Unit()) == c.Unit && t.Counts(j.modelName()) {
			return t, true
		}
	}
	return nil, false
}

// budget asks whether the budget that refused is there, and still too small.
func (j *judge) budget() error {
	c := j.f.Count
	if j.r.Receipt.Step != "budget" {
		return j.outgrown()
	}
	if c == nil {
		return nil
	}
	l, ok := j.level()
	if !ok {
		return j.clusterWide(c)
	}
	t, ok := j.terms(l, c)
	if !ok {
		return nil
	}
	e := &llm.Error{Kind: llm.OverBudget, Code: "budget_exceeded", Scope: l.Kind, Entity: l.ID}
	limit := int64(t.Limit(resource.At(j.began())))
	switch {
	case c.Part == llm.PartUnpriced:
		if t.Unpriced != resource.UnpricedDeny {
			return nil
		}
		e.Kind, e.Code = llm.Forbidden, "model_unpriced"
		e.Message = fmt.Sprintf("budget %q refuses models without a price", c.Of)
		return e
	case !exhausted(c, limit):
		return nil
	case c.Part == llm.PartSession && t.Unit() == resource.UnitRequests:
		e.Code = "session_iterations_exceeded"
	case c.Part == llm.PartSession:
		e.Code = "session_budget_exceeded"
	}
	e.Message = fmt.Sprintf("budget %q of the %s is %d, and %d were left for %d", c.Of, l.Kind, limit, max(0, c.Left+limit-c.Limit), c.Asked)
	return e
}

// outgrown asks whether a request that the budgets of then let pass is more than a whole window of one allows.
// How much others have spent of it is of the moment.
func (j *judge) outgrown() error {
	for i := range j.levels {
		l := &j.levels[i]
		if l.Allowance == nil {
			continue
		}
		all, _ := j.cat.Terms(l.Allowance.Budgets, l.Allowance.BudgetID)
		for k := range all {
			t := &all[k]
			limit := t.Limit(resource.At(j.began()))
			if t.Unit() != resource.UnitUSD || t.Clamp || !t.Counts(j.modelName()) || j.r.Hold <= limit+t.Overdraft {
				continue
			}
			return &llm.Error{
				Kind: llm.OverBudget, Code: "budget_exceeded", Scope: l.Kind, Entity: l.ID,
				Message: fmt.Sprintf("budget %q of the %s is %s, and the request held %s", nameOf(t), l.Kind, limit, j.r.Hold),
			}
		}
	}
	return nil
}

// nameOf is a budget's name, as receipts have it.
func nameOf(t *resource.Terms) string {
	return cmp.Or(t.Name, string(t.Per), string(resource.PerTotal))
}

// clusterWide asks whether the setting is still there that refused a model without a price.
func (j *judge) clusterWide(c *llm.Count) error {
	if c.Part != llm.PartUnpriced || j.r.Receipt.Scope != "" || !j.cat.Settings().BlockUnpriced {
		return nil
	}
	return &llm.Error{Kind: llm.Forbidden, Code: "model_unpriced", Message: "the cluster refuses models without a price"}
}

// guardrails asks what becomes of the verdicts about the request.
func (j *judge) guardrails() error {
	for _, name := range policy.Guardrails(j.levels, j.f.Guards) {
		if _, ok := j.guardrail(name); !ok {
			return &llm.Error{Kind: llm.Invalid, Code: guardrail.CodeNotFound, Message: fmt.Sprintf("guardrail %q does not exist", name)}
		}
	}
	return j.verdicts(func(hook string) bool { return hook == string(resource.HookBefore) })
}

func (j *judge) guardrail(name string) (*resource.Guardrail, bool) {
	i := slices.IndexFunc(j.state.Guardrails, func(g *resource.Guardrail) bool { return g.Name == name })
	if i < 0 {
		return nil, false
	}
	return j.state.Guardrails[i], true
}

func (j *judge) verdicts(of func(hook string) bool) error {
	for i := range j.r.Receipt.Guardrails {
		v := &j.r.Receipt.Guardrails[i]
		g, ok := j.guardrail(v.Guardrail)
		if !ok || !of(v.Hook) || g.Mode == resource.ModeObserve {
			continue
		}
		switch guardrail.Status(v.Status) {
		case guardrail.StatusBlocked:
			return &llm.Error{Kind: llm.Blocked, Code: guardrail.CodeBlocked, Scope: v.Guardrail, Message: "guardrail " + v.Guardrail + " blocked it"}
		case guardrail.StatusNotRun:
			if g.OnError != resource.OnErrorPass {
				return &llm.Error{Kind: llm.Unavailable, Code: guardrail.CodeNotRun, Scope: v.Guardrail, Message: "guardrail " + v.Guardrail + " did not run"}
			}
		}
	}
	return nil
}

// plan asks whether a deployment is left that did not rest.
func (j *judge) plan() error {
	if j.f.Apart || j.model == nil || j.f.Path == "" {
		return nil
	}
	q := router.Query{Levels: j.levels[:j.above], Fallbacks: slices.Clone(j.f.Fallbacks), NoFallbacks: j.f.Stays}
	for i, name := range q.Fallbacks {
		q.Fallbacks[i], _ = policy.Rename(q.Levels, name)
	}
	known := 0
	for _, m := range q.StandIns([]*resource.Model{j.model}, j.cat, j.model) {
		for _, d := range j.cat.ModelDeployments(m) {
			known++
			if router.InService(j.cat, d) && !slices.Contains(j.f.Resting, d.ID) {
				return nil
			}
		}
	}
	if known == 0 {
		return policy.UnknownModel(j.model.Name)
	}
	return &llm.Error{Kind: llm.Unavailable, Code: "no_deployment_available", Message: "no deployment of the model could be asked"}
}

// answer asks what policies say of the answer.
func (j *judge) answer() error {
	if c := j.f.Count; c != nil && c.Of == llm.CountResponseBytes {
		if limit := policy.ResponseLimit(j.cat.Settings(), j.levels); limit > 0 && c.Asked > limit {
			return policy.ErrResponse(limit)
		}
	}
	return j.verdicts(func(hook string) bool { return hook != string(resource.HookBefore) })
}
