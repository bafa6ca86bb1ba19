package litellm

import (
	"github.com/conclave-llm/conclave/adminapi/litellm/fields"
	"github.com/conclave-llm/conclave/resource"
)

// policyRow writes a policy as LiteLLM's fields.
func (a *API) policyRow(row map[string]any, kind, id string, p *resource.Policy) {
	row["models"], row["metadata"], row["tags"] = orEmpty(p.Models), orObject(p.Metadata), orEmpty(p.Tags)
	row["access_group_ids"] = orEmpty(p.AccessGroupIDs)
	row["guardrails"], row["enforced_params"] = orEmpty(p.Guardrails), orEmpty(p.EnforcedParams)
	row["disable_global_guardrails"] = p.NoGuardrails
	row["object_permission"] = nil
	if p.Objects != nil {
		row["object_permission"] = p.Objects
	}
	fields.SessionRow(row, p.Sessions)
	fields.PolicyRow(row, p)
	row["spend"] = a.cfg.State.Totals(kind, id).Cost
	a.budgetRow(row, kind, id, &p.Allowance)
}

// budgetRow writes an allowance as LiteLLM's fields; without an id its windows are not known.
func (a *API) budgetRow(row map[string]any, kind, id string, al *resource.Allowance) {
	if id == "" {
		fields.BudgetRow(row, al, nil)
		return
	}
	fields.BudgetRow(row, al, a.cfg.Records.Accounts(kind+"/"+id))
}
