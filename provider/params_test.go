package provider_test

import (
	"slices"
	"testing"

	"github.com/conclave-llm/conclave/provider"
)

func TestParams(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		provider, model string
		has, lacks      []string
	}{
		{"openai", "gpt-4o", []string{"logit_bias", "seed", "stream_options"}, nil},
		{"mistral", "mistral-large", []string{"temperature"}, []string{"stream_options", "logit_bias", "user"}},
		{"anthropic", "claude-sonnet-4-5", []string{"reasoning_effort", "response_format", "tools", "tool_choice", "parallel_tool_calls", "stop", "max_tokens", "user"}, []string{"logit_bias", "n", "seed", "logprobs"}},
		{"gemini", "gemini-2.5-pro", []string{"reasoning_effort", "response_format", "seed", "stop", "tools", "logprobs", "top_logprobs"}, []string{"logit_bias"}},
		{"bedrock", "anthropic.claude-3-5-sonnet-20240620-v1:0", []string{"tools", "temperature"}, []string{"logprobs", "top_logprobs", "seed", "n"}},
		{"cohere", "command-a", []string{"seed"}, []string{"logprobs", "top_logprobs", "logit_bias"}},
		{"ollama", "llama3", []string{"seed"}, []string{"logit_bias"}},
	} {
		p, ok := provider.Lookup(tt.provider)
		if !ok {
			t.Fatal(tt.provider)
		}
		got := p.Params(tt.model)
		for _, name := range tt.has {
			if !slices.Contains(got, name) {
				t.Errorf("%s: %s is missing in %v", tt.provider, name, got)
			}
		}
		for _, name := range tt.lacks {
			if slices.Contains(got, name) {
				t.Errorf("%s: %s is among %v", tt.provider, name, got)
			}
		}
	}
}
