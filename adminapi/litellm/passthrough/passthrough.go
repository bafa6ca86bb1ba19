// Package passthrough is LiteLLM's management paths of pass-through endpoints:
// /config/pass_through_endpoint.
package passthrough

import (
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/conclave-llm/conclave/adminapi/litellm/fields"
	"github.com/conclave-llm/conclave/adminapi/litellm/wire"
	"github.com/conclave-llm/conclave/adminapi/records"
	"github.com/conclave-llm/conclave/config/litellm"
	"github.com/conclave-llm/conclave/resource"
)

const pattern = "/config/pass_through_endpoint"

type api struct{ rs *records.Records }

// Routes lists the paths.
func Routes(rs *records.Records) []wire.Route {
	a := &api{rs}
	return []wire.Route{
		{ID: "litellm-pass-through-list", Method: http.MethodGet, Pattern: pattern, Handler: a.list},
		{ID: "litellm-pass-through-new", Method: http.MethodPost, Pattern: pattern, Handler: a.create},
		{ID: "litellm-pass-through-update", Method: http.MethodPost, Pattern: pattern + "/{id}", Handler: a.update},
		{ID: "litellm-pass-through-delete", Method: http.MethodDelete, Pattern: pattern, Handler: a.remove},
	}
}

func answer(w http.ResponseWriter, wr records.Written, all ...*resource.PassThroughEndpoint) error {
	return wire.Answer(w, wr, map[string]any{"endpoints": wire.Rows(all, row)})
}

func (a *api) list(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	id := r.URL.Query().Get("endpoint_id")
	if id == "" {
		return answer(w, records.Written{}, a.rs.PassThrough.Visible(by, records.Query{})...)
	}
	e, err := a.rs.PassThrough.Shown(by, id)
	if err != nil {
		return err
	}
	return answer(w, records.Written{}, e)
}

func (a *api) create(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	in, err := wire.ReadBody(r)
	if err != nil {
		return err
	}
	doc, err := document(in)
	if err != nil {
		return err
	}
	e, wr, err := a.rs.PassThrough.Create(r.Context(), by, doc)
	if err != nil {
		return err
	}
	return answer(w, wr, e)
}

func (a *api) update(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	in, err := wire.ReadBody(r)
	if err != nil {
		return err
	}
	doc, err := document(in)
	if err != nil {
		return err
	}
	delete(doc, "id")
	e, wr, err := a.rs.PassThrough.Patch(r.Context(), by, r.PathValue("id"), 0, doc)
	if err != nil {
		return err
	}
	return answer(w, wr, e)
}

func (a *api) remove(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	id := r.URL.Query().Get("endpoint_id")
	e, err := a.rs.PassThrough.Writable(by, id)
	if err != nil {
		return err
	}
	wr, err := a.rs.PassThrough.Delete(r.Context(), by, e.ID)
	if err != nil {
		return err
	}
	return answer(w, wr, e)
}

// renamed are LiteLLM's fields that have the same meaning here.
var renamed = map[string]string{
	"id": "id", "path": "path", "target": "target", "include_subpath": "include_subpath", "methods": "methods", "forward_headers": "forward_headers",
	"default_query_params": "query", "cost_per_request": "cost_per_request",
}

// ignored are fields that change nothing: the client's query always goes on.
var ignored = []string{"merge_query_params", "is_from_config"}

// document turns LiteLLM's fields into those of an endpoint, or of a merge patch.
func document(in records.Document) (records.Document, error) {
	out := records.Document{}
	for theirs, ours := range renamed {
		if v, ok := in[theirs]; ok && !records.IsNull(v) {
			out[ours] = v
		}
		delete(in, theirs)
	}
	for _, take := range []func(in, out records.Document) error{takeHeaders, takeGuardrails, takeAuth, takeTimeout} {
		if err := take(in, out); err != nil {
			return nil, err
		}
	}
	for _, name := range ignored {
		delete(in, name)
	}
	return out, fields.Refuse(in, slices.Sorted(maps.Keys(in)))
}

// takeHeaders takes the headers, which may be secrets, and so all are.
func takeHeaders(in, out records.Document) error {
	var headers map[string]string
	if err := in.Take("headers", &headers); err != nil || headers == nil {
		return err
	}
	secrets := map[string]string{}
	for name, value := range headers {
		if !slices.Contains(litellm.RequestsOwn, strings.ToLower(name)) {
			secrets[resource.PassThroughSecretHeader+name] = value
		}
	}
	return out.Set("secrets", secrets)
}

// takeGuardrails takes a list of names, or an object of them.
func takeGuardrails(in, out records.Document) error {
	raw, ok := in["guardrails"]
	delete(in, "guardrails")
	if !ok || records.IsNull(raw) {
		return nil
	}
	var names []string
	if json.Unmarshal(raw, &names) == nil {
		return out.Set("guardrails", names)
	}
	var of map[string]json.RawMessage
	if err := json.Unmarshal(raw, &of); err != nil {
		return wire.Invalid("guardrails", "is neither a list of names nor an object of them")
	}
	return out.Set("guardrails", slices.Sorted(maps.Keys(of)))
}

func takeAuth(in, out records.Document) error {
	auth := true
	if raw, ok := in["auth"]; !ok || records.IsNull(raw) {
		delete(in, "auth")
		return nil
	}
	if err := in.Take("auth", &auth); err != nil {
		return err
	}
	return out.Set("no_auth", !auth)
}

// takeTimeout takes the time-out, which is in seconds.
func takeTimeout(in, out records.Document) error {
	var seconds float64
	if err := in.Take("timeout", &seconds); err != nil || seconds <= 0 {
		return err
	}
	return out.Set("timeout_ms", int64(seconds*1000))
}

// row shows an endpoint as LiteLLM does. Of a secret header only the name can be read.
func row(e *resource.PassThroughEndpoint) map[string]any {
	headers := map[string]string{}
	maps.Copy(headers, e.Headers)
	for name := range e.Secrets {
		headers[strings.TrimPrefix(name, resource.PassThroughSecretHeader)] = "****"
	}
	methods := e.Methods
	if methods == nil {
		methods = []string{"GET", "POST", "PUT", "PATCH", "DELETE"}
	}
	out := map[string]any{
		"id": e.ID, "path": e.Path, "target": e.Target, "headers": headers, "include_subpath": e.IncludeSubpath, "methods": methods,
		"cost_per_request": e.CostPerRequest, "auth": !e.NoAuth, "forward_headers": e.ForwardHeaders, "default_query_params": e.Query,
		"guardrails": e.Guardrails, "is_from_config": e.Owner == resource.OwnerFile,
	}
	if e.TimeoutMS > 0 {
		out["timeout"] = float64(e.TimeoutMS) / 1000
	}
	return out
}
