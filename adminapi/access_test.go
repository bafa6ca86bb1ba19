package adminapi_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/adminapi/adminapitest"
)

// TestRaise raises budgets for a time: with an end, a reason, by somebody else and within his
// cap.
func TestRaise(t *testing.T) {
	t.Parallel()
	h := adminapitest.New(t)
	h.Must("POST", "/api/v1/users", `{"id":"ada","email":"ada@example.org"}`)
	h.Must("POST", "/api/v1/teams", `{"id":"t"}`)
	h.Must("POST", "/api/v1/teams/t/members", `{"user_id":"ada","budgets":[{"usd":10,"per":"day"}]}`)
	h.Must("POST", "/api/v1/keys", `{"name":"k","user_id":"ada","budgets":[{"usd":10,"per":"day"}]}`)
	secret := func(body string) string {
		s, _ := h.Must("POST", "/api/v1/keys", body)["secret"].(string)
		return s
	}
	capped := secret(`{"name":"capped","role":"proxy_admin","increase_cap":20,"budgets":[{"usd":5,"per":"day"}]}`)
	ada := secret(`{"name":"ada","role":"proxy_admin","user_id":"ada"}`)
	viewer := secret(`{"name":"viewer","role":"proxy_admin_viewer"}`)
	past, later := h.Clock().Add(-time.Hour).Format(time.RFC3339), h.Clock().Add(time.Hour).Format(time.RFC3339)
	const key, member, theirKey, theirMember = "/api/v1/keys/k/raise", "/api/v1/teams/t/members/ada/raise", "/key/update", "/team/member_update"
	for _, tt := range []struct {
		name, key, path, body string
		status                int
		says                  string
	}{
		{"no end", adminapitest.MasterKey, key, `{"amount":5,"reason":"r"}`, 400, `"until"`},
		{"past", adminapitest.MasterKey, key, `{"amount":5,"reason":"r","until":"` + past + `"}`, 400, `"until"`},
		{"negative", adminapitest.MasterKey, key, `{"amount":-5,"reason":"r","for":"1h"}`, 400, `"amount"`},
		{"no reason", adminapitest.MasterKey, key, `{"amount":5,"for":"1h"}`, 400, `"reason"`},
		{"no such budget", adminapitest.MasterKey, key, `{"amount":5,"for":"1h","reason":"r","budget":"x"}`, 400, `"budget"`},
		{"by a viewer", viewer, key, `{"amount":5,"for":"1h","reason":"r"}`, 403, "may not"},
		{"his own key", ada, key, `{"amount":5,"for":"1h","reason":"r"}`, 403, "his own"},
		{"himself", capped, "/api/v1/keys/capped/raise", `{"amount":5,"for":"1h","reason":"r"}`, 403, "his own"},
		{"his own place", ada, member, `{"amount":5,"for":"1h","reason":"r"}`, 403, "his own"},
		{"above the cap", capped, key, `{"amount":21,"for":"1h","reason":"r"}`, 403, "above"},
		{"above the cap, member", capped, member, `{"amount":21,"for":"1h","reason":"r"}`, 403, "above"},
		{"LiteLLM, no end", adminapitest.MasterKey, theirKey, `{"key":"k","temp_budget_increase":5}`, 400, "temp_budget_expiry"},
		{"LiteLLM, no amount", adminapitest.MasterKey, theirKey, `{"key":"k","temp_budget_expiry":"` + later + `"}`, 400, "temp_budget_increase"},
		{"LiteLLM, past", adminapitest.MasterKey, theirKey, `{"key":"k","temp_budget_increase":5,"temp_budget_expiry":"` + past + `"}`, 400, "temp_budget_expiry"},
		{"LiteLLM, negative", adminapitest.MasterKey, theirKey, `{"key":"k","temp_budget_increase":-5,"temp_budget_expiry":"` + later + `"}`, 400, "temp_budget_increase"},
		{"LiteLLM, member, past", adminapitest.MasterKey, theirMember, `{"team_id":"t","user_id":"ada","temp_budget_increase":5,"temp_budget_expiry":"` + past + `"}`, 400, "temp_budget_expiry"},
		{"LiteLLM, his own", ada, theirKey, `{"key":"k","temp_budget_increase":5,"temp_budget_expiry":"` + later + `"}`, 403, "his own"},
		{"LiteLLM, above the cap", capped, theirMember, `{"team_id":"t","user_id":"ada","temp_budget_increase":21,"temp_budget_expiry":"` + later + `"}`, 403, "above"},
		{"within the cap", capped, key, `{"amount":20,"for":"1h","reason":"launch"}`, 200, `"reason":"launch"`},
		{"member", capped, member, `{"amount":20,"for":"1h","reason":"launch"}`, 200, `"by":"key/`},
		{"LiteLLM", adminapitest.MasterKey, theirKey, `{"key":"k","temp_budget_increase":25,"temp_budget_expiry":"` + later + `"}`, 200, `"temp_budget_increase":25`},
		{"an edit of somebody with a smaller cap keeps it", capped, "/key/update", `{"key":"k","rpm_limit":7}`, 200, `"temp_budget_increase":25`},
		{"end", adminapitest.MasterKey, key, `{"amount":0}`, 200, `"usd":10`},
	} {
		got := h.Call(tt.key, "POST", tt.path, tt.body)
		if got.Status != tt.status || !strings.Contains(string(got.Body), tt.says) {
			t.Errorf("%s: got %d %s, want %d with %s", tt.name, got.Status, got.Body, tt.status, tt.says)
		}
	}
	if k := h.Call(adminapitest.MasterKey, "GET", "/api/v1/keys/k", ""); strings.Contains(string(k.Body), `"increase"`) {
		t.Errorf("the increase has not ended: %s", k.Body)
	}
}

// TestKeyTypes asks with a key of every type.
func TestKeyTypes(t *testing.T) {
	t.Parallel()
	h := adminapitest.New(t)
	for _, tt := range []struct {
		name, kind, role string
		status           map[string]int // by method and path
	}{
		{"any", "default", "proxy_admin", map[string]int{"GET /key/info": 200, "GET /api/v1/keys": 200, "POST /api/v1/teams": 201}},
		{"inference", "llm_api", "proxy_admin", map[string]int{"GET /key/info": 403, "GET /api/v1/keys": 403, "POST /api/v1/teams": 403}},
		{"management", "management", "proxy_admin", map[string]int{"GET /key/info": 200, "GET /api/v1/keys": 200, "POST /api/v1/teams": 201}},
		{"reads, an admin", "read_only", "proxy_admin", map[string]int{"GET /key/info": 200, "GET /api/v1/keys": 200, "POST /api/v1/teams": 403}},
		{"reads, nobody", "read_only", "", map[string]int{"GET /key/info": 200, "GET /api/v1/keys": 403, "POST /api/v1/teams": 403}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			made := h.Must("POST", "/key/generate", fmt.Sprintf(`{"key_type":%q}`, tt.kind))
			secret, _ := made["key"].(string)
			if made["key_type"] != tt.kind {
				t.Errorf("got key_type %v", made["key_type"])
			}
			h.Must("PATCH", fmt.Sprint("/api/v1/keys/", made["id"]), fmt.Sprintf(`{"role":%q}`, tt.role))
			for call, want := range tt.status {
				method, path, _ := strings.Cut(call, " ")
				if got := h.Call(secret, method, path, "{}"); got.Status != want {
					t.Errorf("%s: got %d %s, want %d", call, got.Status, got.Body, want)
				}
			}
		})
	}
}

// TestKeyAccess stores what a key may do, and refuses what nobody knows or its grantor lacks.
func TestKeyAccess(t *testing.T) {
	t.Parallel()
	h := adminapitest.New(t)
	for _, name := range []string{"a", "b"} {
		h.Must("POST", "/api/v1/mcp/servers", `{"name":"`+name+`","transport":"http","url":"https://mcp.example.org"}`)
	}
	h.Must("POST", "/api/v1/prompts", `{"name":"p","versions":[{"messages":[{"role":"user","content":"hi"}]}]}`)
	grantor, _ := h.Must("POST", "/api/v1/keys", `{"name":"grantor","role":"proxy_admin","permissions":{"get_spend_routes":false},"increase_cap":5,
		"passthrough_routes":["/vendor/*"],"denied_passthrough_routes":["/vendor/admin"],"prompts":["p"],"cache_controls":["ttl"],"objects":{"mcp_servers":["a"],"blocked_tools":["x"]}}`)["secret"].(string)
	const granted = `{"allowed_passthrough_routes":["/vendor/x"],"denied_passthrough_routes":["/vendor/admin"],"prompts":["p"],"allowed_cache_controls":["ttl"],"object_permission":{"mcp_servers":["a"],"blocked_tools":["x","y"]}`
	for _, tt := range []struct {
		name, key, path, body string
		status                int
		says                  string
	}{
		{"unknown permission", adminapitest.MasterKey, "/key/generate", `{"permissions":{"fly":true}}`, 400, "permissions.fly"},
		{"unknown cache control", adminapitest.MasterKey, "/key/generate", `{"allowed_cache_controls":["forever"]}`, 400, `"allowed_cache_controls[0]"`},
		{"no path", adminapitest.MasterKey, "/key/generate", `{"allowed_passthrough_routes":["vendor"]}`, 400, `"allowed_passthrough_routes[0]"`},
		{"unknown object", adminapitest.MasterKey, "/key/generate", `{"object_permission":{"planes":["a"]}}`, 400, "planes"},
		{"models of objects", adminapitest.MasterKey, "/key/generate", `{"object_permission":{"models":["m"]}}`, 400, "object_permission.models"},
		{"unknown type", adminapitest.MasterKey, "/api/v1/keys", `{"type":"root"}`, 400, "type"},
		{"all of it", adminapitest.MasterKey, "/key/generate", granted + `,"permissions":{"get_spend_routes":true}}`, 200, `"mcp_servers":["a"]`},
		{"more paths", grantor, "/api/v1/keys", `{"passthrough_routes":["/other"],"cache_controls":["ttl"],"objects":{"mcp_servers":["a"]},"prompts":["p"]}`, 400, "passthrough_routes"},
		{"nothing said is everything", grantor, "/api/v1/keys", `{"prompts":["p"]}`, 400, `"cache_controls"`},
		{"denial left out", grantor, "/key/generate", strings.Replace(granted, `["/vendor/admin"]`, `[]`, 1) + `}`, 400, "denied_passthrough_routes"},
		{"more objects", grantor, "/key/generate", strings.Replace(granted, `["a"]`, `["a","b"]`, 1) + `}`, 400, `"object_permission.mcp_servers"`},
		{"no cap", grantor, "/key/generate", granted + `}`, 400, "increase_cap"},
		{"denied permission", grantor, "/key/generate", granted + `,"permissions":{"get_spend_routes":true}}`, 400, "permissions.get_spend_routes"},
		{"as much", grantor, "/api/v1/keys", `{"passthrough_routes":["/vendor/x"],"denied_passthrough_routes":["/vendor/admin"],"prompts":["p"],"cache_controls":["ttl"],
			"objects":{"mcp_servers":["a"],"blocked_tools":["x"]},"increase_cap":5}`, http.StatusCreated, `"increase_cap":5`},
	} {
		got := h.Call(tt.key, "POST", tt.path, tt.body)
		if got.Status != tt.status || !strings.Contains(string(got.Body), tt.says) {
			t.Errorf("%s: got %d %s, want %d with %s", tt.name, got.Status, got.Body, tt.status, tt.says)
		}
	}
}
