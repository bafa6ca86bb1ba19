package spend

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"strings"
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

// taggedUser is what one user has asked under tags; tag is the one under which he has asked most.
type taggedUser struct {
	id, tag string
	most    int64 // requests under the tag
	sums    rollup.Sums
}

// perUser answers /tag/user-agent/per-user-analytics: what each user's keys have asked under tags in the last 30 days,
// who was served most first. A request counts once for each of its tags.
func (a *API) perUser(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	page, size, err := pageOf(r.URL.Query(), 50)
	if err != nil {
		return err
	}
	today := a.cfg.Now().UTC().Truncate(24 * time.Hour)
	d := dates{today.AddDate(0, 0, -29).Format(time.DateOnly), today.Format(time.DateOnly)}
	lines, missing, err := a.lines(r, by, d, tagFields, "total", rollup.Tag, rollup.User)
	if err != nil {
		return err
	}
	users := taggedUsers(lines)
	from := min((page-1)*size, len(users))
	out := []map[string]any{}
	for _, u := range users[from:min(from+size, len(users))] {
		var email any
		if known, ok := a.cfg.Records.Users.Find(u.id); ok && known.ID == u.id {
			email = orNil(known.Email)
		}
		out = append(out, map[string]any{
			"user_id": u.id, "user_email": email, "user_agent": u.tag, "successful_requests": u.sums.Requests - u.sums.Failures,
			"failed_requests": u.sums.Failures, "total_requests": u.sums.Requests, "total_tokens": u.sums.Prompt + u.sums.Completion,
			"spend": dollars(u.sums.Cost),
		})
	}
	return write(w, map[string]any{
		"results": out, "total_count": len(users), "page": page, "page_size": size, "total_pages": (len(users) + size - 1) / size,
	}, missing)
}

func taggedUsers(lines []rollup.Line) []*taggedUser {
	byID := map[string]*taggedUser{}
	var users []*taggedUser
	for i := range lines {
		l := &lines[i]
		tag, id := l.Names[0], l.Names[1]
		if tag == "" || id == "" {
			continue
		}
		u := byID[id]
		if u == nil {
			u = &taggedUser{id: id}
			byID[id], users = u, append(users, u)
		}
		u.sums.Add(&l.Sums)
		if n := l.Sums.Requests; n > u.most || n == u.most && tag < u.tag {
			u.tag, u.most = tag, n
		}
	}
	slices.SortFunc(users, func(x, y *taggedUser) int {
		return cmp.Or(cmp.Compare(y.sums.Requests-y.sums.Failures, x.sums.Requests-x.sums.Failures), strings.Compare(x.id, y.id))
	})
	return users
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
	return append(all, Route{"litellm-tag-per-user", http.MethodGet, "/tag/user-agent/per-user-analytics", a.perUser})
}
