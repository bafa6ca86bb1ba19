// Package management is LiteLLM's paths below /management/v1 that are about users, members of teams and
// budgets. They answer {"data": …}, refuse what they do not know, and say what is wrong in problem documents.
package management

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/conclave-llm/conclave/adminapi/litellm/fields"
	"github.com/conclave-llm/conclave/adminapi/litellm/wire"
	"github.com/conclave-llm/conclave/adminapi/records"
	"github.com/conclave-llm/conclave/resource"
)

// Config says what the paths work on, and how LiteLLM's other paths do what these do for many. No field may be zero.
type Config struct {
	Records *records.Records
	Catalog func() *resource.Catalog
	// NewUser makes a user, with a key if it says so, of the fields of /user/new.
	NewUser func(r *http.Request, by records.Caller, in records.Document) (*resource.User, *resource.Key, records.Written, error)
	UserRow func(*resource.User) map[string]any
	// MemberDoc makes a merge patch of a place in a team of the fields of /team/member_update.
	MemberDoc func(in records.Document, role string, now *resource.TeamMember) (records.Document, error)
	MemberRow func(*resource.TeamMember) map[string]any
	BudgetRow func(*resource.Budget) map[string]any
}

type api struct{ Config }

// most bounds the rows of one body.
const most = 500

// Routes lists the paths.
func Routes(cfg Config) []wire.Route {
	a := &api{cfg}
	return []wire.Route{
		{ID: "litellm-users-bulk", Method: http.MethodPost, Pattern: wire.Management + "/users/bulk", Handler: a.createUsers},
		{ID: "litellm-users-bulk-delete", Method: http.MethodPost, Pattern: wire.Management + "/users/bulk_delete", Handler: a.deleteUsers},
		{ID: "litellm-users-me", Method: http.MethodGet, Pattern: wire.Management + "/users/me", Handler: a.me},
		{ID: "litellm-members-bulk-update", Method: http.MethodPost, Pattern: wire.Management + "/teams/{id}/members/bulk_update", Handler: a.updateMembers},
		{ID: "litellm-members-bulk-delete", Method: http.MethodPost, Pattern: wire.Management + "/teams/{id}/members/bulk_delete", Handler: a.deleteMembers},
		{ID: "litellm-budgets-page", Method: http.MethodGet, Pattern: wire.Management + "/budgets", Handler: a.budgets},
	}
}

// readRows reads a body that has one field, a list of 1 to most rows.
func readRows[T any](r *http.Request, field string) ([]T, error) {
	if err := wire.KnownParams(r.URL.Query()); err != nil {
		return nil, err
	}
	in, err := wire.ReadBody(r)
	if err != nil {
		return nil, err
	}
	var rows []T
	if err := in.Take(field, &rows); err != nil {
		return nil, err
	}
	if err := wire.KnownFields("", in); err != nil {
		return nil, err
	}
	if len(rows) == 0 || len(rows) > most {
		return nil, wire.Invalid(field, fmt.Sprintf("has %d rows; a call takes 1 to %d", len(rows), most))
	}
	return rows, nil
}

// userFields are those of /user/new; what of them is not supported is refused where a user is made.
var userFields = []string{
	"access_group_ids", "aliases", "allowed_cache_controls", "allowed_passthrough_routes", "allowed_routes", "auto_create_key", "auto_rotate", "blocked",
	"budget_duration", "budget_id", "budget_limits", "config", "denied_passthrough_routes", "disable_global_guardrails", "duration", "enforced_params",
	"guardrails", "key_alias", "key_type", "max_budget", "max_parallel_requests", "metadata", "model_aliases", "model_itpm_limit", "model_max_budget",
	"model_otpm_limit", "model_rpm_limit", "model_tpm_limit", "models", "object_permission", "organizations", "password", "permissions", "policies",
	"prompts", "require_trace_id", "rotation_interval", "rpm_limit", "send_invite_email", "soft_budget", "spend", "sso_user_id", "tags", "team_id",
	"teams", "tpm_limit", "user_alias", "user_email", "user_id", "user_role",
}

// createdUser is what became of one user.
type createdUser struct {
	UserID    *string  `json:"user_id"`
	UserEmail *string  `json:"user_email"`
	Success   bool     `json:"success"`
	Teams     []string `json:"teams"`
	Key       *string  `json:"key"`
	Error     *string  `json:"error"`
}

// createUsers makes users one by one, each with his places in teams and his key, all of it or nothing. What is wrong
// with one keeps no other from being made.
func (a *api) createUsers(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	rows, err := readRows[records.Document](r, "users")
	if err != nil {
		return err
	}
	for i, row := range rows {
		at := fmt.Sprintf("users[%d]", i)
		if row == nil {
			return wire.Invalid(at, "is null")
		}
		if err := wire.KnownFields(at, row, userFields...); err != nil {
			return err
		}
	}
	out := make([]createdUser, 0, len(rows))
	var last records.Written
	var stopped error
	made := 0
	for _, row := range rows {
		one, wr, err := a.createUser(r, by, row, stopped)
		if one.Success {
			made, last = made+1, wr
		}
		if stopped == nil {
			stopped = goesOn(err)
		}
		out = append(out, one)
	}
	return wire.Answer(w, last, map[string]any{
		"data": out, "meta": map[string]any{"total_requested": len(rows), "created": made, "failed": len(rows) - made},
	})
}

// goesOn is an error of the cluster's own, which the next rows would wait for and get as well; nil for others.
func goesOn(err error) error {
	if errors.Is(err, resource.ErrNoLeader) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return nil
}

// createUser makes one user, unless the rows before have stopped.
func (a *api) createUser(r *http.Request, by records.Caller, in records.Document, stopped error) (out createdUser, wr records.Written, err error) {
	out.UserID, out.UserEmail = given(in, "user_id"), given(in, "user_email")
	if raw, ok := in["auto_create_key"]; !ok || records.IsNull(raw) {
		in["auto_create_key"] = json.RawMessage("false") // on /user/new it is true
	}
	var u *resource.User
	var k *resource.Key
	if err = stopped; err == nil {
		u, k, wr, err = a.NewUser(r, by, in)
	}
	if err != nil {
		out.Error = new(err.Error())
		return out, wr, err
	}
	out.Success, out.UserID, out.UserEmail, out.Teams = true, &u.ID, orNull(u.Email), a.teamsOf(u)
	if k != nil {
		out.Key = &wr.Secret
	}
	return out, wr, nil
}

// given is a field as it was given; nil: it was not, or is no text.
func given(in records.Document, name string) *string {
	text, err := fields.Text(in, name)
	if err != nil {
		return nil
	}
	return orNull(text)
}

func orNull(text string) *string {
	if text == "" {
		return nil
	}
	return &text
}

// deletedUser is what became of one user.
type deletedUser struct {
	UserID    string   `json:"user_id"`
	UserEmail *string  `json:"user_email"`
	Success   bool     `json:"success"`
	Teams     []string `json:"teams_removed"`
	Error     *string  `json:"error"`
}

// deleteUsers deletes users with their keys, those that can be deleted all at once.
func (a *api) deleteUsers(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	refs, err := readRows[string](r, "user_ids")
	if err != nil {
		return err
	}
	out, ids, seen := make([]deletedUser, 0, len(refs)), []string{}, map[string]bool{}
	for _, ref := range refs {
		one := deletedUser{UserID: ref, Teams: []string{}}
		u, err := a.deletable(by, ref, seen)
		if err != nil {
			one.Error = new(err.Error())
		} else {
			ids = append(ids, u.ID)
			one.Success, one.UserEmail, one.Teams = true, orNull(u.Email), a.teamsOf(u)
		}
		out = append(out, one)
	}
	var wr records.Written
	if len(ids) > 0 {
		if wr, err = a.Records.DeleteUsers(r.Context(), by, ids...); err != nil {
			return err
		}
	}
	return wire.Answer(w, wr, map[string]any{"data": out})
}

// deletable finds a user by his id whom the API may delete, each once.
func (a *api) deletable(by records.Caller, id string, seen map[string]bool) (*resource.User, error) {
	u, err := a.Records.Users.Writable(by, id)
	switch {
	case err != nil:
		return nil, err
	case u.ID != id: // an address is none
		return nil, fmt.Errorf("user %.60q: %w", id, resource.ErrNotFound)
	case seen[id]:
		return nil, errTwice
	}
	seen[id] = true
	return u, nil
}

// teamsOf are the ids of the teams that a user is in.
func (a *api) teamsOf(u *resource.User) []string {
	teams := []string{}
	for _, m := range a.Records.Memberships(u.ID) {
		teams = append(teams, m.TeamID)
	}
	return teams
}

// me tells who the caller is.
func (a *api) me(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	if err := wire.KnownParams(r.URL.Query()); err != nil {
		return err
	}
	if k := by.Who.Key; k != nil && k.UserID != "" {
		if u, ok := a.Records.Users.Find(k.UserID); ok && u.ID == k.UserID {
			return wire.Answer(w, records.Written{}, map[string]any{"data": a.UserRow(u)})
		}
	}
	var role any
	switch {
	case by.Who.IsAdmin():
		role = resource.UserAdmin
	case by.Who.MayRead():
		role = resource.UserAdminViewer
	}
	id := (*string)(nil)
	if by.Who.Key != nil {
		id = orNull(by.Who.Key.UserID)
	}
	return wire.Answer(w, records.Written{}, map[string]any{"data": map[string]any{"user_id": id, "user_email": nil, "user_role": role, "teams": []string{}}})
}
