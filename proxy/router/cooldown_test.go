package router_test

import (
	"slices"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/proxy/router"
	"github.com/conclave-llm/conclave/resource"
)

// coolsDown returns the time left of the deployment's cooldown.
func coolsDown(r *router.Router, id string) time.Duration {
	for _, l := range r.Stats().Loads() {
		if l.DeploymentID == id {
			return l.CoolsDown
		}
	}
	return 0
}

func TestCooldown_Rules(t *testing.T) {
	t.Parallel()
	ok := router.Outcome{OK: true, Elapsed: time.Second}
	status := func(s int) router.Outcome { return router.Outcome{Kind: llm.Upstream, Status: s} }
	for _, tt := range []struct {
		name     string
		outcomes []router.Outcome
		want     time.Duration
	}{
		{"429 at once", []router.Outcome{status(429)}, 5 * time.Second},
		{"429 as long as asked", []router.Outcome{{Kind: llm.RateLimited, RetryAfter: 30 * time.Second}}, 30 * time.Second},
		{"429 with a bound", []router.Outcome{{Kind: llm.RateLimited, RetryAfter: 24 * time.Hour}}, 10 * time.Minute},
		{"one 401", []router.Outcome{status(401)}, 0},
		{"two 401", []router.Outcome{status(401), status(401)}, 5 * time.Second},
		{"two 404", []router.Outcome{{Kind: llm.NotFound}, {Kind: llm.NotFound}}, 5 * time.Second},
		{"two 500", []router.Outcome{status(500), status(500)}, 0},
		{"three 500", []router.Outcome{status(500), status(500), status(500)}, 5 * time.Second},
		{"time-outs and lost connections", []router.Outcome{{Kind: llm.Timeout}, {Kind: llm.Upstream}, {Kind: llm.Timeout}}, 5 * time.Second},
		{"a stream that broke off", []router.Outcome{status(200), status(200), status(200)}, 5 * time.Second},
		{"a good one between", []router.Outcome{status(500), status(500), ok, status(500)}, 0},
		{"over half of five", []router.Outcome{status(500), ok, status(500), ok, status(500)}, 5 * time.Second},
		{"the caller's mistakes", slices.Repeat([]router.Outcome{status(400), status(422), {Kind: llm.TooLarge}}, 10), 0},
		{"clients that go away", slices.Repeat([]router.Outcome{{Kind: llm.Canceled, Status: 500}}, 10), 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := newRouter(t, newClock(), 1)
			for _, o := range tt.outcomes {
				attempt(r, "a", o)
			}
			if got := coolsDown(r, "a"); got != tt.want {
				t.Errorf("cooldown = %v, want %v", got, tt.want)
			}
		})
	}
}

func TestCooldown_OneProbe(t *testing.T) {
	t.Parallel()
	c := newClock()
	r := newRouter(t, c, 1)
	m := model("m", resource.StrategyLeastBusy)
	cat := catalog([]*resource.Model{m}, deployment("m", "a"), deployment("m", "b"))
	first := func() string {
		t.Helper()
		plan, err := r.Plan(cat, m, router.Query{})
		if err != nil {
			t.Fatal(err)
		}
		return plan[0].Deployment.ID
	}
	probes := func() int {
		n := 0
		for range 50 {
			if plan, _ := r.Plan(cat, m, router.Query{}); slices.Contains(ids(plan), "a") {
				n++
			}
		}
		return n
	}
	for range 3 {
		attempt(r, "a", failure)
	}
	if n := probes(); n != 0 {
		t.Fatalf("%d plans of 50 have a deployment that cools down", n)
	}
	old := r.Begin("a") // began before the probe, so it proves nothing
	c.add(5 * time.Second)
	if got := first(); got != "a" {
		t.Fatalf("first after the cooldown = %s, want the probe of a", got)
	}
	if n := probes(); n != 0 {
		t.Errorf("%d plans of 50 have a beside the probe", n)
	}
	attempt(r, "a", failure)
	if got := coolsDown(r, "a"); got != 10*time.Second {
		t.Errorf("cooldown after a failed probe = %v, want 10s", got)
	}
	old.End(router.Outcome{OK: true})
	if got := coolsDown(r, "a"); got != 10*time.Second {
		t.Errorf("an old request's success changes the cooldown to %v", got)
	}
	c.add(10 * time.Second)
	if got := first(); got != "a" {
		t.Fatalf("first = %s, want the second probe", got)
	}
	f := r.Begin("a")
	f.FirstToken(time.Millisecond)
	if n := probes(); n != 50 {
		t.Errorf("%d plans of 50 have a, once its probe has a first token", n)
	}
	f.End(router.Outcome{OK: true})
}

func TestCooldown_NobodyClaimsAProbeItWillNotSend(t *testing.T) {
	t.Parallel()
	c := newClock()
	r := newRouter(t, c, 1)
	m := model("m", "")
	cat := catalog([]*resource.Model{m}, deployment("m", "a"), deployment("m", "b", order(1)))
	for range 3 {
		attempt(r, "b", failure)
	}
	c.add(time.Minute)
	plan, _ := r.Plan(cat, m, router.Query{})
	if slices.Contains(ids(plan), "b") {
		t.Errorf("plan %v probes b while a of a lower order serves", ids(plan))
	}
}

func TestCooldown_OthersHear(t *testing.T) {
	t.Parallel()
	c := newClock()
	a, b := newRouter(t, c, 1), newRouter(t, c, 2)
	m := model("m", "")
	cat := catalog([]*resource.Model{m}, deployment("m", "x"), deployment("m", "y"))
	for _, r := range []*router.Router{a, b} {
		if _, err := r.Plan(cat, m, router.Query{}); err != nil {
			t.Fatal(err)
		}
	}
	tell := func(from, to *router.Router, name string) { to.Stats().Merge(name, from.Stats().Share()) }
	for range 3 {
		attempt(a, "x", failure)
	}
	tell(a, b, "a")
	if got := coolsDown(b, "x"); got < 5*time.Second || got > 6*time.Second {
		t.Fatalf("b hears of a cooldown of %v, want 5s to 6s", got)
	}
	tell(b, a, "b")
	if got := coolsDown(a, "x"); got != 5*time.Second {
		t.Errorf("hearsay comes back and makes a's cooldown %v", got)
	}
	c.add(5 * time.Second)
	plan, _ := a.Plan(cat, m, router.Query{})
	if plan[0].Deployment.ID != "x" {
		t.Fatalf("a does not probe: %v", ids(plan))
	}
	tell(a, b, "a")
	attempt(a, "x", router.Outcome{OK: true})
	tell(a, b, "a")
	if got := coolsDown(b, "x"); got != 0 {
		t.Errorf("b still waits %v though a's probe went well", got)
	}
}

func TestCooldown_OldNewsDoesNotReopen(t *testing.T) {
	t.Parallel()
	c := newClock()
	a, b := newRouter(t, c, 1), newRouter(t, c, 2)
	b.Begin("x").End(router.Outcome{OK: true})
	for range 3 {
		attempt(a, "x", failure)
	}
	b.Stats().Merge("a", a.Stats().Share())
	c.add(500 * time.Millisecond)
	attempt(b, "x", router.Outcome{OK: true}) // b finds out that it works
	if got := coolsDown(b, "x"); got != 0 {
		t.Fatalf("cooldown after a success = %v", got)
	}
	b.Stats().Merge("a", a.Stats().Share())
	if got := coolsDown(b, "x"); got != 0 {
		t.Errorf("the same cooldown, heard again, opens the breaker for %v", got)
	}
}
