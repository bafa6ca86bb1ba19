package spend

import (
	"cmp"
	"net/http"
	"slices"
	"strings"

	"github.com/conclave-llm/conclave/adminapi/records"
	"github.com/conclave-llm/conclave/ledger/rollup"
)

// userSums are what one user did in a range of days; id is "" for requests of no user.
type userSums struct {
	id   string
	sums rollup.Sums
}

// users asks for the activity of each user, the most expensive first; what belongs to nobody comes last among equals.
func (a *API) users(r *http.Request, by records.Caller, e entity) ([]*userSums, []string, error) {
	lines, missing, err := a.dayLines(r, by, e, "", []rollup.Dim{rollup.User})
	if err != nil {
		return nil, nil, err
	}
	byID := map[string]*userSums{}
	var all []*userSums
	for i := range lines {
		id := lines[i].Names[0]
		u := byID[id]
		if u == nil {
			u = &userSums{id: id}
			byID[id], all = u, append(all, u)
		}
		u.sums.Add(&lines[i].Sums)
	}
	slices.SortFunc(all, func(x, y *userSums) int {
		ids := strings.Compare(x.id, y.id)
		if x.id == "" || y.id == "" {
			ids = -ids
		}
		return cmp.Or(cmp.Compare(y.sums.Cost, x.sums.Cost), ids)
	})
	return all, missing, nil
}

// view writes a user's activity with who he is now; of one that is gone only the id is known.
func (u *userSums) view(a *API) map[string]any {
	s := &u.sums
	row := map[string]any{
		"user_id": orNil(u.id), "user_email": nil, "user_alias": nil, "spend": dollars(s.Cost), "prompt_tokens": s.Prompt,
		"completion_tokens": s.Completion, "total_tokens": s.Prompt + s.Completion, "api_requests": s.Requests,
		"successful_requests": s.Requests - s.Failures, "failed_requests": s.Failures,
	}
	if known, ok := a.cfg.Records.Users.Find(u.id); ok && known.ID == u.id {
		row["user_email"], row["user_alias"] = orNil(known.Email), orNil(known.Name)
	}
	return row
}

// userPage answers /user/daily/activity/aggregated/users: the users by what they spent, a part of them at a time.
func (a *API) userPage(e entity) Handler {
	return func(w http.ResponseWriter, r *http.Request, by records.Caller) error {
		offset, limit, err := pageBounds(r.URL.Query())
		if err != nil {
			return err
		}
		users, missing, err := a.users(r, by, e)
		if err != nil {
			return err
		}
		from := min(offset, len(users))
		rows := []map[string]any{}
		for _, u := range users[from:min(from+limit, len(users))] {
			rows = append(rows, u.view(a))
		}
		return write(w, map[string]any{"users": rows, "total_users": len(users), "offset": offset, "limit": limit}, missing)
	}
}
