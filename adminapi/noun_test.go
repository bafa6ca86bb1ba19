package adminapi_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/conclave-llm/conclave/adminapi/adminapitest"
	"github.com/conclave-llm/conclave/adminapi/client"
)

var update = flag.Bool("update", false, "write docs/api/openapi.json")

// full is one record of each kind with every field that a client may write.
var full = []struct {
	plural, name, body string
	needs              []string // fields that cannot be removed
}{
	{"budgets", "b1", `{"name":"b1","terms":{"name":"x","usd":1.5,"per":"week","zone":"Europe/Paris","strict":true,"clamp":true,"overdraft":0.1,"no_quorum":"share","unpriced":"deny"}}`, []string{"name", "terms"}},
	{"organizations", "o1", `{"name":"o1","models":["a","b*","c"],"budgets":[{"tokens":1000,"usd":0,"per":"day","every":3}],"limits":{"input_tpm":1,"output_tpm":2},"allowed_ips":["10.0.0.0/8"],"metadata":{"a":1}}`, []string{"name"}},
	{"teams", "t1", `{"name":"t1","organization_id":"o1","aliases":{"x":"a"},"denied_ips":["10.1.0.0/16"],"allowed_ips":["10.0.0.1"],"enforced_params":["user"],"guardrails":["g1"],"callbacks":["cb1"],"sessions":{"budget":1},"log_content":false,"max_request_mb":1,"max_response_mb":2,"model_limits":{"a":{"rpm":1}},"models":["a","b*"],"budget_id":"b1","budgets":[{"usd":3,"per":"day"}],"limits":{"rpm":1,"tpm":2,"parallel":3},"tags":["x"],"metadata":{"k":[1.50,null]}}`, nil},
	{"projects", "p1", `{"name":"p1","description":"d","team_id":"t1","models":["a"],"tags":["z"]}`, []string{"name", "team_id"}},
	{"users", "u1@example.org", `{"id":"u1","name":"Ada","email":"u1@example.org","role":"internal_user_viewer","organization_id":"o1","service_account":true,"budgets":[{"usd":100}]}`, nil},
	{"customers", "tenant/7", `{"id":"tenant/7","name":"Seven","default_model":"a","region":"eu","budget_id":"b1"}`, nil},
	{"tags", "team/prod", `{"id":"team/prod","description":"d","budgets":[{"requests":5,"usd":0,"per":"hour"}]}`, nil},
	{"keys", "k1", `{"name":"k1","team_id":"t1","user_id":"u1","role":"proxy_admin_viewer","models":["a"],"routes":["/v1/*"],"budget_id":"b1","budgets":[{"usd":0.000000001,"per":"hour"}],"limits":{"rpm":0},"tags":["y"],"expires_at":"2027-01-01T00:00:00Z","metadata":{"n":12345678901234567890}}`, nil},
	{"credentials", "c1", `{"name":"c1","provider":"openai","api_key":"canary-credential","api_base":"https://example.org/v1"}`, []string{"name"}},
	{"models", "m/1", `{"name":"m/1","strategy":"latency","fallbacks":["m2"],"retries":0,"timeout_ms":5000,"metadata":{"a":1}}`, []string{"name"}},
	{"deployments", "d1", `{"name":"d1","model_id":"m/1","provider":"openai","api_base":"http://127.0.0.1:1/v1","model":"up","credential_id":"c1","api_key":"canary-deployment","weight":0,"order":2,"limits":{"parallel":1},"price":{"input":0.15,"output":0.6,"cache_read":0.01,"request":0.5},"timeout_ms":100,"blocked":true,"metadata":{"a":1}}`, []string{"model_id", "provider"}},
	{"plugins", "p1", `{"name":"p1","kind":"guardrail","path":"/opt/p1","sha256":"` + strings.Repeat("0a", 32) + `","mtls":false}`, []string{"name", "kind", "path", "sha256"}},
	{"guardrails", "g1", `{"name":"g1","plugin":"p1","hooks":["before","after"],"on_error":"pass","deadline_ms":50,"models":["a"],"optional":true,"config":{"words":["x"]}}`, []string{"name", "plugin"}},
	{"mcp/servers", "git", `{"name":"git","alias":"g","transport":"http","url":"https://x.example/mcp","auth":"api_key","auth_header":"X-K","headers":{"X-A":"b"},"forward_headers":["X-B"],"allowed_tools":["a"],"cost_per_call":0.25,"tool_costs":{"a":1},"access_groups":["code"],"timeout_ms":50,"parallel":3}`, []string{"name", "url", "auth", "transport"}},
	{"pass-through-endpoints", "search", `{"name":"search","path":"/tools/search","target":"https://x.example/s","include_subpath":true,"methods":["GET"],"headers":{"X-A":"b"},"forward_headers":true,"query":{"a":"b"},"cost_per_request":0.25,"guardrails":["g1"],"timeout_ms":50}`, []string{"name", "path", "target"}},
	{"auths", "idp", `{"name":"idp","plugin":"mine","mode":"auto","on_error":"pass","routes":["/v1/*"],"headers":["X-User"],"cache_seconds":30,"config":{"a":1},"deadline_ms":50,"instances":2,"memory_mb":64}`, []string{"name", "plugin"}},
	{"router_filters", "near", `{"name":"near","plugin":"mine","on_error":"pass","models":["a"],"config":{"a":1},"deadline_ms":50,"instances":2,"memory_mb":64}`, []string{"name", "plugin", "deadline_ms"}},
	{"access-groups", "eng", `{"name":"eng","description":"d","models":["a"],"mcp_servers":["git"],"mcp_tool_permissions":{"mail":["send"]}}`, []string{"name"}},
	{"callbacks", "cb1", `{"name":"cb1","plugin":"file","config":{"path":"x"}}`, []string{"name", "plugin", "config"}},
	{"settings", "key_header", `{"id":"key_header","value":"x-my-key"}`, []string{"id", "value"}},
}

// writable are the members of a record that a client may write.
func writable(record map[string]any) []string {
	var names []string
	for name := range record {
		switch name {
		case "id", "created_at", "created_by", "updated_at", "updated_by", "version", "hash", "hint", "spend", "accounts", "secret", "deployments", "type", "default", "help", "unset":
		default:
			names = append(names, name)
		}
	}
	return names
}

// TestNouns_removeFields creates, reads and edits a record of every kind, and removes each
// of its optional fields, by PATCH and by PUT.
func TestNouns_removeFields(t *testing.T) {
	t.Parallel()
	h := adminapitest.New(t)
	for _, n := range full {
		h.Must("POST", "/api/v1/"+n.plural, n.body)
	}
	for _, n := range full {
		t.Run(n.plural, func(t *testing.T) {
			h.T = t
			path := "/api/v1/" + n.plural + "/" + url.PathEscape(n.name)
			got := h.Must("GET", path, "")
			var given map[string]any
			if err := json.Unmarshal([]byte(n.body), &given); err != nil {
				t.Fatal(err)
			}
			for name := range given {
				if _, ok := got[name]; !ok && name != "secret" {
					t.Errorf("field %s was given and is not shown: %v", name, got)
				}
			}
			for _, name := range writable(got) {
				if strings.Contains(strings.Join(n.needs, " "), name) || name == "api_base" {
					continue // to move the address takes the secret again: TestSecrets_neverShown
				}
				before := h.Call(adminapitest.MasterKey, "GET", path, "").Object(t)
				patched := h.Must("PATCH", path, fmt.Sprintf(`{%q:null}`, name))
				path = "/api/v1/" + n.plural + "/" + url.PathEscape(patched["id"].(string)) // the name may be what is gone
				if v, ok := patched[name]; ok && v != defaults[name] {
					t.Errorf("PATCH of %s: still %v", name, v)
				}
				before["version"] = patched["version"]
				if _, ok := before["api_key"]; ok && name == "api_key" {
					before["api_key"] = "canary-again"
				}
				body, err := json.Marshal(before)
				if err != nil {
					t.Fatal(err)
				}
				h.Must("PUT", path, string(body))
				delete(before, name)
				before["version"] = h.Must("GET", path, "")["version"]
				if body, err = json.Marshal(before); err != nil {
					t.Fatal(err)
				}
				replaced := h.Must("PUT", path, string(body))
				if v, ok := replaced[name]; ok && v != defaults[name] {
					t.Errorf("PUT without %s: still %v", name, v)
				}
			}
		})
	}
}

// defaults are what fields come back as when they are removed.
var defaults = map[string]any{"mode": "unknown", "cache_seconds": 60.0, "strategy": "simple_shuffle", "on_error": "block", "deadline_ms": 1000.0, "expires_at": nil, "role": "internal_user"}

// TestSecrets_neverShown reads everything that can be read and looks for what was sealed.
func TestSecrets_neverShown(t *testing.T) {
	t.Parallel()
	h := adminapitest.New(t)
	for _, n := range full {
		h.Must("POST", "/api/v1/"+n.plural, n.body)
	}
	for _, r := range h.API.Routes() {
		if r.Method != "GET" {
			continue
		}
		for _, id := range []string{"k1", "c1", "d1", "t1", "m%2F1"} {
			a := h.Call(adminapitest.MasterKey, "GET", strings.ReplaceAll(r.Pattern, "{id}", id), "")
			if bytes.Contains(a.Body, []byte("canary")) || bytes.Contains(a.Body, []byte("box of")) {
				t.Errorf("%s %s shows a secret: %s", r.ID, id, a.Body)
			}
			if a.Status == 500 {
				t.Errorf("%s %s: got %s", r.ID, id, a.Body)
			}
		}
	}
	d := h.Must("GET", "/api/v1/deployments/d1", "")
	a := h.Call(adminapitest.MasterKey, "PATCH", "/api/v1/deployments/d1", `{"api_base":"http://evil.example/v1"}`)
	if a.Status != 400 || !strings.Contains(string(a.Body), "api_key") {
		t.Errorf("a stored secret was sent elsewhere: %d %s", a.Status, a.Body)
	}
	h.Must("PATCH", "/api/v1/deployments/d1", `{"api_base":"http://127.0.0.1:1/v2"}`)
	after := h.Must("PATCH", "/api/v1/deployments/d1", `{"api_base":"http://other.example/v1","api_key":"canary-new"}`)
	if diff := cmp.Diff(d["api_key"], after["api_key"]); diff == "" {
		t.Error("a new secret has the old fingerprint")
	}
	a = h.Call(adminapitest.MasterKey, "PATCH", "/api/v1/credentials/c1", `{"api_key":{"fingerprint":"00000000"}}`)
	if a.Status != 400 {
		t.Errorf("foreign fingerprint: got %d %s", a.Status, a.Body)
	}
}

func TestList(t *testing.T) {
	t.Parallel()
	h := adminapitest.New(t)
	c, ctx := h.Client(adminapitest.MasterKey), t.Context()
	for i := range 23 {
		h.Must("POST", "/api/v1/teams", fmt.Sprintf(`{"name":"team %02d"}`, i))
		h.Must("POST", "/api/v1/keys", fmt.Sprintf(`{"name":"key %02d","team_id":"team %02d"}`, i, i%2))
	}
	for _, sort := range []string{"name", "-name", "created_at", "-created_at", "id", "-id"} {
		all, err := c.Teams().All(ctx, client.Query{Limit: 5, Sort: sort})
		if err != nil || len(all) != 23 {
			t.Fatalf("sorted by %s: got %d teams, %v", sort, len(all), err)
		}
		seen := map[string]bool{}
		for _, team := range all {
			seen[team.ID] = true
		}
		if len(seen) != 23 {
			t.Errorf("sorted by %s: %d different teams", sort, len(seen))
		}
		if first := all[0].Name; (sort == "name" && first != "team 00") || (sort == "-name" && first != "team 22") {
			t.Errorf("sorted by %s: first is %s", sort, first)
		}
	}
	page, err := c.Teams().List(ctx, client.Query{Limit: 5, Q: "TEAM 1"})
	if err != nil || page.Total != 10 || len(page.Items) != 5 || page.NextCursor == "" {
		t.Errorf("filtered: got %d of %d, %v", len(page.Items), page.Total, err)
	}
	keys, err := c.Keys().All(ctx, client.Query{Limit: 4, Sort: "name", More: url.Values{"team_id": {"team 01"}}})
	if err != nil || len(keys) != 11 || keys[0].Name != "key 01" {
		t.Errorf("keys of a team: got %d, %v", len(keys), err)
	}
	_, err = c.Teams().List(ctx, client.Query{Cursor: "***"})
	wantProblem(t, err, 400, "invalid")
}

// TestStatuses walks through the life of a key and a team.
func TestStatuses(t *testing.T) {
	t.Parallel()
	h := adminapitest.New(t)
	for _, tt := range []struct {
		method, path, body string
		status             int
		shows              string // member of the answer; "": no body
	}{
		{"POST", "/keys", `{"id":"k"}`, 201, "secret"},
		{"POST", "/teams", `{"id":"t"}`, 201, "id"},
		{"GET", "/keys", "", 200, "items"},
		{"GET", "/keys?sort=-created_at", "", 200, "items"},
		{"GET", "/keys?sort=size", "", 400, "fields"},
		{"GET", "/keys/k", "", 200, "id"},
		{"POST", "/keys/k/block", "", 200, "blocked"},
		{"POST", "/keys/k/unblock", "", 200, "version"},
		{"POST", "/teams/t/block", "", 200, "blocked"},
		{"POST", "/teams/t/unblock", "", 200, "version"},
		{"POST", "/keys/x/block", "", 404, "code"},
		{"POST", "/keys/k/rotate", `{}`, 200, "secret"},
		{"PATCH", "/keys/k", `{"name":"n"}`, 200, "name"},
		{"PUT", "/keys/k", `{"name":"n"}`, 428, "hint"},
		{"POST", "/keys", `{"name":"n"}`, 409, "code"},
		{"DELETE", "/keys/k", "", 204, ""},
		{"DELETE", "/keys/k", "", 404, "code"},
		{"DELETE", "/teams/t", "", 204, ""},
		{"POST", "/cluster/join-tokens", `{}`, 201, "token"},
		{"POST", "/cluster/transfer", `{}`, 200, "votes"},
		{"DELETE", "/cluster/nodes/n2", "", 200, "votes"},
		{"POST", "/cluster/rotate/node-certs?dry_run=true", `{}`, 200, "kind"},
		{"POST", "/cluster/rotate/node-certs", `{"overlap":"31d"}`, 400, "code"},
		{"POST", "/cluster/rotate/node-certs", `{}`, 409, "code"},
		{"POST", "/cluster/rotate/kek", `{}`, 409, "code"},
		{"POST", "/cluster/rotate/salt", `{}`, 400, "code"},
		{"GET", "/cluster/rotate", "", 200, "items"},
	} {
		a := h.Call(adminapitest.MasterKey, tt.method, "/api/v1"+tt.path, tt.body)
		if a.Status != tt.status || (tt.shows == "") != (len(a.Body) == 0) {
			t.Errorf("%s %s: got %d %s, want %d", tt.method, tt.path, a.Status, a.Body, tt.status)
			continue
		}
		if tt.shows == "" {
			continue
		}
		if _, ok := a.Object(t)[tt.shows]; !ok {
			t.Errorf("%s %s: got %s, want a member %s", tt.method, tt.path, a.Body, tt.shows)
		}
	}
}

func TestModel_withDeployments(t *testing.T) {
	t.Parallel()
	h := adminapitest.New(t)
	index := h.State.Applied()
	m := h.Must("POST", "/api/v1/models", `{"name":"m","deployments":[{"name":"d1","provider":"openai"},{"name":"d2","provider":"openai","api_key":"s"}]}`)
	if deployments, _ := m["deployments"].([]any); len(deployments) != 2 || h.State.Applied() != index+1 {
		t.Errorf("got %d deployments in %d entries, want 2 in one", len(deployments), h.State.Applied()-index)
	}
	if d := h.Must("GET", "/api/v1/deployments/m%2Fd2", ""); d["model_id"] != m["id"] {
		t.Errorf("m/d2: got %v", d)
	}
	a := h.Call(adminapitest.MasterKey, "POST", "/api/v1/models", `{"name":"n","deployments":[{"name":"d1"}]}`)
	if a.Status != 400 || !strings.Contains(string(a.Body), "deployments[0].provider") {
		t.Errorf("a deployment without provider: got %d %s", a.Status, a.Body)
	}
	if _, ok := h.State.Catalog().Model("n"); ok {
		t.Error("the model was made without its deployment")
	}
}

func TestCluster(t *testing.T) {
	t.Parallel()
	h := adminapitest.New(t)
	c, ctx := h.Client(adminapitest.MasterKey), t.Context()
	got, err := c.Cluster(ctx)
	if err != nil || got.Leader != "n1" || len(got.Members) != 2 || got.Members[1].Lag != 2 {
		t.Errorf("cluster: got %+v, %v", got, err)
	}
	token, err := c.JoinToken(ctx, "30m", client.Do)
	if err != nil || token.Token != "join-for-30m0s" {
		t.Errorf("token: got %+v, %v", token, err)
	}
	_, err = c.JoinToken(ctx, "48h", client.Do)
	wantProblem(t, err, 400, "invalid")
	if err := c.Transfer(ctx, "b"); err != nil {
		t.Error(err)
	}
	if err := c.Transfer(ctx, ""); err != nil {
		t.Error(err)
	}
	wantProblem(t, c.Transfer(ctx, "zz"), 404, "not_found")
	wantProblem(t, c.Remove(ctx, "a"), 409, "quorum")
	h.Changes = nil
	if _, err := c.ChangeNode(ctx, "remove", "b", client.Check); err != nil || len(h.Changes) != 0 {
		t.Errorf("dry run: got %v and changes %v, want none", err, h.Changes)
	}
	for _, verb := range []string{"demote", "promote", "drain", "undrain", "repair", "remove"} {
		out, err := c.ChangeNode(ctx, verb, "b", client.Do)
		if err != nil || out.ID != "n2" || out.Votes.Need != 2 {
			t.Errorf("%s: got %+v, %v", verb, out, err)
		}
		_, err = c.ChangeNode(ctx, verb, "zz", client.Do)
		wantProblem(t, err, 404, "not_found")
	}
	if len(h.Changes) != 6 || h.Changes[5].Verb != "remove" || h.Changes[5].By.Kind != "master" {
		t.Errorf("changes: got %+v", h.Changes)
	}
	page, err := c.Audit(ctx, url.Values{"kind": {"node"}})
	if err != nil || len(page.Items) == 0 || page.Items[0].Action != "repair" {
		t.Errorf("audit of what writes no record: got %+v, %v", page.Items, err)
	}
}

func TestJoinTokens(t *testing.T) {
	t.Parallel()
	h := adminapitest.New(t)
	c, ctx := h.Client(adminapitest.MasterKey), t.Context()
	if _, err := c.JoinToken(ctx, "30m", client.Do); err != nil {
		t.Fatal(err)
	}
	all, err := c.JoinTokens(ctx)
	if err != nil || len(all.Items) != 1 || all.Items[0].Token != "" || all.Items[0].CreatedBy != "master" {
		t.Fatalf("tokens: got %+v, %v", all, err)
	}
	if err := c.RevokeJoinToken(ctx, all.Items[0].ID, client.Do); err != nil {
		t.Error(err)
	}
	wantProblem(t, c.RevokeJoinToken(ctx, all.Items[0].ID, client.Do), 404, "not_found")
	if all, err := c.JoinTokens(ctx); err != nil || len(all.Items) != 0 {
		t.Errorf("tokens: got %+v, %v, want none", all, err)
	}
	_, err = c.FinalizeUpgrade(ctx, 9, client.Do)
	wantProblem(t, err, 409, "refused")
}

func TestReports(t *testing.T) {
	t.Parallel()
	h := adminapitest.New(t)
	c, ctx := h.Client(adminapitest.MasterKey), t.Context()
	h.Must("POST", "/api/v1/teams", `{"name":"a"}`)
	h.Must("PATCH", "/api/v1/teams/a", `{"tags":["x"]}`)
	page, err := c.Audit(ctx, url.Values{"kind": {"team"}, "actor": {"master"}})
	if err != nil || len(page.Items) != 2 || page.Items[1].Action != "put_team" || page.Items[1].RequestID == "" {
		t.Errorf("audit: got %+v, %v", page.Items, err)
	}
	usage, err := c.Usage(ctx, "team", "a", "", "")
	if err != nil || len(usage) != 1 || usage[0].Requests != 0 {
		t.Errorf("usage: got %+v, %v", usage, err)
	}
	if _, err = c.Usage(ctx, "total", "", "2026-01-01", "2026-03-01"); err != nil {
		t.Error(err)
	}
	_, err = c.Usage(ctx, "total", "", "2026-03-01", "2026-01-01")
	wantProblem(t, err, 400, "invalid")
	_, err = c.Usage(ctx, "key", "", "", "")
	wantProblem(t, err, 400, "invalid")
	_, err = c.Usage(ctx, "planet", "", "", "")
	wantProblem(t, err, 400, "invalid")
}

// TestOpenAPI keeps docs/api/openapi.json equal to what the server serves. Run with -update
// after a change of the API.
func TestOpenAPI(t *testing.T) {
	t.Parallel()
	h := adminapitest.New(t)
	want, err := h.API.OpenAPI()
	if err != nil {
		t.Fatal(err)
	}
	want = append(want, '\n')
	const path = "../docs/api/openapi.json"
	if *update {
		if err := os.WriteFile(path, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s is not what the server serves; run go test ./adminapi -run TestOpenAPI -update", path)
	}
	served := h.Call(adminapitest.MasterKey, "GET", "/api/v1/openapi.json", "").Object(t)
	if served["openapi"] != "3.1.0" {
		t.Errorf("served: got version %v", served["openapi"])
	}
	for _, r := range h.API.Routes() {
		paths := served["paths"].(map[string]any)
		if _, ok := paths[r.Pattern]; !ok && strings.HasPrefix(r.Pattern, "/api/v1/") && r.ID != "get-schema" {
			t.Errorf("%s is not in the document", r.Pattern)
		}
	}
}
