package ratelimit

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/resource"
)

func limits(rpm, tpm, par int64) resource.Limits {
	ptr := func(n int64) *int64 {
		if n < 0 {
			return nil
		}
		return &n
	}
	return resource.Limits{RPM: ptr(rpm), TPM: ptr(tpm), Parallel: ptr(par)}
}

func keyWith(l resource.Limits) *resource.Principal {
	return &resource.Principal{Key: &resource.Key{Meta: resource.Meta{ID: "key_1"}, Policy: resource.Policy{Allowance: resource.Allowance{Limits: l}}}}
}

func request(p *resource.Principal, n int64) *Request {
	return &Request{Levels: p.Levels(nil), Input: n}
}

func refusal(t testing.TB, err error) *llm.Error {
	t.Helper()
	var e *llm.Error
	if !errors.As(err, &e) || e.Kind != llm.RateLimited {
		t.Fatalf("got %v, want RateLimited", err)
	}
	return e
}

func TestLimiter_Alone(t *testing.T) {
	t.Parallel()
	now := 1000*time.Second + 500*time.Millisecond
	l := New(Config{NodeID: "a", Clock: func() time.Duration { return now }})
	reserve := func(p *resource.Principal, n int64) (*Hold, error) {
		return l.Reserve(context.Background(), request(p, n))
	}
	p := keyWith(limits(3, 100, 2))
	h1, err := reserve(p, 40)
	if err != nil {
		t.Fatal(err)
	}
	h2, err := reserve(p, 40)
	if err != nil {
		t.Fatal(err)
	}
	if s, ok := h2.Requests(); !ok || s.Limit != 3 || s.Remaining != 1 {
		t.Errorf("requests = %+v", s)
	}
	if s, ok := h2.Tokens(); !ok || s.Limit != 100 || s.Remaining != 20 {
		t.Errorf("tokens = %+v", s)
	}
	_, err = reserve(p, 1)
	if e := refusal(t, err); e.Type != "requests" || e.Scope != "key" {
		t.Errorf("third in flight: %+v", e)
	}
	h1.Settle(90, 0) // 50 more than estimated
	h1.Release()
	_, err = reserve(p, 1)
	if e := refusal(t, err); e.Type != "tokens" || e.RetryAfter <= 59*time.Second || e.RetryAfter > 61*time.Second {
		t.Errorf("over the tokens: %+v", e)
	}
	h2.Release() // never sent: its 40 tokens are not counted
	h3, err := reserve(p, 10)
	if err != nil {
		t.Fatalf("a refused request counted: %v", err)
	}
	h3.Settle(1, 0)
	h3.Release()
	_, err = reserve(p, 1)
	e := refusal(t, err)
	if got := e.Header.Get("x-ratelimit-limit-requests"); got != "3" {
		t.Errorf("header %q, want 3", got)
	}
	now += e.RetryAfter - 2*time.Millisecond
	if _, err = reserve(p, 1); err == nil {
		t.Error("admitted before RetryAfter")
	}
	now += 2 * time.Millisecond
	if _, err = reserve(p, 1); err != nil {
		t.Errorf("refused after RetryAfter: %v", err)
	}
}

// A node whose life began before it knew of any member has its part as soon as it knows.
func TestLimiter_MembersCome(t *testing.T) {
	t.Parallel()
	var members []string
	l := New(Config{NodeID: "a", Members: func() []string { return members }, Clock: func() time.Duration { return time.Hour }})
	p := keyWith(limits(1, -1, -1))
	if _, err := l.Reserve(t.Context(), request(p, 0)); err == nil {
		t.Error("admitted by a node that knows of no member")
	}
	members = []string{"a"}
	if _, err := l.Reserve(t.Context(), request(p, 0)); err != nil {
		t.Error(err)
	}
}

func TestLimiter_TeamAndKey(t *testing.T) {
	t.Parallel()
	l := New(Config{NodeID: "a"})
	p := keyWith(limits(10, -1, 10))
	p.Team = &resource.Team{Meta: resource.Meta{ID: "team_1"}, Policy: resource.Policy{Allowance: resource.Allowance{Limits: limits(1, -1, -1)}}}
	h, err := l.Reserve(t.Context(), request(p, 0))
	if err != nil {
		t.Fatal(err)
	}
	if s, _ := h.Requests(); s.Limit != 1 || s.Remaining != 0 {
		t.Errorf("requests = %+v, want the team's", s)
	}
	h.Release()
	for range 20 {
		_, err = l.Reserve(t.Context(), request(p, 0))
		if e := refusal(t, err); e.Scope != "team" {
			t.Fatalf("scope %q", e.Scope)
		}
	}
	h, err = l.Reserve(t.Context(), request(keyWith(limits(10, -1, 10)), 0))
	if err != nil {
		t.Fatalf("requests that the team refused count against the key: %v", err)
	}
	if s, _ := h.Requests(); s.Remaining != 8 {
		t.Errorf("remaining %d, want 8", s.Remaining)
	}
	if h, err := l.Reserve(t.Context(), request(keyWith(limits(-1, -1, -1)), 0)); err != nil || h != &none {
		t.Errorf("without limits: %v", err)
	}
	_, err = l.Reserve(t.Context(), request(keyWith(limits(0, -1, -1)), 0))
	_ = refusal(t, err)
}

// cluster is limiters in a synctest bubble, joined by links that can be cut.
type cluster struct {
	mu    sync.Mutex
	ids   []string
	nodes map[string]*Limiter
	tapes map[string]*memTape
	begin time.Time
	cut   func(from, to string) bool
	delay time.Duration
	back  time.Duration // that answers need beyond it
}

type link struct {
	c    *cluster
	from string
}

func (k link) Send(node string, b []byte) {
	if k.c.isCut(k.from, node) {
		return
	}
	time.AfterFunc(k.c.delay, func() {
		if n := k.c.node(node); n != nil {
			_ = n.Receive(k.from, b)
		}
	})
}

func (k link) Ask(ctx context.Context, node string, q []byte, late func([]byte)) ([]byte, error) {
	n := k.c.node(node)
	if n == nil || k.c.isCut(k.from, node) {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	time.Sleep(k.c.delay)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	b, err := n.Answer(k.from, q)
	k.c.mu.Lock()
	back := k.c.back
	k.c.mu.Unlock()
	if back == 0 || err != nil {
		return b, err
	}
	came := make(chan struct{})
	gone := make(chan struct{})
	time.AfterFunc(back, func() {
		select {
		case came <- struct{}{}:
		case <-gone:
			late(b)
		}
	})
	select {
	case <-came:
		return b, nil
	case <-ctx.Done():
		close(gone)
		return nil, ctx.Err()
	}
}

func (c *cluster) isCut(from, to string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cut != nil && c.cut(from, to)
}

func (c *cluster) node(id string) *Limiter {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.nodes[id]
}

func (c *cluster) start(id string) {
	c.mu.Lock()
	if c.tapes[id] == nil {
		c.tapes[id] = &memTape{}
	}
	tape := c.tapes[id]
	c.mu.Unlock()
	l := New(Config{
		NodeID: id, Members: func() []string { return c.ids }, Peers: link{c, id}, Tape: tape,
		Clock: func() time.Duration { return time.Since(c.begin) + time.Hour },
	})
	c.mu.Lock()
	c.nodes[id] = l
	c.mu.Unlock()
	l.Start()
}

func (c *cluster) stop(id string) {
	l := c.node(id)
	c.mu.Lock()
	delete(c.nodes, id)
	c.mu.Unlock()
	l.Stop()
}

func newCluster(ids ...string) *cluster {
	c := &cluster{ids: ids, nodes: map[string]*Limiter{}, tapes: map[string]*memTape{}, begin: time.Now(), delay: 2 * time.Millisecond}
	for i, id := range ids {
		time.Sleep(time.Duration(i*37) * time.Millisecond) // rounds are not in step
		c.start(id)
	}
	return c
}

func (c *cluster) close() {
	for _, id := range c.ids {
		if c.node(id) != nil {
			c.stop(id)
		}
	}
	time.Sleep(time.Second)
}

// load offers requests for a time and returns when each was admitted, in units of cost.
type load struct {
	at    []time.Duration
	cost  []int64
	wait  time.Duration // the longest
	asked int
}

func (c *cluster) offer(p *resource.Principal, perSecond float64, span time.Duration, pick func(r *rand.Rand) string, cost func(r *rand.Rand) (estimate, actual int64)) *load {
	var mu sync.Mutex
	var wg sync.WaitGroup
	out := &load{}
	begin := time.Now()
	r := rand.New(rand.NewPCG(1, 2))
	for time.Since(begin) < span {
		time.Sleep(time.Duration(r.ExpFloat64() / perSecond * float64(time.Second)))
		id := pick(r)
		est, actual := cost(r)
		out.asked++
		wg.Go(func() {
			l := c.node(id)
			if l == nil {
				return
			}
			asked := time.Now()
			h, err := l.Reserve(context.Background(), request(p, est))
			mu.Lock()
			out.wait = max(out.wait, time.Since(asked))
			if err == nil {
				out.at, out.cost = append(out.at, time.Since(begin)), append(out.cost, actual)
			}
			mu.Unlock()
			if err == nil {
				h.Settle(actual, 0)
				h.Release()
			}
		})
	}
	wg.Wait()
	return out
}

// worst is the most that any 60 s hold; between is what a span holds.
func (o *load) worst() (most int64) {
	sum, first := int64(0), 0
	for i, at := range o.at {
		sum += o.cost[i]
		for at-o.at[first] >= time.Minute {
			sum -= o.cost[first]
			first++
		}
		most = max(most, sum)
	}
	return most
}

func (o *load) between(from, to time.Duration) (n int64) {
	for i, at := range o.at {
		if at >= from && at < to {
			n += o.cost[i]
		}
	}
	return n
}

func one(*rand.Rand) (int64, int64) { return 1, 1 }

func even(r *rand.Rand) string { return string(rune('a' + r.IntN(3))) }

func TestSimulation(t *testing.T) {
	t.Parallel()
	partition := func(begin time.Time) func(from, to string) bool {
		return func(from, to string) bool {
			d := time.Since(begin)
			return d > 70*time.Second && d < 130*time.Second && (from == "c") != (to == "c")
		}
	}
	for _, tt := range []struct {
		name   string
		limits resource.Limits
		limit  int64
		rate   float64 // requests a second
		pick   func(r *rand.Rand) string
		cost   func(r *rand.Rand) (int64, int64)
		cut    func(begin time.Time) func(from, to string) bool
		use    float64 // least part of the limit in the second and third minute
	}{
		{name: "even", limits: limits(600, -1, -1), limit: 600, rate: 20, pick: even, cost: one, use: 0.95},
		{name: "even, ten times", limits: limits(600, -1, -1), limit: 600, rate: 100, pick: even, cost: one, use: 0.95},
		{name: "one hot node", limits: limits(600, -1, -1), limit: 600, rate: 20, pick: func(*rand.Rand) string { return "a" }, cost: one, use: 0.94},
		{
			name: "90/5/5", limits: limits(600, -1, -1), limit: 600, rate: 50, cost: one, use: 0.93,
			pick: func(r *rand.Rand) string {
				if r.IntN(10) > 0 {
					return "a"
				}
				return even(r)
			},
		},
		{name: "partition", limits: limits(600, -1, -1), limit: 600, rate: 20, pick: even, cost: one, cut: partition, use: 0.85},
		{name: "partition, one hot node", limits: limits(600, -1, -1), limit: 600, rate: 20, pick: func(*rand.Rand) string { return "a" }, cost: one, cut: partition, use: 0.7},
		{name: "small limit", limits: limits(6, -1, -1), limit: 6, rate: 1, pick: even, cost: one, use: 0.95},
		{name: "between small and large", limits: limits(30, -1, -1), limit: 30, rate: 2, pick: even, cost: one, use: 0.8},
		{
			name: "tokens", limits: limits(-1, 60000, -1), limit: 60000, rate: 20, pick: even, use: 0.9,
			cost: func(r *rand.Rand) (int64, int64) { n := 50 + r.Int64N(200); return n, n - r.Int64N(40) },
		},
		{
			name: "large requests", limits: limits(-1, 60000, -1), limit: 60000, rate: 1, pick: even, use: 0.95,
			cost: func(*rand.Rand) (int64, int64) { return 20000, 20000 },
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				c := newCluster("a", "b", "c")
				defer c.close()
				time.Sleep(time.Second)
				if tt.cut != nil {
					c.mu.Lock()
					c.cut = tt.cut(time.Now())
					c.mu.Unlock()
				}
				o := c.offer(keyWith(tt.limits), tt.rate, 3*time.Minute, tt.pick, tt.cost)
				over := float64(o.worst()) / float64(tt.limit)
				use := float64(o.between(time.Minute, 3*time.Minute)) / float64(2*tt.limit)
				t.Logf("worst minute %.3f of the limit, used %.3f, longest wait %v, %d of %d admitted", over, use, o.wait, len(o.at), o.asked)
				if over > 1 || use < tt.use {
					t.Errorf("worst minute %.3f of the limit (want <= 1), used %.3f (want >= %.2f)", over, use, tt.use)
				}
				if o.wait > waitAtMost+10*time.Millisecond {
					t.Errorf("a request waited %v", o.wait)
				}
			})
		})
	}
}

func TestSimulation_Burst(t *testing.T) {
	t.Parallel()
	for offset := range 5 {
		t.Run(fmt.Sprint(offset), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				c := newCluster("a", "b", "c")
				defer c.close()
				time.Sleep(time.Second + time.Duration(offset*20)*time.Millisecond)
				o := c.offer(keyWith(limits(600, -1, -1)), 5000, 500*time.Millisecond, even, one)
				t.Logf("admitted %d of %d, longest wait %v", len(o.at), o.asked, o.wait)
				if n := len(o.at); n != 600 {
					t.Errorf("a burst of %d admitted %d, want 600", o.asked, n)
				}
			})
		})
	}
}

func TestSimulation_Restart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCluster("a", "b", "c")
		defer c.close()
		time.Sleep(time.Second)
		go func() {
			time.Sleep(50 * time.Second)
			c.stop("a")
			time.Sleep(2 * time.Second)
			c.start("a")
		}()
		o := c.offer(keyWith(limits(600, -1, -1)), 30, 2*time.Minute, even, one)
		over := float64(o.worst()) / 600
		t.Logf("worst minute %.3f", over)
		if over > 1 {
			t.Errorf("worst minute %.3f of the limit", over)
		}
	})
}

// A node that is back is asked for its part after its first round, however long nobody had an answer of it.
func TestSimulation_Back(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCluster("a", "b", "c")
		defer c.close()
		time.Sleep(time.Second)
		c.stop("c")
		p := keyWith(limits(600, -1, -1))
		c.offer(p, 100, 10*time.Second, func(*rand.Rand) string { return "a" }, one)
		c.start("c")
		time.Sleep(2 * roundEvery)
		p.Key.ID = "key_2"
		got := 0
		for range 600 {
			if _, err := c.node("a").Reserve(t.Context(), request(p, 0)); err == nil {
				got++
			}
		}
		if got != 600 {
			t.Errorf("a burst of 600 on one node admitted %d", got)
		}
	})
}

func TestSimulation_Parallel(t *testing.T) {
	t.Parallel()
	for _, limit := range []int64{4, 60} {
		t.Run(fmt.Sprint(limit), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				c := newCluster("a", "b", "c")
				defer c.close()
				time.Sleep(time.Second)
				p := keyWith(limits(-1, -1, limit))
				var mu sync.Mutex
				inFlight, most, done := int64(0), int64(0), 0
				r := rand.New(rand.NewPCG(1, 2))
				var wg sync.WaitGroup
				for range 3000 {
					time.Sleep(time.Duration(r.IntN(10)) * time.Millisecond)
					id, d := even(r), time.Duration(r.IntN(int(limit)*20))*time.Millisecond
					wg.Go(func() {
						h, err := c.node(id).Reserve(context.Background(), request(p, 0))
						if err != nil {
							return
						}
						mu.Lock()
						inFlight++
						done++
						most = max(most, inFlight)
						mu.Unlock()
						time.Sleep(d)
						mu.Lock()
						inFlight--
						mu.Unlock()
						h.Release()
					})
				}
				wg.Wait()
				t.Logf("most in flight %d of %d, %d of 3000 done", most, limit, done)
				if most > limit || most < limit*8/10 {
					t.Errorf("most in flight %d, limit %d", most, limit)
				}
			})
		})
	}
}

// What a slow peer lends is not lost when its answer comes after the request that waited.
func TestLimiter_SlowPeers(t *testing.T) {
	t.Parallel()
	for _, back := range []time.Duration{2 * askAtMost, 2 * loanFor} { // of use still, and to be given back
		t.Run(back.String(), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				c := newCluster("a", "b", "c")
				defer c.close()
				time.Sleep(time.Second)
				slow := func(d time.Duration) { c.mu.Lock(); c.back = d; c.mu.Unlock() }
				slow(back)
				p := keyWith(limits(60, -1, -1))
				took := 0
				take := func() {
					if _, err := c.node("a").Reserve(t.Context(), request(p, 0)); err == nil {
						took++
					}
				}
				for range 30 {
					take()
					time.Sleep(100 * time.Millisecond)
				}
				slow(0)
				time.Sleep(2 * loanFor)
				for range 60 {
					take()
				}
				if took != 60 {
					t.Errorf("admitted %d of 60", took)
				}
			})
		})
	}
}

// Cut off from one another, all nodes together admit what the limit says.
func TestLimiter_AllCutOff(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCluster("a", "b", "c")
		defer c.close()
		for _, id := range c.ids { // all have agreed on the members
			h, err := c.node(id).Reserve(t.Context(), request(keyWith(limits(1, -1, -1)), 0))
			if err == nil {
				h.undo()
				h.free()
			}
		}
		c.mu.Lock()
		c.cut = func(string, string) bool { return true }
		c.mu.Unlock()
		time.Sleep(handover)
		for _, limit := range []int64{1, 2, 6, 7, 600} {
			p := keyWith(limits(limit, -1, -1))
			p.Key.ID = fmt.Sprint(limit)
			total := int64(0)
			for _, id := range c.ids {
				for range limit + 1 {
					if _, err := c.node(id).Reserve(t.Context(), request(p, 0)); err == nil {
						total++
					}
				}
			}
			if total != limit {
				t.Errorf("limit %d: admitted %d", limit, total)
			}
		}
	})
}

func TestRing(t *testing.T) {
	t.Parallel()
	var r ring
	r.advance(100)
	r.add(100, 5)
	r.advance(130)
	r.add(130, 6)
	r.add(132, 1)
	for _, tt := range []struct{ second, want int64 }{{130, 12}, {160, 12}, {161, 7}, {190, 7}, {191, 1}, {192, 1}, {193, 0}, {900, 0}, {800, 0}} {
		r.advance(tt.second)
		if r.sum != tt.want {
			t.Errorf("at %d: sum %d, want %d", tt.second, r.sum, tt.want)
		}
	}
	r.add(850, 3) // the clock went back
	if r.sum != 3 || r.second != 900 {
		t.Errorf("sum %d at %d", r.sum, r.second)
	}
	r.sub(900, 2)
	r.sub(800, 2)
	r.sub(901, 2)
	if r.sum != 1 {
		t.Errorf("sum %d after refunds, want 1", r.sum)
	}
	if got := r.after(900, 1); got != span {
		t.Errorf("free after %d s, want %d", got, span)
	}
}

func FuzzFrame(f *testing.F) {
	fr := frame{boot: 7, no: 9, hints: []hint{{3, tokens, 4}}, returns: []giveBack{{5, input, 6, 7, 8}}, reports: []report{{9, 10, 11, 12}}}
	f.Add(fr.encode())
	q := question{boot: 1, id: 1, dim: requests, limit: 5, members: 4, need: 1, want: 2, no: 3, held: 4, closed: 5}
	f.Add(q.encode())
	a := answer{settled: true, boot: 2, lent: 5, left: 6, stamp: 7, retry: 8, members: 9}
	f.Add(a.encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		if fr, err := parseFrame(b); err == nil {
			again, err := parseFrame(fr.encode())
			if d := cmp.Diff(fr, again, cmp.AllowUnexported(frame{}, hint{}, giveBack{}, report{})); err != nil || d != "" {
				t.Errorf("frame changes when written again: %v\n%s", err, d)
			}
		}
		if q, err := parseQuestion(b); err == nil {
			if again, err := parseQuestion(q.encode()); err != nil || again != q {
				t.Errorf("question %+v becomes %+v: %v", q, again, err)
			}
		}
		if a, err := parseAnswer(b); err == nil {
			if again, err := parseAnswer(a.encode()); err != nil || again != a {
				t.Errorf("answer %+v becomes %+v: %v", a, again, err)
			}
		}
		l := New(Config{NodeID: "a", Boot: 1})
		_ = l.Receive("b", b)
		_, _ = l.Answer("b", b)
	})
}

func BenchmarkReserve(b *testing.B) {
	for _, bb := range []struct {
		name    string
		limits  resource.Limits
		members []string
	}{
		{"none", limits(-1, -1, -1), []string{"a"}},
		{"rpm", limits(1e12, -1, -1), []string{"a"}},
		{"all", limits(1e12, 1e12, 1e12), []string{"a"}},
		{"all, three members", limits(1e12, 1e12, 1e12), []string{"a", "b", "c"}},
	} {
		b.Run(bb.name, func(b *testing.B) {
			tape, err := OpenTape(b.TempDir())
			if err != nil {
				b.Fatal(err)
			}
			defer func() { _ = tape.Close() }()
			l := New(Config{NodeID: "a", Members: func() []string { return bb.members }, Tape: tape})
			v := *l.view.Load()
			v.past, v.at = nil, v.at+time.Hour
			l.view.Store(&v) // the others have agreed
			r := request(keyWith(bb.limits), 100)
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					h, err := l.Reserve(context.Background(), r)
					if err != nil {
						b.Fatal(err)
					}
					h.Settle(90, 0)
					h.Release()
				}
			})
		})
	}
}

// BenchmarkAnswer lends to a peer.
func BenchmarkAnswer(b *testing.B) {
	tape, err := OpenTape(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = tape.Close() }()
	l := New(Config{NodeID: "a", Tape: tape})
	q := question{boot: 1, id: 2, dim: requests, limit: 1 << 40, members: l.view.Load().sum, need: 1, want: 4}
	for b.Loop() {
		q.no++
		if _, err := l.Answer("b", q.encode()); err != nil {
			b.Fatal(err)
		}
	}
}

// The parts of all members sum up to the limit, and no member is favored.
func TestShare(t *testing.T) {
	t.Parallel()
	for n := 1; n <= 7; n++ {
		var members []uint64
		for i := range n {
			members = append(members, hashNode(fmt.Sprint("node", i)))
		}
		count := make([]int64, n)
		for id := range uint64(500) {
			limit, sum := int64(id)%23, int64(0)
			for i, m := range members {
				p := share(mix(id, 1), m, members, limit)
				count[i] += p
				sum += p
			}
			if sum != limit {
				t.Fatalf("%d members have %d of %d", n, sum, limit)
			}
		}
		if least, most := slices.Min(count), slices.Max(count); float64(most) > 1.1*float64(least) {
			t.Errorf("parts of %d members: %v", n, count)
		}
	}
}

// memTape is a Tape in memory.
type memTape struct {
	mu    sync.Mutex
	sides [2][]byte
}

func (m *memTape) Append(b []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sides[1] = append(m.sides[1], b...)
	return nil
}

func (m *memTape) Turn() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sides = [2][]byte{m.sides[1], m.sides[0][:0]}
	return nil
}

func (m *memTape) Each(f func([]byte)) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range m.sides {
		for b := range slices.Chunk(s, recordSize) {
			f(b)
		}
	}
	return nil
}
