package adminapi_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/adminapi/adminapitest"
	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/resource"
)

// TestAvailableTeams: people see the teams that they may join by themselves, and join these and no others.
func TestAvailableTeams(t *testing.T) {
	t.Parallel()
	h := adminapitest.New(t)
	who := people(t, h)
	h.Must("POST", "/api/v1/teams", `{"id":"open","name":"open to all","models":["gpt"],"member_defaults":{"limits":{"rpm":7},"budgets":[{"usd":5,"per":"month"}]}}`)
	h.Must("POST", "/api/v1/teams", `{"id":"acme-only","organization_id":"acme"}`)
	h.Must("POST", "/api/v1/teams", `{"id":"closed","name":"closed"}`)
	try := func(name, person, method, path, body string, want int, holds ...string) {
		t.Helper()
		a := h.Call(who[person], method, path, body)
		if a.Status != want {
			t.Errorf("%s: got %d %s, want %d", name, a.Status, a.Body, want)
		}
		for _, text := range holds {
			if !strings.Contains(string(a.Body), text) {
				t.Errorf("%s: got %s, want %s in it", name, a.Body, text)
			}
		}
	}
	join := func(team, user, more string) string {
		return fmt.Sprintf(`{"team_id":%q,"member":{"user_id":%q%s}}`, team, user, more)
	}
	if a := h.Call(who["stranger"], "GET", "/team/available", ""); a.Status != 200 || strings.TrimSpace(string(a.Body)) != "[]" {
		t.Errorf("none is open: got %d %s", a.Status, a.Body)
	}
	try("none is open", "stranger", "POST", "/team/member_add", join("open", "stranger", ""), 404)
	h.Must("PUT", "/api/v1/settings/available_teams", `{"value":["open","acme-only","gone"]}`)

	a := h.Call(who["stranger"], "GET", "/team/available", "")
	var rows []map[string]any
	if err := json.Unmarshal(a.Body, &rows); err != nil || len(rows) != 1 || rows[0]["team_id"] != "open" || rows[0]["team_alias"] != "open to all" ||
		rows[0]["team_member_rpm_limit"] != 7.0 || rows[0]["spend"] != nil || rows[0]["members_with_roles"] != nil {
		t.Errorf("available: got %s", a.Body)
	}
	try("the same in our words", "stranger", "GET", "/api/v1/available-teams", "", 200, `"id":"open"`, `"rpm":7`, `"total":1`)
	if got := h.Must("GET", "/api/v1/available-teams", ""); got["total"] != 2.0 {
		t.Errorf("an admin sees every open team: got %v", got)
	}
	try("a key that speaks for nobody", "", "GET", "/team/available", "", 401)

	for _, door := range []struct{ method, path, body string }{
		{"POST", "/team/member_add", join("closed", "stranger", "")},
		{"POST", "/team/member_add", join("acme-only", "stranger", "")},
		{"POST", "/team/member_add", join("none", "stranger", "")},
	} {
		try("not open to him", "stranger", door.method, door.path, door.body, 404)
	}
	for _, team := range []string{"closed", "acme-only", "none"} {
		try("not open to him", "stranger", "POST", "/api/v1/teams/"+team+"/members", `{"user_id":"stranger"}`, 400, "there is no team with the id or name "+team)
	}
	for name, body := range map[string]string{
		"as its admin":  join("open", "stranger", `,"role":"admin"`),
		"another":       join("open", "plain", ""),
		"somebody new":  join("open", "nobody-yet", ""),
		"two of them":   `{"team_id":"open","member":[{"user_id":"stranger"},{"user_id":"plain"}]}`,
		"a bigger part": `{"team_id":"open","member":{"user_id":"stranger"},"max_budget_in_team":1000}`,
	} {
		try(name, "stranger", "POST", "/team/member_add", body, 403)
	}
	try("a bigger part, our words", "stranger", "POST", "/api/v1/teams/open/members", `{"user_id":"stranger","limits":{"rpm":1000}}`, 403)
	try("another, our words", "stranger", "POST", "/api/v1/teams/open/members", `{"user_id":"plain"}`, 403)
	try("a viewer", "reader", "POST", "/team/member_add", join("open", "reader", `,"role":"user"`), 403)
	if m := h.State.TeamMembers("open"); len(m) != 0 {
		t.Fatalf("members of the open team: got %v, want none", m)
	}

	try("he joins", "stranger", "POST", "/team/member_add", join("open", "stranger", `,"role":"user"`), 200, `"rpm_limit":7`)
	try("he joins, our words", "plain", "POST", "/api/v1/teams/open/members", `{"user_id":"plain"}`, 201, `"rpm":7`)
	if m, ok := h.State.TeamMember("open", "stranger"); !ok || m.Admin || len(m.Budgets) != 1 || m.Budgets[0].USD != 5*resource.Dollar {
		t.Errorf("joined: got %+v", m)
	}
	try("twice", "stranger", "POST", "/team/member_add", join("open", "stranger", ""), 400, "already")
	try("nothing left to join", "stranger", "GET", "/team/available", "", 200, "[]")
	try("he raises himself", "stranger", "POST", "/team/member_update", `{"team_id":"open","user_id":"stranger","rpm_limit":100}`, 403)
	if a := h.Must("GET", "/api/v1/audit?kind=team_member&id=open/stranger", ""); !strings.Contains(fmt.Sprint(a), "k-stranger") {
		t.Errorf("the audit log does not name who joined: %v", a)
	}

	// A node that still has the setting proposes all the same: the state machine decides.
	h.Must("DELETE", "/api/v1/settings/available_teams", "")
	k, _ := h.State.Key("k-lead")
	e, err := fsm.EncodedOf(resource.TeamMember{Meta: resource.Meta{ID: "open/lead"}, TeamID: "open", UserID: "lead"})
	if err != nil {
		t.Fatal(err)
	}
	_, err = h.Propose(t.Context(), fsm.Actor{Kind: "key", ID: k.ID, Version: k.Version}, "", fsm.PutTeamMember{Record: e})
	if !errors.Is(err, resource.ErrForbidden) {
		t.Errorf("the team is open no more: got %v", err)
	}
}
