package litellm_test

import (
	"fmt"
	"testing"

	"github.com/conclave-llm/conclave/adminapi/adminapitest"
	"github.com/conclave-llm/conclave/resource"
)

func TestUserBulkUpdate(t *testing.T) {
	t.Parallel()
	h := adminapitest.New(t)
	for _, id := range []string{"a", "b"} {
		h.Must("POST", "/user/new", fmt.Sprintf(`{"user_id":%q,"user_email":"%s@x.example","auto_create_key":false}`, id, id))
	}
	budget := func(id string) any {
		return h.Must("GET", "/v2/user/info?user_id="+id, "")["max_budget"]
	}
	got := h.Must("POST", "/user/bulk_update", `{"users":[{"user_id":"a","max_budget":5},{"user_email":"b@x.example","max_budget":"much"},{"user_id":"nobody","max_budget":5}]}`)
	if got["total_requested"] != 3.0 || got["successful_updates"] != 1.0 || got["failed_updates"] != 2.0 {
		t.Errorf("got %v", got)
	}
	for i, want := range []bool{true, false, false} {
		one, _ := got["results"].([]any)[i].(map[string]any)
		if one["success"] != want || (one["error"] == nil) != want || (one["updated_user"] == nil) == want {
			t.Errorf("result %d: got %v", i, one)
		}
	}
	if budget("a") != 5.0 || budget("b") != nil {
		t.Errorf("budgets: got %v and %v", budget("a"), budget("b"))
	}
	if got := h.Must("POST", "/user/bulk_update", `{"all_users":true,"user_updates":{"max_budget":7}}`); got["successful_updates"] != 2.0 || budget("a") != 7.0 || budget("b") != 7.0 {
		t.Errorf("all: got %v, %v, %v", got, budget("a"), budget("b"))
	}
	for _, bad := range []string{
		`{}`, `{"users":[]}`, `{"all_users":true}`, `{"users":[{"user_id":"a"}],"all_users":true}`,
		`{"users":[{"user_id":"a"}],"user_updates":{"max_budget":1}}`, `{"all_users":true,"user_updates":{"user_id":"a"}}`,
	} {
		if a := h.Call(adminapitest.MasterKey, "POST", "/user/bulk_update", bad); a.Status != 400 {
			t.Errorf("%s: got %d %s", bad, a.Status, a.Body)
		}
	}
	key, _ := h.Must("POST", "/key/generate", `{"user_id":"a"}`)["key"].(string)
	if a := h.Call(key, "POST", "/user/bulk_update", `{"users":[{"user_id":"b","max_budget":99}]}`); a.Status != 403 || budget("b") != 7.0 {
		t.Errorf("a user changes another: %d %s", a.Status, a.Body)
	}
	if got := h.Must("GET", "/user/available_users", ""); got["total_users_used"] != 2.0 || got["total_teams_used"] != 0.0 || got["total_users"] != nil {
		t.Errorf("available users: got %v", got)
	}
	roles := h.Must("GET", "/user/available_roles", "")
	for _, role := range resource.UserRoles {
		words, _ := roles[string(role)].(map[string]any)
		if words["ui_label"] == "" || words["ui_label"] == nil || words["description"] == nil {
			t.Errorf("%s: got %v", role, words)
		}
	}
}
