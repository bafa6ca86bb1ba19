package spend

import (
	"fmt"
	"net/http"
	"slices"

	"github.com/conclave-llm/conclave/adminapi/records"
	"github.com/conclave-llm/conclave/ledger/rollup"
	"github.com/conclave-llm/conclave/resource"
)

// reportFields are the parameters of /global/spend/report that name something.
var reportFields = map[string]string{
	"api_key": "key", "internal_user_id": "user", "user_id": "user", "team_id": "team", "customer_id": "customer", "organization_id": "organization",
	"project_id": "project",
}

// grouping is a way to group a report by day.
type grouping struct {
	dim        rollup.Dim
	list, name string // members of the answer
}

var groupings = map[string]grouping{
	"team":         {rollup.Team, "teams", "team_name"},
	"customer":     {rollup.Customer, "customers", "customer"},
	"organization": {rollup.Organization, "organizations", "organization"},
}

// report answers /global/spend/report and its kin: of each day by team, customer or
// organization, or in all by key.
func (a *API) report(fixed string) Handler {
	return func(w http.ResponseWriter, r *http.Request, by records.Caller) error {
		v := r.URL.Query()
		if v.Get("start_date") == "" || v.Get("end_date") == "" {
			return invalid("start_date", "start_date and end_date are needed, as days such as 2026-01-31")
		}
		group := fixed
		switch {
		case group != "":
		case v.Get("group_by") != "":
			group = v.Get("group_by")
		case v.Get("api_key") != "" || v.Get("internal_user_id") != "":
			group = "api_key"
		case v.Get("customer_id") != "":
			group = "customer"
		default:
			group = "team"
		}
		if group == "api_key" || group == "internal_user" {
			return a.reportKeys(w, r, by)
		}
		g, ok := groupings[group]
		if !ok {
			return invalid("group_by", fmt.Sprintf("%q is not one of team, customer, organization, api_key", group))
		}
		return a.reportDays(w, r, by, g)
	}
}

// reportDays groups the spend of each day.
func (a *API) reportDays(w http.ResponseWriter, r *http.Request, by records.Caller, g grouping) error {
	v := r.URL.Query()
	lines, missing, err := a.lines(r, by, dates{v.Get("start_date"), v.Get("end_date")}, reportFields, "day", g.dim, rollup.Model, rollup.Key)
	if err != nil {
		return err
	}
	type group struct {
		name string
		cost resource.Money
		rows []map[string]any
	}
	type day struct {
		day    string
		groups []*group
	}
	var days []*day
	for i := range lines {
		l := &lines[i]
		date := dayOf(l.Start)
		if n := len(days); n == 0 || days[n-1].day != date {
			days = append(days, &day{day: date})
		}
		d := days[len(days)-1]
		name := a.nameOf(g.dim, l.Names[0])
		if n := len(d.groups); n == 0 || d.groups[n-1].name != name {
			d.groups = append(d.groups, &group{name: name})
		}
		gr := d.groups[len(d.groups)-1]
		token, alias := names{a}.key(l.Names[2])
		gr.cost += dollars(l.Sums.Cost)
		gr.rows = append(gr.rows, map[string]any{
			"model": l.Names[1], "spend": dollars(l.Sums.Cost), "total_tokens": l.Sums.Prompt + l.Sums.Completion, "api_key": token, "key_alias": alias,
		})
	}
	out := make([]map[string]any, 0, len(days))
	for _, d := range days {
		groups := make([]map[string]any, 0, len(d.groups))
		for _, gr := range d.groups {
			groups = append(groups, map[string]any{g.name: gr.name, "total_spend": gr.cost, "metadata": gr.rows})
		}
		out = append(out, map[string]any{"group_by_day": d.day, g.list: groups})
	}
	return write(w, out, missing)
}

// nameOf is what people call a holder.
func (a *API) nameOf(d rollup.Dim, id string) string {
	if d == rollup.Team {
		if name := (names{a}).team(id); name != "" {
			return name
		}
	}
	return id
}

// reportKeys sums the range by key.
func (a *API) reportKeys(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	v := r.URL.Query()
	lines, missing, err := a.lines(r, by, dates{v.Get("start_date"), v.Get("end_date")}, reportFields, "total", rollup.Key, rollup.Model)
	if err != nil {
		return err
	}
	out := []map[string]any{}
	var sum rollup.Sums
	var models []map[string]any
	for i := range lines {
		l := &lines[i]
		sum.Add(&l.Sums)
		models = append(models, map[string]any{
			"model": l.Names[1], "total_cost": dollars(l.Sums.Cost), "total_input_tokens": l.Sums.Prompt, "total_output_tokens": l.Sums.Completion,
		})
		if i+1 < len(lines) && lines[i+1].Names[0] == l.Names[0] {
			continue
		}
		token, alias := names{a}.key(l.Names[0])
		out = append(out, map[string]any{
			"api_key": token, "key_alias": alias, "total_cost": dollars(sum.Cost), "total_input_tokens": sum.Prompt,
			"total_output_tokens": sum.Completion, "model_details": models,
		})
		sum, models = rollup.Sums{}, nil
	}
	return write(w, out, missing)
}

// all asks for everything that the caller may see, since the cells begin.
func (a *API) all(r *http.Request, by records.Caller, granularity string, group ...rollup.Dim) ([]rollup.Line, []string, error) {
	v := r.URL.Query()
	d := dates{v.Get("start_date"), v.Get("end_date")}
	if d.from == "" && granularity == "total" {
		d.from = "1826d" // as long as days are kept
	}
	return a.lines(r, by, d, reportFields, granularity, group...)
}

// byCost orders lines, the most expensive first.
func byCost(lines []rollup.Line) {
	slices.SortStableFunc(lines, func(a, b rollup.Line) int {
		return int(min(1, max(-1, b.Sums.Cost-a.Sums.Cost)))
	})
}

// spendList answers /spend/keys and /spend/users.
func (a *API) spendList(d rollup.Dim) Handler {
	return func(w http.ResponseWriter, r *http.Request, by records.Caller) error {
		lines, missing, err := a.all(r, by, "total", d)
		if err != nil {
			return err
		}
		byCost(lines)
		out := make([]map[string]any, 0, len(lines))
		for i := range lines {
			id, cost := lines[i].Names[0], dollars(lines[i].Sums.Cost)
			if d == rollup.Key {
				token, alias := names{a}.key(id)
				out = append(out, map[string]any{"token": token, "key_alias": alias, "spend": cost})
			} else {
				out = append(out, map[string]any{"user_id": id, "spend": cost})
			}
		}
		return write(w, out, missing)
	}
}

// spendTags answers /spend/tags and /global/spend/tags.
func (a *API) spendTags(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	lines, missing, err := a.all(r, by, "total", rollup.Tag)
	if err != nil {
		return err
	}
	byCost(lines)
	wanted := split(r.URL.Query().Get("tags"))
	out := make([]map[string]any, 0, len(lines))
	for i := range lines {
		tag := lines[i].Names[0]
		if len(wanted) > 0 && !slices.Contains(wanted, tag) && !slices.Contains(wanted, "all-tags") {
			continue
		}
		cost := dollars(lines[i].Sums.Cost)
		out = append(out, map[string]any{
			"name": tag, "individual_request_tag": tag, "spend": cost, "total_spend": cost, "log_count": lines[i].Sums.Requests,
		})
	}
	if r.URL.Path == "/global/spend/tags" {
		return write(w, map[string]any{"spend_per_tag": out}, missing)
	}
	return write(w, out, missing)
}

func (a *API) tagNames(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	return a.list(w, r, by, rollup.Tag, "tag_names")
}

func (a *API) endUsers(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	return a.list(w, r, by, rollup.Customer, "end_users")
}

// list answers with the names that there are.
func (a *API) list(w http.ResponseWriter, r *http.Request, by records.Caller, d rollup.Dim, member string) error {
	lines, missing, err := a.all(r, by, "total", d)
	if err != nil {
		return err
	}
	out := make([]string, 0, len(lines))
	for i := range lines {
		out = append(out, lines[i].Names[0])
	}
	return write(w, map[string]any{member: out}, missing)
}

func (a *API) globalSpend(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	lines, missing, err := a.all(r, by, "total")
	if err != nil {
		return err
	}
	var sum rollup.Sums
	for i := range lines {
		sum.Add(&lines[i].Sums)
	}
	return write(w, map[string]any{"spend": dollars(sum.Cost), "max_budget": 0}, missing)
}

func (a *API) globalDays(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	lines, missing, err := a.all(r, by, "day")
	if err != nil {
		return err
	}
	out := make([]map[string]any, 0, len(lines))
	for i := range lines {
		out = append(out, map[string]any{"date": dayOf(lines[i].Start), "spend": dollars(lines[i].Sums.Cost)})
	}
	return write(w, out, missing)
}

// globalTop answers with the most expensive keys, models or providers of the last 30 days.
func (a *API) globalTop(d rollup.Dim) Handler {
	return func(w http.ResponseWriter, r *http.Request, by records.Caller) error {
		v := r.URL.Query()
		lines, missing, err := a.lines(r, by, dates{v.Get("start_date"), v.Get("end_date")}, reportFields, "total", d)
		if err != nil {
			return err
		}
		byCost(lines)
		if d != rollup.Provider {
			limit, _, err := pageOf(map[string][]string{"page": {r.URL.Query().Get("limit")}}, 1)
			if err != nil {
				return invalid("limit", "is not a positive number")
			}
			if r.URL.Query().Get("limit") == "" {
				limit = 10
			}
			lines = lines[:min(limit, len(lines))]
		}
		out := make([]map[string]any, 0, len(lines))
		for i := range lines {
			row := map[string]any{"total_spend": dollars(lines[i].Sums.Cost), "spend": dollars(lines[i].Sums.Cost)}
			switch d {
			case rollup.Key:
				token, alias := names{a}.key(lines[i].Names[0])
				row["api_key"], row["key_alias"], row["key_name"] = token, alias, alias
			default:
				row[d.String()] = lines[i].Names[0]
			}
			out = append(out, row)
		}
		return write(w, out, missing)
	}
}

// globalTeams answers with each day's spend by team.
func (a *API) globalTeams(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	lines, missing, err := a.all(r, by, "day", rollup.Team)
	if err != nil {
		return err
	}
	days, totals, all := []map[string]any{}, map[string]resource.Money{}, []string{}
	for i := range lines {
		l := &lines[i]
		name := a.nameOf(rollup.Team, l.Names[0])
		if n := len(days); n == 0 || days[n-1]["date"] != dayOf(l.Start) {
			days = append(days, map[string]any{"date": dayOf(l.Start)})
		}
		days[len(days)-1][name] = dollars(l.Sums.Cost)
		if _, ok := totals[name]; !ok {
			all = append(all, name)
		}
		totals[name] += dollars(l.Sums.Cost)
	}
	perTeam := make([]map[string]any, 0, len(all))
	for _, name := range all {
		perTeam = append(perTeam, map[string]any{"team_id": name, "total_spend": totals[name]})
	}
	return write(w, map[string]any{"daily_spend": days, "teams": all, "total_spend_per_team": perTeam}, missing)
}

func (a *API) globalActivity(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	lines, missing, err := a.all(r, by, "day")
	if err != nil {
		return err
	}
	return write(w, activityOf(lines), missing)
}

// activityOf is the requests and tokens of each day.
func activityOf(lines []rollup.Line) map[string]any {
	var sum rollup.Sums
	days := make([]map[string]any, 0, len(lines))
	for i := range lines {
		s := &lines[i].Sums
		sum.Add(s)
		days = append(days, map[string]any{"date": dayOf(lines[i].Start), "api_requests": s.Requests, "total_tokens": s.Prompt + s.Completion})
	}
	return map[string]any{"daily_data": days, "sum_api_requests": sum.Requests, "sum_total_tokens": sum.Prompt + sum.Completion}
}

func (a *API) globalActivityModel(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	lines, missing, err := a.all(r, by, "day", rollup.Model)
	if err != nil {
		return err
	}
	byModel := map[string][]rollup.Line{}
	var order []string
	for _, l := range lines {
		if _, ok := byModel[l.Names[0]]; !ok {
			order = append(order, l.Names[0])
		}
		byModel[l.Names[0]] = append(byModel[l.Names[0]], l)
	}
	out := make([]map[string]any, 0, len(order))
	for _, model := range order {
		row := activityOf(byModel[model])
		row["model"] = model
		out = append(out, row)
	}
	return write(w, out, missing)
}
