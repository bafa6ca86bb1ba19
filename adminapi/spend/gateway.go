package spend

import (
	"cmp"
	"net/http"
	"slices"
	"strings"

	"github.com/conclave-llm/conclave/adminapi/records"
	"github.com/conclave-llm/conclave/ledger/rollup"
)

// outcomes are how many requests were served and how many failed.
type outcomes struct {
	Succeeded int64 `json:"successful_requests"`
	Failed    int64 `json:"failed_requests"`
}

func (o *outcomes) add(s *rollup.Sums) {
	o.Succeeded += s.Requests - s.Failures
	o.Failed += s.Failures
}

type outcomesOfDay struct {
	Date string `json:"date"`
	outcomes
}

type outcomesOfRoute struct {
	Category string `json:"category"` // llm or mcp
	Route    string `json:"route"`    // the endpoint, as breakdowns name it
	outcomes
}

// gatewayActivity answers /gateway/daily/activity: the requests of the whole cluster by day and by endpoint, of the
// last 30 days if the query names none. Requests of unknown keys are not among them.
func (a *API) gatewayActivity(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	v := r.URL.Query()
	lines, missing, err := a.lines(r, by, dates{v.Get("start_date"), v.Get("end_date")}, nil, "day", rollup.Endpoint)
	if err != nil {
		return err
	}
	var all outcomes
	days, routes := []outcomesOfDay{}, []outcomesOfRoute{}
	for i := range lines {
		l := &lines[i]
		all.add(&l.Sums)
		if n := len(days); n == 0 || days[n-1].Date != dayOf(l.Start) {
			days = append(days, outcomesOfDay{Date: dayOf(l.Start)})
		}
		days[len(days)-1].add(&l.Sums)
		n := slices.IndexFunc(routes, func(o outcomesOfRoute) bool { return o.Route == l.Names[0] })
		if n < 0 {
			n, routes = len(routes), append(routes, outcomesOfRoute{Category: categoryOf(l.Names[0]), Route: l.Names[0]})
		}
		routes[n].add(&l.Sums)
	}
	slices.SortFunc(routes, func(x, y outcomesOfRoute) int {
		return cmp.Or(cmp.Compare(y.Succeeded, x.Succeeded), strings.Compare(x.Route, y.Route))
	})
	return write(w, map[string]any{
		"total_successful_requests": all.Succeeded, "total_failed_requests": all.Failed, "by_date": days, "by_route": routes,
	}, missing)
}

// categoryOf is the category of an endpoint: tools of MCP servers stand apart.
func categoryOf(endpoint string) string {
	if endpoint == "mcp" {
		return "mcp"
	}
	return "llm"
}
