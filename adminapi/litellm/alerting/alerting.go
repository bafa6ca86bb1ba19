// Package alerting is LiteLLM's paths about alerts: the test of a service, and the settings.
package alerting

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/conclave-llm/conclave/adminapi/client"
	"github.com/conclave-llm/conclave/adminapi/litellm/wire"
	"github.com/conclave-llm/conclave/adminapi/records"
	"github.com/conclave-llm/conclave/resource"
	"github.com/conclave-llm/conclave/resource/channel"
)

// Config says what the paths work on.
type Config struct {
	Catalog func() *resource.Catalog
	// Try sends a test through a channel of the setting alerts.
	Try func(ctx context.Context, channel string) error
	// TryCallback sends a test event through the callback of a name, which may be LiteLLM's.
	TryCallback func(ctx context.Context, name string) (client.CallbackTested, error)
}

// services are the types of channels by LiteLLM's names of services.
var services = map[string]string{
	"slack": channel.Slack, "slack_budget_alerts": channel.Slack, "ms_teams": channel.Slack, "webhook": channel.Webhook, "email": channel.Email,
}

// Routes lists the paths.
func Routes(cfg Config) []wire.Route {
	return []wire.Route{
		{ID: "litellm-health-services", Method: http.MethodGet, Pattern: "/health/services", Handler: cfg.services},
		{ID: "litellm-alerting-settings", Method: http.MethodGet, Pattern: "/alerting/settings", Handler: cfg.settings},
	}
}

// services tries every channel that is what LiteLLM calls a service, or the callback of the name.
func (c Config) services(w http.ResponseWriter, r *http.Request, _ records.Caller) error {
	name := r.URL.Query().Get("service")
	if name == "" {
		return wire.Invalid("service", "is missing")
	}
	kind, ok := services[name]
	if !ok {
		return c.callback(w, r, name)
	}
	var tried []string
	settings := c.Catalog().Settings().Alerts
	for i := range settings.Channels {
		ch := &settings.Channels[i]
		if ch.Type != kind || ch.Type == channel.Email && len(ch.To) == 0 {
			continue
		}
		if err := c.Try(r.Context(), ch.Name); err != nil {
			return wire.Invalid("service", fmt.Sprintf("the channel %q did not take the test: %s", ch.Name, err))
		}
		tried = append(tried, ch.Name)
	}
	if len(tried) == 0 {
		return wire.Invalid("service", "the setting alerts has no channel of the type "+kind+" that sends by itself")
	}
	return wire.Answer(w, records.Written{}, map[string]any{
		"status": "success", "message": "A test was sent to " + strings.Join(tried, ", ") + ". Verify that it has arrived.",
	})
}

// callback tries a callback of the cluster.
func (c Config) callback(w http.ResponseWriter, r *http.Request, name string) error {
	tested, err := c.TryCallback(r.Context(), name)
	if errors.Is(err, resource.ErrNotFound) {
		return wire.Invalid("service", fmt.Sprintf("%.60q is neither one of slack, slack_budget_alerts, ms_teams, webhook, email nor a callback of the cluster", name))
	}
	if err != nil {
		return err
	}
	if !tested.OK {
		return wire.Invalid("service", fmt.Sprintf("the callback %q did not take the test: %s", tested.Callback, tested.Error))
	}
	return wire.Answer(w, records.Written{}, map[string]any{
		"status": "success", "message": "A test event was sent through the callback " + tested.Callback + ". Verify that it has arrived.",
	})
}

// settings writes what is set, in the form of LiteLLM's fields.
func (c Config) settings(w http.ResponseWriter, _ *http.Request, _ records.Caller) error {
	s, def := c.Catalog().Settings().Alerts, channel.Default()
	names := []string{}
	types := []string{}
	for i := range s.Channels {
		names = append(names, s.Channels[i].Name)
		for _, k := range channel.Kinds() {
			if k.LiteLLM != "" && s.Channels[i].Takes(k.Name) && !slices.Contains(types, k.LiteLLM) {
				types = append(types, k.LiteLLM)
			}
		}
	}
	slices.Sort(types)
	field := func(name, kind, help string, value, otherwise any) map[string]any {
		return map[string]any{
			"field_name": name, "field_type": kind, "field_description": help, "field_value": value, "field_default_value": otherwise,
			"premium_field": false, "stored_in_db": true,
		}
	}
	return wire.Answer(w, records.Written{}, []any{
		field("alerting", "List", "The channels of the setting alerts.", names, []string{}),
		field("alert_types", "List", "LiteLLM's names of what some channel takes.", types, []string{}),
		field("budget_thresholds", "List", "In per cent of a budget's limit, where the budget says none itself.", orEmpty(s.BudgetThresholds), []int64{}),
		field("deadline", "String", "Until an alert that a channel does not take is a dead letter.", s.Deadline.String(), def.Deadline.String()),
		field("key_expiring", "String", "How long before a key ends.", s.KeyExpiring.String(), def.KeyExpiring.String()),
		field("node_down_after", "String", "For how long a node is out of reach.", s.NodeDownAfter.String(), def.NodeDownAfter.String()),
		field("cooldown_after", "String", "For how long a deployment fails.", s.CooldownAfter.String(), def.CooldownAfter.String()),
	})
}

func orEmpty(list []int64) []int64 {
	if list == nil {
		return []int64{}
	}
	return list
}
