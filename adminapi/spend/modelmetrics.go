package spend

import (
	"cmp"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/conclave-llm/conclave/adminapi/records"
	"github.com/conclave-llm/conclave/ledger/requestlog"
	"github.com/conclave-llm/conclave/ledger/rollup"
)

// slowAfter is when a request counts as slow: LiteLLM's default of alerting_threshold.
const slowAfter = 300 * time.Second

// mostModels bounds the rows of /model/metrics/exceptions.
const mostModels = 200

// modelRoutes are LiteLLM's charts of one model's deployments.
func (a *API) modelRoutes() []Route {
	get := func(id, pattern string, h Handler) Route { return Route{"litellm-" + id, http.MethodGet, pattern, h} }
	return []Route{
		get("global-activity-cache-hits", "/global/activity/cache_hits", a.cacheHits),
		get("model-metrics", "/model/metrics", a.modelMetrics),
		get("model-streaming-metrics", "/model/streaming_metrics", a.streamingMetrics),
		get("model-slow-responses", "/model/metrics/slow_responses", a.slowResponses),
		get("model-exceptions", "/model/metrics/exceptions", a.modelExceptions),
	}
}

// chartNames are the parameters of a chart that choose requests; clients in JavaScript write some that are absent.
func chartNames(v url.Values) url.Values {
	out := url.Values{}
	for theirs, ours := range map[string]string{"_selected_model_group": "model", "api_key": "key", "customer": "customer"} {
		if text := v.Get(theirs); text != "" && text != "undefined" && text != "null" {
			out.Set(ours, text)
		}
	}
	return out
}

// chartError names the fields of an error as the charts do.
func chartError(err error) error { return renamedTo(err, "startTime", "endTime") }

// chart sums the requests that a chart is about, by day and deployment.
func (a *API) chart(r *http.Request, by records.Caller, granularity string) ([]rollup.Line, []string, error) {
	v := r.URL.Query()
	q, err := a.Usage(by, UsageParams{
		From: v.Get("startTime"), To: v.Get("endTime"), Granularity: granularity, GroupBy: "deployment", Names: chartNames(v),
	})
	if err != nil {
		return nil, nil, chartError(err)
	}
	return a.cfg.Requests.Usage(r.Context(), q)
}

// chartRows asks for the requests that a chart is about.
func (a *API) chartRows(by records.Caller, v url.Values, p RowParams) (requestlog.Query, error) {
	p.From, p.To, p.Names = v.Get("startTime"), v.Get("endTime"), chartNames(v)
	if p.From == "" {
		p.From = a.cfg.Now().UTC().AddDate(0, 0, -30).Format(time.RFC3339)
	}
	p.Limit = requestlog.MaxRows
	q, err := a.Rows(by, p)
	return q, chartError(err)
}

// deploymentName is what LiteLLM calls a deployment in charts: its address, or else the model's name at the provider.
func (a *API) deploymentName(id string) string {
	d, ok := a.cfg.Records.Deployments.Find(id)
	switch {
	case !ok || d.ID != id:
		return id
	case d.APIBase != "":
		return d.APIBase
	}
	return cmp.Or(d.Upstream, d.Provider)
}

// curves are numbers by what they stand under (a day, or a request) and deployment.
type curves struct {
	at    map[string]map[string]any
	names map[string]bool
}

func newCurves() *curves { return &curves{map[string]map[string]any{}, map[string]bool{}} }

func (c *curves) put(under, name string, v float64) {
	if c.at[under] == nil {
		c.at[under] = map[string]any{"date": under}
	}
	c.at[under][name], c.names[name] = v, true
}

// view is LiteLLM's form of them.
func (c *curves) view() map[string]any {
	data := make([]map[string]any, 0, len(c.at))
	for _, under := range slices.Sorted(maps.Keys(c.at)) {
		data = append(data, c.at[under])
	}
	return map[string]any{"data": data, "all_api_bases": append([]string{}, slices.Sorted(maps.Keys(c.names))...)}
}

// byCurve sums lines whose deployments have one name.
func (a *API) byCurve(lines []rollup.Line) map[[2]string]*rollup.Sums {
	out := map[[2]string]*rollup.Sums{}
	for i := range lines {
		if id := lines[i].Names[0]; id != "" { // else nobody was asked
			at := [2]string{dayOf(lines[i].Start), a.deploymentName(id)}
			if out[at] == nil {
				out[at] = &rollup.Sums{}
			}
			out[at].Add(&lines[i].Sums)
		}
	}
	return out
}

// modelMetrics answers /model/metrics: the seconds of a model's requests for each token of their completions, by day and
// deployment.
func (a *API) modelMetrics(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	lines, missing, err := a.chart(r, by, "day")
	if err != nil {
		return err
	}
	c := newCurves()
	for at, s := range a.byCurve(lines) {
		if s.Completion > 0 {
			c.put(at[0], at[1], time.Duration(s.Duration).Seconds()/float64(s.Completion))
		}
	}
	return write(w, c.view(), missing)
}

// streamingMetrics answers /model/streaming_metrics: the seconds to the first token, by day and deployment; of one day,
// those of its newest streams, each by itself.
func (a *API) streamingMetrics(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	v := r.URL.Query()
	now := a.cfg.Now().UTC()
	if v.Get("startTime") == "" {
		v.Set("startTime", now.AddDate(0, 0, -7).Format(time.RFC3339))
		r.URL.RawQuery = v.Encode()
	}
	from, err := ParseTime("startTime", v.Get("startTime"), now, now)
	if err != nil {
		return err
	}
	to, err := ParseTime("endTime", v.Get("endTime"), now, now)
	if err != nil {
		return err
	}
	if from.UTC().Format(time.DateOnly) == to.UTC().Format(time.DateOnly) {
		return a.streamsOfDay(w, r, by, from)
	}
	lines, missing, err := a.chart(r, by, "day")
	if err != nil {
		return err
	}
	c := newCurves()
	for at, s := range a.byCurve(lines) {
		if s.Streams > 0 {
			c.put(at[0], at[1], time.Duration(s.TTFT/s.Streams).Seconds())
		}
	}
	return write(w, c.view(), missing)
}

func (a *API) streamsOfDay(w http.ResponseWriter, r *http.Request, by records.Caller, at time.Time) error {
	v := r.URL.Query()
	day := at.UTC().Format(time.DateOnly)
	v.Set("startTime", day)
	v.Set("endTime", day) // its end
	q, err := a.chartRows(by, v, RowParams{})
	if err != nil {
		return err
	}
	page, missing, err := a.cfg.Requests.Rows(r.Context(), q)
	if err != nil {
		return err
	}
	c := newCurves()
	for i := range page.Rows {
		if row := &page.Rows[i]; row.TTFT > 0 && row.DeploymentID != "" {
			c.put(row.RequestID, a.deploymentName(row.DeploymentID), time.Duration(row.TTFT).Seconds())
		}
	}
	return write(w, c.view(), missing)
}

// slowCounts are the requests of a deployment, and how many of them were slow.
type slowCounts struct {
	Name  string `json:"api_base"`
	Total int64  `json:"total_count"`
	Slow  int64  `json:"slow_count"`
}

// slowResponses answers /model/metrics/slow_responses: how many of a model's requests took slowAfter or longer, by
// deployment; the longest requestlog.MaxRows ones are looked at.
func (a *API) slowResponses(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	lines, missing, err := a.chart(r, by, "total")
	if err != nil {
		return err
	}
	all := map[string]*slowCounts{}
	of := func(id string) *slowCounts {
		name := a.deploymentName(id)
		if all[name] == nil {
			all[name] = &slowCounts{Name: name}
		}
		return all[name]
	}
	for i := range lines {
		if id := lines[i].Names[0]; id != "" {
			of(id).Total += lines[i].Sums.Requests
		}
	}
	q, err := a.chartRows(by, r.URL.Query(), RowParams{Sort: "-duration"})
	if err != nil {
		return err
	}
	page, absent, err := a.cfg.Requests.Rows(r.Context(), q)
	if err != nil {
		return err
	}
	if len(missing) == 0 { // else it names them, with the times of their copies
		missing = absent
	}
	for i := range page.Rows {
		row := &page.Rows[i]
		if n := max(row.Count, 1); row.DeploymentID != "" && row.Duration/n >= int64(slowAfter) {
			of(row.DeploymentID).Slow += n
		}
	}
	out := slices.SortedFunc(maps.Values(all), func(x, y *slowCounts) int {
		return cmp.Or(cmp.Compare(y.Slow, x.Slow), strings.Compare(x.Name, y.Name))
	})
	return write(w, append([]*slowCounts{}, out...), missing)
}

// exceptionNames are LiteLLM's names of errors by their statuses.
var exceptionNames = map[int32]string{
	http.StatusBadRequest: "BadRequestError", http.StatusUnauthorized: "AuthenticationError", http.StatusForbidden: "PermissionDeniedError",
	http.StatusNotFound: "NotFoundError", http.StatusRequestTimeout: "Timeout", http.StatusUnprocessableEntity: "UnprocessableEntityError",
	http.StatusTooManyRequests: "RateLimitError", http.StatusInternalServerError: "InternalServerError", http.StatusBadGateway: "BadGatewayError",
	http.StatusServiceUnavailable: "ServiceUnavailableError", http.StatusGatewayTimeout: "Timeout",
}

// modelExceptions answers /model/metrics/exceptions: the failures of a model's requests by deployment and kind. What the
// gateway refused itself was sent to none, and stands under the model alone.
func (a *API) modelExceptions(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	q, err := a.chartRows(by, r.URL.Query(), RowParams{Status: "failure"})
	if err != nil {
		return err
	}
	counts, totals, types := map[string]map[string]int64{}, map[string]int64{}, map[string]bool{}
	absent, err := a.eachFailure(r.Context(), q, func(row *requestlog.Row) {
		name, kind := row.Model, cmp.Or(exceptionNames[row.Status], "APIError")
		if row.DeploymentID != "" {
			name += "-" + a.deploymentName(row.DeploymentID)
		}
		if counts[name] == nil {
			counts[name] = map[string]int64{}
		}
		n := max(row.Count, 1)
		counts[name][kind] += n
		totals[name], types[kind] = totals[name]+n, true
	})
	if err != nil {
		return err
	}
	names := slices.SortedFunc(maps.Keys(totals), func(x, y string) int {
		return cmp.Or(cmp.Compare(totals[y], totals[x]), strings.Compare(x, y))
	})
	data := []map[string]any{}
	for _, name := range names[:min(len(names), mostModels)] {
		row := map[string]any{"model": name, "total_exceptions": totals[name]}
		for kind, n := range counts[name] {
			row[kind] = n
		}
		data = append(data, row)
	}
	return write(w, map[string]any{"data": data, "exception_types": append([]string{}, slices.Sorted(maps.Keys(types))...)}, absent)
}

// cacheHits answers /global/activity/cache_hits: requests by key, endpoint and model, and how many of them were answered
// from a cache of responses.
func (a *API) cacheHits(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	v := r.URL.Query()
	for _, name := range []string{"start_date", "end_date"} {
		if v.Get(name) == "" {
			return invalid(name, "is missing")
		}
	}
	lines, missing, err := a.lines(r, by, dates{v.Get("start_date"), v.Get("end_date")}, nil, "total", rollup.Key, rollup.Endpoint, rollup.Model)
	if err != nil {
		return err
	}
	cached := map[[3]string]int64{} // tokens of completions
	if slices.ContainsFunc(lines, func(l rollup.Line) bool { return l.Sums.CacheHits > 0 }) {
		q, err := a.Rows(by, RowParams{From: v.Get("start_date"), To: v.Get("end_date"), Limit: requestlog.MaxRows})
		if err != nil {
			return renamed(err)
		}
		q.CacheHitOnly = true
		if _, err := a.eachFailure(r.Context(), q, func(row *requestlog.Row) {
			cached[[3]string{row.KeyID, row.Endpoint, row.Model}] += row.Completion()
		}); err != nil {
			return err
		}
	}
	out := make([]map[string]any, 0, len(lines))
	for i := range lines {
		l := &lines[i]
		_, alias := names{a}.key(l.Names[0])
		hit := cached[[3]string{l.Names[0], l.Names[1], l.Names[2]}]
		out = append(out, map[string]any{
			"api_key": cmp.Or(alias, "Unnamed Key"), "call_type": cmp.Or(callTypes[l.Names[1]], l.Names[1]), "model": l.Names[2],
			"total_rows": l.Sums.Requests, "failed_rows": l.Sums.Failures, "cache_hit_true_rows": l.Sums.CacheHits,
			"cached_completion_tokens": hit, "generated_completion_tokens": l.Sums.Completion - hit,
			"cache_read_input_tokens": l.Sums.CacheRead, "cache_creation_input_tokens": l.Sums.CacheWrite,
		})
	}
	return write(w, out, missing)
}
