package pricing_test

import (
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/pricing"
)

func mapFile(t *testing.T, mode, prices string) *pricing.File {
	t.Helper()
	f, err := pricing.ReadMap([]byte(`{"m":{"litellm_provider":"openai","mode":"` + mode + `",` + prices + `}}`))
	if err != nil || len(f.Refused) > 0 || len(f.Entries) != 1 {
		t.Fatalf("%s: %+v, %v", prices, f, err)
	}
	return f
}

// TestPlan_Vanished holds a price that is gone, or goes to 0, where less is charged for that, whatever it is the price of.
func TestPlan_Vanished(t *testing.T) {
	t.Parallel()
	const tokens = `"input_cost_per_token":1e-5,"output_cost_per_token":2e-5`
	for _, tt := range []struct{ name, old, next, held string }{
		{"an image is free", `"output_cost_per_image":0.04`, `"output_cost_per_image":0`, "output_image goes from or to 0"},
		{"a second is free", `"input_cost_per_second":0.0001`, `"input_cost_per_second":0`, "second goes from or to 0"},
		{"an image is gone", tokens + `,"output_cost_per_image":0.04`, tokens, "output_image goes from or to 0"},
		{"long prompts are gone", tokens + `,"input_cost_per_token_above_200k_tokens":2e-5`, tokens, ">200000 input is gone, and what stands in its place is lower"},
		{"long prompts are free", tokens + `,"input_cost_per_token_above_200k_tokens":2e-5`, tokens + `,"input_cost_per_token_above_200k_tokens":0`, ">200000 input goes from or to 0"},
		{"a dearer class is gone", tokens + `,"cache_creation_input_token_cost":1.25e-5`, tokens, "cache_write is gone, and what stands in its place is lower"},
		{"a class is free at once", tokens, tokens + `,"cache_read_input_token_cost":0`, "cache_read goes from or to 0"},
		{"a class is nearly free at once", tokens, tokens + `,"cache_read_input_token_cost":1e-8`, "cache_read changes more than 100 times"},
		{"a tier is gone", tokens + `,"input_cost_per_token_priority":2e-5`, tokens, "priority input is gone, and what stands in its place is lower"},
		{"tokens are gone for images", tokens, `"output_cost_per_image":0.04`, "input goes from or to 0"},

		{"a cheaper class is gone: more is charged", tokens + `,"cache_read_input_token_cost":1e-6`, tokens, ""},
		{"a cheaper tier is gone", tokens + `,"input_cost_per_token_batches":1e-6`, tokens, ""},
		{"a class is new", tokens, tokens + `,"cache_read_input_token_cost":1e-6,"cache_creation_input_token_cost":1.25e-5`, ""},
		{"long prompts are new", tokens, tokens + `,"input_cost_per_token_above_200k_tokens":2e-5`, ""},
		{"a unit is new", tokens, tokens + `,"output_cost_per_image":0.04`, ""},
		{"a unit is lower", `"output_cost_per_image":0.04`, `"output_cost_per_image":0.02`, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			mode := "chat"
			if strings.Contains(tt.old+tt.next, "image") {
				mode = "image_generation"
			}
			p, err := pricing.NewPlan(pricing.NewBook(nil), mapFile(t, mode, tt.old), pricing.How{Accept: true})
			if err != nil {
				t.Fatal(err)
			}
			now := written(t, p)
			if p, err = pricing.NewPlan(now, mapFile(t, mode, tt.next), pricing.How{Replace: true, InUse: map[string]bool{"openai/m": true}}); err != nil {
				t.Fatal(err)
			}
			if len(p.Changes) != 1 || p.Changes[0].Held != tt.held {
				t.Errorf("got %+v, want held for %q", p.Changes, tt.held)
			}
			if kept, was := written(t, p), now; tt.held != "" {
				a, _, _ := kept.Row("openai", "m")
				b, _, _ := was.Row("openai", "m")
				if a.Row() != b.Row() {
					t.Errorf("held, and yet now\n%s", a.Row())
				}
			}
		})
	}
}
