package fsm_test

import (
	"fmt"
	"testing"

	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/resource"
)

const second resource.Time = 1e9

// An increase ends with all leases at its moment: what nodes hold is due back, and what is
// left of the limit is leased anew.
func TestMoney_IncreaseEnds(t *testing.T) {
	t.Parallel()
	until := day0 + 10*second
	h, id := budgeted(t, resource.Terms{USD: 1000, Increase: &resource.TempIncrease{Amount: 9000, Until: until}}, resource.Window{}, "n1", "n2")
	l := h.lease("n1", id, 0)
	if l.Limit != 10_000 || l.Granted != 1250 || l.Raise != 9000 || l.Until != until || l.Lapsed != 0 {
		t.Fatalf("with the increase: %+v", l)
	}
	h.tick(fsm.Tick{Node: "n1", Want: want(id, resource.Window{}, 3000, 3000), Settle: settle(id, 0, 250)})
	h.now = until - 1
	h.tick(fsm.Tick{Node: "n2"})
	if got := h.f.Accounts("key/k1")[0].Limit; got != 10_000 {
		t.Errorf("limit just before the end: %d", got)
	}
	h.now = until
	h.tick(fsm.Tick{Node: "n2"})
	if got := h.f.Accounts("key/k1")[0].Limit; got != 1000 {
		t.Errorf("limit at the end: %d, want 1000", got)
	}
	h.tick(fsm.Tick{Node: "n2", Want: want(id, resource.Window{}, 100, 100)})
	if l := h.lease("n1", id, 0); l.Limit != 1000 || l.Until != 0 || l.Lapsed != 4000 || l.Granted != 4250 {
		t.Errorf("n1 at the end: %+v, want all 4000 that is outstanding lapsed", l)
	}
	if l := h.lease("n2", id, 0); l.Granted != 1250 || l.Lapsed != 1250 {
		t.Errorf("n2 was granted while leases beyond the limit were out: %+v", l)
	}
	h.tick(fsm.Tick{Node: "n1", Release: settle(id, 0, 4000)})
	h.tick(fsm.Tick{Node: "n2", Release: settle(id, 0, 1250), Want: want(id, resource.Window{}, 100, 100)})
	if l := h.lease("n2", id, 0); l.Granted != 100 || l.Lapsed != 0 || l.Headroom != 650 {
		t.Errorf("n2 after all was given back: %+v, want 100 granted and 650 left", l)
	}
}

// A limit that is cut below what is leased ends the leases too.
func TestMoney_CutEndsLeases(t *testing.T) {
	t.Parallel()
	h, id := budgeted(t, resource.Terms{USD: 1000}, resource.Window{}, "n1")
	k, _ := h.f.Key("k1")
	for _, tt := range []struct {
		usd    resource.Money
		lapsed resource.Money
	}{{500, 0}, {200, 250}} {
		next := *k
		next.Budgets = []resource.Terms{{Name: "total", USD: tt.usd, Per: resource.PerTotal}}
		next.Version, next.Hash = 0, k.Hash
		stored, _ := h.f.Key("k1")
		h.do(h.putKey(next, stored.Version))
		if l := h.lease("n1", id, 0); l.Limit != tt.usd || l.Lapsed != tt.lapsed {
			t.Errorf("limit %d: %+v, want %d lapsed", tt.usd, l, tt.lapsed)
		}
	}
}

// A soft limit is told of once, by the entry that passes it.
func TestMoney_SoftLimit(t *testing.T) {
	t.Parallel()
	h, id := budgeted(t, resource.Terms{Tokens: new(int64(1000)), Soft: 800 * resource.Dollar}, resource.Window{}, "n1")
	for _, tt := range []struct {
		settle resource.Money
		told   bool
	}{{799, false}, {1, true}, {100, false}} {
		h.tick(fsm.Tick{Node: "n1", Settle: settle(id, 0, tt.settle)})
		if got := len(h.last.Soft) == 1; got != tt.told {
			t.Fatalf("settled %d more: told %v", tt.settle, h.last.Soft)
		}
		if tt.told {
			want := fsm.SoftLimit{Account: id, Unit: resource.UnitTokens, Soft: 800, Limit: 1000, Settled: 800}
			if h.last.Soft[0] != want {
				t.Errorf("got %+v, want %+v", h.last.Soft[0], want)
			}
		}
	}
	if a := h.f.Accounts("key/k1")[0]; a.Unit != resource.UnitTokens || a.Limit != 1000 {
		t.Errorf("account %+v, want 1000 tokens", a)
	}
}

// Models and deployments hold budgets as keys do, in every unit.
func TestMoney_Holders(t *testing.T) {
	t.Parallel()
	gpu := 40 * resource.Dollar
	for _, tt := range []struct {
		name  string
		terms resource.Terms
		limit resource.Money
	}{
		{"dollars", resource.Terms{USD: 80}, 80},
		{"tokens", resource.Terms{Tokens: new(int64(800))}, 800},
		{"requests", resource.Terms{Requests: new(int64(8))}, 8},
		{"GPU-seconds", resource.Terms{GPUSeconds: &gpu}, 40 * resource.Dollar},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			h := start(t)
			h.boot("n1")
			a := resource.Allowance{Budgets: []resource.Terms{tt.terms}}
			h.do(fsm.PutModel{Model: encoded(t, resource.Model{Meta: meta("m1"), Name: "demo", Allowance: a})})
			h.do(fsm.PutDeployment{Deployment: encoded(t, resource.Deployment{Meta: meta("d1"), ModelID: "m1", Provider: "openai", Allowance: a})})
			h.do(fsm.PutAccessGroup{Record: encoded(t, resource.AccessGroup{Meta: meta("g1"), Name: "big", Models: []string{"demo"}, Allowance: a})})
			tt.terms.Per = resource.PerTotal
			canonical := resource.Budget{Terms: tt.terms}
			canonical.Canonicalize()
			for _, holder := range []string{"model/m1", "deployment/d1", "access_group/g1"} {
				id := resource.AccountID(holder + "/" + canonical.Terms.Name)
				h.tick(fsm.Tick{Node: "n1", Want: want(id, resource.Window{}, 1, 0)})
				if l := h.lease("n1", id, 0); l.Limit != tt.limit || l.Granted != tt.limit/4+1 {
					t.Errorf("%s: %+v, want limit %d and its opening lease", id, l, tt.limit)
				}
			}
			h.do(fsm.DeleteModel{ID: "m1"})
			h.do(fsm.DeleteAccessGroup{ID: "g1"})
			if got := len(h.f.Accounts("model/m1")) + len(h.f.Accounts("deployment/d1")) + len(h.f.Accounts("access_group/g1")); got != 0 {
				t.Errorf("%d accounts outlived their holders", got)
			}
		})
	}
}

// Sessions have accounts of their own under limits of the key, and are swept when nobody has
// used them for a day.
func TestMoney_Sessions(t *testing.T) {
	t.Parallel()
	h := start(t)
	h.boot("n1")
	limits := &resource.SessionLimits{Budget: 400, Iterations: 8}
	h.do(h.putKey(resource.Key{Meta: meta("k1"), Policy: resource.Policy{Sessions: limits}}, 0))
	var ids []resource.AccountID
	for _, s := range limits.SessionTerms("session one") {
		id := resource.Account("key", "k1", s.Name)
		ids = append(ids, id)
		h.tick(fsm.Tick{Node: "n1", Want: want(id, resource.Window{}, 1, 0)})
	}
	if l := h.lease("n1", ids[0], 0); l.Limit != 400 || l.Granted != 101 {
		t.Errorf("money: %+v", l)
	}
	if l := h.lease("n1", ids[1], 0); l.Limit != 8 || l.Granted != 3 {
		t.Errorf("iterations: %+v", l)
	}
	strange := resource.AccountID("key/k1/~usd~")
	h.tick(fsm.Tick{Node: "n1", Want: want(strange+"x/y", resource.Window{}, 1, 0)})
	h.now += resource.SessionIdle - second
	h.tick(fsm.Tick{Node: "n1", Settle: settle(ids[0], 0, 5)}) // used again
	h.now += 2 * second
	h.tick(fsm.Tick{Node: "n1"})
	if got := h.f.Accounts("key/k1"); len(got) != 1 || got[0].ID != ids[0] || got[0].Settled != 5 {
		t.Errorf("after a day: %+v, want the session that was used", got)
	}
	h.now += resource.SessionIdle + second
	h.tick(fsm.Tick{Node: "n1", Want: want(ids[0], resource.Window{}, 1, 0)})
	if got := h.f.Accounts("key/k1"); len(got) != 1 || got[0].Settled != 0 {
		t.Errorf("a session that comes back: %+v, want it begun anew", got)
	}
}

func TestTotals_AllNames(t *testing.T) {
	t.Parallel()
	h := start(t)
	h.boot("n1")
	h.tick(fsm.Tick{Node: "n1", Spend: []fsm.SpendDelta{
		{
			KeyID: "k1", TeamID: "t1", Model: "demo", Day: 19_675, Cost: 5, Requests: 1, Organization: "o1", Project: "p1", User: "u1",
			Customer: "c/1\x00", Tags: []string{"a", "b/c"}, Provider: "openai", Deployment: "d1",
		},
		{KeyID: "k2", TeamID: "t1", Model: "demo", Day: 19_675, Cost: 2, Requests: 1, Tags: []string{"a"}, Provider: "openai", Deployment: "d1"},
	}})
	for _, tt := range []struct {
		kind, id string
		cost     resource.Money
	}{
		{"total", "", 7},
		{"key", "k1", 5},
		{"team", "t1", 7},
		{"model", "demo", 7},
		{"organization", "o1", 5},
		{"project", "p1", 5},
		{"user", "u1", 5},
		{"member", "t1/u1", 5},
		{"customer", "c/1\x00", 5},
		{"tag", "a", 7},
		{"tag", "b/c", 5},
		{"provider", "openai", 7},
		{"deployment", "d1", 7},
		{"customer", "", 0},
	} {
		if got := h.f.Totals(tt.kind, tt.id).Cost; got != tt.cost {
			t.Errorf("%s %q: got %d, want %d", tt.kind, tt.id, got, tt.cost)
		}
		days := h.f.DailyTotals(tt.kind, tt.id, 19_675, 19_675)
		if tt.cost > 0 && (len(days) != 1 || days[19_675].Cost != tt.cost) {
			t.Errorf("day of %s %q: got %v", tt.kind, tt.id, days)
		}
	}
}

// Totals of days go after 400 days, whoever's they are, and those of all time stay.
func TestTotals_Retention(t *testing.T) {
	t.Parallel()
	h := start(t)
	h.boot("n1")
	var spend []fsm.SpendDelta
	for i := range 400 {
		spend = append(spend, fsm.SpendDelta{Customer: fmt.Sprint("c", i), Day: 19_675, Cost: 1})
	}
	h.tick(fsm.Tick{Node: "n1", Spend: spend})
	h.now += 401 * 24 * 3600 * second
	h.tick(fsm.Tick{Node: "n1", Spend: []fsm.SpendDelta{{Customer: "c1", Day: 19_675, Cost: 1}}}) // from an old journal
	for range 8 {
		h.now += 2 * second
		h.tick(fsm.Tick{Node: "n1"})
	}
	for _, id := range []string{"c0", "c1", "c399"} {
		if got := h.f.DailyTotals("customer", id, 0, 30_000); len(got) != 0 {
			t.Errorf("days of %s after 401 days: %v", id, got)
		}
	}
	if got := h.f.Totals("customer", "c1").Cost + h.f.Totals("customer", "c399").Cost; got != 3 {
		t.Errorf("totals of all time: %d, want 3", got)
	}
}
