package adminapi

import (
	"bytes"
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/conclave-llm/conclave/adminapi/client"
)

// detail says how much of a record a view shows.
type detail uint8

const (
	inList detail = iota
	alone
)

// RefInput names a record in the path. It is exported because huma looks into embedded
// fields only if they are.
type RefInput struct {
	Ref string `path:"id" doc:"id or name"`
}

// The inputs and outputs of the operations that every noun has.
type (
	createInput struct {
		RawBody []byte
	}
	writeInput struct {
		RefInput
		IfMatch string `header:"If-Match" doc:"version of the record that was read; or give it as version in the body"`
		RawBody []byte
	}
	recordOutput[V any] struct {
		Written
		Body V
	}
	listOutput[V any] struct {
		Body client.Page[V]
	}
	doneOutput struct {
		Written
	}
)

// registerNoun registers the operations that every noun has; view makes of a record what a
// client sees.
func registerNoun[R any, P recordOf[R], V any](s *Server, n *noun[R, P], view func(ctx context.Context, r P, d detail) V) {
	path := "/" + n.kind + "s"
	show := func(ctx context.Context, r P, w Written, err error) (*recordOutput[V], error) {
		if err != nil {
			return nil, s.problem(err)
		}
		return &recordOutput[V]{Written: w, Body: view(ctx, r, alone)}, nil
	}
	register(s, routeID("list", n.kind), http.MethodGet, path, "List "+n.kind+"s",
		func(ctx context.Context, in *listQuery) (*listOutput[V], error) {
			items, next, total, err := n.list(*in)
			if err != nil {
				return nil, s.problem(err)
			}
			out := &listOutput[V]{Body: client.Page[V]{Items: make([]V, 0, len(items)), NextCursor: next, Total: total}}
			for _, r := range items {
				out.Body.Items = append(out.Body.Items, view(ctx, r, inList))
			}
			return out, nil
		})
	register(s, routeID("get", n.kind), http.MethodGet, path+"/{id}", "Read one "+n.kind,
		func(ctx context.Context, in *RefInput) (*recordOutput[V], error) {
			r, err := n.one(ctx, in.Ref)
			if err != nil {
				return nil, s.problem(err)
			}
			return show(ctx, r, Written{ETag: etag(r.Head().Version)}, nil)
		})
	register(s, routeID("create", n.kind), http.MethodPost, path, "Create a "+n.kind,
		func(ctx context.Context, in *createInput) (*recordOutput[V], error) {
			doc, err := parseDocument(copied(in.RawBody))
			if err != nil {
				return nil, s.problem(err)
			}
			r, w, err := n.create(ctx, doc)
			return show(ctx, r, w, err)
		})
	registerUpdates(s, n, show)
	s.describeBodies(path)
}

// registerUpdates registers replace, update and delete.
func registerUpdates[R any, P recordOf[R], V any](
	s *Server, n *noun[R, P], show func(context.Context, P, Written, error) (*recordOutput[V], error),
) {
	type write func(ctx context.Context, ref string, version uint64, doc document) (P, Written, error)
	handler := func(do write) func(context.Context, *writeInput) (*recordOutput[V], error) {
		return func(ctx context.Context, in *writeInput) (*recordOutput[V], error) {
			version, err := parseVersion(in.IfMatch)
			if err != nil {
				return nil, s.problem(err)
			}
			doc, err := parseDocument(copied(in.RawBody))
			if err != nil {
				return nil, s.problem(err)
			}
			r, w, err := do(ctx, in.Ref, version, doc)
			return show(ctx, r, w, err)
		}
	}
	path := "/" + n.kind + "s/{id}"
	register(s, routeID("replace", n.kind), http.MethodPut, path, "Replace a "+n.kind, handler(n.replace))
	register(s, routeID("update", n.kind), http.MethodPatch, path, "Change some fields of a "+n.kind, handler(n.patch))
	register(s, routeID("delete", n.kind), http.MethodDelete, path, "Delete a "+n.kind+" for ever",
		func(ctx context.Context, in *RefInput) (*doneOutput, error) {
			w, err := n.delete(ctx, in.Ref)
			return s.done(w, err)
		})
}

// done is the answer to an operation that shows nothing.
func (s *Server) done(w Written, err error) (*doneOutput, error) {
	if err != nil {
		return nil, s.problem(err)
	}
	w.ETag = ""
	return &doneOutput{w}, nil
}

// register registers one operation behind the authoriser.
func register[I, O any](s *Server, id, method, path, summary string, handler func(context.Context, *I) (*O, error)) {
	op := huma.Operation{
		OperationID: id, Method: method, Path: Prefix + path, Summary: summary,
		Middlewares:                  huma.Middlewares{s.middleware},
		RejectUnknownQueryParameters: true,
		Security:                     []map[string][]string{{"bearer": {}}},
		Errors:                       []int{http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden},
	}
	if method == http.MethodPost && id[:min(len(id), 7)] == "create-" {
		op.DefaultStatus = http.StatusCreated
	}
	huma.Register(s.api, op, handler)
	s.routes = append(s.routes, Route{ID: id, Method: method, Pattern: Prefix + path})
}

// plainView shows a record as it is.
func plainView[R any](_ context.Context, r *R, _ detail) R { return *r }

// copied is a body that may be kept: huma uses its buffers again.
func copied(b []byte) []byte { return bytes.Clone(b) }
