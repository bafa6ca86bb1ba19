package fields

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/conclave-llm/conclave/adminapi/client"
	"github.com/conclave-llm/conclave/adminapi/records"
	"github.com/conclave-llm/conclave/resource"
)

// period is a budget_duration: so many periods.
type period struct {
	per   resource.Per
	every int64
}

// words are LiteLLM's words for durations, and those that mean a period of the calendar:
// their resets are at midnight, on Monday, on the first of the month.
var words = map[string]period{
	"hourly": {resource.PerHour, 0}, "daily": {resource.PerDay, 0}, "weekly": {resource.PerWeek, 0}, "monthly": {resource.PerMonth, 0},
	"7d": {resource.PerWeek, 0}, "30d": {resource.PerMonth, 0},
}

// units are the units of a duration that a window can have, and how many of a smaller one
// make a larger.
var units = map[string]period{
	"s": {resource.PerHour, 3600}, "m": {resource.PerHour, 60}, "h": {resource.PerHour, 1},
	"d": {resource.PerDay, 1}, "w": {resource.PerWeek, 1}, "mo": {resource.PerMonth, 1},
}

func parsePeriod(field, text string) (period, error) {
	if text == "" {
		return period{per: resource.PerTotal}, nil
	}
	text = strings.ToLower(text)
	if p, ok := words[text]; ok {
		return p, nil
	}
	unit := strings.TrimLeft(text, "0123456789")
	n, err := strconv.ParseInt(text[:len(text)-len(unit)], 10, 64)
	u, ok := units[unit]
	if err != nil || !ok || n < 1 || n%u.every != 0 || n/u.every > 24*365 {
		return period{}, invalid(field, fmt.Sprintf("%q is not possible; a budget is for whole hours, days, weeks or months (12h, 1d, 7d, 1mo), or, without it, for ever", text))
	}
	n /= u.every
	if u.per == resource.PerHour && n%24 == 0 {
		u.per, n = resource.PerDay, n/24
	}
	if n > 1000 {
		return period{}, invalid(field, fmt.Sprintf("%q is longer than 1000 periods", text))
	}
	if n == 1 {
		n = 0
	}
	return period{u.per, n}, nil
}

// spelling is how a period is written to LiteLLM's clients; nil is for ever.
func spelling(t *resource.Terms) any {
	unit := map[resource.Per]string{resource.PerHour: "h", resource.PerDay: "d", resource.PerWeek: "w", resource.PerMonth: "mo"}[t.Per]
	switch {
	case unit == "":
		return nil
	case t.Every > 1:
		return strconv.FormatInt(t.Every, 10) + unit
	case t.Per == resource.PerWeek:
		return "7d"
	case t.Per == resource.PerMonth:
		return "30d"
	}
	return "1" + unit
}

// isMain says that terms are those that max_budget writes: dollars for whatever model.
func isMain(t *resource.Terms) bool {
	return t.Unit() == resource.UnitUSD && len(t.Models) == 0 && t.Name != OrganizationBudget
}

// termsOf makes the budgets of what LiteLLM's fields say: max_budget with its companions,
// budget_limits, and model_max_budget. now is what an update finds: what is not given stays.
func termsOf(in records.Document, now []resource.Terms) (terms []resource.Terms, given bool, err error) {
	terms = slices.Clone(now)
	if raw, ok := in["budget_limits"]; ok {
		if terms, given, err = replaceSeveral(in, raw, terms); err != nil {
			return nil, false, err
		}
	}
	main, ok, err := MainTerms(in, terms)
	if err != nil {
		return nil, false, err
	}
	if ok {
		i := slices.IndexFunc(terms, func(t resource.Terms) bool { return isMain(&t) })
		switch {
		case main == nil && i >= 0:
			terms = slices.DeleteFunc(terms, func(t resource.Terms) bool { return isMain(&t) })
		case main != nil && i >= 0:
			terms[i] = *main
		case main != nil:
			terms = append([]resource.Terms{*main}, terms...)
		}
		given = true
	}
	if raw, ok := in["model_max_budget"]; ok {
		of, err := modelTerms(raw)
		if err != nil {
			return nil, false, err
		}
		terms = append(slices.DeleteFunc(terms, func(t resource.Terms) bool { return len(t.Models) > 0 && t.Unit() == resource.UnitUSD }), of...)
		given = true
	}
	return terms, given, nil
}

// MemberTerms makes the budgets that new members of a team get: max_budget with its period, and model_max_budget. A
// period alone limits nothing, nor does a budget without an amount.
func MemberTerms(in records.Document, now []resource.Terms) (terms []resource.Terms, given bool, err error) {
	of, err := modelBudgets(in["model_max_budget"])
	if err != nil {
		return nil, false, err
	}
	for _, model := range sorted(of) {
		if of[model].RPM != nil || of[model].TPM != nil {
			return nil, false, invalid("team_member_model_max_budget."+model, "has a limit; new members get budgets of models only")
		}
	}
	terms, given, err = termsOf(in, now)
	return slices.DeleteFunc(terms, func(t resource.Terms) bool { return isMain(&t) && t.USD == resource.MaxMoney }), given, err
}

// MainTerms reads max_budget, budget_duration, soft_budget and a temporary increase into the
// terms that max_budget writes, of which now may have some already; nil for no budget. ok is
// false if no field says anything.
func MainTerms(in records.Document, now []resource.Terms) (main *resource.Terms, ok bool, err error) {
	t := resource.Terms{Per: resource.PerTotal, USD: resource.MaxMoney}
	had := false
	if i := slices.IndexFunc(now, func(t resource.Terms) bool { return isMain(&t) }); i >= 0 {
		t, had = now[i], true
	}
	if raw, given := in["max_budget"]; given && records.IsNull(raw) && t.Soft == 0 && IsEmpty(in["soft_budget"]) {
		return nil, true, nil
	}
	for field := range amounts {
		raw, given := in[field]
		ok, had = ok || given, had || !IsEmpty(raw)
	}
	if err := takeAmounts(in, &t); err != nil {
		return nil, false, err
	}
	timed, err := takePeriod(in, &t)
	if err != nil {
		return nil, false, err
	}
	raised, err := increase(in, &t)
	if err != nil {
		return nil, false, err
	}
	if !had {
		return nil, false, nil // a period alone limits nothing, as with LiteLLM
	}
	return &t, ok || timed || raised, nil
}

// amounts are the fields that make a budget, and what each is if it is null. A budget that
// has a soft limit alone bounds nothing.
var amounts = map[string]resource.Money{"max_budget": resource.MaxMoney, "soft_budget": 0}

func takeAmounts(in records.Document, t *resource.Terms) error {
	for field, v := range map[string]*resource.Money{"max_budget": &t.USD, "soft_budget": &t.Soft} {
		if _, given := in[field]; !given {
			continue
		}
		*v = amounts[field]
		if err := in.Take(field, v); err != nil {
			return err
		}
		if *v < 0 {
			return invalid(field, "is negative")
		}
	}
	if t.Soft > 0 && t.Soft >= t.USD {
		return invalid("soft_budget", "is not below max_budget")
	}
	return nil
}

func takePeriod(in records.Document, t *resource.Terms) (given bool, err error) {
	if _, given = in["budget_duration"]; !given {
		return false, nil
	}
	var text string
	if err := in.Take("budget_duration", &text); err != nil {
		return true, err
	}
	p, err := parsePeriod("budget_duration", text)
	t.Per, t.Every, t.Name = p.per, p.every, ""
	return true, err
}

// increase reads a temporary increase of the budget.
func increase(in records.Document, t *resource.Terms) (given bool, err error) {
	_, amount := in["temp_budget_increase"]
	_, until := in["temp_budget_expiry"]
	if !amount && !until {
		return false, nil
	}
	inc := resource.TempIncrease{}
	if t.Increase != nil {
		inc = *t.Increase
	}
	if IsEmpty(in["temp_budget_increase"]) && amount {
		t.Increase = nil
		return true, nil
	}
	if err := in.Take("temp_budget_increase", &inc.Amount); err != nil {
		return false, err
	}
	var text string
	if err := in.Take("temp_budget_expiry", &text); err != nil {
		return false, err
	}
	if text != "" {
		if inc.Until, err = parseTime("temp_budget_expiry", text); err != nil {
			return false, err
		}
	}
	if err := in.Take("temp_budget_reason", &inc.Reason); err != nil {
		return false, err
	}
	if inc.Until == 0 {
		return false, invalid("temp_budget_expiry", "is missing; an increase ends")
	}
	if inc.Reason == "" { // LiteLLM's clients give none
		inc.Reason = "temp_budget_increase"
	}
	t.Increase = &inc
	return true, nil
}

// replaceSeveral puts budget_limits in the place of the budgets that there are for whatever model. Nothing in it takes
// away those of which a row shows several: a single one is max_budget's. Of several, the first stays to be
// changed if max_budget is given beside it.
func replaceSeveral(in records.Document, raw json.RawMessage, terms []resource.Terms) (next []resource.Terms, given bool, err error) {
	var several []resource.Terms
	if IsEmpty(raw) {
		for i := range terms {
			if isMain(&terms[i]) {
				several = append(several, terms[i])
			}
		}
		if len(several) < 2 {
			return terms, false, nil
		}
		if several = several[:1]; IsEmpty(in["max_budget"]) {
			several = nil
		}
	} else if several, err = severalTerms(in); err != nil {
		return nil, false, err
	}
	return append(slices.DeleteFunc(terms, func(t resource.Terms) bool { return isMain(&t) }), several...), true, nil
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
	delete(in, "max_budget")
	terms := make([]resource.Terms, 0, len(several))
	for i, b := range several {
		p, err := parsePeriod(fmt.Sprintf("budget_limits[%d].budget_duration", i), b.Duration)
		if err != nil {
			return nil, err
		}
		terms = append(terms, resource.Terms{USD: b.Max, Per: p.per, Every: p.every})
	}
	return terms, nil
}

// modelBudget is one value of model_max_budget.
type modelBudget struct {
	Max      *resource.Money `json:"max_budget"`
	Limit    *resource.Money `json:"budget_limit"`
	Duration string          `json:"budget_duration"`
	Period   string          `json:"time_period"`
	TPM      *int64          `json:"tpm_limit"`
	RPM      *int64          `json:"rpm_limit"`
}

// modelBudgets reads model_max_budget: an object, or a bare amount, for each model.
func modelBudgets(raw json.RawMessage) (map[string]modelBudget, error) {
	if IsEmpty(raw) {
		return nil, nil
	}
	var each map[string]json.RawMessage
	if err := json.Unmarshal(raw, &each); err != nil {
		return nil, invalid("model_max_budget", "is not an object of models")
	}
	out := map[string]modelBudget{}
	for model, v := range each {
		var b modelBudget
		var err error
		if v[0] == '{' {
			err = json.Unmarshal(v, &b)
		} else {
			b.Max = new(resource.Money)
			err = json.Unmarshal(v, b.Max)
		}
		if err != nil {
			return nil, invalid("model_max_budget."+model, err.Error())
		}
		if b.Max != nil && *b.Max < 0 || b.Limit != nil && *b.Limit < 0 {
			return nil, invalid("model_max_budget."+model, "is negative")
		}
		out[model] = b
	}
	return out, nil
}

func modelTerms(raw json.RawMessage) ([]resource.Terms, error) {
	all, err := modelBudgets(raw)
	if err != nil {
		return nil, err
	}
	var terms []resource.Terms
	for _, model := range sorted(all) {
		b := all[model]
		limit := b.Max
		if limit == nil {
			limit = b.Limit
		}
		if limit == nil {
			continue
		}
		text := b.Duration
		if text == "" {
			text = b.Period
		}
		p, err := parsePeriod("model_max_budget."+model+".budget_duration", text)
		if err != nil {
			return nil, err
		}
		terms = append(terms, resource.Terms{Name: modelTermsName(model), USD: *limit, Per: p.per, Every: p.every, Models: []string{model}})
	}
	return terms, nil
}

// modelTermsName makes the name of a model's terms, which has no slash and 64 bytes.
func modelTermsName(model string) string {
	name := "model_" + strings.ReplaceAll(model, "/", ":")
	if len(name) > 64 || strings.Contains(model, ":") {
		sum := sha256.Sum256([]byte(model))
		return "model_" + hex.EncodeToString(sum[:16])
	}
	return name
}

// BudgetRow writes an allowance as LiteLLM's fields; accounts are the windows of its budgets.
func BudgetRow(row map[string]any, al *resource.Allowance, accounts []client.Account) {
	row["tpm_limit"], row["rpm_limit"], row["max_parallel_requests"] = al.Limits.TPM, al.Limits.RPM, al.Limits.Parallel
	row["max_budget"], row["soft_budget"], row["budget_duration"], row["budget_reset_at"] = nil, nil, nil, nil
	row["budget_id"] = nil
	if al.BudgetID != "" {
		row["budget_id"] = al.BudgetID
	}
	modelLimitRows(row, al.ModelLimits)
	models := map[string]any{}
	var mains []*resource.Terms
	for i := range al.Budgets {
		t := &al.Budgets[i]
		switch {
		case isMain(t):
			mains = append(mains, t)
		case t.Unit() == resource.UnitUSD && len(t.Models) == 1:
			models[t.Models[0]] = map[string]any{"max_budget": t.USD, "budget_duration": spelling(t)}
		}
	}
	row["model_max_budget"] = models
	if len(mains) == 0 {
		return
	}
	t := mains[0]
	if t.USD != resource.MaxMoney {
		row["max_budget"] = t.USD
	}
	if t.Soft > 0 {
		row["soft_budget"] = t.Soft
	}
	if t.Increase != nil {
		row["temp_budget_increase"], row["temp_budget_expiry"] = t.Increase.Amount, t.Increase.Until
	}
	row["budget_duration"] = spelling(t)
	for _, account := range accounts {
		if account.Budget == t.Name && account.ResetsAt != 0 {
			row["budget_reset_at"] = account.ResetsAt
		}
	}
	if len(mains) > 1 {
		var all []map[string]any
		for _, t := range mains {
			all = append(all, map[string]any{"max_budget": t.USD, "budget_duration": spelling(t)})
		}
		row["budget_limits"] = all
	}
}

// MaxBudget is what a row shows as max_budget, to sort by; MaxMoney if it shows none.
func MaxBudget(al *resource.Allowance) resource.Money {
	for i := range al.Budgets {
		if isMain(&al.Budgets[i]) {
			return al.Budgets[i].USD
		}
	}
	return resource.MaxMoney
}

func modelLimitRows(row map[string]any, limits map[string]resource.Limits) {
	for field, of := range modelLimitFields {
		row[field] = valuesOf(limits, of)
	}
}

// valuesOf are the limits of one kind by what they are of.
func valuesOf(limits map[string]resource.Limits, of func(*resource.Limits) **int64) map[string]int64 {
	values := map[string]int64{}
	for name, l := range limits {
		if v := *of(&l); v != nil {
			values[name] = *v
		}
	}
	return values
}
