package resource

import "slices"

// The most that an access group names, and that a record may have of them.
const (
	maxAccessGroupNames = 4096
	maxAccessGroups     = 64
)

// AccessGroup is a set of models, MCP servers and tools that holders of a policy are given together
// (Policy.AccessGroupIDs). A group gives, and what a level above does not have stays out of
// reach. Who has groups and names no models has what they give alone: an empty list beside groups is no grant of
// every model (Policy.AnyModel).
//
// Its budgets and limits hold for all requests for its models together, whoever sends them: each request and
// each fallback is charged to every group that has its model (Catalog.ModelLevels).
//
// A name in a model's own access_groups is another thing: a word that lists of models may name.
type AccessGroup struct {
	Meta
	Allowance                       // of all requests for its models, whoever sends them
	Name        string              `json:"name,omitempty"` // unique
	Description string              `json:"description,omitempty"`
	Models      []string            `json:"models,omitempty"`               // as of Policy; none: it gives no model
	MCPServers  []string            `json:"mcp_servers,omitempty"`          // names, ids, aliases or "prefix*"
	MCPTools    map[string][]string `json:"mcp_tool_permissions,omitempty"` // by server: of it these tools alone
}

// Label implements Record.
func (g *AccessGroup) Label() string { return g.Name }

// Canonicalize implements Record.
func (g *AccessGroup) Canonicalize() { g.canonicalize() }

// Validate implements Record.
func (g *AccessGroup) Validate() error {
	if err := validName("name", g.Name); err != nil {
		return err
	}
	if len(g.Description) > maxMCPArg {
		return invalidf("description", "is longer than %d bytes", maxMCPArg)
	}
	if err := validNames("models", g.Models); err != nil {
		return err
	}
	if err := validNames("mcp_servers", g.MCPServers); err != nil {
		return err
	}
	for _, server := range sortedKeys(g.MCPTools) {
		if err := validNames("mcp_tool_permissions", append([]string{server}, g.MCPTools[server]...)); err != nil {
			return err
		}
	}
	if n := len(g.Models) + len(g.MCPServers) + len(g.MCPTools); n > maxAccessGroupNames {
		return invalidf("models", "%d models and servers are more than %d", n, maxAccessGroupNames)
	}
	return g.validate()
}

// gives says whether the group has the model.
func (g *AccessGroup) gives(m *Model) bool {
	return len(g.Models) > 0 && AllowsModel(g.Models, m.Name, m.AccessGroups...)
}

// givesTool says whether the group has a server or a tool.
func (g *AccessGroup) givesTool(t *Tool) bool { return g.objects().grantsTool(t) }

// objects are the group's servers and tools as those of a policy.
func (g *AccessGroup) objects() *Objects {
	return &Objects{MCPServers: g.MCPServers, MCPTools: g.MCPTools}
}

// instead is the objects of a policy with the group's servers and tools in the place of their own.
func (g *AccessGroup) instead(of *Objects) *Objects {
	var o Objects
	if of != nil {
		o = *of
	}
	o.MCPServers, o.MCPTools, o.MCPAccessGroups, o.MCPToolsets = g.MCPServers, g.MCPTools, nil, nil
	return &o
}

// covers says whether the group has whatever an entry of a policy's list of servers has; tools are those of the
// entry, if it is one of mcp_tool_permissions.
func (g *AccessGroup) covers(list, entry string, tools []string, called Called) bool {
	whole := len(g.MCPTools) == 0 && called.any(entry, func(name string) bool { return named(g.MCPServers, name) })
	switch list {
	case "mcp_servers":
		return whole
	case "mcp_tool_permissions":
		given, bound := g.objects().toolsOf(called.names(entry))
		return whole || bound && !slices.ContainsFunc(tools, func(tool string) bool { return !named(given, tool) })
	}
	return false
}

// validateGroups checks the references of a policy to access groups.
func (p *Policy) validateGroups() error {
	if len(p.AccessGroupIDs) > maxAccessGroups {
		return invalidf("access_group_ids", "%d are more than %d", len(p.AccessGroupIDs), maxAccessGroups)
	}
	for i, id := range p.AccessGroupIDs {
		if slices.Contains(p.AccessGroupIDs[:i], id) {
			return invalidf("access_group_ids", "%q is named twice", id)
		}
	}
	return validNames("access_group_ids", p.AccessGroupIDs)
}

// AccessGroup returns the access group with the id.
func (c *Catalog) AccessGroup(id string) (*AccessGroup, bool) { g, ok := c.groups[id]; return g, ok }

// ModelLevels appends the levels that a request for the model falls under because of it: the model's own, and those
// of the access groups that have it and limit something, but for the ones that are among had.
func (c *Catalog) ModelLevels(levels, had []Level, m *Model) []Level {
	levels = append(levels, Level{Kind: HolderModel, ID: m.ID, Name: m.Name, Allowance: &m.Allowance})
	for _, g := range c.limiting {
		if g.gives(m) && !slices.ContainsFunc(had, func(l Level) bool { return l.Kind == HolderAccessGroup && l.ID == g.ID }) {
			levels = append(levels, Level{Kind: HolderAccessGroup, ID: g.ID, Name: g.Name, Allowance: &g.Allowance})
		}
	}
	return levels
}

// Allows says whether a policy has the model: because it has any (Policy.AnyModel), by its list, or by one of
// its access groups. A group that is not in the catalog gives nothing.
func (c *Catalog) Allows(p *Policy, m *Model) bool {
	return p.lists(m.Name, m.AccessGroups...) || p.AnyModel() || c.Gives(p, m)
}

// AllowsName is Allows for a name that no model has.
func (c *Catalog) AllowsName(p *Policy, name string) bool {
	return p.lists(name) || p.AnyModel() || slices.ContainsFunc(p.AccessGroupIDs, func(id string) bool {
		g, ok := c.groups[id]
		return ok && len(g.Models) > 0 && AllowsModel(g.Models, name)
	})
}

// Gives says whether one of a policy's access groups has the model.
func (c *Catalog) Gives(p *Policy, m *Model) bool {
	for _, id := range p.AccessGroupIDs {
		if g, ok := c.groups[id]; ok && g.gives(m) {
			return true
		}
	}
	return false
}

// givesTool says whether one of a policy's access groups has a server or a tool that the policy does not block.
func (c *Catalog) givesTool(p *Policy, t *Tool) bool {
	if len(p.AccessGroupIDs) == 0 || p.Objects.blocks(t) {
		return false
	}
	return slices.ContainsFunc(p.AccessGroupIDs, func(id string) bool {
		g, ok := c.groups[id]
		return ok && g.givesTool(t)
	})
}

// LevelsAllow says whether every level that has a policy allows the model.
func (c *Catalog) LevelsAllow(levels []Level, m *Model) bool {
	for i := range levels {
		if p := levels[i].Policy; p != nil && !c.Allows(p, m) {
			return false
		}
	}
	return true
}
