package litellm

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
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

// unsupportedUserFields would sign somebody in, write to him, or bound him, and do not here.
var unsupportedUserFields = []string{"password", "send_invite_email", "spend", "sso_user_id"}

func (a *API) users() *kind[resource.User, *resource.User] {
	return &kind[resource.User, *resource.User]{
		noun: a.cfg.Records.Users, id: "user_id", ids: "user_ids", row: a.userRow, doc: userDoc,
		updated: func(u *resource.User, row map[string]any) any { return map[string]any{"user_id": u.ID, "data": row} },
	}
}

// userOwn are the fields of a user that its first key does not get.
var userOwn = map[string]string{"user_email": "email", "user_alias": "name", "user_role": "role"}

func userDoc(in records.Document, now *resource.User) (records.Document, error) {
	if err := fields.Refuse(in, unsupportedUserFields); err != nil {
		return nil, err
	}
	if now != nil {
		if err := fields.Refuse(in, []string{"teams", "organizations"}); err != nil {
			return nil, err
		}
	}
	var p *resource.Policy
	if now != nil {
		p = &now.Policy
	}
	out, err := fields.PolicyDoc(in, p)
	if err != nil {
		return nil, err
	}
	fields.Copy(in, out, userOwn)
	if now != nil && in["user_id"] == nil {
		delete(out, "email") // it is what the user is found by
	}
	return out, fields.Ours[resource.User](in, out, userOwn)
}

func (a *API) userRow(u *resource.User) map[string]any {
	row := map[string]any{
		"user_id": u.ID, "user_email": orNil(u.Email), "user_alias": orNil(u.Name), "user_role": u.Role,
		"organization_id": orNil(u.OrganizationID), "blocked": u.Blocked, "sso_user_id": nil,
	}
	teams := []string{}
	for _, m := range a.cfg.Records.Memberships(u.ID) {
		teams = append(teams, m.TeamID)
	}
	row["teams"] = teams
	wire.Stamps(row, &u.Meta)
	a.policyRow(row, resource.HolderUser, u.ID, &u.Policy)
	return row
}

// userOf finds the user that a body names by id or e-mail address.
func (a *API) userOf(by records.Caller, in records.Document) (*resource.User, error) {
	for _, field := range []string{"user_id", "user_email"} {
		ref, err := fields.Text(in, field)
		if err != nil {
			return nil, err
		}
		if ref != "" {
			return a.cfg.Records.Users.One(by, ref)
		}
	}
	return nil, wire.Invalid("user_id", "is missing; give user_id or user_email")
}

// userNew makes a user with his places in teams and, unless he shall have none, a key, all in
// one entry.
func (a *API) userNew(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	in, err := wire.ReadBody(r)
	if err != nil {
		return err
	}
	u, k, wr, err := a.makeUser(r, by, in)
	if err != nil {
		return err
	}
	row := a.userRow(u)
	if k != nil {
		for name, v := range a.generated(k, wr.Secret) {
			if _, ok := row[name]; !ok {
				row[name] = v
			}
		}
	}
	return wire.Answer(w, wr, row)
}

// makeUser makes the user, and the key, that a body describes.
func (a *API) makeUser(r *http.Request, by records.Caller, in records.Document) (*resource.User, *resource.Key, records.Written, error) {
	parts, err := a.newUser(in)
	if err != nil {
		return nil, nil, records.Written{}, err
	}
	return a.cfg.Records.CreateUser(r.Context(), by, parts)
}

func (a *API) newUser(in records.Document) (parts records.NewUser, err error) {
	auto := true
	if err := in.Take("auto_create_key", &auto); err != nil {
		return parts, err
	}
	var organizations []string
	if err := in.Take("organizations", &organizations); err != nil {
		return parts, err
	}
	if len(organizations) > 1 {
		return parts, wire.Invalid("organizations", "a user is in one organization at most")
	}
	if parts.Members, err = joins(in); err != nil {
		return parts, err
	}
	whole := maps.Clone(in)
	if auto {
		fields.DropKeys(in) // the user's key has them
	}
	if parts.User, err = userDoc(in, nil); err != nil {
		return parts, err
	}
	if raw, ok := in["user_id"]; ok && !records.IsNull(raw) {
		parts.User["id"] = raw
	}
	if len(organizations) == 1 && !fields.IsEmpty(parts.User["organization_id"]) {
		return parts, wire.Invalid("organization_id", "is said by organizations already")
	}
	if len(organizations) == 1 {
		if err := parts.User.Set("organization_id", organizations[0]); err != nil {
			return parts, err
		}
	}
	if !auto {
		return parts, nil
	}
	delete(whole, "team_id")
	delete(whole, "organization_id") // the user's
	if err := logging.Refuse(whole); err != nil {
		return parts, err
	}
	parts.Key, err = a.keyDoc(whole, nil)
	return parts, err
}

// joins reads the teams of a new user: names, or objects with what he may spend there.
func joins(in records.Document) ([]records.Document, error) {
	var each []json.RawMessage
	if err := in.Take("teams", &each); err != nil {
		return nil, err
	}
	var out []records.Document
	for i, raw := range each {
		var t struct {
			ID   string          `json:"team_id"`
			Max  json.RawMessage `json:"max_budget_in_team"`
			Role string          `json:"user_role"`
		}
		var err error
		if bytes.HasPrefix(bytes.TrimSpace(raw), []byte(`"`)) {
			err = json.Unmarshal(raw, &t.ID)
		} else {
			err = json.Unmarshal(raw, &t)
		}
		if err != nil {
			return nil, wire.Invalid(fmt.Sprintf("teams[%d]", i), "is neither an id nor an object with team_id")
		}
		doc, err := memberDoc(records.Document{"max_budget_in_team": t.Max}, t.Role, nil)
		if err != nil {
			return nil, err
		}
		if err := doc.Set("team_id", t.ID); err != nil {
			return nil, err
		}
		out = append(out, doc)
	}
	return out, nil
}

func (a *API) userUpdate(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	in, err := wire.ReadBody(r)
	if err != nil {
		return err
	}
	u, err := a.userOf(by, in)
	if err != nil {
		return err
	}
	return a.users().patch(w, r, by, u, in)
}

// userDelete deletes users with their keys, as LiteLLM does, in one entry.
func (a *API) userDelete(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	in, err := wire.ReadBody(r)
	if err != nil {
		return err
	}
	refs, err := fields.Refs(in, "user_ids")
	if err != nil {
		return err
	}
	wr, err := a.cfg.Records.DeleteUsers(r.Context(), by, refs...)
	if err != nil {
		return err
	}
	return wire.Answer(w, wr, len(refs))
}

// ownUser is the user that a query names, or else the caller's own.
func (a *API) ownUser(r *http.Request, by records.Caller) (*resource.User, error) {
	ref := r.URL.Query().Get("user_id")
	if ref == "" && by.Who.Key != nil {
		ref = by.Who.Key.UserID
	}
	if ref == "" {
		return nil, wire.Invalid("user_id", "the caller is no user; give ?user_id=")
	}
	return a.cfg.Records.Users.One(by, ref)
}

func (a *API) userInfo(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	u, err := a.ownUser(r, by)
	if err != nil {
		return err
	}
	teams := []map[string]any{}
	for _, m := range a.cfg.Records.Memberships(u.ID) {
		if t, err := a.cfg.Records.Teams.One(by, m.TeamID); err == nil {
			teams = append(teams, a.teamRow(t))
		}
	}
	return wire.Answer(w, records.Written{}, map[string]any{
		"user_id": u.ID, "user_info": a.userRow(u), "keys": wire.Rows(a.keysOf(by, u), a.keyRow), "teams": teams,
	})
}

// keysOf lists the keys of a user that the caller may see.
func (a *API) keysOf(by records.Caller, u *resource.User) []*resource.Key {
	return slices.DeleteFunc(a.cfg.Records.KeysOf(u.ID), func(k *resource.Key) bool {
		_, err := a.cfg.Records.Keys.One(by, k.ID)
		return err != nil
	})
}

func (a *API) userInfoAlone(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	u, err := a.ownUser(r, by)
	if err != nil {
		return err
	}
	return wire.Answer(w, records.Written{}, a.userRow(u))
}

func (a *API) userList(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	q := r.URL.Query()
	if err := wire.RefuseParams(q, "sso_user_ids"); err != nil {
		return err
	}
	found := []*resource.User{}
	ids, organizations := wire.List(q, "user_ids"), wire.List(q, "organization_ids")
	for i, ref := range organizations {
		organizations[i] = idOf(a.cfg.Records.Organizations, ref)
	}
	for u := range a.cfg.Records.UsersFor(by, records.Query{Q: q.Get("search"), Role: q.Get("role"), Sort: "id"}) {
		if wire.Selects(q.Get("user_email"), u.Email) && (ids == nil || slices.Contains(ids, u.ID)) &&
			(organizations == nil || slices.Contains(organizations, u.OrganizationID)) && a.isIn(q.Get("team"), u.ID) {
			found = append(found, u)
		}
	}
	if err := a.userOrders().Sort(q, "asc", found); err != nil {
		return err
	}
	page, err := wire.Paged(q, "users", "page_size", 25, found, func(u *resource.User) map[string]any {
		row := a.userRow(u)
		row["key_count"] = len(a.cfg.Records.KeysOf(u.ID))
		return row
	})
	if err != nil {
		return err
	}
	return wire.Answer(w, records.Written{}, page)
}

// userOrders are the columns that users may be sorted by.
func (a *API) userOrders() wire.Orders[*resource.User] {
	spend := func(u *resource.User) resource.Money { return a.cfg.State.Totals(resource.HolderUser, u.ID).Cost }
	return wire.Orders[*resource.User]{
		"user_id":    func(x, y *resource.User) int { return strings.Compare(x.ID, y.ID) },
		"user_email": func(x, y *resource.User) int { return strings.Compare(x.Email, y.Email) },
		"user_alias": func(x, y *resource.User) int { return strings.Compare(x.Name, y.Name) },
		"user_role":  func(x, y *resource.User) int { return strings.Compare(string(x.Role), string(y.Role)) },
		"created_at": func(x, y *resource.User) int { return cmp.Compare(x.CreatedAt, y.CreatedAt) },
		"updated_at": func(x, y *resource.User) int { return cmp.Compare(x.UpdatedAt, y.UpdatedAt) },
		"spend":      func(x, y *resource.User) int { return cmp.Compare(spend(x), spend(y)) },
		"max_budget": func(x, y *resource.User) int {
			return cmp.Compare(fields.MaxBudget(&x.Allowance), fields.MaxBudget(&y.Allowance))
		},
	}
}

// isIn says whether a user is a member of a team; of none, everybody is.
func (a *API) isIn(team, user string) bool {
	if team == "" {
		return true
	}
	_, ok := a.cfg.Records.TeamMembers.Find(resource.TeamMemberID(team, user))
	return ok
}
