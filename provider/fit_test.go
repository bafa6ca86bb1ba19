package provider_test

import (
	"slices"
	"testing"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/provider"
)

// What single vendors do not take of OpenAI's chat completions.
func TestFit(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, vendor string
		base         string
		policy       llm.Policy
		body, want   string
		dropped      []string
		refused      bool
	}{
		{
			name: "texts become one", vendor: "publicai",
			body: `{"model":"m","messages":[{"role":"user","content":[{"type":"text","text":"a\"b"},{"text":"c","type":"text"}],"name":"x"},{"role":"assistant","content":null},{"role":"user","content":"d"}],"temperature":2}`,
			want: `{"model":"m","messages":[{"role":"user","content":"a\"bc","name":"x"},{"role":"assistant","content":null},{"role":"user","content":"d"}],"temperature":2}`,
		},
		{
			name: "a picture stays", vendor: "publicai",
			body: `{"messages":[{"role":"user","content":[{"type":"text","text":"a"},{"type":"image_url","image_url":{"url":"x"}}]}]}`,
			want: `{"messages":[{"role":"user","content":[{"type":"text","text":"a"},{"type":"image_url","image_url":{"url":"x"}}]}]}`,
		},
		{name: "a high temperature is lowered, and named", vendor: "scx-ai", body: `{"temperature":2,"messages":[]}`, want: `{"temperature":1.99,"messages":[]}`, dropped: []string{"temperature"}},
		{name: "a low one stays", vendor: "scx-ai", body: `{"temperature":0.5}`, want: `{"temperature":0.5}`},
		{name: "a high one is passed", vendor: "scx-ai", policy: llm.PolicyPass, body: `{"temperature":2}`, want: `{"temperature":2}`},
		{name: "a high one is refused", vendor: "scx-ai", policy: llm.PolicyReject, body: `{"temperature":2}`, want: `{"temperature":1.99}`, refused: true},
		{
			name: "a developer is the system", vendor: "deepseek",
			body: `{"messages":[{"role":"developer","content":"be"},{"content":"x","role":"user"}],"tools":[{"role":"developer"}]}`,
			want: `{"messages":[{"role":"system","content":"be"},{"content":"x","role":"user"}],"tools":[{"role":"developer"}]}`,
		},
		{
			name: "texts, and a picture beside them", vendor: "moonshot",
			body: `{"messages":[{"role":"system","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]},{"role":"user","content":[{"type":"text","text":"a"},{"type":"image_url","image_url":{"url":"x"}}]}]}`,
			want: `{"messages":[{"role":"system","content":"ab"},{"role":"user","content":[{"type":"text","text":"a"},{"type":"image_url","image_url":{"url":"x"}}]}]}`,
		},
		{
			name: "at OpenAI it is not", vendor: "openai", base: "https://api.openai.com/v1",
			body: `{"messages":[{"role":"developer","content":"be","refusal":null}]}`, want: `{"messages":[{"role":"developer","content":"be","refusal":null}]}`,
		},
		{name: "nor at Azure", vendor: "azure", base: "https://x.openai.azure.com", body: `{"messages":[{"role":"developer"}]}`, want: `{"messages":[{"role":"developer"}]}`},
		{
			name: "another server that is reached as OpenAI", vendor: "openai", base: "http://10.0.0.5:8000/v1",
			body: `{"messages":[{"role":"developer","content":"be"}]}`, want: `{"messages":[{"role":"system","content":"be"}]}`,
		},
		{
			name: "an answer that is sent back", vendor: "groq",
			body: `{"messages":[{"role":"assistant","content":null,"refusal":null,"annotations":[],"audio":null,"function_call":null,"tool_calls":[{"id":"a"}]},{"role":"assistant","content":"x","tool_calls":null,"refusal":"no","annotations":[{"type":"url_citation"}]}]}`,
			want: `{"messages":[{"role":"assistant","content":null,"tool_calls":[{"id":"a"}]},{"role":"assistant","content":"x","refusal":"no","annotations":[{"type":"url_citation"}]}]}`,
		},
		{
			name: "names", vendor: "mistral", dropped: []string{"messages.name"},
			body: `{"messages":[{"role":"user","name":"bob","content":"x"},{"role":"tool","tool_call_id":"a","name":"f","content":"1"}]}`,
			want: `{"messages":[{"role":"user","content":"x"},{"role":"tool","tool_call_id":"a","name":"f","content":"1"}]}`,
		},
		{name: "anybody else's", vendor: "openai", body: `{"temperature":2,"messages":[{"content":[{"type":"text","text":"a"}]}]}`, want: `{"temperature":2,"messages":[{"content":[{"type":"text","text":"a"}]}]}`},
	} {
		p, ok := provider.Lookup(tt.vendor)
		if !ok {
			t.Fatal(tt.vendor)
		}
		target := llm.Target{Model: "m", Policy: tt.policy}
		if got := p.Fit([]byte(tt.body), tt.base, &target); string(got) != tt.want || !slices.Equal(target.Dropped(), tt.dropped) || (target.Err() != nil) != tt.refused {
			t.Errorf("%s: got %s (dropped %v, %v), want %s", tt.name, got, target.Dropped(), target.Err(), tt.want)
		}
	}
}
