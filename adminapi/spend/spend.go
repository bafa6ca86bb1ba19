// Package spend answers questions about spend and requests: what /api/v1 and the exports
// ask, and LiteLLM's spend routes (/spend/logs, /global/spend/report, /user/daily/activity
// and their kin), with LiteLLM's fields. The numbers come from the nodes' own records
// (package requestlog); this package resolves names, bounds what a caller may see to his own,
// and gives the answers their forms.
package spend

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/conclave-llm/conclave/adminapi/records"
	"github.com/conclave-llm/conclave/ledger/contents"
	"github.com/conclave-llm/conclave/ledger/requestlog"
	"github.com/conclave-llm/conclave/ledger/rollup"
	"github.com/conclave-llm/conclave/resource"
)

// Requests are the requests of all nodes; *requestlog.Cluster is one. The lists of names are
// the nodes that gave no answer.
type Requests interface {
	Rows(ctx context.Context, q requestlog.Query) (requestlog.Page, []string, error)
	Usage(ctx context.Context, q rollup.Query) ([]rollup.Line, []string, error)
	Content(ctx context.Context, requestID, keyID string) (*contents.Content, []string, error)
	Verify(ctx context.Context, index uint64, upTo map[string]uint64, want []requestlog.Replicated) (*requestlog.Verification, error)
}

// HeaderMissing names the nodes whose requests an answer lacks.
const HeaderMissing = "X-Conclave-Missing-Nodes"

// Config says what the API works on. No field may be zero.
type Config struct {
	Requests  Requests
	Records   *records.Records
	KeyByHash func(h resource.Hash) (*resource.Key, bool)
	Now       func() time.Time
	// Reads is told of who is about to read what a request said; its error refuses that.
	Reads func(ctx context.Context, by records.Caller, requestID string) error
	// Exports is told of who is about to take away what, and in which format; its error refuses that.
	Exports func(ctx context.Context, by records.Caller, what, format string) error
}

// API answers questions about spend. It may be used concurrently.
type API struct{ cfg Config }

// New returns the API.
func New(cfg Config) *API { return &API{cfg} }

// Handler answers a request of an admitted caller, or returns the error for the one who
// serves it.
type Handler func(w http.ResponseWriter, r *http.Request, by records.Caller) error

// Route is a path with what answers it.
type Route struct {
	ID      string // name of its row in the table of rights
	Method  string
	Pattern string
	Handler Handler
}

// Routes lists LiteLLM's paths. The one who serves them authorises the caller.
func (a *API) Routes() []Route {
	get := func(id, pattern string, h Handler) Route { return Route{"litellm-" + id, http.MethodGet, pattern, h} }
	routes := []Route{
		get("spend-logs", "/spend/logs", a.logs),
		get("spend-logs-v2", "/spend/logs/v2", a.logsPage),
		get("spend-logs-ui", "/spend/logs/ui", a.logsPage),
		get("spend-logs-session", "/spend/logs/session/ui", a.logsPage),
		get("spend-logs-content", "/spend/logs/ui/{request_id}", a.logContent),
		get("spend-keys", "/spend/keys", a.spendList(rollup.Key)),
		get("spend-users", "/spend/users", a.spendList(rollup.User)),
		get("spend-tags", "/spend/tags", a.spendTags),
		get("global-spend-report", "/global/spend/report", a.report("")),
		get("key-spend-report", "/key/spend/report", a.report("api_key")),
		get("user-spend-report", "/user/spend/report", a.report("internal_user")),
		get("team-spend-report", "/team/spend/report", a.report("team")),
		get("organization-spend-report", "/organization/spend/report", a.report("organization")),
		get("global-spend", "/global/spend", a.globalSpend),
		get("global-spend-logs", "/global/spend/logs", a.globalDays),
		get("global-spend-keys", "/global/spend/keys", a.globalTop(rollup.Key)),
		get("global-spend-teams", "/global/spend/teams", a.globalTeams),
		get("global-spend-models", "/global/spend/models", a.globalTop(rollup.Model)),
		get("global-spend-provider", "/global/spend/provider", a.globalTop(rollup.Provider)),
		get("global-spend-tags", "/global/spend/tags", a.spendTags),
		get("global-spend-tag-names", "/global/spend/all_tag_names", a.tagNames),
		get("global-end-users", "/global/all_end_users", a.endUsers),
		get("global-activity", "/global/activity", a.globalActivity),
		get("global-activity-model", "/global/activity/model", a.globalActivityModel),
		get("global-activity-exceptions", "/global/activity/exceptions", a.exceptions),
		get("global-activity-exceptions-deployment", "/global/activity/exceptions/deployment", a.deploymentExceptions),
		get("gateway-activity", "/gateway/daily/activity", a.gatewayActivity),
		get("gateway-errors", "/gateway/errors/activity", a.errorsActivity),
		get("provider-budgets", "/provider/budgets", a.providerBudgets),
		get("team-spend-by-user", "/team/spend/by_user", a.teamByUser),
		{"litellm-global-spend-end-users", http.MethodPost, "/global/spend/end_users", a.endUserSpend},
	}
	for _, e := range entities {
		for _, path := range e.paths {
			id := strings.ReplaceAll(strings.Trim(path, "/"), "_", "-")
			routes = append(routes,
				get(id+"-activity", path+"/daily/activity", a.activity(e, paged)),
				get(id+"-activity-aggregated", path+"/daily/activity/aggregated", a.activity(e, whole)),
				get(id+"-activity-keys", path+"/daily/activity/aggregated/keys", a.keyPage(e)),
				get(id+"-activity-search", path+"/daily/activity/aggregated/search", a.keySearch(e)),
				get(id+"-activity-top-keys", path+"/daily/activity/aggregated/model_top_keys", a.modelTopKeys(e)),
				get(id+"-activity-export", path+"/daily/activity/export", a.exportActivity(e)),
			)
		}
		if e.dim == rollup.User {
			routes = append(routes,
				get("user-activity-users", "/user/daily/activity/aggregated/users", a.userPage(e)),
				get("user-activity-cache-leakage", "/user/daily/activity/aggregated/cache_leakage_keys", a.cacheLeakage(e)),
			)
		}
	}
	return slices.Concat(routes, a.tagRoutes(), a.modelRoutes(), a.facetRoutes())
}

// write writes an answer, and names the nodes that it lacks.
func write(w http.ResponseWriter, v any, missing []string) error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("write answer: %w", err)
	}
	setMissing(w, missing)
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(b.Bytes()) // who does not listen any more needs no answer
	return nil
}

func setMissing(w http.ResponseWriter, missing []string) {
	if len(missing) > 0 {
		w.Header().Set(HeaderMissing, strings.Join(missing, ", "))
	}
}

// dollars is an amount as a JSON number.
func dollars(nano int64) resource.Money { return resource.Money(nano) }
