// Package replay decides a recorded request again, with a node and without one: by what its receipt says of it, and by
// a part of the replicated state. It asks the same functions as the pipeline, in the same order.
//
// What depends on the moment (what was left of a limit or a budget, which deployments rested, what
// guardrails said) comes from the receipt as numbers, and the state decides about them: a receipt
// of 60 requests a minute that were used up is served by a state whose limit is 100. What only the
// body could tell, such as broken JSON, is taken from the receipt as it is, and the verdict says so.
package replay

import (
	"net/netip"
	"slices"

	"github.com/conclave-llm/conclave/ledger/evidence"
	"github.com/conclave-llm/conclave/ledger/facts"
	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/plugins/guardrail"
	"github.com/conclave-llm/conclave/proxy/policy"
	"github.com/conclave-llm/conclave/proxy/reply"
	"github.com/conclave-llm/conclave/resource"
)

// Decide decides a request by the state.
func Decide(state *evidence.State, r *evidence.Request) evidence.Verdict {
	j := &judge{state: state, cat: state.Catalog(), r: r, f: &r.Receipt.Facts}
	v := j.decide()
	if j.model != nil {
		v.Model = j.modelName()
	}
	return v
}

func (j *judge) decide() evidence.Verdict {
	recorded := evidence.Recorded(j.r)
	for i := range steps {
		st := &steps[i]
		if err := st.take(j); err != nil {
			e := reply.AsError(err)
			return evidence.Verdict{Decision: evidence.Refused, Step: st.name, Code: reply.Code(e), Scope: e.Scope, Entity: e.Entity, Reason: e.Message, Judged: true}
		}
		if recorded.Step == st.name && (!slices.Contains(st.codes, recorded.Code) || !j.tells(recorded.Code)) {
			return recorded
		}
	}
	return evidence.Verdict{Decision: evidence.Served, Judged: true}
}

// steps are those of the pipeline at which something can be judged, and the codes of refusals that
// are. A request that was refused at another step, or with another code, was refused for what only
// the moment or the body could tell.
var steps = []struct {
	name  string
	take  func(*judge) error
	codes []string
}{
	{"auth", (*judge).auth, []string{
		"invalid_api_key", "key_blocked", "organization_blocked", "team_blocked", "project_blocked", "user_blocked",
		"organization_expired", "team_expired", "project_expired", "user_expired", "member_expired", "expired_key", "route_not_allowed", policy.CodeType, policy.CodeAddress,
	}},
	{"body", (*judge).body, []string{policy.CodeRequest}},
	{"policy", (*judge).policies, []string{
		policy.CodeCustomer, "customer_expired", "tag_expired", policy.CodeMissing, policy.CodeSession, policy.CodeRequest, policy.CodeAddress, "route_not_allowed",
	}},
	{"access", (*judge).access, []string{policy.CodeNoModel, policy.CodeModelDenied, policy.CodeUnknownModel}},
	{"limits", (*judge).limits, []string{"rate_limit_exceeded"}},
	{"budget", (*judge).budget, []string{"budget_exceeded", "session_budget_exceeded", "session_iterations_exceeded", "model_unpriced"}},
	{"guardrails", (*judge).guardrails, []string{guardrail.CodeBlocked, guardrail.CodeNotRun, guardrail.CodeNotFound}},
	{"plan", (*judge).plan, []string{"no_deployment_available", policy.CodeUnknownModel}},
	{"answer", (*judge).answer, []string{policy.CodeResponse, guardrail.CodeBlocked, guardrail.CodeNotRun}},
}

// judge is one request on its way through the steps.
type judge struct {
	state  *evidence.State
	cat    *resource.Catalog
	r      *evidence.Request
	f      *facts.Facts
	who    *resource.Principal
	key    *resource.Key // who's; nil: the master key
	levels []resource.Level
	above  int // how many of levels stand before the model
	model  *resource.Model
}

// tells says whether the receipt has the numbers that its code needs: older ones do not.
func (j *judge) tells(code string) bool {
	switch c := j.f.Count; code {
	case "expired_key":
		return c == nil
	case policy.CodeRequest, "rate_limit_exceeded", "budget_exceeded", "session_budget_exceeded", "session_iterations_exceeded", "model_unpriced":
		return c != nil
	case policy.CodeResponse:
		return c != nil && policy.ResponseLimit(j.cat.Settings(), j.levels) > 0
	case policy.CodeNoModel, policy.CodeModelDenied, policy.CodeUnknownModel, "no_deployment_available":
		return !j.f.Apart
	}
	return j.f.Path != ""
}

// paths are the route's name and the path that was asked.
func (j *judge) paths() (route, path string) {
	if j.f.Route != "" {
		return j.f.Route, j.f.Path
	}
	return j.f.Path, j.f.Path
}

func (j *judge) checkPaths(levels []resource.Level) error {
	route, path := j.paths()
	if path == "" {
		return nil
	}
	return policy.CheckRoute(levels, route, path)
}

func (j *judge) checkAddress(levels []resource.Level) error {
	set := j.cat.Settings()
	if j.f.Path == "" || !policy.Addressed(set, levels) {
		return nil
	}
	if j.f.Address == "" && j.f.Index < j.state.Index {
		return nil // nobody asked for it then
	}
	a, _ := netip.ParseAddr(j.f.Address) // the zero address: it could not be told
	return policy.CheckAddress(a, set, levels)
}

// size is how many bytes the body had, as far as it was read.
func (j *judge) size() int64 {
	if c := j.f.Count; c != nil && c.Of == llm.CountRequestBytes {
		return c.Asked
	}
	return j.f.Size
}

func (j *judge) checkSize(levels []resource.Level) error {
	limit := policy.RequestLimit(j.cat.Settings(), levels)
	if j.f.Upload {
		limit = policy.FileLimit(j.cat.Settings(), levels)
	}
	return policy.CheckSize(j.size(), limit)
}
