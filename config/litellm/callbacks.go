package litellm

import (
	"encoding/json"
	"maps"
	"slices"

	"go.yaml.in/yaml/v3"

	"github.com/conclave-llm/conclave/config"
	"github.com/conclave-llm/conclave/config/litellm/callbacks"
	"github.com/conclave-llm/conclave/resource"
)

// callbackLists are LiteLLM's lists of callbacks and what those in them are told.
var callbackLists = []struct{ name, kind string }{{"callbacks", ""}, {"success_callback", "success"}, {"failure_callback", "failure"}}

// servedAlways are LiteLLM's callbacks that are no plugin here, and why.
var servedAlways = map[string]string{
	"prometheus": "is what every node serves at /metrics",
}

// callbackParams are the sections of litellm_settings with the fields of one callback.
var callbackParams = map[string]string{"s3_callback_params": "s3", "aws_sqs_callback_params": "aws_sqs"}

// callbacks reads the lists of callbacks, and those that are sinks of the audit log.
func (d *decoder) callbacks(m *mapping) {
	params := d.callbackFields(m)
	for _, list := range callbackLists {
		n := m.values[list.name]
		for _, name := range m.texts(list.name) {
			if why := servedAlways[name]; why != "" {
				d.ignore(n, m.of(list.name), why)
				continue
			}
			if d.guardrailCallback(n, name, m) {
				continue
			}
			d.callback(n, name, list.kind, params[name])
		}
	}
	d.auditCallbacks(m, params)
}

// callbackSettings says of callbacks of the lists whether they are told prompts and answers. They are not where nothing is
// said.
func (d *decoder) callbackSettings(m *mapping) {
	for _, k := range m.keys {
		of := d.mapping(m.of(k.Value), m.take(k.Value))
		c, ok := d.declaredCallback(k.Value)
		if !ok {
			d.wrong(k, m.of(k.Value), "%q stands in none of the lists of callbacks.", k.Value)
			continue
		}
		const turnOn = "message_logging"
		if of.values[turnOff] != nil || of.values[turnOn] != nil {
			off := of.values[turnOff] != nil && of.boolean(turnOff)
			off = of.values[turnOn] != nil && !of.boolean(turnOn) || off
			c.Resource.Content = !off
		}
		of.end()
	}
}

// auditCallbacks makes callbacks sinks of the audit log. One that stands in no other list is told of that alone.
func (d *decoder) auditCallbacks(m *mapping, params map[string]map[string]string) {
	n := m.values["audit_log_callbacks"]
	names := m.texts("audit_log_callbacks")
	if len(names) == 0 {
		return
	}
	var sinks []resource.AuditSink
	for _, name := range names {
		if _, ok := d.declaredCallback(name); !ok { // it is told of no requests, only of the audit log
			d.callback(n, name, "", params[name])
			at, ok := d.declaredCallback(name)
			if !ok {
				return
			}
			at.Resource.Selection = resource.SelectChosen
		}
		sinks = append(sinks, resource.AuditSink{Name: name, Kind: "callback", Callback: name})
	}
	b, err := json.Marshal(map[string]any{"sinks": sinks})
	if err != nil {
		d.wrong(n, m.of("audit_log_callbacks"), "%s.", err)
		return
	}
	d.addSetting(n, "audit", b)
}

// callbackFields are the fields of callbacks that have a section of their own, by the callback's name.
func (d *decoder) callbackFields(m *mapping) map[string]map[string]string {
	out := map[string]map[string]string{}
	for _, section := range slices.Sorted(maps.Keys(callbackParams)) {
		of := d.mapping(m.of(section), m.take(section))
		fields := map[string]string{}
		for _, k := range of.keys {
			fields[k.Value] = of.text(k.Value)
		}
		if len(fields) == 0 {
			continue
		}
		name := callbackParams[section]
		out[name], out[name+"_v2"] = fields, fields
	}
	return out
}

func (d *decoder) declaredCallback(name string) (*config.Callback, bool) {
	all := d.out.Resources.Callbacks
	i := slices.IndexFunc(all, func(c config.Callback) bool { return c.Resource.Name == name })
	if i < 0 {
		return nil, false
	}
	return &all[i], true
}

// callback adds one of the lists' callbacks: LiteLLM's names are the plugins that do the same, and
// other names are plugins of that name. One that stands in the lists of successes and of failures is told of both.
func (d *decoder) callback(n *yaml.Node, name, kind string, fields map[string]string) {
	statuses, err := callbacks.Statuses(kind)
	if err != nil {
		d.wrong(n, "callbacks", "%s.", err)
		return
	}
	if have, ok := d.declaredCallback(name); ok {
		if statuses == nil || have.Resource.Statuses == nil {
			have.Resource.Statuses = nil
			return
		}
		have.Resource.Statuses = append(have.Resource.Statuses, statuses...)
		have.Resource.Canonicalize()
		if len(have.Resource.Statuses) == len(resource.CallbackStatuses) {
			have.Resource.Statuses = nil
		}
		return
	}
	c := config.Callback{Position: d.position(n), Resource: resource.Callback{
		Meta: config.Owned(), Name: name, Plugin: name, Selection: resource.SelectDefault, Statuses: statuses,
	}}
	if known, ok := callbacks.Lookup(name); ok {
		value, err := d.callbackValue(&known, fields)
		if err != nil {
			d.invalid("callback "+name, n, err)
			return
		}
		c.Resource.Plugin = known.Plugin
		if len(value.Config) > 0 {
			if c.Resource.Config, err = json.Marshal(value.Config); err != nil {
				d.invalid("callback "+name, n, err)
				return
			}
		}
		for field, text := range value.Secrets {
			if c.Secrets == nil {
				c.Secrets = map[string]config.Secret{}
			}
			c.Secrets[field] = config.Secret(text)
		}
	}
	c.Resource.Canonicalize()
	if err := c.Resource.Validate(); err != nil {
		d.invalid("callback", n, err)
		return
	}
	d.out.Resources.Callbacks = append(d.out.Resources.Callbacks, c)
}

// callbackValue is a callback's configuration: the file's fields and, for what they do not say, the
// file's variables and those of the environment.
func (d *decoder) callbackValue(c *callbacks.Callback, fields map[string]string) (callbacks.Value, error) {
	lookup := func(name string) (string, bool) {
		if v, ok := d.vars[name]; ok {
			return v, true
		}
		return d.Env(name)
	}
	return c.FromVars(fields, lookup)
}
