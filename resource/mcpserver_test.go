package resource_test

import (
	"testing"

	"github.com/conclave-llm/conclave/resource"
)

// TestPrincipal_MayUseServer is the matrix of who names a server and who leaves it out.
func TestPrincipal_MayUseServer(t *testing.T) {
	t.Parallel()
	git := &resource.Objects{MCPServers: []string{"git"}}
	mail := &resource.Objects{MCPServers: []string{"mail"}}
	read := &resource.Objects{MCPTools: map[string][]string{"id1": {"read"}}}
	for _, tt := range []struct {
		name      string
		org, team *resource.Objects
		key, user *resource.Objects // the user is the end user
		open      bool
		tool      string
		want      bool
	}{
		{"nobody names it", nil, nil, nil, nil, false, "", false},
		{"empty lists name nothing", nil, nil, &resource.Objects{}, nil, false, "read", false},
		{"open to all", nil, nil, nil, nil, true, "read", true},
		{"the key", nil, nil, git, nil, false, "read", true},
		{"the team", nil, git, nil, nil, false, "read", true},
		{"the organization", git, nil, nil, nil, false, "read", true},
		{"the end user alone", nil, nil, nil, git, false, "read", false},
		{"the end user leaves it out", nil, nil, git, mail, false, "read", false},
		{"the team leaves it out", nil, mail, git, nil, false, "read", false},
		{"open, but the key names another", nil, nil, mail, nil, true, "read", false},
		{"a tool of it", nil, nil, read, nil, false, "read", true},
		{"another tool of it", nil, nil, read, nil, false, "push", false},
		{"the server of a tool", nil, nil, read, nil, false, "", true},
		{"blocked", nil, git, &resource.Objects{BlockedTools: []string{"git/read"}}, nil, false, "read", false},
		{"only another is blocked", nil, git, &resource.Objects{BlockedTools: []string{"git/read"}}, nil, false, "push", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := &resource.Principal{
				Organization: &resource.Organization{Policy: resource.Policy{Objects: tt.org}}, Team: &resource.Team{Policy: resource.Policy{Objects: tt.team}},
				Key: &resource.Key{Policy: resource.Policy{Objects: tt.key}},
			}
			extra := resource.Level{Kind: resource.HolderCustomer, Policy: &resource.Policy{Objects: tt.user}}
			tool := &resource.Tool{Server: "git", Others: []string{"id1"}, Name: tt.tool}
			if got := p.MayUseServer(nil, tool, tt.open, extra); got != tt.want {
				t.Errorf("got %t, want %t", got, tt.want)
			}
		})
	}
}

func TestMCPServer_Validate(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		s    resource.MCPServer
		ok   bool
	}{
		{"address", resource.MCPServer{Name: "a", MCPUpstream: resource.MCPUpstream{URL: "https://x"}}, true},
		{"command", resource.MCPServer{Name: "a", MCPUpstream: resource.MCPUpstream{Command: "/x"}}, true},
		{"neither", resource.MCPServer{Name: "a"}, false},
		{"both", resource.MCPServer{Name: "a", MCPUpstream: resource.MCPUpstream{Command: "/x", URL: "https://x"}}, false},
		{"a dash", resource.MCPServer{Name: "a-b", MCPUpstream: resource.MCPUpstream{URL: "https://x"}}, false},
		{"a header of the protocol", resource.MCPServer{Name: "a", MCPUpstream: resource.MCPUpstream{URL: "https://x", Headers: map[string]string{"Mcp-Session-Id": "x"}}}, false},
		{"a line end", resource.MCPServer{Name: "a", MCPUpstream: resource.MCPUpstream{URL: "https://x", Headers: map[string]string{"X": "a\r\nb"}}}, false},
		{"a price below zero", resource.MCPServer{Name: "a", CostPerCall: -1, MCPUpstream: resource.MCPUpstream{URL: "https://x"}}, false},
		{"a token for a process", resource.MCPServer{Name: "a", MCPUpstream: resource.MCPUpstream{Command: "/x", Auth: resource.MCPAuthBearer}}, false},
	} {
		tt.s.Canonicalize()
		if err := tt.s.Validate(); (err == nil) != tt.ok {
			t.Errorf("%s: got %v", tt.name, err)
		}
	}
}
