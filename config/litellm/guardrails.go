package litellm

import (
	"cmp"
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/conclave-llm/conclave/config"
	"github.com/conclave-llm/conclave/config/litellm/guardrails"
	"github.com/conclave-llm/conclave/resource"
)

// hookModes are when a guardrail is asked.
var hookModes = map[string]resource.Hook{"pre_call": resource.HookBefore, "post_call": resource.HookAfter, "during_call": resource.HookBefore}

// guardrail reads one entry of guardrails.
func (d *decoder) guardrail(m *mapping) {
	params := d.mapping(m.of("litellm_params"), m.take("litellm_params"))
	r := resource.Guardrail{Meta: config.Owned(), Name: m.text("guardrail_name"), Optional: !params.boolean("default_on")}
	kind := params.text("guardrail")
	m.take("guardrail_info") // is for people
	m.end()
	mode := params.take("mode")
	names := params.texts("mode")
	for _, name := range names {
		if name == "logging_only" && len(names) == 1 {
			r.Mode = resource.ModeLogOnly
			continue
		}
		hook, ok := hookModes[name]
		if !ok {
			d.wrong(mode, params.of("mode"), "%q is not one of %s, or logging_only alone.", name, strings.Join(slices.Sorted(maps.Keys(hookModes)), ", "))
		}
		if !slices.Contains(r.Hooks, hook) {
			r.Hooks = append(r.Hooks, hook)
		}
	}
	if params.text("unreachable_fallback") == "fail_open" {
		r.OnError = resource.OnErrorPass
	}
	g, err := guardrails.Translate(kind, d.values(params))
	if err != nil {
		d.wrong(params.node, params.of("guardrail"), "%s: %s.", kind, err)
		return
	}
	d.addGuardrail(m.node, r, &g)
}

// values are what is left of the mapping.
func (d *decoder) values(m *mapping) map[string]any {
	raw := d.metadata(m)
	var out map[string]any
	if len(raw) > 0 && json.Unmarshal(raw, &out) != nil {
		return nil // the reader has said what is wrong with it
	}
	return out
}

// guardrailCallback adds the guardrail that LiteLLM has among its callbacks; false: it is none. It is
// asked about every request.
func (d *decoder) guardrailCallback(n *yaml.Node, name string, settings *mapping) bool {
	all := map[string]any{}
	for _, k := range settings.keys {
		s := k.Value
		v := settings.values[s]
		if known, err := guardrails.Setting(s); !known || err != nil || v == nil {
			continue
		}
		var value any
		if json.Unmarshal(d.json(v, settings.of(s)), &value) == nil {
			all[s] = value
		}
	}
	if path, ok := all[guardrails.Categories].(string); ok && name == "llamaguard_moderations" {
		text, err := d.Text(path)
		if err != nil {
			d.wrong(settings.values[guardrails.Categories], settings.of(guardrails.Categories), "It is the path of a file with the categories, one a line: %s.", err)
			return true
		}
		all[guardrails.Categories] = text
	}
	g, ok, err := guardrails.Callback(name, all)
	if err != nil {
		d.wrong(n, settings.of("callbacks"), "%s: %s.", name, err)
	}
	name = cmp.Or(g.Name, name)
	if !ok || err != nil || slices.ContainsFunc(d.out.Resources.Guardrails, func(have config.Guardrail) bool { return have.Resource.Name == name }) {
		return ok
	}
	d.addGuardrail(n, resource.Guardrail{Meta: config.Owned(), Name: name, Optional: g.Optional}, &g)
	return true
}

// guardrailSettings takes the keys of litellm_settings that are for guardrails among callbacks, which have read
// them.
func (d *decoder) guardrailSettings(m *mapping) {
	for _, k := range m.left() {
		known, err := guardrails.Setting(k.Value)
		if err != nil {
			d.wrong(k, m.of(k.Value), "%s.", err)
		}
		if known {
			m.take(k.Value)
		}
	}
}

// addGuardrail adds a guardrail. A key that is written out becomes a variable of the cluster, which is
// sealed and stands where the file can refer to it again.
func (d *decoder) addGuardrail(n *yaml.Node, r resource.Guardrail, g *guardrails.Guardrail) {
	r.Plugin, r.DeadlineMS = g.Plugin, g.Deadline.Milliseconds()
	if g.Pass {
		r.OnError = resource.OnErrorPass
	}
	for _, field := range []string{"api_key", "aws_access_key_id", "aws_secret_access_key", "aws_session_token"} {
		key, _ := g.Config[field].(string)
		if _, refers := resource.VariableName(key); key == "" || refers {
			continue
		}
		name := variableOf(r.Name, field)
		d.out.Resources.Declare(name, key, d.position(n), func(err error) { d.wrong(n, "guardrails", "%s: %s.", field, err) })
		g.Config[field] = "env://" + name
	}
	if len(g.Config) > 0 {
		raw, err := json.Marshal(g.Config)
		if err != nil {
			d.invalid("guardrail", n, err)
			return
		}
		r.Config = raw
	}
	r.Canonicalize()
	if err := r.Validate(); err != nil {
		d.invalid("guardrail", n, err)
		return
	}
	d.out.Resources.Guardrails = append(d.out.Resources.Guardrails, config.Guardrail{Position: d.position(n), Resource: r})
}

// variableOf is the name of the variable that holds a secret of a guardrail.
func variableOf(guardrail, field string) string {
	return "GUARDRAIL_" + strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z':
			return r - 'a' + 'A'
		case r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
			return r
		}
		return '_'
	}, guardrail+"_"+field)
}
