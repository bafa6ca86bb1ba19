package litellm_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/adminapi/adminapitest"
	"github.com/conclave-llm/conclave/resource"
)

// TestSharedBudget gives LiteLLM's budget objects limits, and shows and changes them.
func TestSharedBudget(t *testing.T) {
	t.Parallel()
	h := adminapitest.New(t)
	has(t, "new", h.Must("POST", "/budget/new", `{"budget_id":"tier","max_budget":5,"soft_budget":4,"budget_duration":"14d","rpm_limit":10,"tpm_limit":1000,"max_parallel_requests":2,`+
		`"model_max_budget":{"demo":{"max_budget":1,"budget_duration":"1d","rpm_limit":3},"other":{"tpm_limit":7}}}`), map[string]any{
		"budget_id": "tier", "max_budget": 5.0, "soft_budget": 4.0, "budget_duration": "14d", "rpm_limit": 10.0, "tpm_limit": 1000.0, "max_parallel_requests": 2.0,
	})
	stored := func() *resource.Budget {
		b, ok := h.State.Catalog().Budget("tier")
		if !ok {
			t.Fatal("the budget is gone")
		}
		return b
	}
	b := stored()
	if len(b.Budgets) != 1 || b.Budgets[0].USD != resource.Dollar || *b.ModelLimits["demo"].RPM != 3 || *b.ModelLimits["other"].TPM != 7 {
		t.Errorf("stored: got %+v", b)
	}
	info := list(h, "POST", "/budget/info", `{"budgets":["tier"]}`)
	for _, part := range []string{`"rpm_limit":10`, `"tpm_limit":1000`, `"max_parallel_requests":2`, `"demo":{"budget_duration":"1d","max_budget":1}`} {
		if !strings.Contains(info, part) {
			t.Errorf("info: got %s, want %s", info, part)
		}
		if all := list(h, "GET", "/budget/list", ""); !strings.Contains(all, part) {
			t.Errorf("list: got %s, want %s", all, part)
		}
	}
	if all := list(h, "GET", "/budget/settings?budget_id=tier", ""); !strings.Contains(all, `"field_name":"rpm_limit"`) {
		t.Errorf("settings: got %s", all)
	}
	has(t, "update", h.Must("POST", "/budget/update", `{"budget_id":"tier","rpm_limit":20,"tpm_limit":null,"budget_duration":"1d"}`), map[string]any{
		"max_budget": 5.0, "soft_budget": 4.0, "budget_duration": "1d", "rpm_limit": 20.0, "tpm_limit": nil, "max_parallel_requests": 2.0,
	})
	if b := stored(); b.Terms.Every != 0 || len(b.Budgets) != 1 || b.Terms.Name != "day" {
		t.Errorf("after the update: got %+v", b)
	}
	has(t, "no money", h.Must("POST", "/budget/update", `{"budget_id":"tier","max_budget":null,"soft_budget":null,"model_max_budget":{}}`), map[string]any{"max_budget": nil, "rpm_limit": 20.0})
	if all := stored().All(); len(all) != 0 {
		t.Errorf("of money nothing was to stay: got %+v", all)
	}
	has(t, "limits alone", h.Must("POST", "/budget/new", `{"budget_id":"slow","rpm_limit":1}`), map[string]any{"max_budget": nil, "rpm_limit": 1.0})
	if a := h.Call(adminapitest.MasterKey, "POST", "/api/v1/budgets", `{"name":"nothing"}`); a.Status != 400 {
		t.Errorf("a budget of nothing: got %d %s", a.Status, a.Body)
	}
	made := h.Must("POST", "/api/v1/budgets", `{"name":"calm","limits":{"rpm":4}}`)
	if c, ok := h.State.Catalog().Shared("calm"); !ok || len(c.All()) != 0 {
		t.Errorf("limits alone: got %v", made)
	}
	for param, body := range map[string]string{
		"max_budget": `{"max_budget":-1}`, "soft_budget": `{"soft_budget":-1}`,
		"model_max_budget.demo": `{"model_max_budget":{"demo":{"budget_limit":-1,"time_period":"1d"}}}`,
	} {
		if a := h.Call(adminapitest.MasterKey, "POST", "/key/generate", body); a.Status != 400 || !strings.Contains(string(a.Body), `"param":"`+param+`"`) {
			t.Errorf("%s: got %d %s", body, a.Status, a.Body)
		}
	}
	if a := h.Call(adminapitest.MasterKey, "POST", "/api/v1/budgets", `{"name":"twice","terms":{"usd":1},"budgets":[{"usd":2}]}`); a.Status != 400 {
		t.Errorf("two terms of one name: got %d %s", a.Status, a.Body)
	}
}

// The effective policy of a key tells of the limits that its shared budget has.
func TestSharedBudget_effective(t *testing.T) {
	t.Parallel()
	h := adminapitest.New(t)
	h.Must("POST", "/budget/new", `{"budget_id":"tier","max_budget":5,"rpm_limit":10,"model_max_budget":{"demo":{"max_budget":1}}}`)
	k := h.Must("POST", "/api/v1/keys", `{"name":"k","budget_id":"tier","limits":{"rpm":12}}`)
	e := h.Must("GET", "/api/v1/keys/"+fmt.Sprint(k["id"])+"/effective", "")
	if s := fmt.Sprint(e["limits"]); !strings.Contains(s, "value:10") || strings.Contains(s, "value:12") {
		t.Errorf("limits: got %s, want the lower one", s)
	}
	if b, ok := e["budgets"].([]any); !ok || len(b) != 2 {
		t.Errorf("budgets: got %v, want two", e["budgets"])
	}
}

// An organization's members have budgets there.
func TestOrganizationMemberBudget(t *testing.T) {
	t.Parallel()
	h := adminapitest.New(t)
	h.Must("POST", "/organization/new", `{"organization_id":"acme","organization_alias":"acme"}`)
	out := h.Must("POST", "/organization/member_add", `{"organization_id":"acme","max_budget_in_organization":3,"member":[{"user_id":"ada","role":"internal_user"},{"user_id":"bob","role":"org_admin"}]}`)
	if places, _ := out["updated_organization_memberships"].([]any); len(places) != 2 || places[0].(map[string]any)["max_budget_in_organization"] != 3.0 || places[1].(map[string]any)["max_budget_in_organization"] != 3.0 {
		t.Errorf("places: got %v", out)
	}
	budgets := func(want ...resource.Money) {
		t.Helper()
		u, _ := h.State.User("ada")
		var got []resource.Money
		for _, b := range u.Budgets {
			got = append(got, b.USD/resource.Dollar)
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("got budgets %v, want %v", got, want)
		}
	}
	budgets(3)
	h.Must("POST", "/user/update", `{"user_id":"ada","max_budget":9}`)
	budgets(9, 3)
	has(t, "update", h.Must("PATCH", "/organization/member_update", `{"organization_id":"acme","user_id":"ada","max_budget_in_organization":4}`), map[string]any{"max_budget_in_organization": 4.0, "user_role": "internal_user"})
	budgets(9, 4)
	h.Must("DELETE", "/organization/member_delete", `{"organization_id":"acme","user_id":"ada"}`)
	budgets(9)
	for body, says := range map[string]string{
		`{"organization_id":"acme","max_budget_in_organization":-1,"member":{"user_id":"eve","role":"internal_user"}}`:  "usd",
		`{"organization_id":"acme","max_budget_in_organization":"x","member":{"user_id":"eve","role":"internal_user"}}`: "max_budget_in_organization",
	} {
		if a := h.Call(adminapitest.MasterKey, "POST", "/organization/member_add", body); a.Status != 400 || !strings.Contains(string(a.Body), says) {
			t.Errorf("%s: got %d %s", body, a.Status, a.Body)
		}
	}
}

// A key, a team and an organization give their end users a budget, and a setting all others; none names one that is not there.
func TestCustomerBudget(t *testing.T) {
	t.Parallel()
	h := adminapitest.New(t)
	for path, body := range map[string]string{
		"/key/generate":     `{"end_user_budget_id":"gone"}`,
		"/team/new":         `{"end_user_budget_id":"tier"}`,
		"/organization/new": `{"organization_alias":"o","end_user_budget_id":"tier"}`,
		"/user/new":         `{"user_id":"u","auto_create_key":false,"end_user_budget_id":"tier"}`,
	} {
		if a := h.Call(adminapitest.MasterKey, "POST", path, body); a.Status != 400 {
			t.Errorf("%s %s: got %d %s", path, body, a.Status, a.Body)
		}
	}
	if a := h.Call(adminapitest.MasterKey, "PUT", "/api/v1/settings/customer_budget", `{"value":"gone"}`); a.Status != 400 {
		t.Errorf("the setting: got %d %s", a.Status, a.Body)
	}
	h.Must("POST", "/budget/new", `{"budget_id":"tier","max_budget":5}`)
	k := h.Must("POST", "/key/generate", `{"end_user_budget_id":"tier"}`)
	if k["end_user_budget_id"] != "tier" {
		t.Errorf("the key: got %v", k)
	}
	h.Must("POST", "/budget/new", `{"budget_id":"teams","max_budget":4}`)
	has(t, "the team", h.Must("POST", "/team/new", `{"team_id":"t","end_user_budget_id":"teams"}`), map[string]any{"end_user_budget_id": "teams"})
	has(t, "the organization", h.Must("POST", "/organization/new", `{"organization_id":"o","organization_alias":"o","end_user_budget_id":"tier"}`), map[string]any{"end_user_budget_id": "tier"})
	h.Must("POST", "/team/update", `{"team_id":"t","organization_id":"o","end_user_budget_id":null}`)
	team, _ := h.State.Catalog().Team("t")
	org, _ := h.State.Catalog().Organization("o")
	if l, _, ok := h.State.Catalog().CustomerLevel("eve", nil, &resource.Principal{Key: &resource.Key{}, Team: team, Organization: org}); !ok || len(l.Allowance.Budgets) != 1 || l.Allowance.Budgets[0].USD != 5*resource.Dollar {
		t.Errorf("an end user of the organization: got %+v", l)
	}
	h.Must("PUT", "/api/v1/settings/customer_budget", `{"value":"tier"}`)
	h.Must("POST", "/api/v1/budgets", `{"id":"b9","name":"class","terms":{"usd":3}}`)
	h.Must("PUT", "/api/v1/settings/customer_budget", `{"value":"class"}`)
	if a := h.Call(adminapitest.MasterKey, "PATCH", "/api/v1/budgets/class", `{"name":"rank"}`); a.Status != 409 || !strings.Contains(string(a.Body), "by the settings as customer_budget") {
		t.Errorf("another name for a budget that the setting names: got %d %s", a.Status, a.Body)
	}
	h.Must("PUT", "/api/v1/settings/customer_budget", `{"value":"b9"}`)
	h.Must("PATCH", "/api/v1/budgets/class", `{"name":"rank"}`)
	h.Must("PUT", "/api/v1/settings/customer_budget", `{"value":"tier"}`)
	if l, none, ok := h.State.Catalog().CustomerLevel("eve", nil, nil); !ok || none || len(l.Allowance.Budgets) != 1 {
		t.Errorf("the level of an end user: got %+v", l)
	}
}
