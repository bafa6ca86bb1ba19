package router_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/proxy/router"
)

func others(r *router.Router, id string) float64 {
	for _, l := range r.Stats().Loads() {
		if l.DeploymentID == id {
			return l.Others
		}
	}
	return -1
}

func TestStats_FadeForgetRestart(t *testing.T) {
	t.Parallel()
	c := newClock()
	a, b := newRouter(t, c, 1), newRouter(t, c, 2)
	for range 10 {
		a.Begin("x")
	}
	b.Stats().Merge("a", a.Stats().Share())
	b.Begin("x").End(router.Outcome{OK: true}) // known only after the gossip came
	for _, tt := range []struct {
		name  string
		after time.Duration
		want  float64
	}{
		{"fresh", 0, 10},
		{"a second old", time.Second, 10},
		{"half faded", 500 * time.Millisecond, 5},
		{"two seconds old", 500 * time.Millisecond, 0},
	} {
		c.add(tt.after)
		if got := others(b, "x"); got != tt.want {
			t.Errorf("%s: others in flight = %v, want %v", tt.name, got, tt.want)
		}
	}
	b.Stats().Merge("a", a.Stats().Share())
	if got := others(b, "x"); got != 10 {
		t.Errorf("heard again: others in flight = %v, want 10", got)
	}
	b.Stats().Forget("a")
	if got := others(b, "x"); got != 0 {
		t.Errorf("a dead node has %v in flight, want 0", got)
	}
	b.Stats().Merge("a", a.Stats().Share())
	c.add(time.Millisecond)
	again := newRouter(t, c, 1)
	again.Begin("y")
	b.Stats().Merge("a", again.Stats().Share())
	if got := others(b, "x"); got != 0 {
		t.Errorf("a restarted node still has %v in flight, want 0", got)
	}
	b.Stats().Merge("node2", a.Stats().Share())
	b.Stats().Merge("z", []byte{9, 9, 9})
	if got := others(b, "x"); got != 0 {
		t.Errorf("its own or an unreadable payload gives %v in flight, want 0", got)
	}
}

func TestStats_ManyDeploymentsAllGetTold(t *testing.T) {
	t.Parallel()
	c := newClock()
	a, b := newRouter(t, c, 1), newRouter(t, c, 2)
	const n = 300
	id := func(i int) string { return fmt.Sprint("dep_", i) }
	for i := range n {
		a.Begin(id(i))
		b.Begin(id(i)).End(router.Outcome{OK: true})
	}
	for range 30 {
		p := a.Stats().Share()
		if len(p) > 900 {
			t.Fatalf("payload of %d bytes", len(p))
		}
		b.Stats().Merge("a", p)
	}
	for i := range n {
		if got := others(b, id(i)); got != 1 {
			t.Fatalf("%s: others = %v after 30 rounds, want 1", id(i), got)
		}
	}
	for range 50 {
		a.Begin(id(7))
	}
	b.Stats().Merge("a", a.Stats().Share())
	if got := others(b, id(7)); got != 51 {
		t.Errorf("the one that changed: others = %v after one round, want 51", got)
	}
	c.add(3 * time.Hour)
	b.Stats().Share()
	if got := len(b.Stats().Loads()); got != 0 {
		t.Errorf("%d deployments are remembered after hours of silence", got)
	}
}

func TestStats_NothingToShare(t *testing.T) {
	t.Parallel()
	if p := newRouter(t, newClock(), 1).Stats().Share(); p != nil {
		t.Errorf("Share = %x, want nil", p)
	}
}

func FuzzMerge(f *testing.F) {
	c := newClock()
	seed := newRouter(f, c, 1)
	seed.Begin("x")
	f.Add(seed.Stats().Share())
	f.Add([]byte{1, 0, 0, 0, 0, 0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, payload []byte) {
		r := newRouter(t, newClock(), 2)
		r.Begin("x")
		r.Stats().Merge("a", payload)
		for _, l := range r.Stats().Loads() {
			if l.Others < 0 || l.FirstToken < 0 || l.CoolsDown < 0 {
				t.Errorf("payload %x gives %+v", payload, l)
			}
		}
	})
}
