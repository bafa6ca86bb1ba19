package memory

import (
	"cmp"
	"container/heap"
	"encoding/base64"
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"github.com/conclave-llm/conclave/fsm/frame"
	"github.com/conclave-llm/conclave/resource"
)

// Query selects records. Zero fields select all.
type Query struct {
	Limit   int    // of the page; 0: 50
	Cursor  string // next of the page before
	Offset  int    // records behind the cursor that are passed over
	Q       string // part of the name or id, in any case
	TeamID  string
	GroupID string            // of access_group_ids
	Sort    string            // "name", "created_at", "updated_at", "expires_at" or "id" (the default); "-" before it turns the order
	Where   map[string]string // fields that have these texts; "blocked" is "true" or "false"
	Expired resource.Time     // only those whose expires_at is at or before; 0: all
	Due     resource.Time     // only those whose rotate_at is at or before; 0: all
}

// place is a position in a sorted list: the field that is sorted by, then the id.
type place struct {
	Text string `json:"t,omitempty"`
	Time int64  `json:"n,omitempty"`
	ID   string `json:"i"`
}

// row is what a list sees of a record.
type row struct {
	packed, id, name string
	flags            byte
}

// choose selects a page of records in one pass; no order is kept between calls.
func choose[R any](q Query, all func(func(*R)), rowOf func(*R) row) (page []*R, next string, total int) {
	if q.Limit <= 0 {
		q.Limit = 50
	}
	after, ok := parseCursor(q.Cursor)
	if !ok {
		return nil, "", 0
	}
	found := &pageHeap[R]{less: q.less()}
	needle := strings.ToLower(q.Q)
	all(func(rec *R) {
		r := rowOf(rec)
		if !q.selects(&r, needle) {
			return
		}
		total++
		p := q.place(&r)
		if q.Cursor != "" && !found.less(after, p) {
			return
		}
		if found.Len() <= q.Offset+q.Limit { // one more than the page, to know whether there is a next
			heap.Push(found, placed[R]{p, rec})
		} else if found.less(p, found.all[0].place) {
			found.all[0] = placed[R]{p, rec}
			heap.Fix(found, 0)
		}
	})
	slices.SortFunc(found.all, func(a, b placed[R]) int {
		if found.less(a.place, b.place) {
			return -1
		}
		return 1
	})
	found.all = found.all[min(q.Offset, len(found.all)):]
	if len(found.all) > q.Limit {
		found.all = found.all[:q.Limit]
		next = found.all[q.Limit-1].cursor()
	}
	for _, k := range found.all {
		page = append(page, k.rec)
	}
	return page, next, total
}

// List returns a page of keys, the cursor of the next ("" after the last), and how many the
// query selects in all.
func (t *Keys) List(q Query) (items []*resource.Key, next string, total int) {
	page, next, total := choose(q, t.all, func(r *KeyRecord) row {
		return row{packed: r.packed, id: r.id, name: r.name, flags: r.flags}
	})
	for _, r := range page {
		items = append(items, t.key(r))
	}
	return items, next, total
}

func (q *Query) selects(r *row, needle string) bool {
	if needle != "" && !strings.Contains(strings.ToLower(r.name), needle) && !strings.Contains(r.id, needle) {
		return false
	}
	if q.TeamID != "" && skimText(r.packed, "team_id") != q.TeamID {
		return false
	}
	if q.GroupID != "" && !skimHas(r.packed, "access_group_ids", q.GroupID) {
		return false
	}
	for field, want := range q.Where {
		have := ""
		if field == "blocked" {
			have = strconv.FormatBool(r.flags&frame.FlagBlocked != 0)
		} else {
			have = skimText(r.packed, field)
		}
		if have != want {
			return false
		}
	}
	return passed(r.packed, "expires_at", q.Expired) && passed(r.packed, "rotate_at", q.Due)
}

// passed says whether a time of a stored record, if there is one, is at or before limit; any
// is if limit is 0.
func passed(packed, field string, limit resource.Time) bool {
	if limit == 0 {
		return true
	}
	if !strings.Contains(packed, field) { // most have none, and somebody looks through a million every few seconds
		return false
	}
	at := skimInt(packed, field)
	return at != 0 && at <= int64(limit)
}

func (q *Query) place(r *row) place {
	switch by := strings.TrimPrefix(q.Sort, "-"); by {
	case "name":
		return place{Text: r.name, ID: r.id}
	case "created_at", "updated_at", "expires_at":
		return place{Time: skimInt(r.packed, by), ID: r.id}
	default:
		return place{ID: r.id}
	}
}

func (q *Query) less() func(a, b place) bool {
	compare := func(a, b place) int {
		return cmp.Or(cmp.Compare(a.Time, b.Time), strings.Compare(a.Text, b.Text), strings.Compare(a.ID, b.ID))
	}
	if strings.HasPrefix(q.Sort, "-") {
		return func(a, b place) bool { return compare(a, b) > 0 }
	}
	return func(a, b place) bool { return compare(a, b) < 0 }
}

func (p place) cursor() string {
	b, err := json.Marshal(p)
	if err != nil {
		return ""
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

func parseCursor(s string) (place, bool) {
	var p place
	if s == "" {
		return p, true
	}
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil {
		return p, false
	}
	return p, json.Unmarshal(b, &p) == nil
}

type placed[R any] struct {
	place
	rec *R
}

// pageHeap is a heap with the last record of the page on top.
type pageHeap[R any] struct {
	all  []placed[R]
	less func(a, b place) bool
}

// Len implements heap.Interface.
func (p *pageHeap[R]) Len() int { return len(p.all) }

// Less implements heap.Interface.
func (p *pageHeap[R]) Less(i, j int) bool { return p.less(p.all[j].place, p.all[i].place) }

// Swap implements heap.Interface.
func (p *pageHeap[R]) Swap(i, j int) { p.all[i], p.all[j] = p.all[j], p.all[i] }

// Push implements heap.Interface.
func (p *pageHeap[R]) Push(x any) {
	if k, ok := x.(placed[R]); ok {
		p.all = append(p.all, k)
	}
}

// Pop implements heap.Interface.
func (p *pageHeap[R]) Pop() any {
	last := p.all[len(p.all)-1]
	p.all = p.all[:len(p.all)-1]
	return last
}
