package records

import (
	"encoding/json"

	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/plugins/schema"
	"github.com/conclave-llm/conclave/resource"
)

func (rs *Records) callbackNoun() *Noun[resource.Callback, *resource.Callback] {
	return &Noun[resource.Callback, *resource.Callback]{
		rs: rs, kind: "callback", prefix: "cb",
		all:    func(Query) []*resource.Callback { return rs.cfg.State.Catalog().Tables().Callbacks },
		find:   rs.findCallback,
		put:    PutCallback,
		remove: func(id string) fsm.Command { return fsm.DeleteCallback{ID: id} },
		named:  func(c *resource.Callback) *map[string]*resource.Sealed { return &c.Secrets },
		config: func(c *resource.Callback) json.RawMessage { return c.Config },
		check: func(_ Caller, now, next *resource.Callback) error {
			if now != nil && keeps(next.Secrets, now.Secrets) {
				if err := CheckPluginMove(now.Plugin, now.Config, next.Plugin, next.Config); err != nil {
					return err
				}
			}
			return schema.CheckCallback(rs.cfg.State.Catalog().Tables().Plugins, next)
		},
	}
}

func (rs *Records) findCallback(ref string) (*resource.Callback, bool) {
	return find(rs.cfg.State.Catalog().Tables().Callbacks, ref)
}

// PutCallback makes the command that writes a callback; read is the version that was read, 0 for none.
func PutCallback(next *resource.Callback, read uint64) (fsm.Command, error) {
	e, err := encoded(next)
	return fsm.PutCallback{Callback: e, Read: read}, err
}

// checkUse checks what a record says of the plugin of the kind that it uses; now is the stored one, nil for none.
func (rs *Records) checkUse(kind string, now, next *resource.PluginUse) error {
	if now != nil && keeps(next.Secrets, now.Secrets) {
		if err := CheckPluginMove(now.Plugin, now.Config, next.Plugin, next.Config); err != nil {
			return err
		}
	}
	return schema.CheckUse(rs.cfg.State.Catalog().Tables().Plugins, kind, next)
}

// CheckPluginMove refuses to give the stored secrets of a plugin's configuration to another plugin, or with another
// configuration: it says where they are sent.
func CheckPluginMove(plugin string, config json.RawMessage, nextPlugin string, nextConfig json.RawMessage) error {
	if plugin != nextPlugin || !sameValue(config, nextConfig) {
		return &resource.Invalid{Field: "secrets", Reason: "give the secrets again: the stored ones were not given for this plugin and this config"}
	}
	return nil
}
