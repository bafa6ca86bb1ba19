package resource_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/conclave-llm/conclave/resource"
)

func TestBudget_All(t *testing.T) {
	t.Parallel()
	boundless := resource.Terms{USD: resource.MaxMoney}
	model := resource.Terms{Name: "model_m", USD: 5, Models: []string{"m"}}
	for _, tt := range []struct {
		name string
		b    resource.Budget
		want int
	}{
		{"limits alone", resource.Budget{Terms: boundless, Limits: resource.Limits{RPM: new(int64(1))}}, 0},
		{"nothing may be spent", resource.Budget{Terms: resource.Terms{}}, 1},
		{"an alert alone", resource.Budget{Terms: resource.Terms{USD: resource.MaxMoney, Soft: 1}}, 1},
		{"a model's alone", resource.Budget{Terms: boundless, Budgets: []resource.Terms{model}}, 1},
		{"both", resource.Budget{Terms: resource.Terms{USD: 9}, Budgets: []resource.Terms{model}}, 2},
	} {
		if got := tt.b.All(); len(got) != tt.want {
			t.Errorf("%s: got %v, want %d", tt.name, got, tt.want)
		}
	}
	twice := resource.Budget{Name: "x", Terms: resource.Terms{USD: 9, Per: resource.PerDay}, Budgets: []resource.Terms{{USD: 1, Per: resource.PerDay}}}
	if err := twice.Validate(); err == nil {
		t.Error("two terms of one name are one account, and were taken")
	}
	if err := (&resource.Budget{Name: "x", Limits: resource.Limits{RPM: new(int64(-1))}}).Validate(); err == nil {
		t.Error("a negative limit was taken")
	}
}

// The lower of a holder's own limit and the shared one counts, of all models and of single ones.
func TestCatalog_Limits(t *testing.T) {
	t.Parallel()
	c := resource.NewCatalog(resource.Tables{Budgets: []*resource.Budget{{
		Meta: resource.Meta{ID: "b"}, Name: "tier",
		Limits:      resource.Limits{RPM: new(int64(10)), TPM: new(int64(100))},
		ModelLimits: map[string]resource.Limits{"m": {RPM: new(int64(2))}},
	}}})
	a := &resource.Allowance{
		BudgetID: "b", Limits: resource.Limits{RPM: new(int64(3)), Parallel: new(int64(1))},
		ModelLimits: map[string]resource.Limits{"m": {TPM: new(int64(7))}, "n": {RPM: new(int64(5))}},
	}
	want := resource.Limits{RPM: new(int64(3)), TPM: new(int64(100)), Parallel: new(int64(1))}
	if got := c.Limits(a); !cmp.Equal(got, want) {
		t.Errorf("got %s, want %s", dump(got), dump(want))
	}
	if got, ok := c.ModelLimits(a, "m"); !ok || *got.RPM != 2 || *got.TPM != 7 {
		t.Errorf("of m: got %s, %v", dump(got), ok)
	}
	if got, ok := c.ModelLimits(a, "n"); !ok || *got.RPM != 5 {
		t.Errorf("of n: got %s, %v", dump(got), ok)
	}
	if _, ok := c.ModelLimits(a, "o"); ok {
		t.Error("o has limits")
	}
	b, _ := c.Shared("tier")
	if got := a.Within(b); !cmp.Equal(got.Limits, want) || *got.ModelLimits["m"].RPM != 2 || *got.ModelLimits["m"].TPM != 7 || len(got.ModelLimits) != 2 {
		t.Errorf("within: got %s", dump(got))
	}
	var none *resource.Catalog
	if !none.Limited(a) || none.Limited(&resource.Allowance{BudgetID: "b"}) || !c.Limited(&resource.Allowance{BudgetID: "b"}) {
		t.Error("who is limited")
	}
}

func dump(v any) string {
	b, _ := json.Marshal(v)
	return string(b)
}

// The level of an end user: his record, else what the key gives, else what the setting gives.
func TestCatalog_CustomerLevel(t *testing.T) {
	tables := resource.Tables{
		Budgets: []*resource.Budget{
			{Meta: resource.Meta{ID: "b/1"}, Name: "all", Terms: resource.Terms{Name: "day", USD: 5, Per: resource.PerDay}, Limits: resource.Limits{RPM: new(int64(9))}},
			{Meta: resource.Meta{ID: "b2"}, Name: "of keys", Terms: resource.Terms{Name: "total", USD: 7, Per: resource.PerTotal}},
		},
		Settings: []*resource.Setting{{Meta: resource.Meta{ID: "customer_budget"}, Value: json.RawMessage(`"all"`)}},
	}
	c := resource.NewCatalog(tables)
	own := &resource.Customer{Meta: resource.Meta{ID: "u"}, Policy: resource.Policy{Allowance: resource.Allowance{Budgets: []resource.Terms{{Name: "own", USD: 1}}}}}
	limited := &resource.Customer{Meta: resource.Meta{ID: "u"}, Policy: resource.Policy{Allowance: resource.Allowance{Limits: resource.Limits{RPM: new(int64(3))}}}}
	key := &resource.Principal{
		Key: &resource.Key{Access: resource.Access{CustomerBudget: "of keys"}}, Team: &resource.Team{CustomerBudget: "all"}, Organization: &resource.Organization{CustomerBudget: "all"},
	}
	team := &resource.Principal{Key: &resource.Key{}, Team: &resource.Team{CustomerBudget: "b2"}, Organization: &resource.Organization{CustomerBudget: "all"}}
	org := &resource.Principal{Key: &resource.Key{}, Team: &resource.Team{}, Organization: &resource.Organization{CustomerBudget: "of keys"}}
	plain := &resource.Customer{Meta: resource.Meta{ID: "u"}}
	for _, tt := range []struct {
		name   string
		record *resource.Customer
		who    *resource.Principal
		terms  string
		rpm    int64
	}{
		{"a stranger", nil, nil, "@b%2F1:day", 9},
		{"a stranger of the key", nil, key, "@b2:total", 0},
		{"a stranger of a key of the team", nil, team, "@b2:total", 0},
		{"a stranger of a key of the organization", nil, org, "@b2:total", 0},
		{"a stranger of a key without a team", nil, &resource.Principal{Key: &resource.Key{}}, "@b%2F1:day", 9},
		{"a record that says nothing", plain, team, "@b2:total", 0},
		{"a record with a budget", own, key, "own", 0},
		{"a record with a limit", limited, nil, "@b%2F1:day", 3},
	} {
		l, none, ok := c.CustomerLevel("u", tt.record, tt.who)
		if !ok || none || l.Kind != resource.HolderCustomer || l.ID != "u" || len(l.Allowance.Budgets) != 1 || l.Allowance.Budgets[0].Name != tt.terms {
			t.Errorf("%s: got %s, %v, %v", tt.name, dump(l), none, ok)
			continue
		}
		if r := l.Allowance.Limits.RPM; (r == nil) != (tt.rpm == 0) || r != nil && *r != tt.rpm {
			t.Errorf("%s: got limits %s, want rpm %d", tt.name, dump(l.Allowance.Limits), tt.rpm)
		}
		if (l.Policy == nil) != (tt.record == nil) {
			t.Errorf("%s: got policy %v", tt.name, l.Policy)
		}
	}
	for _, record := range []*resource.Customer{nil, plain, own} {
		if n := testing.AllocsPerRun(100, func() { c.CustomerLevel("u", record, key) }); n != 0 {
			t.Errorf("%v: %v allocations", record, n)
		}
	}
	if _, _, ok := c.CustomerLevel("u", nil, &resource.Principal{Team: &resource.Team{CustomerBudget: "gone"}}); ok {
		t.Error("a team's budget that is not there was no limit")
	}
	if id, ok := resource.GivenBy("@b%2F1:day"); !ok || id != "b/1" {
		t.Errorf("got %q, %v", id, ok)
	}
	b, _ := c.Budget("b/1")
	if got, ok := b.GivenNamed("@b%2F1:day"); !ok || got.USD != 5 {
		t.Errorf("got %v, %v", got, ok)
	}
	tables.Settings[0].Value = json.RawMessage(`"gone"`)
	if _, _, ok := resource.NewCatalog(tables).CustomerLevel("u", nil, nil); ok {
		t.Error("a budget that is not there was no limit")
	}
	tables.Settings = nil
	if _, none, ok := resource.NewCatalog(tables).CustomerLevel("u", nil, nil); !none || !ok {
		t.Error("who has nothing has a level")
	}
}

// Contents: a no wins over whatever yes; a yes, of the credential's own chain, over the setting; the least of the days counts.
func TestContentRule(t *testing.T) {
	t.Parallel()
	yes, no := new(bool), new(bool)
	*yes = true
	type level struct {
		kind string
		p    *resource.Policy
	}
	on, off := &resource.Policy{LogContent: yes}, &resource.Policy{LogContent: no}
	for _, tt := range []struct {
		name    string
		setting bool
		levels  []level
		days    int64
	}{
		{"nobody says", false, nil, 0},
		{"the setting", true, []level{{"key", nil}, {"key", &resource.Policy{}}}, 7},
		{"a team says yes", false, []level{{"team", on}, {"key", &resource.Policy{}}}, 7},
		{"a key says yes under an organization that says no", true, []level{{"organization", off}, {"key", on}}, 0},
		{"a team says no", true, []level{{"team", off}}, 0},
		{"LiteLLM's metadata say no", true, []level{{"team", &resource.Policy{Metadata: json.RawMessage(`{"turn_off_message_logging":true}`)}}, {"key", on}}, 0},
		{"a tag says yes, which clients name", false, []level{{"tag", on}, {"customer", on}}, 0},
		{"a tag says no", true, []level{{"key", on}, {"tag", off}}, 0},
		{"days", true, []level{{"organization", &resource.Policy{LogContentDays: new(int64(30))}}, {"key", &resource.Policy{LogContentDays: new(int64(2))}}, {"tag", &resource.Policy{LogContentDays: new(int64(9))}}}, 2},
		{"longer than the setting", true, []level{{"team", &resource.Policy{LogContentDays: new(int64(30))}}}, 30},
	} {
		s := resource.DefaultSettings()
		s.LogContent = tt.setting
		var r resource.ContentRule
		for _, l := range tt.levels {
			r.Add(l.kind, l.p)
		}
		if got := r.Age(&s); got != time.Duration(tt.days)*24*time.Hour {
			t.Errorf("%s: got %v, want %d days", tt.name, got, tt.days)
		}
	}
	if err := (&resource.Team{Name: "t", Policy: resource.Policy{LogContentDays: new(int64(0))}}).Validate(); err == nil {
		t.Error("no days were taken")
	}
}
