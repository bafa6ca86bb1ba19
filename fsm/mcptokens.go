package fsm

import (
	"strings"

	"github.com/conclave-llm/conclave/fsm/store"
	"github.com/conclave-llm/conclave/resource"
)

// Commands on the tokens with which nodes act at MCP servers.
type (
	// PutMCPToken stores a token in the place of the one that its proposer read, whose version is
	// Read: of two nodes that refresh a token at once the second must not undo the first's. A token
	// that a person has just granted replaces any: Read is 0 and Replace is set.
	PutMCPToken struct {
		Token   Encoded[resource.MCPToken] `json:"token"`
		Read    uint64                     `json:"read,omitempty"`
		Replace bool                       `json:"replace,omitempty"`
	}
	// DeleteMCPToken forgets a token. One that is not there is passed over.
	DeleteMCPToken struct {
		ID string `json:"id"`
	}
)

// Apply implements Command.
func (c PutMCPToken) Apply(tx *Tx) error {
	t := c.Token.Record()
	if t == nil {
		return &resource.Invalid{Field: "token", Reason: "is missing"}
	}
	if err := t.Validate(); err != nil {
		return err
	}
	if !tx.has(store.MCPServers, serverOf(t.ID)) {
		return refuse(store.MCPServers, serverOf(t.ID), resource.ErrNotFound)
	}
	var stored uint64
	if f, ok := tx.get(store.MCPTokens, []byte(t.ID)); ok {
		stored = f.Version
	}
	if !c.Replace && stored != c.Read {
		return refuse(store.MCPTokens, t.ID, resource.ErrConflict)
	}
	tx.put(store.MCPTokens, []byte(t.ID), c.Token.Raw())
	return nil
}

// Apply implements Command.
func (c DeleteMCPToken) Apply(tx *Tx) error {
	if tx.raw(store.MCPTokens, []byte(c.ID)) != nil {
		tx.delete(store.MCPTokens, []byte(c.ID))
	}
	return nil
}

// dropMCPTokens forgets all tokens at a server, or all of a user.
func (tx *Tx) dropMCPTokens(serverID, userID string) {
	prefix := []byte(nil)
	if serverID != "" {
		prefix = []byte(serverID + "/")
	}
	for _, id := range tx.scan(store.MCPTokens, prefix) {
		if resource.MCPTokenOf(string(id), serverID, userID) {
			tx.delete(store.MCPTokens, id)
		}
	}
}

// serverOf is the server of a token's id.
func serverOf(id string) string {
	server, _, _ := strings.Cut(id, "/")
	return server
}

// MCPToken returns a token and its version.
func (f *FSM) MCPToken(id string) (t *resource.MCPToken, version uint64, ok bool) {
	return readFiled[resource.MCPToken](f, store.MCPTokens, id)
}
