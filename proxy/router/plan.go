package router

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/resource"
)

// CodeNotAllowed is the code of the error that no deployment may answer the request, whichever can.
const CodeNotAllowed = "no_deployment_allowed"

// fullWait is what a client is told to wait for when every deployment is full.
const fullWait = time.Second

// candidate is a deployment that passed the filter.
type candidate struct {
	deployment *resource.Deployment
	credential *resource.Credential
	gauge      *gauge
	load       load
	probe      bool    // the one request that finds out whether it works again
	score      float64 // of the strategy; lower is better
}

// scratch is what a plan needs besides its result. It is pooled: strategies are called
// through a table, so that a slice on the stack would escape.
type scratch struct {
	cands  []candidate
	models [maxFallbacks]*resource.Model
}

// planner makes one plan.
type planner struct {
	r       *Router
	cat     *resource.Catalog
	q       Query
	now     int64 // Unix nanoseconds
	scratch *scratch

	// What the last add found.
	probing bool   // an attempt is a probe
	lone    Target // the model's only deployment, if it cools down for a soft reason
	err     error  // of the filter

	// What all adds found, for the refusal.
	known   int   // deployments of any kind
	waiting int   // that will be usable after a while
	wait    int64 // nanoseconds until the first of them
	missing string

	filtered bool // the filter left nothing of a model
}

// add appends the model's attempts to out.
func (p *planner) add(out []Target, model *resource.Model) []Target {
	p.filter(model)
	cands := p.scratch.cands
	p.probing = false
	if len(cands) == 0 {
		return out
	}
	p.score(model, cands)
	room := p.q.attempts(model)
	if p.q.Filter != nil {
		return p.chosen(out, model, cands, room)
	}
	for room > 0 && len(cands) > 0 {
		level := 1
		for level < len(cands) && cands[level].deployment.Order == cands[0].deployment.Order {
			level++
		}
		take := min(room, level)
		if level < len(cands) && take == room && room > 1 {
			take-- // keeps the last attempt for the next level
		}
		for i := range take {
			best(cands[i:level])
			p.probing = p.probing || cands[i].probe
			out = append(out, Target{model, cands[i].deployment, cands[i].credential})
		}
		room -= take
		cands = cands[level:]
	}
	return out
}

// chosen appends what the filter leaves of the candidates, in its order, which levels do not divide any
// more.
func (p *planner) chosen(out []Target, model *resource.Model, cands []candidate, room int) []Target {
	if p.err != nil {
		return out
	}
	slices.SortStableFunc(cands, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(a.deployment.Order, b.deployment.Order), cmp.Compare(a.score, b.score))
	})
	all := make([]Candidate, len(cands))
	for i := range cands {
		c := &cands[i]
		all[i] = Candidate{Deployment: c.deployment, InFlight: c.load.own, Others: c.load.others, FirstToken: c.load.ttft}
	}
	chosen, err := p.q.Filter(model, all)
	if err != nil {
		p.err = err
		return out
	}
	p.filtered = p.filtered || len(chosen) == 0
	for _, at := range chosen[:min(room, len(chosen))] {
		p.probing = p.probing || cands[at].probe
		out = append(out, Target{model, cands[at].deployment, cands[at].credential})
	}
	return out
}

// last appends the model's only deployment, which cools down: nobody else can answer. The filter may
// leave it out.
func (p *planner) last(out []Target, lone Target) []Target {
	if p.q.Filter != nil && p.err == nil {
		chosen, err := p.q.Filter(lone.Model, []Candidate{{Deployment: lone.Deployment}})
		if p.err = err; err != nil || len(chosen) == 0 {
			p.filtered = true
			return out
		}
	}
	return append(out, lone)
}

// best moves the candidate with the lowest score to the front.
func best(cands []candidate) {
	at := 0
	for i := range cands {
		if cands[i].score < cands[at].score {
			at = i
		}
	}
	cands[0], cands[at] = cands[at], cands[0]
}

// score lets the model's strategy judge the candidates; a probe goes first in its level.
func (p *planner) score(model *resource.Model, cands []candidate) {
	if p.q.SessionID != "" {
		p.affinity(cands)
	} else {
		strategyOf(model.Strategy)(p.r, cands)
	}
	for i := range cands {
		if cands[i].probe {
			cands[i].score = math.Inf(-1)
		}
	}
}

// filter fills scratch.cands with the deployments of the model that can take a request,
// lower orders first, as the catalog has them.
func (p *planner) filter(model *resource.Model) {
	p.scratch.cands = p.scratch.cands[:0]
	p.lone = Target{}
	inService, soft := 0, Target{}
	for _, d := range p.cat.ModelDeployments(model) {
		p.known++
		if d.Blocked || (d.Weight != nil && *d.Weight == 0) {
			continue
		}
		c := candidate{deployment: d}
		if d.CredentialID != "" {
			cred, ok := p.cat.Credential(d.CredentialID)
			if !ok {
				p.missing = d.CredentialID
				continue
			}
			c.credential = cred
		}
		inService++
		c.gauge = p.r.stats.gauge(d.ID)
		if rest := c.gauge.breaker.rest(p.now); rest != 0 {
			if rest > 0 || !p.claim(&c) {
				p.later(max(rest, 1))
				if c.gauge.breaker.isSoft() {
					soft = Target{model, d, c.credential}
				}
				continue
			}
			c.probe = true
		}
		c.load = c.gauge.load(p.now)
		if full(d, c.load) {
			p.later(int64(fullWait))
			continue
		}
		p.scratch.cands = append(p.scratch.cands, c)
	}
	if inService == 1 {
		p.lone = soft
	}
}

// claim tries to become the probe of a deployment whose cooldown has ended, unless a
// deployment of a lower order can serve: then the claim would not be used.
func (p *planner) claim(c *candidate) bool {
	if cands := p.scratch.cands; len(cands) > 0 && cands[0].deployment.Order < c.deployment.Order {
		return false
	}
	return c.gauge.breaker.claim(p.now, p.r.stats.cooldown)
}

func full(d *resource.Deployment, l load) bool {
	return d.Limits.Parallel != nil && l.own+l.others >= float64(*d.Limits.Parallel)
}

// later notes a deployment that may be usable after rest nanoseconds.
func (p *planner) later(rest int64) {
	if p.waiting == 0 || rest < p.wait {
		p.wait = rest
	}
	p.waiting++
}

// refused is why there is no plan, with the deployments that are in service and could not be asked.
func (p *planner) refused(model *resource.Model, fallbacks []*resource.Model) error {
	e := p.refusal(model)
	for _, m := range append([]*resource.Model{model}, fallbacks...) {
		for _, d := range p.cat.ModelDeployments(m) {
			if InService(p.cat, d) {
				e.Resting = append(e.Resting, d.ID)
			}
		}
	}
	return e
}

// refusal says why there is no plan.
func (p *planner) refusal(model *resource.Model) *llm.Error {
	switch {
	case p.known == 0:
		return &llm.Error{
			Kind: llm.NotFound, Code: "model_not_found", Param: "model",
			Message: fmt.Sprintf("The model %q has no deployment.", model.Name),
		}
	case p.filtered:
		return &llm.Error{
			Kind: llm.Unavailable, Code: CodeNotAllowed,
			Message: fmt.Sprintf("A router filter, or the region of the end user, leaves no deployment of the model %q for this request.", model.Name),
		}
	case p.waiting > 0:
		wait := time.Duration(p.wait)
		return &llm.Error{
			Kind: llm.Unavailable, Code: "no_deployment_available", RetryAfter: wait,
			Message: fmt.Sprintf("No deployment of the model %q can answer now. Try again in %d seconds.",
				model.Name, int64(math.Ceil(wait.Seconds()))),
		}
	case p.missing != "":
		return &llm.Error{
			Kind: llm.Unavailable, Code: "no_deployment_available",
			Message: fmt.Sprintf("No deployment of the model %q can answer: its credential is not known here.", model.Name),
		}
	}
	return &llm.Error{
		Kind: llm.Unavailable, Code: "no_deployment_available",
		Message: fmt.Sprintf("Every deployment of the model %q is out of service.", model.Name),
	}
}
