package client

import (
	"context"
	"maps"
	"net/http"
	"net/url"
	"strconv"
)

// Noun is all records of one kind. Ref is a record's id or name.
type Noun[V any] struct {
	c    *Client
	path string
}

// Query selects and orders a list. The zero value is the first 50 by name.
type Query struct {
	Limit  int
	Cursor string     // of the page before
	Sort   string     // "name", "created_at", …; "-" in front turns the order
	Q      string     // part of the name or id
	More   url.Values // what only this kind has: "team_id", "model_id"
}

// List returns one page.
func (n Noun[V]) List(ctx context.Context, q Query) (Page[V], error) {
	v := url.Values{}
	maps.Copy(v, q.More)
	if q.Limit > 0 {
		v.Set("limit", strconv.Itoa(q.Limit))
	}
	for name, s := range map[string]string{"cursor": q.Cursor, "sort": q.Sort, "q": q.Q} {
		if s != "" {
			v.Set(name, s)
		}
	}
	var out Page[V]
	return out, n.c.do(ctx, http.MethodGet, n.path, v, nil, &out)
}

// One returns the record.
func (n Noun[V]) One(ctx context.Context, ref string) (V, error) {
	var out V
	return out, n.c.do(ctx, http.MethodGet, join(n.path, ref), nil, nil, &out)
}

// Create creates a record from v, which may be a V, a map or bare JSON.
func (n Noun[V]) Create(ctx context.Context, v any) (V, error) {
	var out V
	return out, n.c.do(ctx, http.MethodPost, n.path, nil, v, &out)
}

// Replace replaces the record by v, whose version must be the one that was read.
func (n Noun[V]) Replace(ctx context.Context, ref string, v any) (V, error) {
	var out V
	return out, n.c.do(ctx, http.MethodPut, join(n.path, ref), nil, v, &out)
}

// Patch merges a JSON merge patch into the record; a "version" in it must be the stored one.
func (n Noun[V]) Patch(ctx context.Context, ref string, patch any) (V, error) {
	var out V
	return out, n.c.do(ctx, http.MethodPatch, join(n.path, ref), nil, patch, &out)
}

// Delete deletes the record for ever.
func (n Noun[V]) Delete(ctx context.Context, ref string) error {
	return n.c.do(ctx, http.MethodDelete, join(n.path, ref), nil, nil, nil)
}

// All returns every record, page by page.
func (n Noun[V]) All(ctx context.Context, q Query) ([]V, error) {
	var all []V
	for {
		page, err := n.List(ctx, q)
		if err != nil {
			return nil, err
		}
		all = append(all, page.Items...)
		if page.NextCursor == "" {
			return all, nil
		}
		q.Cursor = page.NextCursor
	}
}
