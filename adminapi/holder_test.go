package adminapi_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/conclave-llm/conclave/adminapi/adminapitest"
)

// ids are the ids of a list's items.
func ids(list map[string]any) []string {
	var out []string
	items, _ := list["items"].([]any)
	for _, item := range items {
		o, _ := item.(map[string]any)
		id, _ := o["id"].(string)
		out = append(out, id)
	}
	return out
}

func TestHolders(t *testing.T) {
	t.Parallel()
	h := adminapitest.New(t)
	h.Must("POST", "/api/v1/organizations", `{"id":"o1","name":"acme"}`)
	h.Must("POST", "/api/v1/teams", `{"id":"t1","name":"research","organization_id":"acme"}`)
	h.Must("POST", "/api/v1/teams", `{"id":"t2","name":"other"}`)
	h.Must("POST", "/api/v1/projects", `{"id":"p1","name":"search","team_id":"research"}`)
	h.Must("POST", "/api/v1/users", `{"id":"auth0|7","email":"Ada@Example.org"}`)
	for _, k := range []string{
		`{"id":"k1","name":"one","project_id":"search","user_id":"ada@example.org"}`,
		`{"id":"k2","name":"two","team_id":"t2","user_id":"auth0|7","blocked":true}`,
		`{"id":"k3","name":"three","expires_at":"2026-03-11T09:00:00Z"}`,
	} {
		h.Must("POST", "/api/v1/keys", k)
	}
	if k := h.Must("GET", "/api/v1/keys/k1", ""); k["team_id"] != "t1" || k["project_id"] != "p1" || k["user_id"] != "auth0|7" {
		t.Errorf("a key of a project: got %v", k)
	}
	for path, want := range map[string][]string{
		"/api/v1/keys?user_id=auth0%7C7":        {"k1", "k2"},
		"/api/v1/keys?user_id=ada@example.org":  {"k1", "k2"},
		"/api/v1/keys?project_id=search":        {"k1"},
		"/api/v1/keys?team_id=research":         {"k1"},
		"/api/v1/keys?status=blocked":           {"k2"},
		"/api/v1/keys?status=expired":           {"k3"},
		"/api/v1/keys?sort=-expires_at&limit=1": {"k3"},
		"/api/v1/projects?team_id=t2":           nil,
		"/api/v1/projects?team_id=t1":           {"p1"},
		"/api/v1/teams?organization_id=acme":    {"t1"},
	} {
		if d := cmp.Diff(want, ids(h.Must("GET", path, "")), cmp.Transformer("sort", func(s []string) string { return strings.Join(s, " ") })); d != "" {
			t.Errorf("%s (-want +got):\n%s", path, d)
		}
	}
	for _, tt := range []struct{ method, path, body, want string }{
		{"POST", "/api/v1/keys", `{"team_id":"t2","project_id":"p1"}`, "400 invalid"},
		{"POST", "/api/v1/keys", `{"project_id":"gone"}`, "400 invalid"},
		{"POST", "/api/v1/projects", `{"name":"x","team_id":"gone"}`, "400 invalid"},
		{"POST", "/api/v1/projects", `{"name":"x"}`, "400 invalid"},
		{"POST", "/api/v1/teams", `{"organization_id":"gone"}`, "400 invalid"},
		{"POST", "/api/v1/users", `{"email":"ADA@example.org"}`, "409 exists"},
		{"POST", "/api/v1/customers", `{"name":"no id"}`, "400 invalid"},
		{"DELETE", "/api/v1/organizations/acme", "", "409 in_use"},
		{"DELETE", "/api/v1/teams/research", "", "409 in_use"},
		{"DELETE", "/api/v1/projects/search", "", "409 in_use"},
		{"DELETE", "/api/v1/users/ada@example.org", "", "409 in_use"},
		{"PATCH", "/api/v1/projects/search", `{"team_id":"t2"}`, "400 invalid"},
	} {
		a := h.Call(adminapitest.MasterKey, tt.method, tt.path, tt.body)
		if got := fmt.Sprint(a.Status, " ", a.Object(t)["code"]); got != tt.want {
			t.Errorf("%s %s %s: got %s %s, want %s", tt.method, tt.path, tt.body, got, a.Body, tt.want)
		}
	}
}

func TestMembers(t *testing.T) {
	t.Parallel()
	h := adminapitest.New(t)
	h.Must("POST", "/api/v1/teams", `{"id":"t1","name":"research","budgets":[{"usd":10,"per":"month"}]}`)
	made := h.Must("POST", "/api/v1/teams/research/members", `{"user_email":"ada@example.org","admin":true,"budgets":[{"usd":5,"per":"month"}]}`)
	user, _ := made["user_id"].(string)
	if made["id"] != "t1/"+user || h.Must("GET", "/api/v1/users/ada@example.org", "")["id"] != user {
		t.Errorf("the new member's user: got %v", made)
	}
	if n := len(h.State.Accounts("member/t1/" + user)); n != 1 {
		t.Errorf("the member has %d windows, want 1", n)
	}
	if a := h.Call(adminapitest.MasterKey, "POST", "/api/v1/teams/t1/members", `{"user_id":"u2","budgets":[{"usd":11,"per":"month"}]}`); a.Status != 400 || !strings.Contains(string(a.Body), "team research") {
		t.Errorf("more than the team has: got %d %s", a.Status, a.Body)
	}
	if a := h.Call(adminapitest.MasterKey, "GET", "/api/v1/users/u2", ""); a.Status != 404 {
		t.Error("a refused member left a user behind")
	}
	got := h.Must("PATCH", "/api/v1/teams/t1/members/ada@example.org", `{"admin":false}`)
	if got["admin"] != nil || got["budgets"] == nil {
		t.Errorf("after the update: got %v", got)
	}
	h.Must("POST", "/api/v1/keys", `{"id":"k1","team_id":"t1","user_id":"ada@example.org"}`)
	if list := ids(h.Must("GET", "/api/v1/teams/t1/members", "")); len(list) != 1 {
		t.Errorf("members: got %v", list)
	}
	h.Must("DELETE", "/api/v1/teams/t1/members/ada@example.org", "")
	if a := h.Call(adminapitest.MasterKey, "GET", "/api/v1/keys/k1", ""); a.Status != 404 {
		t.Errorf("who left the team still has a key of it: %d", a.Status)
	}
	h.Must("POST", "/api/v1/teams/t1/members", `{"user_id":"ada@example.org"}`)
}

// TestKeyRules makes keys with the master key, which no ceiling binds, and with an
// administrator's, which is bound.
func TestKeyRules(t *testing.T) {
	t.Parallel()
	h := adminapitest.New(t)
	admin, _ := h.Must("POST", "/api/v1/keys", `{"role":"proxy_admin"}`)["secret"].(string)
	h.Must("PUT", "/api/v1/settings/key_defaults", `{"value":{"models":["demo"],"limits":{"rpm":60}}}`)
	h.Must("PUT", "/api/v1/settings/key_ceilings", `{"value":{"budgets":[{"usd":10,"per":"month"}],"limits":{"rpm":100},"max_age":"720h"}}`)
	if k := h.Must("POST", "/api/v1/keys", `{"name":"of the master","budgets":[{"usd":99,"per":"month"}]}`); k["expires_at"] != nil || fmt.Sprint(k["models"]) != "[demo]" {
		t.Errorf("made by the master key: got %v", k)
	}
	a := h.Call(admin, "POST", "/api/v1/keys", `{"id":"k1","limits":{"rpm":90}}`)
	k := a.Object(t)
	if a.Status != 201 || k["expires_at"] != "2026-04-10T10:00:00Z" || fmt.Sprint(k["limits"]) != "map[rpm:90]" || len(k["budgets"].([]any)) != 1 {
		t.Errorf("made by a key: got %d %s", a.Status, a.Body)
	}
	for _, tt := range []struct{ method, path, body, field string }{
		{"POST", "/api/v1/keys", `{"budgets":[{"usd":11,"per":"month"}]}`, "budgets"},
		{"POST", "/api/v1/keys", `{"limits":{"rpm":101}}`, "limits"},
		{"POST", "/api/v1/keys", `{"expires_at":"2027-01-01T00:00:00Z"}`, "expires_at"},
		{"PATCH", "/api/v1/keys/k1", `{"limits":{"rpm":101}}`, "limits"},
		{"PATCH", "/api/v1/keys/k1", `{"expires_at":null}`, "expires_at"},
	} {
		if a := h.Call(admin, tt.method, tt.path, tt.body); a.Status != 400 || !strings.Contains(string(a.Body), tt.field) {
			t.Errorf("%s %s: got %d %s, want 400 about %s", tt.method, tt.body, a.Status, a.Body, tt.field)
		}
	}
	if a := h.Call(admin, "PATCH", "/api/v1/keys/of%20the%20master", `{"tags":["x"]}`); a.Status != 200 {
		t.Errorf("an edit of what was more before: got %d %s", a.Status, a.Body)
	}
	if a := h.Call(adminapitest.MasterKey, "PUT", "/api/v1/settings/key_ceilings", `{"value":{"colour":1}}`); a.Status != 400 {
		t.Errorf("an unknown rule: got %d %s", a.Status, a.Body)
	}
}
