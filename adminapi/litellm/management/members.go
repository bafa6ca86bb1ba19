package management

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/conclave-llm/conclave/adminapi/litellm/wire"
	"github.com/conclave-llm/conclave/adminapi/records"
	"github.com/conclave-llm/conclave/resource"
)

var (
	errTwice    = errors.New("stands twice in the request")
	errNoMember = errors.New("is no member of the team")
)

// patchFields are those of a member's row in bulk_update.
var patchFields = []string{"allowed_models", "budget_duration", "max_budget_in_team", "rpm_limit", "tpm_limit", "user_email", "user_id"}

// member is a row that names one member of a team.
type member struct {
	id, email *string // one of them is given
	place     *resource.TeamMember
	err       error // why the row cannot be done
}

// members reads the rows that name members of the team of the path, and finds those. What a row has beside a name
// must be among the allowed fields.
func (a *api) members(r *http.Request, by records.Caller, allowed ...string) ([]records.Document, []member, error) {
	rows, err := readRows[records.Document](r, "members")
	if err != nil {
		return nil, nil, err
	}
	t, err := a.Records.Teams.One(by, r.PathValue("id"))
	if err != nil {
		return nil, nil, err
	}
	found, seen := make([]member, 0, len(rows)), map[string]bool{}
	for i, row := range rows {
		at := fmt.Sprintf("members[%d]", i)
		if err := wire.KnownFields(at, row, allowed...); err != nil {
			return nil, nil, err
		}
		m := member{id: given(row, "user_id"), email: given(row, "user_email")}
		if (m.id == nil) == (m.email == nil) {
			return nil, nil, wire.Invalid(at, "names a member by either user_id or user_email")
		}
		if m.place, m.err = a.place(by, t, m.id, m.email); m.err == nil && seen[m.place.ID] {
			m.err = errTwice
		}
		if m.err == nil {
			seen[m.place.ID] = true
		}
		found = append(found, m)
	}
	return rows, found, nil
}

// place finds a member's place in a team.
func (a *api) place(by records.Caller, t *resource.Team, id, email *string) (*resource.TeamMember, error) {
	ref := id
	if ref == nil {
		ref = email
	}
	m, err := a.Records.TeamMembers.One(by, resource.TeamMemberID(t.ID, *ref))
	if err != nil || id != nil && m.UserID != *id {
		return nil, errNoMember
	}
	return m, nil
}

// updatedMember is what became of one member: what bounds him now.
type updatedMember struct {
	UserID    *string `json:"user_id"`
	UserEmail *string `json:"user_email"`
	Success   bool    `json:"success"`
	Error     *string `json:"error"`
	BudgetID  any     `json:"budget_id"`
	Max       any     `json:"max_budget"`
	Source    *string `json:"max_budget_source"`
	TPM       any     `json:"tpm_limit"`
	RPM       any     `json:"rpm_limit"`
	Duration  any     `json:"budget_duration"`
	Models    any     `json:"allowed_models"`
}

// updateMembers changes what members of a team may spend, one by one. What is wrong with one keeps no other from his
// change.
func (a *api) updateMembers(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	rows, found, err := a.members(r, by, patchFields...)
	if err != nil {
		return err
	}
	out := make([]updatedMember, 0, len(found))
	var last records.Written
	var stopped error
	for i := range found {
		m := &found[i]
		one := updatedMember{UserID: m.id, UserEmail: m.email}
		if stopped != nil {
			m.err = stopped
		}
		now, wr, err := a.updateMember(r, by, m, rows[i])
		stopped = goesOn(err)
		if err != nil {
			one.Error = new(err.Error())
		} else {
			one.limits(a.MemberRow(now))
			one.UserID, last = &now.UserID, wr
		}
		out = append(out, one)
	}
	return wire.Answer(w, last, map[string]any{"data": out})
}

func (a *api) updateMember(r *http.Request, by records.Caller, m *member, row records.Document) (*resource.TeamMember, records.Written, error) {
	if m.err != nil {
		return nil, records.Written{}, m.err
	}
	patch, err := a.MemberDoc(row, "", m.place)
	if err != nil {
		return nil, records.Written{}, err
	}
	return a.Records.TeamMembers.Patch(r.Context(), by, m.place.ID, 0, patch)
}

// limits copies what bounds a member out of LiteLLM's row of him.
func (u *updatedMember) limits(row map[string]any) {
	u.Success, u.BudgetID, u.Max, u.TPM, u.RPM = true, row["budget_id"], row["max_budget"], row["tpm_limit"], row["rpm_limit"]
	u.Duration, u.Models = row["budget_duration"], row["allowed_models"]
	if u.Max != nil {
		u.Source = new("member")
	}
}

// deletedMember is what became of one member.
type deletedMember struct {
	UserID    *string `json:"user_id"`
	UserEmail *string `json:"user_email"`
	Success   bool    `json:"success"`
	Error     *string `json:"error"`
}

// deleteMembers takes members out of a team, all at once.
func (a *api) deleteMembers(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	_, found, err := a.members(r, by, "user_email", "user_id")
	if err != nil {
		return err
	}
	out, ids := make([]deletedMember, 0, len(found)), []string{}
	for i := range found {
		m := &found[i]
		one := deletedMember{UserID: m.id, UserEmail: m.email, Success: m.err == nil}
		if m.err != nil {
			one.Error = new(m.err.Error())
		} else {
			ids = append(ids, m.place.ID)
		}
		out = append(out, one)
	}
	var wr records.Written
	if len(ids) > 0 {
		if wr, err = a.Records.TeamMembers.Delete(r.Context(), by, ids...); err != nil {
			return err
		}
	}
	return wire.Answer(w, wr, map[string]any{"data": out})
}
