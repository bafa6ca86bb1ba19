package litellm

import (
	"maps"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/conclave-llm/conclave/config"
	"github.com/conclave-llm/conclave/resource"
)

// RequestsOwn are headers that LiteLLM's users give endpoints and that each request has itself.
var RequestsOwn = []string{"content-type", "accept"}

// passThroughEndpoint reads one of LiteLLM's endpoints. Its headers may be secrets, and so all are.
func (d *decoder) passThroughEndpoint(m *mapping) {
	e := config.PassThroughEndpoint{Position: d.position(m.node)}
	r := &e.Resource
	r.Meta, r.Path, r.Target, r.IncludeSubpath = config.Owned(), strings.TrimSuffix(m.text("path"), "/"), m.text("target"), m.boolean("include_subpath")
	r.Methods, r.ForwardHeaders, r.TimeoutMS = m.texts("methods"), m.boolean("forward_headers"), m.milliseconds("timeout")
	if usd := m.money("cost_per_request"); usd != nil {
		r.CostPerRequest = *usd
	}
	if m.values["auth"] != nil {
		r.NoAuth = !m.boolean("auth")
	}
	m.take("id")                    // it gets one here
	m.boolean("merge_query_params") // the client's query always goes on
	query := d.mapping(m.of("default_query_params"), m.take("default_query_params"))
	for _, k := range query.keys {
		if r.Query == nil {
			r.Query = map[string]string{}
		}
		r.Query[k.Value] = query.text(k.Value)
	}
	e.Secrets = d.passThroughHeaders(d.mapping(m.of("headers"), m.take("headers")))
	r.Guardrails = d.guardrailNames(m)
	m.end()
	r.Canonicalize()
	if err := r.Validate(); err != nil {
		d.invalid("pass_through_endpoint", m.node, err)
		return
	}
	d.out.Resources.PassThrough = append(d.out.Resources.PassThrough, e)
}

// passThroughHeaders reads headers, in whose values os.environ/NAME may stand behind another word.
func (d *decoder) passThroughHeaders(m *mapping) map[string]config.Secret {
	var out map[string]config.Secret
	for _, k := range m.keys {
		n := m.take(k.Value)
		if n == nil || slices.Contains(RequestsOwn, strings.ToLower(k.Value)) {
			continue
		}
		before, name, ok := strings.Cut(n.Value, "os.environ/")
		value := n.Value
		if ok && n.Kind == yaml.ScalarNode {
			of := *n
			of.Value = "os.environ/" + name
			value = before + d.headerText(&of, m.of(k.Value), before)
		}
		if out == nil {
			out = map[string]config.Secret{}
		}
		out[resource.PassThroughSecretHeader+k.Value] = config.Secret(value)
	}
	return out
}

// headerText is what stands behind the first words of a header: a reference must stand alone.
func (d *decoder) headerText(n *yaml.Node, path, before string) string {
	if before == "" {
		return d.secret(n, path).Reveal()
	}
	return d.text(n, path)
}

// guardrailNames reads the names of guardrails: a list, or the names of an object whose values say
// which fields they look at. Here they look at all of them.
func (d *decoder) guardrailNames(m *mapping) []string {
	n := m.values["guardrails"]
	if n == nil || n.Kind != yaml.MappingNode {
		return m.texts("guardrails")
	}
	of := d.mapping(m.of("guardrails"), m.take("guardrails"))
	names := map[string]bool{}
	for _, k := range of.keys {
		names[k.Value] = true
		of.take(k.Value)
	}
	return slices.Sorted(maps.Keys(names))
}
