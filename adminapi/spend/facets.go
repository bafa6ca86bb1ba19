package spend

import (
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/conclave-llm/conclave/adminapi/litellm/wire"
	"github.com/conclave-llm/conclave/adminapi/records"
	"github.com/conclave-llm/conclave/ledger/requestlog"
)

// The parameters of a facet's time.
const (
	facetFrom = "filter[startTime][gte]"
	facetTo   = "filter[startTime][lte]"
)

// sizeOfFacet is how many values a page has if nobody says; mostOfFacet how many at most.
const sizeOfFacet, mostOfFacet = 50, 100

// facetRoutes are the values that the requests of a time have in a column, for pickers.
func (a *API) facetRoutes() []Route {
	return []Route{
		{"litellm-facet-end-users", http.MethodGet, wire.Management + "/spend_logs/end_users", a.facet(func(r *requestlog.Row) string { return r.Customer })},
		{"litellm-facet-users", http.MethodGet, wire.Management + "/spend_logs/users", a.facet(func(r *requestlog.Row) string { return r.UserID })},
	}
}

// facet lists the different values of a column among the newest requestlog.MaxRows requests of a time that the caller
// may see, in order.
func (a *API) facet(column func(*requestlog.Row) string) Handler {
	return func(w http.ResponseWriter, r *http.Request, by records.Caller) error {
		v := r.URL.Query()
		if err := wire.KnownParams(v, facetFrom, facetTo, "q", "page", "page_size"); err != nil {
			return err
		}
		page, err := wire.Positive(v, "page", 1, wire.MostPage)
		if err != nil {
			return err
		}
		size, err := wire.Positive(v, "page_size", sizeOfFacet, mostOfFacet)
		if err != nil {
			return err
		}
		values, missing, err := a.facetValues(r, by, v, column)
		if err != nil {
			return err
		}
		from := min((page-1)*size, len(values))
		to := min(from+size, len(values))
		links := map[string]any{"self": wire.PageLink(r, page), "prev": nil, "next": nil}
		if page > 1 {
			links["prev"] = wire.PageLink(r, page-1)
		}
		if to < len(values) {
			links["next"] = wire.PageLink(r, page+1)
		}
		return write(w, map[string]any{
			"data": append([]string{}, values[from:to]...), "links": links,
			"meta": map[string]any{"page": page, "page_size": size, "has_more": to < len(values)},
		}, missing)
	}
}

// facetValues are the values with q in them, whatever its case.
func (a *API) facetValues(r *http.Request, by records.Caller, v url.Values, column func(*requestlog.Row) string) ([]string, []string, error) {
	for _, name := range []string{facetFrom, facetTo} {
		if v.Get(name) == "" {
			return nil, nil, invalid(name, "is missing")
		}
	}
	q, err := a.Rows(by, RowParams{From: v.Get(facetFrom), To: v.Get(facetTo), Limit: requestlog.MaxRows})
	if err != nil {
		return nil, nil, renamedTo(err, facetFrom, facetTo)
	}
	q.To++ // it is part of the time
	page, missing, err := a.cfg.Requests.Rows(r.Context(), q)
	if err != nil {
		return nil, nil, err
	}
	part, seen := strings.ToLower(v.Get("q")), map[string]bool{}
	for i := range page.Rows {
		if text := column(&page.Rows[i]); text != "" && strings.Contains(strings.ToLower(text), part) {
			seen[text] = true
		}
	}
	return slices.Sorted(maps.Keys(seen)), missing, nil
}
