package mcp

import (
	"slices"
	"strings"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/resource"
)

// separator stands between a server's prefix, which has none, and the name of its tool.
const separator = "-"

// may is the one place that decides whether the caller has a server, or a tool of it; tool is
// "" for the server itself.
func (c *caller) may(s *resource.MCPServer, tool string) bool {
	if s.Disabled || tool != "" && !s.Offers(tool) {
		return false
	}
	t := resource.Tool{Server: s.Name, Others: []string{s.ID}, Groups: s.AccessGroups, Name: tool}
	if s.Alias != "" {
		t.Others = append(t.Others, s.Alias)
	}
	return c.who.MayUseServer(c.cat, &t, s.AllowAllKeys, c.further...)
}

// servers lists the servers that the caller has and wants.
func (c *caller) servers() (out []*resource.MCPServer) {
	for _, s := range c.cat.Tables().MCPServers {
		if c.wants(s) && c.may(s, "") {
			out = append(out, s)
		}
	}
	return out
}

// wants says whether the client asks for a server, by path or header. It takes away only.
func (c *caller) wants(s *resource.MCPServer) bool {
	called := func(name string) bool { return name == s.Name || name == s.Alias && name != "" || name == s.ID }
	if c.server != "" && !called(c.server) {
		return false
	}
	return c.selected == nil || slices.ContainsFunc(c.selected, func(name string) bool {
		return called(name) || slices.Contains(s.AccessGroups, name)
	})
}

// find finds the server of a tool or prompt by its full name. At the path of one server the
// prefix may be left out. Who may not use it learns the same as of one that is not there.
func (c *caller) find(name string) (s *resource.MCPServer, own string, err error) {
	if prefix, rest, ok := strings.Cut(name, separator); ok {
		if s, found := c.cat.MCPServer(prefix); found && rest != "" && c.wants(s) && c.may(s, "") {
			return s, rest, nil
		}
	}
	if all := c.servers(); c.server != "" && len(all) == 1 && name != "" {
		return all[0], name, nil
	}
	return nil, "", unknown(name)
}

// tool is find of a tool that the caller may call.
func (c *caller) tool(name string) (*resource.MCPServer, string, error) {
	s, own, err := c.find(name)
	if err != nil {
		return nil, "", err
	}
	if !c.may(s, own) {
		return nil, "", unknown(name)
	}
	return s, own, nil
}

// unknown is the error of what is not there, or not for the caller.
func unknown(name string) error {
	if len(name) > 128 {
		name = name[:128]
	}
	return &llm.Error{Kind: llm.NotFound, Code: "mcp_not_found", Param: "name", Message: "There is no " + strings.ToValidUTF8(name, "") + " here that this key may use."}
}
