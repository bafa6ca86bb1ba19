package records

import (
	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/resource"
)

func (rs *Records) credentialNoun() *Noun[resource.Credential, *resource.Credential] {
	return &Noun[resource.Credential, *resource.Credential]{
		rs: rs, kind: "credential", prefix: "cred",
		all:    func(Query) []*resource.Credential { return rs.cfg.State.Catalog().Tables().Credentials },
		find:   rs.findCredential,
		put:    PutCredential,
		remove: func(id string) fsm.Command { return fsm.DeleteCredential{ID: id} },
		secrets: map[string]func(*resource.Credential) **resource.Sealed{
			"api_key": func(c *resource.Credential) **resource.Sealed { return &c.APIKey },
		},
		named: func(c *resource.Credential) *map[string]*resource.Sealed { return &c.Secrets },
		check: func(_ Caller, now, next *resource.Credential) error {
			if err := rs.checkInsecure(&next.Egress); err != nil {
				return err
			}
			if err := CheckWay(&next.Egress, rs.cfg.Files); err != nil {
				return err
			}
			if now != nil && (next.APIKey != nil && next.APIKey == now.APIKey || keeps(next.Secrets, now.Secrets)) {
				return CheckMove(AddressOfCredential(now), AddressOfCredential(next))
			}
			return nil
		},
	}
}

func (rs *Records) findCredential(ref string) (*resource.Credential, bool) {
	return find(rs.cfg.State.Catalog().Tables().Credentials, ref)
}

// PutCredential makes the command that writes a credential; read is the version that was read, 0 for none.
func PutCredential(next *resource.Credential, read uint64) (fsm.Command, error) {
	e, err := encoded(next)
	return fsm.PutCredential{Credential: e, Read: read}, err
}
