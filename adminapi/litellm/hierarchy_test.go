package litellm_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/conclave-llm/conclave/adminapi/adminapitest"
)

// list calls a path that answers an array.
func list(h *adminapitest.Harness, method, path, body string) string {
	h.T.Helper()
	a := h.Call(adminapitest.MasterKey, method, path, body)
	if a.Status != 200 {
		h.T.Fatalf("%s %s: got %d %s", method, path, a.Status, a.Body)
	}
	return string(a.Body)
}

// has compares some fields of an answer.
func has(t *testing.T, what string, got map[string]any, want map[string]any) {
	t.Helper()
	for name, v := range want {
		if d := cmp.Diff(v, got[name]); d != "" {
			t.Errorf("%s: %s (-want +got):\n%s", what, name, d)
		}
	}
}

func TestHierarchy(t *testing.T) {
	t.Parallel()
	h := adminapitest.New(t)
	has(t, "organization", h.Must("POST", "/organization/new", `{"organization_id":"o1","organization_alias":"acme","max_budget":1000,"budget_duration":"30d","tpm_limit":1000,"model_rpm_limit":{"demo":5}}`), map[string]any{
		"organization_id": "o1", "organization_alias": "acme", "max_budget": 1000.0, "budget_duration": "30d", "tpm_limit": 1000.0,
		"model_rpm_limit": map[string]any{"demo": 5.0}, "budget_reset_at": "2026-04-01T00:00:00Z",
	})
	has(t, "team", h.Must("POST", "/team/new", `{"team_id":"t1","team_alias":"research","organization_id":"o1","max_budget":100,"soft_budget":80,"budget_duration":"12h",
		"members_with_roles":[{"role":"admin","user_email":"ada@example.org"},{"role":"user","user_id":"bob"}],"model_aliases":{"gpt":"demo"},"model_max_budget":{"openai/big":{"budget_limit":5,"time_period":"1d","rpm_limit":2}}}`), map[string]any{
		"max_budget": 100.0, "soft_budget": 80.0, "budget_duration": "12h", "organization_id": "o1", "model_aliases": map[string]any{"gpt": "demo"},
		"model_max_budget": map[string]any{"openai/big": map[string]any{"max_budget": 5.0, "budget_duration": "1d"}},
		"model_rpm_limit":  map[string]any{"openai/big": 2.0},
	})
	has(t, "project", h.Must("POST", "/project/new", `{"project_id":"p1","project_alias":"search","team_id":"t1","description":"d","max_budget":50,"model_itpm_limit":{"demo":7}}`), map[string]any{
		"project_id": "p1", "team_id": "t1", "max_budget": 50.0, "model_itpm_limit": map[string]any{"demo": 7.0}, "blocked": false,
	})
	user := h.Must("POST", "/user/new", `{"user_id":"auth0|7","user_email":"cleo@example.org","user_role":"internal_user","max_budget":10,"teams":[{"team_id":"t1","max_budget_in_team":4}],"organizations":["o1"]}`)
	has(t, "user", user, map[string]any{"user_id": "auth0|7", "user_role": "internal_user", "max_budget": 10.0, "teams": []any{"t1"}, "organization_id": "o1"})
	if s, _ := user["key"].(string); !strings.HasPrefix(s, "sk-") {
		t.Errorf("the user has no key: %v", user)
	}
	has(t, "key", h.Must("POST", "/key/generate", `{"key_alias":"k1","project_id":"p1","user_id":"auth0|7","aliases":{"a":"b"},"guardrails":["g"],"disable_global_guardrails":true,"enforced_params":["user"]}`), map[string]any{
		"disable_global_guardrails": true,
		"team_id":                   "t1", "project_id": "p1", "organization_id": "o1", "aliases": map[string]any{"a": "b"}, "guardrails": []any{"g"}, "enforced_params": []any{"user"},
	})
	info := h.Must("GET", "/team/info?team_id=t1", "")
	if n := len(info["team_memberships"].([]any)); n != 3 {
		t.Errorf("memberships: got %d, want 3", n)
	}
	if n := len(info["team_info"].(map[string]any)["members_with_roles"].([]any)); n != 3 {
		t.Errorf("members: got %d, want 3", n)
	}
	added := h.Must("POST", "/team/member_add", `{"team_id":"t1","member":{"user_id":"dan","role":"user"},"max_budget_in_team":3,"budget_duration":"1d"}`)
	if n := len(added["updated_team_memberships"].([]any)); n != 1 || len(added["updated_users"].([]any)) != 1 {
		t.Errorf("member_add: got %v", added)
	}
	has(t, "member_update", h.Must("POST", "/team/member_update", `{"team_id":"t1","user_id":"dan","role":"admin","max_budget_in_team":2,"rpm_limit":9,"allowed_models":["demo"]}`), map[string]any{
		"role": "admin", "max_budget_in_team": 2.0, "rpm_limit": 9.0, "budget_duration": "1d", "allowed_models": []any{"demo"},
	})
	h.Must("POST", "/team/member_delete", `{"team_id":"t1","user_id":"dan"}`)
	has(t, "user info", h.Must("GET", "/user/info?user_id=cleo@example.org", "")["user_info"].(map[string]any), map[string]any{"user_id": "auth0|7"})
	has(t, "user list", h.Must("GET", "/user/list?organization_ids=o1", ""), map[string]any{"total": 1.0, "total_pages": 1.0})
	has(t, "user update", h.Must("POST", "/user/update", `{"user_email":"cleo@example.org","max_budget":8}`)["data"].(map[string]any), map[string]any{"max_budget": 8.0, "user_email": "cleo@example.org"})
	has(t, "team list", h.Must("GET", "/v2/team/list?organization_id=o1", ""), map[string]any{"total": 1.0})
	has(t, "key list", h.Must("GET", "/key/list?project_id=p1", ""), map[string]any{"total_count": 1.0})
	has(t, "team patch", h.Must("PATCH", "/team/t1", `{"max_budget":null,"soft_budget":null}`)["data"].(map[string]any), map[string]any{"max_budget": nil, "soft_budget": nil})
	has(t, "models", h.Must("POST", "/team/model/add", `{"team_id":"t1","models":["demo"]}`), map[string]any{"models": []any{"demo"}})
	has(t, "models", h.Must("POST", "/team/model/delete", `{"team_id":"t1","models":["demo"]}`), map[string]any{"models": []any{"no-default-models"}})
}

func TestHierarchy_Deletions(t *testing.T) {
	t.Parallel()
	h := adminapitest.New(t)
	h.Must("POST", "/organization/new", `{"organization_id":"o1","organization_alias":"acme"}`)
	h.Must("POST", "/organization/member_add", `{"organization_id":"o1","member":{"user_email":"ada@example.org","role":"internal_user"}}`)
	h.Must("POST", "/team/new", `{"team_id":"t1","organization_id":"o1"}`)
	h.Must("POST", "/project/new", `{"project_id":"p1","project_alias":"x","team_id":"t1"}`)
	h.Must("POST", "/key/generate", `{"key_alias":"k1","project_id":"p1"}`)
	if a := h.Call(adminapitest.MasterKey, "DELETE", "/project/delete", `{"project_ids":["p1"]}`); a.Status != 409 {
		t.Errorf("a project with keys: got %d %s", a.Status, a.Body)
	}
	if got := list(h, "DELETE", "/organization/delete", `{"organization_ids":["o1"]}`); !strings.Contains(got, `"acme"`) {
		t.Errorf("deleted: got %s", got)
	}
	for path, want := range map[string]int{"/api/v1/teams/t1": 404, "/api/v1/projects/p1": 404, "/api/v1/keys/k1": 404, "/api/v1/users/ada@example.org": 200} {
		if a := h.Call(adminapitest.MasterKey, "GET", path, ""); a.Status != want {
			t.Errorf("%s: got %d, want %d", path, a.Status, want)
		}
	}
	if got := list(h, "POST", "/user/delete", `{"user_ids":["ada@example.org"]}`); strings.TrimSpace(got) != "1" {
		t.Errorf("deleted users: got %s", got)
	}
}

func TestCustomersTagsBudgets(t *testing.T) {
	t.Parallel()
	h := adminapitest.New(t)
	has(t, "budget", h.Must("POST", "/budget/new", `{"budget_id":"small","max_budget":5,"budget_duration":"1d"}`), map[string]any{"budget_id": "small", "max_budget": 5.0, "budget_duration": "1d"})
	has(t, "customer", h.Must("POST", "/customer/new", `{"user_id":"tenant/7","alias":"Seven","budget_id":"small","allowed_model_region":"eu","default_model":"demo"}`), map[string]any{
		"user_id": "tenant/7", "alias": "Seven", "budget_id": "small", "allowed_model_region": "eu", "default_model": "demo", "blocked": false,
	})
	has(t, "customer update", h.Must("POST", "/end_user/update", `{"user_id":"tenant/7","max_budget":1}`), map[string]any{"max_budget": 1.0, "alias": "Seven"})
	has(t, "customer info", h.Must("GET", "/customer/info?end_user_id=tenant/7", ""), map[string]any{"user_id": "tenant/7"})
	h.Must("POST", "/customer/block", `{"user_ids":["tenant/7","nobody yet"]}`)
	for _, id := range []string{"tenant/7", "nobody yet"} {
		if c, ok := h.State.Customer(id); !ok || !c.Blocked {
			t.Errorf("customer %s: got %+v, want a blocked one", id, c)
		}
	}
	has(t, "unblock", h.Must("POST", "/customer/unblock", `{"user_ids":["stranger","nobody yet","nobody yet"]}`), map[string]any{"not_found": []any{"stranger"}})
	if c, ok := h.State.Customer("nobody yet"); !ok || c.Blocked {
		t.Errorf("got %+v, want one who is not blocked any more", c)
	}
	at := h.State.Applied()
	for _, body := range []string{`{"user_ids":["a","b","\u0000"]}`, `{"user_ids":["a","b"," c"]}`} {
		if a := h.Call(adminapitest.MasterKey, "POST", "/customer/block", body); a.Status != 400 {
			t.Errorf("%s: got %d %s, want 400", body, a.Status, a.Body)
		}
	}
	if _, ok := h.State.Customer("a"); ok || h.State.Applied() != at {
		t.Error("a part was blocked")
	}
	h.Must("POST", "/customer/block", `{"user_ids":["a","b","c"]}`)
	if got := h.State.Applied() - at; got != 1 {
		t.Errorf("three were blocked in %d entries, want 1", got)
	}
	list(h, "POST", "/customer/delete", `{"user_ids":["a","b","c"]}`)
	has(t, "customers", h.Must("GET", "/customer/list?page=1", ""), map[string]any{"total": 2.0})
	list(h, "POST", "/customer/delete", `{"user_ids":["tenant/7"]}`)

	has(t, "tag", h.Must("POST", "/tag/new", `{"name":"team/prod","description":"d","max_budget":7,"budget_duration":"7d","models":["demo"]}`), map[string]any{
		"name": "team/prod", "max_budget": 7.0, "budget_duration": "7d", "models": []any{"demo"},
	})
	has(t, "tag update", h.Must("POST", "/tag/update", `{"name":"team/prod","rpm_limit":3}`), map[string]any{"rpm_limit": 3.0, "max_budget": 7.0})
	has(t, "tag info", h.Must("POST", "/tag/info", `{"names":["team/prod"]}`)["team/prod"].(map[string]any), map[string]any{"description": "d"})
	if got := list(h, "GET", "/tag/list", ""); !strings.Contains(got, "team/prod") {
		t.Errorf("tags: got %s", got)
	}
	list(h, "POST", "/tag/delete", `{"name":"team/prod"}`)
	if got := list(h, "POST", "/budget/info", `{"budgets":["small"]}`); !strings.Contains(got, `"max_budget":5`) {
		t.Errorf("budgets: got %s", got)
	}
	list(h, "GET", "/budget/settings?budget_id=small", "")
	h.Must("POST", "/budget/update", `{"budget_id":"small","max_budget":6}`)
	list(h, "POST", "/budget/delete", `{"id":"small"}`)
}

func TestHierarchy_Refusals(t *testing.T) {
	t.Parallel()
	h := adminapitest.New(t)
	h.Must("POST", "/team/new", `{"team_id":"t1","max_budget":10,"budget_duration":"30d","models":["demo"],"members_with_roles":[{"role":"user","user_id":"bob"}]}`)
	h.Must("POST", "/team/new", `{"team_id":"t2"}`)
	h.Must("POST", "/project/new", `{"project_id":"p2","project_alias":"x","team_id":"t2"}`)
	for _, tt := range []struct{ method, path, body, says string }{
		{"POST", "/key/generate", `{"team_id":"t1","max_budget":11,"budget_duration":"30d"}`, "team t1"},
		{"POST", "/key/generate", `{"team_id":"t1","models":["other"]}`, "team t1"},
		{"POST", "/key/generate", `{"team_id":"t1","project_id":"p2"}`, "project_id"},
		{"POST", "/key/generate", `{"team_id":"t1","organization_id":"o9"}`, "organization_id"},
		{"POST", "/key/service-account/generate", `{}`, "team_id"},
		{"POST", "/project/new", `{"project_alias":"y","team_id":"t1","max_budget":11,"budget_duration":"30d"}`, "team t1"},
		{"POST", "/team/member_add", `{"team_id":"t1","member":{"user_id":"bob","role":"user"}}`, "already"},
		{"POST", "/team/member_add", `{"team_id":"t1","member":{"user_id":"eve","role":"boss"}}`, "role"},
		{"POST", "/team/member_add", `{"team_id":"t1","member":{"user_id":"eve","role":"user"},"max_budget_in_team":11,"budget_duration":"30d"}`, "team t1"},
		{"POST", "/user/new", `{"user_id":"eve","password":"x"}`, "password"},
		{"POST", "/user/new", `{"user_id":"eve","user_role":"org_admin"}`, "role"},
		{"POST", "/user/new", `{"user_id":"eve","teams":["gone"]}`, "team_id"},
		{"POST", "/customer/new", `{}`, "id"},
		{"POST", "/budget/new", `{"budget_id":"b","max_budget":1,"tpd_limit":1}`, "tpd_limit"},
		{"POST", "/budget/new", `{"budget_id":"b","max_budget":1,"rpm_limit":-1}`, "limits.rpm"},
		{"POST", "/budget/new", `{"budget_id":"b"}`, "max_budget"},
		{"POST", "/tag/new", `{"description":"no name"}`, "id"},
	} {
		a := h.Call(adminapitest.MasterKey, tt.method, tt.path, tt.body)
		if a.Status != 400 || !strings.Contains(string(a.Body), tt.says) {
			t.Errorf("%s %s: got %d %s, want 400 with %q", tt.path, tt.body, a.Status, a.Body, tt.says)
		}
	}
	if _, ok := h.State.User("eve"); ok {
		t.Error("a refused request left a user behind")
	}
	if a := h.Call(adminapitest.MasterKey, "POST", "/team/bulk_member_add", fmt.Sprintf(`{"team_id":"t1","members":[{"user_id":"a","role":"user"},{"user_email":%q,"role":"admin"}]}`, "b@example.org")); a.Status != 200 {
		t.Errorf("bulk: got %d %s", a.Status, a.Body)
	}
}

func TestMemberPermissions(t *testing.T) {
	t.Parallel()
	h := adminapitest.New(t)
	team := h.Must("POST", "/team/new", `{"team_id":"red","team_member_permissions":["/key/generate"],"team_member_budget":5,"team_member_budget_duration":"30d",`+
		`"team_member_rpm_limit":9,"team_member_key_duration":"1d"}`)
	if fmt.Sprintf("%v %v %v %v %v", team["team_member_permissions"], team["team_member_budget"], team["team_member_budget_duration"], team["team_member_rpm_limit"], team["team_member_key_duration"]) !=
		"[/key/generate] 5 30d 9 24h0m0s" {
		t.Errorf("team: got %v", team)
	}
	h.Must("POST", "/team/new", `{"team_id":"blue"}`)
	joined := h.Must("POST", "/team/member_add", `{"team_id":"red","member":{"user_id":"u","role":"user"}}`)
	m, _ := joined["updated_team_memberships"].([]any)[0].(map[string]any)
	if fmt.Sprintf("%v %v %v", m["max_budget"], m["budget_duration"], m["rpm_limit"]) != "5 30d 9" {
		t.Errorf("the new member: got %v", m)
	}
	h.Must("POST", "/team/member_add", `{"team_id":"red","member":{"user_id":"v","role":"user"},"max_budget_in_team":2}`)
	if v := h.Must("GET", "/api/v1/teams/red/members/v", ""); fmt.Sprint(v["budgets"]) == fmt.Sprint(m["budgets"]) || !strings.Contains(fmt.Sprint(v["budgets"]), "usd:2") {
		t.Errorf("a member with a budget of his own: got %v", v["budgets"])
	}
	k := h.Must("POST", "/key/generate", `{"team_id":"red","user_id":"u"}`)
	if k["expires"] != "2026-03-12T10:00:00Z" {
		t.Errorf("a member's key expires: got %v", k["expires"])
	}
	if h.Must("POST", "/team/update", `{"team_id":"red","team_member_budget":null,"team_member_key_duration":"-1"}`); h.Must("GET", "/team/info?team_id=red", "")["team_info"].(map[string]any)["team_member_budget"] != nil {
		t.Error("a budget of members that was taken away is there")
	}
	h.Must("POST", "/team/permissions_update", `{"team_id":"red","team_member_permissions":["/key/update"]}`)
	out := h.Must("POST", "/team/permissions_bulk_update", `{"apply_to_all_teams":true,"permissions":["/key/update","/key/delete"]}`)
	if out["teams_updated"] != 2.0 {
		t.Errorf("bulk: got %v", out)
	}
	list := h.Must("GET", "/team/permissions_list?team_id=red", "")
	if fmt.Sprint(list["team_member_permissions"]) != "[/key/update /key/delete]" || len(list["all_available_permissions"].([]any)) < 10 {
		t.Errorf("list: got %v", list)
	}
	for path, body := range map[string]string{
		"/team/permissions_update":      `{"team_id":"red","team_member_permissions":["/model/new"]}`,
		"/team/permissions_bulk_update": `{"permissions":["/key/update"]}`,
		"/team/update":                  `{"team_id":"red","team_member_key_duration":"soon"}`,
	} {
		if a := h.Call(adminapitest.MasterKey, "POST", path, body); a.Status != 400 {
			t.Errorf("%s %s: got %d %s", path, body, a.Status, a.Body)
		}
	}
}
