package adminapi

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/conclave-llm/conclave/adminapi/client"
	"github.com/conclave-llm/conclave/fsm"
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

func (s *Server) teamNew(w http.ResponseWriter, r *http.Request) error {
	in, err := readBody(r)
	if err != nil {
		return err
	}
	doc, err := teamDoc(in, nil)
	if err != nil {
		return err
	}
	if raw, ok := in["team_id"]; ok && !isNull(raw) {
		doc["id"] = raw
	}
	t, wr, err := s.teams.create(r.Context(), doc)
	if err != nil {
		return err
	}
	return s.answer(w, wr, s.teamRow(t))
}

func (s *Server) teamUpdate(w http.ResponseWriter, r *http.Request) error {
	in, err := readBody(r)
	if err != nil {
		return err
	}
	now, err := s.teamOf(r.Context(), in)
	if err != nil {
		return err
	}
	patch, err := teamDoc(in, now)
	if err != nil {
		return err
	}
	t, wr, err := s.teams.patch(r.Context(), now.ID, 0, patch)
	if err != nil {
		return err
	}
	return s.answer(w, wr, map[string]any{"team_id": t.ID, "data": s.teamRow(t)})
}

// teamDelete deletes teams with their keys, as LiteLLM does, in one entry.
func (s *Server) teamDelete(w http.ResponseWriter, r *http.Request) error {
	in, err := readBody(r)
	if err != nil {
		return err
	}
	var refs []string
	if err := in.take("team_ids", &refs); err != nil {
		return err
	}
	if len(refs) == 0 {
		return invalid("team_ids", "is missing")
	}
	var cmds []fsm.Command
	for _, ref := range refs {
		t, err := s.teams.writable(r.Context(), ref)
		if err != nil {
			return err
		}
		err = s.everyKey(listQuery{TeamID: t.ID}, func(k *resource.Key) { cmds = append(cmds, fsm.DeleteKey{ID: k.ID}) })
		if err != nil {
			return err
		}
		cmds = append(cmds, fsm.DeleteTeam{ID: t.ID})
	}
	all, err := batch(cmds)
	if err != nil {
		return err
	}
	wr, err := s.write.confirmed(r.Context(), all)
	if err != nil {
		return err
	}
	return s.answer(w, wr, map[string]any{"deleted_teams": refs})
}

func (s *Server) teamBlock(state client.BlockState) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		in, err := readBody(r)
		if err != nil {
			return err
		}
		t, err := s.teamOf(r.Context(), in)
		if err != nil {
			return err
		}
		t, wr, err := s.teams.setBlocked(r.Context(), t.ID, state)
		if err != nil {
			return err
		}
		return s.answer(w, wr, s.teamRow(t))
	}
}

func (s *Server) teamInfo(w http.ResponseWriter, r *http.Request) error {
	ref := r.URL.Query().Get("team_id")
	if who := callerOf(r.Context()).who; ref == "" && who.Key != nil {
		ref = who.Key.TeamID
	}
	t, err := s.teams.one(r.Context(), ref)
	if err != nil {
		return err
	}
	keys := []map[string]any{}
	if !callerOf(r.Context()).ownOnly {
		err := s.everyKey(listQuery{TeamID: t.ID}, func(k *resource.Key) { keys = append(keys, s.keyRow(k)) })
		if err != nil {
			return err
		}
	}
	return s.answer(w, Written{}, map[string]any{
		"team_id": t.ID, "team_info": s.teamRow(t), "keys": keys, "team_memberships": []any{},
	})
}

func (s *Server) teamList(w http.ResponseWriter, _ *http.Request) error {
	rows := []map[string]any{}
	for _, t := range s.cfg.State.Catalog().Tables().Teams {
		rows = append(rows, s.teamRow(t))
	}
	return s.answer(w, Written{}, rows)
}

// teamDoc turns LiteLLM's fields into the document of a team, or, if now is given, into a
// merge patch of it.
func teamDoc(in document, now *resource.Team) (document, error) {
	if err := refuseUnsupported(in, unsupportedTeamFields); err != nil {
		return nil, err
	}
	if err := toModels(in); err != nil {
		return nil, err
	}
	out := document{}
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

func (s *Server) teamOf(ctx context.Context, in document) (*resource.Team, error) {
	var ref string
	if raw, ok := in["team_id"]; ok {
		if err := json.Unmarshal(raw, &ref); err != nil {
			return nil, invalid("team_id", "is not a string")
		}
	}
	if ref == "" {
		return nil, invalid("team_id", "is missing")
	}
	return s.teams.one(ctx, ref)
}

// teamRow writes a team as LiteLLM's row.
func (s *Server) teamRow(t *resource.Team) map[string]any {
	row := map[string]any{
		"team_id": t.ID, "team_alias": orNil(t.Name), "models": orEmpty(t.Models),
		"spend":    s.cfg.State.Totals("team", t.ID).Cost,
		"metadata": orObject(t.Metadata), "tags": orEmpty(t.Tags), "blocked": t.Blocked, "budget_id": orNil(t.BudgetID),
		"members_with_roles": []any{}, "organization_id": nil,
		"created_at": t.CreatedAt, "updated_at": t.UpdatedAt,
	}
	s.budgetRow(row, "team", t.ID, t.Budgets, t.Limits)
	return row
}
