package adminapi

import (
	"bytes"
	"context"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/conclave-llm/conclave/adminapi/client"
	"github.com/conclave-llm/conclave/adminapi/records"
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

// registerNoun registers the operations that every noun has.
func registerNoun[R any, P records.Of[R], V any](s *Server, n *records.Noun[R, P], show view[P, V]) {
	path := "/" + n.Path()
	register(s, routeID("list", n.Name()), http.MethodGet, path, "List "+n.Name()+"s",
		func(ctx context.Context, in *records.Query) (*listOutput[V], error) {
			items, next, total, err := n.List(callerOf(ctx), *in)
			if err != nil {
				return nil, s.problem(err)
			}
			out := &listOutput[V]{Body: client.Page[V]{Items: make([]V, 0, len(items)), NextCursor: next, Total: total}}
			for _, r := range items {
				out.Body.Items = append(out.Body.Items, show(r, detail{}))
			}
			return out, nil
		})
	register(s, routeID("get", n.Name()), http.MethodGet, path+"/{id}", "Read one "+n.Name(),
		func(ctx context.Context, in *RefInput) (*recordOutput[V], error) {
			r, err := n.Shown(callerOf(ctx), in.Ref)
			if err != nil {
				return nil, s.problem(err)
			}
			return answer(s, show, r, records.Written{Version: r.Head().Version}, nil)
		})
	register(s, routeID("create", n.Name()), http.MethodPost, path, "Create a "+n.Name(),
		func(ctx context.Context, in *createInput) (*recordOutput[V], error) {
			doc, err := records.ParseDocument(copied(in.RawBody))
			if err != nil {
				return nil, s.problem(err)
			}
			r, w, err := n.Create(ctx, callerOf(ctx), doc)
			return answer(s, show, r, w, err)
		})
	registerUpdates(s, n, show)
	s.describeBodies(path)
}

// registerUpdates registers replace, update and delete.
func registerUpdates[R any, P records.Of[R], V any](s *Server, n *records.Noun[R, P], show view[P, V]) {
	type write func(ctx context.Context, by records.Caller, ref string, version uint64, doc records.Document) (P, records.Written, error)
	handler := func(do write) func(context.Context, *writeInput) (*recordOutput[V], error) {
		return func(ctx context.Context, in *writeInput) (*recordOutput[V], error) {
			version, err := parseVersion(in.IfMatch)
			if err != nil {
				return nil, s.problem(err)
			}
			doc, err := records.ParseDocument(copied(in.RawBody))
			if err != nil {
				return nil, s.problem(err)
			}
			r, w, err := do(ctx, callerOf(ctx), in.Ref, version, doc)
			return answer(s, show, r, w, err)
		}
	}
	path := "/" + n.Path() + "/{id}"
	register(s, routeID("replace", n.Name()), http.MethodPut, path, "Replace a "+n.Name(), handler(n.Replace))
	register(s, routeID("update", n.Name()), http.MethodPatch, path, "Change some fields of a "+n.Name(), handler(n.Patch))
	register(s, routeID("delete", n.Name()), http.MethodDelete, path, "Delete a "+n.Name()+" for ever",
		func(ctx context.Context, in *RefInput) (*doneOutput, error) {
			w, err := n.Delete(ctx, callerOf(ctx), in.Ref)
			return s.done(w, err)
		})
}

// registerBlock registers block and unblock of what can be blocked.
func registerBlock[R any, P records.Of[R], V any](s *Server, n *records.Noun[R, P], what string, show view[P, V]) {
	for _, state := range []client.BlockState{client.Blocked, client.Unblocked} {
		register(s, routeID(string(state), n.Name()), http.MethodPost, "/"+n.Name()+"s/{id}/"+string(state), string(state)+" "+what+" at once",
			func(ctx context.Context, in *RefInput) (*recordOutput[V], error) {
				r, w, err := n.SetBlocked(ctx, callerOf(ctx), in.Ref, state)
				return answer(s, show, r, w, err)
			})
	}
}

// answer shows one record.
func answer[P, V any](s *Server, show view[P, V], r P, w records.Written, err error) (*recordOutput[V], error) {
	if err != nil {
		return nil, s.problem(err)
	}
	return &recordOutput[V]{Written: headersOf(w), Body: show(r, detail{alone: true, secret: w.Secret})}, nil
}

// done is the answer to an operation that shows nothing.
func (s *Server) done(w records.Written, err error) (*doneOutput, error) {
	if err != nil {
		return nil, s.problem(err)
	}
	w.Version = 0
	return &doneOutput{headersOf(w)}, nil
}

// register registers one operation behind the authoriser.
func register[I, O any](s *Server, id, method, path, summary string, handler func(context.Context, *I) (*O, error)) {
	registerWith(s, operation(id, method, path, summary), handler)
}

// operation is an operation as they all are.
func operation(id, method, path, summary string) huma.Operation {
	op := huma.Operation{
		OperationID: id, Method: method, Path: Prefix + path, Summary: summary,
		RejectUnknownQueryParameters: true,
		Security:                     []map[string][]string{{"bearer": {}}},
		Errors:                       []int{http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden},
	}
	if method == http.MethodPost && id[:min(len(id), 7)] == "create-" {
		op.DefaultStatus = http.StatusCreated
	}
	return op
}

// registerWith registers an operation behind the authoriser.
func registerWith[I, O any](s *Server, op huma.Operation, handler func(context.Context, *I) (*O, error)) {
	op.Middlewares = huma.Middlewares{s.middleware}
	if strings.HasPrefix(op.Path, Prefix+"/cluster/") && op.Method != http.MethodGet {
		op.Middlewares = append(op.Middlewares, s.led)
	}
	huma.Register(s.api, op, handler)
	s.routes = append(s.routes, Route{ID: op.OperationID, Method: op.Method, Pattern: op.Path})
}

// copied is a body that may be kept: huma uses its buffers again.
func copied(b []byte) []byte { return bytes.Clone(b) }
