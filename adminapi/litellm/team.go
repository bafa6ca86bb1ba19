package litellm

import (
	"cmp"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/conclave-llm/conclave/adminapi/litellm/fields"
	"github.com/conclave-llm/conclave/adminapi/litellm/logging"
	"github.com/conclave-llm/conclave/adminapi/litellm/wire"
	"github.com/conclave-llm/conclave/adminapi/records"
	"github.com/conclave-llm/conclave/resource"
)

// renamedTeamFields are fields of teams that only have another name.
var renamedTeamFields = map[string]string{
	"team_alias": "name", "organization_id": "organization_id", "team_member_permissions": "member_permissions", "prompts": "prompts",
}

// teamFields are those of teams alone of which an empty one says nothing in a new team.
var teamFields = map[string]string{
	"end_user_budget_id": "customer_budget", "enforced_file_expires_after": "file_expires_after", "enforced_batch_output_expires_after": "batch_output_expires_after",
}

func (a *API) teams() *kind[resource.Team, *resource.Team] {
	return &kind[resource.Team, *resource.Team]{
		noun: a.cfg.Records.Teams, id: "team_id", ids: "team_ids", row: a.teamRow, doc: teamDoc,
		updated: func(t *resource.Team, row map[string]any) any { return map[string]any{"team_id": t.ID, "data": row} },
	}
}

// teamNew makes a team with its first members, in one entry.
func (a *API) teamNew(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	in, err := wire.ReadBody(r)
	if err != nil {
		return err
	}
	if err := logging.Refuse(in); err != nil {
		return err
	}
	doc, err := teamDoc(in, nil)
	if err != nil {
		return err
	}
	if raw, ok := in["team_id"]; ok && !records.IsNull(raw) {
		doc["id"] = raw
	}
	members, err := membersOf(in, "members_with_roles")
	if err != nil {
		return err
	}
	docs := make([]records.Document, 0, len(members))
	for _, m := range members {
		d, err := joinDoc(m, "")
		if err != nil {
			return err
		}
		docs = append(docs, d)
	}
	t, wr, err := a.cfg.Records.CreateTeam(r.Context(), by, doc, docs)
	if err != nil {
		return fields.Renamed(err)
	}
	return wire.Answer(w, wr, a.teamRow(t))
}

// teamDelete deletes teams with their keys, as LiteLLM does, in one entry.
func (a *API) teamDelete(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	in, err := wire.ReadBody(r)
	if err != nil {
		return err
	}
	var refs []string
	if err := in.Take("team_ids", &refs); err != nil {
		return err
	}
	if len(refs) == 0 {
		return wire.Invalid("team_ids", "is missing")
	}
	wr, err := a.cfg.Records.DeleteTeams(r.Context(), by, refs...)
	if err != nil {
		return err
	}
	return wire.Answer(w, wr, map[string]any{"deleted_teams": refs})
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
	most, err := wire.Count(r.URL.Query(), "key_limit")
	if err != nil {
		return err
	}
	keys, memberships := []map[string]any{}, []map[string]any{}
	if by.Leads(t) {
		memberships = wire.Rows(a.cfg.Records.Members(t.ID), a.memberRow)
		for k := range a.cfg.Records.AllKeys(records.Query{TeamID: t.ID}) {
			if len(keys) == most {
				break
			}
			keys = append(keys, a.keyRow(k))
		}
	}
	return wire.Answer(w, records.Written{}, map[string]any{
		"team_id": t.ID, "team_info": a.teamRow(t), "keys": keys, "team_memberships": memberships,
	})
}

func (a *API) teamList(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	return wire.Answer(w, records.Written{}, wire.Rows(a.teamsWhere(r, by), func(t *resource.Team) map[string]any {
		row := a.teamRow(t)
		keys := []map[string]any{}
		for k := range a.cfg.Records.KeysFor(by, records.Query{TeamID: t.ID}) {
			keys = append(keys, a.keyRow(k))
		}
		row["keys"] = keys
		return row
	}))
}

func (a *API) teamPages(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	q := r.URL.Query()
	if status := q.Get("status"); status != "" {
		return wire.Invalid("status", status+" is not possible; teams that were deleted are not kept")
	}
	all := a.teamsWhere(r, by)
	if err := a.teamOrders().Sort(q, "asc", all); err != nil {
		return err
	}
	page, err := wire.Paged(q, "teams", "page_size", 10, all, a.teamRow)
	if err != nil {
		return err
	}
	return wire.Answer(w, records.Written{}, page)
}

// teamOrders are the columns that teams may be sorted by.
func (a *API) teamOrders() wire.Orders[*resource.Team] {
	spend := func(t *resource.Team) resource.Money { return a.cfg.State.Totals(resource.HolderTeam, t.ID).Cost }
	return wire.Orders[*resource.Team]{
		"team_id":         func(x, y *resource.Team) int { return strings.Compare(x.ID, y.ID) },
		"team_alias":      func(x, y *resource.Team) int { return strings.Compare(x.Name, y.Name) },
		"organization_id": func(x, y *resource.Team) int { return strings.Compare(x.OrganizationID, y.OrganizationID) },
		"created_at":      func(x, y *resource.Team) int { return cmp.Compare(x.CreatedAt, y.CreatedAt) },
		"updated_at":      func(x, y *resource.Team) int { return cmp.Compare(x.UpdatedAt, y.UpdatedAt) },
		"spend":           func(x, y *resource.Team) int { return cmp.Compare(spend(x), spend(y)) },
		"max_budget": func(x, y *resource.Team) int {
			return cmp.Compare(fields.MaxBudget(&x.Allowance), fields.MaxBudget(&y.Allowance))
		},
	}
}

// teamsWhere lists the teams that a query selects and the caller may see.
func (a *API) teamsWhere(r *http.Request, by records.Caller) []*resource.Team {
	q := r.URL.Query()
	var all []*resource.Team
	for _, t := range a.cfg.Records.Teams.Visible(by, records.Query{}) {
		if q.Get("user_id") != "" && !a.isMember(t.ID, q.Get("user_id")) {
			continue
		}
		if wire.Selects(q.Get("organization_id"), t.OrganizationID) && wire.Selects(q.Get("team_id"), t.ID) && wire.Selects(q.Get("team_alias"), t.Name) &&
			strings.Contains(strings.ToLower(t.Name+" "+t.ID), strings.ToLower(q.Get("search"))) {
			all = append(all, t)
		}
	}
	return all
}

func (a *API) isMember(team, user string) bool {
	_, ok := a.cfg.Records.TeamMembers.Find(resource.TeamMemberID(team, user))
	return ok
}

// teamModels adds models to a team's list, or takes them away.
func (a *API) teamModels(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	in, err := wire.ReadBody(r)
	if err != nil {
		return err
	}
	t, err := a.teams().named(by, in)
	if err != nil {
		return err
	}
	models, err := fields.Refs(in, "models")
	if err != nil {
		return err
	}
	next := slices.DeleteFunc(slices.Clone(t.Models), func(m string) bool { return slices.Contains(models, m) })
	if strings.HasSuffix(r.URL.Path, "/add") {
		next = append(next, models...)
	} else if len(next) == 0 && len(t.Models) > 0 {
		next = []string{resource.NoModels} // an empty list would allow all
	}
	patch := records.Document{}
	if err := patch.Set("models", next); err != nil {
		return err
	}
	t, wr, err := a.cfg.Records.Teams.Patch(r.Context(), by, t.ID, 0, patch)
	if err != nil {
		return err
	}
	return wire.Answer(w, wr, a.teamRow(t))
}

// teamDoc turns LiteLLM's fields into the document of a team, or, if now is given, into a
// merge patch of it.
func teamDoc(in records.Document, now *resource.Team) (records.Document, error) {
	var p *resource.Policy
	if now != nil {
		p = &now.Policy
	}
	own := records.Document{}
	fields.Own(in, own, teamFields, now != nil)
	out, err := fields.PolicyDoc(in, p)
	if err != nil {
		return nil, err
	}
	maps.Copy(out, own)
	fields.Copy(in, out, renamedTeamFields)
	if err := fields.Ours[resource.Team](in, out, renamedTeamFields, teamFields); err != nil {
		return nil, err
	}
	defaults, err := memberDefaultsDoc(in, now)
	if err != nil || defaults == nil {
		return out, err
	}
	return out, out.Set("member_defaults", defaults)
}

// teamRow writes a team as LiteLLM's row.
func (a *API) teamRow(t *resource.Team) map[string]any {
	row := map[string]any{
		"team_id": t.ID, "team_alias": orNil(t.Name), "blocked": t.Blocked, "organization_id": orNil(t.OrganizationID),
		"model_aliases": orMap(t.Aliases), "end_user_budget_id": orNil(t.CustomerBudget),
		"enforced_file_expires_after": t.FileExpiry, "enforced_batch_output_expires_after": t.BatchOutputExpiry,
	}
	members := []map[string]any{}
	for _, m := range a.cfg.Records.Members(t.ID) {
		row := map[string]any{"user_id": m.UserID, "user_email": nil, "role": roleOf(m)}
		if u, ok := a.cfg.Records.Users.Find(m.UserID); ok {
			row["user_email"] = orNil(u.Email)
		}
		members = append(members, row)
	}
	row["members_with_roles"] = members
	row["team_member_permissions"], row["prompts"] = orEmpty(t.MemberPermissions), orEmpty(t.Prompts)
	memberDefaultsRow(row, t.MemberDefaults)
	wire.Stamps(row, &t.Meta)
	a.policyRow(row, resource.HolderTeam, t.ID, &t.Policy)
	return row
}
