package adminapi_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/adminapi/adminapitest"
	"github.com/conclave-llm/conclave/resource"
)

// asked is a call of a test and what it is to answer.
type asked struct {
	name, key, method, path, body string
	status                        int
	says                          string
}

func ask(t *testing.T, h *adminapitest.Harness, calls []asked) {
	t.Helper()
	for _, tt := range calls {
		got := h.Call(tt.key, tt.method, tt.path, tt.body)
		if got.Status != tt.status || !strings.Contains(string(got.Body), tt.says) {
			t.Errorf("%s: got %d %s, want %d with %s", tt.name, got.Status, got.Body, tt.status, tt.says)
		}
	}
}

// TestSelfService_aliases: an alias leads nobody to a model that he could not give.
func TestSelfService_aliases(t *testing.T) {
	t.Parallel()
	h := adminapitest.New(t)
	who := people(t, h)
	bob, _ := h.Must("POST", "/api/v1/keys", `{"id":"bob","user_id":"plain","models":["small"],"aliases":{"small":"gpt"}}`)["secret"].(string)
	cheap, _ := h.Must("POST", "/api/v1/keys", `{"id":"cheap","user_id":"plain","models":["small"]}`)["secret"].(string)
	h.Must("PATCH", "/api/v1/teams/red", `{"models":["small"]}`)
	ask(t, h, []asked{
		{"his key's alias", cheap, "POST", "/key/update", `{"key":"cheap","aliases":{"small":"gpt"}}`, 400, "aliases"},
		{"one that his key does not name yet", cheap, "POST", "/key/update", `{"key":"cheap","aliases":{"other":"gpt"}}`, 400, "aliases"},
		{"that of a new key", cheap, "POST", "/key/generate", `{"models":["small"],"aliases":{"small":"gpt"}}`, 400, "aliases"},
		{"another name of what he has", cheap, "POST", "/key/update", `{"key":"cheap","aliases":{"quick":"small"}}`, 200, ""},
		{"what an admin gave stays", bob, "POST", "/key/update", `{"key":"bob","aliases":{"small":"gpt","quick":"small"}}`, 200, ""},
		{"a key may not have more than its team", adminapitest.MasterKey, "POST", "/api/v1/keys", `{"team_id":"red","models":["small"],"aliases":{"small":"gpt"}}`, 400, "aliases"},
		{"the team's, by its admin", who["lead"], "POST", "/team/update", `{"team_id":"red","model_aliases":{"small":"gpt"}}`, 400, "aliases"},
		{"the team's, by an admin of the cluster", adminapitest.MasterKey, "POST", "/team/update", `{"team_id":"red","model_aliases":{"small":"gpt"}}`, 200, ""},
		{"a project's, by the team's admin", who["lead"], "PATCH", "/api/v1/projects/p-red", `{"models":["small"],"aliases":{"small":"other"}}`, 400, "aliases"},
		{"a member's, by the team's admin", who["lead"], "PATCH", "/api/v1/teams/red/members/plain", `{"models":["small"],"aliases":{"small":"other"}}`, 400, "aliases"},
	})
}

// TestSelfService_tags: a tag that bounds a key stays on it, and on those that it makes.
func TestSelfService_tags(t *testing.T) {
	t.Parallel()
	h := adminapitest.New(t)
	who := people(t, h)
	h.Must("POST", "/api/v1/tags", `{"id":"eu","budgets":[{"usd":1,"per":"day"}]}`)
	bob, _ := h.Must("POST", "/api/v1/keys", `{"id":"bob","user_id":"plain","tags":["eu","label"]}`)["secret"].(string)
	h.Must("PATCH", "/api/v1/teams/red", `{"tags":["eu"]}`)
	ask(t, h, []asked{
		{"all away", bob, "POST", "/key/update", `{"key":"bob","tags":[]}`, 400, "tags"},
		{"with another of his keys", who["plain"], "PATCH", "/api/v1/keys/bob", `{"tags":["label"]}`, 400, "tags"},
		{"one more, and a label less", bob, "POST", "/key/update", `{"key":"bob","tags":["eu","mine"]}`, 200, ""},
		{"a key that he makes", bob, "POST", "/api/v1/keys", `{"id":"bob2","tags":["x"]}`, 201, `"tags":["x","eu"]`},
		{"taken from that", bob, "PATCH", "/api/v1/keys/bob2", `{"tags":["x"]}`, 400, "tags"},
		{"the team's, by its admin", who["lead"], "PATCH", "/api/v1/teams/red", `{"tags":[]}`, 400, "tags"},
		{"by an admin of the cluster", adminapitest.MasterKey, "PATCH", "/api/v1/keys/bob", `{"tags":[]}`, 200, ""},
	})
}

// TestIncreases: on every record that has budgets an increase has an end to come, a reason and a known approver, who
// raises neither his own nor by more than he may.
func TestIncreases(t *testing.T) {
	t.Parallel()
	h := adminapitest.New(t)
	h.Must("POST", "/api/v1/users", `{"id":"ada"}`)
	ada, _ := h.Must("POST", "/api/v1/keys", `{"name":"ada","role":"proxy_admin","user_id":"ada","increase_cap":5}`)["secret"].(string)
	past, later := h.Clock().Add(-time.Hour).Format(time.RFC3339), h.Clock().Add(time.Hour).Format(time.RFC3339)
	terms := func(amount, until, reason string) string {
		return `{"usd":10,"per":"day","increase":{"amount":` + amount + `,"until":"` + until + `","by":"forged","reason":"` + reason + `"}}`
	}
	for path, at := range map[string]struct{ body, field string }{
		"/api/v1/users":         {`{"id":"u","budgets":[$]}`, "budgets[0]"},
		"/api/v1/organizations": {`{"name":"o","budgets":[$]}`, "budgets[0]"},
		"/api/v1/teams":         {`{"name":"t","budgets":[$]}`, "budgets[0]"},
		"/api/v1/projects":      {`{"name":"p","team_id":"t","budgets":[$]}`, "budgets[0]"},
		"/api/v1/customers":     {`{"id":"c","budgets":[$]}`, "budgets[0]"},
		"/api/v1/tags":          {`{"id":"tag","budgets":[$]}`, "budgets[0]"},
		"/api/v1/budgets":       {`{"name":"b","terms":$}`, "terms"},
		"/api/v1/models":        {`{"name":"m","budgets":[$]}`, "budgets[0]"},
		"/api/v1/access-groups": {`{"name":"g","budgets":[$]}`, "budgets[0]"},
	} {
		if path == "/api/v1/projects" {
			h.Must("POST", "/api/v1/teams", `{"id":"t9","name":"t9"}`)
			at.body = strings.Replace(at.body, `"team_id":"t"`, `"team_id":"t9"`, 1)
		}
		with := func(s string) string { return strings.Replace(at.body, "$", s, 1) }
		ask(t, h, []asked{
			{path + ", past", ada, "POST", path, with(terms("5", past, "r")), 400, at.field + ".increase.until"},
			{path + ", no reason", ada, "POST", path, with(terms("5", later, "")), 400, at.field + ".increase.reason"},
			{path + ", above the cap", ada, "POST", path, with(terms("6", later, "r")), 403, "above the"},
			{path, ada, "POST", path, with(terms("5", later, "r")), 201, `"by":"key/`},
		})
	}
	ask(t, h, []asked{
		{"himself", ada, "PATCH", "/api/v1/users/ada", `{"budgets":[` + terms("1", later, "r") + `]}`, 403, "his own"},
		{"every new member", ada, "POST", "/api/v1/teams", `{"name":"d","member_defaults":{"budgets":[` + terms("1", later, "r") + `]}}`, 400, "member_defaults.budgets[0].increase"},
		{"LiteLLM's user, past", ada, "POST", "/user/update", `{"user_id":"u","max_budget":10,"temp_budget_increase":1,"temp_budget_expiry":"` + past + `"}`, 400, "temp_budget_expiry"},
		{"LiteLLM's, who gives no reason", ada, "POST", "/team/new", `{"team_alias":"x","max_budget":10,"temp_budget_increase":1,"temp_budget_expiry":"` + later + `"}`, 200, `"temp_budget_increase":1`},
	})
}

// TestKeyPermissions: what nobody knows or serves is refused, and what is known works.
func TestKeyPermissions(t *testing.T) {
	t.Parallel()
	h := adminapitest.New(t)
	manager, _ := h.Must("POST", "/api/v1/keys", `{"name":"manager","role":"proxy_admin","type":"management"}`)["secret"].(string)
	admin, _ := h.Must("POST", "/api/v1/keys", `{"name":"admin","role":"proxy_admin"}`)["secret"].(string)
	reads, _ := h.Must("POST", "/key/generate", `{"permissions":{"get_spend_routes":true}}`)["key"].(string)
	not, _ := h.Must("POST", "/key/generate", `{}`)["key"].(string)
	ask(t, h, []asked{
		{"a permission that nothing obeys", adminapitest.MasterKey, "POST", "/key/generate", `{"permissions":{"allow_pii_controls":true}}`, 400, "permissions.allow_pii_controls"},
		{"an MCP server that is not there", adminapitest.MasterKey, "POST", "/key/generate", `{"object_permission":{"mcp_servers":["nope"],"vector_stores":["vs"]}}`, 400, "object_permission.mcp_servers[0]"},
		{"tools of one", adminapitest.MasterKey, "POST", "/api/v1/keys", `{"objects":{"mcp_tool_permissions":{"nope":["x"]}}}`, 400, "objects.mcp_tool_permissions.nope"},
		{"a vector store, which a provider has", adminapitest.MasterKey, "POST", "/key/generate", `{"object_permission":{"vector_stores":["vs"]}}`, 200, ""},
		{"a prompt that is not there", adminapitest.MasterKey, "POST", "/key/generate", `{"prompts":["nope"]}`, 400, "prompts[0]"},
		{"an admin, whose role reads all spend, gives that", admin, "POST", "/key/generate", `{"permissions":{"get_spend_routes":true}}`, 200, ""},
		{"a wider type", manager, "POST", "/key/generate", `{"key_type":"default"}`, 400, "key_type"},
		{"another type", manager, "POST", "/api/v1/keys", `{"type":"llm_api"}`, 400, `"type"`},
		{"a narrower type", manager, "POST", "/key/generate", `{"key_type":"read_only"}`, 200, ""},
		{"spend of all, with the permission", reads, "GET", "/global/spend", "", 200, ""},
		{"its report", reads, "GET", "/global/spend/report?start_date=2026-01-01&end_date=2026-01-02", "", 200, ""},
		{"nothing else", reads, "GET", "/api/v1/teams", "", 403, ""},
		{"spend of all, without", not, "GET", "/global/spend", "", 403, ""},
		{"no store", adminapitest.MasterKey, "POST", "/api/v1/keys", `{"rotation":{"every":"2h","deliver":"secret_store"}}`, 400, "rotation_store"},
		{"no address of links", adminapitest.MasterKey, "POST", "/api/v1/keys", `{"rotation":{"every":"2h","deliver":"email","email":"a@b.c"}}`, 400, "public_url"},
		{"grace", adminapitest.MasterKey, "POST", "/key/regenerate", `{"key":"admin","grace_period":"soon"}`, 400, `"grace_period"`},
	})
	h.Must("PUT", "/api/v1/settings/public_url", `{"value":"https://llm.example.com"}`)
	ask(t, h, []asked{{"no channel of mails", adminapitest.MasterKey, "POST", "/api/v1/keys", `{"rotation":{"every":"2h","deliver":"email","email":"a@b.c"}}`, 400, "alerts"}})
}

// TestAccessGroups_alone: who has groups and names no models has their models alone, and does not have all when the
// last one is taken away.
func TestAccessGroups_alone(t *testing.T) {
	t.Parallel()
	h := adminapitest.New(t)
	for _, m := range []string{"gpt", "claude"} {
		h.Must("POST", "/api/v1/models", `{"name":"`+m+`"}`)
	}
	h.Must("POST", "/api/v1/access-groups", `{"id":"ag_1","name":"eng","models":["gpt"]}`)
	h.Must("POST", "/api/v1/keys", `{"id":"k","access_group_ids":["ag_1"]}`)
	allowed := func(key string) string {
		t.Helper()
		e, err := h.Client(adminapitest.MasterKey).Effective(t.Context(), key, nil)
		if err != nil {
			t.Fatal(err)
		}
		return strings.Join(e.Models.Allowed, " ")
	}
	if got := allowed("k"); got != "gpt" {
		t.Errorf("got %q, want gpt", got)
	}
	h.Must("PATCH", "/api/v1/access-groups/eng", `{"assigned_key_ids":[]}`)
	if got := allowed("k"); got != "" {
		t.Errorf("without the group: got %q, want none", got)
	}
	for body, want := range map[string]string{
		`{"models":["all-team-models"]}`: "claude gpt", `{"models":["all-team-models"],"access_group_ids":["ag_1"]}`: "claude gpt", `{"access_group_ids":["ag_1"]}`: "gpt",
	} {
		id, _ := h.Must("POST", "/key/generate", body)["id"].(string)
		if got := allowed(id); got != want {
			t.Errorf("%s: got %q, want %q", body, got, want)
		}
	}
	if a := h.Call(adminapitest.MasterKey, http.MethodGet, "/api/v1/keys/k", ""); !strings.Contains(string(a.Body), resource.NoModels) {
		t.Errorf("got %s", a.Body)
	}
}
