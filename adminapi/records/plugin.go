package records

import (
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
	only := []*resource.Plugin{next}
	for _, g := range t.Guardrails {
		if next.Kind == "guardrail" && g.Plugin == next.Name {
			if err := schema.Check(only, next.Kind, next.Name, g.Config); err != nil {
				return invalid("manifest", "the configuration of guardrail "+g.Name+": "+err.Error())
			}
		}
	}
	for _, c := range t.Callbacks {
		if next.Kind == "callback" && c.Plugin == next.Name {
			if err := schema.CheckCallback(only, c); err != nil {
				return invalid("manifest", "the configuration of callback "+c.Name+": "+err.Error())
			}
		}
	}
	for _, s := range t.SecretSources {
		if next.Kind == "secret_source" && s.Plugin == next.Name {
			if err := schema.CheckSecretSource(only, s); err != nil {
				return invalid("manifest", "the configuration of secret source "+s.Name+": "+err.Error())
			}
		}
	}
	for _, r := range t.Auths {
		if next.Kind == "auth" && r.Plugin == next.Name {
			if err := schema.CheckUse(only, next.Kind, &r.PluginUse); err != nil {
				return invalid("manifest", "the configuration of auth plugin "+r.Name+": "+err.Error())
			}
		}
	}
	for _, r := range t.RouterFilters {
		if next.Kind == "router_filter" && r.Plugin == next.Name {
			if err := schema.CheckUse(only, next.Kind, &r.PluginUse); err != nil {
				return invalid("manifest", "the configuration of router filter "+r.Name+": "+err.Error())
			}
		}
	}
	return nil
}

// PutPlugin makes the command that writes a plugin; read is the version that was read, 0 for none.
func PutPlugin(next *resource.Plugin, read uint64) (fsm.Command, error) {
	e, err := encoded(next)
	return fsm.PutPlugin{Plugin: e, Read: read}, err
}
