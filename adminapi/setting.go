package adminapi

import (
	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/resource"
)

func (s *Server) settingNoun() *noun[resource.Setting, *resource.Setting] {
	return &noun[resource.Setting, *resource.Setting]{
		s: s, kind: "setting", prefix: "",
		all:    func(listQuery) []*resource.Setting { return s.cfg.State.Catalog().Tables().Settings },
		find:   s.findSetting,
		put:    putSetting,
		remove: func(id string) fsm.Command { return fsm.DeleteSetting{ID: id} },
	}
}

func (s *Server) findSetting(ref string) (*resource.Setting, bool) {
	return find(s.cfg.State.Catalog().Tables().Settings, ref)
}

func putSetting(next *resource.Setting, read uint64) (fsm.Command, error) {
	e, err := encoded(next)
	return fsm.PutSetting{Setting: e, Read: read}, err
}
