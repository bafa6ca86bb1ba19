package fsm_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/resource"
)

// A shared budget's further terms have accounts of their own, which a change of the budget reaches; and its limits
// grant no more than a level above has.
func TestSharedBudget(t *testing.T) {
	t.Parallel()
	h := start(t)
	h.boot("n1")
	b := resource.Budget{
		Meta: meta("b1"), Name: "shared", Terms: resource.Terms{Name: "s", USD: 100},
		Budgets: []resource.Terms{{Name: "model_m", USD: 40, Models: []string{"m"}}},
		Limits:  resource.Limits{RPM: new(int64(20))}, ModelLimits: map[string]resource.Limits{"m": {TPM: new(int64(50))}},
	}
	r := h.do(fsm.PutBudget{Budget: encoded(t, b)})
	h.do(h.putKey(resource.Key{Meta: meta("k1"), Policy: resource.Policy{Allowance: resource.Allowance{BudgetID: "b1"}}}, 0))
	const id = resource.AccountID("key/k1/model_m")
	h.tick(fsm.Tick{Node: "n1", Want: want(id, resource.Window{}, 5, 5)})
	if got := h.lease("n1", id, 0); got.Limit != 40 {
		t.Errorf("got %+v, want the limit 40", got)
	}
	b.Budgets[0].USD = 30
	h.do(fsm.PutBudget{Budget: encoded(t, b), Read: r.Version})
	if got := h.lease("n1", id, 0); got.Limit != 30 {
		t.Errorf("after a cut: got %+v, want the limit 30", got)
	}
	h.invalid(h.putKey(resource.Key{Meta: meta("k2"), Policy: resource.Policy{Allowance: resource.Allowance{
		BudgetID: "b1", Budgets: []resource.Terms{{Name: "model_m", USD: 1}},
	}}}, 0), "budget_id")

	team := func(id string, l resource.Limits) {
		h.do(h.team(resource.Team{Meta: meta(id), Policy: resource.Policy{Allowance: resource.Allowance{Limits: l}}}))
	}
	key := func(id, team string, a resource.Allowance) fsm.PutKey {
		return h.putKey(resource.Key{Meta: meta(id), TeamID: team, Policy: resource.Policy{Allowance: a}}, 0)
	}
	team("slow", resource.Limits{RPM: new(int64(19))})
	team("few", resource.Limits{TPM: new(int64(49))})
	h.invalid(key("k3", "slow", resource.Allowance{BudgetID: "b1"}), "limits")
	h.invalid(key("k3", "few", resource.Allowance{BudgetID: "b1"}), "model_limits")
	h.do(h.team(resource.Team{Meta: meta("shared"), Policy: resource.Policy{Allowance: resource.Allowance{BudgetID: "b1"}}}))
	h.invalid(key("k4", "shared", resource.Allowance{Limits: resource.Limits{RPM: new(int64(21))}}), "limits")
	h.do(key("k4", "shared", resource.Allowance{Limits: resource.Limits{RPM: new(int64(20))}}))
	h.do(key("k5", "slow", resource.Allowance{BudgetID: "b1", Limits: resource.Limits{RPM: new(int64(19))}}))
}

// A budget that bounds nothing has no account.
func TestSharedBudget_boundless(t *testing.T) {
	t.Parallel()
	h := start(t)
	h.boot("n1")
	h.do(fsm.PutBudget{Budget: encoded(t, resource.Budget{
		Meta: meta("b1"), Name: "limits", Terms: resource.Terms{USD: resource.MaxMoney}, Limits: resource.Limits{RPM: new(int64(20))},
	})})
	h.do(h.putKey(resource.Key{Meta: meta("k1"), Policy: resource.Policy{Allowance: resource.Allowance{BudgetID: "b1"}}}, 0))
	const id = resource.AccountID("key/k1/total")
	h.tick(fsm.Tick{Node: "n1", Want: want(id, resource.Window{}, 5, 5)})
	if got := h.lease("n1", id, 0); got.Account != "" {
		t.Errorf("got %+v, want no account", got)
	}
}

// A budget that is named for end users is not deleted, and the refusal says by whom it is; a change of it touches those alone
// whose own budget it is.
func TestDeleteBudget_OfCustomers(t *testing.T) {
	t.Parallel()
	h := start(t)
	h.boot("n1")
	version := map[string]uint64{}
	for _, id := range []string{"b1", "b2"} {
		version[id] = h.do(fsm.PutBudget{Budget: encoded(t, resource.Budget{Meta: meta(id), Name: "name of " + id, Terms: resource.Terms{Name: "s", USD: 100}})}).Version
	}
	h.do(h.team(resource.Team{Meta: meta("t1"), Name: "t1", CustomerBudget: "name of b1"}))
	h.do(fsm.PutOrganization{Record: encoded(t, resource.Organization{Meta: meta("o1"), Name: "o1", CustomerBudget: "b1"})})
	k := h.do(h.putKey(resource.Key{Meta: meta("k1"), Access: resource.Access{CustomerBudget: "b2"}}, 0))
	in := func(id, by string) {
		t.Helper()
		a := h.try(master, fsm.DeleteBudget{ID: id})
		if !errors.Is(a.Err, resource.ErrInUse) || !strings.Contains(a.Err.Error(), "named by "+by+" as customer_budget") {
			t.Errorf("delete %s: got %v, want it named by %s", id, a.Err, by)
		}
	}
	in("b1", `organization "o1"`)
	in("b2", `key "k1"`)
	h.do(fsm.PutBudget{Budget: encoded(t, resource.Budget{Meta: meta("b2"), Name: "name of b2", Terms: resource.Terms{Name: "s", USD: 50}}), Read: version["b2"]})
	h.do(fsm.DeleteOrganization{ID: "o1"})
	in("b1", `team "t1"`)
	h.do(fsm.DeleteTeam{ID: "t1"})
	h.do(h.putKey(resource.Key{Meta: meta("k1")}, k.Version))
	h.do(fsm.DeleteBudget{ID: "b1"})
	h.do(fsm.DeleteBudget{ID: "b2"})
}

// A budget that is named by its name for end users keeps the name, since nobody would find it: until it is named by its id.
func TestPutBudget_NameOfCustomers(t *testing.T) {
	t.Parallel()
	h := start(t)
	h.boot("n1")
	tier := resource.Budget{Meta: meta("b1"), Name: "tier", Terms: resource.Terms{Name: "s", USD: 100}}
	read := h.do(fsm.PutBudget{Budget: encoded(t, tier)}).Version
	rename := func() fsm.PutBudget {
		tier.Name = "class"
		return fsm.PutBudget{Budget: encoded(t, tier), Read: read}
	}
	in := func(by string) {
		t.Helper()
		a := h.try(master, rename())
		if !errors.Is(a.Err, resource.ErrInUse) || !strings.Contains(a.Err.Error(), `named "tier" by `+by+` as customer_budget`) {
			t.Errorf("another name: got %v, want it named by %s", a.Err, by)
		}
	}
	setting := func(ref string) fsm.PutSetting {
		return fsm.PutSetting{Setting: encoded(t, resource.Setting{Meta: resource.Meta{ID: "customer_budget"}, Value: json.RawMessage(`"` + ref + `"`)})}
	}
	v := h.do(setting("tier")).Version
	team := h.do(h.team(resource.Team{Meta: meta("t1"), Name: "t1", CustomerBudget: "tier"})).Version
	in("the settings")
	tier.Name, tier.Terms.USD = "tier", 50 // another amount is no other name
	read = h.do(fsm.PutBudget{Budget: encoded(t, tier), Read: read}).Version
	byID := setting("b1")
	byID.Read = v
	h.do(byID)
	in(`team "t1"`)
	next := h.team(resource.Team{Meta: meta("t1"), Name: "t1", CustomerBudget: "b1"})
	next.Read = team
	h.do(next)
	h.do(rename())
}

// End users without budgets have an account each under the budget that is given to them.
func TestCustomers_given(t *testing.T) {
	t.Parallel()
	h := start(t)
	h.boot("n1", "n2")
	b := resource.Budget{Meta: meta("b:1"), Name: "tier", Terms: resource.Terms{Name: "total", USD: 100}}
	r := h.do(fsm.PutBudget{Budget: encoded(t, b)})
	h.do(fsm.PutSetting{Setting: encoded(t, resource.Setting{Meta: resource.Meta{ID: "customer_budget"}, Value: json.RawMessage(`"tier"`)})})
	given := b.Given()
	one := resource.Account("customer", "tenant/7", given.Budgets[0].Name)
	two := resource.Account("customer", "eve", given.Budgets[0].Name)
	for _, node := range []string{"n1", "n2"} {
		h.tick(fsm.Tick{Node: node, Want: append(want(one, resource.Window{}, 80, 80), want(two, resource.Window{}, 10, 10)...)})
	}
	a, c := h.lease("n1", one, 0), h.lease("n2", one, 0)
	if a.Limit != 100 || a.Granted+c.Granted > 100 || a.Granted < 80 {
		t.Errorf("two nodes want 80 each of 100: got %+v and %+v", a, c)
	}
	if got := h.lease("n2", two, 0); got.Limit != 100 || got.Granted < 10 {
		t.Errorf("another end user: got %+v, want a budget of his own", got)
	}
	b.Terms.USD = 500
	h.do(fsm.PutBudget{Budget: encoded(t, b), Read: r.Version})
	h.tick(fsm.Tick{Node: "n2", Want: want(one, resource.Window{}, 80, 80)})
	if got := h.lease("n2", one, 0); got.Limit != 500 || got.Granted < 80 {
		t.Errorf("after a raise: got %+v", got)
	}
	h.refused(master, fsm.DeleteBudget{ID: "b:1"}, resource.ErrInUse)
	h.do(fsm.DeleteSetting{ID: "customer_budget"})
	h.do(fsm.DeleteBudget{ID: "b:1"})
	three := resource.Account("customer", "mallory", given.Budgets[0].Name)
	h.tick(fsm.Tick{Node: "n1", Want: want(three, resource.Window{}, 5, 5)})
	if got := h.lease("n1", three, 0); got.Account != "" {
		t.Errorf("of a budget that is gone: got %+v", got)
	}
}
