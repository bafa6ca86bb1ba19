package records

import (
	"encoding/json"

	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/plugins/schema"
	"github.com/conclave-llm/conclave/resource"
)

func (rs *Records) secretSourceNoun() *Noun[resource.SecretSource, *resource.SecretSource] {
	return &Noun[resource.SecretSource, *resource.SecretSource]{
		rs: rs, kind: "secret_source", prefix: "src",
		all:    func(Query) []*resource.SecretSource { return rs.cfg.State.Catalog().Tables().SecretSources },
		find:   rs.findSecretSource,
		put:    PutSecretSource,
		remove: func(id string) fsm.Command { return fsm.DeleteSecretSource{ID: id} },
		named:  func(s *resource.SecretSource) *map[string]*resource.Sealed { return &s.Secrets },
		config: func(s *resource.SecretSource) json.RawMessage { return s.Config },
		check: func(_ Caller, now, next *resource.SecretSource) error {
			if now != nil && keeps(next.Secrets, now.Secrets) {
				if err := CheckPluginMove(now.Plugin, now.Config, next.Plugin, next.Config); err != nil {
					return err
				}
			}
			return schema.CheckSecretSource(rs.cfg.State.Catalog().Tables().Plugins, next)
		},
	}
}

func (rs *Records) findSecretSource(ref string) (*resource.SecretSource, bool) {
	return find(rs.cfg.State.Catalog().Tables().SecretSources, ref)
}

// PutSecretSource makes the command that writes a secret source; read is the version that was read, 0 for none.
func PutSecretSource(next *resource.SecretSource, read uint64) (fsm.Command, error) {
	e, err := encoded(next)
	return fsm.PutSecretSource{Source: e, Read: read}, err
}
