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
		{name: "anybody else's", vendor: "openai", body: `{"temperature":2,"messages":[{"content":[{"type":"text","text":"a"}]}]}`, want: `{"temperature":2,"messages":[{"content":[{"type":"text","text":"a"}]}]}`},
	} {
		p, ok := provider.Lookup(tt.vendor)
		if !ok {
			t.Fatal(tt.vendor)
		}
		target := llm.Target{Model: "m", Policy: tt.policy}
		if got := p.Fit([]byte(tt.body), &target); string(got) != tt.want || !slices.Equal(target.Dropped(), tt.dropped) || (target.Err() != nil) != tt.refused {
			t.Errorf("%s: got %s (dropped %v, %v), want %s", tt.name, got, target.Dropped(), target.Err(), tt.want)
		}
	}
}
