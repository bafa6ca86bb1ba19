package litellm

import (
	"encoding/json"

	"github.com/conclave-llm/conclave/config"
	"github.com/conclave-llm/conclave/resource"
)

// customerMax is LiteLLM's setting of an amount for each end user, and the name of the shared budget that it becomes.
const customerMax = "max_end_user_budget"

// customerBudget reads what each end user gets who has no budget of his own: a shared budget by its id, or an amount.
func (d *decoder) customerBudget(m *mapping) {
	d.setting(m, customerMax+"_id", resource.SettingCustomerBudget)
	n := m.values[customerMax]
	usd := m.money(customerMax)
	if usd == nil {
		return
	}
	b := config.Budget{Position: d.position(n), Resource: resource.Budget{Meta: config.Owned(), Name: customerMax, Terms: resource.Terms{USD: *usd, Per: resource.PerTotal}}}
	b.Resource.Canonicalize()
	if err := b.Resource.Validate(); err != nil {
		d.invalid("budget "+customerMax, n, err)
		return
	}
	d.out.Resources.Budgets = append(d.out.Resources.Budgets, b)
	d.addSetting(n, resource.SettingCustomerBudget, json.RawMessage(`"`+customerMax+`"`))
}
