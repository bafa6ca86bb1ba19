package management_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/adminapi/adminapitest"
	"github.com/conclave-llm/conclave/resource"
)

// row is one row of an answer.
func row(t *testing.T, answer map[string]any, i int) map[string]any {
	t.Helper()
	data, _ := answer["data"].([]any)
	if i >= len(data) {
		t.Fatalf("row %d of %v", i, answer)
	}
	return data[i].(map[string]any)
}

func text(v any) string {
	b, _ := json.Marshal(v)
	return string(b)
}

// secretOf makes a user of a role in a team, with a key of his.
func secretOf(h *adminapitest.Harness, user, team, role string) string {
	h.Must("POST", "/team/member_add", fmt.Sprintf(`{"team_id":%q,"member":{"user_id":%q,"role":%q}}`, team, user, role))
	secret, _ := h.Must("POST", "/key/generate", `{"user_id":"`+user+`"}`)["key"].(string)
	return secret
}

func TestUsersBulk(t *testing.T) {
	t.Parallel()
	h := adminapitest.New(t)
	h.Must("POST", "/api/v1/teams", `{"id":"red"}`)
	got := h.Must("POST", "/management/v1/users/bulk", `{"users":[
		{"user_id":"a","user_email":"a@x.example","user_role":"internal_user","teams":["red"],"max_budget":5},
		{"user_id":"b","auto_create_key":true,"key_alias":"of b"},
		{"user_id":"a"},
		{"user_id":"c","teams":["nowhere"]},
		{"user_id":"d","send_invite_email":true}
	]}`)
	if text(got["meta"]) != `{"created":2,"failed":3,"total_requested":5}` {
		t.Errorf("got %v", got)
	}
	if a := row(t, got, 0); a["success"] != true || text(a["teams"]) != `["red"]` || a["key"] != nil || a["user_email"] != "a@x.example" {
		t.Errorf("a: %v", a)
	}
	secret, _ := row(t, got, 1)["key"].(string)
	if a := h.Call(secret, "GET", "/key/info", ""); a.Status != 200 || !strings.Contains(string(a.Body), `"of b"`) {
		t.Errorf("the key of b: %d %s", a.Status, a.Body)
	}
	for i, id := range map[int]string{2: "a", 3: "c", 4: "d"} {
		if bad := row(t, got, i); bad["success"] != false || bad["error"] == nil || bad["user_id"] != id {
			t.Errorf("%s: %v", id, bad)
		}
	}
	if _, ok := h.State.User("c"); ok {
		t.Error("a user was made whose team there is not")
	}
	if u, _ := h.State.User("a"); len(u.Budgets) != 1 {
		t.Errorf("a: %+v", u)
	}
}

func TestUsersBulkDelete(t *testing.T) {
	t.Parallel()
	h := adminapitest.New(t)
	h.Must("POST", "/api/v1/teams", `{"id":"red"}`)
	h.Must("POST", "/management/v1/users/bulk", `{"users":[{"user_id":"a","user_email":"a@x.example","teams":["red"],"auto_create_key":true},{"user_id":"b"},{"user_id":"c"}]}`)
	got := h.Must("POST", "/management/v1/users/bulk_delete", `{"user_ids":["a","nobody","b","a","a@x.example"]}`)
	for i, want := range []string{
		`{"error":null,"success":true,"teams_removed":["red"],"user_email":"a@x.example","user_id":"a"}`, `"success":false`,
		`{"error":null,"success":true,"teams_removed":[],"user_email":null,"user_id":"b"}`, `twice`, `"success":false`,
	} {
		if one := text(row(t, got, i)); !strings.Contains(one, want) {
			t.Errorf("row %d: got %s, want %s", i, one, want)
		}
	}
	for id, want := range map[string]bool{"a": false, "b": false, "c": true} {
		if _, ok := h.State.User(id); ok != want {
			t.Errorf("user %s is there: %v", id, ok)
		}
	}
	if keys := h.State.KeysOf("a"); len(keys) != 0 {
		t.Errorf("keys of a: %v", keys)
	}
}

// An admin of an organization makes and deletes users of that alone.
func TestUsersBulk_Organization(t *testing.T) {
	t.Parallel()
	h := adminapitest.New(t)
	h.Must("POST", "/api/v1/organizations", `{"id":"org","name":"org"}`)
	h.Must("POST", "/api/v1/organizations", `{"id":"org2","name":"org2"}`)
	h.Must("POST", "/organization/member_add", `{"organization_id":"org","member":{"user_id":"boss","role":"org_admin"}}`)
	boss, _ := h.Must("POST", "/key/generate", `{"user_id":"boss"}`)["key"].(string)
	h.Must("POST", "/user/new", `{"user_id":"other","auto_create_key":false}`)
	call := func(path, body string) map[string]any {
		a := h.Call(boss, "POST", "/management/v1/users/"+path, body)
		var out map[string]any
		if err := json.Unmarshal(a.Body, &out); err != nil || a.Status != 200 {
			t.Fatalf("%s: %d %s", path, a.Status, a.Body)
		}
		return out
	}
	got := call("bulk", `{"users":[{"user_id":"mine","organizations":["org"]},{"user_id":"theirs","organizations":["org2"]}]}`)
	if row(t, got, 0)["success"] != true || row(t, got, 1)["success"] != false {
		t.Errorf("made: %v", got)
	}
	got = call("bulk_delete", `{"user_ids":["mine","other"]}`)
	if row(t, got, 0)["success"] != true || row(t, got, 1)["success"] != false {
		t.Errorf("deleted: %v", got)
	}
	if _, ok := h.State.User("other"); !ok {
		t.Error("a user of nobody's was deleted")
	}
}

func TestUsersMe(t *testing.T) {
	t.Parallel()
	h := adminapitest.New(t)
	h.Must("POST", "/api/v1/teams", `{"id":"red"}`)
	ann := secretOf(h, "ann", "red", "user")
	nobody, _ := h.Must("POST", "/api/v1/keys", `{"name":"x"}`)["secret"].(string)
	for secret, want := range map[string]string{
		adminapitest.MasterKey: `"user_id":null,"user_role":"proxy_admin"`, ann: `"user_id":"ann"`, nobody: `"user_id":null,"user_role":null`,
	} {
		if a := h.Call(secret, "GET", "/management/v1/users/me", ""); a.Status != 200 || !strings.Contains(string(a.Body), want) {
			t.Errorf("got %d %s, want %s", a.Status, a.Body, want)
		}
	}
}

func TestMembersBulk(t *testing.T) {
	t.Parallel()
	h := adminapitest.New(t)
	h.Must("POST", "/api/v1/teams", `{"id":"red"}`)
	for _, id := range []string{"a", "b", "c"} {
		h.Must("POST", "/user/new", fmt.Sprintf(`{"user_id":%q,"user_email":"%s@x.example","auto_create_key":false}`, id, id))
		h.Must("POST", "/team/member_add", `{"team_id":"red","member":{"user_id":"`+id+`","role":"user"}}`)
	}
	path := "/management/v1/teams/red/members/"
	got := h.Must("POST", path+"bulk_update", `{"members":[
		{"user_id":"a","max_budget_in_team":10,"budget_duration":"30d","rpm_limit":7},
		{"user_email":"b@x.example","allowed_models":["m"]},
		{"user_id":"nobody","max_budget_in_team":1},
		{"user_id":"a","max_budget_in_team":99},
		{"user_id":"c","max_budget_in_team":-1}
	]}`)
	for i, want := range []string{
		`"max_budget":10,"max_budget_source":"member","rpm_limit":7,"success":true`, `"allowed_models":["m"]`, "no member", "twice", `"success":false`,
	} {
		if one := text(row(t, got, i)); !strings.Contains(one, want) {
			t.Errorf("row %d: got %s, want %s", i, one, want)
		}
	}
	got = h.Must("POST", path+"bulk_update", `{"members":[{"user_id":"a","max_budget_in_team":null}]}`)
	if one := row(t, got, 0); one["max_budget"] != nil || one["max_budget_source"] != nil || one["rpm_limit"] != 7.0 {
		t.Errorf("cleared: %v", one)
	}
	got = h.Must("POST", path+"bulk_delete", `{"members":[{"user_id":"a"},{"user_email":"b@x.example"},{"user_id":"nobody"},{"user_id":"b"}]}`)
	for i, want := range []bool{true, true, false, false} {
		if one := row(t, got, i); one["success"] != want {
			t.Errorf("row %d: %v", i, one)
		}
	}
	if left := h.State.TeamMembers("red"); len(left) != 1 || left[0].UserID != "c" {
		t.Errorf("left: %v", left)
	}
}

// What is wrong is said in problem documents, and rights are those of the paths for one.
func TestProblems(t *testing.T) {
	t.Parallel()
	h := adminapitest.New(t)
	h.Must("POST", "/api/v1/teams", `{"id":"red"}`)
	h.Must("POST", "/api/v1/teams", `{"id":"blue"}`)
	admin, user := secretOf(h, "ann", "red", "admin"), secretOf(h, "bob", "red", "user")
	const u, m = "/management/v1/users/", "/management/v1/teams/"
	many := `{"user_ids":["` + strings.Repeat(`x","`, 500) + `x"]}`
	for name, tt := range map[string]struct {
		key, method, path, body string
		status                  int
		kind, says              string
	}{
		"no rows":            {"", "POST", u + "bulk", `{}`, 422, "invalid-request-body", "users"},
		"too many":           {"", "POST", u + "bulk_delete", many, 422, "invalid-request-body", "501 rows"},
		"unknown field":      {"", "POST", u + "bulk", `{"users":[{"user_id":"x","shoe_size":43}]}`, 422, "invalid-request-body", "users[0].shoe_size"},
		"unknown member":     {"", "POST", u + "bulk_delete", `{"user_ids":["x"],"force":true}`, 422, "invalid-request-body", "force"},
		"a null row":         {"", "POST", u + "bulk", `{"users":[null]}`, 422, "invalid-request-body", "users[0]"},
		"no JSON":            {"", "POST", u + "bulk", `{`, 422, "invalid-request-body", ""},
		"unknown parameter":  {"", "GET", u + "me?x=1", "", 400, "unknown-query-parameter", "x"},
		"no team":            {"", "POST", m + "nowhere/members/bulk_delete", `{"members":[{"user_id":"x"}]}`, 404, "not-found", "nowhere"},
		"two names":          {"", "POST", m + "red/members/bulk_delete", `{"members":[{"user_id":"x","user_email":"y"}]}`, 422, "invalid-request-body", "members[0]"},
		"no name":            {"", "POST", m + "red/members/bulk_update", `{"members":[{}]}`, 422, "invalid-request-body", "members[0]"},
		"a role":             {"", "POST", m + "red/members/bulk_update", `{"members":[{"user_id":"ann","role":"user"}]}`, 422, "invalid-request-body", "members[0].role"},
		"his team":           {admin, "POST", m + "red/members/bulk_update", `{"members":[{"user_id":"bob","rpm_limit":1}]}`, 200, "", `"rpm_limit":1`},
		"not his team":       {admin, "POST", m + "blue/members/bulk_update", `{"members":[{"user_id":"bob","rpm_limit":1}]}`, 404, "not-found", ""},
		"no admin":           {user, "POST", m + "red/members/bulk_delete", `{"members":[{"user_id":"ann"}]}`, 403, "forbidden", ""},
		"users of others":    {admin, "POST", u + "bulk", `{"users":[{"user_id":"x"}]}`, 403, "forbidden", ""},
		"budgets of others":  {admin, "GET", "/management/v1/budgets", "", 403, "forbidden", ""},
		"no key":             {"sk-nobody", "GET", u + "me", "", 401, "", ""},
		"operator":           {"", "GET", "/management/v1/budgets?filter[max_budget][in]=1", "", 400, "unsupported-filter-operator", "is_null"},
		"equality":           {"", "GET", "/management/v1/budgets?filter[max_budget]=1", "", 400, "unsupported-filter-operator", "gte"},
		"unknown filter":     {"", "GET", "/management/v1/budgets?filter[colour][in]=1", "", 400, "unknown-query-parameter", "filter[created_at][gte]"},
		"filter's value":     {"", "GET", "/management/v1/budgets?filter[created_at][gte]=soon", "", 400, "invalid-query-parameter", "filter[created_at][gte]"},
		"order":              {"", "GET", "/management/v1/budgets?sort=-colour", "", 400, "invalid-sort-field", "created_at"},
		"page":               {"", "GET", "/management/v1/budgets?page=0", "", 400, "invalid-query-parameter", "page"},
		"facet without time": {"", "GET", "/management/v1/spend_logs/users", "", 400, "invalid-query-parameter", "filter[startTime][gte]"},
		"facet's time":       {"", "GET", "/management/v1/spend_logs/users?filter[startTime][gte]=x&filter[startTime][lte]=y", "", 400, "invalid-query-parameter", "filter[startTime]"},
	} {
		key := tt.key
		if key == "" {
			key = adminapitest.MasterKey
		}
		a := h.Call(key, tt.method, tt.path, tt.body)
		var p struct {
			Type, Title, Detail string
			Status              int
		}
		if err := json.Unmarshal(a.Body, &p); err != nil {
			t.Errorf("%s: %v in %s", name, err, a.Body)
		}
		if a.Status != tt.status || !strings.Contains(string(a.Body), tt.says) {
			t.Errorf("%s: got %d %s", name, a.Status, a.Body)
		}
		if a.Status != 200 && (p.Status != a.Status || p.Title == "" || p.Detail == "" || !strings.HasPrefix(p.Type, "urn:litellm:error:"+tt.kind) ||
			a.Header.Get("Content-Type") != "application/problem+json") {
			t.Errorf("%s: got %s of the type %s", name, a.Body, a.Header.Get("Content-Type"))
		}
	}
}

func TestBudgets(t *testing.T) {
	t.Parallel()
	h := adminapitest.New(t)
	for _, b := range []string{
		`{"id":"b1","name":"gold","terms":{"usd":100,"per":"month"}}`, `{"id":"b2","name":"silver","terms":{"usd":20,"per":"day"}}`,
		`{"id":"b3","name":"iron","terms":{"usd":3,"per":"total"}}`,
	} {
		h.Must("POST", "/api/v1/budgets", b)
		h.Advance(1e9)
	}
	h.Must("POST", "/budget/new", `{"budget_id":"soft","soft_budget":1,"max_budget":null,"budget_duration":"1d"}`)
	soft := ""
	for _, b := range h.State.Catalog().Tables().Budgets {
		if b.Name == "soft" {
			soft = b.ID
		}
	}
	ids := func(query string) string {
		got := h.Must("GET", "/management/v1/budgets?"+query, "")
		var out []string
		for i := range got["data"].([]any) {
			out = append(out, strings.ReplaceAll(row(t, got, i)["budget_id"].(string), soft, "soft"))
		}
		return strings.Join(out, " ")
	}
	for query, want := range map[string]string{
		"":                           "soft b3 b2 b1",
		"sort=created_at":            "b1 b2 b3 soft",
		"sort=max_budget":            "b3 b2 b1 soft",
		"sort=-max_budget,budget_id": "b1 b2 b3 soft",
		"q=GOLD":                     "b1",
		"sort=budget_id&filter[budget_duration][in]=1d, 30d&q=b": "b1 b2",
		"filter[budget_duration][is_null]=true":                  "b3",
		"filter[max_budget][gte]=20&sort=max_budget":             "b2 b1",
		"filter[max_budget][lte]=20&sort=max_budget":             "b3 b2",
		"filter[max_budget][is_null]=true":                       "soft",
		"filter[created_at][lte]=2026-03-11T10:00:00Z":           "b1",
		"sort=created_at&page=2&page_size=3":                     "soft",
		"page=9":                                                 "",
	} {
		if got := ids(strings.ReplaceAll(query, " ", "%20")); got != want {
			t.Errorf("%s: got %q, want %q", query, got, want)
		}
	}
	got := h.Must("GET", "/management/v1/budgets?page=2&page_size=1", "")
	if text(got["meta"]) != `{"page":2,"page_size":1,"total_count":4,"total_pages":4}` {
		t.Errorf("meta: %v", got["meta"])
	}
	if links := got["links"].(map[string]any); links["next"] != "/management/v1/budgets?page=3&page_size=1" || links["last"] != "/management/v1/budgets?page=4&page_size=1" {
		t.Errorf("links: %v", links)
	}
}

// Where the cluster has no leader, the rows that are left are not waited for one by one.
func TestBulk_NoLeader(t *testing.T) {
	t.Parallel()
	h := adminapitest.New(t)
	h.Must("POST", "/api/v1/teams", `{"id":"red"}`)
	for _, id := range []string{"a", "b", "c"} {
		h.Must("POST", "/team/member_add", `{"team_id":"red","member":{"user_id":"`+id+`","role":"user"}}`)
	}
	asked := 0
	h.Down, h.Proposing = resource.ErrNoLeader, func() { asked++ }
	for path, body := range map[string]string{
		"users/bulk": `{"users":[{"user_id":"x"},{"user_id":"y"},{"user_id":"z"}]}`, "teams/red/members/bulk_update": `{"members":[{"user_id":"a","rpm_limit":1},{"user_id":"b","rpm_limit":1},{"user_id":"c","rpm_limit":1}]}`,
	} {
		asked = 0
		got := h.Must("POST", "/management/v1/"+path, body)
		for i := range 3 {
			if one := row(t, got, i); one["success"] != false || one["error"] == nil {
				t.Errorf("%s, row %d: %v", path, i, one)
			}
		}
		if asked != 1 {
			t.Errorf("%s: the cluster was asked %d times, want once", path, asked)
		}
	}
	if a := h.Call(adminapitest.MasterKey, "POST", "/management/v1/users/bulk_delete", `{"user_ids":["a"]}`); a.Status != 503 || a.Header.Get("Retry-After") == "" ||
		!strings.Contains(string(a.Body), "urn:litellm:error:no-leader") {
		t.Errorf("got %d %s", a.Status, a.Body)
	}
}
