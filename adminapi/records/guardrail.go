package records

import (
	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/plugins/schema"
	"github.com/conclave-llm/conclave/resource"
)

func (rs *Records) guardrailNoun() *Noun[resource.Guardrail, *resource.Guardrail] {
	return &Noun[resource.Guardrail, *resource.Guardrail]{
		rs: rs, kind: "guardrail", prefix: "guard",
		all:    func(Query) []*resource.Guardrail { return rs.cfg.State.Catalog().Tables().Guardrails },
		find:   rs.findGuardrail,
		put:    PutGuardrail,
		remove: func(id string) fsm.Command { return fsm.DeleteGuardrail{ID: id} },
		check: func(_ Caller, _, next *resource.Guardrail) error {
			return schema.Check(rs.cfg.State.Catalog().Tables().Plugins, "guardrail", next.Plugin, next.Config)
		},
	}
}

func (rs *Records) findGuardrail(ref string) (*resource.Guardrail, bool) {
	return find(rs.cfg.State.Catalog().Tables().Guardrails, ref)
}

// PutGuardrail makes the command that writes a guardrail; read is the version that was read, 0 for none.
func PutGuardrail(next *resource.Guardrail, read uint64) (fsm.Command, error) {
	e, err := encoded(next)
	return fsm.PutGuardrail{Guardrail: e, Read: read}, err
}
