package spend

import (
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/conclave-llm/conclave/adminapi/records"
	"github.com/conclave-llm/conclave/ledger/rollup"
)

// tagFields are LiteLLM's parameters that name tags.
var tagFields = map[string]string{"tag_filter": "tag", "tag_filters": "tag"}

// tagDistinct answers /tag/distinct: every tag that a request has carried.
func (a *API) tagDistinct(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	lines, missing, err := a.all(r, by, "total", rollup.Tag)
	if err != nil {
		return err
	}
	out := []map[string]any{}
	for i := range lines {
		if tag := lines[i].Names[0]; tag != "" {
			out = append(out, map[string]any{"tag": tag})
		}
	}
	return write(w, map[string]any{"results": out}, missing)
}

// tagSummary answers /tag/summary: what was asked and spent under each tag between two days.
func (a *API) tagSummary(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	v := r.URL.Query()
	for _, name := range []string{"start_date", "end_date"} {
		if v.Get(name) == "" {
			return invalid(name, "is missing")
		}
	}
	lines, missing, err := a.lines(r, by, dates{v.Get("start_date"), v.Get("end_date")}, tagFields, "total", rollup.Tag, rollup.User)
	if err != nil {
		return err
	}
	sums, users := map[string]*rollup.Sums{}, map[string]int{}
	for i := range lines {
		tag, user := lines[i].Names[0], lines[i].Names[1]
		if sums[tag] == nil {
			sums[tag] = &rollup.Sums{}
		}
		sums[tag].Add(&lines[i].Sums)
		if user != "" {
			users[tag]++
		}
	}
	out := []map[string]any{}
	for _, tag := range sortedTags(sums) {
		s := sums[tag]
		out = append(out, map[string]any{
			"tag": tag, "unique_users": users[tag], "total_requests": s.Requests, "successful_requests": s.Requests - s.Failures,
			"failed_requests": s.Failures, "total_tokens": s.Prompt + s.Completion, "total_spend": dollars(s.Cost),
		})
	}
	return write(w, map[string]any{"results": out}, missing)
}

func sortedTags[V any](m map[string]V) []string {
	var tags []string
	for tag := range m {
		if tag != "" {
			tags = append(tags, tag)
		}
	}
	slices.Sort(tags)
	return tags
}

// period is how long a user counts as active.
type period struct {
	days  int // of one
	count int // that are told
	name  func(n int, from time.Time) string
}

// The periods of /tag/dau, wau and mau. The last one ends with today (UTC).
var (
	daily   = period{1, 7, func(_ int, from time.Time) string { return from.Format(time.DateOnly) }}
	weekly  = period{7, 7, func(n int, from time.Time) string { return fmt.Sprintf("Week %d (%s)", n, from.Format("Jan 2")) }}
	monthly = period{30, 7, func(n int, from time.Time) string { return fmt.Sprintf("Month %d (%s)", n, from.Format("Jan 2")) }}
)

// activeUsers answers /tag/dau and its kin: how many users' keys have sent requests under each tag.
func (a *API) activeUsers(p period) Handler {
	return func(w http.ResponseWriter, r *http.Request, by records.Caller) error {
		end := a.cfg.Now().UTC().Truncate(24 * time.Hour)
		begin := end.AddDate(0, 0, 1-p.days*p.count)
		d := dates{begin.Format(time.DateOnly), end.Format(time.DateOnly)}
		lines, missing, err := a.lines(r, by, d, tagFields, "day", rollup.Tag, rollup.User)
		if err != nil {
			return err
		}
		users := make([]map[string]map[string]bool, p.count) // period → tag → user
		for i := range lines {
			tag, user := lines[i].Names[0], lines[i].Names[1]
			n := int(time.Unix(lines[i].Start, 0).Sub(begin).Hours()/24) / p.days
			if tag == "" || user == "" || n < 0 || n >= p.count {
				continue
			}
			if users[n] == nil {
				users[n] = map[string]map[string]bool{}
			}
			if users[n][tag] == nil {
				users[n][tag] = map[string]bool{}
			}
			users[n][tag][user] = true
		}
		out := []map[string]any{}
		for n := range users {
			from := begin.AddDate(0, 0, n*p.days)
			for _, tag := range sortedTags(users[n]) {
				out = append(out, map[string]any{
					"tag": tag, "active_users": len(users[n][tag]), "date": p.name(n+1, from),
					"period_start": from.Format(time.DateOnly), "period_end": from.AddDate(0, 0, p.days-1).Format(time.DateOnly),
				})
			}
		}
		return write(w, map[string]any{"results": out}, missing)
	}
}

// tagRoutes lists LiteLLM's paths about tags.
func (a *API) tagRoutes() []Route {
	var all []Route
	for _, r := range []struct {
		name string
		h    Handler
	}{
		{"distinct", a.tagDistinct}, {"summary", a.tagSummary}, {"dau", a.activeUsers(daily)}, {"wau", a.activeUsers(weekly)}, {"mau", a.activeUsers(monthly)},
	} {
		all = append(all, Route{"litellm-tag-" + r.name, http.MethodGet, "/tag/" + r.name, r.h})
	}
	return all
}
