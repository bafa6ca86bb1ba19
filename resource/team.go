package resource

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// MemberPermissions are what a team may let its plain members do with its keys, as LiteLLM
// names them. Reading a key of one's own takes none of them.
var MemberPermissions = []string{
	"/key/generate", "/key/service-account/generate", "/key/update", "/key/delete", "/key/info", "/key/regenerate", "/key/list",
	"/key/block", "/key/unblock", "/key/aliases", "/key/bulk_update", "/team/key/bulk_update", "/key/{key_id}/regenerate",
	"/key/{key_id}/reset_spend", "/key/access_group_assignment", "/team/daily/activity", "/spend/logs", "/spend/logs/v2",
}

// SettingAvailableTeams is the id of the setting that lists the teams which people join by themselves.
const SettingAvailableTeams = "available_teams"

// ParseAvailableTeams reads the value of the setting available_teams: a list of ids of teams, sorted in what it
// returns. It is pure: Apply may call it.
func ParseAvailableTeams(v json.RawMessage) (Names, error) {
	ids, err := readList(v)
	if err != nil {
		return nil, err
	}
	for i, id := range ids {
		if why := badLine(id, 256); why != "" {
			return nil, invalidf(fmt.Sprintf("value[%d]", i), "%.100q %s", id, why)
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids), nil
}

// Team is a group of keys that share models, budgets and limits. Blocked is a flag of the
// frame around the stored bytes, as a key's is.
type Team struct {
	Meta
	Policy
	Name           string `json:"name,omitempty"` // unique; LiteLLM's team_alias
	OrganizationID string `json:"organization_id,omitempty"`
	Blocked        bool   `json:"blocked,omitempty" cbor:"-"`

	MemberPermissions []string        `json:"member_permissions,omitempty"`         // of MemberPermissions
	MemberDefaults    *MemberDefaults `json:"member_defaults,omitempty"`            // what new members get
	Prompts           []string        `json:"prompts,omitempty"`                    // templates that its keys may use; none: all
	FileExpiry        *Expiry         `json:"file_expires_after,omitempty"`         // of files that its keys upload, whatever they say
	BatchOutputExpiry *Expiry         `json:"batch_output_expires_after,omitempty"` // of files of answers of their batches
	CustomerBudget    string          `json:"customer_budget,omitempty"`            // as a key's, for its keys that name none
}

// MemberDefaults are what a new member of a team gets that is not given to him, and how long
// keys live that members make in the team.
type MemberDefaults struct {
	Budgets []Terms  `json:"budgets,omitempty"`
	Limits  Limits   `json:"limits,omitzero"`
	Models  []string `json:"models,omitempty"`  // that he may use; none: the team's
	KeyAge  string   `json:"key_age,omitempty"` // "720h"; "": for ever
}

// Fill gives a new member what is not given to him.
func (d *MemberDefaults) Fill(m *TeamMember) {
	if d == nil {
		return
	}
	if m.BudgetID == "" {
		fill(&m.Budgets, slices.Clone(d.Budgets))
	}
	if len(m.Models) == 0 {
		m.Models = slices.Clone(d.Models)
	}
	for _, f := range m.Limits.pairs(&d.Limits) {
		if *f.to == nil {
			*f.to = *f.from
		}
	}
}

// FillKey gives a new key of a member an end, if it has none.
func (d *MemberDefaults) FillKey(k *Key, at Time) {
	if d == nil || k.ExpiresAt != 0 {
		return
	}
	if age := ageOf(d.KeyAge); age > 0 {
		k.ExpiresAt = at + age
	}
}

func (d *MemberDefaults) validate() error {
	if d == nil {
		return nil
	}
	if err := validateTerms("member_defaults.budgets", d.Budgets); err != nil {
		return err
	}
	if err := d.Limits.validate("member_defaults.limits"); err != nil {
		return err
	}
	if err := validNames("member_defaults.models", d.Models); err != nil {
		return err
	}
	return validAge("member_defaults.key_age", d.KeyAge)
}

// Label implements Record.
func (t *Team) Label() string { return t.Name }

// Canonicalize implements Record.
func (t *Team) Canonicalize() {
	t.canonicalize()
	if t.MemberDefaults != nil {
		for i := range t.MemberDefaults.Budgets {
			t.MemberDefaults.Budgets[i].canonicalize()
		}
	}
}

// Validate implements Record.
func (t *Team) Validate() error {
	if t.Name != "" {
		if err := validName("name", t.Name); err != nil {
			return err
		}
	}
	for i, p := range t.MemberPermissions {
		if !slices.Contains(MemberPermissions, p) {
			return invalidf(fmt.Sprintf("member_permissions[%d]", i), "%q is not one of %s", p, strings.Join(MemberPermissions, ", "))
		}
	}
	if err := t.MemberDefaults.validate(); err != nil {
		return err
	}
	if err := validNames("prompts", t.Prompts); err != nil {
		return err
	}
	if err := t.FileExpiry.validate("file_expires_after"); err != nil {
		return err
	}
	if err := t.BatchOutputExpiry.validate("batch_output_expires_after"); err != nil {
		return err
	}
	if err := validCustomerBudget(t.CustomerBudget); err != nil {
		return err
	}
	return t.validate()
}

// Lets says whether the team lets its plain members do what the permission names.
func (t *Team) Lets(permission string) bool { return slices.Contains(t.MemberPermissions, permission) }
