// Package guardrails is LiteLLM's management paths of guardrails: /guardrails, and /apply_guardrail, which
// asks one about a text.
package guardrails

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/conclave-llm/conclave/adminapi/client"
	"github.com/conclave-llm/conclave/adminapi/litellm/fields"
	"github.com/conclave-llm/conclave/adminapi/litellm/wire"
	"github.com/conclave-llm/conclave/adminapi/records"
	"github.com/conclave-llm/conclave/config/litellm/guardrails"
	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/resource"
)

// Runner asks the guardrails of this node.
type Runner interface {
	Try(ctx context.Context, name string, t client.GuardrailTry) (client.GuardrailTried, error)
}

type api struct {
	rs     *records.Records
	runner Runner // nil: none runs here
}

// Routes lists the paths; runner may be nil.
func Routes(rs *records.Records, runner Runner) []wire.Route {
	a := &api{rs, runner}
	return []wire.Route{
		{ID: "litellm-guardrails-list", Method: http.MethodGet, Pattern: "/guardrails/list", Handler: a.list},
		{ID: "litellm-v2-guardrails-list", Method: http.MethodGet, Pattern: "/v2/guardrails/list", Handler: a.list},
		{ID: "litellm-guardrail-new", Method: http.MethodPost, Pattern: "/guardrails", Handler: a.create},
		{ID: "litellm-guardrail-get", Method: http.MethodGet, Pattern: "/guardrails/{id}", Handler: a.one},
		{ID: "litellm-guardrail-info", Method: http.MethodGet, Pattern: "/guardrails/{id}/info", Handler: a.one},
		{ID: "litellm-guardrail-put", Method: http.MethodPut, Pattern: "/guardrails/{id}", Handler: a.replace},
		{ID: "litellm-guardrail-patch", Method: http.MethodPatch, Pattern: "/guardrails/{id}", Handler: a.patch},
		{ID: "litellm-guardrail-delete", Method: http.MethodDelete, Pattern: "/guardrails/{id}", Handler: a.remove},
		{ID: "litellm-guardrail-apply", Method: http.MethodPost, Pattern: "/guardrails/apply_guardrail", Handler: a.apply},
		{ID: "litellm-apply-guardrail", Method: http.MethodPost, Pattern: "/apply_guardrail", Handler: a.apply},
	}
}

func (a *api) list(w http.ResponseWriter, _ *http.Request, by records.Caller) error {
	return wire.Answer(w, records.Written{}, map[string]any{"guardrails": wire.Rows(a.rs.Guardrails.Visible(by, records.Query{}), row)})
}

func (a *api) one(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	g, err := a.rs.Guardrails.One(by, r.PathValue("id"))
	if err != nil {
		return err
	}
	return wire.Answer(w, records.Written{}, row(g))
}

func (a *api) create(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	doc, _, err := read(r)
	if err != nil {
		return err
	}
	if err := unmask(&resource.Guardrail{}, doc); err != nil {
		return err
	}
	g, wr, err := a.rs.Guardrails.Create(r.Context(), by, doc)
	if err != nil {
		return err
	}
	return wire.Answer(w, wr, row(g))
}

func (a *api) replace(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	doc, _, err := read(r)
	if err != nil {
		return err
	}
	now, err := a.rs.Guardrails.Writable(by, r.PathValue("id"))
	if err != nil {
		return err
	}
	if err := unmask(now, doc); err != nil {
		return err
	}
	g, wr, err := a.rs.Guardrails.Replace(r.Context(), by, now.ID, now.Version, doc)
	if err != nil {
		return err
	}
	return wire.Answer(w, wr, row(g))
}

func (a *api) patch(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	doc, added, err := read(r)
	if err != nil {
		return err
	}
	now, err := a.rs.Guardrails.Writable(by, r.PathValue("id"))
	if err != nil {
		return err
	}
	if err := reconcile(now, doc, added); err != nil {
		return err
	}
	g, wr, err := a.rs.Guardrails.Patch(r.Context(), by, now.ID, now.Version, doc)
	if err != nil {
		return err
	}
	return wire.Answer(w, wr, row(g))
}

// reconcile makes a patch mean what LiteLLM's does, for a guardrail whose secrets are stored apart. added
// are the secrets that it refers to although its client has not named them.
func reconcile(now *resource.Guardrail, patch records.Document, added []string) error {
	return errors.Join(unmask(now, patch), settled(now, patch, added), moved(now, patch), referred(now, patch))
}

// settled has a patch leave secrets alone that its client has not named, unless the plugin is another one.
func settled(now *resource.Guardrail, patch records.Document, added []string) error {
	var plugin string
	var config, had map[string]any
	if len(added) == 0 || json.Unmarshal(patch["plugin"], &plugin) != nil || plugin != now.Plugin {
		return nil
	}
	if err := json.Unmarshal(patch["config"], &config); err != nil {
		return err
	}
	if len(now.Config) > 0 {
		_ = json.Unmarshal(now.Config, &had) // it was checked when it was saved
	}
	for _, name := range added {
		if now.Secrets[name] != nil || had[name] != nil {
			delete(config, name)
		}
	}
	return patch.Set("config", config)
}

// moved has the patch of a guardrail that becomes another plugin's take out what was configured of the
// one before, to which it would only add.
func moved(now *resource.Guardrail, patch records.Document) error {
	var plugin string
	if len(patch["plugin"]) == 0 {
		return nil
	}
	if err := json.Unmarshal(patch["plugin"], &plugin); err != nil || plugin == now.Plugin {
		return err
	}
	had, has := map[string]any{}, map[string]any{}
	if len(now.Config) > 0 {
		_ = json.Unmarshal(now.Config, &had) // it was checked when it was saved
	}
	if err := json.Unmarshal(patch["config"], &has); err != nil {
		return err
	}
	without(had, has)
	if err := patch.Set("config", has); err != nil || len(now.Secrets) == 0 {
		return err
	}
	next, err := secretsOf(patch)
	if err != nil {
		return err
	}
	for name := range now.Secrets {
		if _, given := next[name]; !given {
			next[name] = nil
		}
	}
	return patch.Set("secrets", next)
}

// referred has the patch take out a secret in whose place it gives a reference.
func referred(now *resource.Guardrail, patch records.Document) error {
	config := map[string]any{}
	if len(now.Secrets) == 0 || len(patch["config"]) == 0 {
		return nil
	}
	if err := json.Unmarshal(patch["config"], &config); err != nil {
		return err
	}
	next, err := secretsOf(patch)
	if err != nil {
		return err
	}
	for name := range now.Secrets {
		if v, given := config[name]; given && v != nil {
			next[name] = nil
		}
	}
	if len(next) == 0 {
		return nil
	}
	return patch.Set("secrets", next)
}

// masked is what is shown of a secret. Sent back it says that the stored one stays.
const masked = "****"

// unmask puts what is stored in the place of what was shown of it.
func unmask(now *resource.Guardrail, doc records.Document) error {
	secrets, err := secretsOf(doc)
	if err != nil || len(secrets) == 0 {
		return err
	}
	var config map[string]any
	if len(now.Config) > 0 {
		_ = json.Unmarshal(now.Config, &config) // it was checked when it was saved
	}
	for name, v := range secrets {
		if v != masked {
			continue
		}
		plain, _ := config[name].(string)
		switch {
		case now.Secrets[name] != nil:
			secrets[name] = now.Secrets[name]
		case plain != "" && !refers(plain):
			secrets[name] = plain
		default:
			return wire.Invalid("litellm_params."+name, masked+" is what is shown of a secret, and none is stored; give the secret itself")
		}
	}
	return doc.Set("secrets", secrets)
}

// secretsOf are the secrets of a document, by name.
func secretsOf(doc records.Document) (map[string]any, error) {
	secrets := map[string]any{}
	if len(doc["secrets"]) == 0 {
		return secrets, nil
	}
	err := json.Unmarshal(doc["secrets"], &secrets)
	return secrets, err
}

// without makes has a merge patch that leaves nothing of had.
func without(had, has map[string]any) {
	for name, v := range had {
		next, ok := has[name]
		if !ok {
			has[name] = nil
			continue
		}
		inner, was := v.(map[string]any)
		if into, is := next.(map[string]any); was && is {
			without(inner, into)
		}
	}
}

func (a *api) remove(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	g, err := a.rs.Guardrails.Writable(by, r.PathValue("id"))
	if err != nil {
		return err
	}
	wr, err := a.rs.Guardrails.Delete(r.Context(), by, g.ID)
	if err != nil {
		return err
	}
	return wire.Answer(w, wr, row(g))
}

// read reads a guardrail in LiteLLM's words, which may stand in the member "guardrail". added are the
// secrets that its kind usually refers to and that the body does not name.
func read(r *http.Request) (doc records.Document, added []string, err error) {
	in, err := wire.ReadBody(r)
	if err != nil {
		return nil, nil, err
	}
	var inner records.Document
	if err := in.Take("guardrail", &inner); err != nil {
		return nil, nil, err
	}
	if inner != nil {
		if err := fields.Refuse(in, slices.Sorted(maps.Keys(in))); err != nil {
			return nil, nil, err
		}
		in = inner
	}
	return document(in)
}

// modes are LiteLLM's names of the hooks.
var modes = map[string]resource.Hook{"pre_call": resource.HookBefore, "during_call": resource.HookBefore, "post_call": resource.HookAfter}

// document turns LiteLLM's fields into those of a guardrail.
func document(in records.Document) (doc records.Document, added []string, err error) {
	out := records.Document{}
	if v, ok := in["guardrail_name"]; ok {
		out["name"] = v
	}
	var params map[string]any
	if err := in.Take("litellm_params", &params); err != nil {
		return nil, nil, err
	}
	for _, name := range []string{"guardrail_name", "guardrail_info", "guardrail_id", "created_at", "updated_at", "guardrail_definition_location"} {
		delete(in, name)
	}
	if err := fields.Refuse(in, slices.Sorted(maps.Keys(in))); err != nil {
		return nil, nil, err
	}
	if params == nil {
		return out, nil, nil
	}
	added, err = takeParams(params, out)
	return out, added, err
}

// takeParams takes litellm_params.
func takeParams(params map[string]any, out records.Document) (added []string, err error) {
	kind, _ := params["guardrail"].(string)
	if kind == "" {
		return nil, wire.Invalid("litellm_params.guardrail", "is missing")
	}
	mode, hooks, err := hooksOf(params["mode"])
	if err != nil {
		return nil, err
	}
	optional := params["default_on"] != true
	open := params["unreachable_fallback"] == "fail_open"
	for _, name := range []string{"guardrail", "mode", "default_on", "unreachable_fallback"} {
		delete(params, name)
	}
	maps.DeleteFunc(params, func(_ string, v any) bool { return v == nil })
	g, err := guardrails.Translate(kind, params)
	if err != nil {
		return nil, wire.Invalid("litellm_params", err.Error())
	}
	secrets, added := takeSecrets(g.Config, params)
	onError := resource.OnErrorBlock
	if open || g.Pass {
		onError = resource.OnErrorPass
	}
	doc := map[string]any{"plugin": g.Plugin, "hooks": hooks, "optional": optional, "on_error": onError, "mode": mode, "config": g.Config}
	if len(secrets) > 0 {
		doc["secrets"] = secrets
	}
	if g.Deadline > 0 {
		doc["deadline_ms"] = g.Deadline.Milliseconds()
	}
	for name, v := range doc {
		if err := out.Set(name, v); err != nil {
			return nil, err
		}
	}
	return added, nil
}

// takeSecrets takes the secrets that are written out from a plugin's configuration, and says which references to some
// were not given with the parameters.
func takeSecrets(config, params map[string]any) (secrets map[string]string, added []string) {
	secrets = map[string]string{}
	for name, v := range config {
		switch text, is := v.(string); {
		case !is || !secretive(name) || text == "":
		case !refers(text):
			secrets[name] = text
			delete(config, name)
		case params[name] == nil:
			added = append(added, name)
		}
	}
	return secrets, added
}

// secretive says whether a parameter holds a secret.
func secretive(name string) bool {
	return strings.HasSuffix(name, "api_key") || strings.HasSuffix(name, "_secret_access_key") || strings.HasSuffix(name, "_session_token") || name == "private_key"
}

// refers says whether a text names where the value is, instead of being it.
func refers(text string) bool {
	_, variable := resource.VariableName(text)
	return variable || resource.IsSecretRef(text)
}

// logOnly is LiteLLM's mode of guardrails that mask what is logged, and nothing else.
const logOnly = "logging_only"

// hooksOf are how and when a guardrail of LiteLLM's mode is asked.
func hooksOf(mode any) (resource.Mode, []resource.Hook, error) {
	var names []any
	switch m := mode.(type) {
	case nil:
		return resource.ModeEnforce, nil, nil
	case string:
		if m == logOnly {
			return resource.ModeLogOnly, nil, nil
		}
		names = []any{m}
	case []any:
		names = m
	default:
		return "", nil, wire.Invalid("litellm_params.mode", "is neither a mode nor a list of them")
	}
	var out []resource.Hook
	for _, n := range names {
		name, _ := n.(string)
		hook, ok := modes[name]
		if !ok {
			return "", nil, wire.Invalid("litellm_params.mode", fmt.Sprintf("%v is not one of %s, or %s alone", n, strings.Join(slices.Sorted(maps.Keys(modes)), ", "), logOnly))
		}
		if !slices.Contains(out, hook) {
			out = append(out, hook)
		}
	}
	return resource.ModeEnforce, out, nil
}

// maskedParams are the plugin's own parameters without what may be a secret.
func maskedParams(g *resource.Guardrail) map[string]any {
	params := map[string]any{}
	if len(g.Config) > 0 {
		_ = json.Unmarshal(g.Config, &params) // it was checked when it was saved
	}
	for name, v := range params {
		if text, is := v.(string); is && secretive(name) && !refers(text) {
			params[name] = masked
		}
	}
	for name := range g.Secrets {
		outer, inner, nested := strings.Cut(name, ".")
		if !nested {
			params[outer] = masked
			continue
		}
		in, _ := params[outer].(map[string]any)
		if in == nil {
			in = map[string]any{}
			params[outer] = in
		}
		in[inner] = masked
	}
	return params
}

// row shows a guardrail as LiteLLM does, with the plugin's own parameters. What may be a secret cannot be read.
func row(g *resource.Guardrail) map[string]any {
	params := maskedParams(g)
	var mode []string
	for _, h := range g.Hooks {
		if h == resource.HookBefore {
			mode = append(mode, "pre_call")
		} else if !slices.Contains(mode, "post_call") {
			mode = append(mode, "post_call")
		}
	}
	if len(g.Hooks) == 0 {
		mode = []string{"pre_call", "post_call"}
	}
	if g.Mode == resource.ModeLogOnly {
		mode = []string{logOnly}
	}
	params["guardrail"], params["mode"], params["default_on"] = g.Plugin, mode, !g.Optional
	if g.OnError == resource.OnErrorPass {
		params["unreachable_fallback"] = "fail_open"
	}
	at := "db"
	if g.Owner == resource.OwnerFile {
		at = "config"
	}
	out := map[string]any{
		"guardrail_id": g.ID, "guardrail_name": g.Name, "litellm_params": params, "guardrail_info": map[string]any{}, "guardrail_definition_location": at,
	}
	wire.Stamps(out, &g.Meta)
	return out
}

// apply asks a guardrail about a text. What it blocks is an error, as in a request.
func (a *api) apply(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	in, err := wire.ReadBody(r)
	if err != nil {
		return err
	}
	var name, text string
	if err := errors.Join(in.Take("guardrail_name", &name), in.Take("text", &text)); err != nil {
		return err
	}
	if err := fields.Refuse(in, slices.Sorted(maps.Keys(in))); err != nil {
		return err
	}
	g, err := a.rs.Guardrails.One(by, name)
	if err != nil {
		return err
	}
	if a.runner == nil {
		return &llm.Error{Kind: llm.Unavailable, Message: "No guardrail runs on this node."}
	}
	out, err := a.runner.Try(r.Context(), g.Name, client.GuardrailTry{Text: text})
	switch {
	case err != nil:
		return err
	case out.Status == "blocked":
		return &llm.Error{Kind: llm.Blocked, Code: "guardrail_blocked", Message: out.Message}
	case out.Status == "not_run":
		return &llm.Error{Kind: llm.Unavailable, Code: "guardrail_not_run", Message: "The guardrail did not run: " + out.Error}
	}
	return wire.Answer(w, records.Written{}, map[string]any{"response_text": out.Text})
}
