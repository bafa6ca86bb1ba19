package records_test

import (
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/adminapi/records"
	"github.com/conclave-llm/conclave/resource"
)

func TestCheckPluginProvider(t *testing.T) {
	t.Parallel()
	registered := []*resource.Plugin{{Name: "words", Kind: "guardrail"}, {Name: "house", Kind: "provider"}}
	for _, tt := range []struct {
		name, provider string
		c              *resource.Credential
		want           string
	}{
		{"over HTTP", "openai", nil, ""},
		{"registered", "plugin/house", nil, ""},
		{"not registered", "plugin/home", nil, `there is no plugin "home": register it first, with conclave plugin upload or conclave plugin create --kind provider; registered are house`},
		{"of another kind", "plugin/words", nil, `of the kind guardrail`},
		{"a credential of nobody", "plugin/house", &resource.Credential{Name: "c"}, ""},
		{"its own credential", "plugin/house", &resource.Credential{Name: "c", Provider: "plugin/house"}, ""},
		{"another's credential", "plugin/house", &resource.Credential{Name: "c", Provider: "openai"}, "is a credential of openai"},
		{"a credential that runs it wrongly", "plugin/house", &resource.Credential{Name: "c", Options: map[string]string{"plugin_instances": "0"}}, "plugin_instances"},
	} {
		err := records.CheckPluginProvider(registered, &resource.Deployment{Provider: tt.provider}, tt.c)
		if (err != nil) != (tt.want != "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q", tt.name, err, tt.want)
		}
	}
	if err := records.CheckPluginProvider(nil, &resource.Deployment{Provider: "plugin/house"}, nil); err == nil || !strings.Contains(err.Error(), "none of the kind is registered yet") {
		t.Errorf("with no plugin at all: %v", err)
	}
}

// Secrets that are stored go to the plugin alone that they were given for, with the options of then.
func TestCheckProviderMove(t *testing.T) {
	t.Parallel()
	at := func(provider, base, region string) *resource.Deployment {
		return &resource.Deployment{Provider: provider, APIBase: base, Options: map[string]string{"region": region}}
	}
	for _, tt := range []struct {
		name      string
		now, next *resource.Deployment
		refused   bool
	}{
		{"two over HTTP", at("openai", "", "a"), at("groq", "", "b"), false}, // which CheckMove judges
		{"the same", at("plugin/house", "", "a"), at("plugin/house", "", "a"), false},
		{"to a plugin", at("openai", "", "a"), at("plugin/house", "", "a"), true},
		{"from a plugin", at("plugin/house", "", "a"), at("openai", "", "a"), true},
		{"to another plugin", at("plugin/house", "", "a"), at("plugin/home", "", "a"), true},
		{"to another address", at("plugin/house", "", "a"), at("plugin/house", "https://x.example", "a"), true},
		{"with another option", at("plugin/house", "", "a"), at("plugin/house", "", "b"), true},
	} {
		if err := records.CheckProviderMove(tt.now, tt.next); (err != nil) != tt.refused {
			t.Errorf("%s: got %v", tt.name, err)
		}
	}
}
