package logging

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/conclave-llm/conclave/adminapi/client"
	"github.com/conclave-llm/conclave/adminapi/litellm/wire"
	"github.com/conclave-llm/conclave/adminapi/records"
	"github.com/conclave-llm/conclave/config/litellm/callbacks"
	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/plugins/schema"
	"github.com/conclave-llm/conclave/resource"
	"github.com/conclave-llm/conclave/resource/channel"
)

// clusterRoutes are the paths of the callbacks that are not a team's or a key's own.
func (a *api) clusterRoutes() []wire.Route {
	return []wire.Route{
		{ID: "litellm-callbacks-list", Method: http.MethodGet, Pattern: "/callbacks/list", Handler: a.listAll},
		{ID: "litellm-callbacks-configs", Method: http.MethodGet, Pattern: "/callbacks/configs", Handler: a.configs},
		{ID: "litellm-config-callbacks", Method: http.MethodGet, Pattern: "/get/config/callbacks", Handler: a.configured},
		{ID: "litellm-config-callback-delete", Method: http.MethodPost, Pattern: "/config/callback/delete", Handler: a.deleteOne},
		{ID: "litellm-active-callbacks", Method: http.MethodGet, Pattern: "/active/callbacks", Handler: a.active},
		{ID: "litellm-settings", Method: http.MethodGet, Pattern: "/settings", Handler: a.active},
	}
}

// LiteLLM's types of callbacks.
const (
	typeSuccess = "success"
	typeFailure = "failure"
	typeBoth    = "success_and_failure"
)

// typeOf is LiteLLM's type of a callback.
func typeOf(c *resource.Callback) string {
	success := len(c.Statuses) == 0 || slices.Contains(c.Statuses, resource.StatusSuccess)
	failure := len(c.Statuses) == 0 || slices.ContainsFunc(c.Statuses, func(s string) bool { return s != resource.StatusSuccess })
	switch {
	case success && failure:
		return typeBoth
	case success:
		return typeSuccess
	}
	return typeFailure
}

// cluster are the callbacks that are told of requests whose holders did not choose them.
func (a *api) cluster() (list []*resource.Callback) {
	for _, c := range a.Catalog().Tables().Callbacks {
		if c.Selection != resource.SelectChosen {
			list = append(list, c)
		}
	}
	return list
}

// byType are their names by LiteLLM's types.
func (a *api) byType() map[string][]string {
	out := map[string][]string{typeSuccess: {}, typeFailure: {}, typeBoth: {}}
	for _, c := range a.cluster() {
		out[typeOf(c)] = append(out[typeOf(c)], c.Name)
	}
	return out
}

func (a *api) listAll(w http.ResponseWriter, _ *http.Request, _ records.Caller) error {
	return wire.Answer(w, records.Written{}, a.byType())
}

// configs tells which callbacks there may be, and which variables of LiteLLM's each takes.
func (a *api) configs(w http.ResponseWriter, _ *http.Request, _ records.Caller) error {
	out := []map[string]any{}
	for _, name := range callbacks.Names() {
		c, _ := callbacks.Lookup(name)
		needed := a.required(c.Plugin)
		params := map[string]any{}
		for i := range c.Fields {
			f := &c.Fields[i]
			if len(f.Vars) == 0 {
				continue
			}
			params[f.Vars[0]] = map[string]any{
				"type": inputType(f), "ui_name": f.Name, "required": slices.Contains(needed, f.Name),
				"description": fmt.Sprintf("The field %s of the plugin %s.", f.Name, c.Plugin),
			}
		}
		out = append(out, map[string]any{
			"id": name, "displayName": name, "logo": nil, "supports_key_team_logging": len(params) > 0, "dynamic_params": params,
			"description": "The shipped plugin " + c.Plugin + ".",
		})
	}
	return wire.Answer(w, records.Written{}, out)
}

func inputType(f *callbacks.Field) string {
	switch {
	case f.Secret:
		return "password"
	case f.Kind == callbacks.Flag:
		return "boolean"
	}
	return "text"
}

// required are the fields without which a plugin cannot be configured.
func (a *api) required(plugin string) []string {
	var s struct {
		Required []string `json:"required"`
	}
	_ = json.Unmarshal(schema.Of(a.Catalog().Tables().Plugins, "callback", plugin), &s) // one without a schema demands nothing
	return s.Required
}

// configured tells of the callbacks and the alerts as they are set. Of secrets it has that there are some.
func (a *api) configured(w http.ResponseWriter, _ *http.Request, _ records.Caller) error {
	list := []map[string]any{}
	for _, c := range a.cluster() {
		list = append(list, map[string]any{"name": c.Name, "type": typeOf(c), "variables": variables(c)})
	}
	available := map[string]any{}
	for _, name := range callbacks.Names() {
		c, _ := callbacks.Lookup(name)
		params := []string{}
		for i := range c.Fields {
			if env := c.Fields[i].Env; len(env) > 0 {
				params = append(params, env[0])
			}
		}
		available[name] = map[string]any{"litellm_callback_name": name, "litellm_callback_params": params, "ui_callback_name": name}
	}
	return wire.Answer(w, records.Written{}, map[string]any{
		"status": "success", "callbacks": list, "alerts": alertRows(&a.Catalog().Settings().Alerts), "router_settings": map[string]any{}, "available_callbacks": available,
	})
}

// litellmName is LiteLLM's name of a callback: its own, if that is one, or the first of its plugin; "": there is none.
func litellmName(c *resource.Callback) string {
	if known, ok := callbacks.Lookup(c.Name); ok && known.Plugin == c.Plugin {
		return c.Name
	}
	for _, name := range callbacks.Names() {
		if known, _ := callbacks.Lookup(name); known.Plugin == c.Plugin {
			return name
		}
	}
	return ""
}

// variables are the configuration of a callback as LiteLLM's variables of the environment; null is what is not set.
func variables(c *resource.Callback) map[string]any {
	known, _ := callbacks.Lookup(litellmName(c))
	var config map[string]any
	_ = json.Unmarshal(c.Config, &config) // it was checked when it was written
	out := map[string]any{}
	for i := range known.Fields {
		f := &known.Fields[i]
		if len(f.Env) == 0 {
			continue
		}
		out[f.Env[0]] = nil
		if v, ok := config[f.Name]; ok && !f.Secret {
			out[f.Env[0]] = v
		}
		for name := range c.Secrets {
			if name == f.Name || strings.HasPrefix(name, f.Name+".") {
				out[f.Env[0]] = "****"
			}
		}
	}
	return out
}

// alertRows are the channels of alerts as LiteLLM tells of its own.
func alertRows(s *channel.Settings) []map[string]any {
	out := []map[string]any{}
	for i := range s.Channels {
		ch := &s.Channels[i]
		active := []string{}
		for _, k := range channel.Kinds() {
			if k.LiteLLM != "" && ch.Takes(k.Name) && !slices.Contains(active, k.LiteLLM) {
				active = append(active, k.LiteLLM)
			}
		}
		vars := map[string]any{}
		switch ch.Type {
		case channel.Slack:
			vars["SLACK_WEBHOOK_URL"] = "****" // its path is the secret
		case channel.Email:
			vars["SMTP_HOST"], vars["SMTP_USERNAME"], vars["SMTP_SENDER_EMAIL"] = ch.Host, ch.User, ch.From
		}
		out = append(out, map[string]any{"name": ch.Type, "channel": ch.Name, "variables": vars, "active_alerts": active, "alerts_to_webhook": nil})
	}
	return out
}

// deleteOne deletes a callback of the cluster, by its name or by LiteLLM's.
func (a *api) deleteOne(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	in, err := wire.ReadBody(r)
	if err != nil {
		return err
	}
	var name string
	if err := in.Take("callback_name", &name); err != nil {
		return err
	}
	if name == "" {
		return wire.Invalid("callback_name", "is missing")
	}
	c, err := a.named("callback_name", name)
	if err != nil {
		return err
	}
	wr, err := a.Records.Callbacks.Delete(r.Context(), by, c.ID)
	if err != nil {
		return err
	}
	left := []string{}
	for _, other := range a.cluster() {
		left = append(left, other.Name)
	}
	return wire.Answer(w, wr, map[string]any{
		"message": "Successfully deleted callback: " + c.Name, "removed_callback": c.Name, "remaining_callbacks": left,
		"deleted_at": a.Now().UTC().Format(time.RFC3339Nano),
	})
}

// named finds a callback of the cluster by its name or, if it is the only one of its kind, by LiteLLM's; field is what
// holds the name.
func (a *api) named(field, name string) (*resource.Callback, error) {
	var found []*resource.Callback
	for _, c := range a.cluster() {
		if c.Name == name {
			return c, nil
		}
		if strings.EqualFold(litellmName(c), name) {
			found = append(found, c)
		}
	}
	switch len(found) {
	case 0:
		return nil, fmt.Errorf("callback %.60q: %w", name, resource.ErrNotFound)
	case 1:
		return found[0], nil
	}
	return nil, wire.Invalid(field, fmt.Sprintf("%.60q are %d callbacks; give the name of one", name, len(found)))
}

// TryNamed returns what sends a test event through the callback of the cluster with a name, its own or LiteLLM's. Its
// error is resource.ErrNotFound if there is none.
func TryNamed(cfg Config) func(ctx context.Context, name string) (client.CallbackTested, error) {
	a := &api{cfg}
	return func(ctx context.Context, name string) (client.CallbackTested, error) {
		c, err := a.named("service", name)
		if err != nil {
			return client.CallbackTested{}, err
		}
		if a.Test == nil {
			return client.CallbackTested{}, &llm.Error{Kind: llm.Unavailable, Message: "No callback runs on this node."}
		}
		tested := a.Test(ctx, c)
		tested.Callback = c.Name
		return tested, nil
	}
}

// active tells what is told of requests, and where alerts go, by LiteLLM's names of its own variables.
func (a *api) active(w http.ResponseWriter, _ *http.Request, _ records.Caller) error {
	types, settings := a.byType(), a.Catalog().Settings()
	all := slices.Sorted(slices.Values(slices.Concat(types[typeBoth], types[typeSuccess], types[typeFailure])))
	channels := []string{}
	for i := range settings.Alerts.Channels {
		channels = append(channels, settings.Alerts.Channels[i].Name)
	}
	timeout := 10 * time.Minute
	if settings.TimeoutMS > 0 {
		timeout = time.Duration(settings.TimeoutMS) * time.Millisecond
	}
	none := []string{}
	return wire.Answer(w, records.Written{}, map[string]any{
		"alerting": channels, "num_alerting": len(channels), "all_litellm_callbacks": all, "num_callbacks": len(all),
		"litellm.callbacks": types[typeBoth], "litellm.success_callback": types[typeSuccess], "litellm.failure_callback": types[typeFailure],
		"litellm.input_callback": none, "litellm._async_input_callback": none, "litellm._async_success_callback": none,
		"litellm._async_failure_callback": none, "litellm.request_timeout": timeout.Seconds(),
	})
}
