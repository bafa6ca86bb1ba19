package litellm

import (
	"fmt"
	"strings"

	"github.com/conclave-llm/conclave/adminapi/records"
	"github.com/conclave-llm/conclave/resource"
)

// periods are LiteLLM's spellings of the periods that a budget can have. Their resets are
// LiteLLM's, too: at midnight, on Monday, on the first of the month.
var periods = map[string]resource.Per{
	"1h": resource.PerHour, "60m": resource.PerHour, "3600s": resource.PerHour, "hourly": resource.PerHour,
	"1d": resource.PerDay, "24h": resource.PerDay, "86400s": resource.PerDay, "daily": resource.PerDay,
	"7d": resource.PerWeek, "1w": resource.PerWeek, "weekly": resource.PerWeek,
	"30d": resource.PerMonth, "1mo": resource.PerMonth, "monthly": resource.PerMonth,
}

// spellings is how each period is written to LiteLLM's clients; total has none.
var spellings = map[resource.Per]string{
	resource.PerHour: "1h", resource.PerDay: "1d", resource.PerWeek: "7d", resource.PerMonth: "30d",
}

func parsePeriod(field, text string) (resource.Per, error) {
	if text == "" {
		return resource.PerTotal, nil
	}
	per, ok := periods[strings.ToLower(text)]
	if !ok {
		return "", invalid(field, fmt.Sprintf("%q is not possible; a budget is for 1h, 1d, 7d or 30d (1mo), or, without it, for ever", text))
	}
	return per, nil
}

// limitsDoc moves LiteLLM's limits and budgets of a key or team to where a record has
// them. now is what an update finds: a field that is not given keeps its value.
func limitsDoc(in, out records.Document, now []resource.Terms) error {
	limits := records.Document{}
	for theirs, ours := range map[string]string{"rpm_limit": "rpm", "tpm_limit": "tpm", "max_parallel_requests": "parallel"} {
		if v, ok := in[theirs]; ok {
			limits[ours] = v
		}
	}
	if len(limits) > 0 {
		if err := out.Set("limits", limits); err != nil {
			return err
		}
	}
	terms, given, err := termsOf(in, now)
	if err != nil || !given {
		return err
	}
	return out.Set("budgets", terms)
}

// termsOf reads max_budget with budget_duration, or budget_limits.
func termsOf(in records.Document, now []resource.Terms) (terms []resource.Terms, given bool, err error) {
	_, hasMax := in["max_budget"]
	_, hasPer := in["budget_duration"]
	if raw, ok := in["budget_limits"]; ok && !records.IsNull(raw) && string(raw) != "[]" {
		terms, err = severalTerms(in)
		return terms, true, err
	}
	if !hasMax && !hasPer {
		return nil, false, nil
	}
	t := resource.Terms{Per: resource.PerTotal}
	if len(now) > 0 {
		t = now[0]
	}
	if hasMax && records.IsNull(in["max_budget"]) {
		return []resource.Terms{}, true, nil
	}
	if err := in.Take("max_budget", &t.USD); err != nil {
		return nil, false, err
	}
	if hasPer {
		var per string
		if err := in.Take("budget_duration", &per); err != nil {
			return nil, false, err
		}
		if t.Per, err = parsePeriod("budget_duration", per); err != nil {
			return nil, false, err
		}
		t.Name = string(t.Per)
	}
	if !hasMax && len(now) == 0 {
		return nil, false, nil // a period alone limits nothing, as with LiteLLM
	}
	return append([]resource.Terms{t}, now[min(1, len(now)):]...), true, nil
}

func severalTerms(in records.Document) ([]resource.Terms, error) {
	var several []struct {
		Duration string         `json:"budget_duration"`
		Max      resource.Money `json:"max_budget"`
		ResetAt  any            `json:"reset_at"`
	}
	if err := in.Take("budget_limits", &several); err != nil {
		return nil, err
	}
	if raw, ok := in["max_budget"]; ok && !records.IsNull(raw) {
		return nil, invalid("budget_limits", "give either budget_limits or max_budget")
	}
	terms := make([]resource.Terms, 0, len(several))
	for i, b := range several {
		per, err := parsePeriod(fmt.Sprintf("budget_limits[%d].budget_duration", i), b.Duration)
		if err != nil {
			return nil, err
		}
		terms = append(terms, resource.Terms{USD: b.Max, Per: per})
	}
	return terms, nil
}

// budgetRow writes terms as LiteLLM's fields.
func (a *API) budgetRow(row map[string]any, kind, id string, terms []resource.Terms, limits resource.Limits) {
	row["tpm_limit"], row["rpm_limit"], row["max_parallel_requests"] = limits.TPM, limits.RPM, limits.Parallel
	row["max_budget"], row["budget_duration"], row["budget_reset_at"] = nil, nil, nil
	if len(terms) == 0 {
		return
	}
	t := terms[0]
	row["max_budget"] = t.USD
	if d, ok := spellings[t.Per]; ok {
		row["budget_duration"] = d
	}
	for _, a := range a.cfg.Records.Accounts(kind + "/" + id) {
		if a.Budget == t.Name && a.ResetsAt != 0 {
			row["budget_reset_at"] = a.ResetsAt
		}
	}
	if len(terms) > 1 {
		var all []map[string]any
		for _, t := range terms {
			all = append(all, map[string]any{"max_budget": t.USD, "budget_duration": spellings[t.Per]})
		}
		row["budget_limits"] = all
	}
}
