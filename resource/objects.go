package resource

import (
	"fmt"
	"slices"
	"strings"
)

// Objects are the things beside models that may be used: LiteLLM's object_permission. Each
// level of a request's chain may have some, and what is used is allowed by every level. A list
// that is empty allows all; entries are names or "prefix*".
//
// MCPServers, MCPAccessGroups, MCPToolsets and the servers of MCPTools are one list in four
// forms: where one of them says something, a server or tool that none names is not allowed. So
// are Agents and AgentAccessGroup.
type Objects struct {
	MCPServers       []string            `json:"mcp_servers,omitempty"`
	MCPAccessGroups  []string            `json:"mcp_access_groups,omitempty"`
	MCPTools         map[string][]string `json:"mcp_tool_permissions,omitempty"` // by server: no others of it
	MCPToolsets      []string            `json:"mcp_toolsets,omitempty"`
	BlockedTools     []string            `json:"blocked_tools,omitempty"` // "tool" or "server/tool"; win
	VectorStores     []string            `json:"vector_stores,omitempty"`
	Agents           []string            `json:"agents,omitempty"`
	AgentAccessGroup []string            `json:"agent_access_groups,omitempty"`
	SearchTools      []string            `json:"search_tools,omitempty"`
	Skills           []string            `json:"skills,omitempty"`
}

// Tool is a tool of an MCP server, with what it is part of. Without a Name it is the server.
type Tool struct {
	Server   string
	Others   []string // what else the server is called: its id, its alias
	Groups   []string // access groups of the server
	Name     string
	Toolsets []string // that have the tool, or for a server, some tool of it
	Whole    bool     // of a server: all of it is meant, with its prompts and resources, which no grant of single tools gives
}

// ObjectKind is a kind of thing that is allowed by name.
type ObjectKind string

// The kinds beside MCP servers and tools, which AllowsTool is for.
const (
	ObjectVectorStore ObjectKind = "vector_store"
	ObjectAgent       ObjectKind = "agent"
	ObjectSearchTool  ObjectKind = "search_tool"
	ObjectSkill       ObjectKind = "skill"
)

// MayUseTool says whether a principal may use an MCP server or one of its tools: whether every
// level of it does, by its objects or its access groups, and of extra, such as the end user's. If not, by is the
// level that refuses.
func (p *Principal) MayUseTool(cat *Catalog, t *Tool, extra ...Level) (by Level, ok bool) {
	return allLevels(p, extra, func(p *Policy) bool { return p.Objects.AllowsTool(t) || cat.givesTool(p, t) })
}

// MayUse is MayUseTool for the other kinds; groups are access groups of an agent.
func (p *Principal) MayUse(kind ObjectKind, name string, groups []string, extra ...Level) (by Level, ok bool) {
	return allLevels(p, extra, func(p *Policy) bool { return p.Objects.Allows(kind, name, groups...) })
}

func allLevels(p *Principal, extra []Level, allows func(*Policy) bool) (Level, bool) {
	var room [8]Level
	for _, l := range append(p.Levels(room[:0]), extra...) {
		if l.Policy != nil && !allows(l.Policy) {
			return l, false
		}
	}
	return Level{}, true
}

// AllowsTool says whether the objects of one level allow a server or a tool; nil allows all.
func (o *Objects) AllowsTool(t *Tool) bool {
	if o == nil {
		return true
	}
	if o.blocks(t) {
		return false
	}
	servers := t.servers()
	if !t.Whole && anyNamed(o.MCPToolsets, t.Toolsets) {
		return true
	}
	for _, server := range servers {
		if tools, bound := o.MCPTools[server]; bound {
			return t.Name == "" && !t.Whole || named(tools, t.Name) // of all tools "*" alone is the name
		}
	}
	return o.namesNoMCP() || anyNamed(o.MCPServers, servers) || anyNamed(o.MCPAccessGroups, t.Groups)
}

// blocks says whether the objects of one level refuse a tool, whoever gives it.
func (o *Objects) blocks(t *Tool) bool {
	if o == nil || t.Name == "" || len(o.BlockedTools) == 0 {
		return false
	}
	return named(o.BlockedTools, t.Name) || slices.ContainsFunc(t.servers(), func(s string) bool { return named(o.BlockedTools, s+"/"+t.Name) })
}

// servers are all that the tool's server is called.
func (t *Tool) servers() []string { return append([]string{t.Server}, t.Others...) }

// grantsTool says whether the objects of one level name a server or a tool, beyond allowing it.
func (o *Objects) grantsTool(t *Tool) bool { return o != nil && !o.namesNoMCP() && o.AllowsTool(t) }

// MayUseServer says whether a principal may use a tool of an MCP server, or the server: it is
// the one authoriser of lists and calls. Every level allows it, of the extra ones too, and if the
// server is not open to all keys one of the principal's own levels names it. What the client
// says of itself, its end user and its tags, can only take away. An admin needs no grant.
func (p *Principal) MayUseServer(cat *Catalog, t *Tool, open bool, extra ...Level) bool {
	if _, ok := p.MayUseTool(cat, t, extra...); !ok {
		return false
	}
	if open || p.IsAdmin() {
		return true
	}
	var room [8]Level
	return slices.ContainsFunc(p.Levels(room[:0]), func(l Level) bool {
		return l.Policy != nil && (l.Policy.Objects.grantsTool(t) || cat.givesTool(l.Policy, t))
	})
}

// namesNoMCP says that no server or tool is named.
func (o *Objects) namesNoMCP() bool {
	return len(o.MCPServers)+len(o.MCPAccessGroups)+len(o.MCPTools)+len(o.MCPToolsets) == 0
}

// Allows says whether the objects of one level allow a thing by its name; nil allows all.
func (o *Objects) Allows(kind ObjectKind, name string, groups ...string) bool {
	if o == nil {
		return true
	}
	switch kind {
	case ObjectVectorStore:
		return len(o.VectorStores) == 0 || named(o.VectorStores, name)
	case ObjectSearchTool:
		return len(o.SearchTools) == 0 || named(o.SearchTools, name)
	case ObjectSkill:
		return len(o.Skills) == 0 || named(o.Skills, name)
	case ObjectAgent:
		return len(o.Agents)+len(o.AgentAccessGroup) == 0 || named(o.Agents, name) || anyNamed(o.AgentAccessGroup, groups)
	}
	return false
}

func named(list []string, name string) bool {
	return slices.ContainsFunc(list, func(entry string) bool { return matches(entry, name) })
}

func anyNamed(list, names []string) bool {
	return slices.ContainsFunc(names, func(name string) bool { return named(list, name) })
}

// objectList is a list that allows by name. Lists of one union stand for each other: where one
// of them has something, an empty one has nothing.
type objectList struct {
	name, union string
	of          func(*Objects) []string
}

// objectLists is the table of them.
var objectLists = []objectList{
	{"mcp_servers", "mcp", func(o *Objects) []string { return o.MCPServers }},
	{"mcp_access_groups", "mcp", func(o *Objects) []string { return o.MCPAccessGroups }},
	{"mcp_toolsets", "mcp", func(o *Objects) []string { return o.MCPToolsets }},
	{"mcp_tool_permissions", "mcp", func(o *Objects) []string { return sortedKeys(o.MCPTools) }},
	{"vector_stores", "vector_stores", func(o *Objects) []string { return o.VectorStores }},
	{"agents", "agents", func(o *Objects) []string { return o.Agents }},
	{"agent_access_groups", "agents", func(o *Objects) []string { return o.AgentAccessGroup }},
	{"search_tools", "search_tools", func(o *Objects) []string { return o.SearchTools }},
	{"skills", "skills", func(o *Objects) []string { return o.Skills }},
}

func (o *Objects) validate(field string) error {
	if o == nil {
		return nil
	}
	for _, l := range objectLists {
		if err := validNames(field+"."+l.name, l.of(o)); err != nil {
			return err
		}
	}
	for _, server := range sortedKeys(o.MCPTools) {
		if err := validNames(field+".mcp_tool_permissions."+server, o.MCPTools[server]); err != nil {
			return err
		}
	}
	return validNames(field+".blocked_tools", o.BlockedTools)
}

// Within returns an *Invalid for the first list that has more than the grantor has.
func (o *Objects) Within(grantor *Objects, called Called) error {
	if field, what := o.beyond(grantor, nil, called); what != "" {
		return invalidf("objects."+field, "%s is more than the key that grants it has", what)
	}
	return nil
}

// over finds what a child is given in so many words that its parent has not; what is empty
// inherits, for a request passes the parent too. The parent has what the groups give, too.
func (o *Objects) over(parent *Objects, groups []*AccessGroup, called Called) (field, what string) {
	if o == nil || parent == nil {
		return "", ""
	}
	return o.compare(parent, groups, called, true)
}

// beyond finds what a child has that a bound has not, where what is empty has all.
func (o *Objects) beyond(bound *Objects, groups []*AccessGroup, called Called) (field, what string) {
	if bound == nil {
		return "", ""
	}
	if o == nil {
		o = &Objects{}
	}
	return o.compare(bound, groups, called, false)
}

// Ungranted finds an MCP server, or a tool, that o names and none of the levels does, any of which may be nil.
func (o *Objects) Ungranted(called Called, levels ...*Objects) (field, what string) {
	granted := func(one *Objects) bool {
		return slices.ContainsFunc(levels, func(l *Objects) bool {
			if l == nil || l.namesNoMCP() {
				return false
			}
			_, more := one.beyond(&Objects{MCPServers: l.MCPServers, MCPAccessGroups: l.MCPAccessGroups, MCPTools: l.MCPTools, MCPToolsets: l.MCPToolsets}, nil, called)
			return more == ""
		})
	}
	for _, server := range o.MCPServers {
		if !granted(&Objects{MCPServers: []string{server}}) {
			return "mcp_servers", fmt.Sprintf("%q", server)
		}
	}
	for _, group := range o.MCPAccessGroups {
		if !granted(&Objects{MCPAccessGroups: []string{group}}) {
			return "mcp_access_groups", fmt.Sprintf("%q", group)
		}
	}
	for _, set := range o.MCPToolsets {
		if !granted(&Objects{MCPToolsets: []string{set}}) {
			return "mcp_toolsets", fmt.Sprintf("%q", set)
		}
	}
	for _, server := range sortedKeys(o.MCPTools) {
		if !granted(&Objects{MCPTools: map[string][]string{server: o.MCPTools[server]}}) {
			return "mcp_tool_permissions", fmt.Sprintf("%q", server)
		}
	}
	return "", ""
}

func (o *Objects) compare(p *Objects, groups []*AccessGroup, called Called, inherits bool) (field, what string) {
	for i := range objectLists {
		l := &objectLists[i]
		if !p.says(l.union) {
			continue
		}
		if !o.says(l.union) {
			if inherits {
				continue
			}
			return l.name, "any"
		}
		for _, entry := range l.of(o) {
			if !l.covers(p, entry, called) && !slices.ContainsFunc(groups, func(g *AccessGroup) bool { return g.covers(l.name, entry, o.MCPTools[entry], called) }) {
				return l.name, fmt.Sprintf("%q", entry)
			}
		}
	}
	if field, what := o.compareTools(p, called, inherits); what != "" {
		return field, what
	}
	for _, tool := range p.BlockedTools {
		if !inherits && !o.withholds(tool, called) {
			return "blocked_tools", "to be without " + tool
		}
	}
	return "", ""
}

// says says whether any list of a union names something.
func (o *Objects) says(union string) bool {
	return slices.ContainsFunc(objectLists, func(l objectList) bool { return l.union == union && len(l.of(o)) > 0 })
}

// covers says whether p has what an entry of another's list has. The keys of MCPTools are
// servers, letter for letter. A server is the same whatever it is called.
func (l *objectList) covers(p *Objects, entry string, called Called) bool {
	switch l.name {
	case "mcp_servers":
		return called.any(entry, func(name string) bool {
			_, ok := p.MCPTools[name]
			return ok && !strings.HasSuffix(name, "*") || named(p.MCPServers, name)
		})
	case "mcp_tool_permissions":
		return called.any(entry, func(name string) bool {
			_, ok := p.MCPTools[name]
			return ok || named(p.MCPServers, name)
		})
	}
	return named(l.of(p), entry)
}

// compareTools finds a tool of a server some of whose tools alone the parent has.
func (o *Objects) compareTools(p *Objects, called Called, inherits bool) (field, what string) {
	if len(p.MCPTools) == 0 {
		return "", ""
	}
	for _, server := range append(sortedKeys(p.MCPTools), sortedKeys(o.MCPTools)...) {
		names := called.names(server)
		have, bound := p.toolsOf(names)
		if !bound {
			continue // covers asked about it
		}
		tools, bound := o.toolsOf(names)
		if !bound {
			if !inherits && (anyNamed(o.MCPServers, names) || len(o.MCPAccessGroups) > 0) {
				return "mcp_tool_permissions." + server, "any"
			}
			continue
		}
		for _, tool := range tools {
			if !named(have, tool) {
				return "mcp_tool_permissions." + server, fmt.Sprintf("%q", tool)
			}
		}
	}
	return "", ""
}
