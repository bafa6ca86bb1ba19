package litellm

import (
	"fmt"
	"maps"
	"net/http"

	"github.com/conclave-llm/conclave/adminapi/litellm/fields"
	"github.com/conclave-llm/conclave/adminapi/litellm/wire"
	"github.com/conclave-llm/conclave/adminapi/records"
	"github.com/conclave-llm/conclave/resource"
)

// bulkRoutes are the paths about many users, and about the roles that they may have.
func (a *API) bulkRoutes() []wire.Route {
	return []wire.Route{
		{ID: "litellm-user-bulk-update", Method: http.MethodPost, Pattern: "/user/bulk_update", Handler: a.userBulkUpdate},
		{ID: "litellm-user-roles", Method: http.MethodGet, Pattern: "/user/available_roles", Handler: a.userRoles},
		{ID: "litellm-user-available", Method: http.MethodGet, Pattern: "/user/available_users", Handler: a.usersAvailable},
	}
}

// userUpdated is what became of one user's change.
type userUpdated struct {
	UserID    string         `json:"user_id"`
	UserEmail any            `json:"user_email"`
	Success   bool           `json:"success"`
	Error     any            `json:"error"`
	Updated   map[string]any `json:"updated_user"`
}

// userBulkUpdate updates users one by one: those that are named, each by its own change, or all by the same.
// What is wrong with one keeps no other from its change.
func (a *API) userBulkUpdate(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	in, err := wire.ReadBody(r)
	if err != nil {
		return err
	}
	items, err := a.userItems(by, in)
	if err != nil {
		return err
	}
	results := make([]userUpdated, 0, len(items))
	var last records.Written
	good := 0
	for _, item := range items {
		one, wr := a.updateUser(r, by, item)
		if one.Success {
			last, good = wr, good+1
		}
		results = append(results, one)
	}
	return wire.Answer(w, last, map[string]any{
		"results": results, "total_requested": len(items), "successful_updates": good, "failed_updates": len(items) - good,
	})
}

// userItems are the changes that a body asks for, each with the user whose it is.
func (a *API) userItems(by records.Caller, in records.Document) ([]records.Document, error) {
	var items []records.Document
	var every bool
	change := records.Document{}
	for name, v := range map[string]any{"users": &items, "all_users": &every, "user_updates": &change} {
		if err := in.Take(name, v); err != nil {
			return nil, err
		}
	}
	switch {
	case every == (len(items) > 0):
		return nil, wire.Invalid("users", "give either users or all_users")
	case every && len(change) == 0:
		return nil, wire.Invalid("user_updates", "is missing; it is what all users get")
	case !every && len(change) > 0:
		return nil, wire.Invalid("user_updates", "is for all_users; each of users has its own change")
	case every && (change["user_email"] != nil || change["user_id"] != nil):
		return nil, wire.Invalid("user_updates", "names one user")
	}
	if every {
		for u := range a.cfg.Records.UsersFor(by, records.Query{Sort: "id"}) {
			item := maps.Clone(change)
			if err := item.Set("user_id", u.ID); err != nil {
				return nil, err
			}
			items = append(items, item)
		}
	}
	if len(items) > maxBulkUpdate {
		return nil, wire.Invalid("users", fmt.Sprintf("are %d; a call takes 1 to %d", len(items), maxBulkUpdate))
	}
	return items, nil
}

// updateUser changes one user.
func (a *API) updateUser(r *http.Request, by records.Caller, in records.Document) (userUpdated, records.Written) {
	var out userUpdated
	out.UserID, _ = fields.Text(in, "user_id") // what is no text is refused below
	u, err := a.userOf(by, in)
	var wr records.Written
	if err == nil {
		out.UserID, out.UserEmail = u.ID, orNil(u.Email)
		u, wr, err = a.changeUser(r, by, u, in)
	}
	if err != nil {
		out.Error = err.Error()
		return out, wr
	}
	out.Success, out.UserEmail, out.Updated = true, orNil(u.Email), a.userRow(u)
	return out, wr
}

func (a *API) changeUser(r *http.Request, by records.Caller, u *resource.User, in records.Document) (*resource.User, records.Written, error) {
	patch, err := a.users().doc(in, u)
	if err != nil {
		return nil, records.Written{}, err
	}
	u, wr, err := a.cfg.Records.Users.Patch(r.Context(), by, u.ID, 0, patch)
	if err != nil {
		return nil, wr, fields.Renamed(err)
	}
	return u, wr, nil
}

// roleWords say what a role is.
var roleWords = map[resource.UserRole][2]string{
	resource.UserAdmin:          {"Admin (all permissions)", "changes and sees everything in the cluster"},
	resource.UserAdminViewer:    {"Admin (view only)", "sees everything in the cluster"},
	resource.UserInternal:       {"Internal user (create, delete and view)", "manages the own keys, and sees the own spend"},
	resource.UserInternalViewer: {"Internal user (view only)", "sees the own keys and spend"},
}

// userRoles lists the roles that a user may have.
func (a *API) userRoles(w http.ResponseWriter, _ *http.Request, _ records.Caller) error {
	out := map[resource.UserRole]map[string]string{}
	for _, role := range resource.UserRoles {
		out[role] = map[string]string{"ui_label": roleWords[role][0], "description": roleWords[role][1]}
	}
	return wire.Answer(w, records.Written{}, out)
}

// usersAvailable tells how many users and teams there are. How many there may be is null: nothing here is
// counted by a licence.
func (a *API) usersAvailable(w http.ResponseWriter, _ *http.Request, by records.Caller) error {
	_, _, users, err := a.cfg.Records.Users.List(by, records.Query{Limit: 1})
	if err != nil {
		return err
	}
	_, _, teams, err := a.cfg.Records.Teams.List(by, records.Query{Limit: 1})
	if err != nil {
		return err
	}
	return wire.Answer(w, records.Written{}, map[string]any{
		"total_users": nil, "total_users_used": users, "total_users_remaining": nil,
		"total_teams": nil, "total_teams_used": teams, "total_teams_remaining": nil,
	})
}
