package proxy_test

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/proxy"
	"github.com/conclave-llm/conclave/proxy/budget"
	"github.com/conclave-llm/conclave/proxy/pass"
	"github.com/conclave-llm/conclave/proxy/ratelimit"
	"github.com/conclave-llm/conclave/proxy/router"
	"github.com/conclave-llm/conclave/proxy/upstream"
	"github.com/conclave-llm/conclave/resource"
)

// policy is one way in which a request is refused.
type policy struct {
	name   string
	set    func(r *rig, req *http.Request)
	status int
	code   string
	body   string // instead of the usual one; "%s" is where stream stands
	wrong  bool   // ask for a model that the key may not use
	look   int    // status on routes that only look at the catalog
	record bool   // leaves a record
}

func noKey(_ *rig, req *http.Request) { req.Header.Del("Authorization") }

func overLimit(r *rig, _ *http.Request) {
	r.cfg.Limits = limiterFunc(func(*ratelimit.Request) (proxy.LimitHold, error) {
		return nil, &llm.Error{Kind: llm.RateLimited, Scope: "key", Message: "over", RetryAfter: 1500 * time.Millisecond}
	})
}

func overBudget(r *rig, _ *http.Request) {
	r.cfg.Budgets = budgetsFunc(func(budget.Request) (proxy.BudgetHold, error) {
		return nil, &llm.Error{Kind: llm.OverBudget, Scope: "team", Message: "over", ResetsAt: time.Unix(1, 0)}
	})
}

func noUpstream(r *rig, _ *http.Request) {
	r.router.plan = func(*resource.Catalog, *resource.Model) ([]router.Target, error) {
		return nil, &llm.Error{Kind: llm.Unavailable, Message: "all cool down", RetryAfter: time.Second}
	}
}

// settingOf sets one setting.
func settingOf(name, value string) func(*rig, *http.Request) {
	return func(r *rig, _ *http.Request) {
		r.tables.Settings = append(r.tables.Settings, &resource.Setting{Meta: resource.Meta{ID: name}, Value: []byte(value)})
	}
}

// keyPolicy gives the good key a policy, and its team another.
func keyPolicy(change func(key, team *resource.Policy)) func(*rig, *http.Request) {
	return func(r *rig, _ *http.Request) {
		k := r.keys[resource.HashSecret(goodKey)]
		team := &resource.Team{Meta: resource.Meta{ID: "team_1"}, Name: "research"}
		k.TeamID = team.ID
		r.tables.Teams = []*resource.Team{team}
		change(&k.Policy, &team.Policy)
	}
}

// customers are the records of end users.
type customers map[string]*resource.Customer

func (c customers) Customer(id string) (*resource.Customer, bool) { r, ok := c[id]; return r, ok }

// endUser gives the request an end user, of whom there is a record.
func endUser(record *resource.Customer) func(*rig, *http.Request) {
	return func(r *rig, q *http.Request) {
		q.Header.Set("X-Litellm-End-User-Id", record.ID)
		r.cfg.Customers = customers{record.ID: record}
	}
}

func both(a, b func(*rig, *http.Request)) func(*rig, *http.Request) {
	return func(r *rig, q *http.Request) { a(r, q); b(r, q) }
}

var megabyte = int64(1)

const mallory = "X-Litellm-Customer-Id"

var policies = []policy{
	{name: "parameter enforced by the cluster", set: settingOf("enforced_params", `["metadata.cost_center"]`), status: 400, code: "missing_required_parameter", look: 200, record: true},
	{name: "parameter enforced by the team", set: keyPolicy(func(_, team *resource.Policy) {
		team.EnforcedParams = []string{"temperature"}
	}), status: 400, code: "missing_required_parameter", look: 200, record: true},
	{name: "parameter enforced by the key", set: keyPolicy(func(key, _ *resource.Policy) {
		key.EnforcedParams = []string{"user"}
	}), body: `{"model":"demo","messages":[],"input":"x","prompt":"x","user":null%s}`, status: 400, code: "missing_required_parameter", look: 200, record: true},
	{name: "parameter enforced for service accounts", set: both(
		keyPolicy(func(*resource.Policy, *resource.Policy) {}), settingOf("service_account_enforced_params", `["metadata.job"]`),
	), status: 400, code: "missing_required_parameter", look: 200, record: true},
	{name: "end user enforced", set: settingOf("enforce_user_param", `true`), status: 400, code: "missing_required_parameter", look: 200, record: true},
	{name: "address not allowed by the cluster", set: settingOf("allowed_ips", `["10.0.0.0/8"]`), status: 403, code: "address_not_allowed", look: 403, record: true},
	{name: "address denied by the key", set: keyPolicy(func(key, _ *resource.Policy) {
		key.DeniedIPs = []string{"192.0.2.0/24"}
	}), status: 403, code: "address_not_allowed", look: 403, record: true},
	{name: "address forged", set: both(settingOf("allowed_ips", `["10.0.0.0/8"]`), func(_ *rig, q *http.Request) {
		q.Header.Set("X-Forwarded-For", "10.0.0.1")
	}), status: 403, code: "address_not_allowed", look: 403, record: true},
	{name: "address denied behind a proxy", set: both(settingOf("trusted_proxies", `["192.0.2.1"]`), both(settingOf("denied_ips", `["2001:db8::/32"]`), func(_ *rig, q *http.Request) {
		q.Header.Set("X-Forwarded-For", "10.0.0.1, 2001:db8::7")
	})), status: 403, code: "address_not_allowed", look: 403, record: true},
	{name: "address not allowed by the end user", set: endUser(&resource.Customer{
		Meta: resource.Meta{ID: "carol"}, Policy: resource.Policy{AllowedIPs: []string{"10.0.0.0/8"}},
	}), status: 403, code: "address_not_allowed", look: 403, record: true},
	{name: "too large for the key", set: both(settingOf("max_request_size_mb", `8`), keyPolicy(func(key, _ *resource.Policy) {
		key.MaxRequestMB = &megabyte
	})), body: `{"model":"demo","pad":"` + strings.Repeat("x", 1<<20) + `"%s}`, status: 413, code: "request_too_large", look: 200, record: true},
	{name: "too large for the end user", set: both(settingOf("max_request_size_mb", `8`), endUser(&resource.Customer{
		Meta: resource.Meta{ID: "carol"}, Policy: resource.Policy{MaxRequestMB: &megabyte},
	})), body: `{"model":"demo","pad":"` + strings.Repeat("x", 1<<20) + `"%s}`, status: 413, code: "request_too_large", look: 200, record: true},
	{name: "end user in the list of blocked ones", set: both(settingOf("blocked_user_list", `"eve\nmallory"`), func(_ *rig, q *http.Request) {
		q.Header.Set(mallory, "mallory")
	}), status: 400, code: "customer_blocked", look: 400, record: true},
	{name: "blocked end user in a mapped header", set: both(settingOf("user_header_mappings", `["x-app-user"]`), both(settingOf("blocked_user_list", `["mallory"]`), func(_ *rig, q *http.Request) {
		q.Header.Set("X-App-User", "mallory")
	})), status: 400, code: "customer_blocked", look: 400, record: true},
	{
		name: "blocked end user in metadata", set: settingOf("blocked_user_list", `["mallory"]`),
		body: `{"model":"demo","messages":[],"input":"x","prompt":"x","metadata":{"user_id":"mallory"}%s}`, status: 400, code: "customer_blocked", look: 200, record: true,
	},
	{name: "end user with a blocked record", set: endUser(&resource.Customer{Meta: resource.Meta{ID: "mallory"}, Blocked: true}), status: 400, code: "customer_blocked", look: 400, record: true},
	{name: "no session", set: keyPolicy(func(_, team *resource.Policy) {
		team.Sessions = &resource.SessionLimits{RequireTraceID: true}
	}), status: 400, code: "missing_session_id", look: 200, record: true},
	{name: "model not for the team", set: keyPolicy(func(_, team *resource.Policy) {
		team.Models = []string{"other"}
	}), status: 403, code: "model_access_denied", look: 200, record: true},
	{name: "model not for the end user", set: endUser(&resource.Customer{
		Meta: resource.Meta{ID: "carol"}, Policy: resource.Policy{Models: []string{"other"}},
	}), status: 403, code: "model_access_denied", look: 200, record: true},
	{name: "fallback not for the key", body: `{"model":"demo","messages":[],"input":"x","prompt":"x","fallbacks":["secret"]%s}`, status: 403, code: "model_access_denied", look: 200, record: true},
	{name: "no key", set: noKey, status: 401, code: "no_api_key", look: 401},
	{name: "unknown key", set: func(_ *rig, q *http.Request) { q.Header.Set("Authorization", "Bearer sk-no") }, status: 401, code: "invalid_api_key", look: 401},
	{name: "blocked key", set: func(_ *rig, q *http.Request) { q.Header.Set("Authorization", "Bearer "+blockedKey) }, status: 401, code: "key_blocked", look: 401, record: true},
	{name: "route not allowed", set: func(r *rig, _ *http.Request) {
		r.keys[resource.HashSecret(goodKey)].Routes = []string{"/v1/other"}
	}, status: 403, code: "route_not_allowed", look: 403, record: true},
	{name: "key for the management", set: func(r *rig, _ *http.Request) {
		r.keys[resource.HashSecret(goodKey)].Type = resource.TypeManagement
	}, status: 403, code: "key_type_not_allowed", look: 403, record: true},
	{name: "key for reading", set: func(r *rig, _ *http.Request) {
		r.keys[resource.HashSecret(goodKey)].Type = resource.TypeReadOnly
	}, status: 403, code: "key_type_not_allowed", look: 403, record: true},
	{name: "wrong model", wrong: true, status: 403, code: "model_access_denied", look: 404, record: true},
	{name: "over limit", set: overLimit, status: 429, code: "rate_limit_exceeded", look: 200, record: true},
	{name: "over budget", set: overBudget, status: 429, code: "budget_exceeded", look: 200, record: true},
	{name: "guardrail", set: blockBefore, status: 400, code: "guardrail_blocked", look: 200, record: true},
	{name: "no upstream", set: noUpstream, status: 503, code: "conclave_unavailable", look: 200, record: true},
	{name: "too large", body: `{"model":"demo","pad":"` + strings.Repeat("x", 2048) + `"%s}`, status: 413, code: "request_too_large", look: 200, record: true},
	{name: "upstream named", body: `{"model":"demo","api_base":"http://x"%s}`, status: 400, code: "field_not_allowed", look: 200, record: true},
	{name: "model twice", body: `{"model":"demo","model":"secret"%s}`, status: 400, look: 200, record: true},
	{name: "not JSON", body: `{"model":%s`, status: 400, code: "invalid_json", look: 200, record: true},
	{name: "stale node", set: func(r *rig, _ *http.Request) { r.cfg.Serving = func() error { return errBoom } }, status: 503, code: "conclave_stale", look: 503},
	{name: "journal fails", set: func(r *rig, _ *http.Request) { r.journal.fail = errBoom }, status: 503, code: "conclave_journal_unavailable", look: 200, record: true},
}

// matrixRoute is one pattern of a route, made into a path.
type matrixRoute struct{ method, path, model string }

// matrixRoutes lists every pattern that is served: what is not asked here does not exist. Of the
// paths of OpenAI's document that one route relays, those of videos stand for all.
func matrixRoutes(t *testing.T) []matrixRoute {
	var all []matrixRoute
	for _, p := range newRig(t).server().Patterns() {
		method, path, _ := strings.Cut(p, " ")
		if i := slices.IndexFunc(pass.Prefixes, func(x pass.Prefix) bool {
			return x.Below != nil && slices.Contains(x.Patterns(), path) && !strings.HasPrefix(path, "/v1/videos") && x.Verb == "" && !strings.Contains(path, "{id}")
		}); i >= 0 {
			continue
		}
		if strings.Contains(path, "/realtime") {
			continue // TestRealtime_handshakeRefused, and TestRealtime_secrets
		}
		all = append(all, matrixRoute{method, path, ""})
	}
	return all
}

// streams are what a body says to have its answer whole, or in events.
var streams = []string{"", `,"stream":true`}

// refuseAll checks every policy on every path, and notes what was answered.
func refuseAll(t *testing.T, sheet *sheet) {
	routes := matrixRoutes(t)
	if len(routes) < 16 {
		t.Fatalf("only %d patterns", len(routes))
	}
	for _, rt := range routes {
		for _, p := range policies {
			for i, stream := range streams {
				t.Run(rt.method+rt.path+"/"+p.name+stream, func(t *testing.T) {
					t.Parallel()
					sheet.note(rt.method+" "+rt.path, p.column(), i, refuse(t, rt, p, stream))
				})
			}
		}
	}
}

// open makes the rig's deployments those of the provider whose own words a path takes.
func open(r *rig, method, path string) {
	all := append(slices.Clone(pass.Prefixes), pass.Files)
	for i := range all {
		p := &all[i]
		if (p.Verb != "" && p.Verb != method || !slices.Contains(p.Patterns(), path)) && (i < len(all)-1 || !keepsFiles(path)) {
			continue
		}
		for _, d := range r.tables.Deployments {
			d.Provider, d.Options = p.Providers[0], map[string]string{pass.Option: "true"}
		}
	}
}

// keepsFiles says whether a path is about files or batches. Those of the matrix name a model, and so
// its provider: TestFiles is about what stays here.
func keepsFiles(path string) bool {
	return strings.Contains(path, "/files") || strings.Contains(path, "/batches")
}

// counts says whether a path is answered without a provider, if need be.
func counts(path string) bool {
	for _, end := range []string{"/count_tokens", ":countTokens", "/input_tokens", "/utils/token_counter", "/utils/transform_request"} {
		if strings.HasSuffix(path, end) {
			return true
		}
	}
	return false
}

// relays says whether a route with one method relays a path of OpenAI's document.
func relays(rt matrixRoute) bool {
	return slices.ContainsFunc(pass.Prefixes, func(p pass.Prefix) bool {
		return p.Verb == rt.method && slices.Contains(p.Patterns(), rt.path)
	})
}

// refuse checks one cell: the right refusal, no upstream asked, nothing left held. It returns the status
// of the refusal, 0 for none.
func refuse(t *testing.T, rt matrixRoute, p policy, stream string) int {
	r := newRig(t)
	r.tables.Settings = []*resource.Setting{{Meta: resource.Meta{ID: "max_body_bytes"}, Value: []byte("1024")}}
	open(r, rt.method, rt.path)
	asked := false
	r.upstream = func(context.Context, *upstream.Attempt) (proxy.Answer, error) {
		asked = true
		return proxy.Answer{}, errBoom
	}
	model := "demo"
	if p.wrong {
		model = "secret"
	}
	body := p.body
	if body == "" {
		body = `{"model":"` + model + `","messages":[],"input":"x","prompt":"x"%s}`
	}
	path := strings.NewReplacer("{id}", model, "{model}", model, "{model...}", model, "{project}", "p", "{location}", "l", "{rest...}", "x", "{artifact}", "x").Replace(rt.path)
	asks := strings.HasPrefix(path, "/utils/") && rt.method == "GET"
	if asks {
		path += "?model=" + model
	}
	w := r.do(rt.method, path, strings.Replace(body, "%s", stream, 1), func(q *http.Request) {
		if p.set != nil {
			p.set(r, q)
		}
	})
	want, code := p.status, p.code
	turn := strings.Contains(rt.path, "{response}")
	if p.code == "conclave_unavailable" && counts(rt.path) {
		want, code = http.StatusOK, ""
	}
	looks := (rt.method == "GET" || turn) && !keepsFiles(rt.path) && !relays(rt)
	if rt.method == "POST" && strings.HasSuffix(rt.path, "/files") && p.name == "too large" {
		return 0 // files have a limit of their own
	}
	if looks {
		want, code = p.look, ""
		if strings.HasPrefix(p.name, "model not for the") && strings.Contains(rt.path, "{model") {
			want = 404
		}
		if p.wrong && !strings.Contains(rt.path, "{model") {
			want = 200
		}
		if rt.method == "GET" && strings.HasSuffix(rt.path, "/responses") && want == 200 {
			want = 426 // it is for WebSockets
		}
		if turn && want == 200 {
			want = 404 // there is no such response
		}
		if asks && (p.wrong || strings.HasPrefix(p.name, "model not for the")) {
			want = 403
		}
	} else if strings.HasSuffix(rt.path, "embeddings") && stream != "" && w.Code == 400 {
		code = "" // embeddings do not stream, which may be found first
		want = 400
	}
	if w.Code != want {
		t.Fatalf("got %d %s, want %d", w.Code, w.Body, want)
	}
	if want != 200 {
		if got := codeOf(t, w.Body.String()); code != "" && got != code {
			t.Errorf("code %q, want %q", got, code)
		}
		if got := w.Header().Get("X-Conclave-Error-Origin"); got != "gateway" {
			t.Errorf("origin %q, want gateway", got)
		}
	}
	if want == 429 && (p.name == "over limit") && w.Header().Get("Retry-After") != "2" {
		t.Errorf("Retry-After %q, want 2", w.Header().Get("Retry-After"))
	}
	if p.name == "over budget" && rt.method == "POST" && want == 429 && w.Header().Get("X-Should-Retry") != "false" {
		t.Error("a spent budget may be retried")
	}
	if w.Header().Get("X-Conclave-Request-Id") == "" {
		t.Error("no request id")
	}
	if asked {
		t.Error("an upstream was asked")
	}
	if r.limit.taken != r.limit.released || r.money.taken != r.money.released || r.limit.settled+r.money.settled != 0 && (want != 200 || looks) {
		t.Errorf("left held: %+v %+v", r.limit, r.money)
	}
	if n := len(r.journal.settled); !looks && (n == 1) != p.record {
		t.Errorf("%d records, want one: %v", n, p.record)
	}
	if want < 300 || want == http.StatusUpgradeRequired || turn && want == 404 {
		return 0
	}
	return want
}
