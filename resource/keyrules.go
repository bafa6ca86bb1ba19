package resource

import (
	"encoding/json"
	"time"

	"github.com/conclave-llm/conclave/resource/shape"
)

// The ids of the settings about keys.
const (
	SettingKeyDefaults = "key_defaults"
	SettingKeyCeilings = "key_ceilings"
)

// KeyRules are what new keys get, or what no key that a key makes may exceed.
type KeyRules struct {
	Policy
	MaxAge string `json:"max_age,omitempty"` // how long a key lives: "720h"; "": for ever
}

// StoredKeyRules reads a value that ParseKeyRules accepted. It reads no time zone, and skips
// fields of later versions: Apply may call it.
func StoredKeyRules(v json.RawMessage) (*KeyRules, error) {
	r := new(KeyRules)
	if err := shape.Read(v, r); err != nil {
		return nil, invalidShape("value", err)
	}
	r.canonicalize()
	return r, nil
}

// ParseKeyRules reads the value of a setting about keys, strictly.
func ParseKeyRules(v json.RawMessage) (*KeyRules, error) {
	r := new(KeyRules)
	if err := shape.ReadKnown(v, r); err != nil {
		return nil, invalidShape("value", err)
	}
	if r.BudgetID != "" {
		return nil, invalidf("value.budget_id", "give budgets: a setting shares none")
	}
	if len(r.AccessGroupIDs) > 0 {
		return nil, invalidf("value.access_group_ids", "give models and objects: a setting has no access groups")
	}
	r.canonicalize()
	if err := r.validate(); err != nil {
		return nil, err
	}
	return r, validAge("value.max_age", r.MaxAge)
}

func validAge(field, text string) error {
	if text == "" {
		return nil
	}
	if d, err := time.ParseDuration(text); err != nil || d <= 0 {
		return invalidf(field, "%q is not a duration such as 720h", text)
	}
	return nil
}

// age is how long a key lives; 0: for ever.
func (r *KeyRules) age() Time { return ageOf(r.MaxAge) }

func ageOf(text string) Time {
	d, err := time.ParseDuration(text)
	if err != nil {
		return 0
	}
	return Time(d)
}

// optional is a field that may be filled with another.
type optional struct{ to, from **int64 }

// pairs are the limits beside those of another.
func (l *Limits) pairs(from *Limits) []optional {
	return []optional{
		{&l.RPM, &from.RPM},
		{&l.TPM, &from.TPM},
		{&l.InputTPM, &from.InputTPM},
		{&l.OutputTPM, &from.OutputTPM},
		{&l.Parallel, &from.Parallel},
	}
}

// Fill gives a new key what it does not say itself.
func (r *KeyRules) Fill(k *Key, at Time) {
	if r == nil {
		return
	}
	if len(k.Models)+len(k.AccessGroupIDs) == 0 { // a key with groups has said which models it is to have
		k.Models, k.AccessGroupIDs = r.Models, r.AccessGroupIDs
	}
	fill(&k.Routes, r.Routes)
	fill(&k.PassThrough, r.PassThrough)
	fill(&k.DeniedPassThrough, r.DeniedPassThrough)
	fill(&k.AllowedIPs, r.AllowedIPs)
	fill(&k.DeniedIPs, r.DeniedIPs)
	fill(&k.EnforcedParams, r.EnforcedParams)
	fill(&k.Guardrails, r.Guardrails)
	fill(&k.Callbacks, r.Callbacks)
	fill(&k.Tags, r.Tags)
	if k.BudgetID == "" {
		fill(&k.Budgets, r.Budgets)
	}
	for _, f := range append(k.Limits.pairs(&r.Limits), optional{&k.MaxRequestMB, &r.MaxRequestMB}, optional{&k.MaxResponseMB, &r.MaxResponseMB}, optional{&k.LogContentDays, &r.LogContentDays}) {
		if *f.to == nil {
			*f.to = *f.from
		}
	}
	fillMap(&k.ModelLimits, r.ModelLimits)
	fillMap(&k.MCPLimits, r.MCPLimits)
	fillMap(&k.TagLimits, r.TagLimits)
	fillMap(&k.BudgetFallbacks, r.BudgetFallbacks)
	if k.OutputHold == nil && k.ModelOutputHolds == nil {
		k.OutputHold, k.ModelOutputHolds = r.OutputHold, r.ModelOutputHolds
	}
	if k.Sessions == nil {
		k.Sessions = r.Sessions
	}
	if len(k.Metadata) == 0 {
		k.Metadata = r.Metadata
	}
	if age := r.age(); age > 0 && k.ExpiresAt == 0 {
		k.ExpiresAt = at + age
	}
}

func fill[E any](to *[]E, from []E) {
	if len(*to) == 0 {
		*to = from
	}
}

func fillMap[V any](to *map[string]V, from map[string]V) {
	if *to == nil {
		*to = from
	}
}

// Level is the rules as a level that keys stand under (Grant).
func (r *KeyRules) Level() Level {
	return Level{Kind: "setting", ID: SettingKeyCeilings, Allowance: &r.Allowance, Policy: &r.Policy}
}

// Outlives returns an *Invalid for a key that lives longer than the rules let one made now.
func (r *KeyRules) Outlives(k *Key, at Time) error {
	age := r.age()
	if age == 0 || k.ExpiresAt != 0 && k.ExpiresAt <= at+age {
		return nil
	}
	return invalidf("expires_at", "is later than the setting %s lets it be, %s from now", SettingKeyCeilings, r.MaxAge)
}

func keyRules(of func(*Settings) **KeyRules) func(*Settings, json.RawMessage) error {
	return func(s *Settings, v json.RawMessage) (err error) {
		*of(s), err = ParseKeyRules(v)
		return err
	}
}
