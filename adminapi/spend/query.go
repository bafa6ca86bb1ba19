package spend

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/conclave-llm/conclave/adminapi/records"
	"github.com/conclave-llm/conclave/ledger/requestlog"
	"github.com/conclave-llm/conclave/ledger/rollup"
	"github.com/conclave-llm/conclave/resource"
)

func invalid(field, reason string) error { return &resource.Invalid{Field: field, Reason: reason} }

// timeForms are how a time may be written. A day stands for its beginning, or, at the end of
// a range, for its end.
var timeForms = []string{time.RFC3339Nano, "2006-01-02 15:04:05", "2006-01-02T15:04:05"}

// ParseTime reads the beginning of a range: a time, a day (UTC), or a duration such as "24h"
// or "7d", which is so long ago. "" is the time if nothing is given.
func ParseTime(field, text string, missing, now time.Time) (time.Time, error) {
	t, _, err := parseTime(field, text, missing, now)
	return t, err
}

// ParseEnd reads the end of a range likewise: a day is the end of the day.
func ParseEnd(field, text string, missing, now time.Time) (time.Time, error) {
	t, day, err := parseTime(field, text, missing, now)
	if day {
		t = t.AddDate(0, 0, 1)
	}
	return t, err
}

func parseTime(field, text string, missing, now time.Time) (t time.Time, day bool, err error) {
	if text == "" {
		return missing, false, nil
	}
	if t, err := time.Parse(time.DateOnly, text); err == nil {
		return t, true, nil
	}
	for _, form := range timeForms {
		if t, err := time.Parse(form, text); err == nil {
			return t.UTC(), false, nil
		}
	}
	ago := text
	if n, ok := strings.CutSuffix(text, "d"); ok {
		var days int
		if _, err := fmt.Sscanf(n, "%d", &days); err == nil && fmt.Sprint(days) == n && days >= 0 {
			return now.AddDate(0, 0, -days), false, nil
		}
	}
	if d, err := time.ParseDuration(ago); err == nil && d >= 0 {
		return now.Add(-d), false, nil
	}
	return t, false, invalid(field, fmt.Sprintf("%q is not a day such as 2026-01-31, a time such as 2026-01-31T10:00:00Z, or a duration such as 24h or 7d", text))
}

// Names are what rows and spend are filtered by: a word such as "key" → lists of values.
type Names map[string][]string

// split reads a list with commas.
func split(text string) (list []string) {
	for v := range strings.SplitSeq(text, ",") {
		if v = strings.TrimSpace(v); v != "" {
			list = append(list, v)
		}
	}
	return list
}

// NamesOf reads the members of q that are named in fields (parameter → word), and resolves
// names of records to ids.
func (a *API) NamesOf(q url.Values, fields map[string]string) Names {
	names := Names{}
	for param, word := range fields {
		for _, text := range q[param] {
			for _, v := range split(text) {
				names[word] = append(names[word], a.resolve(word, v))
			}
		}
	}
	return names
}

// words are the names under which /api/v1 filters.
var words = map[string]string{
	"key": "key", "team": "team", "organization": "organization", "project": "project", "user": "user",
	"customer": "customer", "tag": "tag", "model": "model", "deployment": "deployment", "provider": "provider", "endpoint": "endpoint",
}

// resolve gives the id of a record that is named by id, name or, for a key, its secret or
// hash. What was spent under a record that is gone stays readable by its id.
func (a *API) resolve(word, ref string) string {
	switch word {
	case "key":
		if strings.HasPrefix(ref, "sk-") {
			if k, ok := a.cfg.KeyByHash(resource.HashSecret(ref)); ok {
				return k.ID
			}
		}
		var h resource.Hash
		if h.UnmarshalText([]byte(ref)) == nil {
			if k, ok := a.cfg.KeyByHash(h); ok {
				return k.ID
			}
		}
		if k, ok := a.cfg.Records.Keys.Find(ref); ok {
			return k.ID
		}
	case "team":
		if t, ok := a.cfg.Records.Teams.Find(ref); ok {
			return t.ID
		}
	case "organization":
		if o, ok := a.cfg.Records.Organizations.Find(ref); ok {
			return o.ID
		}
	case "project":
		if p, ok := a.cfg.Records.Projects.Find(ref); ok {
			return p.ID
		}
	case "user":
		if u, ok := a.cfg.Records.Users.Find(ref); ok {
			return u.ID
		}
	}
	return ref
}

// own bounds the names to the caller's key, if he may see no other, or to what the person sees
// who acts with it.
func (a *API) own(by records.Caller, names Names) error {
	if !by.OwnOnly {
		return nil
	}
	if by.Delegate != nil {
		return a.ofPerson(by, names)
	}
	if by.Who.Key == nil {
		return invalid("key", "the caller has none")
	}
	id := by.Who.Key.ID
	if asked, ok := names["key"]; ok && !slices.Equal(asked, []string{id}) {
		return fmt.Errorf("requests of other keys: %w", resource.ErrForbidden)
	}
	names["key"] = []string{id}
	return nil
}

// ofPerson bounds the names to what a person has spent himself, unless he asks for keys or
// teams that he leads, for keys of his, or for the organization that he is the admin of.
func (a *API) ofPerson(by records.Caller, names Names) error {
	d := by.Delegate
	if team := d.Key().TeamID; team != "" {
		if asked, ok := names["team"]; ok && !slices.Equal(asked, []string{team}) {
			return fmt.Errorf("spend of other teams: %w", resource.ErrForbidden)
		}
		names["team"] = []string{team}
	}
	if a.leads(by, names) {
		return nil
	}
	me := d.User().ID
	if asked, ok := names["user"]; ok && !slices.Equal(asked, []string{me}) {
		return fmt.Errorf("spend of other users: %w", resource.ErrForbidden)
	}
	names["user"] = []string{me}
	return nil
}

// leads says whether all that is asked for lies in what the person leads.
func (a *API) leads(by records.Caller, names Names) bool {
	all := func(word string, ok func(id string) bool) bool {
		return len(names[word]) > 0 && !slices.ContainsFunc(names[word], func(id string) bool { return !ok(id) })
	}
	team := func(id string) bool {
		t, ok := a.cfg.Records.Teams.Find(id)
		return ok && (by.Delegate.Leads(t) || t.Lets("/team/daily/activity") && by.Delegate.Sees(t))
	}
	key := func(id string) bool {
		k, ok := a.cfg.Records.Keys.Find(id)
		return ok && by.Delegate.Leads(k)
	}
	organization := func(id string) bool { return id != "" && id == by.Delegate.Organization() }
	return all("team", team) || all("key", key) || all("organization", organization)
}

// conditions are the names as a question about spend has them.
func conditions(names Names) ([]rollup.Condition, error) {
	var out []rollup.Condition
	for word, values := range names {
		d, err := rollup.ParseDim(word)
		if err != nil {
			return nil, invalid(word, "is not what spend is kept by")
		}
		out = append(out, rollup.Condition{Dim: d, Values: values})
	}
	return out, nil
}

// UsageParams is a question about spend as people ask it.
type UsageParams struct {
	From, To    string // "": 30 days ago, and now
	Granularity string
	GroupBy     string // words with commas
	Names       url.Values
}

// Usage reads a question about spend.
func (a *API) Usage(by records.Caller, p UsageParams) (rollup.Query, error) {
	now := a.cfg.Now()
	q := rollup.Query{Granularity: p.Granularity}
	from, err := ParseTime("from", p.From, now.Truncate(24*time.Hour).AddDate(0, 0, -29), now)
	if err != nil {
		return q, err
	}
	to, err := ParseEnd("to", p.To, now.Truncate(24*time.Hour).AddDate(0, 0, 1), now)
	if err != nil {
		return q, err
	}
	if !to.After(from) {
		return q, invalid("to", "is not after from")
	}
	if to.Sub(from) > 10*366*24*time.Hour {
		return q, invalid("to", "is more than ten years after from")
	}
	q.From, q.To = from.Unix(), to.Unix()
	for _, word := range split(p.GroupBy) {
		d, err := rollup.ParseDim(word)
		if err != nil {
			return q, invalid("group_by", err.Error())
		}
		q.GroupBy = append(q.GroupBy, d)
	}
	names := a.NamesOf(p.Names, words)
	if err := a.own(by, names); err != nil {
		return q, err
	}
	if q.Filter, err = conditions(names); err != nil {
		return q, err
	}
	if err := q.Fit(now); err != nil {
		return q, invalid("granularity", err.Error())
	}
	return q, nil
}

// RowParams is a question about requests as people ask it.
type RowParams struct {
	From, To  string
	RequestID string
	Status    string
	ErrorCode string
	Session   string
	Sort      string // "-cost": the most expensive first
	Limit     int
	Cursor    string
	Names     url.Values
}

// Rows reads a question about requests.
func (a *API) Rows(by records.Caller, p RowParams) (requestlog.Query, error) {
	now := a.cfg.Now()
	q := requestlog.Query{Limit: p.Limit}
	from, err := ParseTime("from", p.From, time.Time{}, now)
	if err != nil {
		return q, err
	}
	to, err := ParseEnd("to", p.To, time.Time{}, now)
	if err != nil {
		return q, err
	}
	q.From, q.To = resource.At(from), resource.At(to)
	q.RequestID, q.Status, q.ErrorCode = p.RequestID, p.Status, p.ErrorCode
	q.Sort, q.Ascending = strings.TrimPrefix(p.Sort, "-"), p.Sort != "" && !strings.HasPrefix(p.Sort, "-")
	names := a.NamesOf(p.Names, words)
	if p.Session != "" {
		names["session"] = []string{p.Session}
	}
	if err := a.own(by, names); err != nil {
		return q, err
	}
	q.Names = names
	if q.After, err = parseCursor(p.Cursor); err != nil {
		return q, err
	}
	return q, q.Validate()
}

// Cursor names the place behind a page, "" if it is the last.
func Cursor(p *requestlog.Page) string {
	if !p.More || len(p.Rows) == 0 {
		return ""
	}
	last := &p.Rows[len(p.Rows)-1]
	return fmt.Sprintf("%d.%d.%s", last.Time, last.Number, last.Node)
}

func parseCursor(text string) (*requestlog.Cursor, error) {
	if text == "" {
		return nil, nil
	}
	var c requestlog.Cursor
	if n, err := fmt.Sscanf(text, "%d.%d.%s", &c.Time, &c.Number, &c.Node); err != nil || n != 3 {
		return nil, invalid("cursor", "is not one that an answer gave")
	}
	return &c, nil
}
