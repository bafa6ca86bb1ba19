package records

import (
	"slices"

	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/resource"
)

func (rs *Records) mcpServerNoun() *Noun[resource.MCPServer, *resource.MCPServer] {
	return &Noun[resource.MCPServer, *resource.MCPServer]{
		rs: rs, kind: "mcp_server", path: "mcp/servers", prefix: "mcp",
		all:    func(Query) []*resource.MCPServer { return rs.cfg.State.Catalog().Tables().MCPServers },
		find:   rs.findMCPServer,
		put:    PutMCPServer,
		remove: func(id string) fsm.Command { return fsm.DeleteMCPServer{ID: id} },
		named:  func(s *resource.MCPServer) *map[string]*resource.Sealed { return &s.Secrets },
		check: func(_ Caller, now, next *resource.MCPServer) (err error) {
			if next.CredentialID, err = refer("credential_id", next.CredentialID, rs.findCredential); err != nil {
				return err
			}
			if err := CheckMCPPrefix(rs.cfg.State.Catalog().Tables().MCPServers, next); err != nil {
				return err
			}
			if now != nil && keeps(next.Secrets, now.Secrets) {
				return CheckMCPMove(&now.MCPUpstream, &next.MCPUpstream)
			}
			return nil
		},
	}
}

// findMCPServer finds a server by id, name or alias.
func (rs *Records) findMCPServer(ref string) (*resource.MCPServer, bool) {
	all := rs.cfg.State.Catalog().Tables().MCPServers
	if s, ok := find(all, ref); ok {
		return s, true
	}
	i := slices.IndexFunc(all, func(s *resource.MCPServer) bool { return ref != "" && s.Alias == ref })
	if i < 0 {
		return nil, false
	}
	return all[i], true
}

// CheckMCPPrefix refuses a server whose tools would be called as those of another.
func CheckMCPPrefix(all []*resource.MCPServer, next *resource.MCPServer) error {
	for _, s := range all {
		if s.ID != next.ID && s.Name != next.Name && s.Prefix() == next.Prefix() {
			return invalid("alias", "the tools of server "+s.Name+" have the prefix "+next.Prefix()+" already")
		}
	}
	return nil
}

// CheckMCPMove refuses to give stored secrets to another host or another program.
func CheckMCPMove(from, to *resource.MCPUpstream) error {
	if movesOAuth(from.OAuth, to.OAuth) || movesHost(from.URL, to.URL) || from.Spec != to.Spec && to.URL == "" || from.Command != to.Command || !slices.Equal(from.Args, to.Args) {
		return &resource.Invalid{
			Field: "secrets", Reason: "give the secrets again: the stored ones were not given for this host or command",
		}
	}
	return nil
}

// movesOAuth says whether the client's secret would go elsewhere.
func movesOAuth(from, to *resource.MCPOAuth) bool {
	a, b := from.URLs(), to.URLs()
	for i := range b {
		if !slices.ContainsFunc(a, func(u string) bool { return !movesHost(u, b[i]) }) {
			return true
		}
	}
	return false
}

// PutMCPServer makes the command that writes an MCP server; read is the version that was read, 0 for none.
func PutMCPServer(next *resource.MCPServer, read uint64) (fsm.Command, error) {
	e, err := encoded(next)
	return fsm.PutMCPServer{Server: e, Read: read}, err
}
