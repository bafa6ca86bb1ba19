package spend

import (
	"cmp"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/conclave-llm/conclave/adminapi/records"
	"github.com/conclave-llm/conclave/ledger/requestlog"
)

// refusal is one request that was answered with 429.
type refusal struct{ day, deployment string }

// exceptions answers /global/activity/exceptions: how many requests for a model were answered with 429, by day.
func (a *API) exceptions(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	all, missing, err := a.refusals(r, by)
	if err != nil {
		return err
	}
	return write(w, refusalsOf(all, func(refusal) bool { return true }), missing)
}

// deploymentExceptions answers /global/activity/exceptions/deployment: the same, by the deployment that was
// asked last. What the gateway refused itself was sent to none.
func (a *API) deploymentExceptions(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	all, missing, err := a.refusals(r, by)
	if err != nil {
		return err
	}
	names := map[string]bool{}
	for c := range all {
		if c.deployment != "" {
			names[c.deployment] = true
		}
	}
	out := make([]map[string]any, 0, len(names))
	for _, id := range slices.Sorted(maps.Keys(names)) {
		row := refusalsOf(all, func(c refusal) bool { return c.deployment == id })
		row["deployment"], row["api_base"] = id, nil
		if d, ok := a.cfg.Records.Deployments.Find(id); ok {
			row["api_base"] = orNil(d.APIBase)
		}
		out = append(out, row)
	}
	return write(w, out, missing)
}

// refusalsOf is LiteLLM's row of some of the refusals.
func refusalsOf(all map[refusal]int64, of func(refusal) bool) map[string]any {
	var sum int64
	byDay := map[string]int64{}
	for c, n := range all {
		if of(c) {
			byDay[c.day] += n
			sum += n
		}
	}
	days := make([]map[string]any, 0, len(byDay))
	for _, day := range slices.Sorted(maps.Keys(byDay)) {
		days = append(days, map[string]any{"date": day, "num_rate_limit_exceptions": byDay[day]})
	}
	return map[string]any{"daily_data": days, "sum_num_rate_limit_exceptions": sum}
}

// refusals counts the requests for model_group that were answered with 429 from start_date to end_date.
func (a *API) refusals(r *http.Request, by records.Caller) (map[refusal]int64, []string, error) {
	v := r.URL.Query()
	for _, name := range []string{"model_group", "start_date", "end_date"} {
		if v.Get(name) == "" {
			return nil, nil, invalid(name, "is missing")
		}
	}
	q, err := a.Rows(by, RowParams{
		From: v.Get("start_date"), To: v.Get("end_date"), Status: "failure", Sort: "time", Limit: requestlog.MaxRows,
		Names: url.Values{"model": {v.Get("model_group")}},
	})
	if err != nil {
		return nil, nil, err
	}
	out := map[refusal]int64{}
	absent, err := a.eachFailure(r.Context(), q, func(row *requestlog.Row) {
		if row.Status == http.StatusTooManyRequests {
			out[refusal{row.Time.Std().UTC().Format(time.DateOnly), row.DeploymentID}] += cmp.Or(row.Count, 1)
		}
	})
	return out, absent, err
}
