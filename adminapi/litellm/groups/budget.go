package groups

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"

	"github.com/conclave-llm/conclave/adminapi/client"
	"github.com/conclave-llm/conclave/adminapi/litellm/fields"
	"github.com/conclave-llm/conclave/adminapi/litellm/wire"
	"github.com/conclave-llm/conclave/adminapi/records"
	"github.com/conclave-llm/conclave/resource"
)

// budgetFields are those of LiteLLM's budget of a group, all of them.
var budgetFields = []string{"budget_duration", "budget_id", "max_budget", "soft_budget"}

// holder finds the record that holds the budget of a group of models: the unified access group of the same name
// that has the group, and nothing else, for its models. It is nil if there is none.
func (a *api) holder(name string) (*resource.AccessGroup, error) {
	for _, g := range a.cfg.Catalog().Tables().AccessGroups {
		if g.Name != name {
			continue
		}
		if !slices.Equal(g.Models, []string{name}) {
			return nil, fmt.Errorf("the unified access group %q has models of its own; its budget is at /api/v1/access-groups: %w", name, resource.ErrRefused)
		}
		return g, nil
	}
	return nil, nil
}

func (a *api) budget(w http.ResponseWriter, r *http.Request, _ records.Caller) error {
	g, err := a.find(r.PathValue("group"))
	if err != nil {
		return err
	}
	holder, err := a.holder(g.name)
	if err != nil {
		return err
	}
	return wire.Answer(w, records.Written{}, a.budgetRow(g.name, holder))
}

// setBudget puts a budget in the place of the one that the group had.
func (a *api) setBudget(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	in, err := wire.ReadBody(r)
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(in)) {
		if !slices.Contains(budgetFields, name) {
			return wire.Invalid(name, "is no field of a group's budget; limits of a group are at /api/v1/access-groups")
		}
	}
	g, err := a.find(r.PathValue("group"))
	if err != nil {
		return err
	}
	now, err := a.holder(g.name)
	if err != nil {
		return err
	}
	doc, err := budgetDoc(in)
	if err != nil {
		return err
	}
	next, wr, err := a.writeBudget(r.Context(), by, g.name, now, doc)
	if err != nil {
		return fields.Renamed(err)
	}
	return wire.Answer(w, wr, a.budgetRow(g.name, next))
}

// budgetDoc turns LiteLLM's fields into a merge patch of the record: what it does not say, the group has not.
func budgetDoc(in records.Document) (records.Document, error) {
	id, err := fields.Text(in, "budget_id")
	if err != nil {
		return nil, err
	}
	t, _, err := fields.MainTerms(in, nil)
	if err != nil {
		return nil, err
	}
	doc := records.Document{"budgets": json.RawMessage("null"), "budget_id": json.RawMessage("null")}
	if t == nil && id == "" {
		return nil, wire.Invalid("max_budget", "is missing; give max_budget, soft_budget or the budget_id of a shared budget")
	}
	if t != nil {
		if err := doc.Set("budgets", []resource.Terms{*t}); err != nil {
			return nil, err
		}
	}
	if id != "" {
		err = doc.Set("budget_id", id)
	}
	return doc, err
}

// writeBudget writes the record that holds a group's budget; now is nil for a new one.
func (a *api) writeBudget(ctx context.Context, by records.Caller, name string, now *resource.AccessGroup, doc records.Document) (*resource.AccessGroup, records.Written, error) {
	if now != nil {
		return a.cfg.Records.AccessGroups.Patch(ctx, by, now.ID, now.Version, doc)
	}
	maps.DeleteFunc(doc, func(_ string, raw json.RawMessage) bool { return records.IsNull(raw) })
	if err := errors.Join(doc.Set("name", name), doc.Set("models", []string{name})); err != nil {
		return nil, records.Written{}, err
	}
	return a.cfg.Records.AccessGroups.Create(ctx, by, doc)
}

func (a *api) removeBudget(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	g, err := a.find(r.PathValue("group"))
	if err != nil {
		return err
	}
	had, wr, err := a.clearBudget(r.Context(), by, g.name)
	if err != nil {
		return err
	}
	message := "Access group '" + g.name + "' has no budget"
	if had {
		message = "Budget of access group '" + g.name + "' deleted successfully"
	}
	return wire.Answer(w, wr, map[string]any{"access_group": g.name, "budget_deleted": had, "message": message})
}

// clearBudget takes a group's budget away, and with it the record that holds it unless somebody has that as an
// access group.
func (a *api) clearBudget(ctx context.Context, by records.Caller, name string) (had bool, wr records.Written, err error) {
	now, err := a.holder(name)
	if err != nil || now == nil || now.BudgetID == "" && len(now.Budgets) == 0 {
		return false, wr, err
	}
	if now.Limits.IsZero() && len(now.ModelLimits)+len(now.MCPServers)+len(now.MCPTools) == 0 {
		if wr, err = a.cfg.Records.AccessGroups.Delete(ctx, by, now.ID); !errors.Is(err, resource.ErrInUse) {
			return err == nil, wr, err
		}
	}
	_, wr, err = a.cfg.Records.AccessGroups.Patch(ctx, by, now.ID, now.Version, records.Document{"budgets": json.RawMessage("null"), "budget_id": json.RawMessage("null")})
	return err == nil, wr, err
}

// budgetRow writes a group's budget, and what counts against it in the window of now.
func (a *api) budgetRow(name string, g *resource.AccessGroup) map[string]any {
	row := map[string]any{"access_group": name, "spend": resource.Money(0), "budget": nil}
	if g == nil {
		return row
	}
	terms, _ := a.cfg.Catalog().Terms(g.Budgets, g.BudgetID)
	if len(terms) == 0 {
		return row
	}
	accounts := a.cfg.Records.Accounts(resource.HolderAccessGroup + "/" + g.ID)
	all := map[string]any{}
	fields.BudgetRow(all, &resource.Allowance{Budgets: terms}, accounts)
	budget := map[string]any{"budget_id": nil}
	if g.BudgetID != "" {
		budget["budget_id"] = g.BudgetID
	}
	for _, field := range []string{"max_budget", "soft_budget", "budget_duration", "budget_reset_at"} {
		budget[field] = all[field]
	}
	row["budget"] = budget
	for _, account := range accounts {
		if account.Budget == terms[0].Name && account.Unit == resource.UnitUSD {
			row["spend"] = spent(&account)
		}
	}
	return row
}

// spent is what counts against a budget of money.
func spent(a *client.Account) resource.Money {
	settled, _ := resource.ParseMoney(string(a.Settled)) // written from one
	presumed, _ := resource.ParseMoney(string(a.Presumed))
	return settled + presumed
}
