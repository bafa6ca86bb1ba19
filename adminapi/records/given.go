package records

import (
	"fmt"
	"slices"
	"strings"

	"github.com/conclave-llm/conclave/resource"
)

// checkGiven checks what a record is given that its kind does not look at itself; now is nil for a new one. What it
// had before may stay: the things that it names go without asking it.
func (rs *Records) checkGiven(by Caller, now, next resource.Record) error {
	if err := rs.checkServers(now, next); err != nil {
		return err
	}
	if err := rs.checkPrompts(now, next); err != nil {
		return err
	}
	if err := rs.checkDelivery(now, next); err != nil {
		return err
	}
	return rs.CheckIncreases(by, now, next)
}

// checkServers refuses MCP servers that there are not. Vector stores and agents are of providers, whom nobody asks.
func (rs *Records) checkServers(now, next resource.Record) error {
	servers, tools := serversOf(next)
	oldServers, oldTools := serversOf(now)
	for _, l := range []struct {
		field    string
		has, had []string
	}{{"mcp_servers", servers, oldServers}, {"mcp_tool_permissions", tools, oldTools}} {
		for i, name := range l.has {
			if slices.Contains(l.had, name) || strings.HasSuffix(name, "*") || rs.isServer(name) {
				continue
			}
			at := fmt.Sprintf("objects.%s[%d]", l.field, i)
			if l.field == "mcp_tool_permissions" {
				at = "objects." + l.field + "." + name
			}
			return invalid(at, "there is no MCP server with the name, alias or id "+name)
		}
	}
	return nil
}

// serversOf are the MCP servers that a record names, and those of which it names tools.
func serversOf(r resource.Record) (servers, tools []string) {
	if r == nil {
		return nil, nil
	}
	l, _ := resource.LevelOf(r)
	if l.Policy == nil || l.Policy.Objects == nil {
		return nil, nil
	}
	return l.Policy.Objects.MCPServers, sortedKeys(l.Policy.Objects.MCPTools)
}

func (rs *Records) isServer(name string) bool {
	return slices.ContainsFunc(rs.cfg.State.Catalog().Tables().MCPServers, func(s *resource.MCPServer) bool {
		return name == s.ID || name == s.Name || name == s.Alias || name == s.Prefix()
	})
}

// checkPrompts refuses templates that there are not.
func (rs *Records) checkPrompts(now, next resource.Record) error {
	had := promptsOf(now)
	for i, name := range promptsOf(next) {
		if slices.Contains(had, name) || strings.HasSuffix(name, "*") {
			continue
		}
		if _, ok := rs.cfg.State.Catalog().Prompt(name); !ok {
			return invalid(fmt.Sprintf("prompts[%d]", i), "there is no prompt "+name)
		}
	}
	return nil
}

// promptsOf are the templates that a record names.
func promptsOf(r resource.Record) []string {
	switch r := r.(type) {
	case *resource.Key:
		return r.Prompts
	case *resource.Team:
		return r.Prompts
	}
	return nil
}

// checkDelivery refuses a schedule of rotations whose destination is not there.
func (rs *Records) checkDelivery(now, next resource.Record) error {
	k, ok := next.(*resource.Key)
	if !ok || k.Rotation == nil {
		return nil
	}
	if was, ok := now.(*resource.Key); ok && was.Rotation != nil && was.Rotation.Deliver == k.Rotation.Deliver {
		return nil
	}
	set := rs.cfg.State.Catalog().Settings()
	switch k.Rotation.Deliver {
	case resource.DeliverStore:
		if set.RotationStore == nil && k.StoredIn == "" { // the store that has its secret gets the next
			return invalid("rotation.deliver", "secret_store needs the setting rotation_store, where secrets are written to")
		}
	case resource.DeliverEmail:
		if set.PublicURL == "" {
			return invalid("rotation.deliver", "email needs the setting public_url, where the link leads to")
		}
		if set.Alerts.Mail() == nil {
			return invalid("rotation.deliver", "email needs a channel of the type email in the setting alerts, through which links are sent")
		}
	}
	return nil
}
