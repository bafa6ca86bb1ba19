package litellm_test

import (
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
		{"/key/generate", `{"default_estimated_output_tokens":100}`, 400},
		{"/key/generate", `{"default_estimated_output_tokens_per_model":{"demo":1}}`, 400},
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
