// Package plugintest is the conformance kit of plugins: an author calls Guardrail, Callback,
// SecretSource, Auth, RouterFilter or Provider in a test of the plugin, and it is put through what a Conclave node will do with it, over
// real gRPC, without a node and without a network. GuardrailProgram, CallbackProgram and their like put the
// built program through the same, and through what becomes of its process; they take a program
// in any language.
package plugintest

import (
	"context"
	"math"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/plugins/callback"
	"github.com/conclave-llm/conclave/plugins/guardrail"
	"github.com/conclave-llm/conclave/plugins/sdk"
	"github.com/conclave-llm/conclave/resource"
)

// patience is how long the kit waits for an answer. It is for plugins that hang: what is to be quick is measured
// by quick, and a machine may be busy.
const patience = 2 * time.Minute

// tries is how often the kit measures what is to be quick.
const tries = 5

// quick fails if what is done takes longer than the limit each time: a machine that is busy is not always so.
func quick(t *testing.T, what string, limit time.Duration, do func()) {
	t.Helper()
	best := time.Duration(math.MaxInt64)
	for range tries {
		start := time.Now()
		do()
		if best = min(best, time.Since(start)); best <= limit {
			return
		}
	}
	t.Errorf("%s takes %v at best, want at most %v", what, best, limit)
}

// GuardrailCase says what the guardrail under test should do.
type GuardrailCase struct {
	Config []byte   // that must be accepted
	Bad    [][]byte // configurations that must be refused
	Passes string   // a text that must pass
	Stops  string   // a text that must be blocked or rewritten; "": skip these checks
	Word   string   // a text that must not leave a stream, however it is cut; "": skip these checks

	// Hooks are further checks, for guardrails that do more than judge texts.
	Hooks []HookCase
}

// HookCase is one check at any hook of a guardrail, and what must come of it.
type HookCase struct {
	Name  string
	Check sdk.Check
	May   []resource.Power // that the guardrail's operator would give it
	Want  func(v sdk.Verdict) bool
}

// Guardrail runs the checks of guardrails; make returns a fresh, unconfigured plugin.
func Guardrail(t *testing.T, make func() sdk.Guardrail, c GuardrailCase) {
	k := &guardrailKit{c: c, from: inMemory{guardrail: make}}
	run(t, k.checks())
}

// GuardrailProgram runs the checks of guardrails and of processes on a program.
func GuardrailProgram(t *testing.T, p Program, c GuardrailCase) {
	from := &launched{Program: p, kind: guardrail.PluginKey}
	k := &guardrailKit{c: c, from: from}
	run(t, k.checks())
	run(t, from.checks())
	run(t, k.processChecks(from))
}

// CallbackCase says how to see what the callback under test has delivered.
type CallbackCase struct {
	Config []byte               // that must be accepted
	Bad    [][]byte             // configurations that must be refused
	Count  func(testing.TB) int // records in the sink; nil: not counted
}

// Callback runs the checks of callbacks; make returns a fresh, unconfigured plugin.
func Callback(t *testing.T, make func() sdk.Callback, c CallbackCase) {
	k := &callbackKit{c: c, from: inMemory{callback: make}}
	run(t, k.checks())
}

// CallbackProgram runs the checks of callbacks and of processes on a program.
func CallbackProgram(t *testing.T, p Program, c CallbackCase) {
	from := &launched{Program: p, kind: callback.PluginKey}
	k := &callbackKit{c: c, from: from}
	run(t, k.checks())
	run(t, from.checks())
	run(t, k.processChecks(from))
}

// check is one thing that a plugin does as it should.
type check struct {
	name string
	run  func(*testing.T)
}

func run(t *testing.T, checks []check) {
	t.Helper()
	for _, c := range checks {
		t.Run(c.name, c.run)
	}
}

func short(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

func needs(t *testing.T, given string) {
	t.Helper()
	if given == "" {
		t.Skip("the case names no such text")
	}
}
