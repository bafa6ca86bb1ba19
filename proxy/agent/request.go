package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/conclave-llm/conclave/llm"
)

// The address by which a client names the gateway itself, and with a path behind it one of its servers.
const (
	ownAddress = "litellm_proxy"
	ownServer  = ownAddress + "/mcp/"
)

// maxServers bounds the servers that a request may name.
const maxServers = 64

// Server is an entry of a request's tools that names MCP servers.
type Server struct {
	Label   string
	URL     string   // of one server; "" if Names say which
	Names   []string // of servers of the gateway; nil and URL "": all that the key has
	Allowed []string // tools by their own or full names; nil: all
	Denied  []string // likewise
	// ReadOnly takes only tools that say that they change nothing.
	ReadOnly bool
	// Headers are the client's for the servers, as far as they want them.
	Headers map[string]string
	approve approval
}

// approval says which calls wait for the client's approval.
type approval struct {
	always bool     // those that no list names
	asks   []string // do
	free   []string // do not
}

func (a *approval) wanted(tool string) bool {
	switch {
	case slices.Contains(a.asks, tool):
		return true
	case slices.Contains(a.free, tool):
		return false
	}
	return a.always
}

// Tool is one tool of a server that a request may use.
type Tool struct {
	Label       string          // of the entry that named the server
	Name        string          // at the server; with its prefix where the entry stands for several
	Full        string          // by which the gateway calls it
	Description string          // for the model
	Schema      json.RawMessage // of its arguments

	function string // the model's name for it
	asks     bool   // the client has to approve
}

// Result is what a tool answered.
type Result struct {
	Text   string
	Failed bool
}

// Toolset lists and calls the tools of MCP servers for one client.
type Toolset interface {
	// Tools lists the tools of the servers that an entry names. A server that is not registered,
	// or not for the client, is an *llm.Error.
	Tools(ctx context.Context, s *Server) ([]Tool, error)
	// Call calls a tool by its full name. An *llm.Error of kind OverBudget, Canceled or Internal
	// ends the request; the model is told of any other.
	Call(ctx context.Context, s *Server, full string, arguments json.RawMessage) (Result, error)
}

// Request is a request that has to do with the tools of MCP servers.
type Request struct {
	at      llm.Endpoint
	doc     object
	stream  bool
	servers []Server
	rest    []json.RawMessage // the other tools
}

// Speaks says whether the endpoint's requests may name MCP servers.
func Speaks(at llm.Endpoint) bool {
	return at == llm.Chat || at == llm.Responses || at == llm.Messages
}

// Read reads a request, whose syntax was checked; nil if it has nothing to do with MCP servers.
// Errors are *llm.Error.
func Read(at llm.Endpoint, body []byte, f *llm.Fields) (*Request, error) {
	if !f.HasMCP && !remembers(at, body) {
		return nil, nil
	}
	doc, err := readObject(body)
	if err != nil {
		return nil, invalid("", "The request cannot be read: "+err.Error())
	}
	r := &Request{at: at, doc: doc, stream: f.Stream}
	for i, raw := range doc.list("tools") {
		field := fmt.Sprintf("tools[%d]", i)
		kind, err := toolType(raw)
		if err != nil {
			return nil, invalid(field, err.Error())
		}
		if kind != "mcp" && kind != "mcp_toolset" {
			r.rest = append(r.rest, raw)
			continue
		}
		if kind == "mcp" {
			err = r.addServer(raw, field)
		} else if at != llm.Messages {
			err = invalid(field, `has the type "mcp_toolset", which is for Anthropic's messages`)
		}
		if err != nil {
			return nil, err
		}
	}
	if err := r.addConnected(); err != nil {
		return nil, err
	}
	if len(r.servers) > maxServers {
		return nil, invalid("tools", fmt.Sprintf("name more than %d MCP servers", maxServers))
	}
	if len(r.servers) == 0 && !r.remembers() {
		return nil, nil // its bytes stay as they are
	}
	return r, nil
}

// left are the types of items and blocks that calls of an earlier answer leave.
var left = map[llm.Endpoint][]string{
	llm.Responses: {itemList, itemCall, itemApproval, itemApproved},
	llm.Messages:  {blockMCPUse, blockMCPDone},
}

// remembers says whether a request may hold what calls of an earlier answer left.
func remembers(at llm.Endpoint, body []byte) bool {
	return slices.ContainsFunc(left[at], func(kind string) bool { return bytes.Contains(body, []byte(kind)) })
}

// remembers says whether the request holds it, and does not only talk of it.
func (r *Request) remembers() bool {
	has := func(list []json.RawMessage) bool {
		return slices.ContainsFunc(list, func(raw json.RawMessage) bool {
			o, err := readObject(raw)
			return err == nil && slices.Contains(left[r.at], o.text("type"))
		})
	}
	if r.at == llm.Responses {
		return has(r.doc.list("input"))
	}
	return r.at == llm.Messages && slices.ContainsFunc(r.doc.list("messages"), func(raw json.RawMessage) bool {
		m, err := readObject(raw)
		return err == nil && has(m.list("content"))
	})
}

// Named says whether a body, whose syntax was checked, names an MCP server anywhere: a provider
// that speaks the protocol itself would connect to it.
func Named(body []byte) bool {
	if !bytes.Contains(body, []byte("mcp")) && !bytes.Contains(body, []byte(`\u00`)) {
		return false
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	var v any
	return dec.Decode(&v) != nil || names(v)
}

func names(v any) bool {
	switch v := v.(type) {
	case []any:
		return slices.ContainsFunc(v, names)
	case map[string]any:
		kind, _ := v["type"].(string)
		if _, servers := v["mcp_servers"]; servers || kind == "mcp_toolset" {
			return true
		}
		for _, name := range []string{"server_url", "connector_id", "server_label"} {
			if _, ok := v[name]; ok && kind == "mcp" {
				return true
			}
		}
		for _, inner := range v {
			if names(inner) {
				return true
			}
		}
	}
	return false
}

// toolType is the type of a tool. One that says it twice is refused: readers disagree on which
// one counts.
func toolType(raw json.RawMessage) (kind string, err error) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	if first, err := dec.Token(); err != nil || first != json.Delim('{') {
		return "", nil // no object: the provider says what is wrong with it
	}
	said := 0
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return "", err
		}
		var v json.RawMessage
		if err := dec.Decode(&v); err != nil {
			return "", err
		}
		if name != "type" {
			continue
		}
		if said++; said > 1 {
			return "", fmt.Errorf("has two types")
		}
		if json.Unmarshal(v, &kind) != nil {
			return "", fmt.Errorf("has a type that is no string")
		}
	}
	return kind, nil
}

// entry is a tool of the type "mcp".
type entry struct {
	Label         string            `json:"server_label"`
	URL           string            `json:"server_url"`
	Connector     string            `json:"connector_id"`
	Authorization string            `json:"authorization"`
	Headers       map[string]string `json:"headers"`
	Allowed       json.RawMessage   `json:"allowed_tools"`
	Approval      json.RawMessage   `json:"require_approval"`
}

// addServer reads a tool of the type "mcp".
func (r *Request) addServer(raw json.RawMessage, field string) error {
	var in entry
	if err := json.Unmarshal(raw, &in); err != nil {
		return invalid(field, "is not read: "+err.Error())
	}
	if in.Connector != "" {
		return unregistered(field+".connector_id", in.Connector)
	}
	s := Server{Label: in.Label, Headers: in.Headers}
	if err := s.place(in.URL, field+".server_url"); err != nil {
		return err
	}
	if s.Label == "" {
		s.Label = strings.Join(s.Names, "_")
	}
	if s.Label == "" {
		s.Label = "mcp"
	}
	if in.Authorization != "" {
		s.header("Authorization", "Bearer "+in.Authorization)
	}
	if err := s.readAllowed(in.Allowed, field+".allowed_tools"); err != nil {
		return err
	}
	if err := s.approve.read(in.Approval, field+".require_approval"); err != nil {
		return err
	}
	return r.add(s, field)
}

// add takes an entry, whose label must be its own.
func (r *Request) add(s Server, field string) error {
	if slices.ContainsFunc(r.servers, func(o Server) bool { return o.Label == s.Label }) {
		return invalid(field, fmt.Sprintf("has the label %q, as another entry has", clip(s.Label)))
	}
	r.servers = append(r.servers, s)
	return nil
}

func (s *Server) header(name, value string) {
	if s.Headers == nil {
		s.Headers = map[string]string{}
	}
	s.Headers[name] = value
}

// place reads where the servers are: all of the gateway's, some of them by name, or one by its address.
func (s *Server) place(url, field string) error {
	switch names, ours := strings.CutPrefix(url, ownServer); {
	case url == ownAddress:
	case ours:
		for name := range strings.SplitSeq(names, ",") {
			if name = strings.TrimSpace(name); name != "" {
				s.Names = append(s.Names, name)
			}
		}
		if s.Names == nil {
			return invalid(field, "names no server behind "+ownServer)
		}
	case url == "":
		return invalid(field, "is missing: give the address of a registered server, or "+ownAddress)
	default:
		s.URL = url
	}
	return nil
}

// readAllowed reads which tools are wanted: names, or an object that has them.
func (s *Server) readAllowed(raw json.RawMessage, field string) error {
	if len(raw) == 0 || string(raw) == "null" {
		return nil
	}
	if json.Unmarshal(raw, &s.Allowed) == nil {
		return nil
	}
	var in struct {
		Names    []string `json:"tool_names"`
		ReadOnly bool     `json:"read_only"`
	}
	if err := json.Unmarshal(raw, &in); err != nil {
		return invalid(field, `must be a list of names, or {"tool_names": […], "read_only": …}`)
	}
	s.Allowed, s.ReadOnly = in.Names, in.ReadOnly
	return nil
}

// read reads who approves: "always", which is what is taken for granted, "never", or lists of tools.
func (a *approval) read(raw json.RawMessage, field string) error {
	a.always = true
	if len(raw) == 0 || string(raw) == "null" {
		return nil
	}
	var word string
	if json.Unmarshal(raw, &word) == nil {
		a.always = word != "never"
		if word != "never" && word != "always" {
			return invalid(field, `must be "always", "never" or lists of tools`)
		}
		return nil
	}
	var in struct {
		Always struct {
			Names []string `json:"tool_names"`
		} `json:"always"`
		Never struct {
			Names []string `json:"tool_names"`
		} `json:"never"`
	}
	if err := json.Unmarshal(raw, &in); err != nil {
		return invalid(field, `must be "always", "never" or {"always": {"tool_names": […]}, "never": {"tool_names": […]}}`)
	}
	a.asks, a.free = in.Always.Names, in.Never.Names
	return nil
}

func invalid(field, what string) error {
	e := &llm.Error{Kind: llm.Invalid, Code: "invalid_value", Param: field, Message: what}
	if field != "" {
		e.Message = field + " " + what + "."
	}
	return e
}

// unregistered refuses a server that is not the gateway's, or not for the client.
func unregistered(field, name string) error {
	e := Unregistered(name)
	e.Param = field
	return e
}

// Unregistered is the error of a server that is not registered, or not for the client, who
// learns the same of both.
func Unregistered(name string) *llm.Error {
	return &llm.Error{
		Kind: llm.Forbidden, Type: "mcp_access_denied", Code: "mcp_server_not_allowed", Param: "tools", NoRetry: true,
		Message: fmt.Sprintf("There is no MCP server %q that this key may use. Servers are registered by an admin; nothing else is connected to.", clip(name)),
	}
}

// Elsewhere is the error of a request that names MCP servers where they cannot be used.
func Elsewhere() error {
	return &llm.Error{
		Kind: llm.Forbidden, Type: "mcp_access_denied", Code: "mcp_not_served_here", Param: "tools", NoRetry: true,
		Message: "MCP servers can be named in chat completions, responses and messages alone, where the gateway calls them. No provider is told of one.",
	}
}

// clip bounds what of a client's name is said again.
func clip(s string) string {
	if len(s) > 200 {
		s = s[:200]
	}
	return strings.ToValidUTF8(s, "")
}
