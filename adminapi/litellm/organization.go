package litellm

import (
	"encoding/json"
	"errors"
	"maps"
	"net/http"

	"github.com/conclave-llm/conclave/adminapi/litellm/fields"
	"github.com/conclave-llm/conclave/adminapi/litellm/wire"
	"github.com/conclave-llm/conclave/adminapi/records"
	"github.com/conclave-llm/conclave/resource"
)

// orgAdmin is LiteLLM's role of a member who manages the organization.
const orgAdmin = "org_admin"

func (a *API) organizations() *kind[resource.Organization, *resource.Organization] {
	return &kind[resource.Organization, *resource.Organization]{
		noun: a.cfg.Records.Organizations, id: "organization_id", ids: "organization_ids", row: a.organizationRow,
		doc: func(in records.Document, now *resource.Organization) (records.Document, error) {
			var p *resource.Policy
			if now != nil {
				p = &now.Policy
			}
			own := records.Document{}
			fields.Own(in, own, map[string]string{"end_user_budget_id": "customer_budget"}, now != nil)
			out, err := fields.PolicyDoc(in, p)
			if err != nil {
				return nil, err
			}
			maps.Copy(out, own)
			fields.Copy(in, out, map[string]string{"organization_alias": "name"})
			return out, nil
		},
	}
}

func (a *API) organizationRow(o *resource.Organization) map[string]any {
	row := map[string]any{"organization_id": o.ID, "organization_alias": o.Name, "blocked": o.Blocked, "end_user_budget_id": orNil(o.CustomerBudget)}
	wire.Stamps(row, &o.Meta)
	a.policyRow(row, resource.HolderOrganization, o.ID, &o.Policy)
	row["litellm_budget_table"] = a.budgetTable(&o.Allowance)
	return row
}

// budgetTable is the budget of a record as LiteLLM shows it: as a row of its own.
func (a *API) budgetTable(al *resource.Allowance) map[string]any {
	row := map[string]any{}
	a.budgetRow(row, "", "", al)
	return row
}

// organizationDelete deletes organizations with their teams and those teams' keys, as LiteLLM
// does, in one entry.
func (a *API) organizationDelete(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	in, err := wire.ReadBody(r)
	if err != nil {
		return err
	}
	refs, err := fields.Refs(in, "organization_ids")
	if err != nil {
		return err
	}
	gone := make([]map[string]any, 0, len(refs))
	for _, ref := range refs {
		o, err := a.cfg.Records.Organizations.One(by, ref)
		if err != nil {
			return err
		}
		gone = append(gone, a.organizationRow(o))
	}
	wr, err := a.cfg.Records.DeleteOrganizations(r.Context(), by, refs...)
	if err != nil {
		return err
	}
	return wire.Answer(w, wr, gone)
}

func (a *API) organizationInfo(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	ref := r.URL.Query().Get("organization_id")
	if ref == "" {
		return wire.Invalid("organization_id", "is missing")
	}
	o, err := a.cfg.Records.Organizations.One(by, ref)
	if err != nil {
		return err
	}
	row := a.organizationRow(o)
	if !by.OwnOnly || by.Delegate != nil && by.Delegate.Organization() == o.ID {
		members := []map[string]any{}
		for u := range a.cfg.Records.AllUsers(records.Query{OrganizationID: o.ID}) {
			members = append(members, a.organizationPlace(u))
		}
		row["members"], row["teams"] = members, wire.Rows(a.teamsOf(o.ID), a.teamRow)
	}
	return wire.Answer(w, records.Written{}, row)
}

// orgRole is what a user is in his organization, as LiteLLM names it.
func orgRole(u *resource.User) string {
	if u.OrganizationAdmin {
		return orgAdmin
	}
	return string(u.Role)
}

func (a *API) teamsOf(organization string) []*resource.Team {
	var all []*resource.Team
	for _, t := range a.cfg.State.Catalog().Tables().Teams {
		if t.OrganizationID == organization {
			all = append(all, t)
		}
	}
	return all
}

func (a *API) organizationList(w http.ResponseWriter, _ *http.Request, by records.Caller) error {
	return wire.Answer(w, records.Written{}, wire.Rows(a.cfg.Records.Organizations.Visible(by, records.Query{}), a.organizationRow))
}

// organizationMemberAdd puts users into an organization, and makes those that are not there.
func (a *API) organizationMemberAdd(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	in, err := wire.ReadBody(r)
	if err != nil {
		return err
	}
	o, err := a.organizations().named(by, in)
	if err != nil {
		return err
	}
	members, err := membersOf(in, "member")
	if err != nil {
		return err
	}
	var wr records.Written
	users, places := []map[string]any{}, []map[string]any{}
	for _, m := range members {
		role, admin := resource.UserRole(m.Role), m.Role == orgAdmin
		if admin {
			role = ""
		}
		var u *resource.User
		budgets, _, err := fields.MemberOfOrganization(in, a.budgetsOf(m.UserID, m.Email))
		if err != nil {
			return err
		}
		if u, wr, err = a.cfg.Records.JoinOrganization(r.Context(), by, records.Joining{
			Organization: o.ID, UserID: m.UserID, Email: m.Email, Role: role, Admin: admin, Budgets: budgets,
		}); err != nil {
			return err
		}
		users, places = append(users, a.userRow(u)), append(places, a.organizationPlace(u))
	}
	return wire.Answer(w, wr, map[string]any{"organization_id": o.ID, "updated_users": users, "updated_organization_memberships": places})
}

// organizationMemberUpdate changes what a user is in his organization.
func (a *API) organizationMemberUpdate(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	in, err := wire.ReadBody(r)
	if err != nil {
		return err
	}
	o, err := a.organizations().named(by, in)
	if err != nil {
		return err
	}
	u, err := a.userOf(by, in)
	if err != nil {
		return err
	}
	if u.OrganizationID != o.ID {
		return wire.Invalid("user_id", "is not in the organization")
	}
	patch, err := placeDoc(in, u)
	if err != nil {
		return err
	}
	u, wr, err := a.cfg.Records.Users.Patch(r.Context(), by, u.ID, 0, patch)
	if err != nil {
		return err
	}
	return wire.Answer(w, wr, a.organizationPlace(u))
}

// placeDoc is the merge patch of a user whose place in his organization changes.
func placeDoc(in records.Document, u *resource.User) (records.Document, error) {
	role, err := fields.Text(in, "role")
	if err != nil {
		return nil, err
	}
	patch := records.Document{}
	budgets, given, err := fields.MemberOfOrganization(in, u.Budgets)
	if err != nil {
		return nil, err
	}
	if given {
		err = patch.Set("budgets", budgets)
	}
	switch role {
	case orgAdmin:
		return patch, errors.Join(err, patch.Set("organization_admin", true))
	case string(resource.UserInternal), string(resource.UserInternalViewer):
		return patch, errors.Join(err, patch.Set("organization_admin", false), patch.Set("role", role))
	case "":
		if given {
			return patch, err
		}
	}
	return nil, wire.Invalid("role", role+" is not one of org_admin, internal_user, internal_user_viewer")
}

// budgetsOf are the budgets of a user who may be there already.
func (a *API) budgetsOf(refs ...string) []resource.Terms {
	for _, ref := range refs {
		if u, ok := a.cfg.Records.Users.Find(ref); ok && ref != "" {
			return u.Budgets
		}
	}
	return nil
}

// organizationPlace is a user's place in his organization, as LiteLLM shows it.
func (a *API) organizationPlace(u *resource.User) map[string]any {
	row := map[string]any{"user_id": u.ID, "organization_id": u.OrganizationID, "user_role": orgRole(u), "user": a.userRow(u)}
	for i := range u.Budgets {
		if t := &u.Budgets[i]; t.Name == fields.OrganizationBudget {
			row["max_budget_in_organization"] = t.USD
			row["litellm_budget_table"] = a.budgetTable(&resource.Allowance{Budgets: []resource.Terms{*t}})
		}
	}
	return row
}

// organizationMemberDelete takes a user out of an organization.
func (a *API) organizationMemberDelete(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	in, err := wire.ReadBody(r)
	if err != nil {
		return err
	}
	o, err := a.organizations().named(by, in)
	if err != nil {
		return err
	}
	u, err := a.userOf(by, in)
	if err != nil {
		return err
	}
	if u.OrganizationID != o.ID {
		return wire.Invalid("user_id", "is not in the organization")
	}
	patch := records.Document{"organization_id": json.RawMessage("null"), "organization_admin": json.RawMessage("null")}
	budgets, given, err := fields.MemberOfOrganization(records.Document{"max_budget_in_organization": json.RawMessage("null")}, u.Budgets)
	if err == nil && given && len(budgets) < len(u.Budgets) {
		err = patch.Set("budgets", budgets)
	}
	if err != nil {
		return err
	}
	u, wr, err := a.cfg.Records.Users.Patch(r.Context(), by, u.ID, 0, patch)
	if err != nil {
		return err
	}
	return wire.Answer(w, wr, a.userRow(u))
}

func (a *API) projects() *kind[resource.Project, *resource.Project] {
	return &kind[resource.Project, *resource.Project]{
		noun: a.cfg.Records.Projects, id: "project_id", ids: "project_ids", row: a.projectRow,
		doc: func(in records.Document, now *resource.Project) (records.Document, error) {
			var p *resource.Policy
			if now != nil {
				p = &now.Policy
			}
			out, err := fields.PolicyDoc(in, p)
			if err != nil {
				return nil, err
			}
			fields.Copy(in, out, map[string]string{"project_alias": "name", "description": "description", "team_id": "team_id"})
			return out, nil
		},
	}
}

func (a *API) projectRow(p *resource.Project) map[string]any {
	row := map[string]any{
		"project_id": p.ID, "project_alias": p.Name, "description": orNil(p.Description), "team_id": p.TeamID, "blocked": p.Blocked,
	}
	wire.Stamps(row, &p.Meta)
	a.policyRow(row, resource.HolderProject, p.ID, &p.Policy)
	row["litellm_budget_table"] = a.budgetTable(&p.Allowance)
	return row
}

func (a *API) projectList(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	team := r.URL.Query().Get("team_id")
	all := []*resource.Project{}
	for _, p := range a.cfg.Records.Projects.Visible(by, records.Query{}) {
		if team == "" || p.TeamID == team {
			all = append(all, p)
		}
	}
	return wire.Answer(w, records.Written{}, wire.Rows(all, a.projectRow))
}
