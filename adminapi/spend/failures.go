package spend

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/conclave-llm/conclave/adminapi/records"
	"github.com/conclave-llm/conclave/ledger/requestlog"
	"github.com/conclave-llm/conclave/ledger/rollup"
)

const (
	mostFailures = 200_000 // that are read for one answer
	mostFailing  = 25      // keys, teams, users and models each that are told
)

// eachFailure visits the failures that q selects, a page at a time. Sums of days do not keep statuses, so that the
// rows themselves are read, as far as a bound. It names the nodes that gave no answer.
func (a *API) eachFailure(ctx context.Context, q requestlog.Query, visit func(row *requestlog.Row)) (absent []string, err error) {
	for read := 0; ; {
		page, missing, err := a.cfg.Requests.Rows(ctx, q)
		if err != nil {
			return nil, err
		}
		for _, node := range missing {
			if !slices.Contains(absent, node) {
				absent = append(absent, node)
			}
		}
		for i := range page.Rows {
			visit(&page.Rows[i])
		}
		if !page.More || len(page.Rows) == 0 {
			return absent, nil
		}
		if read += len(page.Rows); read >= mostFailures {
			return nil, invalid("start_date", fmt.Sprintf("the time has more than %d failures; ask for fewer days", mostFailures))
		}
		last := &page.Rows[len(page.Rows)-1]
		q.After = &requestlog.Cursor{Time: last.Time, Number: last.Number, Node: last.Node}
	}
}

// failing is what somebody asked and the statuses that failed.
type failing struct {
	id       string
	sums     rollup.Sums
	statuses map[int32]int64
}

// failingOnes are those of one kind, or days, by id.
type failingOnes map[string]*failing

func (f failingOnes) of(id string) *failing {
	if f[id] == nil {
		f[id] = &failing{id: id, statuses: map[int32]int64{}}
	}
	return f[id]
}

// statusCount is how often a status was answered.
type statusCount struct {
	Status int32 `json:"status_code"`
	Count  int64 `json:"failed_requests"`
}

// counts are the statuses, the most frequent first.
func (f *failing) counts() []statusCount {
	out := make([]statusCount, 0, len(f.statuses))
	for status, n := range f.statuses {
		out = append(out, statusCount{status, n})
	}
	slices.SortFunc(out, func(x, y statusCount) int {
		return cmp.Or(cmp.Compare(y.Count, x.Count), cmp.Compare(x.Status, y.Status))
	})
	return out
}

// failingKinds are whose failures are told, by the member of the answer.
var failingKinds = []struct {
	name string
	dim  rollup.Dim
	of   func(row *requestlog.Row) string
}{
	{"by_key", rollup.Key, func(row *requestlog.Row) string { return row.KeyID }},
	{"by_team", rollup.Team, func(row *requestlog.Row) string { return row.TeamID }},
	{"by_user", rollup.User, func(row *requestlog.Row) string { return row.UserID }},
	{"by_model", rollup.Model, func(row *requestlog.Row) string { return row.Model }},
}

// errorsActivity answers /gateway/errors/activity: failures by day and status, and whose they are, of the last 30 days if
// the query names none. Statuses are those of the rows that are still kept.
func (a *API) errorsActivity(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	v, today := r.URL.Query(), a.cfg.Now().UTC()
	d := dates{
		cmp.Or(v.Get("start_date"), today.AddDate(0, 0, -29).Format(time.DateOnly)), cmp.Or(v.Get("end_date"), today.Format(time.DateOnly)),
	}
	days, kinds := failingOnes{}, make([]failingOnes, len(failingKinds))
	var group []rollup.Dim
	for i := range failingKinds {
		kinds[i], group = failingOnes{}, append(group, failingKinds[i].dim)
	}
	lines, missing, err := a.lines(r, by, d, nil, "day", group...)
	if err != nil {
		return err
	}
	for i := range lines {
		days.of(dayOf(lines[i].Start)).sums.Add(&lines[i].Sums)
		for k, name := range lines[i].Names {
			kinds[k].of(name).sums.Add(&lines[i].Sums)
		}
	}
	q, err := a.Rows(by, RowParams{From: d.from, To: d.to, Status: "failure", Sort: "time", Limit: requestlog.MaxRows, Names: url.Values{}})
	if err != nil {
		return renamed(err)
	}
	all := failing{statuses: map[int32]int64{}}
	absent, err := a.eachFailure(r.Context(), q, func(row *requestlog.Row) {
		n := cmp.Or(row.Count, 1)
		all.statuses[row.Status] += n
		days.of(row.Time.Std().UTC().Format(time.DateOnly)).statuses[row.Status] += n
		for k := range failingKinds {
			kinds[k].of(failingKinds[k].of(row)).statuses[row.Status] += n
		}
	})
	if err != nil {
		return err
	}
	if len(missing) == 0 { // else it names them, with the times of their copies
		missing = absent
	}
	out := map[string]any{"by_date": days.byDate(), "by_status_code": all.counts()}
	for _, d := range days {
		all.sums.Add(&d.sums)
	}
	out["total_successful_requests"], out["total_failed_requests"] = all.sums.Requests-all.sums.Failures, all.sums.Failures
	for k := range failingKinds {
		out[failingKinds[k].name] = a.mostFailing(failingKinds[k].dim, kinds[k])
	}
	return write(w, out, missing)
}

// byDate are the days in order.
func (f failingOnes) byDate() []map[string]any {
	out := make([]map[string]any, 0, len(f))
	for _, d := range f {
		var client, server int64
		for status, n := range d.statuses {
			switch status / 100 {
			case 4:
				client += n
			case 5:
				server += n
			}
		}
		out = append(out, map[string]any{
			"date": d.id, "successful_requests": d.sums.Requests - d.sums.Failures, "failed_requests": d.sums.Failures,
			"client_errors": client, "server_errors": server, "by_status_code": d.counts(),
		})
	}
	slices.SortFunc(out, func(x, y map[string]any) int { return strings.Compare(x["date"].(string), y["date"].(string)) })
	return out
}

// mostFailing are those of a kind with the most failures, each with the status that it failed with most.
func (a *API) mostFailing(d rollup.Dim, f failingOnes) []map[string]any {
	var all []*failing
	for id, x := range f {
		if id != "" && x.sums.Failures > 0 {
			all = append(all, x)
		}
	}
	slices.SortFunc(all, func(x, y *failing) int {
		return cmp.Or(cmp.Compare(y.sums.Failures, x.sums.Failures), strings.Compare(x.id, y.id))
	})
	out := []map[string]any{}
	for _, x := range all[:min(len(all), mostFailing)] {
		id, label := a.shown(d, x.id)
		row := map[string]any{
			"id": id, "label": orNil(label), "api_requests": x.sums.Requests, "failed_requests": x.sums.Failures,
			"top_status_code": nil, "top_status_code_requests": 0,
		}
		if counts := x.counts(); len(counts) > 0 {
			row["top_status_code"], row["top_status_code_requests"] = counts[0].Status, counts[0].Count
		}
		out = append(out, row)
	}
	return out
}

// shown is how LiteLLM names a holder, and what people call it.
func (a *API) shown(d rollup.Dim, id string) (name, label string) {
	switch d {
	case rollup.Key:
		return names{a}.key(id)
	case rollup.Team:
		return id, names{a}.team(id)
	case rollup.User:
		if u, ok := a.cfg.Records.Users.Find(id); ok && u.ID == id {
			return id, u.Email
		}
	}
	return id, ""
}
