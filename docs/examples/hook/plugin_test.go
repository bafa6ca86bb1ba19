package main

import (
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/plugins/sdk"
	"github.com/conclave-llm/conclave/plugins/sdk/plugintest"
	"github.com/conclave-llm/conclave/resource"
)

func of(hook sdk.Hook, department string, f *sdk.Failure) sdk.Check {
	c := sdk.Check{Hook: hook, Info: sdk.Info{Endpoint: "chat", Model: "small"}, Failure: f}
	if department != "" {
		c.Headers = []sdk.Header{{Name: "x-team", Value: department}}
	}
	return c
}

// kit says what the plugin should do; the kit does to it what a node will.
var kit = plugintest.GuardrailCase{
	Config: []byte(`{"header":"x-team","models":{"law":"large"},"closed":["sales"]}`),
	Bad:    [][]byte{[]byte(`{}`), []byte(`{"header":"x-team"}`), []byte(`{"header":7}`), []byte(`{"headers":"x"}`)},
	Passes: "an apple a day",
	Hooks: []plugintest.HookCase{
		{
			Name: "sends a department to its model", Check: of(sdk.Before, "law", nil),
			May: []resource.Power{resource.MayModel, resource.MayTags, resource.MayHeaders},
			Want: func(v sdk.Verdict) bool {
				return v.Change != nil && v.Change.Model == "large" && v.Change.Tags[0] == "department:law" && v.Headers[0].Value == "law"
			},
		},
		{
			Name: "leaves others alone", Check: of(sdk.Before, "", nil),
			Want: func(v sdk.Verdict) bool { return v.Change == nil && v.Message == "" },
		},
		{
			Name: "refuses closed departments", Check: of(sdk.Before, "sales", nil), May: []resource.Power{resource.MayRefuse},
			Want: func(v sdk.Verdict) bool { return v.Status == 403 && v.Code == "department_closed" },
		},
		{
			Name: "says who helps", Check: of(sdk.OnFailure, "law", &sdk.Failure{Status: 429, Message: "Too many."}), May: []resource.Power{resource.MayError},
			Want: func(v sdk.Verdict) bool {
				return v.Failure != nil && strings.Contains(v.Failure.Message, "administrators of law")
			},
		},
	},
}

func TestPlugin(t *testing.T) {
	plugintest.Guardrail(t, func() sdk.Guardrail { return &plugin{} }, kit)
}

func TestProgram(t *testing.T) {
	plugintest.GuardrailProgram(t, plugintest.Program{Path: plugintest.Build(t, ".")}, kit)
}
