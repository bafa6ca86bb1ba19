package records

import (
	"encoding/json"

	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/resource"
)

func (rs *Records) authNoun() *Noun[resource.Auth, *resource.Auth] {
	return &Noun[resource.Auth, *resource.Auth]{
		rs: rs, kind: "auth", prefix: "auth",
		all:    func(Query) []*resource.Auth { return rs.cfg.State.Catalog().Tables().Auths },
		find:   rs.findAuth,
		put:    PutAuth,
		remove: func(id string) fsm.Command { return fsm.DeleteAuth{ID: id} },
		named:  func(r *resource.Auth) *map[string]*resource.Sealed { return &r.Secrets },
		config: func(r *resource.Auth) json.RawMessage { return r.Config },
		check: func(_ Caller, now, next *resource.Auth) error {
			var old *resource.PluginUse
			if now != nil {
				old = &now.PluginUse
			}
			return rs.checkUse("auth", old, &next.PluginUse)
		},
	}
}

func (rs *Records) findAuth(ref string) (*resource.Auth, bool) {
	return find(rs.cfg.State.Catalog().Tables().Auths, ref)
}

// PutAuth makes the command that writes an auth plugin; read is the version that was read, 0 for none.
func PutAuth(next *resource.Auth, read uint64) (fsm.Command, error) {
	e, err := encoded(next)
	return fsm.PutAuth{Record: e, Read: read}, err
}
