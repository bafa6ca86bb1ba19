package management

import (
	"cmp"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/conclave-llm/conclave/adminapi/litellm/wire"
	"github.com/conclave-llm/conclave/adminapi/records"
	"github.com/conclave-llm/conclave/resource"
)

// sizeOfPage is how many budgets a page has if nobody says; mostOfPage how many at most.
const sizeOfPage, mostOfPage = 50, 100

// listed is a budget with what it is sorted and filtered by.
type listed struct {
	*resource.Budget
	row      map[string]any
	duration string // "": it never begins anew
}

// order is what budgets can be sorted by; those without a value come last, whichever way.
type order struct {
	compare func(x, y *listed) int
	none    func(*listed) bool // nil: each has a value
}

// orders are the orders by name.
var orders = map[string]order{
	"budget_id":  {compare: func(x, y *listed) int { return strings.Compare(x.ID, y.ID) }},
	"max_budget": {func(x, y *listed) int { return cmp.Compare(x.Terms.USD, y.Terms.USD) }, unlimited},
	"tpm_limit":  byLimit(func(l *resource.Limits) *int64 { return l.TPM }),
	"rpm_limit":  byLimit(func(l *resource.Limits) *int64 { return l.RPM }),
	"created_at": {compare: func(x, y *listed) int { return cmp.Compare(x.CreatedAt, y.CreatedAt) }},
}

func byLimit(of func(*resource.Limits) *int64) order {
	return order{
		compare: func(x, y *listed) int { return cmp.Compare(*of(&x.Limits), *of(&y.Limits)) },
		none:    func(b *listed) bool { return of(&b.Limits) == nil },
	}
}

func unlimited(b *listed) bool { return b.row["max_budget"] == nil }

// in compares two budgets, the other way round if turn is -1.
func (o *order) in(turn int, x, y *listed) int {
	if o.none == nil {
		return turn * o.compare(x, y)
	}
	switch x, y := o.none(x), o.none(y); {
	case x && y:
		return 0
	case x:
		return 1
	case y:
		return -1
	}
	return turn * o.compare(x, y)
}

// filters are the parameters by which budgets can be chosen, each with what reads its value.
var filters = map[string]func(name, value string) (func(*listed) bool, error){
	"filter[budget_duration][in]": func(_, value string) (func(*listed) bool, error) {
		names := strings.Split(value, ",")
		for i := range names {
			names[i] = strings.TrimSpace(names[i])
		}
		return func(b *listed) bool { return b.duration != "" && slices.Contains(names, b.duration) }, nil
	},
	"filter[budget_duration][is_null]": isNull(func(b *listed) bool { return b.duration == "" }),
	"filter[max_budget][gte]":          amount(func(b *listed, m resource.Money) bool { return b.Terms.USD >= m }),
	"filter[max_budget][lte]":          amount(func(b *listed, m resource.Money) bool { return b.Terms.USD <= m }),
	"filter[max_budget][is_null]":      isNull(unlimited),
	"filter[created_at][gte]":          moment(func(b *listed, t time.Time) bool { return !b.CreatedAt.Std().Before(t) }),
	"filter[created_at][lte]":          moment(func(b *listed, t time.Time) bool { return !b.CreatedAt.Std().After(t) }),
}

func isNull(is func(*listed) bool) func(name, value string) (func(*listed) bool, error) {
	return func(name, value string) (func(*listed) bool, error) {
		want, err := strconv.ParseBool(strings.ToLower(value))
		if err != nil {
			return nil, wire.Invalid(name, "is not true or false")
		}
		return func(b *listed) bool { return is(b) == want }, nil
	}
}

func amount(fits func(*listed, resource.Money) bool) func(name, value string) (func(*listed) bool, error) {
	return func(name, value string) (func(*listed) bool, error) {
		m, err := resource.ParseMoney(value)
		if err != nil {
			return nil, wire.Invalid(name, "is not an amount of dollars")
		}
		return func(b *listed) bool { return !unlimited(b) && fits(b, m) }, nil
	}
}

func moment(fits func(*listed, time.Time) bool) func(name, value string) (func(*listed) bool, error) {
	return func(name, value string) (func(*listed) bool, error) {
		for _, form := range []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02 15:04:05", time.DateOnly} {
			if t, err := time.Parse(form, value); err == nil {
				return func(b *listed) bool { return fits(b, t) }, nil
			}
		}
		return nil, wire.Invalid(name, "is not a time such as 2026-01-31T10:00:00Z")
	}
}

// known are the parameters of the list.
func known() []string {
	return append(slices.Collect(maps.Keys(filters)), "page", "page_size", "q", "sort")
}

// budgets lists shared budgets: a page of those that the filters choose.
func (a *api) budgets(w http.ResponseWriter, r *http.Request, _ records.Caller) error {
	q := r.URL.Query()
	if err := checkFilters(q); err != nil {
		return err
	}
	page, err := wire.Positive(q, "page", 1, wire.MostPage)
	if err != nil {
		return err
	}
	size, err := wire.Positive(q, "page_size", sizeOfPage, mostOfPage)
	if err != nil {
		return err
	}
	all, err := a.chosen(q)
	if err != nil {
		return err
	}
	if err := sortBudgets(all, q.Get("sort")); err != nil {
		return err
	}
	pages := (len(all) + size - 1) / size
	from := min((page-1)*size, len(all))
	rows := []map[string]any{}
	for _, b := range all[from:min(from+size, len(all))] {
		rows = append(rows, b.row)
	}
	return wire.Answer(w, records.Written{}, map[string]any{
		"data": rows, "links": links(r, page, max(pages, 1)),
		"meta": map[string]any{"total_count": len(all), "page": page, "page_size": size, "total_pages": pages},
	})
}

// checkFilters refuses parameters that the list does not have, and operators that a filter does not.
func checkFilters(q url.Values) error {
	for name := range q {
		field, op, ok := strings.Cut(strings.TrimSuffix(strings.TrimPrefix(name, "filter["), "]"), "][")
		if !strings.HasPrefix(name, "filter[") || filters[name] != nil {
			continue
		}
		if !ok {
			op = "eq"
		}
		var allowed []string
		for other := range filters {
			if rest, found := strings.CutPrefix(other, "filter["+field+"]["); found {
				allowed = append(allowed, strings.TrimSuffix(rest, "]"))
			}
		}
		if len(allowed) > 0 {
			return &wire.Problem{
				Type: "unsupported-filter-operator", Title: "Unsupported filter operator", Status: http.StatusBadRequest,
				Detail: fmt.Sprintf("There is no operator %.60q on %s.", op, field), Allow: slices.Sorted(slices.Values(allowed)),
			}
		}
	}
	return wire.KnownParams(q, known()...)
}

// columns are the members of a row.
var columns = []string{
	"budget_id", "max_budget", "soft_budget", "tpm_limit", "rpm_limit", "budget_duration", "budget_reset_at", "created_at", "updated_at",
}

// chosen are the budgets that the filters choose, with q in their ids or names.
func (a *api) chosen(q url.Values) ([]*listed, error) {
	var fits []func(*listed) bool
	for _, name := range slices.Sorted(maps.Keys(filters)) {
		if !q.Has(name) {
			continue
		}
		f, err := filters[name](name, q.Get(name))
		if err != nil {
			return nil, err
		}
		fits = append(fits, f)
	}
	part := strings.ToLower(q.Get("q"))
	var out []*listed
	for _, b := range a.Catalog().Tables().Budgets {
		all, row := a.BudgetRow(b), map[string]any{}
		for _, name := range columns {
			row[name] = all[name]
		}
		one := &listed{Budget: b, row: row}
		one.duration, _ = row["budget_duration"].(string)
		if !strings.Contains(strings.ToLower(b.ID+"\n"+b.Name), part) || slices.ContainsFunc(fits, func(f func(*listed) bool) bool { return !f(one) }) {
			continue
		}
		out = append(out, one)
	}
	return out, nil
}

// sortBudgets sorts by several words, "-" turning one; the newest come first if there is none.
func sortBudgets(all []*listed, words string) error {
	type key struct {
		order
		turn int
	}
	var keys []key
	var unknown []string
	for word := range strings.SplitSeq(cmp.Or(words, "-created_at"), ",") {
		name, down := strings.CutPrefix(strings.TrimSpace(word), "-")
		o, ok := orders[name]
		if !ok {
			unknown = append(unknown, fmt.Sprintf("%.60q", name))
		}
		k := key{o, 1}
		if down {
			k.turn = -1
		}
		keys = append(keys, k)
	}
	if len(unknown) > 0 {
		return &wire.Problem{
			Type: "invalid-sort-field", Title: "Invalid sort field", Status: http.StatusBadRequest,
			Detail: "Budgets are not sorted by " + strings.Join(unknown, ", ") + ".", Allow: slices.Sorted(maps.Keys(orders)),
		}
	}
	keys = append(keys, key{orders["budget_id"], 1})
	slices.SortFunc(all, func(x, y *listed) int {
		for i := range keys {
			if c := keys[i].in(keys[i].turn, x, y); c != 0 {
				return c
			}
		}
		return 0
	})
	return nil
}

// links are the addresses of the other pages.
func links(r *http.Request, page, last int) map[string]any {
	out := map[string]any{
		"self": wire.PageLink(r, page), "first": wire.PageLink(r, 1), "last": wire.PageLink(r, last), "prev": nil, "next": nil,
	}
	if page > 1 {
		out["prev"] = wire.PageLink(r, page-1)
	}
	if page < last {
		out["next"] = wire.PageLink(r, page+1)
	}
	return out
}
