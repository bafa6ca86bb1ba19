package adminapi_test

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/conclave-llm/conclave/adminapi/adminapitest"
	"github.com/conclave-llm/conclave/adminapi/client"
	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/resource"
)

func blocks(e client.Effective) []string {
	out := []string{}
	for _, b := range e.Blocks {
		out = append(out, strings.TrimSpace(b.Code+" "+b.Level.Kind+" "+strings.Join(b.Models, ",")))
	}
	return out
}

func TestEffective(t *testing.T) {
	t.Parallel()
	h := adminapitest.New(t)
	for _, m := range []string{`{"name":"demo"}`, `{"name":"big","access_groups":["premium"]}`, `{"name":"other"}`} {
		h.Must("POST", "/api/v1/models", m)
	}
	h.Must("POST", "/api/v1/organizations", `{"id":"o1","name":"acme","models":["demo","premium"],"limits":{"rpm":100},"routes":["/v1/*"]}`)
	h.Must("POST", "/api/v1/budgets", `{"name":"shared","terms":{"usd":50,"per":"month"}}`)
	h.Must("POST", "/api/v1/teams", `{"id":"t1","name":"research","organization_id":"o1","budget_id":"shared","limits":{"rpm":10,"tpm":5},"allowed_ips":["10.0.0.0/8"]}`)
	h.Must("POST", "/api/v1/projects", `{"id":"p1","name":"search","team_id":"t1","budgets":[{"tokens":1000,"usd":0,"per":"day"}]}`)
	h.Must("POST", "/api/v1/users", `{"id":"u1","models":["demo"],"model_limits":{"demo":{"rpm":3}}}`)
	h.Must("POST", "/api/v1/teams/t1/members", `{"user_id":"u1","allowed_ips":["10.1.0.0/16"]}`)
	h.Must("POST", "/api/v1/keys", `{"id":"k1","name":"nb","project_id":"p1","user_id":"u1","tag_limits":{"batch":{"rpm":2}},"mcp_limits":{"git":{"rpm":0}},"budget_fallbacks":{"big":["demo"]},"routes":["/v1/chat/*"],"aliases":{"gpt":"demo"},"budgets":[{"usd":2,"per":"day"}]}`)
	h.Must("POST", "/api/v1/customers", `{"id":"c1","blocked":true}`)
	c := h.Client(adminapitest.MasterKey)
	effective := func(query string) client.Effective {
		t.Helper()
		values := map[string][]string{}
		for pair := range strings.FieldsSeq(query) {
			name, v, _ := strings.Cut(pair, "=")
			values[name] = []string{v}
		}
		e, err := c.Effective(t.Context(), "nb", values)
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	e := effective("")
	var kinds []string
	for _, l := range e.Levels {
		kinds = append(kinds, l.Kind)
	}
	if got, want := strings.Join(kinds, " "), "organization team project user member key"; got != want || !e.Allowed {
		t.Errorf("got levels %s, allowed %v, want %s", got, e.Allowed, want)
	}
	if d := cmp.Diff([]string{"demo"}, e.Models.Allowed); d != "" {
		t.Errorf("models (-want +got):\n%s", d)
	}
	if d := cmp.Diff([]string{"/v1/chat/*"}, e.Routes.Allowed); d != "" || len(e.Routes.Bound) != 2 {
		t.Errorf("routes by %v (-want +got):\n%s", e.Routes.Bound, d)
	}
	if d := cmp.Diff([]string{"10.1.0.0/16"}, e.Addresses.Allowed); d != "" {
		t.Errorf("addresses (-want +got):\n%s", d)
	}
	var budgets, limits []string
	for _, b := range e.Budgets {
		budgets = append(budgets, fmt.Sprint(b.Level.Kind, " ", b.Budget, " ", b.Left, "/", b.Limit, " ", b.Tightest))
	}
	if d := cmp.Diff([]string{"key day 2/2 true", "team month 50/50 false", "project tokens_day 1000/1000 true"}, budgets); d != "" {
		t.Errorf("budgets (-want +got):\n%s", d)
	}
	for _, l := range e.Limits {
		limits = append(limits, fmt.Sprint(l.Limit, " ", l.Model, l.Tag, l.MCPServer, " ", l.Value, " ", l.Level.Kind))
	}
	if f := e.Models.BudgetFallbacks; len(f) != 1 || f[0].Model != "big" || strings.Join(f[0].Instead, " ") != "demo" || f[0].Level.Kind != "key" {
		t.Errorf("budget fallbacks: %+v", f)
	}
	if d := cmp.Diff([]string{"rpm  10 team", "tpm  5 team", "rpm git 0 key", "rpm batch 2 key", "rpm demo 3 user"}, limits); d != "" {
		t.Errorf("limits (-want +got):\n%s", d)
	}
	for query, want := range map[string][]string{
		"model=gpt":   {},
		"model=big":   {"model_access_denied user"},
		"model=gone":  {"model_not_found key"},
		"customer=c1": {"customer_blocked customer"},
	} {
		if d := cmp.Diff(want, blocks(effective(query))); d != "" {
			t.Errorf("%s (-want +got):\n%s", query, d)
		}
	}
	for _, path := range []string{"organizations/o1", "teams/t1", "projects/p1", "users/u1", "keys/k1"} {
		h.Must("POST", "/api/v1/"+path+"/block", "")
	}
	want := []string{"key_blocked key", "organization_blocked organization", "project_blocked project", "team_blocked team", "user_blocked user"}
	e = effective("")
	got := blocks(e)
	slices.Sort(got)
	if d := cmp.Diff(want, got); d != "" || e.Allowed {
		t.Errorf("blocked levels (-want +got):\n%s", d)
	}
}

// TestEffective_customer: who has no budget of his own is shown the one that he is given, with a record or without.
func TestEffective_customer(t *testing.T) {
	t.Parallel()
	h := adminapitest.New(t)
	h.Must("POST", "/api/v1/budgets", `{"id":"b1","name":"tier","terms":{"usd":5,"per":"day"},"limits":{"rpm":9}}`)
	h.Must("POST", "/api/v1/budgets", `{"id":"b2","name":"of teams","terms":{"usd":7,"per":"week"}}`)
	h.Must("POST", "/api/v1/teams", `{"id":"t1","name":"t1","customer_budget":"of teams"}`)
	h.Must("POST", "/api/v1/keys", `{"id":"k1","name":"plain"}`)
	h.Must("POST", "/api/v1/keys", `{"id":"k2","name":"of the team","team_id":"t1"}`)
	h.Must("POST", "/api/v1/customers", `{"id":"ada"}`)
	h.Must("POST", "/api/v1/customers", `{"id":"own","blocked":true,"budgets":[{"usd":3,"per":"month"}]}`)
	shown := func(path string) string {
		t.Helper()
		var out []string
		got := h.Must("GET", "/api/v1/"+path, "")
		for _, b := range got["budgets"].([]any) {
			b := b.(map[string]any)
			out = append(out, fmt.Sprint(b["level"].(map[string]any)["kind"], " ", b["shared"], " ", b["left"]))
		}
		for _, l := range got["limits"].([]any) {
			l := l.(map[string]any)
			out = append(out, fmt.Sprint(l["limit"], " ", l["value"]))
		}
		return strings.Join(out, ", ")
	}
	if got := shown("customers/ada/effective"); got != "" {
		t.Errorf("nobody gives one a budget: got %s", got)
	}
	h.Must("PUT", "/api/v1/settings/customer_budget", `{"value":"tier"}`)
	for path, want := range map[string]string{
		"customers/ada/effective":              "customer tier 5, rpm 9",
		"customers/nobody/effective?model=x":   "customer tier 5, rpm 9",
		"customers/own/effective":              "customer <nil> 3",
		"keys/plain/effective?customer=ada":    "customer tier 5, rpm 9",
		"keys/plain/effective?customer=nobody": "customer tier 5, rpm 9",
		"keys/k2/effective?customer=nobody":    "customer of teams 7",
		"keys/k2/effective?customer=own":       "customer <nil> 3",
		"keys/plain/effective":                 "",
	} {
		if got := shown(path); got != want {
			t.Errorf("%s: got %s, want %s", path, got, want)
		}
	}
	if got := h.Must("GET", "/api/v1/customers/own/effective", ""); got["allowed"] != false {
		t.Errorf("a blocked one: got %v", got)
	}
	secret, _ := h.Must("POST", "/api/v1/keys", `{"name":"reader"}`)["secret"].(string)
	if a := h.Call(secret, "GET", "/api/v1/customers/nobody/effective", ""); a.Status == 200 {
		t.Errorf("a key for inference: got %d %s", a.Status, a.Body)
	}
}

// TestEffective_expired: each level that ends is named when it does, and not before.
func TestEffective_expired(t *testing.T) {
	t.Parallel()
	h := adminapitest.New(t)
	end := h.Clock().Add(time.Hour).UTC().Format(time.RFC3339)
	h.Must("POST", "/api/v1/organizations", `{"id":"o1","name":"o1","expires_at":"`+end+`"}`)
	h.Must("POST", "/api/v1/teams", `{"id":"t1","organization_id":"o1","expires_at":"`+end+`"}`)
	h.Must("POST", "/api/v1/projects", `{"id":"p1","name":"p1","team_id":"t1","expires_at":"`+end+`"}`)
	h.Must("POST", "/api/v1/users", `{"id":"u1","expires_at":"`+end+`"}`)
	h.Must("POST", "/api/v1/teams/t1/members", `{"user_id":"u1","expires_at":"`+end+`"}`)
	h.Must("POST", "/api/v1/customers", `{"id":"c1","expires_at":"`+end+`"}`)
	h.Must("POST", "/api/v1/tags", `{"id":"g1","expires_at":"`+end+`"}`)
	h.Must("POST", "/api/v1/keys", `{"id":"k1","name":"nb","project_id":"p1","user_id":"u1"}`)
	asked := map[string][]string{"customer": {"c1"}, "tags": {"g1"}}
	effective := func() client.Effective {
		t.Helper()
		e, err := h.Client(adminapitest.MasterKey).Effective(t.Context(), "nb", asked)
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	h.Advance(time.Hour - time.Second)
	e := effective()
	if !e.Allowed || len(e.Blocks) != 0 {
		t.Errorf("a second before: got %+v", e.Blocks)
	}
	for _, l := range e.Levels {
		if l.Kind != resource.HolderKey && l.ExpiresAt == 0 {
			t.Errorf("the level %s does not tell when it ends", l.Kind)
		}
	}
	h.Advance(time.Second)
	e = effective()
	got := blocks(e)
	slices.Sort(got)
	want := []string{
		"customer_expired customer", "member_expired member", "organization_expired organization", "project_expired project",
		"tag_expired tag", "team_expired team", "user_expired user",
	}
	if d := cmp.Diff(want, got); d != "" || e.Allowed {
		t.Errorf("at the moment (-want +got):\n%s", d)
	}
}

// TestEffective_spent spends a budget by a node's tick.
func TestEffective_spent(t *testing.T) {
	t.Parallel()
	h := adminapitest.New(t)
	h.Must("POST", "/api/v1/teams", `{"id":"t1","budgets":[{"usd":1,"per":"day"}]}`)
	h.Must("POST", "/api/v1/keys", `{"id":"k1","name":"nb","team_id":"t1","expires_at":"2026-03-12T00:00:00Z"}`)
	node := fsm.Actor{Kind: "node", ID: "n1"}
	for _, cmd := range []fsm.Command{
		fsm.RegisterMember{Member: resource.Member{Meta: resource.Meta{ID: "n1"}, Name: "a", Address: "h:1", FSMVersion: 1}},
		fsm.OpenEpoch{Node: "n1"},
	} {
		if _, err := h.Propose(t.Context(), node, "", cmd); err != nil {
			t.Fatal(err)
		}
	}
	day := h.State.Accounts("team/t1")[0].Window
	if _, err := h.Propose(t.Context(), node, "", fsm.TickGroup{Ticks: []fsm.Tick{{
		Node: "n1", Epoch: h.State.Epoch("n1"), Seq: 1, Settle: []fsm.AccountDelta{{Account: "team/t1/day", Start: day.Start, Amount: resource.Dollar}},
	}}}); err != nil {
		t.Fatal(err)
	}
	e, err := h.Client(adminapitest.MasterKey).Effective(t.Context(), "nb", nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(e.Blocks) != 1 || e.Blocks[0].Code != "budget_exceeded" || e.Blocks[0].Level.Kind != "team" || e.Blocks[0].Until != day.End || e.Allowed {
		t.Errorf("a spent budget: got %+v", e.Blocks)
	}
	h.Advance(24 * time.Hour)
	if e, err = h.Client(adminapitest.MasterKey).Effective(t.Context(), "nb", nil); err != nil || len(e.Blocks) != 1 || e.Blocks[0].Code != "expired_key" {
		t.Errorf("the day after: got %+v, %v", e.Blocks, err)
	}
}

// whole has a value of every field of a policy, and a text that the effective view of a key with it alone has and that of one
// without has not.
var whole = map[string][2]string{
	"budget_id":                 {`"b1"`, `shared-70`},
	"budgets":                   {`[{"usd":71,"per":"day"}]`, `71`},
	"limits":                    {`{"rpm":72}`, `72`},
	"model_limits":              {`{"demo":{"rpm":73}}`, `73`},
	"mcp_limits":                {`{"git":{"rpm":74}}`, `74`},
	"tag_limits":                {`{"batch":{"rpm":75}}`, `75`},
	"models":                    {`["demo"]`, `"denied":[{"model":"other"`},
	"access_group_ids":          {`["g1"]`, `group-77`},
	"aliases":                   {`{"alias-78":"demo"}`, `alias-78`},
	"routes":                    {`["/v1/79/*"]`, `/v1/79/*`},
	"budget_fallbacks":          {`{"demo":["other"]}`, `"instead":["other"]`},
	"default_output_hold":       {`81`, `"field":"default_output_hold","value":81`},
	"model_output_holds":        {`{"demo":82}`, `"field":"model_output_holds.demo","value":82`},
	"passthrough_routes":        {`["/x83/*"]`, `/x83/*`},
	"denied_passthrough_routes": {`["/x84/*"]`, `/x84/*`},
	"allowed_ips":               {`["10.85.0.0/16"]`, `10.85.0.0/16`},
	"denied_ips":                {`["10.86.0.0/16"]`, `10.86.0.0/16`},
	"enforced_params":           {`["metadata.p87"]`, `metadata.p87`},
	"guardrails":                {`["g88"]`, `g88`},
	"disable_global_guardrails": {`true`, `"field":"disable_global_guardrails","value":true`},
	"callbacks":                 {`["c90"]`, `c90`},
	"tags":                      {`["t91"]`, `t91`},
	"sessions":                  {`{"budget":92,"iterations":93,"rpm":94,"tpm":95,"require_trace_id":true}`, `"field":"sessions.budget","value":92`},
	"log_content":               {`false`, `"field":"log_content","value":false`},
	"log_content_days":          {`97`, `97`},
	"max_request_mb":            {`98`, `"field":"max_request_mb","value":98`},
	"max_response_mb":           {`99`, `"field":"max_response_mb","value":99`},
	"objects":                   {`{"vector_stores":["v100"]}`, `v100`},
	"metadata":                  {`{"turn_off_message_logging":true}`, `"field":"metadata.turn_off_message_logging","value":true`},
	"expires_at":                {`"2101-01-01T00:00:00Z"`, `2101`},
}

// fieldsOf are the names of a record's fields, of those within it too.
func fieldsOf(t reflect.Type) (names []string) {
	for f := range t.Fields() {
		if f.Anonymous {
			names = append(names, fieldsOf(f.Type)...)
			continue
		}
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		names = append(names, name)
	}
	return names
}

// TestEffective_Whole: whatever a level says is in the effective view, which no new field of policies is left out of.
func TestEffective_Whole(t *testing.T) {
	t.Parallel()
	h := adminapitest.New(t)
	h.Must("POST", "/api/v1/models", `{"name":"demo"}`)
	h.Must("POST", "/api/v1/models", `{"name":"other"}`)
	h.Must("POST", "/api/v1/budgets", `{"id":"b1","name":"shared-70","terms":{"usd":50,"per":"month"}}`)
	h.Must("POST", "/api/v1/access-groups", `{"id":"g1","name":"group-77","models":["demo"]}`)
	h.Must("POST", "/api/v1/keys", `{"id":"plain","name":"plain"}`)
	shown := func(name string) string {
		return string(h.Call(adminapitest.MasterKey, "GET", "/api/v1/keys/"+name+"/effective", "").Body)
	}
	plain := shown("plain")
	for _, field := range fieldsOf(reflect.TypeFor[resource.Policy]()) {
		tt, ok := whole[field]
		if !ok {
			t.Errorf("%s: no value to try; the effective view must show it", field)
			continue
		}
		h.Must("POST", "/api/v1/keys", `{"name":"`+field+`","`+field+`":`+tt[0]+`}`)
		if got := shown(field); !strings.Contains(got, tt[1]) || strings.Contains(plain, tt[1]) {
			t.Errorf("%s: %s is not in the effective view:\n%s", field, tt[1], got)
		}
	}
}

// TestEffective_Rules: of what several levels say, that counts which binds requests.
func TestEffective_Rules(t *testing.T) {
	t.Parallel()
	h := adminapitest.New(t)
	h.Must("POST", "/api/v1/teams", `{"id":"t1","name":"t","max_request_mb":5,"default_output_hold":10,"model_output_holds":{"demo":9},"log_content":true,"callbacks":["far"],"sessions":{"rpm":3,"budget":2},"passthrough_routes":["/openai/*"]}`)
	h.Must("POST", "/api/v1/keys", `{"name":"k","team_id":"t1","max_request_mb":4,"default_output_hold":20,"model_output_holds":{"demo":12},"callbacks":["near"],"sessions":{"rpm":2,"budget":2},"passthrough_routes":["/openai/v1/evals/*"]}`)
	h.Must("POST", "/api/v1/customers", `{"id":"c","callbacks":["theirs"],"log_content":true,"max_response_mb":7}`)
	e, err := h.Client(adminapitest.MasterKey).Effective(t.Context(), "k", map[string][]string{"customer": {"c"}})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range e.Rules {
		got = append(got, fmt.Sprint(r.Field, "=", r.Value, " ", r.Level.Kind))
	}
	want := []string{
		"callbacks=[near] key", "callbacks=[theirs] customer", "log_content=true team", "max_request_mb=4 key", "max_response_mb=7 customer",
		"sessions.budget=2 team", "sessions.rpm=2 key", "default_output_hold=20 key", "model_output_holds.demo=12 key",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("rules differ (-want +got):\n%s", d)
	}
	if d := cmp.Diff([]string{"/openai/v1/evals/*"}, e.Passes.Allowed); d != "" {
		t.Errorf("pass-through routes: %s", d)
	}
}
