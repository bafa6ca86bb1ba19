package mcp

import (
	"slices"
	"strings"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/resource"
)

// separator stands between a server's prefix, which has none, and the name of its tool.
const separator = "-"

// may decides whether the caller has a server, or a tool of it; tool is "" for the server itself.
func (c *caller) may(s *resource.MCPServer, tool string) bool {
	return (tool == "" || s.Offers(tool)) && c.mayUse(s, resource.Tool{Name: tool})
}

// mayRead decides the same of a server's prompts and resources: who is granted single tools of it has none.
func (c *caller) mayRead(s *resource.MCPServer) bool { return c.mayUse(s, resource.Tool{Whole: true}) }

// mayUse fills in which server the tool is one of.
func (c *caller) mayUse(s *resource.MCPServer, t resource.Tool) bool {
	if s.Disabled {
		return false
	}
	t.Server, t.Others, t.Groups = s.Name, []string{s.ID}, s.AccessGroups
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

// readable lists those of them whose prompts and resources the caller may read.
func (c *caller) readable() []*resource.MCPServer {
	return slices.DeleteFunc(c.servers(), func(s *resource.MCPServer) bool { return !c.mayRead(s) })
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
