package adminapi

import (
	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/resource"
)

func (s *Server) pluginNoun() *noun[resource.Plugin, *resource.Plugin] {
	return &noun[resource.Plugin, *resource.Plugin]{
		s: s, kind: "plugin", prefix: "plugin",
		all:    func(listQuery) []*resource.Plugin { return s.cfg.State.Catalog().Tables().Plugins },
		find:   s.findPlugin,
		put:    putPlugin,
		remove: func(id string) fsm.Command { return fsm.DeletePlugin{ID: id} },
	}
}

func (s *Server) findPlugin(ref string) (*resource.Plugin, bool) {
	return find(s.cfg.State.Catalog().Tables().Plugins, ref)
}

func putPlugin(next *resource.Plugin, read uint64) (fsm.Command, error) {
	e, err := encoded(next)
	return fsm.PutPlugin{Plugin: e, Read: read}, err
}
