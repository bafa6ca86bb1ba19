package resource_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/conclave-llm/conclave/resource"
)

// The universe that policies of the test are about.
var (
	universeModels = map[string][]string{"gpt": {"premium"}, "gpt-mini": nil, "claude": {"premium", "plain"}, "plain-old": {"plain"}}
	universeLists  = []string{"gpt", "gpt*", "gpt-mini", "claude", "premium", "p*", "plain", "*", "cl*", resource.NoModels}
	universePaths  = []string{"/v1/chat/completions", "/v1/embeddings", "/key/info", "/"}
	universeRoutes = []string{"/v1/*", "/v1/chat/*", "/v1/embeddings", "/*", "/key/info"}
	universeRanges = []string{"10.0.0.0/8", "10.1.0.0/16", "10.1.2.3", "0.0.0.0/0", "2001:db8::/32", "2001:db8::1"}
	universeAddrs  = []string{"10.1.2.3", "10.1.9.9", "10.200.0.1", "192.0.2.1", "2001:db8::1", "2001:db8::2"}
	universeGroups = resource.NewCatalog(resource.Tables{AccessGroups: []*resource.AccessGroup{
		{Meta: resource.Meta{ID: "one"}, Name: "one", Models: []string{"gpt"}, MCPServers: []string{"git"}},
		{Meta: resource.Meta{ID: "some"}, Name: "some", Models: []string{"plain", "cl*"}, MCPTools: map[string][]string{"git": {"read"}, "mail": {"*"}}},
		{Meta: resource.Meta{ID: "all"}, Name: "all", Models: []string{"*"}, MCPServers: []string{"git*"}, MCPTools: map[string][]string{"gitea": {"push"}}},
		{Meta: resource.Meta{ID: "nothing"}, Name: "nothing"},
	}})
	universeGroupIDs = []string{"one", "some", "all", "nothing", "gone"}
	universeNames    = []string{"gpt", "claude", "plain-old", "nick", resource.NoModels} // that are asked for
	universeTags     = []string{"eu", "paid", "label"}
)

func groupOf(id string) *resource.AccessGroup {
	g, _ := universeGroups.AccessGroup(id)
	return g
}

// allowsModel says whether one level allows a model of the universe.
func allowsModel(p *resource.Policy, model string) bool {
	return universeGroups.Allows(p, &resource.Model{Name: model, AccessGroups: universeModels[model]})
}

// says says whether a policy says anything about models.
func says(p *resource.Policy) bool { return len(p.Models)+len(p.AccessGroupIDs) > 0 }

// reaches says whether one level lets a request through, whatever it asks for, that ends at the model: the level
// allows it, or an alias of the level leads to it, which the level names among its models.
func reaches(p *resource.Policy, model string) bool {
	for _, asked := range universeNames {
		if p.Aliases[asked] == model && len(p.Models) > 0 && resource.AllowsModel(p.Models, asked) {
			return true
		}
	}
	return allowsModel(p, model)
}

// tagged says that a tag of the universe has a record.
func tagged(tag string) bool { return tag != "label" }

func some(r *rand.Rand, of []string) []string {
	var out []string
	for range r.IntN(3) {
		out = append(out, of[r.IntN(len(of))])
	}
	return out
}

func maybe(r *rand.Rand, limit int64) *int64 {
	if r.IntN(2) == 0 {
		return nil
	}
	n := r.Int64N(limit)
	return &n
}

func randomPolicy(r *rand.Rand) *resource.Policy {
	p := &resource.Policy{Models: some(r, universeLists), AccessGroupIDs: some(r, universeGroupIDs), Routes: some(r, universeRoutes), AllowedIPs: some(r, universeRanges)}
	p.Limits = resource.Limits{RPM: maybe(r, 4), TPM: maybe(r, 4), InputTPM: maybe(r, 4), OutputTPM: maybe(r, 4), Parallel: maybe(r, 4)}
	if r.IntN(2) == 0 {
		p.ModelLimits = map[string]resource.Limits{"gpt": {RPM: maybe(r, 4), TPM: maybe(r, 4)}}
	}
	if r.IntN(2) == 0 {
		periods := []resource.Per{resource.PerHour, resource.PerDay, resource.PerWeek, resource.PerMonth, resource.PerTotal}
		p.Budgets = []resource.Terms{{USD: resource.Money(r.IntN(4)), Per: periods[r.IntN(5)], Models: some(r, universeLists)}}
	}
	if r.IntN(2) == 0 {
		p.Aliases = map[string]string{}
		for _, name := range some(r, universeNames) {
			p.Aliases[name] = universeNames[r.IntN(3)]
		}
	}
	p.Tags = some(r, universeTags)
	randomParts(r, p)
	p.MaxRequestMB = maybe(r, 4)
	p.ExpiresAt = resource.Time(r.IntN(4))
	return p
}

// randomParts gives a policy limits of single tags and MCP servers, fallbacks of budgets and holds.
func randomParts(r *rand.Rand, p *resource.Policy) {
	if r.IntN(2) == 0 {
		p.TagLimits = map[string]resource.Limits{"eu": {RPM: maybe(r, 4), TPM: maybe(r, 4)}}
	}
	if r.IntN(2) == 0 { // under any of the names that a server has
		p.MCPLimits = map[string]resource.Limits{[]string{"git", "g", "id-git"}[r.IntN(3)]: {RPM: maybe(r, 4), Parallel: maybe(r, 4)}}
	}
	if r.IntN(3) == 0 {
		p.BudgetFallbacks = map[string][]string{"claude": {universeNames[r.IntN(4)]}}
	}
	if r.IntN(3) == 0 {
		n := 1 + r.Int64N(4)
		p.OutputHold = &n
	}
	if r.IntN(3) == 0 {
		p.ModelOutputHolds = map[string]int64{"gpt": 1 + r.Int64N(4)}
	}
}

// rpmOf is a policy's limit of calls of the server git, by whatever name.
func rpmOf(p *resource.Policy) *int64 {
	l, _ := p.LimitsOfMCP(&resource.MCPServer{Meta: resource.Meta{ID: "id-git"}, Name: "git", Alias: "g"})
	return l.RPM
}

// fallsTo finds a model that budget fallbacks of the child lead to, as requests read their names, and that the parent
// has not.
func fallsTo(c, p *resource.Policy) string {
	for _, names := range c.BudgetFallbacks {
		for _, name := range names {
			to := name
			if alias := c.Aliases[name]; alias != "" {
				to = alias
			} else if alias := p.Aliases[name]; alias != "" {
				to = alias
			}
			if _, known := universeModels[to]; known && reaches(c, to) && !reaches(p, to) {
				return to
			}
		}
	}
	return ""
}

func check(child, parent *resource.Policy) error {
	g := resource.Grant{
		Policy: child, Above: []resource.Level{{Kind: "team", ID: "t", Policy: parent, Allowance: &parent.Allowance}},
		Groups: func(model string) []string { return universeModels[model] }, AccessGroup: groupOf, Called: universeCalled, Tagged: tagged,
	}
	return g.Check()
}

func allowsAddress(list []string, addr string) bool {
	for _, s := range list {
		if p, err := resource.ParseAddresses(s); err == nil && p.Contains(netip.MustParseAddr(addr)) {
			return true
		}
	}
	return len(list) == 0
}

// exceeds finds something that a child may do by its own policy and its parent may not,
// where the child says anything about it at all.
func exceeds(c, p *resource.Policy) string {
	for m := range universeModels {
		if says(c) && reaches(c, m) && !reaches(p, m) {
			return "model " + m
		}
	}
	for _, path := range universePaths {
		if len(c.Routes) > 0 && resource.AllowsRoute(c.Routes, path) && !resource.AllowsRoute(p.Routes, path) {
			return "route " + path
		}
	}
	for _, a := range universeAddrs {
		if len(c.AllowedIPs) > 0 && allowsAddress(c.AllowedIPs, a) && !allowsAddress(p.AllowedIPs, a) {
			return "address " + a
		}
	}
	more := func(c, p *int64) bool { return c != nil && p != nil && *c > *p }
	low := func(own *int64, others ...*int64) *int64 { // what bounds it beside itself
		for _, o := range others {
			if own != nil && o != nil && *o < *own {
				own = o
			}
		}
		return own
	}
	for name, f := range map[string][2]*int64{
		"rpm": {c.Limits.RPM, p.Limits.RPM}, "tpm": {c.Limits.TPM, p.Limits.TPM}, "parallel": {c.Limits.Parallel, p.Limits.Parallel},
		"input_tpm": {low(c.Limits.InputTPM, c.Limits.TPM), p.Limits.InputTPM}, "output_tpm": {low(c.Limits.OutputTPM, c.Limits.TPM), p.Limits.OutputTPM},
		"rpm of eu":  {low(c.TagLimits["eu"].RPM, c.Limits.RPM), p.TagLimits["eu"].RPM},
		"rpm of git": {low(rpmOf(c), c.Limits.RPM), rpmOf(p)},
		"rpm of gpt": {low(c.ModelLimits["gpt"].RPM, c.Limits.RPM), p.ModelLimits["gpt"].RPM}, "max_request_mb": {c.MaxRequestMB, p.MaxRequestMB},
	} {
		if more(f[0], f[1]) {
			return name
		}
	}
	for _, model := range []string{"gpt", "claude"} {
		if h := c.HoldFor(model); h != 0 && h < p.HoldFor(model) {
			return "hold of " + model
		}
	}
	if to := fallsTo(c, p); to != "" {
		return "fallback to " + to
	}
	if c.ExpiresAt != 0 && p.ExpiresAt != 0 && c.ExpiresAt > p.ExpiresAt {
		return "expires_at"
	}
	for _, ct := range c.Budgets {
		for _, pt := range p.Budgets {
			if ct.Per == pt.Per && len(pt.Models) == 0 && ct.USD > pt.USD {
				return "budget"
			}
		}
	}
	return ""
}

// TestGrant_NeverMore holds the one function to what it is for: what it lets through gives a
// child nothing that its parent lacks.
func TestGrant_NeverMore(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 2))
	passed := 0
	for i := range 50_000 {
		child, parent := randomPolicy(r), randomPolicy(r)
		err := check(child, parent)
		if err == nil {
			passed++
			if more := exceeds(child, parent); more != "" {
				t.Fatalf("%d: %s was granted: child %+v, parent %+v", i, more, child, parent)
			}
		} else if _, ok := errors.AsType[*resource.Invalid](err); !ok {
			t.Fatalf("got %T, want *Invalid", err)
		}
		if err := check(child, child); err != nil {
			t.Fatalf("%d: a policy is more than itself: %v: %+v", i, err, child)
		}
		if err := check(&resource.Policy{}, parent); err != nil {
			t.Fatalf("%d: nothing is more than %+v: %v", i, parent, err)
		}
		if err := check(child, &resource.Policy{}); err != nil {
			t.Fatalf("%d: %+v is more than all: %v", i, child, err)
		}
	}
	if passed < 500 {
		t.Errorf("only %d grants passed: the test tries too little", passed)
	}
}

func TestGrant_Before(t *testing.T) {
	t.Parallel()
	usd := func(n resource.Money) []resource.Terms { return []resource.Terms{{USD: n, Per: resource.PerDay}} }
	old := &resource.Policy{Models: []string{"lost"}, Allowance: resource.Allowance{Budgets: usd(9)}}
	parent := &resource.Policy{Models: []string{"demo"}, Allowance: resource.Allowance{Budgets: usd(5)}}
	for _, tt := range []struct {
		name  string
		after resource.Policy
		field string
	}{
		{"unchanged", *old, ""},
		{"less", resource.Policy{Models: []string{"demo"}, Allowance: resource.Allowance{Budgets: usd(4)}}, ""},
		{"another model", resource.Policy{Models: []string{"lost", "x"}, Allowance: old.Allowance}, "models"},
		{"less, but too much", resource.Policy{Models: old.Models, Allowance: resource.Allowance{Budgets: usd(8)}}, "budgets"},
		{"a soft limit alone", resource.Policy{Models: old.Models, Allowance: resource.Allowance{Budgets: usd(resource.MaxMoney)}}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := resource.Grant{Policy: &tt.after, Before: old, Above: []resource.Level{{Kind: "team", ID: "t1", Name: "research", Policy: parent}}}
			err := g.Check()
			in, _ := errors.AsType[*resource.Invalid](err)
			if (tt.field == "") != (err == nil) || in != nil && in.Field != tt.field {
				t.Errorf("got %v, want a complaint about %q", err, tt.field)
			}
		})
	}
}

func BenchmarkGrant_Check(b *testing.B) {
	p := &resource.Policy{Models: []string{"gpt*"}, Routes: []string{"/v1/*"}, Allowance: resource.Allowance{
		Budgets: []resource.Terms{{USD: 5, Per: resource.PerDay}}, Limits: resource.Limits{RPM: new(int64(5))},
	}}
	var above []resource.Level
	for i := range 4 {
		above = append(above, resource.Level{Kind: "team", ID: fmt.Sprint(i), Policy: p, Allowance: &p.Allowance})
	}
	g := resource.Grant{Policy: p, Above: above}
	b.ReportAllocs()
	for b.Loop() {
		if err := g.Check(); err != nil {
			b.Fatal(err)
		}
	}
}
