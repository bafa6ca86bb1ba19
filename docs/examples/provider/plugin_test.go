package main

import (
	"testing"

	"github.com/conclave-llm/conclave/plugins/sdk"
	"github.com/conclave-llm/conclave/plugins/sdk/plugintest"
)

// kit says what the plugin should answer; the kit does to it what a node will.
func kit() plugintest.ProviderCase {
	return plugintest.ProviderCase{
		Config: []byte(`{"greeting":"Hear:"}`),
		Bad:    [][]byte{[]byte(`{"greeting":7}`), []byte(`{"greating":"Hear:"}`)},
		Model:  "shout-1",
		Prompt: "not so loud",
		Says:   "Hear: NOT SO LOUD",
		Input:  "a word",
	}
}

func TestPlugin(t *testing.T) {
	plugintest.Provider(t, func() sdk.Provider { return &plugin{} }, kit())
}

func TestProgram(t *testing.T) {
	plugintest.ProviderProgram(t, plugintest.Program{Path: plugintest.Build(t, ".")}, kit())
}
