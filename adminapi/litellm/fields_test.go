package litellm_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/adminapi/adminapitest"
)

// TestRefusals_OfNothing: a field that would do nothing is refused with its name, and one that says what is so anyhow
// is not.
func TestRefusals_OfNothing(t *testing.T) {
	t.Parallel()
	h := adminapitest.New(t)
	for _, tt := range []struct {
		path, body string
		status     int
	}{
		{"/key/generate", `{"tpm_limit_type":"guaranteed_throughput"}`, 400},
		{"/team/new", `{"rpm_limit_type":"dynamic"}`, 400},
		{"/key/generate", `{"tpm_limit_type":"best_effort_throughput","rpm_limit_type":null}`, 200},
		{"/key/generate", `{"default_estimated_output_tokens":0}`, 400},
		{"/key/generate", `{"default_estimated_output_tokens_per_model":{"demo":-1}}`, 400},
		{"/key/generate", `{"mcp_rpm_limit":{"git":"many"}}`, 400},
		{"/team/new", `{"tag_rpm_limit":{"batch":-1}}`, 400},
		{"/key/generate", `{"budget_fallbacks":{"demo":[]}}`, 400},
		{"/key/generate", `{"budget_fallbacks":{"demo":["demo"]}}`, 400},
		{"/key/generate", `{"budget_fallbacks":["demo"]}`, 400},
		{"/key/generate", `{"enable_prompt_caching":true}`, 400},
		{"/key/generate", `{"send_invite_email":true}`, 400},
		{"/key/generate", `{"enable_prompt_caching":false,"send_invite_email":false}`, 200},
		{"/customer/new", `{"allowed_model_region":"mars","user_id":"m"}`, 400},
		{"/customer/new", `{"allowed_model_region":"us","user_id":"u"}`, 200},
	} {
		a := h.Call(adminapitest.MasterKey, "POST", tt.path, tt.body)
		name := strings.Split(tt.body, `"`)[1]
		if a.Status != tt.status || tt.status == 400 && !strings.Contains(string(a.Body), name) {
			t.Errorf("%s %s: got %d %s, want %d", tt.path, tt.body, a.Status, a.Body, tt.status)
		}
	}
}

// TestPartFields: limits of single MCP servers and tags, the models that take the place of one whose budget is spent,
// and what is held of requests without a maximum are kept, shown, replaced and taken away.
func TestPartFields(t *testing.T) {
	t.Parallel()
	h := adminapitest.New(t)
	made := map[string]any{
		"mcp_rpm_limit": map[string]any{"git": 5.0, "mail": 2.0}, "tag_rpm_limit": map[string]any{"batch": 3.0},
		"budget_fallbacks": map[string]any{"demo": []any{"mini", "micro"}}, "default_estimated_output_tokens": 100.0,
		"default_estimated_output_tokens_per_model": map[string]any{"demo": 50.0},
	}
	body := `"mcp_rpm_limit":{"git":5,"mail":2},"tag_rpm_limit":{"batch":3},"budget_fallbacks":{"demo":["mini","micro"]},
		"default_estimated_output_tokens":100,"default_estimated_output_tokens_per_model":{"demo":50}`
	has(t, "key", h.Must("POST", "/key/generate", `{"key_alias":"k",`+body+`}`), made)
	has(t, "team", h.Must("POST", "/team/new", `{"team_id":"t",`+body+`}`), made)
	k := h.Must("GET", "/api/v1/keys/k", "")
	has(t, "record", k, map[string]any{
		"mcp_limits": map[string]any{"git": map[string]any{"rpm": 5.0}, "mail": map[string]any{"rpm": 2.0}},
		"tag_limits": map[string]any{"batch": map[string]any{"rpm": 3.0}}, "default_output_hold": 100.0, "model_output_holds": map[string]any{"demo": 50.0},
	})
	h.Must("PATCH", "/api/v1/keys/k", `{"mcp_limits":{"git":{"parallel":1}}}`)
	next := h.Must("POST", "/key/update", `{"key":"k","mcp_rpm_limit":{"mail":7},"tag_rpm_limit":null,"budget_fallbacks":{"big":["mini"]},"default_estimated_output_tokens_per_model":{}}`)
	has(t, "changed", next, map[string]any{
		"mcp_rpm_limit": map[string]any{"mail": 7.0}, "tag_rpm_limit": map[string]any{}, "budget_fallbacks": map[string]any{"big": []any{"mini"}},
		"default_estimated_output_tokens": 100.0, "default_estimated_output_tokens_per_model": map[string]any{},
	})
	has(t, "what LiteLLM has no field for", h.Must("GET", "/api/v1/keys/k", ""), map[string]any{
		"mcp_limits": map[string]any{"git": map[string]any{"parallel": 1.0}, "mail": map[string]any{"rpm": 7.0}},
	})
	gone := h.Must("POST", "/key/update", `{"key":"k","budget_fallbacks":null,"default_estimated_output_tokens":null}`)
	has(t, "taken away", gone, map[string]any{"budget_fallbacks": map[string]any{}, "default_estimated_output_tokens": nil})
	a := h.Call(adminapitest.MasterKey, "POST", "/key/generate", `{"team_id":"t","tag_rpm_limit":{"batch":4}}`)
	if a.Status != 400 || !strings.Contains(string(a.Body), "tag_rpm_limit") {
		t.Errorf("more than the team has: got %d %s", a.Status, a.Body)
	}
}

// TestTeamFields: routes in a provider's own words of any holder, and the expiry of what a team's keys make.
func TestTeamFields(t *testing.T) {
	t.Parallel()
	h := adminapitest.New(t)
	made := map[string]any{"allowed_passthrough_routes": []any{"/openai/*"}, "denied_passthrough_routes": []any{"/openai/v1/files"}}
	routes := `"allowed_passthrough_routes":["/openai/*"],"denied_passthrough_routes":["/openai/v1/files"]`
	has(t, "user", h.Must("POST", "/user/new", `{"user_id":"u","auto_create_key":false,`+routes+`}`), made)
	made["enforced_file_expires_after"] = map[string]any{"anchor": "created_at", "seconds": 3600.0}
	made["enforced_batch_output_expires_after"] = map[string]any{"anchor": "created_at", "seconds": 7200.0}
	has(t, "team", h.Must("POST", "/team/new", `{"team_id":"t",`+routes+`,"enforced_file_expires_after":{"anchor":"created_at","seconds":3600},
		"enforced_batch_output_expires_after":{"anchor":"created_at","seconds":7200}}`), made)
	h.Must("POST", "/team/update", `{"team_id":"t","enforced_file_expires_after":null,"denied_passthrough_routes":[]}`)
	has(t, "changed", h.Must("GET", "/team/info?team_id=t", "")["team_info"].(map[string]any), map[string]any{
		"enforced_file_expires_after": nil, "denied_passthrough_routes": []any{}, "allowed_passthrough_routes": []any{"/openai/*"},
		"enforced_batch_output_expires_after": made["enforced_batch_output_expires_after"],
	})
	for body, says := range map[string]string{
		`{"team_id":"t","allowed_passthrough_routes":["/anthropic/*"]}`: "allowed_passthrough_routes",
		`{"permissions":{"get_spend_routes":true},"team_id":"t"}`:       "",
	} {
		a := h.Call(adminapitest.MasterKey, "POST", "/key/generate", body)
		if (a.Status == 200) != (says == "") || !strings.Contains(string(a.Body), says) {
			t.Errorf("%s: got %d %s", body, a.Status, a.Body)
		}
	}
	var withKey struct{ Key string }
	if err := json.Unmarshal(h.Call(adminapitest.MasterKey, "POST", "/user/new", `{"user_id":"u2","permissions":{"get_spend_routes":true}}`).Body, &withKey); err != nil || withKey.Key == "" {
		t.Fatalf("a user with a key: %v", err)
	}
	info, _ := h.Must("GET", "/key/info?key="+withKey.Key, "")["info"].(map[string]any)
	has(t, "the key of a new user", info, map[string]any{"permissions": map[string]any{"get_spend_routes": true}})
	for path, body := range map[string]string{
		"/user/new": `{"user_id":"u3","auto_create_key":false,"permissions":{"get_spend_routes":true}}`, "/user/update": `{"user_id":"u","permissions":{"get_spend_routes":true}}`,
		"/project/new": `{"team_id":"t","permissions":{"get_spend_routes":true}}`, "/customer/new": `{"user_id":"c","permissions":{"get_spend_routes":true}}`,
		"/tag/new": `{"name":"x","permissions":{"get_spend_routes":true}}`, "/organization/new": `{"organization_alias":"o","permissions":{"get_spend_routes":true}}`,
	} {
		if a := h.Call(adminapitest.MasterKey, "POST", path, body); a.Status != 400 || !strings.Contains(string(a.Body), "keys have permissions") {
			t.Errorf("%s: got %d %s, want one that says who has permissions", path, a.Status, a.Body)
		}
	}
	for body, says := range map[string]string{
		`{"enforced_file_expires_after":{"anchor":"created_at","seconds":60}}`:      "enforced_file_expires_after.seconds",
		`{"enforced_batch_output_expires_after":{"anchor":"never","seconds":3600}}`: "enforced_batch_output_expires_after.anchor",
		`{"permissions":{"get_spend_routes":true}}`:                                 "keys have permissions",
		`{"allowed_passthrough_routes":["openai"]}`:                                 "allowed_passthrough_routes[0]",
	} {
		if a := h.Call(adminapitest.MasterKey, "POST", "/team/new", body); a.Status != 400 || !strings.Contains(string(a.Body), says) {
			t.Errorf("%s: got %d %s, want one that says %s", body, a.Status, a.Body, says)
		}
	}
}

// TestMemberDefaults_Models: what a team gives its new members, they have.
func TestMemberDefaults_Models(t *testing.T) {
	t.Parallel()
	h := adminapitest.New(t)
	team := `{"team_id":"t","default_team_member_models":["demo"],"team_member_budget":4,"team_member_model_max_budget":{"demo":{"max_budget":2,"budget_duration":"1d"}}}`
	has(t, "team", h.Must("POST", "/team/new", team), map[string]any{
		"default_team_member_models": []any{"demo"}, "team_member_budget": 4.0,
		"team_member_model_max_budget": map[string]any{"demo": map[string]any{"max_budget": 2.0, "budget_duration": "1d"}},
	})
	for _, id := range []string{"ada", "bob", "cleo"} {
		h.Must("POST", "/user/new", `{"user_id":"`+id+`","auto_create_key":false}`)
	}
	h.Must("POST", "/team/member_add", `{"team_id":"t","member":{"user_id":"ada","role":"admin"},"allowed_models":["other"]}`)
	added := h.Must("POST", "/team/bulk_member_add", `{"team_id":"t","all_users":true}`)
	if got := column(added, "updated_team_memberships", "user_id"); got != "bob cleo" {
		t.Errorf("all users: got %q, want those who were not in the team", got)
	}
	again := h.Must("POST", "/team/bulk_member_add", `{"team_id":"t","all_users":true}`)
	if got := column(again, "updated_team_memberships", "user_id"); got != "" {
		t.Errorf("again: got %q, want nobody", got)
	}
	for _, m := range h.State.TeamMembers("t") {
		want := "demo"
		if m.UserID == "ada" {
			want = "other"
		}
		if got := strings.Join(m.Models, " "); got != want || len(m.Budgets) != 2 {
			t.Errorf("%s: got models %q and %d budgets, want %q and 2", m.UserID, got, len(m.Budgets), want)
		}
	}
	has(t, "cleared", h.Must("POST", "/team/update", `{"team_id":"t","default_team_member_models":null,"team_member_model_max_budget":null}`)["data"].(map[string]any), map[string]any{
		"default_team_member_models": []any{}, "team_member_budget": 4.0, "team_member_model_max_budget": map[string]any{},
	})
	for path, body := range map[string]string{
		"/team/member_add":      `{"team_id":"t","all_users":true}`,
		"/team/bulk_member_add": `{"team_id":"t","all_users":true,"members":[{"user_id":"x","role":"user"}]}`,
		"/team/update":          `{"team_id":"t","team_member_model_max_budget":{"demo":{"max_budget":1,"rpm_limit":3}}}`,
	} {
		if a := h.Call(adminapitest.MasterKey, "POST", path, body); a.Status != 400 {
			t.Errorf("%s: got %d %s, want 400", path, a.Status, a.Body)
		}
	}
}
