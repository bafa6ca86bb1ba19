package litellm

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"

	"github.com/conclave-llm/conclave/adminapi/litellm/fields"
	"github.com/conclave-llm/conclave/adminapi/litellm/wire"
	"github.com/conclave-llm/conclave/adminapi/records"
	"github.com/conclave-llm/conclave/resource"
)

// teamPermissions shows what a team lets its plain members do with its keys.
func (a *API) teamPermissions(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	ref := r.URL.Query().Get("team_id")
	if ref == "" {
		return wire.Invalid("team_id", "is missing")
	}
	t, err := a.cfg.Records.Teams.One(by, ref)
	if err != nil {
		return err
	}
	return wire.Answer(w, records.Written{}, map[string]any{
		"team_id": t.ID, "team_member_permissions": orEmpty(t.MemberPermissions), "all_available_permissions": resource.MemberPermissions,
	})
}

// teamPermissionsUpdate replaces it.
func (a *API) teamPermissionsUpdate(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	in, err := wire.ReadBody(r)
	if err != nil {
		return err
	}
	t, err := a.teams().named(by, in)
	if err != nil {
		return err
	}
	raw, ok := in["team_member_permissions"]
	if !ok {
		return wire.Invalid("team_member_permissions", "is missing")
	}
	t, wr, err := a.cfg.Records.Teams.Patch(r.Context(), by, t.ID, 0, records.Document{"member_permissions": raw})
	if err != nil {
		return err
	}
	return wire.Answer(w, wr, a.teamRow(t))
}

// teamPermissionsBulk adds permissions to those of several teams, or of all: all or none.
func (a *API) teamPermissionsBulk(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	in, err := wire.ReadBody(r)
	if err != nil {
		return err
	}
	var every bool
	var ids []string
	if err := in.Take("apply_to_all_teams", &every); err != nil {
		return err
	}
	if err := in.Take("team_ids", &ids); err != nil {
		return err
	}
	permissions, err := fields.Refs(in, "permissions")
	if err != nil {
		return err
	}
	switch {
	case every == (len(ids) > 0):
		return wire.Invalid("team_ids", "give either team_ids or apply_to_all_teams")
	case every:
		for _, t := range a.cfg.Records.Teams.Visible(by, records.Query{}) {
			ids = append(ids, t.ID)
		}
	}
	wr, changed, err := a.cfg.Records.LetMembers(r.Context(), by, ids, permissions)
	if err != nil {
		return err
	}
	return wire.Answer(w, wr, map[string]any{
		"message": fmt.Sprintf("%d teams let their members more", changed), "teams_updated": changed, "permissions_appended": permissions,
	})
}

// memberDefaults are LiteLLM's fields of what new members of a team get.
var memberDefaults = []string{
	"team_member_budget", "team_member_budget_duration", "team_member_model_max_budget", "team_member_rpm_limit", "team_member_tpm_limit",
	"team_member_key_duration", "default_team_member_models",
}

// memberDefaultsDoc turns them into a merge patch; nil if none is given.
func memberDefaultsDoc(in records.Document, now *resource.Team) (records.Document, error) {
	given := slices.ContainsFunc(memberDefaults, func(name string) bool { _, ok := in[name]; return ok })
	if !given {
		return nil, nil
	}
	var have []resource.Terms
	if now != nil && now.MemberDefaults != nil {
		have = now.MemberDefaults.Budgets
	}
	out := records.Document{}
	money, limits := records.Document{}, records.Document{}
	for theirs, to := range map[string]struct {
		doc  records.Document
		name string
	}{
		"team_member_budget": {money, "max_budget"}, "team_member_budget_duration": {money, "budget_duration"},
		"team_member_model_max_budget": {money, "model_max_budget"},
		"team_member_rpm_limit":        {limits, "rpm"}, "team_member_tpm_limit": {limits, "tpm"},
	} {
		if raw, ok := in[theirs]; ok {
			to.doc[to.name] = raw
		}
	}
	terms, ok, err := fields.MemberTerms(money, have)
	if err != nil {
		return nil, err
	}
	if ok {
		if err := out.Set("budgets", terms); err != nil {
			return nil, err
		}
	}
	if raw, ok := in["default_team_member_models"]; ok {
		out["models"] = raw
		if err := fields.ToModels(out, nil); err != nil {
			return nil, err
		}
	}
	if len(limits) > 0 {
		if err := out.Set("limits", limits); err != nil {
			return nil, err
		}
	}
	return out, keyAgeDoc(in, out)
}

// keyAgeDoc reads how long the keys of members live; null and "-1" are for ever.
func keyAgeDoc(in, out records.Document) error {
	if _, ok := in["team_member_key_duration"]; !ok {
		return nil
	}
	text, err := fields.Text(in, "team_member_key_duration")
	if err != nil {
		return err
	}
	if text == "" || text == "-1" {
		out["key_age"] = json.RawMessage("null")
		return nil
	}
	d, err := records.ParseDuration(text)
	if err != nil || d <= 0 {
		return wire.Invalid("team_member_key_duration", fmt.Sprintf("%q is not a duration such as 24h, 7d or 1mo", text))
	}
	return out.Set("key_age", d.String())
}

// memberDefaultsRow writes what new members get as LiteLLM's fields.
func memberDefaultsRow(row map[string]any, d *resource.MemberDefaults) {
	for _, name := range memberDefaults {
		row[name] = nil
	}
	if d == nil {
		return
	}
	budget := map[string]any{}
	fields.BudgetRow(budget, &resource.Allowance{Budgets: d.Budgets}, nil)
	row["team_member_budget"], row["team_member_budget_duration"] = budget["max_budget"], budget["budget_duration"]
	row["team_member_model_max_budget"], row["default_team_member_models"] = budget["model_max_budget"], orEmpty(d.Models)
	row["team_member_rpm_limit"], row["team_member_tpm_limit"] = d.Limits.RPM, d.Limits.TPM
	row["team_member_key_duration"] = orNil(d.KeyAge)
}
