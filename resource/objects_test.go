package resource_test

import (
	"math/rand/v2"
	"testing"

	"github.com/conclave-llm/conclave/resource"
)

// The servers, tools and agents of the tests.
var (
	universeTools = []resource.Tool{
		{Server: "git", Others: []string{"id-git", "g"}},
		{Server: "git", Others: []string{"id-git", "g"}, Name: "read"},
		{Server: "git", Others: []string{"id-git", "g"}, Name: "push", Toolsets: []string{"release"}},
		{Server: "gitea", Others: []string{"id-gitea"}, Groups: []string{"code"}, Name: "read"},
		{Server: "gitea", Others: []string{"id-gitea"}, Groups: []string{"code"}, Name: "push"},
		{Server: "mail", Others: []string{"id-mail"}, Groups: []string{"office"}, Name: "send"},
		{Server: "mail", Others: []string{"id-mail"}, Groups: []string{"office"}},
	}
	universeServers = []string{"git", "gitea", "git*", "mail", "*", "id-git", "g", "id-*", "id-gitea"}
)

// universeCalled finds the names of the servers.
var universeCalled = resource.CalledAmong(func() []*resource.MCPServer {
	return []*resource.MCPServer{
		{Meta: resource.Meta{ID: "id-git"}, Name: "git", Alias: "g"}, {Meta: resource.Meta{ID: "id-gitea"}, Name: "gitea"}, {Meta: resource.Meta{ID: "id-mail"}, Name: "mail"},
	}
})

func randomObjects(r *rand.Rand) *resource.Objects {
	if r.IntN(5) == 0 {
		return nil
	}
	o := &resource.Objects{Agents: some(r, []string{"a", "b", "a*"}), AgentAccessGroup: some(r, []string{"g", "h"}), VectorStores: some(r, []string{"v", "w", "*"})}
	for _, f := range []struct {
		to *[]string
		of []string
	}{
		{&o.MCPServers, universeServers},
		{&o.MCPAccessGroups, []string{"code", "office", "o*"}},
		{&o.MCPToolsets, []string{"release", "other"}},
		{&o.BlockedTools, []string{"push", "git/read", "mail/*", "id-git/read"}},
	} {
		if r.IntN(2) == 0 {
			*f.to = some(r, f.of)
		}
	}
	if r.IntN(2) == 0 {
		o.MCPTools = map[string][]string{}
		for range 1 + r.IntN(2) {
			o.MCPTools[universeServers[r.IntN(len(universeServers))]] = some(r, []string{"read", "push", "*", "send"})
		}
	}
	return o
}

func principal(objects ...*resource.Objects) *resource.Principal {
	p := func(i int) resource.Policy { return resource.Policy{Objects: objects[i]} }
	return &resource.Principal{
		Key: &resource.Key{Policy: p(0)}, Team: &resource.Team{Policy: p(1)}, Organization: &resource.Organization{Policy: p(2)},
	}
}

// TestMayUse_levels: what is used is allowed by every level, and the level that is named
// refuses it.
func TestMayUse_levels(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(3, 9))
	yes, no := 0, 0
	for range 20_000 {
		levels := []*resource.Objects{randomObjects(r), randomObjects(r), randomObjects(r)}
		who, extra := principal(levels...), randomObjects(r)
		customer := resource.Level{Kind: "customer", ID: "c", Policy: &resource.Policy{Objects: extra}}
		for i := range universeTools {
			tool := &universeTools[i]
			want := extra.AllowsTool(tool)
			for _, o := range levels {
				want = want && o.AllowsTool(tool)
			}
			by, ok := who.MayUseTool(nil, tool, customer)
			if ok != want || !ok && by.Policy.Objects.AllowsTool(tool) {
				t.Fatalf("%+v: got %v by %s, want %v: %+v %+v", tool, ok, by.Kind, want, levels, extra)
			}
			if ok {
				yes++
			} else {
				no++
			}
		}
		if _, ok := who.MayUse(resource.ObjectVectorStore, "v", nil); ok != (levels[0].Allows("vector_store", "v") && levels[1].Allows("vector_store", "v") && levels[2].Allows("vector_store", "v")) {
			t.Fatalf("vector store: got %v: %+v", ok, levels)
		}
	}
	if yes < 1000 || no < 1000 {
		t.Errorf("%d and %d: the test shows nothing", yes, no)
	}
}

// levelAllows says whether a level has a tool by its objects or its access groups.
func levelAllows(p *resource.Policy, t *resource.Tool) bool {
	who := resource.Principal{Key: &resource.Key{Policy: *p}}
	_, ok := who.MayUseTool(universeGroups, t)
	return ok
}

// TestObjects_grant: what a grant lets through allows a child nothing that its bound does not
// allow, and the child within all levels nothing that its parent does not.
func TestObjects_grant(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(4, 4))
	passed, grouped := 0, 0
	for range 100_000 {
		child, bound := randomObjects(r), randomObjects(r)
		c, b := resource.Policy{Objects: child, AccessGroupIDs: some(r, universeGroupIDs)}, resource.Policy{Objects: bound, AccessGroupIDs: some(r, universeGroupIDs)}
		if bounded(&c, &b) != nil {
			continue
		}
		passed++
		if len(c.AccessGroupIDs) > 0 {
			grouped++
		}
		for i := range universeTools {
			if tool := &universeTools[i]; levelAllows(&c, tool) && !levelAllows(&b, tool) {
				t.Fatalf("%+v is allowed by %+v and not by %+v", *tool, c, b)
			}
		}
		for _, name := range []string{"a", "ab", "c"} {
			if child.Allows(resource.ObjectAgent, name, "g") && !bound.Allows(resource.ObjectAgent, name, "g") {
				t.Fatalf("agent %s is allowed by %+v and not by %+v", name, *child, *bound)
			}
		}
	}
	if passed < 2000 || grouped < 1000 {
		t.Errorf("%d passed, %d with access groups: the test shows nothing", passed, grouped)
	}
	for range 2000 {
		o := randomObjects(r)
		if err := bounded(&resource.Policy{Objects: o}, &resource.Policy{Objects: o}); err != nil {
			t.Fatalf("%+v is not within itself: %v", o, err)
		}
		if err := check(&resource.Policy{}, &resource.Policy{Objects: o}); err != nil {
			t.Fatalf("nothing is not within %+v: %v", o, err)
		}
	}
}

func TestObjects_AllowsTool(t *testing.T) {
	t.Parallel()
	read, push := &resource.Tool{Server: "git", Name: "read"}, &resource.Tool{Server: "git", Name: "push", Groups: []string{"code"}, Toolsets: []string{"release"}}
	for _, tt := range []struct {
		name       string
		o          *resource.Objects
		read, push bool
	}{
		{"nothing said", nil, true, true},
		{"another server", &resource.Objects{MCPServers: []string{"mail"}}, false, false},
		{"the server", &resource.Objects{MCPServers: []string{"git"}}, true, true},
		{"its group", &resource.Objects{MCPAccessGroups: []string{"code"}}, false, true},
		{"a tool", &resource.Objects{MCPTools: map[string][]string{"git": {"read"}}}, true, false},
		{"a tool of another server", &resource.Objects{MCPTools: map[string][]string{"mail": {"read"}}}, false, false},
		{"a toolset", &resource.Objects{MCPToolsets: []string{"release"}}, false, true},
		{"a tool and a toolset", &resource.Objects{MCPTools: map[string][]string{"git": {"read"}}, MCPToolsets: []string{"release"}}, true, true},
		{"blocked", &resource.Objects{BlockedTools: []string{"push"}}, true, false},
		{"blocked there", &resource.Objects{MCPServers: []string{"git"}, BlockedTools: []string{"git/read", "mail/push"}}, false, true},
	} {
		if r, p := tt.o.AllowsTool(read), tt.o.AllowsTool(push); r != tt.read || p != tt.push {
			t.Errorf("%s: got %v %v, want %v %v", tt.name, r, p, tt.read, tt.push)
		}
	}
}

// Prompts and resources come with a whole server, and with no single tool of it.
func TestMayUseServer_whole(t *testing.T) {
	t.Parallel()
	whole := resource.Tool{Server: "git", Others: []string{"id-git"}, Toolsets: []string{"release"}, Groups: []string{"code"}, Whole: true}
	for _, tt := range []struct {
		name    string
		objects *resource.Objects
		open    bool
		want    bool
	}{
		{"the server", &resource.Objects{MCPServers: []string{"git"}}, false, true},
		{"its group", &resource.Objects{MCPAccessGroups: []string{"code"}}, false, true},
		{"a tool", &resource.Objects{MCPTools: map[string][]string{"git": {"read"}}}, false, false},
		{"a tool of an open server", &resource.Objects{MCPTools: map[string][]string{"git": {"read"}}}, true, false},
		{"tools of a kind", &resource.Objects{MCPTools: map[string][]string{"id-git": {"re*"}}}, false, false},
		{"a tool, beside the server", &resource.Objects{MCPServers: []string{"git"}, MCPTools: map[string][]string{"git": {"read"}}}, false, false},
		{"all tools", &resource.Objects{MCPTools: map[string][]string{"git": {"*"}}}, false, true},
		{"a toolset", &resource.Objects{MCPToolsets: []string{"release"}}, false, false},
		{"nothing", nil, false, false},
		{"nothing, of an open server", nil, true, true},
	} {
		p := &resource.Principal{Key: &resource.Key{Policy: resource.Policy{Objects: tt.objects}}}
		if got := p.MayUseServer(resource.NewCatalog(resource.Tables{}), &whole, tt.open); got != tt.want {
			t.Errorf("%s: got %t", tt.name, got)
		}
	}
}
