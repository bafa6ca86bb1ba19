package spend

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"

	"github.com/conclave-llm/conclave/adminapi/records"
	"github.com/conclave-llm/conclave/ledger/rollup"
)

// providerBudgets answers /provider/budgets: what was spent at each provider in the last 30 days,
// or as asked. A provider has no budget of its own; deployments, models and all others have.
func (a *API) providerBudgets(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	v := r.URL.Query()
	lines, missing, err := a.lines(r, by, dates{v.Get("start_date"), v.Get("end_date")}, reportFields, "total", rollup.Provider)
	if err != nil {
		return err
	}
	out := map[string]any{}
	for i := range lines {
		out[lines[i].Names[0]] = map[string]any{
			"budget_limit": nil, "time_period": nil, "spend": dollars(lines[i].Sums.Cost), "budget_reset_at": nil,
		}
	}
	return write(w, map[string]any{"providers": out}, missing)
}

// endUserSpend answers /global/spend/end_users: the hundred end users who cost most.
func (a *API) endUserSpend(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	const most = 100
	var in struct {
		Key  *string `json:"api_key"`
		From *string `json:"startTime"`
		To   *string `json:"endTime"`
	}
	b, err := io.ReadAll(r.Body)
	if err == nil && len(b) > 0 {
		err = json.Unmarshal(b, &in)
	}
	if err != nil {
		return invalid("body", "is not an object with api_key, startTime and endTime")
	}
	var d dates
	if in.From != nil {
		d.from = *in.From
	}
	if in.To != nil {
		d.to = *in.To
	}
	names := Names{}
	if in.Key != nil && *in.Key != "" {
		names["key"] = []string{a.resolve("key", *in.Key)}
	}
	if err := a.own(by, names); err != nil {
		return err
	}
	lines, missing, err := a.spend(r, d, names, "total", rollup.Customer)
	if err != nil {
		return err
	}
	byCost(lines)
	out := []map[string]any{}
	for i := range lines[:min(most, len(lines))] {
		if id := lines[i].Names[0]; id != "" {
			out = append(out, map[string]any{"end_user": id, "total_count": lines[i].Sums.Requests, "total_spend": dollars(lines[i].Sums.Cost)})
		}
	}
	return write(w, out, missing)
}

// teamByUser answers /team/spend/by_user: what each user has spent in the teams that are asked for.
func (a *API) teamByUser(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	v := r.URL.Query()
	if v.Get("team_ids") == "" {
		return invalid("team_ids", "is missing")
	}
	for _, ref := range split(v.Get("team_ids")) {
		if _, err := a.cfg.Records.Teams.One(by, ref); err != nil {
			return fmt.Errorf("team %s: %w", ref, err)
		}
	}
	lines, missing, err := a.lines(r, by, dates{v.Get("start_date"), v.Get("end_date")}, map[string]string{"team_ids": "team"}, "total", rollup.Team, rollup.User)
	if err != nil {
		return err
	}
	byCost(lines)
	out := make([]map[string]any, 0, len(lines))
	for i := range lines {
		team, user, s := lines[i].Names[0], lines[i].Names[1], &lines[i].Sums
		row := map[string]any{
			"team_id": team, "team_alias": orNil(names{a}.team(team)), "user_id": orNil(user), "user_email": nil, "spend": dollars(s.Cost),
			"api_requests": s.Requests, "prompt_tokens": s.Prompt, "completion_tokens": s.Completion, "total_tokens": s.Prompt + s.Completion,
		}
		if u, ok := a.cfg.Records.Users.Find(user); ok {
			row["user_email"] = orNil(u.Email)
		}
		out = append(out, row)
	}
	return write(w, map[string]any{"results": out}, missing)
}
