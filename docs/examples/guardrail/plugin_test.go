package main

import (
	"testing"

	"github.com/conclave-llm/conclave/plugins/sdk"
	"github.com/conclave-llm/conclave/plugins/sdk/plugintest"
)

// kit says what the plugin should do; the kit does to it what a node will.
var kit = plugintest.GuardrailCase{
	Config: []byte(`{"words":["forbidden fruit"]}`),
	Bad:    [][]byte{[]byte(`{}`), []byte(`{"words":[""]}`), []byte(`{"words":7}`), []byte(`{"wrods":["x"]}`)},
	Passes: "an apple a day",
	Stops:  "there hangs a forbidden fruit",
	Word:   "forbidden fruit",
}

func TestPlugin(t *testing.T) {
	plugintest.Guardrail(t, func() sdk.Guardrail { return &plugin{} }, kit)
}

func TestProgram(t *testing.T) {
	plugintest.GuardrailProgram(t, plugintest.Program{Path: plugintest.Build(t, ".")}, kit)
}
