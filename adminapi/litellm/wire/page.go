package wire

import (
	"cmp"
	"maps"
	"math"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// mostRows is how many rows a page has at most.
const mostRows = 100

// Page is a part of a list, as a query asks for it.
type Page struct{ Number, Size int }

// PageOf reads the number and the size of a page; size is what it has if nobody says.
func PageOf(q url.Values, sizeName string, size int) (Page, error) {
	p := Page{1, size}
	for _, f := range []struct {
		name string
		v    *int
		most int
	}{{"page", &p.Number, MostPage}, {sizeName, &p.Size, mostRows}} {
		text := q.Get(f.name)
		if text == "" {
			continue
		}
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > f.most {
			return p, Invalid(f.name, "is not a number from 1 to "+strconv.Itoa(f.most))
		}
		*f.v = n
	}
	return p, nil
}

// Of gives the bounds of the page in a list of so many rows.
func (p Page) Of(total int) (from, to int) {
	from = min((p.Number-1)*p.Size, total)
	return from, min(from+p.Size, total)
}

// Pages is how many pages so many rows make.
func (p Page) Pages(total int) int { return (total + p.Size - 1) / p.Size }

// Paged writes one page of rows, LiteLLM's way.
func Paged[P any](q url.Values, name, sizeName string, size int, all []P, row func(P) map[string]any) (map[string]any, error) {
	p, err := PageOf(q, sizeName, size)
	if err != nil {
		return nil, err
	}
	from, to := p.Of(len(all))
	return map[string]any{
		name: Rows(all[from:to], row), "total": len(all), "page": p.Number, "page_size": p.Size, "total_pages": p.Pages(len(all)),
	}, nil
}

// Orders are the columns that a list may be sorted by.
type Orders[P any] map[string]func(x, y P) int

// Descending says whether sort_order asks for the largest first; otherwise is what it is if nobody says.
func Descending(q url.Values, otherwise string) (bool, error) {
	switch order := cmp.Or(q.Get("sort_order"), otherwise); order {
	case "asc", "desc":
		return order == "desc", nil
	}
	return false, Invalid("sort_order", "is not one of asc, desc")
}

// Sort sorts a list as sort_by and sort_order ask; it stays as it is if they do not. order is the sort_order if
// nobody says.
func (o Orders[P]) Sort(q url.Values, order string, all []P) error {
	desc, err := Descending(q, order)
	if err != nil || q.Get("sort_by") == "" {
		return err
	}
	compare, ok := o[q.Get("sort_by")]
	if !ok {
		return Invalid("sort_by", "is not one of "+strings.Join(slices.Sorted(maps.Keys(o)), ", "))
	}
	slices.SortStableFunc(all, func(x, y P) int {
		if desc {
			x, y = y, x
		}
		return compare(x, y)
	})
	return nil
}

// Flag reads a parameter that is true or false; absent, it is false.
func Flag(q url.Values, name string) (bool, error) {
	text := q.Get(name)
	if text == "" {
		return false, nil
	}
	on, err := strconv.ParseBool(strings.ToLower(text))
	if err != nil {
		return false, Invalid(name, "is not true or false")
	}
	return on, nil
}

// Count reads a parameter that bounds how much of something is shown; absent, it does not.
func Count(q url.Values, name string) (int, error) {
	text := q.Get(name)
	if text == "" {
		return math.MaxInt, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		return 0, Invalid(name, "is not a number from 0 on")
	}
	return n, nil
}

// RefuseParams refuses parameters that would narrow an answer by what nobody knows here: to ignore one would be to
// show what was not asked for.
func RefuseParams(q url.Values, names ...string) error {
	for _, name := range names {
		if q.Get(name) != "" {
			return Invalid(name, "is not supported; the request was refused because ignoring it would show more than it asks for")
		}
	}
	return nil
}

// List takes a parameter with commas in it apart; nil if it is absent.
func List(q url.Values, name string) []string {
	var all []string
	for _, text := range q[name] {
		for part := range strings.SplitSeq(text, ",") {
			if part = strings.TrimSpace(part); part != "" {
				all = append(all, part)
			}
		}
	}
	return all
}
