package budget_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/conclave-llm/conclave/ledger"
	"github.com/conclave-llm/conclave/ledger/tick"
	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/proxy/budget"
	"github.com/conclave-llm/conclave/resource"
)

// level is a holder with budgets for all time.
func level(kind, id string, terms ...resource.Terms) resource.Level {
	b := &resource.Model{Meta: resource.Meta{ID: id}, Allowance: resource.Allowance{Budgets: terms}}
	b.Canonicalize()
	return resource.Level{Kind: kind, ID: id, Allowance: &b.Allowance}
}

// total is a lease of a budget for all time.
func total(id resource.AccountID, granted resource.Money) budget.Lease {
	return budget.Lease{Account: id, Epoch: 1, Granted: granted, Limit: granted}
}

// Each unit is held and charged in its own amount, in the budgets of every level.
func TestReserve_Units(t *testing.T) {
	t.Parallel()
	levels := []resource.Level{
		level(resource.HolderOrganization, "o", resource.Terms{USD: cent}),
		level(resource.HolderMember, "t/u", resource.Terms{Tokens: new(int64(1000))}),
		level(resource.HolderCustomer, "c", resource.Terms{Requests: new(int64(10))}),
		level(resource.HolderTag, "a", resource.Terms{GPUSeconds: new(resource.Money(60e9))}),
		level(resource.HolderModel, "m", resource.Terms{Name: "other", USD: cent, Models: []string{"other*"}}, resource.Terms{Name: "mine", USD: cent, Models: []string{"dem*"}}),
	}
	b := alone(
		total("organization/o/total", cent), total("member/t/u/tokens_total", 1000), total("customer/c/requests_total", 10),
		total("tag/a/gpu_seconds_total", 60e9), total("model/m/mine", cent),
	)
	h, err := b.Reserve(t.Context(), budget.Request{
		Catalog: catalog(), Levels: levels, Model: "demo", Most: budget.Amounts{Cost: 100, Tokens: 900, GPU: 30e9},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []ledger.AccountCharge{
		{Account: "organization/o/total", Amount: 100},
		{Account: "member/t/u/tokens_total", Amount: 900},
		{Account: "customer/c/requests_total", Amount: 1},
		{Account: "tag/a/gpu_seconds_total", Amount: 30e9},
		{Account: "model/m/mine", Amount: 100},
	}
	if d := cmp.Diff(want, h.Holds()); d != "" {
		t.Errorf("holds (-want +got):\n%s", d)
	}
	for i, amount := range []resource.Money{40, 300, 1, 2e9, 40} {
		want[i].Amount = amount
	}
	if d := cmp.Diff(want, h.Settle(budget.Amounts{Cost: 40, Tokens: 300, GPU: 2e9})); d != "" {
		t.Errorf("charges (-want +got):\n%s", d)
	}
	h.Release()
}

func TestReserve_RefusedUnit(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		terms resource.Terms
		most  budget.Amounts
		free  bool
		text  string
	}{
		{"tokens", resource.Terms{Name: "b", Tokens: new(int64(1000))}, budget.Amounts{Tokens: 1001}, false, "limit 1000 tokens, 0 tokens spent or held, the request may take 1001 tokens"},
		{"tokens of a free model", resource.Terms{Name: "b", Tokens: new(int64(1000))}, budget.Amounts{Tokens: 1001}, true, "limit 1000 tokens"},
		{"requests", resource.Terms{Name: "b", Requests: new(int64(0))}, budget.Amounts{}, true, "limit 0 requests, 0 requests spent or held, the request may take 1 requests"},
		{"GPU-seconds", resource.Terms{Name: "b", GPUSeconds: new(resource.Money(60e9))}, budget.Amounts{GPU: 61e9}, false, "limit 60 GPU-seconds, 0 GPU-seconds spent or held, the request may take 61 GPU-seconds"},
		{"an estimated price", resource.Terms{Name: "b", USD: cent, Unpriced: resource.UnpricedEstimate}, budget.Amounts{Estimate: 2 * cent}, false, "limit $0.01, $0 spent or held, the request may take $0.02"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := alone(total("tag/a/b", tt.terms.Limit(0)))
			r := budget.Request{Catalog: catalog(), Levels: []resource.Level{level("tag", "a", tt.terms)}, Most: tt.most, Free: tt.free, Unpriced: tt.most.Estimate > 0}
			_, err := b.Reserve(t.Context(), r)
			var e *llm.Error
			if !errors.As(err, &e) || e.Code != "budget_exceeded" || e.Scope != "tag" || e.Entity != "a" {
				t.Fatalf("Reserve = %v", err)
			}
			if want := `budget "b" of tag a is exceeded: ` + tt.text; len(e.Message) < len(want) || e.Message[:len(want)] != want {
				t.Errorf("message %q, want %q…", e.Message, want)
			}
		})
	}
}

// A budget of GPU-seconds that is spent refuses nothing that takes none.
func TestReserve_NoGPUs(t *testing.T) {
	t.Parallel()
	terms := resource.Terms{Name: "b", GPUSeconds: new(resource.Money(0))}
	b := alone(total("tag/a/b", 0))
	h, err := b.Reserve(t.Context(), budget.Request{Catalog: catalog(), Levels: []resource.Level{level("tag", "a", terms)}, Most: budget.Amounts{Cost: 5, Tokens: 5}})
	if err != nil {
		t.Fatal(err)
	}
	if got := h.Settle(budget.Amounts{Cost: 5, Tokens: 5}); got != nil {
		t.Errorf("charged %+v", got)
	}
	h.Release()
}

// What has no price is charged the estimate by the budgets that say so, and by no other.
func TestSettle_Estimate(t *testing.T) {
	t.Parallel()
	b := alone(total("tag/a/total", cent), total("tag/b/total", cent))
	h, err := b.Reserve(t.Context(), budget.Request{
		Catalog: catalog(), Unpriced: true, Most: budget.Amounts{Estimate: 100},
		Levels: []resource.Level{level("tag", "a", resource.Terms{USD: cent}), level("tag", "b", resource.Terms{USD: cent, Unpriced: resource.UnpricedEstimate})},
	})
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]ledger.AccountCharge{{Account: "tag/b/total", Amount: 60}}, h.Settle(budget.Amounts{Estimate: 60})); d != "" {
		t.Errorf("charges (-want +got):\n%s", d)
	}
	h.Release()
}

// A deployment's budget is held for an attempt, dropped when another is asked, and refuses
// without touching what the request holds.
func TestHold_Extend(t *testing.T) {
	t.Parallel()
	b := alone(total("key/key_1/total", 100), total("deployment/d1/total", 100), total("deployment/d2/total", 100))
	p := keyWith(resource.Terms{USD: 100})
	first, second := level("deployment", "d1", resource.Terms{USD: 100}), level("deployment", "d2", resource.Terms{USD: 100})
	other := request(&resource.Principal{Master: true}, 60)
	other.Levels = []resource.Level{first}
	busy, err := b.Reserve(t.Context(), other)
	if err != nil {
		t.Fatal(err)
	}
	h, err := reserve(b, p, 50)
	if err != nil {
		t.Fatal(err)
	}
	var e *llm.Error
	if err := h.Extend(t.Context(), "m", first); !errors.As(err, &e) || e.Kind != llm.OverBudget || e.Scope != "deployment" || h.Extended() {
		t.Fatalf("Extend by a deployment without room = %v", err)
	}
	if err := h.Extend(t.Context(), "m", second); err != nil || !h.Extended() || len(h.Holds()) != 2 {
		t.Fatalf("Extend = %v, holds %v", err, h.Holds())
	}
	h.Drop()
	if len(h.Holds()) != 1 {
		t.Errorf("after Drop: holds %v", h.Holds())
	}
	busy.Release()
	if err := h.Extend(t.Context(), "m", first); err != nil {
		t.Fatal(err)
	}
	want := []ledger.AccountCharge{{Account: "key/key_1/total", Amount: 7}, {Account: "deployment/d1/total", Amount: 7}}
	if d := cmp.Diff(want, h.Settle(cost(7))); d != "" {
		t.Errorf("charges (-want +got):\n%s", d)
	}
	h.Release()
	other.Levels, other.Most.Cost = []resource.Level{second}, 100
	if h, err := b.Reserve(t.Context(), other); err != nil {
		t.Errorf("what was dropped is still held: %v", err)
	} else {
		h.Release()
	}
}

// At its moment an increase ends on this node with the lease that came of it, whatever the
// replicated state has said by then.
func TestReserve_IncreaseEnds(t *testing.T) {
	t.Parallel()
	until := resource.At(noon.Add(time.Minute))
	p := keyWith(resource.Terms{USD: 100, Per: resource.PerDay, Increase: &resource.TempIncrease{Amount: 900, Until: until}})
	for _, tt := range []struct {
		name  string
		later []budget.Lease // after the end
		fits  resource.Money
	}{
		{"the state has said nothing", nil, 0},
		{"the state still has the increase", []budget.Lease{{Granted: 250, Limit: 1000, Raise: 900, Until: until}}, 0},
		{"the leases have lapsed", []budget.Lease{{Granted: 50, Limit: 100, Lapsed: 50}}, 0},
		{"the rest is leased anew", []budget.Lease{{Granted: 100, Limit: 100, Lapsed: 50}}, 50},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			now := noon
			b := budget.New(budget.Config{Now: func() time.Time { return now }, HasLeader: func() bool { return false }})
			b.SetEpoch(1)
			give := func(index uint64, l budget.Lease) {
				l.Account, l.Window, l.Epoch = "key/key_1/day", dayWindow(noon), 1
				b.Leases(index, []budget.Lease{l})
			}
			give(1, budget.Lease{Granted: 500, Limit: 1000, Raise: 900, Until: until})
			open, err := reserve(b, p, 50)
			if err != nil {
				t.Fatal(err)
			}
			if h, err := reserve(b, p, 400); err != nil {
				t.Fatalf("before the end: %v", err)
			} else {
				h.Release()
			}
			now = until.Std()
			if _, err := reserve(b, p, 1); err == nil {
				t.Fatal("a lease of the increase admitted a request after its end")
			}
			if _, r := b.Demand(); len(r) != 1 || r[0].Amount != 450 {
				t.Errorf("given back: %v, want all 450 that no request holds", r)
			}
			b.Acked(tick.Tick{Epoch: 1, Release: []ledger.AccountCharge{{Account: "key/key_1/day", Start: dayWindow(noon).Start, Amount: 450}}}, tick.Ack{Index: 2})
			for i, l := range tt.later {
				give(uint64(2+i), l)
			}
			if tt.fits > 0 {
				open.Settle(cost(0))
				open.Release()
				if h, err := reserve(b, p, tt.fits); err != nil {
					t.Errorf("what was leased anew does not fit: %v", err)
				} else {
					h.Release()
				}
			}
			if _, err := reserve(b, p, tt.fits+1); err == nil {
				t.Errorf("more than %d was admitted", tt.fits)
			}
		})
	}
}

// A session has its own money and its own number of requests, with codes of their own.
func TestReserve_Sessions(t *testing.T) {
	t.Parallel()
	key := &resource.Key{Meta: resource.Meta{ID: "k"}, Policy: resource.Policy{Sessions: &resource.SessionLimits{Budget: 100, Iterations: 2}}}
	p := &resource.Principal{Key: key}
	var leases []budget.Lease
	for _, s := range []string{"one", "two"} {
		for _, terms := range key.Sessions.SessionTerms(s) {
			leases = append(leases, total(resource.Account("key", "k", terms.Name), terms.Limit(0)))
		}
	}
	b := alone(leases...)
	ask := func(session string, m resource.Money) error {
		r := request(p, m)
		r.Session = session
		h, err := b.Reserve(t.Context(), r)
		if err == nil {
			h.Settle(cost(m))
			h.Release()
		}
		return err
	}
	for i, tt := range []struct {
		session string
		cost    resource.Money
		code    string
	}{
		{"one", 60, ""},
		{"one", 60, "session_budget_exceeded"},
		{"two", 60, ""},
		{"one", 10, ""},
		{"one", 10, "session_iterations_exceeded"},
		{"", 1000, ""},
	} {
		err := ask(tt.session, tt.cost)
		var e *llm.Error
		if errors.As(err, &e) != (tt.code != "") || (e != nil && (e.Code != tt.code || e.HTTPStatus() != 429)) {
			t.Errorf("request %d: %v, want code %q", i, err, tt.code)
		}
	}
}

// A session that nobody uses is given back and forgotten, and known again when it returns.
func TestDemand_ForgetsSessions(t *testing.T) {
	t.Parallel()
	key := &resource.Key{Meta: resource.Meta{ID: "k"}, Policy: resource.Policy{Sessions: &resource.SessionLimits{Iterations: 10}}}
	id := resource.Account("key", "k", key.Sessions.SessionTerms("s")[0].Name)
	now, state, looks := noon, total(id, 5), 0
	b := budget.New(budget.Config{
		Now: func() time.Time { return now }, HasLeader: func() bool { return false },
		Lookup: func(resource.AccountID, resource.Time) (budget.Lease, bool) { looks++; return state, true },
	})
	b.SetEpoch(1)
	ask := func() error {
		r := request(&resource.Principal{Key: key}, 0)
		r.Session = "s"
		h, err := b.Reserve(context.Background(), r)
		if err == nil {
			h.Settle(budget.Amounts{})
			h.Release()
		}
		return err
	}
	if err := errors.Join(ask(), ask()); err != nil {
		t.Fatal(err)
	}
	now = now.Add(time.Hour)
	_, released := b.Demand()
	if want := []ledger.AccountCharge{{Account: id, Amount: 3}}; !cmp.Equal(want, released) {
		t.Fatalf("given back: %v, want %v", released, want)
	}
	state.Granted, state.Settled = 2, 1 // the release is applied, one settlement is not
	b.Acked(tick.Tick{Epoch: 1, Release: released}, tick.Ack{Index: 1})
	b.Leases(1, []budget.Lease{state})
	b.Demand()
	if was := looks; ask() == nil || looks > was+1 {
		t.Error("a session was forgotten before all of it was settled")
	}
	now = now.Add(time.Hour)
	state.Settled = 2
	b.Demand()
	state.Granted = 3
	if err := ask(); err != nil {
		t.Errorf("a session that comes back with one request left: %v", err)
	}
	if ask() == nil {
		t.Error("what the session used before it was forgotten is free again")
	}
}

func BenchmarkReserve_Levels(b *testing.B) {
	var levels []resource.Level
	var leases []budget.Lease
	for _, kind := range []string{"organization", "team", "project", "user", "member", "key", "customer", "tag", "model"} {
		levels = append(levels, level(kind, "x", resource.Terms{Name: "day", USD: resource.Dollar, Per: resource.PerTotal}))
		leases = append(leases, total(resource.AccountID(kind+"/x/day"), resource.Dollar))
	}
	for _, n := range []int{1, 6, 9} {
		b.Run(fmt.Sprint("levels=", n), func(b *testing.B) {
			bs := alone(leases...)
			r := budget.Request{Catalog: catalog(), Levels: levels[:n], Model: "demo", Most: cost(100)}
			b.ReportAllocs()
			for b.Loop() {
				h, err := bs.Reserve(context.Background(), r)
				if err != nil {
					b.Fatal(err)
				}
				h.Holds()
				h.Settle(cost(0))
				h.Release()
			}
		})
	}
}
