package litellm

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/url"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/conclave-llm/conclave/config"
	"github.com/conclave-llm/conclave/resource"
	"github.com/conclave-llm/conclave/resource/channel"
)

// litellmThresholds are the parts of a budget, in per cent, of which LiteLLM tells.
var litellmThresholds = []int64{85, 95}

// webhookVariables are the variables that hold the URL of a chat.
var webhookVariables = map[string]string{"slack": "SLACK_WEBHOOK_URL", "ms_teams": "MS_TEAMS_WEBHOOK_URL", "webhook": "WEBHOOK_URL"}

// needlessArgs are alerting_args that change nothing here, and why.
var needlessArgs = map[string]string{
	"budget_alert_ttl":           "is not needed: each threshold is told once for each window",
	"log_to_console":             "is not needed: every alert stands in the log of the leader",
	"outage_alert_ttl":           "is not needed: an alert about a state is raised once, and ends with it",
	"max_outage_alert_list_size": "is not needed: there is no list",
}

// alerting makes the setting alerts of what LiteLLM says of them.
func (d *decoder) alerting(m *mapping) {
	n := m.take("alerting")
	names := m.texts("alerting")
	kinds := d.alertTypes(m)
	args := d.mapping(m.of("alerting_args"), m.take("alerting_args"))
	for _, k := range args.left() {
		if why, ok := needlessArgs[k.Value]; ok {
			d.ignore(args.take(k.Value), args.of(k.Value), why)
		}
	}
	args.end()
	special := d.mapping(m.of("alert_to_webhook_url"), m.take("alert_to_webhook_url"))
	all := d.specialChannels(special, &kinds)
	narrowed := len(special.keys) > 0 // else no kinds are all of them
	for _, name := range names {
		if c, ok := d.alertChannel(n, m.of("alerting"), name); ok {
			c.Kinds, c.Only = kinds, narrowed && len(kinds) == 0
			all = append(all, c)
		}
	}
	if len(all) == 0 {
		return
	}
	value, err := json.Marshal(struct {
		Channels   []channel.Channel `json:"channels"`
		Thresholds []int64           `json:"budget_thresholds"`
	}{all, litellmThresholds})
	if err != nil {
		d.wrong(n, m.of("alerting"), "It cannot be written as JSON: %s.", err)
		return
	}
	d.addSetting(cmp.Or(n, special.node), resource.SettingAlerts, value)
}

// alertTypes are the kinds that the list names; none where there is no list.
func (d *decoder) alertTypes(m *mapping) []string {
	n := m.take("alert_types")
	var kinds []string
	for _, name := range m.texts("alert_types") {
		of := channel.OfLiteLLM(name)
		if len(of) == 0 {
			d.wrong(n, m.of("alert_types"), "The alert type %q has no meaning here; leave it out. Those that have one: %s.", name, strings.Join(knownAlertTypes(), ", "))
		}
		kinds = append(kinds, of...)
	}
	slices.Sort(kinds)
	return slices.Compact(kinds)
}

// knownAlertTypes lists LiteLLM's alert types that have a meaning.
func knownAlertTypes() []string {
	types := map[string]bool{}
	for _, k := range channel.Kinds() {
		if k.LiteLLM != "" {
			types[k.LiteLLM] = true
		}
	}
	return slices.Sorted(maps.Keys(types))
}

// specialChannels are those of alert_to_webhook_url. What goes there goes nowhere else, so that it is
// taken out of the other channels' kinds.
func (d *decoder) specialChannels(m *mapping, kinds *[]string) (all []channel.Channel) {
	if len(*kinds) == 0 && len(m.keys) > 0 {
		for _, k := range channel.Kinds() {
			*kinds = append(*kinds, k.Name)
		}
	}
	for _, k := range m.left() {
		of := channel.OfLiteLLM(k.Value)
		if len(of) == 0 {
			d.wrong(k, m.of(k.Value), "The alert type %q has no meaning here; leave it out.", k.Value)
		}
		urls := m.texts(k.Value)
		m.take(k.Value)
		for i, address := range urls {
			if c, ok := d.chat(k, m.of(k.Value), fmt.Sprintf("slack-%s-%d", k.Value, i+1), address); ok {
				c.Kinds = of
				all = append(all, c)
			}
		}
		*kinds = slices.DeleteFunc(*kinds, func(kind string) bool { return slices.Contains(of, kind) })
	}
	return all
}

// variable is one of the file's environment variables, else of the process.
func (d *decoder) variable(name string) string {
	if v, ok := d.vars[name]; ok {
		return v
	}
	v, _ := d.Env(name)
	return v
}

// alertChannel is the channel of one of LiteLLM's names.
func (d *decoder) alertChannel(n *yaml.Node, path, name string) (channel.Channel, bool) {
	if name == channel.Email {
		return d.mailChannel(n, path)
	}
	variable, ok := webhookVariables[name]
	if !ok {
		d.wrong(n, path, "%q is not one of slack, ms_teams, webhook, email.", name)
		return channel.Channel{}, false
	}
	address := d.variable(variable)
	if address == "" {
		d.wrong(n, path, "The environment variable %s is not set, to which alerts of %s go.", variable, name)
		return channel.Channel{}, false
	}
	if name == channel.Webhook {
		return channel.Channel{Name: name, Type: channel.Webhook, URL: address}, true
	}
	return d.chat(n, path, name, address)
}

// chat is a channel to a chat, whose URL is a secret but for its host.
func (d *decoder) chat(n *yaml.Node, path, name, address string) (channel.Channel, bool) {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" {
		d.wrong(n, path, "The address of %s is not a URL.", name)
		return channel.Channel{}, false
	}
	return channel.Channel{Name: name, Type: channel.Slack, URL: u.Scheme + "://" + u.Host, Credential: d.alertSecret(n, name, address)}, true
}

// alertSecret declares a credential, and returns its name.
func (d *decoder) alertSecret(n *yaml.Node, name, text string) string {
	c := config.Credential{Position: d.position(n), Resource: resource.Credential{Meta: config.Owned(), Name: "alerting-" + name}, APIKey: config.Secret(text)}
	c.Resource.Canonicalize()
	d.out.Resources.Credentials = append(d.out.Resources.Credentials, c)
	return c.Resource.Name
}

// mailChannel is made of the SMTP variables. It has no addresses: alerts go to those that budgets name.
func (d *decoder) mailChannel(n *yaml.Node, path string) (channel.Channel, bool) {
	host := d.variable("SMTP_HOST")
	if host == "" || d.variable("SMTP_SENDER_EMAIL") == "" {
		d.wrong(n, path, "The environment variables SMTP_HOST and SMTP_SENDER_EMAIL are not set, through which alerts of email go.")
		return channel.Channel{}, false
	}
	c := channel.Channel{
		Name: channel.Email, Type: channel.Email, Host: net.JoinHostPort(host, cmp.Or(d.variable("SMTP_PORT"), "587")),
		From: d.variable("SMTP_SENDER_EMAIL"), User: d.variable("SMTP_USERNAME"), TLS: channel.StartTLS,
	}
	switch {
	case strings.EqualFold(d.variable("SMTP_USE_SSL"), "true"):
		c.TLS = channel.ImplicitTLS
	case strings.EqualFold(d.variable("SMTP_TLS"), "false"):
		c.TLS = channel.NoTLS
	}
	if c.User != "" {
		c.Credential = d.alertSecret(n, channel.Email, d.variable("SMTP_PASSWORD"))
	}
	return c, true
}
