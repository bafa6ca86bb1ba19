package resource

import (
	"encoding/json"
	"slices"
	"strings"
)

// MCPTransport is how a server of the Model Context Protocol is reached.
type MCPTransport string

// The transports.
const (
	MCPTransportHTTP  MCPTransport = "http"  // streamable HTTP
	MCPTransportSSE   MCPTransport = "sse"   // the older one of 2024-11-05
	MCPTransportStdio MCPTransport = "stdio" // a process of each node
	// MCPTransportOpenAPI is no server: its tools are the operations of an HTTP API, which Spec describes.
	MCPTransportOpenAPI MCPTransport = "openapi"
)

// MCPAuth is how the gateway proves to an MCP server who it is.
type MCPAuth string

// The ways. The token is the secret MCPSecretAuth, or the credential's key.
const (
	MCPAuthNone   MCPAuth = "none"
	MCPAuthBearer MCPAuth = "bearer_token"  // Authorization: Bearer TOKEN
	MCPAuthKey    MCPAuth = "api_key"       // X-API-Key: TOKEN, or the header that auth_header names
	MCPAuthBasic  MCPAuth = "basic"         // Authorization: Basic, of the text user:password
	MCPAuthRaw    MCPAuth = "authorization" // Authorization: TOKEN
	MCPAuthOAuth  MCPAuth = "oauth2"        // Authorization: Bearer, of a token that an authorization server gives: MCPOAuth
)

// The secrets of an MCP server, by name.
const (
	MCPSecretAuth   = "auth"    // what it is authenticated with
	MCPSecretEnv    = "env."    // and the name of a variable of the process
	MCPSecretHeader = "header." // and the name of a header of every request
)

const (
	maxMCPName  = 48 // with the tool's it is the name of a function
	maxMCPLists = 256
	maxMCPArg   = 4096
)

// MCPServer is a server of the Model Context Protocol whose tools, prompts and resources the
// gateway serves. Nothing but a record of one makes a node start a process or dial it.
type MCPServer struct {
	Meta
	MCPUpstream
	Name            string           `json:"name,omitempty"`  // unique; letters, digits and _
	Alias           string           `json:"alias,omitempty"` // before its tools' names, instead of the name
	Description     string           `json:"description,omitempty"`
	AllowedTools    []string         `json:"allowed_tools,omitempty"`    // names or "prefix*"; empty: all
	DisallowedTools []string         `json:"disallowed_tools,omitempty"` // win
	CostPerCall     Money            `json:"cost_per_call,omitempty"`    // of a tool that ToolCosts does not have
	ToolCosts       map[string]Money `json:"tool_costs,omitempty"`       // by tool
	Guardrails      []string         `json:"guardrails,omitempty"`       // beside those that always apply
	AccessGroups    []string         `json:"access_groups,omitempty"`    // that keys and teams may name instead of it
	AllowAllKeys    bool             `json:"allow_all_keys,omitempty"`   // keys that name no server may use it
	Disabled        bool             `json:"disabled,omitempty"`
	TimeoutMS       int64            `json:"timeout_ms,omitempty"` // of a call; default 60 s
	Parallel        int64            `json:"parallel,omitempty"`   // calls in flight on a node; default 64
	Metadata        json.RawMessage  `json:"metadata,omitempty"`   // free JSON object
}

// MCPUpstream is where an MCP server is, and what it is told.
type MCPUpstream struct {
	Transport      MCPTransport       `json:"transport,omitempty"`
	URL            string             `json:"url,omitempty"`     // of http and sse; of openapi where the API is, default: the first server of a document that is a blob
	Spec           string             `json:"spec,omitempty"`    // of openapi: the document's digest among the blobs, or its URL
	Command        string             `json:"command,omitempty"` // of stdio
	Args           []string           `json:"args,omitempty"`
	Env            map[string]string  `json:"env,omitempty"`             // all that the process sees, with the secrets "env.NAME"
	Headers        map[string]string  `json:"headers,omitempty"`         // of every request, with the secrets "header.NAME"
	ForwardHeaders []string           `json:"forward_headers,omitempty"` // of the client that are passed on
	Auth           MCPAuth            `json:"auth,omitempty"`            // default: bearer_token if there is a token, else none
	AuthHeader     string             `json:"auth_header,omitempty"`     // of api_key
	OAuth          *MCPOAuth          `json:"oauth,omitempty"`           // of oauth2
	CredentialID   string             `json:"credential_id,omitempty"`
	Secrets        map[string]*Sealed `json:"secrets,omitempty"`
}

// Label implements Record.
func (s *MCPServer) Label() string { return s.Name }

// Prefix is what stands before the names of the server's tools.
func (s *MCPServer) Prefix() string {
	if s.Alias != "" {
		return s.Alias
	}
	return s.Name
}

// Offers says whether the server's own lists let the gateway serve a tool of it.
func (s *MCPServer) Offers(tool string) bool {
	return !named(s.DisallowedTools, tool) && (len(s.AllowedTools) == 0 || named(s.AllowedTools, tool))
}

// Cost is the price of one call of a tool.
func (s *MCPServer) Cost(tool string) Money {
	if c, ok := s.ToolCosts[tool]; ok {
		return c
	}
	return s.CostPerCall
}

// AuthKind is Auth, or its default.
func (u *MCPUpstream) AuthKind() MCPAuth {
	switch {
	case u.Auth != "":
		return u.Auth
	case u.CredentialID != "" || u.Secrets[MCPSecretAuth] != nil:
		return MCPAuthBearer
	}
	return MCPAuthNone
}

// Canonicalize implements Record.
func (s *MCPServer) Canonicalize() {
	if s.Transport == "" {
		s.Transport = MCPTransportHTTP
		switch {
		case s.Command != "":
			s.Transport = MCPTransportStdio
		case s.Spec != "":
			s.Transport = MCPTransportOpenAPI
		}
	}
}

// Validate implements Record.
func (s *MCPServer) Validate() error {
	if err := validPrefix("name", s.Name); err != nil {
		return err
	}
	if s.Alias != "" {
		if err := validPrefix("alias", s.Alias); err != nil {
			return err
		}
	}
	if len(s.Description) > maxMCPArg {
		return invalidf("description", "is longer than %d bytes", maxMCPArg)
	}
	for _, l := range []struct {
		field string
		names []string
	}{
		{"allowed_tools", s.AllowedTools},
		{"disallowed_tools", s.DisallowedTools},
		{"guardrails", s.Guardrails},
		{"access_groups", s.AccessGroups},
	} {
		if err := validNames(l.field, l.names); err != nil {
			return err
		}
	}
	if err := s.validateCosts(); err != nil {
		return err
	}
	if err := validTimeout("timeout_ms", s.TimeoutMS); err != nil {
		return err
	}
	if s.Parallel < 0 || s.Parallel > 4096 {
		return invalidf("parallel", "%d is not between 0 and 4096", s.Parallel)
	}
	if err := s.validate(); err != nil {
		return err
	}
	return validMetadata(s.Metadata)
}

func (s *MCPServer) validateCosts() error {
	if s.CostPerCall < 0 || s.CostPerCall > MaxMoney {
		return invalidf("cost_per_call", "%s is not between 0 and %s", s.CostPerCall, MaxMoney)
	}
	for _, tool := range sortedKeys(s.ToolCosts) {
		if err := validName("tool_costs", tool); err != nil {
			return err
		}
		if c := s.ToolCosts[tool]; c < 0 || c > MaxMoney {
			return invalidf("tool_costs."+tool, "%s is not between 0 and %s", c, MaxMoney)
		}
	}
	return nil
}

func (u *MCPUpstream) validate() error {
	if err := u.validatePlace(); err != nil {
		return err
	}
	if err := u.validateAuth(); err != nil {
		return err
	}
	for _, name := range sortedKeys(u.Headers) {
		if err := validHeader("headers", name, u.Headers[name]); err != nil {
			return err
		}
	}
	for _, name := range u.ForwardHeaders {
		if err := validHeader("forward_headers", name, ""); err != nil {
			return err
		}
	}
	for _, name := range sortedKeys(u.Env) {
		if err := validVariable("env", name, u.Env[name]); err != nil {
			return err
		}
	}
	for _, name := range sortedKeys(u.Secrets) {
		if err := u.validateSecret(name); err != nil {
			return err
		}
	}
	return nil
}

// validatePlace sees that the server is at an address or is a command, and not both.
func (u *MCPUpstream) validatePlace() error {
	if u.Spec != "" && u.Transport != MCPTransportOpenAPI {
		return invalidf("spec", "is for the transport openapi")
	}
	switch u.Transport {
	case MCPTransportHTTP, MCPTransportSSE, MCPTransportOpenAPI, "":
		if u.URL == "" && u.Transport != MCPTransportOpenAPI {
			return invalidf("url", "a server that is no command has one")
		}
		if u.Transport == MCPTransportOpenAPI && !ValidDigest(u.Spec) {
			if err := u.validateSpec(); err != nil {
				return err
			}
		}
		if u.Command != "" || len(u.Args) > 0 || len(u.Env) > 0 {
			return invalidf("command", "command, args and env are for the transport stdio")
		}
		return validBase("url", u.URL)
	case MCPTransportStdio:
	default:
		return invalidf("transport", "%q is not one of http, sse, stdio, openapi", u.Transport)
	}
	return u.validateCommand()
}

// validateSpec checks the URL of a document, which may change: it must not say where our secrets go.
func (u *MCPUpstream) validateSpec() error {
	switch {
	case u.Spec == "":
		return invalidf("spec", "an API has a document: the digest of a blob, or a URL")
	case len(u.Spec) > maxMCPArg:
		return invalidf("spec", "is longer than %d bytes", maxMCPArg)
	case u.URL == "":
		return invalidf("url", "is needed beside a document that is fetched: only a blob's own address is trusted")
	}
	return validBase("spec", u.Spec)
}

// validateCommand checks what a node runs.
func (u *MCPUpstream) validateCommand() error {
	if u.Command == "" || strings.ContainsRune(u.Command, 0) || len(u.Command) > maxMCPArg {
		return invalidf("command", "a stdio server has a command of at most %d bytes", maxMCPArg)
	}
	if u.URL != "" || len(u.Headers) > 0 || len(u.ForwardHeaders) > 0 {
		return invalidf("url", "url, headers and forward_headers are for servers that are no command")
	}
	if len(u.Args) > maxMCPLists {
		return invalidf("args", "more than %d are given", maxMCPLists)
	}
	for _, a := range u.Args {
		if len(a) > maxMCPArg || strings.ContainsRune(a, 0) {
			return invalidf("args", "one is longer than %d bytes or has a zero byte", maxMCPArg)
		}
	}
	return nil
}

func (u *MCPUpstream) validateAuth() error {
	switch u.AuthKind() {
	case MCPAuthNone:
	case MCPAuthBearer, MCPAuthKey, MCPAuthBasic, MCPAuthRaw, MCPAuthOAuth:
		if u.Transport == MCPTransportStdio {
			return invalidf("auth", "a stdio server is told its secrets in its environment")
		}
	default:
		return invalidf("auth", "%q is not one of none, bearer_token, api_key, basic, authorization, oauth2", u.Auth)
	}
	if u.OAuth != nil && u.Auth != MCPAuthOAuth {
		return invalidf("oauth", "is for the auth oauth2")
	}
	if err := u.OAuth.validate(); err != nil {
		return err
	}
	if u.AuthHeader == "" {
		return nil
	}
	if u.Auth != MCPAuthKey {
		return invalidf("auth_header", "is for the auth api_key")
	}
	return validHeader("auth_header", u.AuthHeader, "")
}

// validateSecret checks the name of a secret, of which there are three kinds.
func (u *MCPUpstream) validateSecret(name string) error {
	field := "secrets." + name
	if len(u.Secrets) > maxOptions {
		return invalidf("secrets", "more than %d are given", maxOptions)
	}
	if variable, ok := strings.CutPrefix(name, MCPSecretEnv); ok {
		if _, twice := u.Env[variable]; twice {
			return invalidf(field, "is given in env too")
		}
		return validVariable(field, variable, "")
	}
	if header, ok := strings.CutPrefix(name, MCPSecretHeader); ok {
		return validHeader(field, header, "")
	}
	if name != MCPSecretAuth && name != MCPSecretClient {
		return invalidf(field, "%q is not one of auth, client_secret, env.NAME, header.NAME", name)
	}
	return nil
}

// validPrefix allows what can stand before the name of a tool, up to a dash that is then the
// first one, in the name of a function.
func validPrefix(field, name string) error {
	ok := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_'
	}
	if name == "" || len(name) > maxMCPName || strings.IndexFunc(name, func(r rune) bool { return !ok(r) }) >= 0 {
		return invalidf(field, "%q has not 1 to %d letters, digits and underscores; the dash ends it in the names of tools", name, maxMCPName)
	}
	return nil
}

// unsent are the headers that belong to the connection or the protocol.
var unsent = []string{
	"host", "content-length", "content-type", "connection", "transfer-encoding", "upgrade", "te", "trailer", "keep-alive",
	"proxy-connection", "accept", "accept-encoding", "mcp-session-id", "mcp-protocol-version", "last-event-id",
}

// validHeader allows what RFC 9110 calls a token, and a value on one line.
func validHeader(field, name, value string) error {
	const marks = "!#$%&'*+-.^_`|~"
	bad := func(r rune) bool {
		letter := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
		return !letter && !strings.ContainsRune(marks, r)
	}
	if name == "" || len(name) > 128 || strings.IndexFunc(name, bad) >= 0 {
		return invalidf(field, "%q is no name of a header", name)
	}
	if slices.Contains(unsent, strings.ToLower(name)) {
		return invalidf(field, "%s is the protocol's own", name)
	}
	if len(value) > maxMCPArg || strings.ContainsAny(value, "\r\n\x00") {
		return invalidf(field+"."+name, "is longer than %d bytes or holds a line end", maxMCPArg)
	}
	return nil
}

// validVariable allows a variable of a process's environment.
func validVariable(field, name, value string) error {
	if name == "" || len(name) > 128 || strings.ContainsAny(name, "= \t\r\n\x00") {
		return invalidf(field, "%q is no name of a variable", name)
	}
	if len(value) > maxMCPArg || strings.ContainsRune(value, 0) {
		return invalidf(field+"."+name, "is longer than %d bytes or has a zero byte", maxMCPArg)
	}
	return nil
}
