package records

import (
	"cmp"

	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/plugins/schema"
	"github.com/conclave-llm/conclave/resource"
)

func (rs *Records) pluginNoun() *Noun[resource.Plugin, *resource.Plugin] {
	return &Noun[resource.Plugin, *resource.Plugin]{
		rs: rs, kind: "plugin", prefix: "plugin",
		all:    func(Query) []*resource.Plugin { return rs.cfg.State.Catalog().Tables().Plugins },
		find:   rs.findPlugin,
		hidden: []string{"bundle", "description", "platforms", "publisher"},
		put:    PutPlugin,
		remove: func(id string) fsm.Command { return fsm.DeletePlugin{ID: id} },
		check: func(_ Caller, _, next *resource.Plugin) error {
			cat := rs.cfg.State.Catalog()
			return CheckPlugin(cat.Settings(), cat.Tables(), next)
		},
	}
}

func (rs *Records) findPlugin(ref string) (*resource.Plugin, bool) {
	return find(rs.cfg.State.Catalog().Tables().Plugins, ref)
}

// CheckPlugin refuses a plugin whose publisher is not trusted, and one whose schema does not fit
// what is configured of it already.
func CheckPlugin(set *resource.Settings, t *resource.Tables, next *resource.Plugin) error {
	if err := set.CheckTrust(next); err != nil {
		return err
	}
	for _, u := range uses(t, next) {
		if err := u.check(); err != nil {
			return invalid("manifest", "the configuration of "+u.what+": "+err.Error())
		}
	}
	return nil
}

// use is a record that names a plugin, and the check of its configuration against that plugin's schema.
type use struct {
	what  string
	check func() error
}

// uses lists the records of the plugin's kind that name it.
func uses(t *resource.Tables, next *resource.Plugin) (all []use) {
	only := []*resource.Plugin{next}
	add := func(kind, word, plugin, name string, check func() error) {
		if next.Kind == kind && plugin == next.Name {
			all = append(all, use{word + " " + name, check})
		}
	}
	for _, g := range t.Guardrails {
		add("guardrail", "guardrail", g.Plugin, g.Name, func() error { return schema.CheckGuardrail(only, g) })
	}
	for _, c := range t.Callbacks {
		add("callback", "callback", c.Plugin, c.Name, func() error { return schema.CheckCallback(only, c) })
	}
	for _, s := range t.SecretSources {
		add("secret_source", "secret source", s.Plugin, s.Name, func() error { return schema.CheckSecretSource(only, s) })
	}
	for _, r := range t.Auths {
		add("auth", "auth plugin", r.Plugin, r.Name, func() error { return schema.CheckUse(only, next.Kind, &r.PluginUse) })
	}
	for _, r := range t.RouterFilters {
		add("router_filter", "router filter", r.Plugin, r.Name, func() error { return schema.CheckUse(only, next.Kind, &r.PluginUse) })
	}
	for _, d := range t.Deployments {
		add("provider", "deployment", d.PluginName(), cmp.Or(d.Name, d.ID), func() error {
			return schema.CheckProvider(only, d, credentialOf(t.Credentials, d.CredentialID))
		})
	}
	return all
}

// PutPlugin makes the command that writes a plugin; read is the version that was read, 0 for none.
func PutPlugin(next *resource.Plugin, read uint64) (fsm.Command, error) {
	e, err := encoded(next)
	return fsm.PutPlugin{Plugin: e, Read: read}, err
}
