package records

import (
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
		check: func(_ Caller, _, next *resource.Callback) error {
			return schema.Check(rs.cfg.State.Catalog().Tables().Plugins, "callback", next.Plugin, next.Config)
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
