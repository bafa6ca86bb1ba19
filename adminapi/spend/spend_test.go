package spend_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/conclave-llm/conclave/adminapi/adminapitest"
	"github.com/conclave-llm/conclave/adminapi/spend"
	"github.com/conclave-llm/conclave/ledger"
	"github.com/conclave-llm/conclave/ledger/requestlog"
	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/resource"
)

// source is a journal in memory.
type source []ledger.Record

func (s source) ReadFrom(after uint64, _ int) ([]ledger.Record, uint64, error) {
	return s[min(after, uint64(len(s))):], uint64(len(s)), nil
}

func (s source) Wait(ctx context.Context, after uint64) error {
	if after < uint64(len(s)) {
		return nil
	}
	<-ctx.Done()
	return ctx.Err()
}

func (s source) Last() uint64                { return uint64(len(s)) }
func (s source) SetSoftFloor(string, uint64) {}

// start runs the API over 40 requests of two keys on two days: the first of 1, 2, 3, … cents.
func start(t *testing.T) (h *adminapitest.Harness, secret string) {
	t.Helper()
	return startWith(t, func(int, *ledger.Record) {})
}

// startWith is start, with the requests changed.
func startWith(t *testing.T, change func(i int, r *ledger.Record)) (h *adminapitest.Harness, secret string) {
	t.Helper()
	h = adminapitest.New(t)
	h.Must("POST", "/api/v1/teams", `{"id":"team_a","name":"research"}`)
	secret, _ = h.Must("POST", "/api/v1/keys", `{"id":"key_0","name":"notebook","team_id":"team_a"}`)["secret"].(string)
	h.Must("POST", "/api/v1/keys", `{"id":"key_1","name":"=cmd"}`)
	var s source
	for i := range 40 {
		r := ledger.Record{
			Number: uint64(i + 1), RequestID: fmt.Sprintf("r%d", i), Time: resource.At(time.Date(2026, 3, 9+i/20, 12, i%20, 0, 0, time.UTC)),
			KeyID: fmt.Sprintf("key_%d", i%2), CustomerID: "=HYPERLINK(1)", UserID: "u", Model: "demo", DeploymentID: "dep", Provider: "openai",
			Endpoint: "chat", Status: 200, Attempts: 1, Cost: resource.Money(i+1) * resource.Dollar / 100, Tags: []string{"t"},
			Usage: llm.Usage{Input: 10, CacheRead: 5, Output: 3, Source: llm.UsageProvider}, Duration: time.Second,
		}
		if i%2 == 0 {
			r.TeamID, r.ProjectID = "team_a", "p1"
		}
		if i == 4 {
			r.Usage.Source = llm.UsageEstimated
		}
		if i == 39 {
			r.Status, r.ErrorKind, r.ErrorCode = 502, "upstream", "upstream_error"
		}
		if i == 37 || i == 38 {
			r.Status, r.ErrorKind, r.ErrorCode = 429, "rate_limited", "rate_limit_exceeded"
		}
		if i == 38 {
			r.DeploymentID, r.Provider, r.Attempts = "", "openai", 0
		}
		change(i, &r)
		s = append(s, r)
	}
	l, err := requestlog.Open(requestlog.Config{Dir: t.TempDir(), NodeID: "n1", Source: s, Now: h.Clock})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	if err := l.WaitTaken(t.Context(), 40); err != nil {
		t.Fatal(err)
	}
	h.Requests = requestlog.NewCluster(requestlog.ClusterConfig{Log: l, Nodes: func() []requestlog.Node { return []requestlog.Node{{ID: "n1", Name: "a"}} }})
	return h, secret
}

const days = "start_date=2026-03-09&end_date=2026-03-10"

// at walks into decoded JSON: "results.0.metrics.spend".
func at(v any, path string) any {
	for step := range strings.SplitSeq(path, ".") {
		switch in := v.(type) {
		case map[string]any:
			v = in[step]
		case []any:
			i := 0
			if _, err := fmt.Sscan(step, &i); err != nil || i >= len(in) {
				return nil
			}
			v = in[i]
		default:
			return nil
		}
	}
	return v
}

func TestLiteLLM(t *testing.T) {
	t.Parallel()
	h, secret := start(t)
	token := resource.HashSecret(secret).String()
	for _, tt := range []struct{ path, at, want string }{
		{"/spend/logs/v2?page_size=7&page=2", "total", "40"},
		{"/spend/logs/v2?page_size=7&page=2", "total_pages", "6"},
		{"/spend/logs/v2?page_size=7&page=2", "data.0.request_id", "r32"},
		{"/spend/logs/v2?sort_by=spend&sort_order=asc", "data.0.spend", "0.01"},
		{"/spend/logs/v2?status_filter=failure", "data.0.metadata.error_information.error_code", "502"},
		{"/spend/logs/v2?min_spend=0.395", "total", "1"},
		{"/spend/logs/v2?api_key=" + secret, "total", "20"},
		{"/spend/logs/ui?team_id=research", "data.0.metadata.user_api_key_team_alias", "research"},
		{"/spend/logs?request_id=r4", "0.api_key", token},
		{"/spend/logs?" + days, "0.spend", "2.1"},
		{"/spend/logs?" + days, "1.models.demo", "6.1"},
		{"/spend/logs?" + days, "0." + token, "1"},
		{"/user/daily/activity/aggregated/keys?limit=1&" + days, "api_keys.0.metrics.spend", "4.2"},
		{"/user/daily/activity/aggregated/keys?limit=1&" + days, "api_keys.1", "<nil>"},
		{"/user/daily/activity/aggregated/keys?offset=1&" + days, "api_keys.0.api_key", token},
		{"/user/daily/activity/aggregated/keys?offset=1&" + days, "api_keys.0.metadata.team_id", "team_a"},
		{"/user/daily/activity/aggregated/keys?offset=9&" + days, "total_api_keys", "2"},
		{"/team/daily/activity/aggregated/keys?team_ids=team_a&" + days, "total_api_keys", "1"},
		{"/user/daily/activity/aggregated/search?search=NOTE&" + days, "api_keys.0.api_key", token},
		{"/user/daily/activity/aggregated/search?search=" + token + "&" + days, "api_keys.0.metrics.api_requests", "20"},
		{"/user/daily/activity/aggregated/search?search=nobody&" + days, "api_keys.0", "<nil>"},
		{"/team/daily/activity/aggregated/model_top_keys?model_group=demo&" + days, "api_keys.0.metadata.key_alias", "=cmd"},
		{"/team/daily/activity/aggregated/model_top_keys?model_group=demo&limit=1&" + days, "api_keys.1", "<nil>"},
		{"/end_user/daily/activity/aggregated/model_top_keys?model_group=none&" + days, "api_keys.0", "<nil>"},
		{"/user/daily/activity/aggregated/users?" + days, "users.0.user_id", "u"},
		{"/user/daily/activity/aggregated/users?" + days, "users.0.spend", "8.2"},
		{"/user/daily/activity/aggregated/users?" + days, "users.0.failed_requests", "3"},
		{"/user/daily/activity/aggregated/users?" + days, "users.0.user_email", "<nil>"},
		{"/user/daily/activity/aggregated/users?" + days, "limit", "50"},
		{"/user/daily/activity/aggregated/cache_leakage_keys?limit=1&" + days, "api_keys.0.metrics.prompt_tokens", "300"},
		{"/user/daily/activity/aggregated/cache_leakage_keys?limit=1&" + days, "api_keys.1", "<nil>"},
		{"/tag/distinct", "results.0.tag", "t"},
		{"/tag/summary?" + days, "results.0.total_requests", "40"},
		{"/tag/summary?" + days + "&tag_filter=none", "results.0", "<nil>"},
		{"/tag/dau", "results.0.active_users", "1"},
		{"/tag/mau?tag_filters=t", "results.0.active_users", "1"},
		{"/tag/wau?tag_filters=none", "results.0", "<nil>"},
		{"/global/spend/report?" + days, "0.teams.1.team_name", "research"},
		{"/global/spend/report?" + days, "0.teams.1.total_spend", "1"},
		{"/global/spend/report?" + days + "&group_by=customer", "0.customers.0.total_spend", "2.1"},
		{"/global/spend/report?" + days + "&group_by=api_key", "0.model_details.0.total_output_tokens", "60"},
		{"/user/daily/activity?" + days, "results.0.date", "2026-03-10"},
		{"/user/daily/activity?" + days, "results.1.metrics.spend", "2.1"},
		{"/user/daily/activity?" + days, "metadata.total_spend", "8.2"},
		{"/user/daily/activity?" + days, "metadata.total_failed_requests", "3"},
		{"/user/daily/activity?" + days, "results.0.breakdown.models.demo.metrics.cache_read_input_tokens", "100"},
		{"/user/daily/activity?" + days, "results.0.breakdown.api_keys." + token + ".metadata.key_alias", "notebook"},
		{"/user/daily/activity?" + days + "&page_size=1", "metadata.has_more", "true"},
		{"/spend/logs/v2?project_id=p1", "total", "20"},
		{"/spend/logs?project_id=p1&" + days, "0.spend", "1"},
		{"/global/spend/report?project_id=p1&group_by=api_key&" + days, "0.total_cost", "4"},
		{"/user/daily/activity?project_id=p1&" + days, "metadata.total_spend", "4"},
		{"/provider/budgets?" + days, "providers.openai.spend", "8.2"},
		{"/provider/budgets?" + days, "providers.openai.budget_limit", "<nil>"},
		{"/team/spend/by_user?team_ids=research&" + days, "results.0.user_id", "u"},
		{"/team/spend/by_user?team_ids=research&" + days, "results.0.spend", "4"},
		{"/team/spend/by_user?team_ids=research&" + days, "results.0.team_alias", "research"},
		{"/team/daily/activity?" + days + "&team_ids=team_a", "metadata.total_api_requests", "20"},
		{"/team/daily/activity?" + days + "&exclude_team_ids=team_a", "metadata.total_api_requests", "20"},
		{"/tag/daily/activity/aggregated?" + days, "results.0.breakdown.entities.t.metrics.api_requests", "20"},
		{"/global/spend", "spend", "8.2"},
		{"/global/spend/keys", "0.key_alias", "=cmd"},
		{"/global/spend/models", "0.total_spend", "8.2"},
		{"/global/spend/teams", "total_spend_per_team.1.total_spend", "4"},
		{"/global/spend/tags", "spend_per_tag.0.log_count", "40"},
		{"/global/activity", "sum_api_requests", "40"},
		{"/global/activity/exceptions?model_group=demo&" + days, "sum_num_rate_limit_exceptions", "2"},
		{"/global/activity/exceptions?model_group=demo&" + days, "daily_data.0.date", "2026-03-10"},
		{"/global/activity/exceptions?model_group=other&" + days, "daily_data", "[]"},
		{"/global/activity/exceptions/deployment?model_group=demo&" + days, "0.deployment", "dep"},
		{"/global/activity/exceptions/deployment?model_group=demo&" + days, "0.sum_num_rate_limit_exceptions", "1"},
		{"/global/all_end_users", "end_users.0", "=HYPERLINK(1)"},
		{"/api/v1/usage?group_by=team&granularity=month&key=notebook", "items.0.by.team", "team_a"},
		{"/api/v1/usage?team=research", "items.0.requests", "20"},
		{"/api/v1/requests?limit=1&sort=cost", "items.0.request_id", "r0"},
	} {
		a := h.Call(adminapitest.MasterKey, "GET", tt.path, "")
		var v any
		dec := json.NewDecoder(strings.NewReader(string(a.Body)))
		dec.UseNumber()
		if err := dec.Decode(&v); err != nil || a.Status != 200 {
			t.Errorf("%s: got %d %s", tt.path, a.Status, a.Body)
			continue
		}
		if got := fmt.Sprint(at(v, tt.at)); got != tt.want {
			t.Errorf("%s: %s is %s, want %s", tt.path, tt.at, got, tt.want)
		}
	}
}

// TestUsageSource: whose count of a request's tokens it is stands in every answer about it.
func TestUsageSource(t *testing.T) {
	t.Parallel()
	h, _ := start(t)
	for id, want := range map[string]string{"r4": "estimated", "r5": "provider"} {
		var v any
		a := h.Call(adminapitest.MasterKey, "GET", "/spend/logs/v2?start_date=2026-03-09%2000:00:00&end_date=2026-03-10%2023:59:59&request_id="+id, "")
		if err := json.Unmarshal(a.Body, &v); err != nil || at(v, "data.0.metadata.conclave.usage_source") != want {
			t.Errorf("%s in the logs: got %d %s, want %s", id, a.Status, a.Body, want)
		}
		a = h.Call(adminapitest.MasterKey, "GET", "/api/v1/requests/"+id, "")
		if err := json.Unmarshal(a.Body, &v); err != nil || at(v, "items.0.usage_source") != want || !strings.Contains(fmt.Sprint(at(v, "items.0.explanation")), "("+want+")") {
			t.Errorf("%s explained: got %d %s, want %s", id, a.Status, a.Body, want)
		}
	}
	a := h.Call(adminapitest.MasterKey, "GET", "/api/v1/requests/export?from=2026-03-09T00:00:00Z&to=2026-03-11T00:00:00Z&format=csv", "")
	if a.Status != 200 || strings.Count(string(a.Body), "estimated") != 1 || !strings.Contains(string(a.Body), "usage_source") {
		t.Errorf("exported: got %d, %d times estimated", a.Status, strings.Count(string(a.Body), "estimated"))
	}
}

// TestUserActivity: users come by what they spent, then by id, who is nobody last; keys by the tokens that no cache gave.
func TestUserActivity(t *testing.T) {
	t.Parallel()
	h, secret := startWith(t, func(i int, r *ledger.Record) {
		r.UserID, r.Cost = []string{"user_b", "user_a", "", "c@example.org"}[i%4], resource.Dollar/100
		if i < 4 && i%4 == 3 {
			r.Cost *= 2
		}
		if r.KeyID == "key_1" {
			r.Usage.Input = 0 // all of it comes from the cache
		}
	})
	h.Must("POST", "/api/v1/users", `{"id":"user_a","name":"Ada","email":"ada@example.org"}`)
	h.Must("POST", "/api/v1/users", `{"id":"user_x","name":"Cleo","email":"c@example.org"}`)
	token := resource.HashSecret(secret).String()
	for _, tt := range []struct{ path, want string }{
		{"users?limit=2&" + days, `{"limit":2,"offset":0,"total_users":4,"users":[` +
			`{"api_requests":10,"completion_tokens":30,"failed_requests":1,"prompt_tokens":50,"spend":0.11,"successful_requests":9,"total_tokens":80,"user_alias":null,"user_email":null,"user_id":"c@example.org"},` +
			`{"api_requests":10,"completion_tokens":30,"failed_requests":1,"prompt_tokens":50,"spend":0.1,"successful_requests":9,"total_tokens":80,"user_alias":"Ada","user_email":"ada@example.org","user_id":"user_a"}]}`},
		{"users?offset=3&" + days, `{"limit":50,"offset":3,"total_users":4,"users":[` +
			`{"api_requests":10,"completion_tokens":30,"failed_requests":1,"prompt_tokens":150,"spend":0.1,"successful_requests":9,"total_tokens":180,"user_alias":null,"user_email":null,"user_id":null}]}`},
		{"users?offset=4&" + days, `{"limit":50,"offset":4,"total_users":4,"users":[]}`},
		{"users?user_id=user_b&start_date=2026-03-10&end_date=2026-03-10", `{"limit":50,"offset":0,"total_users":1,"users":[` +
			`{"api_requests":5,"completion_tokens":15,"failed_requests":0,"prompt_tokens":75,"spend":0.05,"successful_requests":5,"total_tokens":90,"user_alias":null,"user_email":null,"user_id":"user_b"}]}`},
		{"cache_leakage_keys?" + days, `{"api_keys":[{"api_key":"` + token + `","metadata":{"key_alias":"notebook","key_exists":true,"team_id":"team_a","user_email":null,"user_id":null},` +
			`"metrics":{"api_requests":20,"cache_creation_input_tokens":0,"cache_read_input_tokens":100,"completion_tokens":60,"failed_requests":1,"prompt_tokens":300,"spend":0.2,"successful_requests":19,"total_tokens":360}}]}`},
	} {
		a := h.Call(adminapitest.MasterKey, "GET", "/user/daily/activity/aggregated/"+tt.path, "")
		if d := cmp.Diff(tt.want+"\n", string(a.Body)); d != "" || a.Status != 200 {
			t.Errorf("%s: %d (-want +got)\n%s", tt.path, a.Status, d)
		}
	}
}

// TestTagPerUser: who was served most comes first, with the tag that he used most; who is nobody is not told.
func TestTagPerUser(t *testing.T) {
	t.Parallel()
	h, secret := startWith(t, func(i int, r *ledger.Record) {
		r.UserID = []string{"user_b", "user_a", "user_b", ""}[i%4]
		if i%8 == 0 {
			r.Tags = []string{"User-Agent: x"}
		}
		if i%4 == 2 {
			r.Tags = []string{"t", "u"}
		}
		if i == 5 {
			r.Tags = nil
		}
	})
	h.Must("POST", "/api/v1/users", `{"id":"user_a","email":"ada@example.org"}`)
	const path = "/tag/user-agent/per-user-analytics"
	userA := `{"failed_requests":1,"spend":1.94,"successful_requests":8,"total_requests":9,"total_tokens":162,"user_agent":"t","user_email":"ada@example.org","user_id":"user_a"}`
	for query, want := range map[string]string{
		"":                    `{"page":1,"page_size":50,"results":[{"failed_requests":2,"spend":6.1,"successful_requests":28,"total_requests":30,"total_tokens":540,"user_agent":"t","user_email":null,"user_id":"user_b"},` + userA + `],"total_count":2,"total_pages":1}`,
		"?page=2&page_size=1": `{"page":2,"page_size":1,"results":[` + userA + `],"total_count":2,"total_pages":2}`,
		"?page=3&page_size=1": `{"page":3,"page_size":1,"results":[],"total_count":2,"total_pages":2}`,
		"?tag_filter=User-Agent:%20x": `{"page":1,"page_size":50,"results":[{"failed_requests":0,"spend":0.85,"successful_requests":5,"total_requests":5,"total_tokens":90,` +
			`"user_agent":"User-Agent: x","user_email":null,"user_id":"user_b"}],"total_count":1,"total_pages":1}`,
		"?tag_filter=none": `{"page":1,"page_size":50,"results":[],"total_count":0,"total_pages":0}`,
	} {
		a := h.Call(adminapitest.MasterKey, "GET", path+query, "")
		if d := cmp.Diff(want+"\n", string(a.Body)); d != "" || a.Status != 200 {
			t.Errorf("%s: %d (-want +got)\n%s", query, a.Status, d)
		}
	}
	for key, want := range map[string]int{secret: 403, adminapitest.MasterKey: 400} {
		if a := h.Call(key, "GET", path+"?page=0", ""); a.Status != want {
			t.Errorf("got %d %s, want %d", a.Status, a.Body, want)
		}
	}
}

func TestGatewayActivity(t *testing.T) {
	t.Parallel()
	h, secret := startWith(t, func(i int, r *ledger.Record) {
		if i%10 == 7 {
			r.Endpoint = "mcp"
		}
	})
	const path = "/gateway/daily/activity"
	days := `"by_date":[{"date":"2026-03-09","successful_requests":20,"failed_requests":0},{"date":"2026-03-10","successful_requests":17,"failed_requests":3}]`
	routes := `"by_route":[{"category":"llm","route":"chat","successful_requests":34,"failed_requests":2},{"category":"mcp","route":"mcp","successful_requests":3,"failed_requests":1}]`
	want := "{" + days + "," + routes + `,"total_failed_requests":3,"total_successful_requests":37}` + "\n"
	for _, query := range []string{"", "?start_date=2026-03-09&end_date=2026-03-10"} {
		a := h.Call(adminapitest.MasterKey, "GET", path+query, "")
		if d := cmp.Diff(want, string(a.Body)); d != "" || a.Status != 200 {
			t.Errorf("%s: %d (-want +got)\n%s", query, a.Status, d)
		}
	}
	empty := `{"by_date":[],"by_route":[],"total_failed_requests":0,"total_successful_requests":0}` + "\n"
	if a := h.Call(adminapitest.MasterKey, "GET", path+"?start_date=2026-01-01&end_date=2026-01-02", ""); string(a.Body) != empty {
		t.Errorf("of other days: got %d %s", a.Status, a.Body)
	}
	for key, want := range map[string]int{secret: 403, adminapitest.MasterKey: 400} {
		if a := h.Call(key, "GET", path+"?start_date=x", ""); a.Status != want {
			t.Errorf("got %d %s, want %d", a.Status, a.Body, want)
		}
	}
}

// TestGatewayErrors: failures by day and status, and those who have them, with names that only an administrator sees.
func TestGatewayErrors(t *testing.T) {
	t.Parallel()
	h, secret := startWith(t, func(i int, r *ledger.Record) {
		if i == 36 || i == 2 {
			r.Status, r.ErrorKind, r.ErrorCode = 401, "unauthenticated", "x"
		}
		if i < 4 {
			r.UserID, r.Model = "", "other"
		}
	})
	token := resource.HashSecret(secret).String()
	const path = "/gateway/errors/activity"
	want := `{"by_date":[` +
		`{"by_status_code":[{"status_code":401,"failed_requests":1}],"client_errors":1,"date":"2026-03-09","failed_requests":1,"server_errors":0,"successful_requests":19},` +
		`{"by_status_code":[{"status_code":429,"failed_requests":2},{"status_code":401,"failed_requests":1},{"status_code":502,"failed_requests":1}],` +
		`"client_errors":3,"date":"2026-03-10","failed_requests":4,"server_errors":1,"successful_requests":16}],` +
		`"by_key":[{"api_requests":20,"failed_requests":3,"id":"` + token + `","label":"notebook","top_status_code":401,"top_status_code_requests":2},` +
		`{"api_requests":20,"failed_requests":2,"id":"` + keyOf(h, "key_1") + `","label":"=cmd","top_status_code":429,"top_status_code_requests":1}],` +
		`"by_model":[{"api_requests":36,"failed_requests":4,"id":"demo","label":null,"top_status_code":429,"top_status_code_requests":2},` +
		`{"api_requests":4,"failed_requests":1,"id":"other","label":null,"top_status_code":401,"top_status_code_requests":1}],` +
		`"by_status_code":[{"status_code":401,"failed_requests":2},{"status_code":429,"failed_requests":2},{"status_code":502,"failed_requests":1}],` +
		`"by_team":[{"api_requests":20,"failed_requests":3,"id":"team_a","label":"research","top_status_code":401,"top_status_code_requests":2}],` +
		`"by_user":[{"api_requests":36,"failed_requests":4,"id":"u","label":null,"top_status_code":429,"top_status_code_requests":2}],` +
		`"total_failed_requests":5,"total_successful_requests":35}` + "\n"
	for _, query := range []string{"", "?" + days} {
		a := h.Call(adminapitest.MasterKey, "GET", path+query, "")
		if d := cmp.Diff(want, string(a.Body)); d != "" || a.Status != 200 {
			t.Errorf("%s: %d (-want +got)\n%s", query, a.Status, d)
		}
	}
	for key, want := range map[string]int{secret: 403, adminapitest.MasterKey: 400} {
		if a := h.Call(key, "GET", path+"?end_date=x", ""); a.Status != want {
			t.Errorf("got %d %s, want %d", a.Status, a.Body, want)
		}
	}
}

func keyOf(h *adminapitest.Harness, id string) string {
	k, _ := h.State.Key(id)
	return k.Hash.String()
}

func TestEndUserSpend(t *testing.T) {
	t.Parallel()
	h, secret := start(t)
	const path = "/global/spend/end_users"
	a := h.Call(adminapitest.MasterKey, "POST", path, `{"startTime":"2026-03-09","endTime":"2026-03-10"}`)
	if got, want := string(a.Body), `[{"end_user":"=HYPERLINK(1)","total_count":40,"total_spend":8.2}]`+"\n"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	a = h.Call(adminapitest.MasterKey, "POST", path, `{"api_key":"notebook","startTime":"2026-03-09","endTime":"2026-03-10"}`)
	if got, want := string(a.Body), `[{"end_user":"=HYPERLINK(1)","total_count":20,"total_spend":4}]`+"\n"; got != want {
		t.Errorf("of one key: got %s, want %s", got, want)
	}
	for key, want := range map[string]int{secret: 403, adminapitest.MasterKey: 400} {
		if a := h.Call(key, "POST", path, `[7]`); a.Status != want {
			t.Errorf("got %d, want %d", a.Status, want)
		}
	}
}

// An inference key sees its own requests and nobody else's.
func TestOwn(t *testing.T) {
	t.Parallel()
	h, secret := start(t)
	for _, tt := range []struct {
		path   string
		status int
		has    string
		not    string
	}{
		{"/spend/logs/v2", 200, `"total":20`, `"r1"`},
		{"/spend/logs/v2?api_key=key_1", 403, "", ""},
		{"/user/daily/activity?" + days, 200, `"total_api_requests":20`, ""},
		{"/user/daily/activity/aggregated/keys?" + days, 200, `"total_api_keys":1`, "=cmd"},
		{"/user/daily/activity/aggregated/search?search=cmd&" + days, 200, `"api_keys":[]`, "=cmd"},
		{"/user/daily/activity/aggregated/model_top_keys?model_group=demo&" + days, 200, `"api_requests":20`, "=cmd"},
		{"/user/daily/activity/aggregated/keys?api_key=key_1&" + days, 403, "", ""},
		{"/user/daily/activity/aggregated/users?" + days, 200, `"api_requests":20`, ""},
		{"/user/daily/activity/aggregated/users?api_key=key_1&" + days, 403, "", ""},
		{"/user/daily/activity/aggregated/cache_leakage_keys?" + days, 200, `"api_requests":20`, "=cmd"},
		{"/user/daily/activity/aggregated/cache_leakage_keys?api_key=key_1&" + days, 403, "", ""},
		{"/spend/tags", 200, `"log_count":20`, ""},
		{"/global/spend/report?" + days, 403, "", ""},
		{"/provider/budgets", 403, "", ""},
		{"/global/activity/exceptions?model_group=demo&" + days, 403, "", ""},
		{"/team/spend/by_user?team_ids=team_a&" + days, 200, `"api_requests":20`, ""},
		{"/team/spend/by_user?" + days, 400, "team_ids", ""},
		{"/team/spend/by_user?team_ids=nosuch&" + days, 404, "", ""},
		{"/spend/logs/ui/r0", 403, "", ""},
		{"/api/v1/requests", 200, `"r2"`, `"r1"`},
		{"/api/v1/requests/r1", 404, "", ""},
		{"/api/v1/requests/r2", 200, "Served", ""},
		{"/api/v1/requests?key=key_1", 403, "", ""},
		{"/api/v1/usage", 200, `"requests":20`, ""},
		{"/api/v1/usage?key=key_1", 403, "", ""},
		{"/api/v1/usage?kind=key&id=key_1", 403, "", ""},
		{"/api/v1/usage/export?group_by=key", 200, "key_0", "key_1"},
		{"/api/v1/requests/export", 200, "r0", ",key_1,"},
		{"/api/v1/ledger/verify", 403, "", ""},
	} {
		a := h.Call(secret, "GET", tt.path, "")
		body := string(a.Body)
		if a.Status != tt.status || !strings.Contains(body, tt.has) || tt.not != "" && strings.Contains(body, tt.not) {
			t.Errorf("%s: got %d %.300s", tt.path, a.Status, body)
		}
	}
}

func TestBadInput(t *testing.T) {
	t.Parallel()
	h, _ := start(t)
	for path, field := range map[string]string{
		"/user/daily/activity":                                                                      "start_date",
		"/user/daily/activity/aggregated/keys":                                                      "start_date",
		"/user/daily/activity/aggregated/keys?limit=0&" + days:                                      "limit",
		"/user/daily/activity/aggregated/keys?offset=-1&" + days:                                    "offset",
		"/user/daily/activity/aggregated/search?" + days:                                            "search",
		"/user/daily/activity/aggregated/model_top_keys?" + days:                                    "model_group",
		"/user/daily/activity/aggregated/model_top_keys?model_group=x&by_model_group=false&" + days: "by_model_group",
		"/user/daily/activity/aggregated/users":                                                     "start_date",
		"/user/daily/activity/aggregated/users?limit=1001&" + days:                                  "limit",
		"/user/daily/activity/aggregated/users?offset=x&" + days:                                    "offset",
		"/user/daily/activity/aggregated/cache_leakage_keys":                                        "start_date",
		"/user/daily/activity/aggregated/cache_leakage_keys?limit=-1&" + days:                       "limit",
		"/user/daily/activity?start_date=x&end_date=y":                                              "start_date",
		"/global/spend/report?" + days + "&group_by=weather":                                        "group_by",
		"/spend/logs/v2?page=0":                                                                     "page",
		"/spend/logs/v2?page=1000&page_size=1000":                                                   "page",
		"/spend/logs/v2?sort_by=beauty":                                                             "sort_by",
		"/spend/logs/v2?min_spend=much":                                                             "min_spend",
		"/team/daily/activity/export?" + days + "&format=x":                                         "format",
		"/api/v1/usage?group_by=planet":                                                             "group_by",
		"/api/v1/usage?group_by=customer,tag":                                                       "granularity",
		"/api/v1/usage?granularity=day&from=tomorrow":                                               "from",
		"/api/v1/requests?cursor=1":                                                                 "cursor",
		"/api/v1/requests?sort=beauty":                                                              "sort",
	} {
		if a := h.Call(adminapitest.MasterKey, "GET", path, ""); a.Status != 400 || !strings.Contains(string(a.Body), field) {
			t.Errorf("%s: got %d %s", path, a.Status, a.Body)
		}
	}
}

// A spreadsheet must not take a name for a formula.
func TestExport(t *testing.T) {
	t.Parallel()
	h, _ := start(t)
	for path, want := range map[string]string{
		"/api/v1/requests/export?limit=3":                        "2026-03-09T12:00:00.000000000Z,r0,n1,1,1,key_0,team_a,",
		"/api/v1/usage/export?group_by=customer&granularity=day": "2026-03-10T00:00:00Z,'=HYPERLINK(1),6.1,20,3,300,60,100,0,0",
		"/customer/daily/activity/export?" + days:                "2026-03-10,'=HYPERLINK(1),6.1,20,17,3,300,60,360",
		"/api/v1/requests/export?format=json":                    `"request_id":"r39"`,
	} {
		if a := h.Call(adminapitest.MasterKey, "GET", path, ""); a.Status != 200 || !strings.Contains(string(a.Body), want) {
			t.Errorf("%s: got %d %.500s", path, a.Status, a.Body)
		}
	}
}

func FuzzParseTime(f *testing.F) {
	f.Add("2026-01-31")
	f.Add("7d")
	now := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	f.Fuzz(func(_ *testing.T, text string) { _, _ = spend.ParseEnd("to", text, now, now) })
}

// TestContent_Audited checks that who asks for what a request said is in the audit log, and
// that nothing is shown while that cannot be written.
func TestContent_Audited(t *testing.T) {
	t.Parallel()
	h, secret := start(t)
	reads := func() (n int) {
		audit := h.Must("GET", "/api/v1/audit?action=read_body", "")
		items, _ := audit["items"].([]any)
		return len(items)
	}
	for i, path := range []string{"/api/v1/requests/r4?content=true", "/spend/logs/ui/r4"} {
		h.Call(adminapitest.MasterKey, "GET", path, "")
		if got := reads(); got != i+1 {
			t.Errorf("after %s: %d entries, want %d", path, got, i+1)
		}
	}
	h.Call(secret, "GET", "/api/v1/requests/r4?content=true", "")
	if got := reads(); got != 2 {
		t.Errorf("who reads his own is noted: %d entries, want 2", got)
	}
	h.Down = resource.ErrNoLeader
	if a := h.Call(adminapitest.MasterKey, "GET", "/api/v1/requests/r4?content=true", ""); a.Status != 503 {
		t.Errorf("without a leader: got %d %s, want 503", a.Status, a.Body)
	}
}
