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

func asking(endpoint, text string) sdk.Check {
	return sdk.Check{
		Hook: sdk.Before, Info: sdk.Info{Endpoint: endpoint, Model: "small"},
		Texts: []sdk.Text{{Path: "messages.0.content", Role: "user", Text: text}},
	}
}

func record(department string) sdk.Check {
	return sdk.Check{Hook: sdk.Logging, Record: &sdk.LoggedRecord{
		RequestID: "r", Endpoint: "chat", Model: "small", Status: "success", HTTPStatus: 200, EndUser: "eve",
		Tags: []string{"department:" + department}, Request: []byte(`{"messages":[]}`),
	}}
}

// unchanged says that nothing is done.
func unchanged(v sdk.Verdict) bool {
	return v.Change == nil && v.Failure == nil && v.Record == nil && v.Answer == "" && v.Message == ""
}

// kit says what the plugin should do; the kit does to it what a node will.
var kit = plugintest.GuardrailCase{
	Config: []byte(`{"header":"x-team","models":{"law":"large"},"closed":["sales"],"private":["law"],"answers":{"who can help?":"Ask the service desk."}}`),
	Bad:    [][]byte{[]byte(`{}`), []byte(`{"header":"x-team"}`), []byte(`{"header":7}`), []byte(`{"headers":"x"}`)},
	Passes: "an apple a day",
	Stops:  "who can help?",
	Hooks: []plugintest.HookCase{
		{
			Name: "sends a department to its model", Check: of(sdk.Before, "law", nil),
			May: []resource.Power{resource.MayModel, resource.MayTags, resource.MayHeaders},
			Want: func(v sdk.Verdict) bool {
				return v.Change != nil && v.Change.Model == "large" && v.Change.Tags[0] == "department:law" && v.Headers[0].Value == "law"
			},
		},
		{Name: "leaves others alone", Check: of(sdk.Before, "", nil), Want: unchanged},
		{
			Name: "refuses closed departments", Check: of(sdk.Before, "sales", nil), May: []resource.Power{resource.MayRefuse},
			Want: func(v sdk.Verdict) bool { return v.Status == 403 && v.Code == "department_closed" },
		},
		{
			Name: "answers in the place of a model", Check: asking("chat", "who can help?"), May: []resource.Power{resource.MayAnswer},
			Want: func(v sdk.Verdict) bool { return v.Answer == "Ask the service desk." },
		},
		{Name: "answers conversations alone", Check: asking("embeddings", "who can help?"), Want: unchanged},
		{
			Name: "says who helps", Check: of(sdk.OnFailure, "law", &sdk.Failure{Status: 429, Message: "Too many."}), May: []resource.Power{resource.MayError},
			Want: func(v sdk.Verdict) bool {
				return v.Failure != nil && strings.Contains(v.Failure.Message, "administrators of law")
			},
		},
		{Name: "leaves other errors alone", Check: of(sdk.OnFailure, "law", &sdk.Failure{Status: 500, Message: "Sorry."}), Want: unchanged},
		{
			Name: "keeps private records short", Check: record("law"), May: []resource.Power{resource.MayRecord},
			Want: func(v sdk.Verdict) bool {
				return v.Record != nil && len(v.Record.Request) == 0 && v.Record.EndUser == "" && v.Record.Tags[0] == "department:law"
			},
		},
		{Name: "leaves other records alone", Check: record("sales"), Want: unchanged},
	},
}

func TestPlugin(t *testing.T) {
	plugintest.Guardrail(t, func() sdk.Guardrail { return &plugin{} }, kit)
}

func TestProgram(t *testing.T) {
	plugintest.GuardrailProgram(t, plugintest.Program{Path: plugintest.Build(t, ".")}, kit)
}
