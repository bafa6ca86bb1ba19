package litellm

import (
	"cmp"
	"net/http"

	"github.com/conclave-llm/conclave/adminapi/litellm/fields"
	"github.com/conclave-llm/conclave/adminapi/litellm/wire"
	"github.com/conclave-llm/conclave/adminapi/records"
	"github.com/conclave-llm/conclave/resource"
)

// unsupportedBudgetFields are limits that LiteLLM's budgets share and ours do not: give them
// to each holder.
var unsupportedBudgetFields = []string{"max_parallel_requests", "model_max_budget", "rpm_limit", "tpd_limit", "tpm_limit"}

func (a *API) budgets() *kind[resource.Budget, *resource.Budget] {
	return &kind[resource.Budget, *resource.Budget]{
		noun: a.cfg.Records.Budgets, id: "budget_id", ids: "id", row: a.sharedRow,
		doc: func(in records.Document, now *resource.Budget) (records.Document, error) {
			if err := fields.Refuse(in, unsupportedBudgetFields); err != nil {
				return nil, err
			}
			var terms []resource.Terms
			if now != nil {
				terms = []resource.Terms{now.Terms}
			}
			t, ok, err := fields.MainTerms(in, terms)
			if err != nil {
				return nil, err
			}
			if t == nil && (ok || now == nil) {
				return nil, wire.Invalid("max_budget", "is missing; a budget has one")
			}
			out := records.Document{}
			if now == nil {
				name, err := fields.Text(in, "budget_id")
				if err != nil {
					return nil, err
				}
				if err := out.Set("name", cmp.Or(name, resource.NewID("budget"))); err != nil {
					return nil, err
				}
			}
			if t == nil {
				return out, nil
			}
			return out, out.Set("terms", t)
		},
	}
}

func (a *API) sharedRow(b *resource.Budget) map[string]any {
	row := map[string]any{}
	a.budgetRow(row, "", "", &resource.Allowance{Budgets: []resource.Terms{b.Terms}})
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
	} {
		out = append(out, map[string]any{
			"field_name": f.name, "field_type": f.typ, "field_description": f.says, "field_value": row[f.name],
			"stored_in_db": true, "field_default_value": nil,
		})
	}
	return wire.Answer(w, records.Written{}, out)
}
