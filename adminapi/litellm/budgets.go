package litellm

import (
	"cmp"
	"net/http"

	"github.com/conclave-llm/conclave/adminapi/litellm/fields"
	"github.com/conclave-llm/conclave/adminapi/litellm/wire"
	"github.com/conclave-llm/conclave/adminapi/records"
	"github.com/conclave-llm/conclave/resource"
)

// unsupportedBudgetFields bound something in LiteLLM's budgets, and do nothing here.
var unsupportedBudgetFields = []string{"tpd_limit"}

func (a *API) budgets() *kind[resource.Budget, *resource.Budget] {
	return &kind[resource.Budget, *resource.Budget]{
		noun: a.cfg.Records.Budgets, id: "budget_id", ids: "id", row: a.sharedRow, doc: sharedDoc,
	}
}

// sharedDoc turns LiteLLM's fields into the document of a shared budget, or, if now is given, into a merge patch.
func sharedDoc(in records.Document, now *resource.Budget) (records.Document, error) {
	if err := fields.Refuse(in, unsupportedBudgetFields); err != nil {
		return nil, err
	}
	var held *resource.Allowance
	if now != nil {
		held = allowanceOf(now)
	}
	out, err := fields.SharedDoc(in, held)
	if err == nil {
		err = fields.Ours[resource.Budget](in, out, map[string]string{"budget_id": "name", "max_budget": "terms"})
	}
	if err != nil || now != nil {
		return out, err
	}
	name, err := fields.Text(in, "budget_id")
	if err != nil {
		return nil, err
	}
	return out, out.Set("name", cmp.Or(name, resource.NewID("budget")))
}

// allowanceOf is what each holder of a shared budget has by it.
func allowanceOf(b *resource.Budget) *resource.Allowance {
	return &resource.Allowance{Budgets: b.All(), Limits: b.Limits, ModelLimits: b.ModelLimits}
}

func (a *API) sharedRow(b *resource.Budget) map[string]any {
	row := map[string]any{}
	a.budgetRow(row, "", "", allowanceOf(b))
	row["budget_id"] = b.ID
	wire.Stamps(row, &b.Meta)
	return row
}

func (a *API) budgetInfo(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	in, err := wire.ReadBody(r)
	if err != nil {
		return err
	}
	refs, err := fields.Refs(in, "budgets")
	if err != nil {
		return err
	}
	out := []map[string]any{}
	for _, ref := range refs {
		b, err := a.cfg.Records.Budgets.One(by, ref)
		if err != nil {
			return err
		}
		out = append(out, a.sharedRow(b))
	}
	return wire.Answer(w, records.Written{}, out)
}

func (a *API) budgetList(w http.ResponseWriter, _ *http.Request, _ records.Caller) error {
	return wire.Answer(w, records.Written{}, wire.Rows(a.cfg.State.Catalog().Tables().Budgets, a.sharedRow))
}

// budgetSettings describes the fields of a budget, with their values.
func (a *API) budgetSettings(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	b, err := a.cfg.Records.Budgets.One(by, r.URL.Query().Get("budget_id"))
	if err != nil {
		return err
	}
	row := a.sharedRow(b)
	var out []map[string]any
	for _, f := range []struct{ name, typ, says string }{
		{"max_budget", "Float", "US dollars in a window."},
		{"soft_budget", "Float", "US dollars that alert when they are passed."},
		{"budget_duration", "String", "How long a window is, such as 1d or 30d."},
		{"max_parallel_requests", "Integer", "Requests at the same time, of each holder."},
		{"tpm_limit", "Integer", "Tokens a minute, of each holder."},
		{"rpm_limit", "Integer", "Requests a minute, of each holder."},
		{"model_max_budget", "Object", "Budgets and limits of single models."},
	} {
		out = append(out, map[string]any{
			"field_name": f.name, "field_type": f.typ, "field_description": f.says, "field_value": row[f.name],
			"stored_in_db": true, "field_default_value": nil,
		})
	}
	return wire.Answer(w, records.Written{}, out)
}
