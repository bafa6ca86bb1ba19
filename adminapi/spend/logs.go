package spend

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/conclave-llm/conclave/adminapi/records"
	"github.com/conclave-llm/conclave/ledger"
	"github.com/conclave-llm/conclave/ledger/requestlog"
	"github.com/conclave-llm/conclave/ledger/rollup"
	"github.com/conclave-llm/conclave/resource"
)

// logFields are LiteLLM's parameters that name something.
var logFields = map[string]string{
	"api_key": "key", "key_alias": "key", "user_id": "user", "team_id": "team", "end_user": "customer", "model": "model", "model_group": "model",
	"model_id": "deployment", "session_id": "session", "organization_id": "organization", "project_id": "project",
}

// callTypes are LiteLLM's names of endpoints.
var callTypes = map[string]string{"chat": "acompletion", "completions": "atext_completion", "embeddings": "aembedding"}

// names are a request's records, by their names.
type names struct{ api *API }

// key gives LiteLLM's token of a key and its alias.
func (n names) key(id string) (token, alias string) {
	if k, ok := n.api.cfg.Records.Keys.Find(id); ok {
		return k.Hash.String(), k.Name
	}
	return id, ""
}

func (n names) team(id string) string {
	if t, ok := n.api.cfg.Records.Teams.Find(id); ok {
		return t.Name
	}
	return ""
}

// logRow is a row as LiteLLM has it.
func (a *API) logRow(r *requestlog.Row) map[string]any {
	token, alias := names{a}.key(r.KeyID)
	team := names{a}.team(r.TeamID)
	began := r.Time.Std().Add(-time.Duration(r.Duration / max(1, r.Count)))
	status, cached := "success", "False"
	if r.Failed() {
		status = "failure"
	}
	if r.Flags&uint32(ledger.Cached) != 0 {
		cached = "True"
	}
	callType := r.Endpoint
	if t, ok := callTypes[r.Endpoint]; ok {
		callType = t
	}
	tags, metadata := r.Tags, map[string]any{
		"user_api_key": token, "user_api_key_alias": alias, "user_api_key_team_id": r.TeamID, "user_api_key_team_alias": team,
		"user_api_key_user_id": r.UserID, "user_api_key_org_id": r.Organization, "user_api_key_project_id": r.ProjectID, "status": status,
		"usage_object": map[string]any{
			"prompt_tokens": r.Prompt(), "completion_tokens": r.Completion(), "total_tokens": r.Prompt() + r.Completion(),
			"cache_read_input_tokens": r.CacheRead, "cache_creation_input_tokens": r.CacheWrite, "reasoning_tokens": r.Reasoning,
		},
		"conclave": map[string]any{"node": r.Node, "attempts": r.Attempts, "usage_source": r.UsageSource, "count": r.Count},
	}
	if r.PromptName != "" {
		metadata["prompt_management_metadata"] = map[string]any{"prompt_id": r.PromptName, "prompt_version": r.PromptVer}
	}
	if tags == nil {
		tags = []string{}
	}
	if r.Failed() {
		metadata["error_information"] = map[string]any{"error_code": strconv.Itoa(int(r.Status)), "error_class": r.ErrorKind, "error_message": r.ErrorCode}
	}
	row := map[string]any{
		"request_id": r.RequestID, "litellm_call_id": r.RequestID, "call_type": callType, "api_key": token, "spend": r.Cost,
		"total_tokens": r.Prompt() + r.Completion(), "prompt_tokens": r.Prompt(), "completion_tokens": r.Completion(),
		"startTime": resource.At(began), "endTime": r.Time, "completionStartTime": nil, "request_duration_ms": r.Duration / max(1, r.Count) / 1e6,
		"model": r.Model, "model_id": r.DeploymentID, "model_group": r.Model, "custom_llm_provider": r.Provider, "api_base": "",
		"user": r.UserID, "team_id": r.TeamID, "organization_id": r.Organization, "end_user": r.Customer, "cache_hit": cached,
		"cache_key": "", "request_tags": tags, "requester_ip_address": nil, "session_id": r.Session, "status": status, "metadata": metadata,
		"messages": map[string]any{}, "response": map[string]any{},
	}
	if r.TTFT > 0 {
		row["completionStartTime"] = resource.At(began.Add(time.Duration(r.TTFT)))
	}
	return row
}

// logQuery reads what LiteLLM's two log routes have in common.
func (a *API) logQuery(by records.Caller, v url.Values) (requestlog.Query, error) {
	q := requestlog.Query{}
	from, err := ParseTime("start_date", v.Get("start_date"), time.Time{}, a.cfg.Now())
	if err != nil {
		return q, err
	}
	to, err := ParseEnd("end_date", v.Get("end_date"), time.Time{}, a.cfg.Now())
	if err != nil {
		return q, err
	}
	q.From, q.To, q.RequestID, q.ErrorCode = resource.At(from), resource.At(to), v.Get("request_id"), v.Get("error_code")
	if q.Status = v.Get("status_filter"); q.Status == "all" {
		q.Status = ""
	}
	q.CacheHitOnly, q.NoSystem = v.Get("cache_hit_filter") == "true", v.Get("exclude_internal_health_checks") == "true"
	for name, to := range map[string]**resource.Money{"min_spend": &q.MinCost, "max_spend": &q.MaxCost} {
		if text := v.Get(name); text != "" {
			m, err := resource.ParseMoney(text)
			if err != nil {
				return q, invalid(name, err.Error())
			}
			*to = &m
		}
	}
	filter := a.NamesOf(v, logFields)
	if err := a.own(by, filter); err != nil {
		return q, err
	}
	q.Names = filter
	return q, nil
}

// logs answers /spend/logs: rows, or with dates and summarize one object for each day.
func (a *API) logs(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	v := r.URL.Query()
	if v.Get("start_date") != "" && v.Get("end_date") != "" && v.Get("summarize") != "false" {
		return a.logDays(w, r, by)
	}
	q, err := a.logQuery(by, v)
	if err != nil {
		return err
	}
	q.Limit = requestlog.MaxRows
	page, missing, err := a.cfg.Requests.Rows(r.Context(), q)
	if err != nil {
		return err
	}
	return write(w, a.logRows(&page), missing)
}

func (a *API) logRows(p *requestlog.Page) []map[string]any {
	rows := make([]map[string]any, 0, len(p.Rows))
	for i := range p.Rows {
		rows = append(rows, a.logRow(&p.Rows[i]))
	}
	return rows
}

// logDays answers with the spend of each day, by user, model and key.
func (a *API) logDays(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	v := r.URL.Query()
	lines, missing, err := a.lines(r, by, dates{v.Get("start_date"), v.Get("end_date")},
		map[string]string{"api_key": "key", "user_id": "user", "project_id": "project"}, "day", rollup.User, rollup.Model, rollup.Key)
	if err != nil {
		return err
	}
	days := []map[string]any{}
	for i := range lines {
		l := &lines[i]
		day := dayOf(l.Start)
		if n := len(days); n == 0 || days[n-1]["startTime"] != day {
			days = append(days, map[string]any{"startTime": day, "spend": dollars(0), "users": map[string]resource.Money{}, "models": map[string]resource.Money{}})
		}
		d := days[len(days)-1]
		cost := dollars(l.Sums.Cost)
		token, _ := names{a}.key(l.Names[2])
		d["spend"] = d["spend"].(resource.Money) + cost
		d["users"].(map[string]resource.Money)[l.Names[0]] += cost
		d["models"].(map[string]resource.Money)[l.Names[1]] += cost
		sum, _ := d[token].(resource.Money)
		d[token] = sum + cost
	}
	return write(w, days, missing)
}

func dayOf(start int64) string { return time.Unix(start, 0).UTC().Format(time.DateOnly) }

// dates are a range as LiteLLM's parameters have it.
type dates struct{ from, to string }

// lines asks for spend with LiteLLM's parameters.
func (a *API) lines(r *http.Request, by records.Caller, d dates, fields map[string]string, granularity string, group ...rollup.Dim) ([]rollup.Line, []string, error) {
	filter := a.NamesOf(r.URL.Query(), fields)
	if err := a.own(by, filter); err != nil {
		return nil, nil, err
	}
	return a.spend(r, d, filter, granularity, group...)
}

// spend asks for spend with names that the caller may see.
func (a *API) spend(r *http.Request, d dates, filter Names, granularity string, group ...rollup.Dim) ([]rollup.Line, []string, error) {
	q, err := a.Usage(records.Caller{}, UsageParams{From: d.from, To: d.to, Granularity: granularity})
	if err != nil {
		return nil, nil, renamed(err)
	}
	q.GroupBy = group
	if q.Filter, err = conditions(filter); err != nil {
		return nil, nil, err
	}
	return a.cfg.Requests.Usage(r.Context(), q)
}

// renamed names the fields of an error as LiteLLM does.
func renamed(err error) error { return renamedTo(err, "start_date", "end_date") }

// renamedTo names the fields of an error that are the beginning and the end of a time.
func renamedTo(err error, from, to string) error {
	if in, ok := err.(*resource.Invalid); ok { //nolint:errorlint // made by this package, unwrapped
		for ours, theirs := range map[string]string{"from": from, "to": to} {
			if in.Field == ours {
				return invalid(theirs, in.Reason)
			}
		}
	}
	return err
}

// sorts are LiteLLM's orders.
var sorts = map[string]string{
	"": "time", "startTime": "time", "endTime": "time", "spend": "cost", "total_tokens": "tokens", "request_duration_ms": "duration",
}

// logsPage answers /spend/logs/v2: one page of rows, and how many there are.
func (a *API) logsPage(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	v := r.URL.Query()
	q, err := a.logQuery(by, v)
	if err != nil {
		return err
	}
	page, size, err := pageOf(v, 50)
	if err != nil {
		return err
	}
	order, ok := sorts[v.Get("sort_by")]
	if !ok {
		return invalid("sort_by", fmt.Sprintf("%q is not one of startTime, endTime, spend, total_tokens, request_duration_ms", v.Get("sort_by")))
	}
	q.Sort, q.Ascending, q.Count = order, v.Get("sort_order") == "asc", true
	if q.Limit = page * size; q.Limit > requestlog.MaxRows {
		return invalid("page", fmt.Sprintf("lies behind the first %d rows; narrow the dates, or use /api/v1/requests, which has cursors", requestlog.MaxRows))
	}
	found, missing, err := a.cfg.Requests.Rows(r.Context(), q)
	if err != nil {
		return err
	}
	from := min((page-1)*size, len(found.Rows))
	found.Rows = found.Rows[from:]
	return write(w, map[string]any{
		"data": a.logRows(&found), "total": found.Total, "page": page, "page_size": size,
		"total_pages": (found.Total + int64(size) - 1) / int64(size),
	}, missing)
}

// pageOf reads LiteLLM's page and page_size.
func pageOf(v url.Values, size int) (page, pageSize int, err error) {
	page, pageSize = 1, size
	for name, to := range map[string]*int{"page": &page, "page_size": &pageSize} {
		if text := v.Get(name); text != "" {
			if *to, err = strconv.Atoi(text); err != nil || *to < 1 || *to > 1_000_000 {
				return 0, 0, invalid(name, "is not a positive number")
			}
		}
	}
	return page, min(pageSize, 1000), nil
}

// logContent answers with what a request and its answer said, if that was kept.
func (a *API) logContent(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	id := r.PathValue("request_id")
	if err := a.cfg.Reads(r.Context(), by, id); err != nil {
		return err
	}
	c, missing, err := a.cfg.Requests.Content(r.Context(), id, "")
	if err != nil {
		return err
	}
	if c == nil {
		if len(missing) > 0 {
			setMissing(w, missing)
		}
		return fmt.Errorf("content of request %q: %w", id, resource.ErrNotFound)
	}
	var request struct {
		Messages json.RawMessage `json:"messages"`
	}
	_ = json.Unmarshal(c.Request, &request) // another shape has no messages
	return write(w, map[string]any{
		"messages": request.Messages, "response": textOrJSON(c.Response), "proxy_server_request": textOrJSON(c.Request),
	}, missing)
}

// textOrJSON gives JSON as it is, and anything else, such as a stream, as text.
func textOrJSON(b []byte) any {
	if json.Valid(b) {
		return json.RawMessage(slices.Clone(b))
	}
	return string(b)
}
