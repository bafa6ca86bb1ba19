// Command example-hook is a guardrail that judges no texts: it sends the requests of a department, which a
// header names, to the department's model, tags them with its name, refuses those of departments that are
// closed, and tells everybody else's errors from its own.
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

// config is the plugin's own part of a guardrail's configuration; schema.json says the same.
type config struct {
	Header string            `json:"header"`
	Models map[string]string `json:"models"`
	Closed []string          `json:"closed"`
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
		Hooks:        []sdk.Hook{sdk.Before, sdk.OnFailure},
		WantsHeaders: []string{p.Header},
	}, nil
}

// Check decides about a request before it is sent (sdk.Before), and about an error (sdk.OnFailure).
func (p *plugin) Check(_ context.Context, c *sdk.Check) (sdk.Verdict, error) {
	department := ""
	for _, h := range c.Headers {
		department = h.Value // it asks for one only
	}
	if c.Hook == sdk.OnFailure {
		return p.failed(department, c.Failure), nil
	}
	model, ok := p.Models[department]
	switch {
	case slices.Contains(p.Closed, department):
		return sdk.Refuse(403, "department_closed", "The department has no budget for models this year."), nil
	case !ok:
		return sdk.Pass(), nil
	}
	v := sdk.Change(sdk.RequestChange{Model: model, Tags: []string{"department:" + department}})
	v.Headers = []sdk.Header{{Name: "x-department", Value: department}}
	return v, nil
}

// failed names who can help with limits; the status stays.
func (p *plugin) failed(department string, f *sdk.Failure) sdk.Verdict {
	if f.Status != 429 || department == "" {
		return sdk.Pass()
	}
	return sdk.Fail(sdk.Failure{Message: f.Message + " Ask the administrators of " + department + " for more."})
}

func main() { sdk.ServeGuardrail(&plugin{}) }
