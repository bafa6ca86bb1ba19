package memory

import (
	"cmp"
	"container/heap"
	"encoding/base64"
	"encoding/json"
	"slices"
	"strings"

	"github.com/conclave-llm/conclave/resource"
)

// Query selects keys. Zero fields select all.
type Query struct {
	Limit  int    // of the page; 0: 50
	Cursor string // next of the page before
	Q      string // part of the name or id, in any case
	TeamID string
	Sort   string // "name", "created_at" or "id" (the default); "-" before it turns the order
}

// place is a position in a sorted list: the field that is sorted by, then the id.
type place struct {
	Text string `json:"t,omitempty"`
	Time int64  `json:"n,omitempty"`
	ID   string `json:"i"`
}

// List returns a page of keys, the cursor of the next ("" after the last), and how many the
// query selects in all. It keeps no order between calls: it selects the page in one pass.
func (t *Keys) List(q Query) (items []*resource.Key, next string, total int) {
	if q.Limit <= 0 {
		q.Limit = 50
	}
	after, ok := parseCursor(q.Cursor)
	if !ok {
		return nil, "", 0
	}
	page := &keyPage{less: q.less()}
	needle := strings.ToLower(q.Q)
	t.all(func(r *KeyRecord) {
		if (q.TeamID != "" && r.team != q.TeamID) || (needle != "" && !r.contains(needle)) {
			return
		}
		total++
		p := q.place(r)
		if q.Cursor != "" && !page.less(after, p) {
			return
		}
		if page.Len() <= q.Limit { // one more than the page, to know whether there is a next
			heap.Push(page, keyAt{p, r})
		} else if page.less(p, page.all[0].place) {
			page.all[0] = keyAt{p, r}
			heap.Fix(page, 0)
		}
	})
	slices.SortFunc(page.all, func(a, b keyAt) int {
		if page.less(a.place, b.place) {
			return -1
		}
		return 1
	})
	if len(page.all) > q.Limit {
		page.all = page.all[:q.Limit]
		next = page.all[q.Limit-1].cursor()
	}
	for _, k := range page.all {
		items = append(items, t.key(k.rec))
	}
	return items, next, total
}

func (r *KeyRecord) contains(needle string) bool {
	return strings.Contains(strings.ToLower(r.name), needle) || strings.Contains(r.id, needle)
}

func (q Query) place(r *KeyRecord) place {
	switch strings.TrimPrefix(q.Sort, "-") {
	case "name":
		return place{Text: r.name, ID: r.id}
	case "created_at":
		return place{Time: int64(r.created), ID: r.id}
	default:
		return place{ID: r.id}
	}
}

func (q Query) less() func(a, b place) bool {
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

type keyAt struct {
	place
	rec *KeyRecord
}

// keyPage is a heap with the last key of the page on top.
type keyPage struct {
	all  []keyAt
	less func(a, b place) bool
}

// Len implements heap.Interface.
func (p *keyPage) Len() int { return len(p.all) }

// Less implements heap.Interface.
func (p *keyPage) Less(i, j int) bool { return p.less(p.all[j].place, p.all[i].place) }

// Swap implements heap.Interface.
func (p *keyPage) Swap(i, j int) { p.all[i], p.all[j] = p.all[j], p.all[i] }

// Push implements heap.Interface.
func (p *keyPage) Push(x any) {
	if k, ok := x.(keyAt); ok {
		p.all = append(p.all, k)
	}
}

// Pop implements heap.Interface.
func (p *keyPage) Pop() any {
	last := p.all[len(p.all)-1]
	p.all = p.all[:len(p.all)-1]
	return last
}
