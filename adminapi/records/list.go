package records

import (
	"cmp"
	"encoding/base64"
	"slices"
	"strings"

	"github.com/conclave-llm/conclave/resource"
)

// Query is what every list can be asked for. The tags are those of the OpenAPI document.
type Query struct {
	Limit   int    `query:"limit" default:"50" minimum:"1" maximum:"500" doc:"records a page"`
	Cursor  string `query:"cursor" doc:"next_cursor of the page before"`
	Sort    string `query:"sort" enum:"name,-name,id,-id,created_at,-created_at,updated_at,-updated_at,expires_at,-expires_at" default:"name" doc:"order; - turns it"`
	Q       string `query:"q" doc:"part of the name or the id"`
	TeamID  string `query:"team_id" doc:"keys and projects of this team only"`
	ModelID string `query:"model_id" doc:"deployments of this model only"`

	OrganizationID string `query:"organization_id" doc:"teams and users of this organization only"`
	ProjectID      string `query:"project_id" doc:"keys of this project only"`
	UserID         string `query:"user_id" doc:"keys of this user only"`
	AccessGroupID  string `query:"access_group_id" doc:"keys that have this access group only"`
	CreatedBy      string `query:"created_by" doc:"keys, users and customers made by this actor only"`
	Role           string `query:"role" doc:"keys and users with this role only"`
	Status         string `query:"status" enum:"blocked,unblocked,expired" doc:"keys, users and customers of this status only"`

	Offset int // keys that are passed over; our own clients use the cursor
}

// sorters give the value that records are ordered by. Times are written so that their
// text sorts as they do.
var sorters = map[string]func(resource.Record) string{
	"name":       func(r resource.Record) string { return r.Label() },
	"id":         func(r resource.Record) string { return r.Head().ID },
	"created_at": func(r resource.Record) string { return sortableTime(r.Head().CreatedAt) },
	"updated_at": func(r resource.Record) string { return sortableTime(r.Head().UpdatedAt) },
}

func sortableTime(t resource.Time) string { return t.Std().Format("20060102150405.000000000") }

// paginate filters, sorts and cuts all records of a small table. The cursor is the sort
// value and id of the last record shown, so that changes between pages repeat or skip no
// other record.
func paginate[P resource.Record](all []P, q Query) (items []P, next string, total int, err error) {
	by, desc := strings.CutPrefix(q.Sort, "-")
	value, ok := sorters[cmp.Or(by, "name")]
	if !ok {
		return nil, "", 0, invalid("sort", "is not one of name, id, created_at, updated_at")
	}
	pos := func(r P) [2]string { return [2]string{value(r), r.Head().ID} }
	order := func(a, b [2]string) int {
		c := cmp.Or(strings.Compare(a[0], b[0]), strings.Compare(a[1], b[1]))
		if desc {
			return -c
		}
		return c
	}
	found := make([]P, 0, len(all))
	for _, r := range all {
		if matches(r, q.Q) {
			found = append(found, r)
		}
	}
	slices.SortFunc(found, func(a, b P) int { return order(pos(a), pos(b)) })
	total = len(found)
	if q.Cursor != "" {
		at, err := parseCursor(q.Cursor)
		if err != nil {
			return nil, "", 0, err
		}
		i, same := slices.BinarySearchFunc(found, at, func(r P, at [2]string) int { return order(pos(r), at) })
		if same {
			i++
		}
		found = found[i:]
	}
	if len(found) > q.Limit {
		found = found[:q.Limit]
		next = formatCursor(pos(found[len(found)-1]))
	}
	return found, next, total, nil
}

func matches(r resource.Record, q string) bool {
	if q == "" {
		return true
	}
	q = strings.ToLower(q)
	return strings.Contains(strings.ToLower(r.Label()), q) || strings.Contains(strings.ToLower(r.Head().ID), q)
}

func formatCursor(pos [2]string) string {
	return base64.RawURLEncoding.EncodeToString([]byte(pos[0] + "\x00" + pos[1]))
}

func parseCursor(cursor string) ([2]string, error) {
	b, err := base64.RawURLEncoding.DecodeString(cursor)
	value, id, ok := strings.Cut(string(b), "\x00")
	if err != nil || !ok {
		return [2]string{}, invalid("cursor", "is not the next_cursor of a page")
	}
	return [2]string{value, id}, nil
}
