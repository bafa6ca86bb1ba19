// Package auditlog is LiteLLM's paths for its audit log.
package auditlog

import (
	"bytes"
	"cmp"
	"encoding/json"
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
	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/fsm/audit"
	"github.com/conclave-llm/conclave/resource"
)

const (
	pageSize = 10      // entries a page
	reach    = 200_000 // entries that are looked at for one page and its total
	most     = 10_000  // matches that are counted
)

// State reads who changed what. *fsm.FSM implements it.
type State interface {
	Catalog() *resource.Catalog
	Key(id string) (*resource.Key, bool)
	KeyByHash(h resource.Hash) (*resource.Key, bool)
	AuditPage(q fsm.AuditQuery) audit.Page
	AuditEntry(number uint64) (resource.AuditEntry, bool)
	AuditExtent() audit.Extent
}

// kindMember is the kind of entries about users' places in teams, whose ids are TEAM/USER.
const kindMember = "team_member"

type api struct{ state State }

// Routes lists the paths.
func Routes(state State) []wire.Route {
	a := &api{state}
	return []wire.Route{
		{ID: "litellm-audit-list", Method: http.MethodGet, Pattern: "/audit", Handler: a.list},
		{ID: "litellm-audit-get", Method: http.MethodGet, Pattern: "/audit/{id}", Handler: a.one},
	}
}

// tables are LiteLLM's names of the tables that its audit log tells of.
var tables = map[string]string{ //nolint:gosec // names of tables
	"key": "LiteLLM_VerificationToken", "team": "LiteLLM_TeamTable", "user": "LiteLLM_UserTable",
	"organization": "LiteLLM_OrganizationTable", "project": "LiteLLM_ProjectTable", "model": "LiteLLM_ProxyModelTable",
	"deployment": "LiteLLM_ProxyModelTable", "credential": "LiteLLM_CredentialsTable", "budget": "LiteLLM_BudgetTable",
	"guardrail": "LiteLLM_GuardrailsTable", "customer": "LiteLLM_EndUserTable", "tag": "LiteLLM_TagTable",
	"setting": "LiteLLM_Config",
}

func tableOf(kind string) string {
	if t, ok := tables[kind]; ok {
		return t
	}
	return kind
}

// actionOf is LiteLLM's word for what was done; other actions keep their own.
func actionOf(e *resource.AuditEntry) string {
	verb, _, _ := strings.Cut(e.Action, "_")
	switch {
	case e.Outcome != "":
		return e.Action
	case e.Action == "rotate_key":
		return "rotated"
	case verb == "put" && e.Version == 0:
		return "created"
	case verb == "put" && e.Kind == "key" && slices.Contains(e.Fields, "hash"):
		return "rotated"
	case verb == "put":
		return "updated"
	case verb == "delete":
		return "deleted"
	case verb == "block" && string(e.After) == `{"blocked":false}`:
		return "unblocked"
	case verb == "block":
		return "blocked"
	default:
		return e.Action
	}
}

// row is one row of LiteLLM's audit log.
type row struct {
	ID        string          `json:"id"`
	UpdatedAt string          `json:"updated_at"`
	ChangedBy string          `json:"changed_by"`
	APIKey    string          `json:"changed_by_api_key"`
	Action    string          `json:"action"`
	Table     string          `json:"table_name"`
	ObjectID  string          `json:"object_id"`
	Before    json.RawMessage `json:"before_value"`
	After     json.RawMessage `json:"updated_values"`
}

func (a *api) row(e *resource.AuditEntry) row {
	null := json.RawMessage("null")
	row := row{
		ID: strconv.FormatUint(e.Number, 10), UpdatedAt: e.At.Std().Format(time.RFC3339Nano), ChangedBy: e.For,
		Action: actionOf(e), Table: tableOf(e.Kind), ObjectID: e.ID, Before: e.Before, After: e.After,
	}
	if id, ok := strings.CutPrefix(e.Actor, "key/"); ok {
		row.APIKey = id
		if k, ok := a.state.Key(id); ok {
			row.APIKey = k.Hash.String()
			if row.ChangedBy == "" {
				row.ChangedBy = k.UserID
			}
		}
	}
	if row.ChangedBy == "" {
		row.ChangedBy = e.Actor
	}
	if row.Before == nil {
		row.Before = null
	}
	if row.After == nil {
		row.After = null
	}
	return row
}

// list answers GET /audit.
func (a *api) list(w http.ResponseWriter, r *http.Request, _ records.Caller) error {
	v := r.URL.Query()
	page, err := wire.PageOf(v, "page_size", pageSize)
	if err != nil {
		return err
	}
	q, filtered, err := a.query(v)
	if err != nil {
		return err
	}
	var rows []row
	var total int
	if by := v.Get("sort_by"); by == "" || by == "updated_at" {
		rows, total = a.inTime(q, filtered, page)
	} else if rows, total, err = a.sorted(q, v, page); err != nil {
		return err
	}
	return wire.Answer(w, records.Written{}, map[string]any{
		"audit_logs": rows, "total": total, "page": page.Number, "page_size": page.Size, "total_pages": page.Pages(total),
	})
}

// inTime is a page in the order of the log, and how many entries the query selects.
func (a *api) inTime(q fsm.AuditQuery, filtered bool, page wire.Page) ([]row, int) {
	q.Skip, q.Limit, q.Reach = (page.Number-1)*page.Size, page.Size, reach
	p := a.state.AuditPage(q)
	total := p.Matches
	switch {
	case !filtered:
		x := a.state.AuditExtent()
		if total = 0; x.First > 0 {
			total = int(x.Last - x.First + 1)
		}
	case p.Next != "" && total < most:
		q.Skip, q.Limit, q.Cursor = most, 1, p.Next // to count the rest
		total += a.state.AuditPage(q).Matches
	}
	rows := make([]row, 0, len(p.Items))
	for i := range p.Items {
		rows = append(rows, a.row(&p.Items[i]))
	}
	return rows, total
}

// orders are the columns that the log may be sorted by beside its own order; of equal entries, the newest is first.
var orders = wire.Orders[row]{
	"changed_by":         func(x, y row) int { return strings.Compare(x.ChangedBy, y.ChangedBy) },
	"changed_by_api_key": func(x, y row) int { return strings.Compare(x.APIKey, y.APIKey) },
	"action":             func(x, y row) int { return strings.Compare(x.Action, y.Action) },
	"table_name":         func(x, y row) int { return strings.Compare(x.Table, y.Table) },
	"object_id":          func(x, y row) int { return strings.Compare(x.ObjectID, y.ObjectID) },
}

// sorted is a page in another order, for which all entries that the query selects are read.
func (a *api) sorted(q fsm.AuditQuery, v url.Values, page wire.Page) ([]row, int, error) {
	if orders[v.Get("sort_by")] == nil {
		return nil, 0, wire.Invalid("sort_by", "is not one of updated_at, "+strings.Join(slices.Sorted(maps.Keys(orders)), ", "))
	}
	all := []row{}
	q.Oldest, q.Limit, q.Reach = false, 500, reach
	for {
		p := a.state.AuditPage(q)
		for i := range p.Items {
			all = append(all, a.row(&p.Items[i]))
		}
		if len(all) > most {
			return nil, 0, wire.Invalid("sort_by", fmt.Sprintf("is possible for %d entries at most, and more are selected; narrow them, by start_date and end_date for example", most))
		}
		if q.Cursor = p.Next; q.Cursor == "" {
			break
		}
	}
	if err := orders.Sort(v, "desc", all); err != nil {
		return nil, 0, err
	}
	from, to := page.Of(len(all))
	return all[from:to], len(all), nil
}

// query reads LiteLLM's filters.
func (a *api) query(v url.Values) (q fsm.AuditQuery, filtered bool, err error) {
	for _, name := range []string{
		"changed_by", "changed_by_api_key", "action", "table_name", "object_id", "object_team_id", "object_key_hash", "search",
		"start_date", "end_date",
	} {
		filtered = filtered || v.Get(name) != ""
	}
	q.ID, q.Text = a.keyID(v.Get("object_id")), v.Get("search")
	desc, err := wire.Descending(v, "desc")
	if err != nil {
		return q, false, err
	}
	q.Oldest = !desc
	if q.From, err = timeOf("start_date", v.Get("start_date"), 0); err != nil {
		return q, false, err
	}
	if q.To, err = timeOf("end_date", v.Get("end_date"), 24*time.Hour); err != nil {
		return q, false, err
	}
	var fits []func(*resource.AuditEntry) bool
	if h := v.Get("object_key_hash"); h != "" {
		id := a.keyID(h)
		q.Kind, q.ID = "key", cmp.Or(q.ID, id)
		fits = append(fits, func(e *resource.AuditEntry) bool { return e.ID == id })
	}
	if id := v.Get("object_team_id"); id != "" {
		fits = append(fits, a.ofTeam(id))
	}
	if h := v.Get("changed_by_api_key"); h != "" {
		q.Actor = "key/" + a.keyID(h)
	}
	if by := v.Get("changed_by"); by != "" {
		fits = append(fits, func(e *resource.AuditEntry) bool { return a.row(e).ChangedBy == by })
	}
	if action := v.Get("action"); action != "" {
		fits = append(fits, func(e *resource.AuditEntry) bool { return actionOf(e) == action })
	}
	if table := v.Get("table_name"); table != "" {
		fits = append(fits, func(e *resource.AuditEntry) bool { return tableOf(e.Kind) == table })
	}
	if len(fits) > 0 {
		q.Filter = func(e *resource.AuditEntry) bool {
			return !slices.ContainsFunc(fits, func(f func(*resource.AuditEntry) bool) bool { return !f(e) })
		}
	}
	return q, filtered, nil
}

// ofTeam selects the changes of a team and of what belongs to it: its members, its projects and its keys, also those
// that it has no more. An entry of a change names the team only if that has changed, so the records are asked, and
// for deleted keys the entries of their ends.
func (a *api) ofTeam(id string) func(*resource.AuditEntry) bool {
	gone := map[string]bool{}
	q := fsm.AuditQuery{Kind: "key", Action: fsm.KindDeleteKey.String(), Limit: most, Reach: reach}
	q.Filter = func(e *resource.AuditEntry) bool { return teamIn(e.Before) == id }
	for _, e := range a.state.AuditPage(q).Items {
		gone[e.ID] = true
	}
	return func(e *resource.AuditEntry) bool {
		if teamIn(e.Before) == id || teamIn(e.After) == id {
			return true
		}
		switch e.Kind {
		case resource.HolderTeam:
			return e.ID == id
		case kindMember:
			return strings.HasPrefix(e.ID, id+"/")
		case resource.HolderProject:
			p, ok := a.state.Catalog().Project(e.ID)
			return ok && p.TeamID == id
		case resource.HolderKey:
			k, ok := a.state.Key(e.ID)
			return gone[e.ID] || ok && k.TeamID == id
		}
		return false
	}
}

// teamIn is the team that a document names.
func teamIn(doc json.RawMessage) string {
	if !bytes.Contains(doc, []byte(`"team_id"`)) {
		return ""
	}
	var d struct {
		TeamID string `json:"team_id"`
	}
	_ = json.Unmarshal(doc, &d) // of another type it names none
	return d.TeamID
}

// keyID finds a key by its hash, as LiteLLM's token, or takes the text for its id.
func (a *api) keyID(text string) string {
	var h resource.Hash
	if h.UnmarshalText([]byte(text)) == nil {
		if k, ok := a.state.KeyByHash(h); ok {
			return k.ID
		}
	}
	return text
}

// timeOf reads a day, or a time in one of the forms that LiteLLM's clients send.
func timeOf(field, text string, day time.Duration) (resource.Time, error) {
	if text == "" {
		return 0, nil
	}
	if at, err := time.Parse(time.DateOnly, text); err == nil {
		return resource.At(at.Add(day)), nil
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05", time.DateTime} {
		if at, err := time.Parse(layout, text); err == nil {
			return resource.At(at), nil
		}
	}
	return 0, wire.Invalid(field, "is neither a day such as 2026-01-31 nor a time such as 2026-01-31T12:00:00Z")
}

// one answers GET /audit/{id}.
func (a *api) one(w http.ResponseWriter, r *http.Request, _ records.Caller) error {
	id := r.PathValue("id")
	number, err := strconv.ParseUint(id, 10, 64)
	if err != nil {
		return fmt.Errorf("audit log %q: %w", id, resource.ErrNotFound)
	}
	e, ok := a.state.AuditEntry(number)
	if !ok {
		return fmt.Errorf("audit log %q: %w", id, resource.ErrNotFound)
	}
	return wire.Answer(w, records.Written{}, a.row(&e))
}
