package resource

import (
	"fmt"
	"slices"
	"testing"
)

func TestCapture(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		pattern, name string
		want          []string
		ok            bool
	}{
		{"*", "gpt", []string{"gpt"}, true},
		{"*", "", nil, false},
		{"openai/*", "openai/gpt", []string{"gpt"}, true},
		{"openai/*", "openai/", nil, false},
		{"openai/*", "azure/gpt", nil, false},
		{"openai/*", "openai/ft:a/b", []string{"ft:a/b"}, true},
		{"*-mini", "gpt-mini", []string{"gpt"}, true},
		{"*-mini", "gpt-mini-2", nil, false},
		{"a/*/b/*", "a/x/b/y", []string{"x", "y"}, true},
		{"a/*/b/*", "a//b/y", nil, false},
		{"a/*/b/*", "a/x/b/", nil, false},
		{"**", "x", nil, false},
		{"**", "xy", []string{"x", "y"}, true},
	} {
		got, ok := capture(tt.pattern, tt.name)
		if ok != tt.ok || ok && !slices.Equal(got, tt.want) {
			t.Errorf("capture(%q, %q) = %q, %v, want %q, %v", tt.pattern, tt.name, got, ok, tt.want, tt.ok)
		}
	}
}

func wildCatalog() *Catalog {
	model := func(name string) *Model { return &Model{Meta: Meta{ID: "m_" + name}, Name: name} }
	dep := func(of, provider, upstream string) *Deployment {
		return &Deployment{Meta: Meta{ID: "d_" + of}, ModelID: "m_" + of, Provider: provider, Upstream: upstream}
	}
	return NewCatalog(Tables{
		Models: []*Model{model("*"), model("openai/*"), model("openai/gpt-*"), model("openai/exact"), model("bedrock/*/v/*"), model("groq/*")},
		Deployments: []*Deployment{
			dep("*", "openai", "*"), dep("openai/*", "openai", "*"), dep("openai/gpt-*", "azure", "dep-*"), dep("openai/exact", "openai", ""),
			dep("bedrock/*/v/*", "bedrock", "*.*-v1"), dep("groq/*", "groq", ""),
		},
	})
}

func TestCatalog_Resolve(t *testing.T) {
	t.Parallel()
	c := wildCatalog()
	for _, tt := range []struct{ name, id, upstream string }{
		{"openai/exact", "m_openai/exact", ""},
		{"openai/gpt-4o", "m_openai/gpt-*", "dep-4o"},
		{"openai/o3", "m_openai/*", "o3"},
		{"gpt-4o", "m_*", "gpt-4o"},
		{"anything/else", "m_*", "anything/else"},
		{"bedrock/us/v/claude", "m_bedrock/*/v/*", "us.claude-v1"},
		{"groq/meta/llama", "m_groq/*", "meta/llama"},
		{"openai/*", "m_openai/*", "*"}, // the record itself
	} {
		m, ok := c.Resolve(tt.name)
		if !ok || m.ID != tt.id || m.Name != tt.name {
			t.Errorf("Resolve(%q) = %+v, %v, want %s", tt.name, m, ok, tt.id)
			continue
		}
		ds := c.ModelDeployments(m)
		if len(ds) != 1 || ds[0].Upstream != tt.upstream {
			t.Errorf("%s: deployments %+v, want the upstream %q", tt.name, ds, tt.upstream)
		}
		if again, _ := c.Resolve(tt.name); again != m {
			t.Errorf("%s: asked twice, got two records", tt.name)
		}
	}
	if m, ok := c.Resolve("some/*"); ok {
		t.Errorf("a pattern that is no record found %+v", m)
	}
	if d, _ := c.Deployment("d_openai/gpt-*"); d.Upstream != "dep-*" {
		t.Errorf("the record was changed: %q", d.Upstream)
	}
}

func TestCatalog_ResolveMany(t *testing.T) {
	t.Parallel()
	c := wildCatalog()
	for i := range maxExpansions + 100 {
		name := fmt.Sprintf("openai/x%d", i)
		if m, ok := c.Resolve(name); !ok || c.ModelDeployments(m)[0].Upstream != name[7:] {
			t.Fatalf("%s: got %+v", name, m)
		}
	}
	if n := len(*c.wild.seen.Load()); n != maxExpansions {
		t.Errorf("%d names are remembered, want %d", n, maxExpansions)
	}
}

func TestCatalog_ResolveAllocs(t *testing.T) {
	c := wildCatalog()
	c.Resolve("openai/gpt-4o")
	for _, name := range []string{"openai/exact", "openai/gpt-4o"} {
		if n := testing.AllocsPerRun(100, func() {
			m, _ := c.Resolve(name)
			c.ModelDeployments(m)
		}); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func TestNameUnder(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ pattern, provider, upstream, model, want string }{
		{"openai/*", "openai", "*", "gpt", "openai/gpt"},
		{"openai/*", "openai", "", "gpt", "openai/gpt"},
		{"mine/*", "openai", "*", "gpt", "mine/gpt"},
		{"mine/*", "openai", "", "gpt", ""},
		{"mine/*", "openai", "gpt-*", "gpt-4", "mine/4"},
		{"mine/*", "openai", "gpt-*", "o3", ""},
		{"*", "openai", "*", "gpt", "openai/gpt"},
		{"mine/*", "openai", "gpt", "gpt", ""},
	} {
		got, _ := NameUnder(tt.pattern, &Deployment{Provider: tt.provider, Upstream: tt.upstream}, tt.model)
		if got != tt.want {
			t.Errorf("%+v: got %q", tt, got)
		}
	}
}
