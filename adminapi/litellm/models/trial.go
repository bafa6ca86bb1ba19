package models

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/conclave-llm/conclave/adminapi/litellm/wire"
	"github.com/conclave-llm/conclave/adminapi/records"
	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/resource"
)

// TrialID is the id of a deployment that is tried before it is stored, and the name of its model, as the
// record of the request has them.
const TrialID = "test_connection"

// Tried is what came of a trial of a deployment.
type Tried struct {
	URL    string          // that was asked, without secrets; "": nothing was sent
	Header http.Header     // without secrets
	Body   json.RawMessage // that was sent
	Err    error           // why it is no success; nil: it answered
}

// Trier asks a deployment, which need not be stored, the question of a health check, as a request of the
// team resource.SystemTeamID.
type Trier func(ctx context.Context, d *resource.Deployment) Tried

// trialModes are the modes of model_info that health checks can ask.
var trialModes = []string{"", "chat", "completion", "embedding", "responses"}

// trialParams and trialInfo are the fields with which somebody who is no administrator may try a deployment:
// none has the gateway use a secret of its own, or dial an address that he names.
var (
	trialParams = []string{"api_key", "custom_llm_provider", "model"}
	trialInfo   = []string{"mode", "team_id"}
)

// testConnection answers /health/test_connection: it tries the deployment that the parameters describe, or,
// where model_info.id names a stored one, that one with the parameters merged into it. Nothing is stored.
func (a *api) testConnection(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	in, err := wire.ReadBody(r)
	if err != nil {
		return err
	}
	var mode, ref string
	params, info := records.Document{}, records.Document{}
	for field, v := range map[string]any{"mode": &mode, "litellm_params": &params, "model_info": &info} {
		if err := in.Take(field, v); err != nil {
			return err
		}
	}
	if by.OwnOnly {
		if err := a.mayTry(by, params, info); err != nil {
			return err
		}
	}
	if err := takeMode(mode, info); err != nil {
		return err
	}
	if err := info.Take("id", &ref); err != nil {
		return records.Within("model_info", err)
	}
	d, err := a.trial(by, ref, params, info)
	if err != nil {
		return err
	}
	if by.OwnOnly {
		d.Price = &resource.Price{} // he pays the provider himself, and takes no budget from the checks of others
	}
	if a.cfg.Try == nil {
		return &llm.Error{Kind: llm.Unavailable, Message: "This node asks no providers."}
	}
	return wire.Answer(w, records.Written{}, triedRow(d, a.cfg.Try(r.Context(), d)))
}

// mayTry refuses, of somebody who is no administrator, whatever is not among his fields, references to
// secrets, and a team that he does not lead.
func (a *api) mayTry(by records.Caller, params, info records.Document) error {
	for _, of := range []struct {
		name string
		doc  records.Document
		may  []string
	}{{"litellm_params", params, trialParams}, {"model_info", info, trialInfo}} {
		for _, name := range slices.Sorted(maps.Keys(of.doc)) {
			if !slices.Contains(of.may, name) {
				return fmt.Errorf("%s.%s is an administrator's to try: %w", of.name, name, resource.ErrForbidden)
			}
		}
	}
	var key, team string
	if json.Unmarshal(params["api_key"], &key) != nil || key == "" { // the gateway's own credentials are not his
		return wire.Invalid("litellm_params.api_key", "is missing, or no text")
	}
	if _, variable := resource.VariableName(key); variable || strings.Contains(key, "://") {
		return fmt.Errorf("litellm_params.api_key is a reference to a secret, an administrator's to try: %w", resource.ErrForbidden)
	}
	if err := info.Take("team_id", &team); err != nil {
		return records.Within("model_info", err)
	}
	if team == "" {
		return nil
	}
	t, err := a.cfg.Records.Teams.One(by, team)
	if err == nil && !by.Leads(t) {
		err = fmt.Errorf("model_info.team_id: %w", resource.ErrForbidden)
	}
	return err
}

// takeMode puts the mode into model_info, where health checks look for it.
func takeMode(mode string, info records.Document) error {
	field := "mode"
	if mode == "" {
		field = "model_info.mode"
		if raw, ok := info["mode"]; ok && !records.IsNull(raw) && json.Unmarshal(raw, &mode) != nil {
			return wire.Invalid(field, "is no text")
		}
	}
	if !slices.Contains(trialModes, mode) {
		return wire.Invalid(field, fmt.Sprintf("%.60q cannot be tried, only %s can", mode, strings.Join(trialModes[1:], ", ")))
	}
	if mode == "" {
		return nil
	}
	return info.Set("mode", mode)
}

// trial makes the deployment that is tried, with the model that it is asked for.
func (a *api) trial(by records.Caller, ref string, params, info records.Document) (*resource.Deployment, error) {
	var doc records.Document
	var err error
	if ref == "" {
		if err = info.Set("id", TrialID); err == nil {
			doc, err = deploymentDoc(params, info)
		}
	} else {
		var stored *resource.Deployment
		if stored, err = a.cfg.Records.Deployments.One(by, ref); err != nil {
			return nil, modelNotFound(http.StatusBadRequest, ref)
		}
		doc, err = updateDoc(stored, params, info)
	}
	if err != nil {
		return nil, err
	}
	d, err := a.cfg.Records.DraftDeployment(by, ref, TrialID, doc)
	if err != nil {
		return nil, err
	}
	if d.PluginName() != "" {
		return nil, wire.Invalid("litellm_params.model", "is a plugin's, whose processes are started for stored deployments only")
	}
	return d, askedFor(d, a.cfg.State.Catalog())
}

// askedFor says which model a deployment is asked for that names none for health checks.
func askedFor(d *resource.Deployment, cat *resource.Catalog) error {
	if d.HealthCheckModel != "" {
		return nil
	}
	name := d.Upstream
	if m, ok := cat.ModelByID(d.ModelID); name == "" && ok {
		name = m.Name
	}
	d.HealthCheckModel = d.Provider + "/" + name
	if name == "" || strings.Contains(name, "*") || d.Validate() != nil {
		return wire.Invalid("litellm_params.model", fmt.Sprintf("%.60q is not the name of one model; give it as model_info.health_check_model", name))
	}
	return nil
}

// triedRow is LiteLLM's answer.
func triedRow(d *resource.Deployment, t Tried) map[string]any {
	result := map[string]any{"model": d.HealthCheckModel, "error": nil}
	if t.URL != "" {
		result["raw_request_typed_dict"] = map[string]any{
			"raw_request_api_base": t.URL, "raw_request_body": t.Body, "raw_request_headers": headersRow(t.Header), "error": nil,
		}
	}
	if t.Err == nil {
		return map[string]any{"status": "success", "result": result}
	}
	result["error"] = t.Err.Error()
	return map[string]any{"status": "error", "result": result}
}

// headersRow writes one value for each header.
func headersRow(h http.Header) map[string]string {
	out := map[string]string{}
	for name := range h {
		out[name] = h.Get(name)
	}
	return out
}
