package node

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/conclave-llm/conclave/plugins"
	"github.com/conclave-llm/conclave/plugins/builtin"
	"github.com/conclave-llm/conclave/resource"
	"github.com/conclave-llm/conclave/secret"
)

// opener opens secrets, with the variables of the cluster behind those of this process, and waits a
// little for a secret source.
func (n *Node) opener() opener {
	return opener{n.keys, n.state.Catalog, n.cfg.Environ, n.resolveSecret, n.files.resolve}
}

// held is opener that waits for no secret source: what is not there yet comes with a change.
func (n *Node) held() opener {
	return opener{n.keys, n.state.Catalog, n.cfg.Environ, n.secrets.Held, n.files.resolve}
}

// unsourced is opener for the secret sources themselves.
func (n *Node) unsourced() opener {
	return opener{n.keys, n.state.Catalog, n.cfg.Environ, func(ref string) (secret.Text, error) {
		return secret.Text{}, fmt.Errorf("resolve %s: a secret source may not need another one", ref)
	}, n.files.resolve}
}

// specs are the plugins that should run, with the references to variables in their
// configurations resolved. A plugin whose reference cannot be is not run: on_error says what
// becomes of requests meanwhile.
func (n *Node) specs() []plugins.Spec {
	cat := n.state.Catalog()
	all := plugins.Specs(cat, shipped)
	for i := range all {
		open := n.held()
		if all[i].Kind == plugins.KindSource {
			open = n.unsourced()
		}
		err := n.openConfig(cat, &all[i], open)
		var config []byte
		if err == nil {
			config, err = resolveConfig(all[i].Config, open.resolve)
		}
		if err != nil {
			n.log.Error("the configuration of a plugin refers to what is not there", "kind", string(all[i].Kind), "name", all[i].Name, "error", err)
			all[i].Fault = "the configuration refers to what is not there: " + err.Error()
			continue
		}
		all[i].Config = config
		if all[i].Plugin == builtin.KeywordsName && all[i].Path == "" {
			all[i].Config = builtin.WithStored(config, n.state.Catalog().Settings().BannedKeywords)
		}
	}
	return all
}

// shipped says whether this program holds the plugin.
func shipped(kind plugins.Kind, name string) bool {
	p, ok := builtin.Lookup(name)
	return ok && p.Kind == string(kind)
}

// openConfig puts the secrets of a record's plugin into its configuration.
func (n *Node) openConfig(cat *resource.Catalog, s *plugins.Spec, o opener) (err error) {
	t := cat.Tables()
	switch s.Kind {
	case plugins.KindGuardrail:
		err = openOne(t.Guardrails, "guardrail", s, o)
	case plugins.KindCallback:
		err = openOne(t.Callbacks, "callback", s, o)
	case plugins.KindSource:
		err = openOne(t.SecretSources, "secret_source", s, o)
	case plugins.KindAuth:
		err = openOne(t.Auths, "auth", s, o)
	case plugins.KindProvider:
		s.Config, err = providerConfig(cat, s.Deployment, o)
	case plugins.KindFilter:
		err = openOne(t.RouterFilters, "router_filter", s, o)
	}
	return err
}

// configurable is a record that configures a plugin.
type configurable interface {
	resource.Record
	Configured(open func(field string, s *resource.Sealed) (string, error)) (json.RawMessage, error)
}

// openOne configures the plugin of the record that s is made of.
func openOne[R configurable](all []R, kind string, s *plugins.Spec, o opener) (err error) {
	for _, r := range all {
		if r.Head().ID != s.ID {
			continue
		}
		s.Config, err = r.Configured(func(field string, sealed *resource.Sealed) (string, error) {
			text, err := o.Open(sealed, kind, s.ID, field)
			return text.Reveal(), err
		})
		return err
	}
	return nil
}

// providerConfig is what the processes are configured with that serve a deployment with the id.
func providerConfig(cat *resource.Catalog, id string, o opener) ([]byte, error) {
	d, ok := cat.Deployment(id)
	if !ok {
		return nil, fmt.Errorf("the deployment %s is not there", id)
	}
	return configOf(cat, d, o)
}

// configOf is what the processes are configured with that serve the deployment, which need not be stored.
func configOf(cat *resource.Catalog, d *resource.Deployment, o opener) ([]byte, error) {
	c, ok := cat.Credential(d.CredentialID)
	if !ok && d.CredentialID != "" {
		return nil, fmt.Errorf("the credential %s is not there", d.CredentialID)
	}
	return d.PluginConfig(c, func(kind, id, field string, s *resource.Sealed) (string, error) {
		text, err := o.Open(s, kind, id, field)
		return text.Reveal(), err
	})
}

// resolveConfig puts the values of variables and secrets in the place of references to them. A
// configuration without any keeps its bytes.
func resolveConfig(config []byte, resolve func(ref string) (secret.Text, error)) ([]byte, error) {
	var doc any
	d := json.NewDecoder(bytes.NewReader(config))
	d.UseNumber()
	if len(config) == 0 || d.Decode(&doc) != nil {
		return config, nil // the plugin says what is wrong with it
	}
	changed := false
	doc, err := resolveValue(doc, resolve, &changed)
	if err != nil || !changed {
		return config, err
	}
	return json.Marshal(doc)
}

func resolveValue(v any, resolve func(ref string) (secret.Text, error), changed *bool) (_ any, err error) {
	switch v := v.(type) {
	case string:
		if _, ok := resource.VariableName(v); !ok && !resource.IsSecretRef(v) {
			return v, nil
		}
		*changed = true
		text, err := resolve(v)
		return text.Reveal(), err
	case []any:
		for i := range v {
			if v[i], err = resolveValue(v[i], resolve, changed); err != nil {
				return nil, fmt.Errorf("[%d]: %w", i, err)
			}
		}
	case map[string]any:
		for name := range v {
			if v[name], err = resolveValue(v[name], resolve, changed); err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
		}
	}
	return v, nil
}

// overrides says whether this node's own environment has a variable of the name, which counts
// before the cluster's here.
func (n *Node) overrides(name string) bool {
	v, ok := n.cfg.Environ(name)
	return ok && v != ""
}
