package adminapi

import (
	"encoding/json"
	"errors"
	"maps"
	"math/big"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/resource"
)

// prices pairs LiteLLM's dollars a token with our dollars a million tokens.
var prices = map[string]string{
	"input_cost_per_token": "input", "output_cost_per_token": "output",
	"cache_read_input_token_cost": "cache_read", "cache_creation_input_token_cost": "cache_write",
	"output_cost_per_reasoning_token": "reasoning",
}

// renamedParams are fields of litellm_params that only have another name.
var renamedParams = map[string]string{ //nolint:gosec // names of fields, no secrets
	"api_base": "api_base", "api_key": "api_key", "litellm_credential_name": "credential_id",
	"weight": "weight", "order": "order",
}

// errPrice says that a text is no price.
var errPrice = errors.New("not a price")

func (s *Server) modelNew(w http.ResponseWriter, r *http.Request) error {
	in, err := readBody(r)
	if err != nil {
		return err
	}
	var name string
	var params, info document
	for field, v := range map[string]any{"model_name": &name, "litellm_params": &params, "model_info": &info} {
		if err := in.take(field, v); err != nil {
			return err
		}
	}
	if name == "" {
		return invalid("model_name", "is missing")
	}
	dep, err := deploymentDoc(params, info)
	if err != nil {
		return err
	}
	if m, ok := s.cfg.State.Catalog().Model(name); ok {
		if err := dep.set("model_id", m.ID); err != nil {
			return err
		}
		d, wr, err := s.deployments.create(r.Context(), dep)
		if err != nil {
			return err
		}
		return s.answer(w, wr, s.modelRow(m, d))
	}
	doc := document{}
	if err := doc.set("name", name); err != nil {
		return err
	}
	if err := doc.set("deployments", []document{dep}); err != nil {
		return err
	}
	m, wr, err := s.models.create(r.Context(), doc)
	if err != nil {
		return err
	}
	for _, d := range s.cfg.State.Catalog().Deployments(m.ID) {
		return s.answer(w, wr, s.modelRow(m, d))
	}
	return s.answer(w, wr, map[string]any{"model_name": m.Name})
}

// modelDelete deletes a deployment, and its model with the last one.
func (s *Server) modelDelete(w http.ResponseWriter, r *http.Request) error {
	in, err := readBody(r)
	if err != nil {
		return err
	}
	var id string
	if err := in.take("id", &id); err != nil {
		return err
	}
	d, err := s.deployments.writable(r.Context(), id)
	if err != nil {
		return err
	}
	var cmd fsm.Command = fsm.DeleteDeployment{ID: d.ID}
	m, ok := s.findModel(d.ModelID)
	if ok && m.Owner == resource.OwnerAPI && len(s.cfg.State.Catalog().Deployments(m.ID)) == 1 {
		cmd = fsm.DeleteModel{ID: m.ID}
	}
	wr, err := s.write.confirmed(r.Context(), cmd)
	if err != nil {
		return err
	}
	return s.answer(w, wr, map[string]any{"message": "Model: " + d.ID + " deleted successfully"})
}

func (s *Server) modelInfo(w http.ResponseWriter, r *http.Request) error {
	only := r.URL.Query().Get("litellm_model_id")
	data := []map[string]any{}
	cat := s.cfg.State.Catalog()
	for _, m := range cat.Tables().Models {
		for _, d := range cat.Deployments(m.ID) {
			if only == "" || only == d.ID {
				data = append(data, s.modelRow(m, d))
			}
		}
	}
	return s.answer(w, Written{}, map[string]any{"data": data})
}

// deploymentDoc turns litellm_params and model_info into the document of a deployment.
func deploymentDoc(params, info document) (document, error) {
	out := document{}
	provider, upstream, err := upstreamOf(params)
	if err != nil {
		return nil, err
	}
	for name, v := range map[string]any{"provider": provider, "model": upstream} {
		if err := out.set(name, v); err != nil {
			return nil, err
		}
	}
	for theirs, ours := range renamedParams {
		if v, ok := params[theirs]; ok && !isNull(v) {
			out[ours] = v
			delete(params, theirs)
		}
	}
	if strings.HasPrefix(string(out["api_key"]), `"os.environ/`) {
		return nil, invalid("litellm_params.api_key", "give the secret itself; a node's environment is not read for a request")
	}
	for _, move := range []func(params, out document) error{moveLimits, movePrice, moveTimeout} {
		if err := move(params, out); err != nil {
			return nil, within("litellm_params", err)
		}
	}
	if err := refuseUnsupported(params, slices.Sorted(maps.Keys(params))); err != nil {
		return nil, within("litellm_params", err)
	}
	return out, moveInfo(info, out)
}

// upstreamOf splits "openai/gpt-4o" into the provider and the model's name there.
func upstreamOf(params document) (provider, model string, err error) {
	if err := params.take("model", &model); err != nil {
		return "", "", within("litellm_params", err)
	}
	if err := params.take("custom_llm_provider", &provider); err != nil {
		return "", "", within("litellm_params", err)
	}
	if provider != "" {
		return provider, strings.TrimPrefix(model, provider+"/"), nil
	}
	provider, model, ok := strings.Cut(model, "/")
	if !ok {
		return "", "", invalid("litellm_params.model", "does not name the provider; write it as openai/gpt-4o")
	}
	return provider, model, nil
}

func moveLimits(params, out document) error {
	limits := document{}
	for theirs, ours := range map[string]string{"rpm": "rpm", "tpm": "tpm", "max_parallel_requests": "parallel"} {
		if v, ok := params[theirs]; ok && !isNull(v) {
			limits[ours] = v
		}
		delete(params, theirs)
	}
	if len(limits) == 0 {
		return nil
	}
	return out.set("limits", limits)
}

func movePrice(params, out document) error {
	price := document{}
	for theirs, ours := range prices {
		perToken := params[theirs]
		delete(params, theirs)
		if len(perToken) == 0 || isNull(perToken) {
			continue
		}
		usd, err := perMillion(string(perToken))
		if err != nil {
			return invalid(theirs, "is not a number of dollars a token")
		}
		price[ours] = json.RawMessage(usd)
	}
	if len(price) == 0 {
		return nil
	}
	for _, name := range []string{"input", "output"} {
		if price[name] == nil {
			price[name] = json.RawMessage("0")
		}
	}
	return out.set("price", price)
}

// perMillion turns a price a token into one a million tokens, exactly to nine decimals.
func perMillion(perToken string) (string, error) {
	mantissa, exponent, _ := strings.Cut(strings.ToLower(perToken), "e")
	e := 0
	if exponent != "" {
		var err error
		if e, err = strconv.Atoi(exponent); err != nil || e < -30 || e > 30 { // before it is worked out
			return "", errPrice
		}
	}
	r, ok := new(big.Rat).SetString(mantissa)
	if !ok || len(mantissa) > 40 || strings.ContainsAny(mantissa, "/_xp") {
		return "", errPrice
	}
	e += 6
	scale := new(big.Rat).SetInt(new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(max(e, -e))), nil))
	if e < 0 {
		scale.Inv(scale)
	}
	return r.Mul(r, scale).FloatString(9), nil
}

func moveTimeout(params, out document) error {
	var seconds float64
	if err := params.take("timeout", &seconds); err != nil || seconds == 0 {
		return err
	}
	return out.set("timeout_ms", int64(seconds*1000))
}

// moveInfo keeps model_info as metadata; its id becomes the deployment's.
func moveInfo(info, out document) error {
	if raw, ok := info["id"]; ok && !isNull(raw) {
		out["id"] = raw
	}
	delete(info, "id")
	if len(info) == 0 {
		return nil
	}
	return out.set("metadata", info)
}

// modelRow writes a deployment as LiteLLM's row.
func (s *Server) modelRow(m *resource.Model, d *resource.Deployment) map[string]any {
	upstream := d.Upstream
	if upstream == "" {
		upstream = m.Name
	}
	params := map[string]any{"model": d.Provider + "/" + upstream}
	for name, v := range map[string]string{"api_base": d.APIBase, "litellm_credential_name": d.CredentialID} {
		if v != "" {
			params[name] = v
		}
	}
	for name, v := range map[string]*int64{"rpm": d.Limits.RPM, "tpm": d.Limits.TPM, "weight": d.Weight} {
		if v != nil {
			params[name] = *v
		}
	}
	info := map[string]any{}
	if len(d.Metadata) > 0 {
		_ = json.Unmarshal(d.Metadata, &info) // Validate saw to it that it is an object
	}
	info["id"], info["db_model"], info["litellm_provider"] = d.ID, d.Owner == resource.OwnerAPI, d.Provider
	if p := d.Price; p != nil {
		info["input_cost_per_token"], info["output_cost_per_token"] = perToken(p.Input), perToken(p.Output)
	}
	return map[string]any{"model_name": m.Name, "model_id": d.ID, "litellm_params": params, "model_info": info}
}

// perToken gives a price a million tokens as a price a token.
func perToken(m resource.Money) json.Number {
	text := big.NewRat(int64(m), int64(resource.Dollar)*1_000_000).FloatString(15)
	return json.Number(strings.TrimRight(strings.TrimRight(text, "0"), "."))
}
