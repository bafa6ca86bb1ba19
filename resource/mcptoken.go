package resource

import "strings"

// MCPToken is what somebody may show an MCP server that asks for OAuth: the tokens that its
// authorization server gave for one holder, sealed. It is written by nodes alone and shown to nobody.
type MCPToken struct {
	ID        string  `json:"id"`               // MCPTokenID
	Secret    *Sealed `json:"secret,omitempty"` // the tokens, sealed under the field "token"
	ExpiresAt Time    `json:"expires_at,omitempty"`
	UpdatedAt Time    `json:"updated_at,omitempty"`
	Scopes    string  `json:"scopes,omitempty"` // that were granted, with spaces
}

// MCPTokenID names the token of a holder at a server.
func MCPTokenID(serverID, holder string) string { return serverID + "/" + holder }

// The holders of tokens.
const (
	mcpUser = "user:"
	mcpKey  = "key:"
	// MCPClient holds the gateway's own registration at the server's authorization server.
	MCPClient = "client"
)

// MCPHolder is whose token a principal uses: his user's, else his key's own, else the admin's.
func MCPHolder(p *Principal) string {
	switch {
	case p.Key == nil:
		return "admin"
	case p.Key.UserID != "":
		return mcpUser + p.Key.UserID
	}
	return mcpKey + p.Key.ID
}

// MCPTokenOf says whether the id is of a token of the user, or of one of all holders' at the server.
func MCPTokenOf(id, serverID, userID string) bool {
	server, holder, _ := strings.Cut(id, "/")
	return serverID != "" && server == serverID || userID != "" && holder == mcpUser+userID
}

// Canonicalize does nothing: nothing of it has two forms.
func (t *MCPToken) Canonicalize() {}

// Validate returns an *Invalid that says what is wrong.
func (t *MCPToken) Validate() error {
	server, holder, ok := strings.Cut(t.ID, "/")
	switch {
	case !ok || server == "" || holder == "" || len(t.ID) > 512 || strings.ContainsFunc(t.ID, func(r rune) bool { return r <= ' ' || r > '~' }):
		return invalidf("id", "%q is not the ids of a server and a holder with a slash between", t.ID)
	case t.Secret == nil:
		return invalidf("secret", "is missing")
	case len(t.Secret.Box) > 64<<10:
		return invalidf("secret", "is larger than 64 KiB")
	case len(t.Scopes) > maxMCPArg:
		return invalidf("scopes", "are longer than %d bytes", maxMCPArg)
	}
	return nil
}
