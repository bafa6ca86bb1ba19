package adminapi_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/adminapi/adminapitest"
	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/resource"
)

// people are the secrets of the people of TestSelfService, by who they are.
func people(t *testing.T, h *adminapitest.Harness) map[string]string {
	t.Helper()
	h.Must("POST", "/api/v1/organizations", `{"id":"acme","name":"acme","models":["gpt","small"]}`)
	h.Must("POST", "/api/v1/teams", `{"id":"red","organization_id":"acme","limits":{"rpm":100},"member_permissions":["/key/generate","/key/update"]}`)
	h.Must("POST", "/api/v1/teams", `{"id":"blue","organization_id":"acme"}`)
	h.Must("POST", "/api/v1/teams", `{"id":"far"}`)
	out := map[string]string{}
	for _, u := range []struct{ id, extra string }{
		{"boss", `,"organization_id":"acme","organization_admin":true`}, {"lead", ""}, {"plain", ""}, {"reader", `,"role":"internal_user_viewer"`}, {"stranger", ""},
	} {
		h.Must("POST", "/api/v1/users", fmt.Sprintf(`{"id":%q%s}`, u.id, u.extra))
	}
	for _, m := range []string{"red/lead/true", "red/plain/false", "blue/plain/false", "far/stranger/true"} {
		p := strings.Split(m, "/")
		h.Must("POST", "/api/v1/teams/"+p[0]+"/members", fmt.Sprintf(`{"user_id":%q,"admin":%s}`, p[1], p[2]))
	}
	for _, id := range []string{"boss", "lead", "plain", "reader", "stranger"} {
		out[id], _ = h.Must("POST", "/api/v1/keys", fmt.Sprintf(`{"id":"k-%s","user_id":%q}`, id, id))["secret"].(string)
	}
	for _, k := range []string{
		`{"id":"red-plain","team_id":"red","user_id":"plain","type":"llm_api"}`, `{"id":"red-bot","team_id":"red"}`, `{"id":"far-bot","team_id":"far"}`,
		`{"id":"root-key","user_id":"plain","role":"proxy_admin"}`, `{"id":"given","user_id":"plain","limits":{"rpm":5}}`,
	} {
		h.Must("POST", "/api/v1/keys", k)
	}
	h.Must("POST", "/api/v1/projects", `{"id":"p-red","name":"p-red","team_id":"red"}`)
	h.Must("POST", "/api/v1/projects", `{"id":"p-far","name":"p-far","team_id":"far"}`)
	return out
}

// TestSelfService asks both doors what people may do. Each step is done in turn.
func TestSelfService(t *testing.T) {
	t.Parallel()
	h := adminapitest.New(t)
	who := people(t, h)
	for _, tt := range []struct {
		who, method, path, body string
		want                    int
	}{
		// A user and his keys.
		{"plain", "POST", "/key/generate", `{"key_alias":"mine","models":["small"]}`, 200},
		{"plain", "GET", "/key/info?key=mine", "", 200},
		{"plain", "POST", "/key/update", `{"key_alias":"mine","key":"mine","rpm_limit":10}`, 200},
		{"plain", "POST", "/key/block", `{"key":"mine"}`, 200},
		{"plain", "POST", "/key/unblock", `{"key":"mine"}`, 403}, // it might be an admin who blocked it
		{"plain", "POST", "/key/regenerate", `{"key":"mine"}`, 200},
		{"plain", "POST", "/key/delete", `{"keys":["mine"]}`, 200},
		{"plain", "PATCH", "/api/v1/keys/given", `{"limits":{"rpm":500}}`, 400}, // what an admin gave is not raised
		{"plain", "PATCH", "/api/v1/keys/given", `{"limits":null}`, 400},
		{"plain", "PATCH", "/api/v1/keys/given", `{"limits":{"rpm":4}}`, 200},
		{"plain", "PATCH", "/api/v1/keys/k-plain", `{"role":"proxy_admin"}`, 403},
		{"plain", "POST", "/key/update", `{"key":"root-key","rpm_limit":1}`, 403},
		{"plain", "POST", "/key/regenerate", `{"key":"root-key"}`, 403}, // who learns its secret is an admin
		{"plain", "POST", "/api/v1/keys/root-key/rotate", `{}`, 403},
		{"plain", "POST", "/api/v1/keys/root-key/pickup", ``, 403},
		{"plain", "POST", "/key/generate", `{"allowed_routes":["/*"],"user_id":"boss"}`, 403},
		{"plain", "POST", "/user/update", `{"user_id":"plain","user_role":"proxy_admin"}`, 403},
		{"plain", "POST", "/user/update", `{"user_id":"plain","max_budget":1000}`, 403},
		{"plain", "POST", "/user/update", `{"user_id":"plain","user_alias":"P"}`, 200},
		{"plain", "POST", "/user/update", `{"user_id":"lead","user_alias":"P"}`, 404},
		{"plain", "POST", "/user/new", `{"user_id":"puppet"}`, 403},
		{"plain", "POST", "/team/new", `{"team_id":"own"}`, 403},
		{"plain", "POST", "/organization/new", `{"organization_alias":"own"}`, 403},
		{"plain", "PUT", "/api/v1/settings/log_content", `{"value":true}`, 403},
		{"plain", "POST", "/model/new", `{}`, 403},
		{"plain", "POST", "/customer/block", `{"user_ids":["x"]}`, 403},
		// What his team lets him.
		{"plain", "POST", "/key/generate", `{"key_alias":"team-key","team_id":"red"}`, 200},
		{"plain", "POST", "/key/generate", `{"team_id":"red","rpm_limit":101}`, 400},
		{"plain", "POST", "/key/update", `{"key":"team-key","rpm_limit":50}`, 200},
		{"plain", "POST", "/key/delete", `{"keys":["team-key"]}`, 403},
		{"plain", "POST", "/key/block", `{"key":"team-key"}`, 403},
		{"plain", "POST", "/key/generate", `{"team_id":"blue"}`, 403},
		{"plain", "POST", "/key/generate", `{"team_id":"far"}`, 403},
		{"plain", "POST", "/key/service-account/generate", `{"team_id":"red"}`, 403},
		{"plain", "POST", "/team/member_add", `{"team_id":"red","member":{"user_id":"stranger","role":"user"}}`, 403},
		{"plain", "POST", "/team/member_update", `{"team_id":"red","user_id":"plain","role":"admin"}`, 403},
		{"plain", "GET", "/api/v1/keys/far-bot", "", 404},
		{"plain", "DELETE", "/api/v1/keys/far-bot", "", 404},
		{"plain", "GET", "/api/v1/keys/far-bot/effective", "", 404},
		{"plain", "GET", "/api/v1/teams/far", "", 404},
		{"plain", "GET", "/api/v1/users/lead", "", 404},
		{"plain", "GET", "/api/v1/projects/p-far", "", 404},
		{"plain", "GET", "/api/v1/settings", "", 403},
		{"plain", "GET", "/api/v1/audit", "", 403},
		// The admin of a team.
		{"lead", "POST", "/team/member_add", `{"team_id":"red","member":{"user_email":"new@example.org","role":"user"},"max_budget_in_team":5}`, 200},
		{"lead", "POST", "/team/member_update", `{"team_id":"red","user_id":"plain","rpm_limit":20}`, 200},
		{"lead", "POST", "/team/member_update", `{"team_id":"red","user_id":"plain","rpm_limit":101}`, 400},
		{"lead", "POST", "/team/member_add", `{"team_id":"far","member":{"user_id":"lead","role":"admin"}}`, 404},
		{"lead", "POST", "/team/update", `{"team_id":"red","rpm_limit":1000}`, 400}, // its own grant
		{"lead", "POST", "/team/update", `{"team_id":"red","rpm_limit":null}`, 400},
		{"lead", "POST", "/team/update", `{"team_id":"red","organization_id":null}`, 403},
		{"lead", "POST", "/team/update", `{"team_id":"far","rpm_limit":1}`, 404},
		{"lead", "POST", "/team/update", `{"team_id":"red","rpm_limit":90}`, 200},
		{"lead", "POST", "/team/delete", `{"team_ids":["red"]}`, 403},
		{"lead", "POST", "/team/block", `{"team_id":"red"}`, 403},
		{"lead", "POST", "/key/service-account/generate", `{"team_id":"red","key_alias":"bot2"}`, 200},
		{"lead", "POST", "/key/generate", `{"team_id":"red","user_id":"boss"}`, 403},
		{"lead", "POST", "/key/generate", `{"team_id":"red","user_id":"plain","key_type":"management"}`, 403},
		{"lead", "POST", "/key/generate", `{"team_id":"red","user_id":"plain","key_alias":"for-plain"}`, 200},
		{"lead", "POST", "/api/v1/keys/red-plain/rotate", `{}`, 200},
		{"lead", "POST", "/key/block", `{"key":"red-plain"}`, 200},
		{"lead", "POST", "/key/unblock", `{"key":"red-plain"}`, 200},
		{"lead", "POST", "/key/delete", `{"keys":["red-plain","far-bot"]}`, 404},
		{"lead", "POST", "/key/update", `{"key":"red-bot","team_id":"far"}`, 403},
		{"lead", "POST", "/api/v1/projects", `{"name":"p2","team_id":"red"}`, 201},
		{"lead", "POST", "/api/v1/projects", `{"name":"p3","team_id":"far"}`, 403},
		{"lead", "POST", "/user/delete", `{"user_ids":["plain"]}`, 403},
		{"lead", "GET", "/team/info?team_id=red", "", 200},
		{"lead", "GET", "/api/v1/teams/red/members", "", 200},
		// The admin of an organization.
		{"boss", "POST", "/team/new", `{"team_id":"green","organization_id":"acme","models":["gpt"]}`, 200},
		{"boss", "POST", "/team/new", `{"team_id":"wide","organization_id":"acme","models":["other"]}`, 400},
		{"boss", "POST", "/team/new", `{"team_id":"none"}`, 403},
		{"boss", "POST", "/team/update", `{"team_id":"red","rpm_limit":1000}`, 200},
		{"boss", "POST", "/team/block", `{"team_id":"red"}`, 200},
		{"boss", "POST", "/team/unblock", `{"team_id":"red"}`, 200},
		{"boss", "POST", "/organization/member_add", `{"organization_id":"acme","member":{"user_id":"second","role":"org_admin"}}`, 200},
		{"boss", "POST", "/organization/member_add", `{"organization_id":"acme","member":{"user_id":"stranger","role":"internal_user"}}`, 404},
		{"boss", "POST", "/user/new", `{"user_id":"third","organizations":["acme"],"auto_create_key":false}`, 200},
		{"boss", "POST", "/user/new", `{"user_id":"evil","organizations":["acme"],"user_role":"proxy_admin"}`, 403},
		{"boss", "POST", "/user/update", `{"user_id":"third","max_budget":3}`, 200},
		{"boss", "POST", "/user/update", `{"user_id":"boss","user_role":"proxy_admin"}`, 403},
		{"boss", "PATCH", "/organization/update", `{"organization_id":"acme","models":["*"]}`, 403},
		{"boss", "POST", "/user/delete", `{"user_ids":["third"]}`, 200},
		{"boss", "POST", "/team/delete", `{"team_ids":["green"]}`, 200},
		{"boss", "POST", "/team/delete", `{"team_ids":["far"]}`, 404},
		{"boss", "DELETE", "/organization/delete", `{"organization_ids":["acme"]}`, 403},
		{"boss", "GET", "/organization/info?organization_id=acme", "", 200},
		// Who may only read.
		{"reader", "GET", "/key/list", "", 200},
		{"reader", "POST", "/key/generate", `{}`, 403},
		{"reader", "POST", "/key/update", `{"key":"k-reader","rpm_limit":1}`, 403},
		{"reader", "POST", "/key/block", `{"key":"k-reader"}`, 403},
		{"stranger", "POST", "/key/update", `{"key":"red-bot","rpm_limit":1}`, 404},
	} {
		a := h.Call(who[tt.who], tt.method, tt.path, tt.body)
		if a.Status != tt.want {
			t.Errorf("%s: %s %s %s: got %d %s, want %d", tt.who, tt.method, tt.path, tt.body, a.Status, a.Body, tt.want)
		}
	}
}

// TestSelfService_lists: a list shows what the caller may read one by one, and nothing else.
func TestSelfService_lists(t *testing.T) {
	t.Parallel()
	h := adminapitest.New(t)
	who := people(t, h)
	for _, tt := range []struct{ who, path, want string }{
		{"plain", "/api/v1/keys?sort=id", "given k-plain red-bot red-plain root-key"},
		{"plain", "/api/v1/keys?sort=id&team_id=far", ""},
		{"plain", "/api/v1/keys?sort=id&user_id=lead", ""},
		{"lead", "/api/v1/keys?sort=id", "k-lead red-bot red-plain"},
		{"boss", "/api/v1/keys?sort=id", "k-boss red-bot red-plain"},
		{"reader", "/api/v1/keys?sort=id", "k-reader"},
		{"stranger", "/api/v1/keys?sort=id&limit=1", "far-bot"},
		{"plain", "/api/v1/teams?sort=id", "blue red"},
		{"lead", "/api/v1/teams?sort=id", "red"},
		{"boss", "/api/v1/teams?sort=id", "blue red"},
		{"plain", "/api/v1/users?sort=id", "plain"},
		{"lead", "/api/v1/users?sort=id", "lead plain"},
		{"boss", "/api/v1/users?sort=id", "boss"},
		{"stranger", "/api/v1/projects?sort=id", "p-far"},
		{"stranger", "/api/v1/organizations?sort=id", ""},
		{"boss", "/api/v1/organizations?sort=id", "acme"},
		{"lead", "/api/v1/teams/red/members", "red/lead red/plain"},
		{"plain", "/api/v1/teams/red/members", "red/plain"},
	} {
		a := h.Call(who[tt.who], "GET", tt.path, "")
		if a.Status != 200 {
			t.Errorf("%s: %s: got %d %s", tt.who, tt.path, a.Status, a.Body)
			continue
		}
		if got := strings.Join(ids(a.Object(t)), " "); got != tt.want {
			t.Errorf("%s: %s: got %q, want %q", tt.who, tt.path, got, tt.want)
		}
	}
	for path, want := range map[string]string{
		"/key/list": `"total_count":5`, "/key/aliases": `"total_count":0`, "/user/list": `"total":1`, "/v2/team/list": `"total":2`,
	} {
		if a := h.Call(who["plain"], "GET", path, ""); a.Status != 200 || !strings.Contains(string(a.Body), want) {
			t.Errorf("%s: got %d %s, want %s", path, a.Status, a.Body, want)
		}
	}
	if a := h.Call(who["plain"], "GET", "/team/info?team_id=red", ""); strings.Contains(string(a.Body), "red-plain") {
		t.Errorf("a plain member sees the keys of the team: %s", a.Body)
	}
}

// TestSelfService_bounds: what an admin sets for self-service, and what the key has that a
// person acts with, no key of his exceeds, now or later.
func TestSelfService_bounds(t *testing.T) {
	t.Parallel()
	h := adminapitest.New(t)
	who := people(t, h)
	h.Must("PUT", "/api/v1/settings/key_ceilings", `{"value":{"limits":{"rpm":60},"budgets":[{"usd":10,"per":"month"}],"max_age":"720h"}}`)
	made := h.Call(who["plain"], "POST", "/api/v1/keys", `{"id":"n1"}`)
	if k := made.Object(t); made.Status != 201 || fmt.Sprint(k["limits"]) != "map[rpm:60]" || k["user_id"] != "plain" || k["expires_at"] == nil {
		t.Fatalf("made: got %d %s", made.Status, made.Body)
	}
	for body, want := range map[string]int{
		`{"limits":null}`: 400, `{"limits":{"rpm":61}}`: 400, `{"budgets":null}`: 400, `{"expires_at":null}`: 400, `{"limits":{"rpm":59}}`: 200,
	} {
		if a := h.Call(who["plain"], "PATCH", "/api/v1/keys/n1", body); a.Status != want {
			t.Errorf("%s: got %d %s, want %d", body, a.Status, a.Body, want)
		}
	}
	if a := h.Call(who["plain"], "POST", "/key/generate", `{"max_budget":11,"budget_duration":"30d"}`); a.Status != 400 {
		t.Errorf("above the ceiling: got %d %s", a.Status, a.Body)
	}
	narrow, _ := h.Must("POST", "/api/v1/keys", `{"id":"narrow","user_id":"plain","models":["small"],"type":"management","guardrails":["words"]}`)["secret"].(string)
	made = h.Call(narrow, "POST", "/api/v1/keys", `{"id":"n2"}`)
	if k := made.Object(t); made.Status != 201 || fmt.Sprint(k["models"], k["guardrails"]) != "[small] [words]" {
		t.Errorf("made by a narrow key: got %d %s", made.Status, made.Body)
	}
	for method, bodies := range map[string][]string{
		"POST /api/v1/keys":                {`{"models":["gpt"]}`, `{"models":["*"]}`, `{"guardrails":["other"]}`},
		"PATCH /api/v1/keys/n2":            {`{"models":null}`, `{"guardrails":null}`},
		"POST /api/v1/keys/k-plain/rotate": {`{}`},
		"PATCH /api/v1/keys/narrow":        {`{"models":null}`, `{"guardrails":[]}`},
	} {
		verb, path, _ := strings.Cut(method, " ")
		for _, body := range bodies {
			if a := h.Call(narrow, verb, path, body); a.Status != 400 && a.Status != 403 {
				t.Errorf("%s %s by a narrow key: got %d %s", method, body, a.Status, a.Body)
			}
		}
	}
}

// TestSelfService_revoked: rights end with the record that gives them, at once.
func TestSelfService_revoked(t *testing.T) {
	t.Parallel()
	h := adminapitest.New(t)
	who := people(t, h)
	try := func(name, person, path, body string, want int) {
		t.Helper()
		if a := h.Call(who[person], "POST", path, body); a.Status != want {
			t.Errorf("%s: got %d %s, want %d", name, a.Status, a.Body, want)
		}
	}
	h.Must("PATCH", "/api/v1/teams/red/members/lead", `{"admin":false}`)
	try("no admin of the team any more", "lead", "/key/block", `{"key":"red-bot"}`, 403)
	h.Must("PATCH", "/api/v1/users/boss", `{"organization_admin":false}`)
	try("no admin of the organization any more", "boss", "/team/block", `{"team_id":"red"}`, 403)
	h.Must("PATCH", "/api/v1/teams/red", `{"member_permissions":null}`)
	try("the team lets nothing any more", "plain", "/key/generate", `{"team_id":"red"}`, 403)
	h.Must("POST", "/api/v1/users/stranger/block", "")
	try("the user is blocked", "stranger", "/key/generate", `{}`, 403)
	h.Must("PATCH", "/api/v1/users/plain", `{"role":"internal_user_viewer"}`)
	try("he may read only now", "plain", "/key/generate", `{}`, 403)
	// A node that has not heard of it proposes all the same: the state machine decides.
	h.Must("POST", "/api/v1/customers", `{"id":"c"}`)
	for _, tt := range []struct {
		name, key string
		cmd       fsm.Command
		ok        bool
	}{
		{"a team's admin who was one", "k-lead", fsm.BlockKey{ID: "red-bot", Blocked: true}, false},
		{"a kind that is nobody's", "k-lead", fsm.BlockCustomer{ID: "c", Blocked: true}, false},
		{"a command of admins", "k-lead", fsm.DeleteSetting{ID: "log_content"}, false},
		{"a viewer", "k-plain", fsm.BlockKey{ID: "k-plain", Blocked: true}, false},
		{"a user who is blocked", "k-stranger", fsm.BlockKey{ID: "k-stranger", Blocked: true}, false},
		{"a key of his own", "k-lead", fsm.BlockKey{ID: "k-lead", Blocked: true}, true},
		{"a key that is blocked", "k-lead", fsm.DeleteKey{ID: "k-lead"}, false},
	} {
		k, _ := h.State.Key(tt.key)
		_, err := h.Propose(t.Context(), fsm.Actor{Kind: "key", ID: k.ID, Version: k.Version}, "", tt.cmd)
		if (err == nil) != tt.ok || err != nil && !errors.Is(err, resource.ErrForbidden) {
			t.Errorf("%s: got %v", tt.name, err)
		}
	}
}
