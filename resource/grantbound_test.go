package resource_test

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/resource"
)

func bounded(child, bound *resource.Policy) error {
	g := resource.Grant{
		Policy: child, Bounds: []resource.Level{{Kind: "key", ID: "k", Policy: bound, Allowance: &bound.Allowance}},
		Groups: func(model string) []string { return universeModels[model] }, AccessGroup: groupOf, Called: universeCalled, Tagged: tagged,
	}
	return g.Check()
}

// beyond finds something that a child alone may do and its bound may not: here an empty field
// has all.
func beyond(c, b *resource.Policy) string {
	for m := range universeModels {
		if reaches(c, m) && !reaches(b, m) {
			return "model " + m
		}
	}
	for _, tag := range b.Tags {
		if tagged(tag) && !slices.Contains(c.Tags, tag) {
			return "without the tag " + tag
		}
	}
	for _, path := range universePaths {
		if resource.AllowsRoute(c.Routes, path) && !resource.AllowsRoute(b.Routes, path) {
			return "route " + path
		}
	}
	for _, a := range universeAddrs {
		if allowsAddress(c.AllowedIPs, a) && !allowsAddress(b.AllowedIPs, a) {
			return "address " + a
		}
	}
	for name, l := range map[string][2]*int64{
		"rpm": {c.Limits.RPM, b.Limits.RPM}, "tpm": {c.Limits.TPM, b.Limits.TPM}, "parallel": {c.Limits.Parallel, b.Limits.Parallel},
		"tag": {lowest(c.TagLimits["eu"].RPM, c.Limits.RPM), b.TagLimits["eu"].RPM}, "mcp": {lowest(rpmOf(c), c.Limits.RPM), rpmOf(b)},
		"max_request_mb": {c.MaxRequestMB, b.MaxRequestMB},
	} {
		if l[1] != nil && (l[0] == nil || *l[0] > *l[1]) {
			return name
		}
	}
	for _, model := range []string{"gpt", "claude"} {
		if c.HoldFor(model) < b.HoldFor(model) {
			return "hold of " + model
		}
	}
	if b.ExpiresAt != 0 && (c.ExpiresAt == 0 || c.ExpiresAt > b.ExpiresAt) {
		return "expires_at"
	}
	for _, t := range b.Budgets {
		if len(c.Budgets) == 0 {
			return "without budget"
		}
		if len(t.Models) == 0 && len(c.Budgets[0].Models) == 0 && c.Budgets[0].USD > t.USD {
			return "budget"
		}
	}
	return ""
}

// lowest is the lower of two limits, nil for none.
func lowest(a, b *int64) *int64 {
	if a == nil || b != nil && *b < *a {
		return b
	}
	return a
}

// TestGrant_bounds: nothing that Check lets through can do more than the level that bounds it.
func TestGrant_bounds(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(7, 7))
	passed := 0
	for range 60_000 {
		c, b := randomPolicy(r), randomPolicy(r)
		if r.IntN(3) == 0 {
			*c = *b
		}
		if bounded(c, b) != nil {
			continue
		}
		passed++
		if what := beyond(c, b); what != "" {
			t.Fatalf("%s: %+v is within %+v", what, c, b)
		}
	}
	if passed < 1000 {
		t.Errorf("%d of all passed: the test shows nothing", passed)
	}
	empty := &resource.Policy{}
	for range 1000 {
		p := randomPolicy(r)
		if err := bounded(p, p); err != nil {
			t.Fatalf("%+v is not within itself: %v", p, err)
		}
		if err := bounded(p, empty); err != nil {
			t.Fatalf("%+v is not within nothing: %v", p, err)
		}
	}
}

func TestGrant_boundsTaken(t *testing.T) {
	t.Parallel()
	no := false
	bound := &resource.Policy{
		Guardrails: []string{"words"}, Callbacks: []string{"log"}, DeniedIPs: []string{"10.0.0.1"}, EnforcedParams: []string{"user"},
		LogContent: &no, Sessions: &resource.SessionLimits{Iterations: 3},
	}
	for name, without := range map[string]func(*resource.Policy){
		"guardrails": func(p *resource.Policy) { p.Guardrails = nil }, "callbacks": func(p *resource.Policy) { p.Callbacks = nil },
		"denied_ips": func(p *resource.Policy) { p.DeniedIPs = nil }, "enforced_params": func(p *resource.Policy) { p.EnforcedParams = nil },
		"log_content": func(p *resource.Policy) { p.LogContent = nil }, "sessions": func(p *resource.Policy) { p.Sessions = nil },
	} {
		child := *bound
		if err := bounded(&child, bound); err != nil {
			t.Fatalf("as it is: %v", err)
		}
		without(&child)
		if bounded(&child, bound) == nil {
			t.Errorf("without %s: it is granted", name)
		}
	}
}

// TestGrant_boundsSaysWhat: who is refused a budget reads what his own is.
func TestGrant_boundsSaysWhat(t *testing.T) {
	t.Parallel()
	of := func(terms ...resource.Terms) *resource.Policy {
		return &resource.Policy{Allowance: resource.Allowance{Budgets: terms}}
	}
	bound := of(resource.Terms{USD: 2 * resource.Dollar, Per: resource.PerTotal})
	for want, child := range map[string]*resource.Policy{
		"5 of USD in total is more than the key k has":                   of(resource.Terms{USD: 5 * resource.Dollar, Per: resource.PerTotal}),
		"an unlimited budget of USD in total is more than the key k has": of(),
		"a looser budget of USD in total is more than the key k has":     of(resource.Terms{USD: resource.Dollar, Overdraft: resource.Dollar, Per: resource.PerTotal}),
	} {
		if err := bounded(child, bound); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}
