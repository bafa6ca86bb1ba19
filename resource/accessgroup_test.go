package resource_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/resource"
)

func TestCatalog_Allows(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		models []string
		groups []string
		want   string // models of the universe
	}{
		{"nothing says all", nil, nil, "claude gpt gpt-mini plain-old"},
		{"a group beside an empty list has its models alone", nil, []string{"one"}, "gpt"},
		{"so has one that names no models", nil, []string{"nothing"}, ""},
		{"and one that this node does not have", nil, []string{"gone"}, ""},
		{"all, in LiteLLM's words", []string{resource.TeamModels}, []string{"one"}, "claude gpt gpt-mini plain-old"},
		{"all, as a pattern", []string{"*"}, []string{"nothing"}, "claude gpt gpt-mini plain-old"},
		{"the list and the group", []string{"gpt-mini"}, []string{"one"}, "gpt gpt-mini"},
		{"the group alone", []string{resource.NoModels}, []string{"one"}, "gpt"},
		{"a group that names the models' own groups and a pattern", []string{resource.NoModels}, []string{"some"}, "claude plain-old"},
		{"several", []string{resource.NoModels}, []string{"nothing", "some", "one"}, "claude gpt plain-old"},
		{"a group without models", []string{"gpt"}, []string{"nothing"}, "gpt"},
		{"a group that this node does not have", []string{"gpt"}, []string{"gone"}, "gpt"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var got []string
			for _, m := range []string{"claude", "gpt", "gpt-mini", "plain-old"} {
				if allowsModel(&resource.Policy{Models: tt.models, AccessGroupIDs: tt.groups}, m) {
					got = append(got, m)
				}
			}
			if s := strings.Join(got, " "); s != tt.want {
				t.Errorf("got %s, want %s", s, tt.want)
			}
		})
	}
}

// TestAccessGroup_servers: a group names servers as a level's own lists do, and what a level above leaves out stays out
// of reach.
func TestAccessGroup_servers(t *testing.T) {
	t.Parallel()
	mail := &resource.Objects{MCPServers: []string{"mail"}}
	for _, tt := range []struct {
		name      string
		team, key resource.Policy
		tool      resource.Tool
		want      bool
	}{
		{"nobody names it", resource.Policy{}, resource.Policy{}, resource.Tool{Server: "git", Name: "read"}, false},
		{"the key's group", resource.Policy{}, resource.Policy{AccessGroupIDs: []string{"one"}}, resource.Tool{Server: "git", Name: "push"}, true},
		{"the team's group", resource.Policy{AccessGroupIDs: []string{"one"}}, resource.Policy{}, resource.Tool{Server: "git"}, true},
		{"beside the key's own list", resource.Policy{}, resource.Policy{Objects: mail, AccessGroupIDs: []string{"one"}}, resource.Tool{Server: "git", Name: "push"}, true},
		{"some tools of it", resource.Policy{}, resource.Policy{AccessGroupIDs: []string{"some"}}, resource.Tool{Server: "git", Name: "read"}, true},
		{"no others of it", resource.Policy{}, resource.Policy{AccessGroupIDs: []string{"some"}}, resource.Tool{Server: "git", Name: "push"}, false},
		{"the team leaves it out", resource.Policy{Objects: mail}, resource.Policy{AccessGroupIDs: []string{"one"}}, resource.Tool{Server: "git", Name: "read"}, false},
		{"the team has it by a group", resource.Policy{Objects: mail, AccessGroupIDs: []string{"one"}}, resource.Policy{AccessGroupIDs: []string{"one"}}, resource.Tool{Server: "git", Name: "read"}, true},
		{"blocked", resource.Policy{}, resource.Policy{AccessGroupIDs: []string{"one"}, Objects: &resource.Objects{BlockedTools: []string{"git/push"}}}, resource.Tool{Server: "git", Name: "push"}, false},
		{"blocked by the team", resource.Policy{Objects: &resource.Objects{BlockedTools: []string{"push"}}}, resource.Policy{AccessGroupIDs: []string{"one"}}, resource.Tool{Server: "git", Name: "push"}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			who := &resource.Principal{Team: &resource.Team{Policy: tt.team}, Key: &resource.Key{Policy: tt.key}}
			if got := who.MayUseServer(universeGroups, &tt.tool, false); got != tt.want {
				t.Errorf("got %t, want %t", got, tt.want)
			}
		})
	}
}

func TestAccessGroup_Validate(t *testing.T) {
	t.Parallel()
	many := make([]string, 5000)
	for i := range many {
		many[i] = "m"
	}
	for field, g := range map[string]resource.AccessGroup{
		"":                     {Name: "eng"},
		"name":                 {Name: " eng"},
		"description":          {Name: "eng", Description: strings.Repeat("x", 5000)},
		"models[1]":            {Name: "eng", Models: []string{"a", ""}},
		"models":               {Name: "eng", Models: many},
		"mcp_servers[0]":       {Name: "eng", MCPServers: []string{"\n"}},
		"mcp_tool_permissions": {Name: "eng", MCPTools: map[string][]string{"git": {""}}},
	} {
		err := g.Validate()
		in, _ := errors.AsType[*resource.Invalid](err)
		if (field == "") != (err == nil) || in != nil && !strings.HasPrefix(in.Field, field) {
			t.Errorf("got %v, want a complaint about %q", err, field)
		}
	}
}

// TestCatalog_Allows_allocations: the data path asks this for every level of every request.
func TestCatalog_Allows_allocations(t *testing.T) {
	p := &resource.Policy{Models: []string{resource.NoModels}, AccessGroupIDs: []string{"nothing", "some", "one"}}
	m := &resource.Model{Name: "gpt", AccessGroups: []string{"premium"}}
	levels := []resource.Level{{Policy: p}, {Policy: p}, {}}
	if n := testing.AllocsPerRun(100, func() {
		if !universeGroups.LevelsAllow(levels, m) {
			t.Error("refused")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
