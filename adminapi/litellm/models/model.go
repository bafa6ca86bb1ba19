package models

import (
	"cmp"
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/conclave-llm/conclave/adminapi/litellm/fields"
	"github.com/conclave-llm/conclave/adminapi/litellm/wire"
	"github.com/conclave-llm/conclave/adminapi/records"
	"github.com/conclave-llm/conclave/pricing"
	"github.com/conclave-llm/conclave/provider"
	"github.com/conclave-llm/conclave/resource"
)

// renamedParams are fields of litellm_params that only have another name.
var renamedParams = map[string]string{ //nolint:gosec // names of fields, no secrets
	"api_base": "api_base", "api_key": "api_key", "litellm_credential_name": "credential_id",
	"weight": "weight", "order": "order",
}

func (a *api) modelNew(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	in, err := wire.ReadBody(r)
	if err != nil {
		return err
	}
	var name string
	var params, info records.Document
	for field, v := range map[string]any{"model_name": &name, "litellm_params": &params, "model_info": &info} {
		if err := in.Take(field, v); err != nil {
			return err
		}
	}
	if name == "" {
		return wire.Invalid("model_name", "is missing")
	}
	dep, err := deploymentDoc(params, info)
	if err != nil {
		return err
	}
	if m, ok := a.cfg.State.Catalog().Model(name); ok {
		if err := dep.Set("model_id", m.ID); err != nil {
			return err
		}
		d, wr, err := a.cfg.Records.Deployments.Create(r.Context(), by, dep)
		if err != nil {
			return err
		}
		return wire.Answer(w, wr, a.modelRow(m, d, by))
	}
	doc := records.Document{}
	if err := doc.Set("name", name); err != nil {
		return err
	}
	if err := doc.Set("deployments", []records.Document{dep}); err != nil {
		return err
	}
	m, wr, err := a.cfg.Records.Models.Create(r.Context(), by, doc)
	if err != nil {
		return err
	}
	for _, d := range a.cfg.State.Catalog().Deployments(m.ID) {
		return wire.Answer(w, wr, a.modelRow(m, d, by))
	}
	return wire.Answer(w, wr, map[string]any{"model_name": m.Name})
}

// modelDelete deletes a deployment, and its model with the last one.
func (a *api) modelDelete(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	in, err := wire.ReadBody(r)
	if err != nil {
		return err
	}
	var id string
	if err := in.Take("id", &id); err != nil {
		return err
	}
	d, err := a.writable(by, id, http.StatusBadRequest)
	if err != nil {
		return err
	}
	wr, err := a.deleteDeployment(r.Context(), by, d)
	if err != nil {
		return err
	}
	return wire.Answer(w, wr, map[string]any{"message": "Model: " + d.ID + " deleted successfully"})
}

// deleteDeployment deletes a deployment, or the model whose last one it is.
func (a *api) deleteDeployment(ctx context.Context, by records.Caller, d *resource.Deployment) (records.Written, error) {
	m, ok := a.cfg.State.Catalog().ModelByID(d.ModelID)
	if ok && m.Owner == resource.OwnerAPI && len(a.cfg.State.Catalog().Deployments(m.ID)) == 1 {
		return a.cfg.Records.Models.Delete(ctx, by, m.ID)
	}
	return a.cfg.Records.Deployments.Delete(ctx, by, d.ID)
}

func (a *api) modelInfo(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	only := r.URL.Query().Get("litellm_model_id")
	data := []map[string]any{}
	cat := a.cfg.State.Catalog()
	for _, m := range a.seen(cat, by) {
		for _, d := range cat.Deployments(m.ID) {
			if only == "" || only == d.ID {
				data = append(data, a.modelRow(m, d, by))
			}
		}
	}
	if only != "" && len(data) == 0 {
		return modelNotFound(http.StatusBadRequest, only)
	}
	return wire.Answer(w, records.Written{}, map[string]any{"data": data})
}

// deploymentDoc turns litellm_params and model_info into the document of a deployment.
func deploymentDoc(params, info records.Document) (records.Document, error) {
	out := records.Document{}
	provider, upstream, err := upstreamOf(params)
	if err != nil {
		return nil, err
	}
	for name, v := range map[string]any{"provider": provider, "model": upstream} {
		if err := out.Set(name, v); err != nil {
			return nil, err
		}
	}
	for theirs, ours := range renamedParams {
		if v, ok := params[theirs]; ok && !records.IsNull(v) {
			out[ours] = v
			delete(params, theirs)
		}
	}
	if strings.HasPrefix(string(out["api_key"]), `"os.environ/`) {
		return nil, wire.Invalid("litellm_params.api_key", "give the secret itself; a node's environment is not read for a request")
	}
	for _, move := range []func(params, out records.Document) error{moveLimits, movePrice, moveTimeout, moveTemplate, moveAccount} {
		if err := move(params, out); err != nil {
			return nil, records.Within("litellm_params", err)
		}
	}
	if err := fields.Refuse(params, slices.Sorted(maps.Keys(params))); err != nil {
		return nil, records.Within("litellm_params", err)
	}
	if out["price"] == nil {
		if err := movePrice(info, out); err != nil {
			return nil, records.Within("model_info", err)
		}
	}
	return out, moveInfo(info, out)
}

// upstreamOf splits "openai/gpt-4o" into the provider and the model's name there.
func upstreamOf(params records.Document) (provider, model string, err error) {
	if err := params.Take("model", &model); err != nil {
		return "", "", records.Within("litellm_params", err)
	}
	if err := params.Take("custom_llm_provider", &provider); err != nil {
		return "", "", records.Within("litellm_params", err)
	}
	if provider != "" {
		return provider, strings.TrimPrefix(model, provider+"/"), nil
	}
	provider, model, ok := strings.Cut(model, "/")
	if !ok {
		return "", "", wire.Invalid("litellm_params.model", "does not name the provider; write it as openai/gpt-4o")
	}
	return provider, model, nil
}

func moveLimits(params, out records.Document) error {
	limits := records.Document{}
	for theirs, ours := range map[string]string{"rpm": "rpm", "tpm": "tpm", "max_parallel_requests": "parallel"} {
		if v, ok := params[theirs]; ok && !records.IsNull(v) {
			limits[ours] = v
		}
		delete(params, theirs)
	}
	if len(limits) == 0 {
		return nil
	}
	return out.Set("limits", limits)
}

// movePrice takes all prices that LiteLLM calls custom ones. What is left of them is refused
// later, for a price that is ignored is a bill that is wrong.
func movePrice(params, out records.Document) error {
	p, used, err := pricing.CustomPrice(params)
	for _, name := range used {
		delete(params, name)
	}
	if err != nil || p == nil {
		return err
	}
	return out.Set("price", p)
}

func moveTimeout(params, out records.Document) error {
	for theirs, ours := range timeouts {
		var seconds float64
		if err := params.Take(theirs, &seconds); err != nil {
			return err
		}
		if seconds == 0 {
			continue
		}
		for _, name := range ours {
			if err := out.Set(name, int64(seconds*1000)); err != nil {
				return err
			}
		}
	}
	return nil
}

// timeouts are our timers by LiteLLM's: its stream_timeout bounds each read of a stream.
var timeouts = map[string][]string{
	"timeout":        {"timeout_ms"},
	"stream_timeout": {"first_token_timeout_ms", "between_chunks_timeout_ms"},
}

// healthFields are the parts of model_info that a deployment has by the same names.
var healthFields = []string{"health_check_model", "health_check_max_tokens"}

// moveInfo keeps model_info as metadata; its id becomes the deployment's.
func moveInfo(info, out records.Document) error {
	if raw, ok := info["id"]; ok && !records.IsNull(raw) {
		out["id"] = raw
	}
	delete(info, "id")
	for _, name := range healthFields {
		if raw, ok := info[name]; ok {
			out[name] = raw
			delete(info, name)
		}
	}
	if len(info) == 0 {
		return nil
	}
	return out.Set("metadata", info)
}

// seen lists the models that the caller may see: who may not see all sees those that his key may use.
func (a *api) seen(cat *resource.Catalog, by records.Caller) []*resource.Model {
	all := cat.Tables().Models
	if !by.OwnOnly {
		return all
	}
	levels := by.Who.Levels(nil)
	return slices.DeleteFunc(slices.Clone(all), func(m *resource.Model) bool { return !cat.LevelsAllow(levels, m) })
}

// modelRow writes a deployment as LiteLLM's row. Who may not see all is not told where and as whom its provider is
// asked.
func (a *api) modelRow(m *resource.Model, d *resource.Deployment, by records.Caller) map[string]any {
	upstream := cmp.Or(d.Upstream, m.Name)
	params := map[string]any{"model": d.Provider + "/" + upstream, "custom_llm_provider": d.Provider}
	for name, v := range map[string]*int64{"rpm": d.Limits.RPM, "tpm": d.Limits.TPM, "weight": d.Weight} {
		if v != nil {
			params[name] = *v
		}
	}
	if !by.OwnOnly {
		for name, v := range map[string]string{"api_base": d.APIBase, "litellm_credential_name": d.CredentialID} {
			if v != "" {
				params[name] = v
			}
		}
		showAccount(params, d.Options, d.Secrets)
		showTemplate(params, d.PromptTemplate)
	}
	info := a.infoOf(m, d)
	if d.HealthCheckModel != "" {
		info["health_check_model"] = d.HealthCheckModel
	}
	if d.HealthCheckMaxTokens > 0 {
		info["health_check_max_tokens"] = d.HealthCheckMaxTokens
	}
	row := map[string]any{
		"model_name": m.Name, "model_id": d.ID, "litellm_params": params, "model_info": info, "blocked": d.Blocked,
	}
	wire.Stamps(row, &d.Meta)
	return row
}

// infoOf is the model_info of a deployment: what is known of its model, and its own metadata.
func (a *api) infoOf(m *resource.Model, d *resource.Deployment) map[string]any {
	upstream := cmp.Or(d.Upstream, m.Name)
	known, _ := a.cfg.Book().Of(d, m.Name)
	info := map[string]any{}
	if len(d.Metadata) > 0 {
		_ = json.Unmarshal(d.Metadata, &info) // Validate saw to it that it is an object
	}
	maps.Copy(info, pricing.ModelInfo(d, upstream, known))
	if p, ok := provider.Lookup(d.Provider); ok {
		info["supported_openai_params"] = p.For(upstream).Params(upstream)
	}
	info["id"], info["db_model"] = d.ID, d.Owner == resource.OwnerAPI
	return info
}
