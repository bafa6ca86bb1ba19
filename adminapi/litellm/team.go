package litellm

import (
	"encoding/json"
	"net/http"

	"github.com/conclave-llm/conclave/adminapi/client"
	"github.com/conclave-llm/conclave/adminapi/records"
	"github.com/conclave-llm/conclave/resource"
)

// unsupportedTeamFields bound or widen what a team may do in LiteLLM, and do nothing here.
var unsupportedTeamFields = []string{
	"access_group_ids", "allowed_passthrough_routes", "allowed_vector_store_indexes", "default_team_member_models",
	"denied_passthrough_routes", "disable_global_guardrails", "enforced_batch_output_expires_after",
	"enforced_file_expires_after", "guardrails", "mcp_rpm_limit", "model_aliases", "model_max_budget",
	"model_rpm_limit", "model_tpm_limit", "object_permission", "organization_id", "policies", "require_trace_id",
	"router_settings", "soft_budget", "team_member_budget", "team_member_budget_duration",
	"team_member_key_duration", "team_member_model_max_budget", "team_member_rpm_limit", "team_member_tpm_limit",
	"tpd_limit",
}

var renamedTeamFields = map[string]string{
	"team_alias": "name", "budget_id": "budget_id", "metadata": "metadata", "tags": "tags",
	"blocked": "blocked", "models": "models",
}

func (a *API) teamNew(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	in, err := readBody(r)
	if err != nil {
		return err
	}
	doc, err := teamDoc(in, nil)
	if err != nil {
		return err
	}
	if raw, ok := in["team_id"]; ok && !records.IsNull(raw) {
		doc["id"] = raw
	}
	t, wr, err := a.cfg.Records.Teams.Create(r.Context(), by, doc)
	if err != nil {
		return err
	}
	return answer(w, wr, a.teamRow(t))
}

func (a *API) teamUpdate(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	in, err := readBody(r)
	if err != nil {
		return err
	}
	now, err := a.teamOf(by, in)
	if err != nil {
		return err
	}
	patch, err := teamDoc(in, now)
	if err != nil {
		return err
	}
	t, wr, err := a.cfg.Records.Teams.Patch(r.Context(), by, now.ID, 0, patch)
	if err != nil {
		return err
	}
	return answer(w, wr, map[string]any{"team_id": t.ID, "data": a.teamRow(t)})
}

// teamDelete deletes teams with their keys, as LiteLLM does, in one entry.
func (a *API) teamDelete(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	in, err := readBody(r)
	if err != nil {
		return err
	}
	var refs []string
	if err := in.Take("team_ids", &refs); err != nil {
		return err
	}
	if len(refs) == 0 {
		return invalid("team_ids", "is missing")
	}
	wr, err := a.cfg.Records.DeleteTeams(r.Context(), by, refs...)
	if err != nil {
		return err
	}
	return answer(w, wr, map[string]any{"deleted_teams": refs})
}

func (a *API) teamBlock(state client.BlockState) Handler {
	return func(w http.ResponseWriter, r *http.Request, by records.Caller) error {
		in, err := readBody(r)
		if err != nil {
			return err
		}
		t, err := a.teamOf(by, in)
		if err != nil {
			return err
		}
		t, wr, err := a.cfg.Records.Teams.SetBlocked(r.Context(), by, t.ID, state)
		if err != nil {
			return err
		}
		return answer(w, wr, a.teamRow(t))
	}
}

func (a *API) teamInfo(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	ref := r.URL.Query().Get("team_id")
	if ref == "" && by.Who.Key != nil {
		ref = by.Who.Key.TeamID
	}
	t, err := a.cfg.Records.Teams.One(by, ref)
	if err != nil {
		return err
	}
	keys := []map[string]any{}
	if !by.OwnOnly {
		for k := range a.cfg.Records.AllKeys(records.Query{TeamID: t.ID}) {
			keys = append(keys, a.keyRow(k))
		}
	}
	return answer(w, records.Written{}, map[string]any{
		"team_id": t.ID, "team_info": a.teamRow(t), "keys": keys, "team_memberships": []any{},
	})
}

func (a *API) teamList(w http.ResponseWriter, _ *http.Request, _ records.Caller) error {
	rows := []map[string]any{}
	for _, t := range a.cfg.State.Catalog().Tables().Teams {
		rows = append(rows, a.teamRow(t))
	}
	return answer(w, records.Written{}, rows)
}

// teamDoc turns LiteLLM's fields into the document of a team, or, if now is given, into a
// merge patch of it.
func teamDoc(in records.Document, now *resource.Team) (records.Document, error) {
	if err := refuseUnsupported(in, unsupportedTeamFields); err != nil {
		return nil, err
	}
	if err := toModels(in); err != nil {
		return nil, err
	}
	out := records.Document{}
	for theirs, ours := range renamedTeamFields {
		if v, ok := in[theirs]; ok {
			out[ours] = v
		}
	}
	var terms []resource.Terms
	if now != nil {
		terms = now.Budgets
	}
	return out, limitsDoc(in, out, terms)
}

func (a *API) teamOf(by records.Caller, in records.Document) (*resource.Team, error) {
	var ref string
	if raw, ok := in["team_id"]; ok {
		if err := json.Unmarshal(raw, &ref); err != nil {
			return nil, invalid("team_id", "is not a string")
		}
	}
	if ref == "" {
		return nil, invalid("team_id", "is missing")
	}
	return a.cfg.Records.Teams.One(by, ref)
}

// teamRow writes a team as LiteLLM's row.
func (a *API) teamRow(t *resource.Team) map[string]any {
	row := map[string]any{
		"team_id": t.ID, "team_alias": orNil(t.Name), "models": orEmpty(t.Models),
		"spend":    a.cfg.State.Totals("team", t.ID).Cost,
		"metadata": orObject(t.Metadata), "tags": orEmpty(t.Tags), "blocked": t.Blocked, "budget_id": orNil(t.BudgetID),
		"members_with_roles": []any{}, "organization_id": nil,
		"created_at": t.CreatedAt, "updated_at": t.UpdatedAt,
	}
	a.budgetRow(row, "team", t.ID, t.Budgets, t.Limits)
	return row
}
