package litellm

import (
	"encoding/json"
	"net/http"

	"github.com/conclave-llm/conclave/adminapi/client"
	"github.com/conclave-llm/conclave/adminapi/litellm/fields"
	"github.com/conclave-llm/conclave/adminapi/litellm/wire"
	"github.com/conclave-llm/conclave/adminapi/records"
	"github.com/conclave-llm/conclave/resource"
)

func (a *API) customers() *kind[resource.Customer, *resource.Customer] {
	return &kind[resource.Customer, *resource.Customer]{
		noun: a.cfg.Records.Customers, id: "user_id", ids: "user_ids", row: a.customerRow, doc: customerDoc,
	}
}

func customerDoc(in records.Document, now *resource.Customer) (records.Document, error) {
	if err := fields.Refuse(in, []string{"spend"}); err != nil {
		return nil, err
	}
	var p *resource.Policy
	if now != nil {
		p = &now.Policy
	}
	out, err := fields.PolicyDoc(in, p)
	if err != nil {
		return nil, err
	}
	fields.Copy(in, out, map[string]string{"alias": "name", "default_model": "default_model", "allowed_model_region": "region"})
	return out, nil
}

func (a *API) customerRow(c *resource.Customer) map[string]any {
	row := map[string]any{
		"user_id": c.ID, "alias": orNil(c.Name), "blocked": c.Blocked, "default_model": orNil(c.DefaultModel),
		"allowed_model_region": orNil(c.Region),
	}
	a.policyRow(row, resource.HolderCustomer, c.ID, &c.Policy)
	row["litellm_budget_table"] = a.budgetTable(&c.Allowance)
	return row
}

func (a *API) customerInfo(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	ref := r.URL.Query().Get("end_user_id")
	if ref == "" {
		return wire.Invalid("end_user_id", "is missing")
	}
	c, err := a.cfg.Records.Customers.One(by, ref)
	if err != nil {
		return err
	}
	return wire.Answer(w, records.Written{}, a.customerRow(c))
}

// customerList lists all, or, if a page is asked for, that page.
func (a *API) customerList(w http.ResponseWriter, r *http.Request, _ records.Caller) error {
	q := r.URL.Query()
	all := every(a.cfg.Records.AllCustomers(records.Query{Q: q.Get("search")}))
	if q.Get("page") == "" && q.Get("page_size") == "" {
		return wire.Answer(w, records.Written{}, wire.Rows(all, a.customerRow))
	}
	page, err := wire.Paged(q, "customers", "page_size", 50, all, a.customerRow)
	if err != nil {
		return err
	}
	return wire.Answer(w, records.Written{}, page)
}

// customerBlock blocks or unblocks end users, all of them or none. Who has no record is not blocked: the answer
// to an unblocking names him, and it goes on, as LiteLLM's does.
func (a *API) customerBlock(state client.BlockState) wire.Handler {
	return func(w http.ResponseWriter, r *http.Request, by records.Caller) error {
		in, err := wire.ReadBody(r)
		if err != nil {
			return err
		}
		refs, err := fields.Refs(in, "user_ids")
		if err != nil {
			return err
		}
		done, unknown, wr, err := a.cfg.Records.BlockCustomers(r.Context(), by, state, refs...)
		if err != nil {
			return err
		}
		out := map[string]any{"blocked_users": wire.Rows(done, a.customerRow)}
		if state == client.Unblocked {
			out["not_found"] = orEmpty(unknown)
		}
		return wire.Answer(w, wr, out)
	}
}

func (a *API) tags() *kind[resource.Tag, *resource.Tag] {
	return &kind[resource.Tag, *resource.Tag]{
		noun: a.cfg.Records.Tags, id: "name", ids: "name", row: a.tagRow,
		doc: func(in records.Document, now *resource.Tag) (records.Document, error) {
			if err := a.refuseDeployments(in); err != nil {
				return nil, err
			}
			var p *resource.Policy
			if now != nil {
				p = &now.Policy
			}
			out, err := fields.PolicyDoc(in, p)
			if err != nil {
				return nil, err
			}
			fields.Copy(in, out, map[string]string{"description": "description"})
			return out, nil
		},
	}
}

// refuseDeployments refuses ids of deployments in the models of a tag, where LiteLLM has
// them: here a tag's models are names.
func (a *API) refuseDeployments(in records.Document) error {
	var models []string
	if raw, ok := in["models"]; !ok || json.Unmarshal(raw, &models) != nil {
		return nil
	}
	for _, m := range models {
		if _, ok := a.cfg.State.Catalog().Deployment(m); ok {
			return wire.Invalid("models", m+" is a deployment; give names of models")
		}
	}
	return nil
}

func (a *API) tagRow(t *resource.Tag) map[string]any {
	row := map[string]any{"name": t.ID, "description": orNil(t.Description)}
	wire.Stamps(row, &t.Meta)
	a.policyRow(row, resource.HolderTag, t.ID, &t.Policy)
	row["litellm_budget_table"] = a.budgetTable(&t.Allowance)
	return row
}

func (a *API) tagInfo(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	in, err := wire.ReadBody(r)
	if err != nil {
		return err
	}
	names, err := fields.Refs(in, "names")
	if err != nil {
		return err
	}
	out := map[string]any{}
	for _, name := range names {
		t, err := a.cfg.Records.Tags.One(by, name)
		if err != nil {
			return err
		}
		out[name] = a.tagRow(t)
	}
	return wire.Answer(w, records.Written{}, out)
}

func (a *API) tagList(w http.ResponseWriter, _ *http.Request, _ records.Caller) error {
	return wire.Answer(w, records.Written{}, wire.Rows(a.cfg.State.Catalog().Tables().Tags, a.tagRow))
}
