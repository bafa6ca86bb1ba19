package adminapi

import (
	"context"

	"github.com/conclave-llm/conclave/adminapi/client"
	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/resource"
)

func (s *Server) credentialNoun() *noun[resource.Credential, *resource.Credential] {
	return &noun[resource.Credential, *resource.Credential]{
		s: s, kind: "credential", prefix: "cred",
		all:    func(listQuery) []*resource.Credential { return s.cfg.State.Catalog().Tables().Credentials },
		find:   s.findCredential,
		put:    putCredential,
		remove: func(id string) fsm.Command { return fsm.DeleteCredential{ID: id} },
		secrets: map[string]func(*resource.Credential) **resource.Sealed{
			"api_key": func(c *resource.Credential) **resource.Sealed { return &c.APIKey },
		},
		check: func(_ context.Context, now, next *resource.Credential) error {
			if now != nil && next.APIKey != nil && next.APIKey == now.APIKey && movesHost(now.APIBase, next.APIBase) {
				return errSecretMoves
			}
			return nil
		},
	}
}

func (s *Server) findCredential(ref string) (*resource.Credential, bool) {
	return find(s.cfg.State.Catalog().Tables().Credentials, ref)
}

func putCredential(next *resource.Credential, read uint64) (fsm.Command, error) {
	e, err := encoded(next)
	return fsm.PutCredential{Credential: e, Read: read}, err
}

func credentialView(_ context.Context, c *resource.Credential, _ detail) client.Credential {
	return client.Credential{Credential: *c, APIKey: client.Shown(c.APIKey)}
}
