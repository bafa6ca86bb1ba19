package budget_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/conclave-llm/conclave/ledger"
	"github.com/conclave-llm/conclave/ledger/tick"
	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/proxy/budget"
	"github.com/conclave-llm/conclave/resource"
)

const cent = resource.Dollar / 100

var noon = time.Date(2026, 3, 10, 12, 0, 0, 0, time.UTC)

func dayWindow(at time.Time) resource.Window {
	t := resource.Terms{Per: resource.PerDay}
	w, err := t.Window(at)
	if err != nil {
		panic(err)
	}
	return w
}

func keyWith(terms ...resource.Terms) *resource.Principal {
	k := &resource.Key{Meta: resource.Meta{ID: "key_1"}, Name: "notebook", Policy: resource.Policy{Allowance: resource.Allowance{Budgets: terms}}}
	k.Canonicalize()
	return &resource.Principal{Key: k}
}

func cost(m resource.Money) budget.Amounts { return budget.Amounts{Cost: m} }

// request is one of the principal's that may cost so much.
func request(p *resource.Principal, cost resource.Money) budget.Request {
	return budget.Request{Catalog: catalog(), Levels: p.Levels(nil), Model: "demo", Most: budget.Amounts{Cost: cost}}
}

func catalog(budgets ...*resource.Budget) *resource.Catalog {
	return resource.NewCatalog(resource.Tables{Budgets: budgets})
}

func daily(usd resource.Money) resource.Terms { return resource.Terms{USD: usd, Per: resource.PerDay} }

func lease(granted, headroom, limit resource.Money) budget.Lease {
	return budget.Lease{
		Account: "key/key_1/day", Window: dayWindow(noon), Epoch: 1,
		Granted: granted, Headroom: headroom, Limit: limit,
	}
}

// alone is a node without a leader, so that nothing waits.
func alone(leases ...budget.Lease) *budget.Budgets {
	b := budget.New(budget.Config{
		Now: func() time.Time { return noon }, HasLeader: func() bool { return false }, Nodes: func() int { return 3 },
	})
	b.SetEpoch(1)
	b.Leases(1, leases)
	return b
}

func reserve(b *budget.Budgets, p *resource.Principal, cost resource.Money) (*budget.Hold, error) {
	return b.Reserve(context.Background(), request(p, cost))
}

func TestReserve(t *testing.T) {
	t.Parallel()
	shared := &resource.Budget{Meta: resource.Meta{ID: "bud_1"}, Terms: daily(5 * cent)}
	team := &resource.Team{Meta: resource.Meta{ID: "team_1"}, Name: "research", Policy: resource.Policy{Allowance: resource.Allowance{Budgets: []resource.Terms{daily(cent)}}}}
	for _, tt := range []struct {
		name string
		p    *resource.Principal
		req  budget.Request
		held []resource.AccountID
		kind llm.Kind
		code string
		text string
	}{
		{name: "master key", p: &resource.Principal{Master: true}, req: budget.Request{Most: budget.Amounts{Cost: resource.Dollar}}},
		{name: "no budget", p: keyWith(), req: budget.Request{Most: budget.Amounts{Cost: resource.Dollar}}},
		{name: "fits", p: keyWith(daily(10 * cent)), req: budget.Request{Most: budget.Amounts{Cost: 4 * cent}}, held: []resource.AccountID{"key/key_1/day"}},
		{
			name: "over the lease", p: keyWith(daily(10 * cent)), req: budget.Request{Most: budget.Amounts{Cost: 5 * cent}},
			kind: llm.OverBudget, code: "budget_exceeded", text: `key "notebook" (key_1)`,
		},
		{
			name: "overdraft", p: keyWith(resource.Terms{USD: 10 * cent, Per: resource.PerDay, Overdraft: cent}),
			req: budget.Request{Most: budget.Amounts{Cost: 5 * cent}}, held: []resource.AccountID{"key/key_1/day"},
		},
		{name: "free model on a spent budget", p: keyWith(daily(0)), req: budget.Request{Free: true}},
		{
			name: "limit of zero", p: keyWith(daily(0)), req: budget.Request{Most: budget.Amounts{Cost: 0}},
			kind: llm.OverBudget, code: "budget_exceeded",
		},
		{name: "unknown price is allowed", p: keyWith(daily(0)), req: budget.Request{Unpriced: true}},
		{
			name: "unknown price is denied", p: keyWith(resource.Terms{USD: cent, Unpriced: resource.UnpricedDeny}),
			req: budget.Request{Unpriced: true}, kind: llm.Forbidden, code: "model_unpriced",
		},
		{
			name: "shared budget is missing",
			p:    &resource.Principal{Key: &resource.Key{Meta: resource.Meta{ID: "key_1"}, Policy: resource.Policy{Allowance: resource.Allowance{BudgetID: "bud_2"}}}},
			req:  budget.Request{Most: budget.Amounts{Cost: 1}}, kind: llm.Unavailable,
		},
		{
			name: "shared budget", held: []resource.AccountID{"key/key_1/day"}, req: budget.Request{Most: budget.Amounts{Cost: 1}},
			p: &resource.Principal{Key: &resource.Key{Meta: resource.Meta{ID: "key_1"}, Policy: resource.Policy{Allowance: resource.Allowance{BudgetID: "bud_1"}}}},
		},
		{
			name: "team has no lease", req: budget.Request{Most: budget.Amounts{Cost: 1}}, kind: llm.OverBudget, code: "budget_exceeded", text: `team "research"`,
			p: &resource.Principal{Key: &resource.Key{Meta: resource.Meta{ID: "key_1"}, TeamID: "team_1", Policy: resource.Policy{Allowance: resource.Allowance{Budgets: []resource.Terms{daily(cent)}}}}, Team: team},
		},
		{
			name: "share of a cut-off node", p: keyWith(resource.Terms{USD: 30 * cent, Per: resource.PerDay, NoQuorum: resource.NoQuorumShare}),
			req: budget.Request{Most: budget.Amounts{Cost: 10 * cent}}, held: []resource.AccountID{"key/key_1/day"},
		},
		{
			name: "more than the share", p: keyWith(resource.Terms{USD: 30 * cent, Per: resource.PerDay, NoQuorum: resource.NoQuorumShare}),
			req: budget.Request{Most: budget.Amounts{Cost: 11 * cent}}, kind: llm.OverBudget, code: "budget_exceeded",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			l := lease(4*cent, 0, 10*cent)
			l.Overdraft = 2 * cent
			b := alone(l)
			tt.req.Levels, tt.req.Catalog = tt.p.Levels(nil), catalog(shared)
			h, err := b.Reserve(t.Context(), tt.req)
			if err == nil {
				var held []resource.AccountID
				for _, c := range h.Holds() {
					held = append(held, c.Account)
				}
				if d := cmp.Diff(tt.held, held); d != "" {
					t.Errorf("holds (-want +got):\n%s", d)
				}
				h.Release()
			}
			var e *llm.Error
			if errors.As(err, &e) != (tt.kind != 0) {
				t.Fatalf("Reserve = %v, want kind %d", err, tt.kind)
			}
			if e != nil && (e.Kind != tt.kind || e.Code != tt.code || !strings.Contains(e.Message, tt.text)) {
				t.Errorf("Reserve = kind %d, code %q, %q; want %d, %q, …%s…", e.Kind, e.Code, e.Message, tt.kind, tt.code, tt.text)
			}
			if e != nil && e.Kind == llm.OverBudget && (e.HTTPStatus() != 429 || !e.ResetsAt.Equal(time.Date(2026, 3, 11, 0, 0, 0, 0, time.UTC))) {
				t.Errorf("status %d, resets at %v", e.HTTPStatus(), e.ResetsAt)
			}
		})
	}
}

func TestRoom(t *testing.T) {
	t.Parallel()
	b := alone(lease(4*cent, 0, 10*cent))
	p := keyWith(resource.Terms{USD: 10 * cent, Per: resource.PerDay, Clamp: true})
	h, err := reserve(b, p, cent)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Release()
	if room, ok := b.Room(request(p, 0)); !ok || room.Cost != 3*cent || room.Tokens != budget.MaxRoom {
		t.Errorf("Room = %v, %v, want 0.03", room, ok)
	}
	if _, ok := b.Room(request(keyWith(daily(10*cent)), 0)); ok {
		t.Error("a budget without clamp has a Room")
	}
}

func TestReserve_AllOrNone(t *testing.T) {
	t.Parallel()
	b := alone(lease(4*cent, 0, 10*cent))
	team := &resource.Team{Meta: resource.Meta{ID: "team_1"}, Policy: resource.Policy{Allowance: resource.Allowance{Budgets: []resource.Terms{daily(cent)}}}}
	key := keyWith(daily(10 * cent)).Key
	both := &resource.Principal{Key: key, Team: team}
	for range 10 {
		if _, err := reserve(b, both, 3*cent); err == nil {
			t.Fatal("a team without a lease admitted a request")
		}
	}
	h, err := reserve(b, &resource.Principal{Key: key}, 4*cent)
	if err != nil {
		t.Fatalf("the key's lease leaked: %v", err)
	}
	h.Release()
}

func TestHold_Settle(t *testing.T) {
	t.Parallel()
	b := alone(lease(10*cent, 0, 10*cent))
	p := keyWith(daily(10 * cent))
	fits := func(cost resource.Money) bool {
		h, err := reserve(b, p, cost)
		if err == nil {
			h.Release()
		}
		return err == nil
	}
	h, err := reserve(b, p, 6*cent)
	if err != nil {
		t.Fatal(err)
	}
	if fits(5*cent) || !fits(4*cent) {
		t.Error("an open hold does not count")
	}
	want := []ledger.AccountCharge{{Account: "key/key_1/day", Start: dayWindow(noon).Start, Amount: 2 * cent}}
	if d := cmp.Diff(want, h.Settle(cost(2*cent))); d != "" {
		t.Errorf("charges (-want +got):\n%s", d)
	}
	h.Settle(cost(2 * cent))
	h.Release()
	if fits(9*cent) || !fits(8*cent) {
		t.Error("after settling 2 cents of 10, 8 must fit and 9 must not")
	}
	h, _ = reserve(b, p, cent)
	h.Settle(cost(9 * cent)) // an overrun
	h.Release()
	if fits(1) {
		t.Error("an overrun is not counted")
	}
	for range 100 { // aborted requests leak nothing
		if h, err := reserve(alone(lease(cent, 0, cent)), p, cent); err == nil {
			h.Release()
		}
	}
}

func TestLeases_Void(t *testing.T) {
	t.Parallel()
	p := keyWith(daily(10 * cent))
	b := alone()
	b.SetEpoch(0)
	b.Leases(1, []budget.Lease{lease(5*cent, 0, 10*cent)})
	if _, err := reserve(b, p, 1); err == nil {
		t.Error("a lease counts before the epoch is known")
	}
	b.SetEpoch(2)
	b.Leases(2, []budget.Lease{lease(5*cent, 0, 10*cent)})
	if _, err := reserve(b, p, 1); err == nil {
		t.Error("a lease of an old epoch counts")
	}
	l := lease(5*cent, 0, 10*cent)
	l.Epoch = 2
	b.Leases(3, []budget.Lease{l})
	h, err := reserve(b, p, 5*cent)
	if err != nil {
		t.Fatal(err)
	}
	h.Settle(cost(5 * cent))
	h.Release()
	b.Void()
	b.SetEpoch(3)
	l.Epoch = 3
	b.Leases(4, []budget.Lease{l})
	if _, err := reserve(b, p, 5*cent); err != nil {
		t.Errorf("what was consumed in an old epoch counts against the new one's lease: %v", err)
	}
}

func TestVoid_RestartWithoutLeader(t *testing.T) {
	t.Parallel()
	now := noon
	b := budget.New(budget.Config{Now: func() time.Time { return now }, HasLeader: func() bool { return false }, Nodes: func() int { return 3 }})
	p := keyWith(resource.Terms{USD: 30 * cent, Per: resource.PerDay, Overdraft: cent, NoQuorum: resource.NoQuorumShare})
	if _, err := reserve(b, p, 1); err == nil {
		t.Error("a process that knows nothing of the last one's spend goes on with its share")
	}
	now = noon.Add(24 * time.Hour) // nobody can have spent of this window
	spent := resource.Money(0)
	for range 100 {
		b.Void() // the node tries again and again to open an epoch
		if h, err := reserve(b, p, cent); err == nil {
			h.Settle(cost(cent))
			h.Release()
			spent += cent
		}
	}
	if spent != 11*cent {
		t.Errorf("a cut-off node spent %s, want its share of 0.1 and its overdraft of 0.01", spent)
	}
}

func TestDemand_Release(t *testing.T) {
	t.Parallel()
	now := noon
	b := budget.New(budget.Config{Now: func() time.Time { return now }, HasLeader: func() bool { return false }, Nodes: func() int { return 3 }})
	b.SetEpoch(1)
	b.Leases(1, []budget.Lease{lease(90*cent, 0, resource.Dollar)})
	p := keyWith(daily(resource.Dollar))
	h, err := reserve(b, p, cent)
	if err != nil {
		t.Fatal(err)
	}
	h.Release()
	_, rel := b.Demand()
	if len(rel) != 1 || rel[0].Amount < 80*cent {
		t.Fatalf("releases = %v, want most of 90 cents", rel)
	}
	left := 90*cent - rel[0].Amount
	if _, err := reserve(b, p, left+1); err == nil {
		t.Error("what is being released was used")
	}
	// The state applies the release; the lease is told before the answer, or after it.
	b.Acked(tick.Tick{Epoch: 1, Release: rel}, tick.Ack{Index: 5})
	if _, err := reserve(b, p, left+1); err == nil {
		t.Error("a release counted as applied before the lease without it was seen")
	}
	b.Leases(5, []budget.Lease{lease(left, 0, resource.Dollar)})
	if _, err := reserve(b, p, left+1); err == nil {
		t.Error("more than the lease was admitted")
	}
	h, err = reserve(b, p, left)
	if err != nil {
		t.Errorf("the lease after the release does not fit: %v", err)
	}
	h.Release()
	now = now.Add(3 * time.Second)
	l := lease(left, 0, resource.Dollar)
	l.Recall = true
	b.Leases(6, []budget.Lease{l})
	if _, rel := b.Demand(); len(rel) != 1 {
		t.Errorf("a recall released %v", rel)
	}
}

func TestDemand_NextWindow(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 10, 23, 59, 54, 0, time.UTC)
	b := budget.New(budget.Config{Now: func() time.Time { return now }, HasLeader: func() bool { return false }})
	b.SetEpoch(1)
	b.Leases(1, []budget.Lease{lease(10*cent, 0, 10*cent)})
	p := keyWith(daily(10 * cent))
	late, err := reserve(b, p, 4*cent)
	if err != nil {
		t.Fatal(err)
	}
	next := dayWindow(now.Add(time.Minute))
	if wants, _ := b.Demand(); len(wants) != 0 {
		t.Errorf("6 s before the end: wants %v", wants)
	}
	now = now.Add(2 * time.Second)
	wants, _ := b.Demand()
	if len(wants) != 1 || wants[0].Window != next || wants[0].Amount <= 0 || wants[0].Limit != 10*cent {
		t.Errorf("4 s before the end: wants %+v, want the window %+v", wants, next)
	}
	l := lease(5*cent, 0, 10*cent)
	l.Window = next
	b.Leases(2, []budget.Lease{l})
	now = now.Add(5 * time.Second)
	h, err := reserve(b, p, 5*cent)
	if err != nil {
		t.Fatalf("in the next window: %v", err)
	}
	if got := h.Settle(cost(1))[0].Start; got != next.Start {
		t.Errorf("charged to %d, want %d", got, next.Start)
	}
	h.Release()
	if got := late.Settle(cost(1))[0].Start; got != dayWindow(noon).Start {
		t.Errorf("a late request was charged to %d, want the window that admitted it", got)
	}
	late.Release()
}

// A clock that was ahead is set right: the window that it had opened, of which nothing was granted, ends, and the
// right one goes on with what was spent of it and not told yet.
func TestReserve_ClockWasAhead(t *testing.T) {
	t.Parallel()
	now := noon
	state := lease(10*cent, 0, 20*cent)
	b := budget.New(budget.Config{
		Now: func() time.Time { return now }, HasLeader: func() bool { return false }, Nodes: func() int { return 3 },
		Lookup: func(_ resource.AccountID, start resource.Time) (budget.Lease, bool) {
			return state, start == state.Window.Start
		},
	})
	b.SetEpoch(1)
	b.Leases(1, []budget.Lease{state})
	p := keyWith(daily(20 * cent))
	h, err := reserve(b, p, 6*cent)
	if err != nil {
		t.Fatal(err)
	}
	h.Settle(cost(6 * cent))
	now = noon.Add(24 * time.Hour)
	if _, err := reserve(b, p, cent); err == nil {
		t.Fatal("a window of which nothing was granted admits")
	}
	now = noon
	if _, err := reserve(b, p, 5*cent); err == nil {
		t.Error("6 of 10 cents are spent, and 5 more are admitted")
	}
	if _, err := reserve(b, p, 4*cent); err != nil {
		t.Errorf("with the clock set right: %v, want the rest of the lease", err)
	}
}

// What was granted of a window counts, though the clock that began it was ahead: none is begun twice.
func TestReserve_ClockGoesBack(t *testing.T) {
	t.Parallel()
	now := noon.Add(24 * time.Hour)
	yesterday, today := lease(10*cent, 0, 10*cent), lease(10*cent, 0, 10*cent)
	today.Window = dayWindow(now)
	b := budget.New(budget.Config{Now: func() time.Time { return now }, HasLeader: func() bool { return false }, Nodes: func() int { return 1 }})
	b.SetEpoch(1)
	b.Leases(1, []budget.Lease{yesterday, today})
	p := keyWith(daily(10 * cent))
	if _, err := reserve(b, p, 10*cent); err != nil {
		t.Fatal(err)
	}
	now = noon
	if _, err := reserve(b, p, cent); err == nil {
		t.Error("a clock that goes back opens an earlier window")
	}
}

func TestReserve_WaitsForGrant(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		first  []budget.Lease
		grant  time.Duration // 0: none comes
		admit  bool
		asked  bool
		within time.Duration
	}{
		{"grant comes", []budget.Lease{lease(0, 10*cent, 10*cent)}, 20 * time.Millisecond, true, true, 20 * time.Millisecond},
		{"first request of a window", nil, 20 * time.Millisecond, true, true, 20 * time.Millisecond},
		{"no grant comes", []budget.Lease{lease(0, 10*cent, 10*cent)}, 0, false, true, 250 * time.Millisecond},
		{"others may give back", []budget.Lease{lease(0, 0, 10*cent)}, 150 * time.Millisecond, true, true, 150 * time.Millisecond},
		{"larger than the budget", []budget.Lease{lease(0, 10*cent, 2*cent)}, 0, false, false, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				asked := make(chan struct{}, 100)
				b := budget.New(budget.Config{Ask: func() { asked <- struct{}{} }})
				b.SetEpoch(1)
				limit := 10 * cent
				if tt.within == 0 {
					limit = 2 * cent
				}
				begin := time.Now()
				w := dayWindow(begin)
				for i := range tt.first {
					tt.first[i].Window = w
				}
				b.Leases(1, tt.first)
				if tt.grant > 0 {
					go func() {
						time.Sleep(tt.grant)
						l := lease(3*cent, 7*cent, 10*cent)
						l.Window = w
						b.Leases(2, []budget.Lease{l})
					}()
				}
				go func() {
					time.Sleep(time.Millisecond)
					if wants, _ := b.Demand(); (len(wants) == 1 && wants[0].Need == 3*cent) != tt.asked {
						t.Errorf("wants = %+v", wants)
					}
				}()
				h, err := reserve(b, keyWith(daily(limit)), 3*cent)
				if (err == nil) != tt.admit || time.Since(begin) != tt.within || (len(asked) > 0) != tt.asked {
					t.Errorf("Reserve = %v after %v, asked %v; want %v after %v", err, time.Since(begin), len(asked) > 0, tt.admit, tt.within)
				}
				if err == nil {
					h.Release()
				}
				time.Sleep(time.Second)
			})
		})
	}
}

func TestReserve_SpentBudgetAnswersAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := budget.New(budget.Config{})
		b.SetEpoch(1)
		l := lease(0, 0, 10*cent)
		l.Window = dayWindow(time.Now())
		b.Leases(1, []budget.Lease{l})
		p := keyWith(daily(10 * cent))
		begin := time.Now()
		for range 1000 {
			if _, err := reserve(b, p, cent); err == nil {
				t.Fatal("admitted")
			}
		}
		if d := time.Since(begin); d > 10*time.Second {
			t.Errorf("1000 refusals took %v: each waits", d)
		}
	})
}

func TestReserve_CanceledWaiting(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := budget.New(budget.Config{})
		b.SetEpoch(1)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		_, err := b.Reserve(ctx, request(keyWith(daily(cent)), 1))
		var e *llm.Error
		if !errors.As(err, &e) || e.Kind != llm.Canceled {
			t.Errorf("Reserve = %v, want Canceled", err)
		}
		if wants, _ := b.Demand(); len(wants) == 1 && wants[0].Need != 0 {
			t.Errorf("a request that went away still wants %v", wants)
		}
	})
}

func TestReserve_Concurrent(t *testing.T) {
	t.Parallel()
	b := alone(lease(100, 0, 100))
	l := lease(1000, 0, 1000)
	l.Account = "team/team_1/day"
	b.Leases(2, []budget.Lease{l})
	team := &resource.Team{Meta: resource.Meta{ID: "team_1"}, Policy: resource.Policy{Allowance: resource.Allowance{Budgets: []resource.Terms{daily(1000)}}}}
	p := keyWith(daily(100))
	p.Team = team
	var wg sync.WaitGroup
	var mu sync.Mutex
	spent := resource.Money(0)
	for range 8 {
		wg.Go(func() {
			for range 500 {
				h, err := reserve(b, p, 3)
				if err != nil {
					continue
				}
				h.Settle(cost(1))
				h.Release()
				mu.Lock()
				spent++
				mu.Unlock()
				b.Demand()
			}
		})
	}
	wg.Wait()
	if spent == 0 || spent > 100 {
		t.Errorf("spent %d of 100", spent)
	}
}

func BenchmarkReserve(b *testing.B) {
	for _, scopes := range []int{0, 1, 4} {
		b.Run(fmt.Sprint("scopes=", scopes), func(b *testing.B) {
			var terms []resource.Terms
			var leases []budget.Lease
			for i := range scopes {
				t := daily(1e18)
				t.Name = fmt.Sprint("b", i)
				terms = append(terms, t)
				leases = append(leases, budget.Lease{
					Account: resource.Account("key", "key_1", t.Name), Window: dayWindow(noon), Epoch: 1, Granted: 1e18, Limit: 1e18,
				})
			}
			bs := alone(leases...)
			r := request(keyWith(terms...), 100)
			b.ReportAllocs()
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					h, err := bs.Reserve(context.Background(), r)
					if err != nil {
						b.Fatal(err)
					}
					h.Holds()
					h.Settle(cost(1))
					h.Release()
				}
			})
		})
	}
}
