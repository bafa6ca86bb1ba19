package resource

import (
	"slices"
	"strings"
)

// Called finds all that an MCP server is called, its name, id and alias in that order, by one of them. What no server
// is called, or two are, has no other name: nil, and so has all with a nil Called.
type Called func(ref string) []string

// CalledAmong is a Called that looks among servers, which are listed when they are first asked for.
func CalledAmong(list func() []*MCPServer) Called {
	var all []*MCPServer
	listed := false
	return func(ref string) (names []string) {
		if !listed {
			all, listed = list(), true
		}
		for _, s := range all {
			if own := s.names(); slices.Contains(own, ref) {
				if names != nil {
					return nil
				}
				names = own
			}
		}
		return names
	}
}

// names are all that the server is called, in the order in which lists of its tools are looked up.
func (s *MCPServer) names() []string {
	if s.Alias == "" {
		return []string{s.Name, s.ID}
	}
	return []string{s.Name, s.ID, s.Alias}
}

// names are all that a server is called which an entry of a list names.
func (f Called) names(entry string) []string {
	if f != nil {
		if all := f(entry); all != nil {
			return all
		}
	}
	return []string{entry}
}

// any says whether one of the names of an entry's server fits.
func (f Called) any(entry string, fits func(name string) bool) bool {
	return fits(entry) || f != nil && slices.ContainsFunc(f(entry), fits)
}

// toolsOf is the list of the tools of a server that the objects name one by one.
func (o *Objects) toolsOf(names []string) (tools []string, bound bool) {
	for _, name := range names {
		if tools, bound = o.MCPTools[name]; bound {
			return tools, true
		}
	}
	return nil, false
}

// withholds says whether the objects block what another's entry of blocked_tools does.
func (o *Objects) withholds(entry string, called Called) bool {
	server, tool, ok := strings.Cut(entry, "/")
	if !ok {
		return slices.Contains(o.BlockedTools, entry)
	}
	return called.any(server, func(name string) bool { return slices.Contains(o.BlockedTools, name+"/"+tool) })
}
