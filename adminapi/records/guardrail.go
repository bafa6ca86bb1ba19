package records

import (
	"encoding/json"

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
		named:  func(g *resource.Guardrail) *map[string]*resource.Sealed { return &g.Secrets },
		config: func(g *resource.Guardrail) json.RawMessage { return g.Config },
		check: func(_ Caller, now, next *resource.Guardrail) error {
			if now != nil && keeps(next.Secrets, now.Secrets) {
				if err := CheckPluginMove(now.Plugin, now.Config, next.Plugin, next.Config); err != nil {
					return err
				}
			}
			return schema.CheckGuardrail(rs.cfg.State.Catalog().Tables().Plugins, next)
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
