package models

import (
	"encoding/json"
	"errors"
	"net/http"
	"reflect"
	"slices"

	"github.com/conclave-llm/conclave/adminapi/client"
	"github.com/conclave-llm/conclave/adminapi/litellm/fields"
	"github.com/conclave-llm/conclave/adminapi/litellm/wire"
	"github.com/conclave-llm/conclave/adminapi/records"
	"github.com/conclave-llm/conclave/pricing"
	"github.com/conclave-llm/conclave/resource"
)

// modelNotFound is what LiteLLM's clients know an unknown deployment by: its status and the
// words "model not found".
func modelNotFound(status int, id string) error {
	return &client.Problem{
		Title: http.StatusText(status), Status: status, Code: "not_found",
		Detail: "model not found: there is none with the id " + id,
	}
}

// writable finds a deployment that the API may change.
func (a *api) writable(by records.Caller, id string, status int) (*resource.Deployment, error) {
	d, err := a.cfg.Records.Deployments.Writable(by, id)
	if errors.Is(err, resource.ErrNotFound) {
		return nil, modelNotFound(status, id)
	}
	return d, err
}

// modelUpdate changes a deployment, and with model_name which model it serves.
func (a *api) modelUpdate(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	in, err := wire.ReadBody(r)
	if err != nil {
		return err
	}
	var id, name string
	var blocked *bool
	params, info := records.Document{}, records.Document{}
	for field, v := range map[string]any{"id": &id, "model_name": &name, "litellm_params": &params, "model_info": &info, "blocked": &blocked} {
		if err := in.Take(field, v); err != nil {
			return err
		}
	}
	status := http.StatusBadRequest
	if inPath := r.PathValue("id"); inPath != "" {
		id, status = inPath, http.StatusNotFound
	}
	if id == "" {
		if err := json.Unmarshal(info["id"], &id); err != nil {
			return wire.Invalid("model_info.id", "is missing")
		}
	}
	d, err := a.writable(by, id, status)
	if err != nil {
		return err
	}
	delete(info, "id")
	a.dropShown(d, info)
	patch, err := updateDoc(d, params, info)
	if err != nil {
		return err
	}
	if blocked != nil {
		if err := patch.Set("blocked", *blocked); err != nil {
			return err
		}
	}
	return a.patchModel(w, r, by, d, name, patch)
}

// dropShown takes out of a model_info what is only what we show of the deployment, so that a client which sends back what
// it has read does not freeze what the list of prices knows today. Costs are one price, and go or stay together.
func (a *api) dropShown(d *resource.Deployment, info records.Document) {
	m, ok := a.cfg.State.Catalog().ModelByID(d.ModelID)
	if !ok {
		return
	}
	var own map[string]json.RawMessage
	if len(d.Metadata) > 0 {
		_ = json.Unmarshal(d.Metadata, &own) // Validate saw to it that it is an object
	}
	shown := a.infoOf(m, d)
	repeated := func(name string) bool {
		v, ok := shown[name]
		return ok && own[name] == nil && sameJSON(v, info[name])
	}
	_, costs, _ := pricing.CustomPrice(info) // what is wrong with them is said when they are taken
	if !slices.ContainsFunc(costs, func(name string) bool { return !repeated(name) }) {
		for _, name := range costs {
			delete(info, name)
		}
	}
	for name := range info {
		if repeated(name) && !slices.Contains(costs, name) {
			delete(info, name)
		}
	}
}

// sameJSON says that a value would be written as raw is, up to the way in which numbers are written.
func sameJSON(v any, raw json.RawMessage) bool {
	text, err := json.Marshal(v)
	if err != nil {
		return false
	}
	var x, y any
	return json.Unmarshal(text, &x) == nil && json.Unmarshal(raw, &y) == nil && reflect.DeepEqual(x, y)
}

// updateDoc makes a merge patch of a deployment.
func updateDoc(d *resource.Deployment, params, info records.Document) (records.Document, error) {
	if params["model"] == nil { // which names the provider, too
		provider := params["custom_llm_provider"]
		if err := params.Set("model", d.Provider+"/"+d.Upstream); err != nil {
			return nil, err
		}
		if provider == nil {
			if err := params.Set("custom_llm_provider", d.Provider); err != nil {
				return nil, err
			}
		}
	}
	return deploymentDoc(params, info)
}

// patchModel commits an update; a new name moves the deployment.
func (a *api) patchModel(w http.ResponseWriter, r *http.Request, by records.Caller, d *resource.Deployment, name string, patch records.Document) error {
	old, _ := a.cfg.State.Catalog().ModelByID(d.ModelID)
	if name != "" && name != old.Name {
		to, err := a.modelNamed(r, by, old, name)
		if err != nil {
			return err
		}
		if err := patch.Set("model_id", to.ID); err != nil {
			return err
		}
	}
	d, wr, err := a.cfg.Records.Deployments.Patch(r.Context(), by, d.ID, 0, patch)
	if err != nil {
		return err
	}
	if d.ModelID != old.ID && len(a.cfg.State.Catalog().Deployments(old.ID)) == 0 {
		if wr, err = a.cfg.Records.Models.Delete(r.Context(), by, old.ID); err != nil {
			return err
		}
	}
	m, _ := a.cfg.State.Catalog().ModelByID(d.ModelID)
	return wire.Answer(w, wr, a.modelRow(m, d, by))
}

// modelNamed finds the model with the name, renames the one that loses its only deployment,
// or makes one.
func (a *api) modelNamed(r *http.Request, by records.Caller, old *resource.Model, name string) (*resource.Model, error) {
	if m, ok := a.cfg.State.Catalog().Model(name); ok {
		return m, nil
	}
	doc := records.Document{}
	if err := doc.Set("name", name); err != nil {
		return nil, err
	}
	if len(a.cfg.State.Catalog().Deployments(old.ID)) == 1 {
		m, _, err := a.cfg.Records.Models.Patch(r.Context(), by, old.ID, 0, doc)
		return m, err
	}
	m, _, err := a.cfg.Records.Models.Create(r.Context(), by, doc)
	return m, err
}

// modelBlock takes a deployment out, or puts it back.
func (a *api) modelBlock(state client.BlockState) wire.Handler {
	return func(w http.ResponseWriter, r *http.Request, by records.Caller) error {
		in, err := wire.ReadBody(r)
		if err != nil {
			return err
		}
		id, err := fields.Text(in, "model_id")
		if err != nil {
			return err
		}
		d, err := a.writable(by, id, http.StatusNotFound)
		if err != nil {
			return err
		}
		patch := records.Document{}
		if err := patch.Set("blocked", state == client.Blocked); err != nil {
			return err
		}
		return a.patchModel(w, r, by, d, "", patch)
	}
}
