package records

import (
	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/resource"
)

func (rs *Records) pluginNoun() *Noun[resource.Plugin, *resource.Plugin] {
	return &Noun[resource.Plugin, *resource.Plugin]{
		rs: rs, kind: "plugin", prefix: "plugin",
		all:    func(Query) []*resource.Plugin { return rs.cfg.State.Catalog().Tables().Plugins },
		find:   rs.findPlugin,
		put:    PutPlugin,
		remove: func(id string) fsm.Command { return fsm.DeletePlugin{ID: id} },
	}
}

func (rs *Records) findPlugin(ref string) (*resource.Plugin, bool) {
	return find(rs.cfg.State.Catalog().Tables().Plugins, ref)
}

// PutPlugin makes the command that writes a plugin; read is the version that was read, 0 for none.
func PutPlugin(next *resource.Plugin, read uint64) (fsm.Command, error) {
	e, err := encoded(next)
	return fsm.PutPlugin{Plugin: e, Read: read}, err
}
