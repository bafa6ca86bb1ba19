package resource

import "encoding/json"

// Hook is a moment of a request at which a guardrail is asked.
type Hook string

// The hooks.
const (
	HookBefore Hook = "before" // the request, before it is sent
	HookDuring Hook = "during" // the chunks of a stream
	HookAfter  Hook = "after"  // a whole answer
)

// OnError says what becomes of a request whose guardrail cannot be asked.
type OnError string

// The zero value of OnError is OnErrorBlock.
const (
	OnErrorBlock OnError = "block"
	OnErrorPass  OnError = "pass"
)

// Mode says whether what a guardrail decides is done.
type Mode string

// The zero value of Mode is ModeEnforce.
const (
	ModeEnforce Mode = "enforce"
	ModeObserve Mode = "observe" // it is recorded and not done
)

// Guardrail is a plugin that judges requests and answers.
type Guardrail struct {
	Meta
	Name       string          `json:"name,omitempty"`   // unique
	Plugin     string          `json:"plugin,omitempty"` // name of a shipped or registered plugin
	Hooks      []Hook          `json:"hooks,omitempty"`  // empty: all that the plugin declares
	OnError    OnError         `json:"on_error,omitempty"`
	Mode       Mode            `json:"mode,omitempty"`
	DeadlineMS int64           `json:"deadline_ms,omitempty"` // default 1000
	Models     []string        `json:"models,omitempty"`      // empty: requests for any model
	Optional   bool            `json:"optional,omitempty"`    // asked only if the request names it in "guardrails"
	Config     json.RawMessage `json:"config,omitempty"`      // the plugin's own
	Instances  int64           `json:"instances,omitempty"`   // processes on each node that share the checks; default 1
	MemoryMB   int64           `json:"memory_mb,omitempty"`   // MiB of one process, above which it is killed; default 256
}

// Label implements Record.
func (g *Guardrail) Label() string { return g.Name }

// Canonicalize implements Record.
func (g *Guardrail) Canonicalize() {
	if g.OnError == "" {
		g.OnError = OnErrorBlock
	}
	if g.DeadlineMS == 0 {
		g.DeadlineMS = 1000
	}
}

// Validate implements Record.
func (g *Guardrail) Validate() error {
	if err := validName("name", g.Name); err != nil {
		return err
	}
	if err := validName("plugin", g.Plugin); err != nil {
		return err
	}
	if err := g.validWays(); err != nil {
		return err
	}
	if err := validTimeout("deadline_ms", g.DeadlineMS); err != nil {
		return err
	}
	if err := validNames("models", g.Models); err != nil {
		return err
	}
	if len(g.Config) > 0 && !json.Valid(g.Config) {
		return invalidf("config", "is not JSON")
	}
	if g.Instances < 0 || g.Instances > MaxInstances {
		return invalidf("instances", "%d is not 0 (one) to %d", g.Instances, MaxInstances)
	}
	return validMemory(g.MemoryMB)
}

// Bounds of what a plugin may have on a node.
const (
	MaxInstances = 64
	minMemoryMB  = 16
	maxMemoryMB  = 1 << 20
)

// validMemory checks the bound of a plugin's memory.
func validMemory(mb int64) error {
	if mb != 0 && (mb < minMemoryMB || mb > maxMemoryMB) {
		return invalidf("memory_mb", "%d is not 0 (the default, 256) or %d to %d", mb, minMemoryMB, maxMemoryMB)
	}
	return nil
}

// validWays checks when the guardrail is asked, and what becomes of its answers.
func (g *Guardrail) validWays() error {
	for _, h := range g.Hooks {
		if h != HookBefore && h != HookDuring && h != HookAfter {
			return invalidf("hooks", "%q is not one of before, during, after", h)
		}
	}
	if g.OnError != "" && g.OnError != OnErrorBlock && g.OnError != OnErrorPass {
		return invalidf("on_error", "%q is not one of block, pass", g.OnError)
	}
	if g.Mode != "" && g.Mode != ModeEnforce && g.Mode != ModeObserve {
		return invalidf("mode", "%q is not one of enforce, observe", g.Mode)
	}
	return nil
}
