package litellm

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"net/http"

	"github.com/conclave-llm/conclave/adminapi/litellm/fields"
	"github.com/conclave-llm/conclave/adminapi/litellm/wire"
	"github.com/conclave-llm/conclave/adminapi/records"
	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/resource"
)

// member is a user whom a body puts into a team or an organization.
type member struct {
	UserID string `json:"user_id"`
	Email  string `json:"user_email"`
	Role   string `json:"role"`
}

// membersOf reads one member, or a list of them.
func membersOf(in records.Document, field string) ([]member, error) {
	raw := bytes.TrimSpace(in[field])
	if fields.IsEmpty(raw) {
		return nil, nil
	}
	var all []member
	var err error
	if raw[0] == '[' {
		err = json.Unmarshal(raw, &all)
	} else {
		all = make([]member, 1)
		err = json.Unmarshal(raw, &all[0])
	}
	if err != nil {
		return nil, wire.Invalid(field, "is neither a member nor a list of them")
	}
	return all, nil
}

// memberDoc turns LiteLLM's fields of a member into those of a document.
func memberDoc(in records.Document, role string, now *resource.TeamMember) (records.Document, error) {
	if v, ok := in["max_budget_in_team"]; ok && len(v) > 0 {
		in["max_budget"] = v
	}
	if v, ok := in["allowed_models"]; ok {
		in["models"] = v
	}
	var p *resource.Policy
	if now != nil {
		p = &now.Policy
	}
	out, err := fields.PolicyDoc(in, p)
	if err != nil {
		return nil, err
	}
	delete(out, "metadata")
	delete(out, "tags")
	if err := fields.Ours[resource.TeamMember](in, out, map[string]string{"team_id": "team_id", "user_id": "user_id"}); err != nil {
		return nil, err
	}
	switch role {
	case "":
	case "admin", "user":
		return out, out.Set("admin", role == "admin")
	default:
		return nil, wire.Invalid("role", role+" is not one of admin, user")
	}
	return out, nil
}

// joinDoc is the document of a new member.
func joinDoc(m member, team string) (records.Document, error) {
	doc, err := memberDoc(records.Document{}, m.Role, nil)
	if err != nil {
		return nil, err
	}
	return doc, identify(doc, m, team)
}

func identify(doc records.Document, m member, team string) error {
	for name, v := range map[string]string{"team_id": team, "user_id": m.UserID, "user_email": m.Email} {
		if v == "" {
			continue
		}
		if err := doc.Set(name, v); err != nil {
			return err
		}
	}
	return nil
}

func (a *API) teamMemberAdd(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	return a.addMembers(w, r, by, "member")
}

func (a *API) teamBulkMemberAdd(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	return a.addMembers(w, r, by, "members")
}

// addMembers puts users into a team, all of them or none.
func (a *API) addMembers(w http.ResponseWriter, r *http.Request, by records.Caller, field string) error {
	in, err := wire.ReadBody(r)
	if err != nil {
		return err
	}
	t, err := a.teamToJoin(by, in)
	if err != nil {
		return err
	}
	members, err := a.joining(by, t, in, field)
	if err != nil {
		return err
	}
	docs := make([]records.Document, 0, len(members))
	for _, m := range members {
		if err := a.refuseMember(t, m); err != nil {
			return err
		}
		doc, err := memberDoc(maps.Clone(in), m.Role, nil)
		if err != nil {
			return err
		}
		if err := identify(doc, m, t.ID); err != nil {
			return err
		}
		docs = append(docs, doc)
	}
	var added []*resource.TeamMember
	var wr records.Written
	if len(docs) > 0 {
		if added, wr, err = a.cfg.Records.JoinTeam(r.Context(), by, docs); err != nil {
			return err
		}
	}
	row := a.teamRow(t)
	users, memberships := []map[string]any{}, []map[string]any{}
	for _, m := range added {
		memberships = append(memberships, a.memberRow(m))
		if u, ok := a.cfg.Records.Users.Find(m.UserID); ok {
			users = append(users, a.userRow(u))
		}
	}
	row["updated_users"], row["updated_team_memberships"] = users, memberships
	return wire.Answer(w, wr, row)
}

// joining are those whom a body puts into a team: who is named there or, in bulk, all users who are not in it yet.
func (a *API) joining(by records.Caller, t *resource.Team, in records.Document, field string) ([]member, error) {
	members, err := membersOf(in, field)
	if err != nil {
		return nil, err
	}
	every := false
	if field == "members" {
		if err := in.Take("all_users", &every); err != nil {
			return nil, err
		}
	} else if err := fields.Refuse(in, []string{"all_users"}); err != nil {
		return nil, err
	}
	switch {
	case every && len(members) > 0:
		return nil, wire.Invalid("members", "give either members or all_users")
	case !every && len(members) == 0:
		return nil, wire.Invalid(field, "is missing")
	case every:
		for u := range a.cfg.Records.UsersFor(by, records.Query{Sort: "id"}) {
			if !a.isMember(t.ID, u.ID) {
				members = append(members, member{UserID: u.ID, Role: "user"})
			}
		}
	}
	return members, nil
}

// teamToJoin finds the team that a body names: one that the caller sees, or may join by himself.
func (a *API) teamToJoin(by records.Caller, in records.Document) (*resource.Team, error) {
	t, err := a.teams().named(by, in)
	if !errors.Is(err, resource.ErrNotFound) {
		return t, err
	}
	ref, _ := fields.Text(in, "team_id")
	if open, ok := a.cfg.Records.Teams.Find(ref); ok && by.MayJoin(open) {
		return open, nil
	}
	return nil, err
}

// teamsAvailable lists the teams that the caller may join by himself: what he would be there and have, and not who
// is in them or what they spend.
func (a *API) teamsAvailable(w http.ResponseWriter, _ *http.Request, by records.Caller) error {
	return wire.Answer(w, records.Written{}, wire.Rows(a.cfg.Records.AvailableTeams(by), func(t *resource.Team) map[string]any {
		row := map[string]any{
			"team_id": t.ID, "team_alias": orNil(t.Name), "organization_id": orNil(t.OrganizationID), "models": orEmpty(t.Models),
			"team_member_permissions": orEmpty(t.MemberPermissions),
		}
		memberDefaultsRow(row, t.MemberDefaults)
		return row
	}))
}

// refuseMember refuses somebody who is in the team already.
func (a *API) refuseMember(t *resource.Team, m member) error {
	ref := m.UserID
	if ref == "" {
		ref = m.Email
	}
	if _, ok := a.cfg.Records.TeamMembers.Find(resource.TeamMemberID(t.ID, ref)); ok && ref != "" {
		return &llm.Error{
			Kind: llm.Invalid, Type: "team_member_already_in_team", Code: "invalid", Param: "member",
			Message: "User " + ref + " is a member of the team already.",
		}
	}
	return nil
}

// placeOf finds the place in a team that a body names.
func (a *API) placeOf(by records.Caller, in records.Document) (*resource.Team, *resource.TeamMember, error) {
	t, err := a.teams().named(by, in)
	if err != nil {
		return nil, nil, err
	}
	u, err := a.userOf(by, in)
	if err != nil {
		return nil, nil, err
	}
	m, err := a.cfg.Records.TeamMembers.One(by, resource.TeamMemberID(t.ID, u.ID))
	return t, m, err
}

func (a *API) teamMemberUpdate(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	in, err := wire.ReadBody(r)
	if err != nil {
		return err
	}
	_, now, err := a.placeOf(by, in)
	if err != nil {
		return err
	}
	role, err := fields.Text(in, "role")
	if err != nil {
		return err
	}
	if err := fields.CheckIncrease(in, a.cfg.Now()); err != nil {
		return err
	}
	patch, err := memberDoc(in, role, now)
	if err != nil {
		return err
	}
	m, wr, err := a.cfg.Records.TeamMembers.Patch(r.Context(), by, now.ID, 0, patch)
	if err != nil {
		return fields.Renamed(err)
	}
	row := a.memberRow(m)
	row["max_budget_in_team"] = row["max_budget"]
	return wire.Answer(w, wr, row)
}

func (a *API) teamMemberDelete(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	in, err := wire.ReadBody(r)
	if err != nil {
		return err
	}
	t, m, err := a.placeOf(by, in)
	if err != nil {
		return err
	}
	wr, err := a.cfg.Records.TeamMembers.Delete(r.Context(), by, m.ID)
	if err != nil {
		return err
	}
	return wire.Answer(w, wr, a.teamRow(t))
}

// memberRow writes a place in a team as LiteLLM's membership.
func (a *API) memberRow(m *resource.TeamMember) map[string]any {
	row := map[string]any{"team_id": m.TeamID, "user_id": m.UserID, "role": roleOf(m)}
	a.budgetRow(row, resource.HolderMember, m.ID, &m.Allowance)
	row["spend"] = a.cfg.State.Totals(resource.HolderMember, m.ID).Cost
	row["allowed_models"] = orEmpty(m.Models)
	row["litellm_budget_table"] = a.budgetTable(&m.Allowance)
	return row
}

func roleOf(m *resource.TeamMember) string {
	if m.Admin {
		return "admin"
	}
	return "user"
}
