package spend

import (
	"encoding/csv"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"

	"github.com/conclave-llm/conclave/adminapi/records"
	"github.com/conclave-llm/conclave/ledger/rollup"
	"github.com/conclave-llm/conclave/resource"
)

// entity is whose daily activity LiteLLM tells of.
type entity struct {
	dim      rollup.Dim
	paths    []string
	ids      string // parameter that lists them
	excludes string // parameter that lists those to leave out; "": there is none
}

var entities = []entity{
	{rollup.User, []string{"/user"}, "user_id", ""},
	{rollup.Team, []string{"/team"}, "team_ids", "exclude_team_ids"},
	{rollup.Organization, []string{"/organization"}, "organization_ids", "exclude_organization_ids"},
	{rollup.Tag, []string{"/tag"}, "tags", "exclude_tags"},
	{rollup.Customer, []string{"/customer", "/end_user"}, "end_user_ids", "exclude_end_user_ids"},
}

// paging says whether an answer comes in pages.
type paging bool

const (
	paged paging = true
	whole paging = false
)

// metricsOf are LiteLLM's daily metrics. Those of features that Conclave does not have are 0.
func metricsOf(s *rollup.Sums) map[string]any {
	return map[string]any{
		"spend": dollars(s.Cost), "flat_cost": 0, "ptu_hours": 0, "prompt_tokens": s.Prompt, "completion_tokens": s.Completion,
		"total_tokens": s.Prompt + s.Completion, "cache_read_input_tokens": s.CacheRead, "cache_creation_input_tokens": s.CacheWrite,
		"compression_saved_tokens": 0, "compression_savings_spend": 0, "prompt_caching_savings_spend": 0,
		"gateway_injected_caching_savings_spend": 0, "autorouter_savings_spend": 0, "api_requests": s.Requests,
		"successful_requests": s.Requests - s.Failures, "failed_requests": s.Failures,
		"total_response_time_ms": s.Duration / 1e6, "timed_requests": s.Requests,
	}
}

// part is one entry of a breakdown.
type part struct {
	sums     rollup.Sums
	metadata map[string]any
	keys     map[string]*rollup.Sums
}

// breakdown sums lines by the values of a dimension, and within each by key.
type breakdown map[string]*part

func (b breakdown) add(name, key string, metadata map[string]any, s *rollup.Sums) {
	if name == "" {
		return
	}
	p := b[name]
	if p == nil {
		p = &part{metadata: metadata, keys: map[string]*rollup.Sums{}}
		b[name] = p
	}
	p.sums.Add(s)
	if p.keys[key] == nil {
		p.keys[key] = &rollup.Sums{}
	}
	p.keys[key].Add(s)
}

func (b breakdown) view(a *API) map[string]any {
	out := map[string]any{}
	for name, p := range b {
		keys := map[string]any{}
		for id, s := range p.keys {
			token, alias := names{a}.key(id)
			keys[token] = map[string]any{"metrics": metricsOf(s), "metadata": map[string]any{"key_alias": orNil(alias)}}
		}
		out[name] = map[string]any{"metrics": metricsOf(&p.sums), "metadata": p.metadata, "api_key_breakdown": keys}
	}
	return out
}

func orNil(s string) any {
	if s == "" {
		return nil
	}
	return s
}

// day is the activity of one day.
type day struct {
	date string
	sums rollup.Sums
	by   map[string]breakdown
}

// breakdowns are the members of a breakdown and what they are of.
var breakdowns = map[string]rollup.Dim{
	"models": rollup.Model, "model_groups": rollup.Model, "providers": rollup.Provider, "endpoints": rollup.Endpoint,
}

// days asks for the activity of each day.
func (a *API) days(r *http.Request, by records.Caller, e entity) ([]*day, []string, error) {
	group := []rollup.Dim{e.dim, rollup.Key, rollup.Model, rollup.Provider}
	if e.dim != rollup.Tag && e.dim != rollup.Customer {
		group = append(group, rollup.Endpoint)
	}
	lines, missing, err := a.dayLines(r, by, e, "", group)
	if err != nil {
		return nil, nil, err
	}
	return a.foldDays(lines, group, e), missing, nil
}

// dayLines asks for the sums of each day by group, of what the query names and the caller may see; model names one
// in the place of the query's.
func (a *API) dayLines(r *http.Request, by records.Caller, e entity, model string, group []rollup.Dim) ([]rollup.Line, []string, error) {
	v := r.URL.Query()
	if v.Get("start_date") == "" || v.Get("end_date") == "" {
		return nil, nil, invalid("start_date", "start_date and end_date are needed, as days such as 2026-01-31")
	}
	filter := a.NamesOf(v, map[string]string{"api_key": "key", "model": "model", "project_id": "project", e.ids: e.dim.String()})
	if model != "" {
		filter[rollup.Model.String()] = []string{model}
	}
	if err := a.own(by, filter); err != nil {
		return nil, nil, err
	}
	q, err := a.Usage(records.Caller{}, UsageParams{From: v.Get("start_date"), To: v.Get("end_date"), Granularity: "day"})
	if err != nil {
		return nil, nil, renamed(err)
	}
	if q.Filter, err = conditions(filter); err != nil {
		return nil, nil, err
	}
	if out := a.NamesOf(v, map[string]string{e.excludes: e.dim.String()}); e.excludes != "" && len(out) > 0 {
		q.Filter = append(q.Filter, rollup.Condition{Dim: e.dim, Not: true, Values: out[e.dim.String()]})
	}
	q.GroupBy = group
	return a.cfg.Requests.Usage(r.Context(), q)
}

func (a *API) foldDays(lines []rollup.Line, group []rollup.Dim, e entity) []*day {
	var days []*day
	for i := range lines {
		l := &lines[i]
		if n := len(days); n == 0 || days[n-1].date != dayOf(l.Start) {
			days = append(days, newDay(dayOf(l.Start)))
		}
		days[len(days)-1].add(a, l, group, e)
	}
	slices.Reverse(days) // the newest first
	return days
}

func newDay(date string) *day {
	d := &day{date: date, by: map[string]breakdown{}}
	for _, name := range []string{"models", "model_groups", "providers", "endpoints", "mcp_servers", "api_keys", "entities", "guardrails"} {
		d.by[name] = breakdown{}
	}
	return d
}

func (d *day) add(a *API, l *rollup.Line, group []rollup.Dim, e entity) {
	d.sums.Add(&l.Sums)
	key := l.Names[1]
	for name, dim := range breakdowns {
		if i := slices.Index(group, dim); i >= 0 {
			d.by[name].add(l.Names[i], key, map[string]any{}, &l.Sums)
		}
	}
	token, alias := names{a}.key(key)
	d.by["api_keys"].add(token, key, map[string]any{"key_alias": orNil(alias), "team_id": nil}, &l.Sums)
	metadata := map[string]any{}
	if e.dim == rollup.Team {
		metadata["team_alias"] = orNil(names{a}.team(l.Names[0]))
	}
	d.by["entities"].add(l.Names[0], key, metadata, &l.Sums)
}

func (d *day) view(a *API) map[string]any {
	parts := map[string]any{}
	for name, b := range d.by {
		parts[name] = b.view(a)
	}
	return map[string]any{"date": d.date, "metrics": metricsOf(&d.sums), "breakdown": parts}
}

// totalsOf are the metadata of an answer: the sum of each metric, and where the page is.
func totalsOf(s *rollup.Sums, page, pages int) map[string]any {
	out := map[string]any{"page": page, "total_pages": pages, "has_more": page < pages}
	for name, v := range metricsOf(s) {
		out["total_"+name] = v
	}
	out["total_tokens"] = s.Prompt + s.Completion // not total_total_tokens
	delete(out, "total_total_tokens")
	return out
}

// activity answers /user/daily/activity and its kin. Days are UTC.
func (a *API) activity(e entity, p paging) Handler {
	return func(w http.ResponseWriter, r *http.Request, by records.Caller) error {
		days, missing, err := a.days(r, by, e)
		if err != nil {
			return err
		}
		var sum rollup.Sums
		for _, d := range days {
			sum.Add(&d.sums)
		}
		page, pages := 1, 1
		if p == paged {
			size := 0
			if page, size, err = pageOf(r.URL.Query(), 50); err != nil {
				return err
			}
			pages = max(1, (len(days)+size-1)/size)
			from := min((page-1)*size, len(days))
			days = days[from:min(from+size, len(days))]
		}
		results := make([]map[string]any, 0, len(days))
		for _, d := range days {
			results = append(results, d.view(a))
		}
		return write(w, map[string]any{"results": results, "metadata": totalsOf(&sum, page, pages)}, missing)
	}
}

// exportActivity answers …/export: one line for each day and entity, as CSV or JSON.
func (a *API) exportActivity(e entity) Handler {
	return func(w http.ResponseWriter, r *http.Request, by records.Caller) error {
		format, err := formatOf(r.URL.Query())
		if err != nil {
			return err
		}
		days, missing, err := a.days(r, by, e)
		if err != nil {
			return err
		}
		if err := a.cfg.Exports(r.Context(), by, "usage", format); err != nil {
			return err
		}
		table := [][]string{{"date", e.dim.String(), "spend", "api_requests", "successful_requests", "failed_requests", "prompt_tokens", "completion_tokens", "total_tokens"}}
		for _, d := range days {
			entities := d.by["entities"]
			ids := make([]string, 0, len(entities))
			for id := range entities {
				ids = append(ids, id)
			}
			slices.Sort(ids)
			for _, id := range ids {
				s := &entities[id].sums
				table = append(table, append([]string{d.date, id, resource.Money(s.Cost).String()},
					numbers(s.Requests, s.Requests-s.Failures, s.Failures, s.Prompt, s.Completion, s.Prompt+s.Completion)...))
			}
		}
		setMissing(w, missing)
		return writeTable(w, format, e.dim.String()+"_daily_activity", table)
	}
}

func numbers(list ...int64) (out []string) {
	for _, n := range list {
		out = append(out, strconv.FormatInt(n, 10))
	}
	return out
}

// formatOf reads the format of an export.
func formatOf(v url.Values) (string, error) {
	switch f := v.Get("format"); f {
	case "":
		return "csv", nil
	case "csv", "json":
		return f, nil
	default:
		return "", invalid("format", fmt.Sprintf("%q is neither csv nor json", f))
	}
}

// writeTable writes rows behind their heading as CSV, or as JSON with the heading's names.
func writeTable(w http.ResponseWriter, format, name string, table [][]string) error {
	w.Header().Set("Content-Disposition", fmt.Sprintf("attachment; filename=%q", name+"."+format))
	if format == "json" {
		out := make([]map[string]string, 0, len(table))
		for _, row := range table[1:] {
			m := map[string]string{}
			for i, v := range row {
				m[table[0][i]] = v
			}
			out = append(out, m)
		}
		return write(w, out, nil)
	}
	w.Header().Set("Content-Type", "text/csv; charset=utf-8")
	out := csv.NewWriter(w)
	for _, row := range table {
		if err := out.Write(safe(row)); err != nil {
			return nil //nolint:nilerr // who does not listen any more needs no answer
		}
	}
	out.Flush()
	return nil
}

// safe keeps a spreadsheet from taking a name for a formula.
func safe(row []string) []string {
	out := slices.Clone(row)
	for i, v := range out {
		if v != "" && (v[0] == '=' || v[0] == '+' || v[0] == '@' || v[0] == '\t' || v[0] == '\r' || v[0] == '-' && !isNumber(v)) {
			out[i] = "'" + v
		}
	}
	return out
}

func isNumber(s string) bool {
	_, err := strconv.ParseFloat(s, 64)
	return err == nil
}
