// Command misbehave is a guardrail that refuses what is forbidden, and does as a text tells it: it floods its log,
// answers wrongly or never again, or takes memory.
package main

import (
	"context"
	"os"
	"strings"
	"sync/atomic"

	"github.com/conclave-llm/conclave/plugins/sdk"
	"github.com/conclave-llm/conclave/resource"
)

func main() { sdk.ServeGuardrail(&guard{}) }

// guard is the guardrail.
type guard struct {
	grown []byte
	mute  atomic.Bool // it answers nothing any more
}

// Configure implements sdk.Guardrail.
func (g *guard) Configure(context.Context, sdk.GuardrailSettings) (sdk.GuardrailDescription, error) {
	return sdk.GuardrailDescription{Version: "test", Hooks: []resource.Hook{resource.HookBefore}}, nil
}

// Check implements sdk.Guardrail.
func (g *guard) Check(_ context.Context, c *sdk.Check) (sdk.Verdict, error) {
	for _, t := range c.Texts {
		if strings.Contains(t.Text, "mute") {
			g.mute.Store(true)
		}
		if g.mute.Load() {
			select {} // as checks that wait for each other do
		}
		switch {
		case strings.Contains(t.Text, "forbidden"):
			return sdk.Block("forbidden"), nil
		case strings.Contains(t.Text, "flood"):
			line := []byte(strings.Repeat("x", 99) + "\n")
			for range 160_000 { // 16 MB
				_, _ = os.Stderr.Write(line)
			}
		case strings.Contains(t.Text, "wrong"):
			return sdk.Verdict{Action: 99}, nil
		case strings.Contains(t.Text, "large"): // larger than an answer may be
			return sdk.Block(strings.Repeat("x", 16<<20)), nil
		case strings.Contains(t.Text, "grow"):
			g.grown = make([]byte, 400<<20)
			for i := range g.grown {
				g.grown[i] = byte(i)
			}
		}
	}
	return sdk.Pass(), nil
}
