package records

import (
	"testing"

	"github.com/conclave-llm/conclave/resource"
)

func TestCheckMove(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name     string
		from, to Address
		refused  bool
	}{
		{"nothing changes", Address{Provider: "openai"}, Address{Provider: "openai"}, false},
		{"another provider's own address", Address{Provider: "openai"}, Address{Provider: "groq"}, true},
		{"any provider's own address", Address{Provider: "openai"}, Address{}, true},
		{"one of all providers", Address{}, Address{Provider: "openai"}, false},
		{"another dialect at the same host", Address{Provider: "openai", Base: "https://a/v1"}, Address{Provider: "anthropic", Base: "https://a"}, false},
		{"another host", Address{Provider: "openai", Base: "https://a/v1"}, Address{Provider: "openai", Base: "https://b/v1"}, true},
		{"the provider's own in the place of a host", Address{Provider: "openai", Base: "https://a/v1"}, Address{Provider: "openai"}, true},
		{"another service for tokens", Address{Options: map[string]string{"azure_authority_host": "https://a"}}, Address{Options: map[string]string{"azure_authority_host": "https://b"}}, true},
		{"another service of sign-ins", Address{}, Address{Options: map[string]string{"chatgpt_auth_url": "https://b"}}, true},
		{"another GitHub", Address{}, Address{Options: map[string]string{"github_api_url": "https://b"}}, true},
		{"a proxy", Address{}, Address{Proxy: &resource.Proxy{URL: "http://p"}}, true},
	} {
		if err := CheckMove(tt.from, tt.to); (err != nil) != tt.refused {
			t.Errorf("%s: got %v, want refused %t", tt.name, err, tt.refused)
		}
	}
}
