package router_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/proxy/router"
	"github.com/conclave-llm/conclave/resource"
)

// clock is a time that tests set.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func newClock() *clock { return &clock{at: time.Unix(1_700_000_000, 0)} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

func newRouter(t testing.TB, c *clock, seed uint64) *router.Router {
	t.Helper()
	rnd := rand.New(rand.NewPCG(seed, 1))
	return router.New(router.Config{NodeID: fmt.Sprint("node", seed), Now: c.now, Rand: rnd.Float64})
}

func deployment(model, id string, edit ...func(*resource.Deployment)) *resource.Deployment {
	d := &resource.Deployment{Meta: resource.Meta{ID: id}, Name: id, ModelID: model, Provider: "openai"}
	for _, e := range edit {
		e(d)
	}
	return d
}

func order(n int64) func(*resource.Deployment) {
	return func(d *resource.Deployment) { d.Order = n }
}

func weight(n int64) func(*resource.Deployment) {
	return func(d *resource.Deployment) { d.Weight = &n }
}

func rpm(n int64) func(*resource.Deployment) {
	return func(d *resource.Deployment) { d.Limits.RPM = &n }
}

func parallel(n int64) func(*resource.Deployment) {
	return func(d *resource.Deployment) { d.Limits.Parallel = &n }
}

func blocked(d *resource.Deployment) { d.Blocked = true }

func model(name string, strategy resource.Strategy, fallbacks ...string) *resource.Model {
	return &resource.Model{Meta: resource.Meta{ID: name}, Name: name, Strategy: strategy, Fallbacks: fallbacks}
}

func catalog(models []*resource.Model, deployments ...*resource.Deployment) *resource.Catalog {
	return resource.NewCatalog(resource.Tables{Models: models, Deployments: deployments})
}

func ids(ts []router.Target) []string {
	var out []string
	for _, t := range ts {
		out = append(out, t.Deployment.ID)
	}
	return out
}

var failure = router.Outcome{Kind: llm.Upstream, Status: 502}

// attempt reports one attempt on a deployment.
func attempt(r *router.Router, id string, o router.Outcome) {
	f := r.Begin(id)
	defer f.End(o)
}

func TestPlan(t *testing.T) {
	t.Parallel()
	one, none := 1, 0
	for _, tt := range []struct {
		name        string
		model       *resource.Model
		others      []*resource.Model
		deployments []*resource.Deployment
		query       router.Query
		prepare     func(*router.Router)
		want        []string
		kind        llm.Kind
		retry       bool
	}{
		{
			name: "a lone deployment is repeated", model: model("m", ""),
			deployments: []*resource.Deployment{deployment("m", "a")},
			want:        []string{"a", "a", "a"},
		},
		{
			name: "blocked and weight 0 are left out", model: model("m", ""),
			deployments: []*resource.Deployment{deployment("m", "a", blocked), deployment("m", "b", weight(0)), deployment("m", "c")},
			want:        []string{"c", "c", "c"},
		},
		{
			name: "orders come one after the other", model: model("m", ""),
			deployments: []*resource.Deployment{deployment("m", "a", order(2)), deployment("m", "b"), deployment("m", "c", order(1))},
			want:        []string{"b", "c", "a"},
		},
		{
			name: "the last attempt goes to the next order", model: &resource.Model{Meta: resource.Meta{ID: "m"}, Name: "m", Retries: &one},
			deployments: []*resource.Deployment{deployment("m", "a"), deployment("m", "b", order(1)), deployment("m", "c", order(1), weight(0)), deployment("m", "d", blocked)},
			want:        []string{"a", "b"},
		},
		{
			name: "no retries", model: &resource.Model{Meta: resource.Meta{ID: "m"}, Name: "m", Retries: &none},
			deployments: []*resource.Deployment{deployment("m", "a"), deployment("m", "b", order(1))},
			want:        []string{"a"},
		},
		{
			name: "fallbacks come behind, and nothing is repeated", model: model("m", "", "gone", "f"),
			others:      []*resource.Model{model("f", "")},
			deployments: []*resource.Deployment{deployment("m", "a"), deployment("f", "x")},
			want:        []string{"a", "x"},
		},
		{
			name: "a fallback that the key may not use is left out", model: model("m", "", "f"),
			others:      []*resource.Model{model("f", "")},
			deployments: []*resource.Deployment{deployment("m", "a"), deployment("f", "x")},
			query:       router.Query{Levels: []resource.Level{{Kind: "key", Policy: &resource.Policy{Models: []string{"m"}}}}},
			want:        []string{"a", "a", "a"},
		},
		{
			name: "a fallback by an access group", model: model("m", "", "f"),
			others:      []*resource.Model{{Meta: resource.Meta{ID: "f"}, Name: "f", AccessGroups: []string{"g"}}},
			deployments: []*resource.Deployment{deployment("m", "a"), deployment("f", "x")},
			query:       router.Query{Levels: []resource.Level{{Kind: "key", Policy: &resource.Policy{Models: []string{"g"}}}}},
			want:        []string{"a", "x"},
		},
		{
			name: "the client's fallbacks go in the place of the model's", model: model("m", "", "f"),
			others:      []*resource.Model{model("f", ""), model("own", "")},
			deployments: []*resource.Deployment{deployment("m", "a"), deployment("f", "x"), deployment("own", "y")},
			query:       router.Query{Fallbacks: []string{"own", "m"}},
			want:        []string{"a", "y"},
		},
		{
			name: "the client wants no fallback", model: model("m", "", "f"),
			others:      []*resource.Model{model("f", "")},
			deployments: []*resource.Deployment{deployment("m", "a"), deployment("f", "x")},
			query:       router.Query{NoFallbacks: true, Fallbacks: []string{"f"}},
			want:        []string{"a", "a", "a"},
		},
		{
			name: "the client's retries go before the model's", model: &resource.Model{Meta: resource.Meta{ID: "m"}, Name: "m", Retries: &one},
			deployments: []*resource.Deployment{deployment("m", "a")},
			query:       router.Query{HasRetries: true, Retries: 3},
			want:        []string{"a", "a", "a", "a"},
		},
		{
			name: "the client wants no retries", model: model("m", ""),
			deployments: []*resource.Deployment{deployment("m", "a")},
			query:       router.Query{HasRetries: true},
			want:        []string{"a"},
		},
		{
			name: "a cooling model goes to its fallback", model: model("m", "", "f"),
			others:      []*resource.Model{model("f", "")},
			deployments: []*resource.Deployment{deployment("m", "a"), deployment("f", "x")},
			prepare: func(r *router.Router) {
				attempt(r, "a", router.Outcome{Kind: llm.RateLimited, Status: 429})
			},
			want: []string{"x"},
		},
		{
			name: "a lone deployment without fallback is used though limited", model: model("m", ""),
			deployments: []*resource.Deployment{deployment("m", "a")},
			prepare: func(r *router.Router) {
				attempt(r, "a", router.Outcome{Kind: llm.RateLimited, Status: 429, RetryAfter: time.Minute})
			},
			want: []string{"a", "a", "a"},
		},
		{
			name: "a lone deployment that is broken says when to come back", model: model("m", ""),
			deployments: []*resource.Deployment{deployment("m", "a")},
			prepare: func(r *router.Router) {
				for range 3 {
					attempt(r, "a", failure)
				}
			},
			kind: llm.Unavailable, retry: true,
		},
		{
			name: "all cool down", model: model("m", ""),
			deployments: []*resource.Deployment{deployment("m", "a"), deployment("m", "b")},
			prepare: func(r *router.Router) {
				attempt(r, "a", router.Outcome{Kind: llm.RateLimited, Status: 429, RetryAfter: time.Minute})
				attempt(r, "b", router.Outcome{Kind: llm.RateLimited, Status: 429, RetryAfter: time.Second})
			},
			kind: llm.Unavailable, retry: true,
		},
		{
			name: "a full deployment is left out", model: model("m", ""),
			deployments: []*resource.Deployment{deployment("m", "a", parallel(1)), deployment("m", "b")},
			prepare:     func(r *router.Router) { r.Begin("a") },
			want:        []string{"b", "b", "b"},
		},
		{
			name: "all full", model: model("m", ""),
			deployments: []*resource.Deployment{deployment("m", "a", parallel(1))},
			prepare:     func(r *router.Router) { r.Begin("a") },
			kind:        llm.Unavailable, retry: true,
		},
		{name: "no deployment", model: model("m", ""), kind: llm.NotFound},
		{
			name: "all out of service", model: model("m", ""),
			deployments: []*resource.Deployment{deployment("m", "a", blocked)},
			kind:        llm.Unavailable,
		},
		{
			name: "a credential that is not known", model: model("m", ""),
			deployments: []*resource.Deployment{deployment("m", "a", func(d *resource.Deployment) { d.CredentialID = "gone" })},
			kind:        llm.Unavailable,
		},
		{
			name: "least busy", model: model("m", resource.StrategyLeastBusy),
			deployments: []*resource.Deployment{deployment("m", "a"), deployment("m", "b"), deployment("m", "c")},
			prepare: func(r *router.Router) {
				for _, id := range []string{"a", "a", "c"} {
					r.Begin(id)
				}
			},
			want: []string{"b", "c", "a"},
		},
		{
			name: "lowest latency, the unknown first", model: model("m", resource.StrategyLatency),
			deployments: []*resource.Deployment{deployment("m", "a"), deployment("m", "b"), deployment("m", "c")},
			prepare: func(r *router.Router) {
				for id, d := range map[string]time.Duration{"a": 300 * time.Millisecond, "c": 100 * time.Millisecond} {
					f := r.Begin(id)
					f.FirstToken(d)
					f.End(router.Outcome{OK: true, Elapsed: time.Second, Tokens: 10})
				}
			},
			want: []string{"b", "c", "a"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := newRouter(t, newClock(), 1)
			if tt.prepare != nil {
				tt.prepare(r)
			}
			cat := catalog(append(tt.others, tt.model), tt.deployments...)
			got, err := r.Plan(cat, tt.model, tt.query)
			if tt.want != nil {
				if err != nil {
					t.Fatalf("Plan: %v", err)
				}
				if diff := cmp.Diff(tt.want, ids(got)); diff != "" {
					t.Errorf("Plan (-want +got):\n%s", diff)
				}
				return
			}
			e, ok := errors.AsType[*llm.Error](err)
			if !ok || e.Kind != tt.kind || (e.RetryAfter > 0) != tt.retry {
				t.Errorf("Plan = %v, %#v, want an error of kind %d, retry after: %t", ids(got), err, tt.kind, tt.retry)
			}
		})
	}
}

func TestPlan_ShuffleFollowsWeights(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		a, b *resource.Deployment
		want float64 // share of a
	}{
		{"uniform", deployment("m", "a"), deployment("m", "b"), 0.5},
		{"weight, missing is 1", deployment("m", "a", weight(3)), deployment("m", "b"), 0.75},
		{"rpm, missing is 0", deployment("m", "a", rpm(100)), deployment("m", "b"), 1},
		{"weight goes before rpm", deployment("m", "a", weight(1), rpm(100)), deployment("m", "b", rpm(1)), 0.5},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := newRouter(t, newClock(), 7)
			m := model("m", resource.StrategyShuffle)
			cat := catalog([]*resource.Model{m}, tt.a, tt.b)
			const n = 20000
			first := 0
			for range n {
				plan, err := r.Plan(cat, m, router.Query{})
				if err != nil {
					t.Fatal(err)
				}
				if plan[0].Deployment.ID == "a" {
					first++
				}
			}
			if got := float64(first) / n; got < tt.want-0.02 || got > tt.want+0.02 {
				t.Errorf("share of a = %.3f, want %.2f", got, tt.want)
			}
		})
	}
}

func TestPlan_SessionStaysAndMovesAlone(t *testing.T) {
	t.Parallel()
	m := model("m", resource.StrategyLeastBusy)
	all := []*resource.Deployment{deployment("m", "a"), deployment("m", "b"), deployment("m", "c"), deployment("m", "d")}
	before, after := catalog([]*resource.Model{m}, all...), catalog([]*resource.Model{m}, deployment("m", "a"), deployment("m", "b"), deployment("m", "c"))
	one, two := newRouter(t, newClock(), 1), newRouter(t, newClock(), 2)
	count := map[string]int{}
	for i := range 400 {
		q := router.Query{SessionID: fmt.Sprint("session-", i)}
		p1, _ := one.Plan(before, m, q)
		p2, _ := two.Plan(before, m, q)
		if p1[0].Deployment.ID != p2[0].Deployment.ID {
			t.Fatalf("session %d: nodes choose %s and %s", i, p1[0].Deployment.ID, p2[0].Deployment.ID)
		}
		count[p1[0].Deployment.ID]++
		moved, _ := one.Plan(after, m, q)
		if was, is := p1[0].Deployment.ID, moved[0].Deployment.ID; was != "d" && was != is {
			t.Errorf("session %d moved from %s to %s though only d is gone", i, was, is)
		}
	}
	for id, n := range count {
		if n < 60 || n > 140 {
			t.Errorf("%s has %d of 400 sessions", id, n)
		}
	}
}

func TestFlight_EndCountsOnce(t *testing.T) {
	t.Parallel()
	r := newRouter(t, newClock(), 1)
	old := r.Begin("a")
	old.End(router.Outcome{OK: true})
	old.End(router.Outcome{OK: true})
	next := r.Begin("b") // may have the slot of old
	old.FirstToken(time.Hour)
	old.End(failure)
	inFlight := func(id string) int64 {
		for _, l := range r.Stats().Loads() {
			if l.DeploymentID == id {
				return l.InFlight
			}
		}
		return -1
	}
	if a, b := inFlight("a"), inFlight("b"); a != 0 || b != 1 {
		t.Errorf("in flight a = %d, b = %d, want 0, 1", a, b)
	}
	next.End(router.Outcome{OK: true})
	if b := inFlight("b"); b != 0 {
		t.Errorf("in flight b = %d, want 0", b)
	}
	var zero router.Flight
	zero.FirstToken(1)
	zero.End(failure)
}

func TestFlight_Concurrent(t *testing.T) {
	t.Parallel()
	r := router.New(router.Config{})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := range 2000 {
				f := r.Begin([]string{"a", "b"}[i%2])
				var both sync.WaitGroup
				both.Go(func() { f.End(router.Outcome{OK: true}) })
				f.End(router.Outcome{Kind: llm.Canceled})
				both.Wait()
			}
		})
	}
	wg.Wait()
	for _, l := range r.Stats().Loads() {
		if l.InFlight != 0 {
			t.Errorf("in flight on %s = %d at idle", l.DeploymentID, l.InFlight)
		}
	}
}

func BenchmarkPlan(b *testing.B) {
	for _, s := range resource.Strategies {
		b.Run(string(s), func(b *testing.B) {
			r := router.New(router.Config{NodeID: "a"})
			m := model("m", s)
			cat := catalog([]*resource.Model{m}, deployment("m", "dep_1"), deployment("m", "dep_2"), deployment("m", "dep_3"), deployment("m", "dep_4"))
			peer := router.New(router.Config{NodeID: "b"})
			if _, err := peer.Plan(cat, m, router.Query{}); err != nil {
				b.Fatal(err)
			}
			r.Stats().Merge("b", peer.Stats().Share())
			b.ReportAllocs()
			for b.Loop() {
				plan, err := r.Plan(cat, m, router.Query{})
				if err != nil {
					b.Fatal(err)
				}
				f := r.Begin(plan[0].Deployment.ID)
				f.End(router.Outcome{OK: true, Elapsed: time.Second, Tokens: 10})
			}
		})
	}
}

func TestPlan_AllocatesOnce(t *testing.T) {
	r := router.New(router.Config{})
	m := model("m", resource.StrategyLeastBusy)
	cat := catalog([]*resource.Model{m}, deployment("m", "a"), deployment("m", "b"), deployment("m", "c"), deployment("m", "d"))
	got := testing.AllocsPerRun(1000, func() {
		plan, _ := r.Plan(cat, m, router.Query{})
		f := r.Begin(plan[0].Deployment.ID)
		f.End(router.Outcome{OK: true, Elapsed: 1})
	})
	if got > 1 {
		t.Errorf("Plan, Begin and End allocate %.1f times, want 1", got)
	}
}
