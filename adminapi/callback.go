package adminapi

import (
	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/resource"
)

func (s *Server) callbackNoun() *noun[resource.Callback, *resource.Callback] {
	return &noun[resource.Callback, *resource.Callback]{
		s: s, kind: "callback", prefix: "cb",
		all:    func(listQuery) []*resource.Callback { return s.cfg.State.Catalog().Tables().Callbacks },
		find:   s.findCallback,
		put:    putCallback,
		remove: func(id string) fsm.Command { return fsm.DeleteCallback{ID: id} },
	}
}

func (s *Server) findCallback(ref string) (*resource.Callback, bool) {
	return find(s.cfg.State.Catalog().Tables().Callbacks, ref)
}

func putCallback(next *resource.Callback, read uint64) (fsm.Command, error) {
	e, err := encoded(next)
	return fsm.PutCallback{Callback: e, Read: read}, err
}
