package fields

import (
	"encoding/json"
	"maps"
	"slices"

	"github.com/conclave-llm/conclave/adminapi/records"
	"github.com/conclave-llm/conclave/resource"
)

// SharedDoc turns LiteLLM's fields of a budget that others name into those of a shared budget's document, or, if
// now is given, of a merge patch of it. A field that is not given stays.
func SharedDoc(in records.Document, now *resource.Allowance) (records.Document, error) {
	something := bounds(in) // what follows takes fields out of it
	had := now
	if had == nil {
		had = &resource.Allowance{}
	}
	out := records.Document{}
	if err := limitsDoc(in, out, had.ModelLimits); err != nil {
		return nil, err
	}
	terms, given, err := termsOf(in, had.Budgets)
	if err != nil {
		return nil, err
	}
	if given {
		err = sharedTerms(out, terms, had.Budgets)
	}
	if err == nil && now == nil && !something {
		err = invalid("max_budget", "is missing; a budget has max_budget, soft_budget, budget_limits, model_max_budget, rpm_limit, tpm_limit or max_parallel_requests")
	}
	return out, err
}

// bounds says whether a new budget would bound or tell anything.
func bounds(in records.Document) bool {
	for _, name := range []string{
		"max_budget", "soft_budget", "budget_limits", "model_max_budget", "rpm_limit", "tpm_limit", "max_parallel_requests",
		"model_rpm_limit", "model_tpm_limit", "model_itpm_limit", "model_otpm_limit",
	} {
		if !IsEmpty(in[name]) {
			return true
		}
	}
	return false
}

// sharedTerms puts the first terms of dollars for whatever model in the place that a shared budget has for them, and
// the others beside it. had are those before, of which a merge patch leaves nothing.
func sharedTerms(out records.Document, terms, had []resource.Terms) error {
	main := resource.Terms{USD: resource.MaxMoney}
	if i := slices.IndexFunc(terms, func(t resource.Terms) bool { return isMain(&t) }); i >= 0 {
		main = terms[i]
		terms = slices.Delete(slices.Clone(terms), i, i+1)
	}
	doc := map[string]any{}
	for i := range had {
		if isMain(&had[i]) {
			old, err := members(&had[i])
			if err != nil {
				return err
			}
			for name := range old {
				doc[name] = nil
			}
		}
	}
	next, err := members(&main)
	if err != nil {
		return err
	}
	maps.Copy(doc, next)
	if err := out.Set("terms", doc); err != nil {
		return err
	}
	if terms == nil {
		terms = []resource.Terms{}
	}
	return out.Set("budgets", terms)
}

// members are the members of terms in JSON.
func members(t *resource.Terms) (all map[string]any, err error) {
	b, err := json.Marshal(t)
	if err != nil {
		return nil, err
	}
	return all, json.Unmarshal(b, &all)
}

// OrganizationBudget is the name of the terms that bound what a user spends as a member of his organization.
const OrganizationBudget = "organization"

// MemberOfOrganization is a user's budgets with what max_budget_in_organization says; had are those before. Given
// is false if it says nothing.
func MemberOfOrganization(in records.Document, had []resource.Terms) (terms []resource.Terms, given bool, err error) {
	raw, given := in["max_budget_in_organization"]
	if !given {
		return nil, false, nil
	}
	terms = slices.DeleteFunc(slices.Clone(had), func(t resource.Terms) bool { return t.Name == OrganizationBudget })
	if records.IsNull(raw) {
		if terms == nil {
			terms = []resource.Terms{}
		}
		return terms, true, nil
	}
	t := resource.Terms{Name: OrganizationBudget, Per: resource.PerTotal}
	if err := (records.Document{"max_budget_in_organization": raw}).Take("max_budget_in_organization", &t.USD); err != nil {
		return nil, true, err
	}
	return append(terms, t), true, nil
}
