package litellm

import (
	"net/http"

	"github.com/conclave-llm/conclave/adminapi/litellm/fields"
	"github.com/conclave-llm/conclave/adminapi/litellm/wire"
	"github.com/conclave-llm/conclave/adminapi/records"
	"github.com/conclave-llm/conclave/resource"
)

// resetMessage says what a reset is here: LiteLLM writes another number over the spend.
const resetMessage = "The ledger's totals are as they were; the budget is raised by what counts no longer, until its window ends."

// resetTo reads how much of the spend goes on counting.
func resetTo(in records.Document) (resource.Money, error) {
	if fields.IsEmpty(in["reset_to"]) {
		return 0, wire.Invalid("reset_to", "is missing")
	}
	var to resource.Money
	if err := in.Take("reset_to", &to); err != nil {
		return 0, err
	}
	if to < 0 {
		return 0, wire.Invalid("reset_to", "is negative")
	}
	return to, nil
}

// resetRow writes a reset as LiteLLM does: spend is what counts against max_budget from now on.
func resetRow(row map[string]any, f records.Forgiven) map[string]any {
	return map[string]any{
		"spend": f.After, "previous_spend": f.Before, "max_budget": row["max_budget"], "budget_reset_at": row["budget_reset_at"],
		"temp_budget_increase": row["temp_budget_increase"], "temp_budget_expiry": row["temp_budget_expiry"], "message": resetMessage,
	}
}

func (a *API) keyResetSpend(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	in, err := wire.ReadBody(r)
	if err != nil {
		return err
	}
	to, err := resetTo(in)
	if err != nil {
		return err
	}
	k, f, wr, err := a.cfg.Records.ForgiveKey(r.Context(), by, a.keyRef(r.PathValue("key")), to)
	if err != nil {
		return err
	}
	out := resetRow(a.keyRow(k), f)
	out["key_hash"] = k.Hash
	return wire.Answer(w, wr, out)
}

// memberReset resets what a member of a team has spent: reset_spend to an amount, reset_budget to
// nothing.
func (a *API) memberReset(reads func(records.Document) (resource.Money, error)) wire.Handler {
	return func(w http.ResponseWriter, r *http.Request, by records.Caller) error {
		in, err := wire.ReadBody(r)
		if err != nil {
			return err
		}
		to, err := reads(in)
		if err != nil {
			return err
		}
		t, err := a.cfg.Records.Teams.One(by, r.PathValue("id"))
		if err != nil {
			return err
		}
		m, f, wr, err := a.cfg.Records.ForgiveMember(r.Context(), by, resource.TeamMemberID(t.ID, r.PathValue("user")), to)
		if err != nil {
			return err
		}
		out := resetRow(a.memberRow(m), f)
		out["team_id"], out["user_id"] = m.TeamID, m.UserID
		return wire.Answer(w, wr, out)
	}
}

// toNothing is the amount of a reset that names none.
func toNothing(records.Document) (resource.Money, error) { return 0, nil }

// globalReset refuses: it cannot be done without books that disagree.
func (a *API) globalReset(http.ResponseWriter, *http.Request, records.Caller) error {
	return wire.Invalid("spend", "cannot be reset for all: every total is a sum of the ledger's records, which nobody changes. "+
		"To let one key spend on, POST /key/{key}/reset_spend; budgets with a window begin anew by themselves")
}

// globalRefresh answers at once: sums are kept with each request, and there is no view that could be old.
func (a *API) globalRefresh(w http.ResponseWriter, _ *http.Request, _ records.Caller) error {
	return wire.Answer(w, records.Written{}, map[string]any{
		"status": "success", "message": "Spend is summed with each request; there is nothing to refresh.",
	})
}

// memberMe shows the caller's own place in a team.
func (a *API) memberMe(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	if by.Who.Key == nil || by.Who.Key.UserID == "" {
		return wire.Invalid("user_id", "the key belongs to no user, who could be in the team")
	}
	t, err := a.cfg.Records.Teams.One(by, r.PathValue("id"))
	if err != nil {
		return err
	}
	m, err := a.cfg.Records.TeamMembers.One(by, resource.TeamMemberID(t.ID, by.Who.Key.UserID))
	if err != nil {
		return err
	}
	row := a.memberRow(m)
	row["total_spend"], row["team_alias"], row["user_email"] = row["spend"], orNil(t.Name), nil
	if u, ok := a.cfg.Records.Users.Find(m.UserID); ok {
		row["user_email"] = orNil(u.Email)
	}
	return wire.Answer(w, records.Written{}, row)
}

// teamFilter lists teams for a picker, by part of their names.
func (a *API) teamFilter(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	q := r.URL.Query()
	if q.Get("search") == "" {
		q.Set("search", q.Get("team_alias"))
		q.Del("team_alias")
		r.URL.RawQuery = q.Encode()
	}
	all := a.teamsWhere(r, by)
	page, err := wire.PageOf(q, "page_size", 50)
	if err != nil {
		return err
	}
	from, to := page.Of(len(all))
	return wire.Answer(w, records.Written{}, wire.Rows(all[from:to], func(t *resource.Team) map[string]any {
		return map[string]any{"team_id": t.ID, "team_alias": orNil(t.Name)}
	}))
}

func (a *API) resetRoutes() []wire.Route {
	return []wire.Route{
		{ID: "litellm-key-reset-spend", Method: http.MethodPost, Pattern: "/key/{key}/reset_spend", Handler: a.keyResetSpend},
		{ID: "litellm-team-member-reset-spend", Method: http.MethodPost, Pattern: "/team/{id}/member/{user}/reset_spend", Handler: a.memberReset(resetTo)},
		{ID: "litellm-team-member-reset-budget", Method: http.MethodPost, Pattern: "/team/{id}/member/{user}/reset_budget", Handler: a.memberReset(toNothing)},
		{ID: "litellm-team-member-me", Method: http.MethodGet, Pattern: "/team/{id}/members/me", Handler: a.memberMe},
		{ID: "litellm-team-filter", Method: http.MethodGet, Pattern: "/team/filter/ui", Handler: a.teamFilter},
		{ID: "litellm-global-spend-reset", Method: http.MethodPost, Pattern: "/global/spend/reset", Handler: a.globalReset},
		{ID: "litellm-global-spend-refresh", Method: http.MethodPost, Pattern: "/global/spend/refresh", Handler: a.globalRefresh},
	}
}
