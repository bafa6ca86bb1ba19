package adminapi

import (
	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/resource"
)

func (s *Server) guardrailNoun() *noun[resource.Guardrail, *resource.Guardrail] {
	return &noun[resource.Guardrail, *resource.Guardrail]{
		s: s, kind: "guardrail", prefix: "guard",
		all:    func(listQuery) []*resource.Guardrail { return s.cfg.State.Catalog().Tables().Guardrails },
		find:   s.findGuardrail,
		put:    putGuardrail,
		remove: func(id string) fsm.Command { return fsm.DeleteGuardrail{ID: id} },
	}
}

func (s *Server) findGuardrail(ref string) (*resource.Guardrail, bool) {
	return find(s.cfg.State.Catalog().Tables().Guardrails, ref)
}

func putGuardrail(next *resource.Guardrail, read uint64) (fsm.Command, error) {
	e, err := encoded(next)
	return fsm.PutGuardrail{Guardrail: e, Read: read}, err
}
