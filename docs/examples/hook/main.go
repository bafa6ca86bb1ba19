// Command example-hook is a guardrail that judges no texts: it sends the requests of a department, which a
// header names, to the department's model, tags them with its name, refuses those of departments that are
// closed, answers some questions in the place of a model, tells everybody else's errors from its own, and
// keeps out of callbacks what private departments say.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/conclave-llm/conclave/plugins/sdk"
)

// version is what nodes show.
const version = "0.1.0"

// needed is the minor of the contract that brought what the plugin does.
const needed = 7

// tag stands before the department in the tag of its requests, which records have too.
const tag = "department:"

// config is the plugin's own part of a guardrail's configuration; schema.json says the same.
type config struct {
	Header  string            `json:"header"`
	Models  map[string]string `json:"models"`
	Closed  []string          `json:"closed"`
	Private []string          `json:"private"`
	Answers map[string]string `json:"answers"`
}

// plugin knows the departments. Check is called concurrently: what Configure has set is only read.
type plugin struct{ config }

// Configure is called once, before anything else.
func (p *plugin) Configure(_ context.Context, s sdk.GuardrailSettings) (sdk.GuardrailDescription, error) {
	if s.HostMinor != 0 && s.HostMinor < needed {
		return sdk.GuardrailDescription{}, fmt.Errorf("the node speaks minor %d of the contract, and the plugin needs %d", s.HostMinor, needed)
	}
	d := json.NewDecoder(bytes.NewReader(s.Config))
	d.DisallowUnknownFields()
	if err := d.Decode(&p.config); err != nil {
		return sdk.GuardrailDescription{}, fmt.Errorf("read config: %w", err)
	}
	if p.Header == "" || len(p.Models) == 0 {
		return sdk.GuardrailDescription{}, errors.New("header and models: give both")
	}
	return sdk.GuardrailDescription{
		Version:      version,
		Hooks:        []sdk.Hook{sdk.Before, sdk.OnFailure, sdk.Logging},
		WantsHeaders: []string{p.Header},
	}, nil
}

// Check decides about a request before it is sent (sdk.Before), about an error (sdk.OnFailure), and about
// what a callback is told of a request (sdk.Logging).
func (p *plugin) Check(_ context.Context, c *sdk.Check) (sdk.Verdict, error) {
	department := ""
	for _, h := range c.Headers {
		department = h.Value // it asks for one only
	}
	switch c.Hook {
	case sdk.OnFailure:
		return p.failed(department, c.Failure), nil
	case sdk.Logging:
		return p.logged(c.Record), nil
	}
	if slices.Contains(p.Closed, department) {
		return sdk.Refuse(403, "department_closed", "The department has no budget for models this year."), nil
	}
	if answer, ok := p.answer(c); ok {
		return sdk.Answer(answer), nil
	}
	model, ok := p.Models[department]
	if !ok {
		return sdk.Pass(), nil
	}
	v := sdk.Change(sdk.RequestChange{Model: model, Tags: []string{tag + department}})
	v.Headers = []sdk.Header{{Name: "x-department", Value: department}}
	return v, nil
}

// answer is what is answered without a model to the last text of a conversation; a request of another kind
// has no answer that is a text.
func (p *plugin) answer(c *sdk.Check) (string, bool) {
	if len(c.Texts) == 0 || !slices.Contains([]string{"chat", "responses", "messages"}, c.Info.Endpoint) {
		return "", false
	}
	answer, ok := p.Answers[c.Texts[len(c.Texts)-1].Text]
	return answer, ok
}

// failed names who can help with limits; the status stays.
func (p *plugin) failed(department string, f *sdk.Failure) sdk.Verdict {
	if f.Status != 429 || department == "" {
		return sdk.Pass()
	}
	return sdk.Fail(sdk.Failure{Message: f.Message + " Ask the administrators of " + department + " for more."})
}

// logged leaves of a private department's record what was spent, and nothing of what was said and by whom.
func (p *plugin) logged(r *sdk.LoggedRecord) sdk.Verdict {
	for _, department := range p.Private {
		if slices.Contains(r.Tags, tag+department) {
			return sdk.Edit(sdk.LoggedRecord{Tags: r.Tags})
		}
	}
	return sdk.Pass()
}

func main() { sdk.ServeGuardrail(&plugin{}) }
