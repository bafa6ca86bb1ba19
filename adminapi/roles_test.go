package adminapi_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/adminapi"
	"github.com/conclave-llm/conclave/adminapi/adminapitest"
	"github.com/conclave-llm/conclave/resource"
)

// TestRoles asks every route with a key of every role, and with keys of somebody else.
func TestRoles(t *testing.T) {
	t.Parallel()
	h := adminapitest.New(t)
	secret := func(name, extra string) string {
		s, _ := h.Must("POST", "/api/v1/keys", fmt.Sprintf(`{"id":%q,"name":%q%s}`, name, name, extra))["secret"].(string)
		return s
	}
	h.Must("POST", "/api/v1/teams", `{"id":"mine"}`)
	h.Must("POST", "/api/v1/teams", `{"id":"theirs"}`)
	viewer := secret("viewer", `,"role":"proxy_admin_viewer"`)
	client := secret("client", `,"team_id":"mine"`)
	secret("other", `,"team_id":"theirs"`)

	own := []string{
		"get-key", "get-team", "get-organization", "get-project", "get-user", "explain-key",
		"litellm-organization-info", "litellm-project-info", "litellm-user-info", "litellm-v2-user-info", "litellm-key-info", "litellm-team-info", "get-schema",
	}
	ofOneself := []string{"pick-up-key", "delete-mcp-grant", "litellm-mcp-forget"} // which "other" is not
	for _, r := range h.API.Routes() {                                             // what was spent is bounded to the key where it is asked for, see TestRequests_own
		if adminapi.ReadsOwn(r.ID) && !slices.Contains(own, r.ID) {
			own = append(own, r.ID)
		}
		path := strings.ReplaceAll(r.Pattern, "{id}", "other")
		if a := h.Call("", r.Method, path, ""); a.Status != 401 {
			t.Errorf("%s without a key: got %d", r.ID, a.Status)
		}
		if a := h.Call(viewer, r.Method, path, "{}"); r.Method != "GET" && !slices.Contains(adminapi.Asks, r.ID) && a.Status != 403 && (!slices.Contains(ofOneself, r.ID) || a.Status != 404) {
			t.Errorf("%s by a viewer: got %d %s", r.ID, a.Status, a.Body)
		}
		if a := h.Call(client, r.Method, path, "{}"); !slices.Contains(own, r.ID) && a.Status != 403 {
			t.Errorf("%s by a client: got %d %s", r.ID, a.Status, a.Body)
		}
	}
	for path, want := range map[string]int{
		"/api/v1/keys/client": 200, "/api/v1/keys/other": 404, "/key/info": 200, "/key/info?key=other": 404,
		"/api/v1/teams/mine": 200, "/api/v1/teams/theirs": 404, "/team/info?team_id=theirs": 404, "/team/info": 200,
	} {
		if a := h.Call(client, "GET", path, ""); a.Status != want {
			t.Errorf("%s by a client: got %d, want %d", path, a.Status, want)
		}
	}
	if a := h.Call(client, "GET", "/team/info", ""); strings.Contains(string(a.Body), resource.HintOf(client)) {
		t.Error("a client sees the keys of its team")
	}
}

func TestStale(t *testing.T) {
	t.Parallel()
	h := adminapitest.New(t)
	admin, _ := h.Must("POST", "/api/v1/keys", `{"role":"proxy_admin"}`)["secret"].(string)
	client, _ := h.Must("POST", "/api/v1/keys", `{}`)["secret"].(string)
	h.Stale = fmt.Errorf("no leader heard for %s", 15*time.Second)
	for key, want := range map[string]int{admin: 503, client: 200, adminapitest.MasterKey: 400} {
		if a := h.Call(key, "GET", "/key/info", ""); a.Status != want {
			t.Errorf("got %d, want %d: %s", a.Status, want, a.Body)
		}
	}
	h.Down = fmt.Errorf("propose: %w", resource.ErrNoLeader)
	if a := h.Call(adminapitest.MasterKey, "POST", "/api/v1/teams", `{"name":"x"}`); a.Status != http.StatusServiceUnavailable || a.Object(t)["code"] != "no_leader" {
		t.Errorf("without a leader: got %d %s", a.Status, a.Body)
	}
}
