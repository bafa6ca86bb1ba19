package probe_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/node/probe"
	"github.com/conclave-llm/conclave/resource"
)

func catalog(every string, deployments ...*resource.Deployment) *resource.Catalog {
	return resource.NewCatalog(resource.Tables{Deployments: deployments, Settings: []*resource.Setting{
		{Meta: resource.Meta{ID: "background_health_checks"}, Value: []byte("true")},
		{Meta: resource.Meta{ID: "health_check_interval"}, Value: []byte(every)},
	}})
}

func deployment(id, base string) *resource.Deployment {
	return &resource.Deployment{Meta: resource.Meta{ID: id}, Provider: "openai", APIBase: base}
}

// cluster is some nodes that share what they know three times a second.
type cluster struct {
	mu     sync.Mutex
	leader int                    // -1: none
	asked  map[string][]time.Time // by address
	fail   error
	nodes  []*probe.Prober
}

func (c *cluster) ask(_ context.Context, d *resource.Deployment) error {
	time.Sleep(40 * time.Millisecond) // inside a bubble
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked[d.APIBase] = append(c.asked[d.APIBase], time.Now())
	return c.fail
}

func (c *cluster) lead(i int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.leader = i
}

func (c *cluster) exchange(ctx context.Context) {
	t := time.NewTicker(300 * time.Millisecond)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		for i, from := range c.nodes {
			b := from.Share()
			if len(b) > 900 {
				panic("a message is too long")
			}
			for k, to := range c.nodes {
				if i != k && b != nil {
					to.Merge("x", b)
				}
			}
		}
	}
}

func start(ctx context.Context, wg *sync.WaitGroup, n int, cat *resource.Catalog) *cluster {
	return startKind(ctx, wg, n, cat, nil)
}

func startKind(ctx context.Context, wg *sync.WaitGroup, n int, cat *resource.Catalog, kind *probe.Kind) *cluster {
	c := &cluster{asked: map[string][]time.Time{}}
	for i := range n {
		c.nodes = append(c.nodes, probe.New(probe.Config{
			Kind: kind, NodeID: "n", Catalog: func() *resource.Catalog { return cat }, Ask: c.ask,
			Leads: func() bool {
				c.mu.Lock()
				defer c.mu.Unlock()
				return c.leader == i
			},
		}))
	}
	for _, p := range c.nodes {
		wg.Go(func() { p.Run(ctx) })
	}
	wg.Go(func() { c.exchange(ctx) })
	return c
}

// TestRun_once counts the probes of an hour while the leader changes again and again: one an interval
// for each backend, whatever number of deployments it has.
func TestRun_once(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		every   string
		seconds int
		change  time.Duration
	}{{"60", 60, 97 * time.Second}, {"300", 300, 41 * time.Second}, {"10", 10, 17 * time.Second}} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancel(context.Background())
			var wg sync.WaitGroup
			cat := catalog(tt.every, deployment("a", "http://a"), deployment("b", "http://b"), deployment("b2", "http://b"))
			c := start(ctx, &wg, 3, cat)
			began := time.Now()
			for i := 0; time.Since(began) < time.Hour; i++ {
				c.lead(i % 3)
				time.Sleep(tt.change)
				c.lead(-1) // an election
				time.Sleep(1500 * time.Millisecond)
			}
			cancel()
			wg.Wait()
			if len(c.asked) != 2 {
				t.Errorf("%d backends were asked, want 2", len(c.asked))
			}
			for base, at := range c.asked {
				at = slices.DeleteFunc(at, func(at time.Time) bool { return at.Sub(began) > time.Hour })
				want := 3600 / tt.seconds
				if n := len(at); n < want-1 || n > want+1 {
					t.Errorf("every %s s: %s was asked %d times in an hour, want %d", tt.every, base, n, want)
				}
			}
		})
	}
}

// TestRun_shared: all nodes know a change within a second after it was found, with the reason.
func TestRun_shared(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		var wg sync.WaitGroup
		var all []*resource.Deployment
		for _, base := range []string{"a", "b", "c"} {
			all = append(all, deployment(base, "http://"+base))
		}
		for i := range 200 { // more than one message holds
			all = append(all, deployment("x", "http://many"+string(rune('0'+i/100))+string(rune('0'+i/10%10))+string(rune('0'+i%10))))
		}
		c := start(ctx, &wg, 3, catalog("30", all...))
		time.Sleep(time.Minute)
		for _, p := range c.nodes {
			if v, ok := p.Of(all[0]); !ok || !v.Result.Healthy() || v.Reason() != "" {
				t.Errorf("got %+v, %v", v, ok)
			}
		}
		c.mu.Lock()
		c.fail = &llm.Error{Kind: llm.Upstream, Status: 503}
		before := len(c.asked["http://a"])
		c.mu.Unlock()
		for {
			time.Sleep(10 * time.Millisecond)
			c.mu.Lock()
			n := len(c.asked["http://a"])
			c.mu.Unlock()
			if n > before {
				break
			}
		}
		time.Sleep(time.Second)
		for i, p := range c.nodes {
			v, _ := p.Of(all[0])
			if v.Result.Healthy() || v.Reason() != "the provider fails (status 503)" || len(p.History(all[0])) < 2 {
				t.Errorf("node %d: got %+v, %d in its history", i, v, len(p.History(all[0])))
			}
		}
		cancel()
		wg.Wait()
	})
}

// TestRun_paid counts the requests of an hour to deployments that want them, while the leader changes again
// and again: one an interval for each, which is a minute at least, however short the setting is.
func TestRun_paid(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		every string
		want  int
	}{{"10", 60}, {"300", 12}} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancel(context.Background())
			var wg sync.WaitGroup
			wants := func(id, base string) *resource.Deployment {
				d := deployment(id, base)
				d.HealthCheckModel = "small"
				return d
			}
			paid := probe.Paid()
			c := startKind(ctx, &wg, 3, catalog(tt.every, wants("a", "http://a"), wants("b", "http://b"), deployment("c", "http://c")), &paid)
			began := time.Now()
			for i := 0; time.Since(began) < time.Hour; i++ {
				c.lead(i % 3)
				time.Sleep(97 * time.Second)
				c.lead(-1)
				time.Sleep(1500 * time.Millisecond)
			}
			cancel()
			wg.Wait()
			if len(c.asked) != 2 {
				t.Errorf("%d deployments were asked, want the two that want it", len(c.asked))
			}
			for base, at := range c.asked {
				at = slices.DeleteFunc(at, func(at time.Time) bool { return at.Sub(began) > time.Hour })
				if n := len(at); n < tt.want-1 || n > tt.want+1 {
					t.Errorf("every %s s: %s was asked %d times in an hour, want %d", tt.every, base, n, tt.want)
				}
			}
		})
	}
}

// TestRun_skipped: what could not be asked changes no verdict on any node, and is not tried again before the
// next interval.
func TestRun_skipped(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		var wg sync.WaitGroup
		d := deployment("a", "http://a")
		d.HealthCheckModel = "small"
		paid := probe.Paid()
		c := startKind(ctx, &wg, 3, catalog("60", d), &paid)
		c.lead(0)
		time.Sleep(90 * time.Second)
		c.mu.Lock()
		c.fail = fmt.Errorf("%w: no money", probe.ErrSkipped)
		before := len(c.asked["http://a"])
		c.mu.Unlock()
		if before == 0 {
			t.Fatal("it was not asked at all")
		}
		time.Sleep(10 * time.Minute)
		if n := len(c.asked["http://a"]) - before; n != 10 {
			t.Errorf("%d tries in ten minutes, want 10", n)
		}
		for i, p := range c.nodes {
			if v, ok := p.Of(d); !ok || !v.Result.Healthy() || len(p.History(d)) != before {
				t.Errorf("node %d: got %+v, %v, and %d in its history, want %d", i, v, ok, len(p.History(d)), before)
			}
		}
		cancel()
		wg.Wait()
	})
}

// TestVerdict_paid: what is no fault of a list of models is one of an answer.
func TestVerdict_paid(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		err  error
		want probe.Result
	}{
		"answers":  {nil, probe.Reachable},
		"busy":     {&llm.Error{Kind: llm.RateLimited, Status: 429}, probe.Reachable},
		"no model": {&llm.Error{Kind: llm.NotFound, Status: 404}, probe.Refused},
		"bad":      {&llm.Error{Kind: llm.Invalid, Status: 400}, probe.Refused},
		"unsaid":   {&llm.Error{Kind: llm.Invalid}, probe.Unusable},
		"broken":   {&llm.Error{Kind: llm.Upstream, Status: 500}, probe.Failing},
	} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
			defer cancel()
			d := deployment("a", "http://a")
			d.HealthCheckModel = "small"
			cat, paid := catalog("60", d), probe.Paid()
			p := probe.New(probe.Config{
				Kind: &paid, Catalog: func() *resource.Catalog { return cat }, Leads: func() bool { return true },
				Ask: func(context.Context, *resource.Deployment) error { return tt.err },
			})
			p.Run(ctx)
			if v, ok := p.Of(d); !ok || v.Result != tt.want || (v.Reason() == "") != (tt.want == probe.Reachable) {
				t.Errorf("%s: got %+v %q, want %v", name, v, v.Reason(), tt.want)
			}
		})
	}
}

func TestRun_off(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
		defer cancel()
		var wg sync.WaitGroup
		c := start(ctx, &wg, 1, resource.NewCatalog(resource.Tables{Deployments: []*resource.Deployment{deployment("a", "http://a")}}))
		wg.Wait()
		if len(c.asked) != 0 {
			t.Errorf("%v was asked without the setting", c.asked)
		}
	})
}

func TestVerdict(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		err  error
		want probe.Result
	}{
		"answers":        {nil, probe.Reachable},
		"no list":        {&llm.Error{Kind: llm.NotFound, Status: 404}, probe.Reachable},
		"busy":           {&llm.Error{Kind: llm.RateLimited, Status: 429}, probe.Reachable},
		"wrong key":      {&llm.Error{Kind: llm.Unauthenticated, Status: 401}, probe.Credential},
		"broken":         {&llm.Error{Kind: llm.Upstream, Status: 500}, probe.Failing},
		"nobody listens": {&llm.Error{Kind: llm.Upstream, Err: errors.New("connection refused")}, probe.Connection},
		"silent":         {&llm.Error{Kind: llm.Timeout}, probe.TimedOut},
		"certificate":    {&llm.Error{Kind: llm.Upstream, Err: &tls.CertificateVerificationError{Err: errors.New("expired")}}, probe.TLS},
		"no credential":  {errors.New("the secret cannot be opened"), probe.Unusable},
	} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
			defer cancel()
			d := deployment("a", "http://a")
			cat := catalog("10", d)
			p := probe.New(probe.Config{
				Catalog: func() *resource.Catalog { return cat }, Leads: func() bool { return true },
				Ask: func(context.Context, *resource.Deployment) error { return tt.err },
			})
			p.Run(ctx)
			if v, ok := p.Of(d); !ok || v.Result != tt.want || (v.Reason() == "") != (tt.want == probe.Reachable) {
				t.Errorf("%s: got %+v %q, want %v", name, v, v.Reason(), tt.want)
			}
		})
	}
}

func FuzzMerge(f *testing.F) {
	f.Add([]byte{1})
	cat := catalog("10", deployment("a", "http://a"))
	f.Fuzz(func(t *testing.T, b []byte) {
		p := probe.New(probe.Config{Catalog: func() *resource.Catalog { return cat }})
		p.Merge("x", b)
		if out := p.Share(); len(out) > 900 {
			t.Errorf("%d bytes are shared", len(out))
		}
	})
}
