package main

import (
	"testing"

	"github.com/conclave-llm/conclave/plugins/sdk"
	"github.com/conclave-llm/conclave/plugins/sdk/plugintest"
)

// kit says what the plugin should choose; the kit does to it what a node will.
func kit() plugintest.RouterFilterCase {
	return plugintest.RouterFilterCase{
		Config: []byte(`{"field":"region"}`),
		Bad:    [][]byte{[]byte(`{"field":""}`), []byte(`{"field":7}`), []byte(`{"feild":"region"}`)},
		Route: sdk.Route{Model: "gpt-4o", Tags: []string{"batch", "region:eu"}, Candidates: []sdk.Candidate{
			{DeploymentID: "dep_us", Provider: "openai", Metadata: []byte(`{"region":"us"}`)},
			{DeploymentID: "dep_eu", Provider: "openai", Metadata: []byte(`{"region":"eu"}`)},
			{DeploymentID: "dep_anywhere", Provider: "openai"},
			{DeploymentID: "dep_eu2", Provider: "azure", Metadata: []byte(`{"region":"eu"}`)},
		}},
		Want: []int{1, 3},
	}
}

func TestPlugin(t *testing.T) {
	plugintest.RouterFilter(t, func() sdk.RouterFilter { return &plugin{} }, kit())
}

func TestProgram(t *testing.T) {
	plugintest.RouterFilterProgram(t, plugintest.Program{Path: plugintest.Build(t, ".")}, kit())
}
