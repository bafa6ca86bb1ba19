// Package prompt puts stored prompts into requests that name one: its messages before the client's,
// with the client's variables in them, and its model and parameters in the place of the client's. What
// comes of it is a request like any other: every policy decides about that. It does no I/O.
package prompt

import (
	"bytes"
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/resource"
	"github.com/conclave-llm/conclave/resource/placeholder"
)

// The codes of refusals.
const (
	CodeNotAllowed = "prompt_not_allowed"
	CodeNotFound   = "prompt_not_found"
	CodeVariable   = "missing_prompt_variable"
	codeInvalid    = "invalid_value"
)

// Used is the prompt that a request was made of; the zero value is none.
type Used struct {
	Name    string
	Version int64
	Model   bool // it has set the model
}

// ask is what a request says about the prompt that it wants.
type ask struct {
	id          string
	variables   map[string]json.RawMessage
	version     int64
	environment string
}

// Fill makes the body of a request of one that names a prompt, if who asks may use it. Errors are
// *llm.Error.
func Fill(cat *resource.Catalog, who *resource.Principal, at llm.Endpoint, body []byte) ([]byte, Used, error) {
	d, ok := dialects[at]
	if !ok {
		return nil, Used{}, invalid("prompt_id", "Prompts are for chat completions, responses and messages.")
	}
	doc, err := read(body)
	if err != nil {
		return nil, Used{}, err
	}
	q, err := doc.takeAsk()
	if err != nil {
		return nil, Used{}, err
	}
	p, v, err := find(cat, who, q)
	if err != nil {
		return nil, Used{}, err
	}
	turns, err := fill(v, q)
	if err != nil {
		return nil, Used{}, err
	}
	if err := d.add(doc, turns); err != nil {
		return nil, Used{}, err
	}
	if err := d.set(doc, v); err != nil {
		return nil, Used{}, err
	}
	if v.Model != "" {
		doc.set("model", quoted(v.Model))
	}
	return doc.bytes(), Used{Name: p.Name, Version: v.Version, Model: v.Model != ""}, nil
}

// takeAsk takes what says which prompt is wanted out of the body.
func (d *document) takeAsk() (*ask, error) {
	q := &ask{}
	var label string
	for name, into := range map[string]any{
		"prompt_id": &q.id, "prompt_variables": &q.variables, "prompt_label": &label, "prompt_environment": &q.environment,
	} {
		if raw := d.take(name); raw != nil && json.Unmarshal(raw, into) != nil {
			if name == "prompt_variables" {
				return nil, invalid(name, "must be an object of values by the names of variables")
			}
			return nil, invalid(name, "must be a string")
		}
	}
	if label != "" && q.environment != "" && label != q.environment {
		return nil, invalid("prompt_label", "names another environment than prompt_environment")
	}
	if label != "" {
		q.environment = label
	}
	return q, q.readVersion(d.take("prompt_version"))
}

// readVersion reads a number, a number as a text, or the name of an environment.
func (q *ask) readVersion(raw json.RawMessage) error {
	var text string
	switch {
	case raw == nil || string(raw) == "null":
		return nil
	case json.Unmarshal(raw, &q.version) == nil:
	case json.Unmarshal(raw, &text) == nil:
		n, err := strconv.ParseInt(strings.TrimPrefix(text, "v"), 10, 64)
		if err != nil && q.environment == "" {
			q.environment = text
			return nil
		}
		q.version = n
	}
	if q.version < 1 {
		return invalid("prompt_version", "must be a version's number or the name of an environment")
	}
	return nil
}

// find finds the version that is asked for. Who may not use a prompt learns the same of one that is
// there and one that is not.
func find(cat *resource.Catalog, who *resource.Principal, q *ask) (*resource.Prompt, *resource.PromptVersion, error) {
	if key := who.Key; key != nil && !resource.AllowsRoute(key.Prompts, q.id) {
		return nil, nil, denied(resource.HolderKey, key.ID, "The API key", q.id)
	}
	if team := who.Team; team != nil && !resource.AllowsRoute(team.Prompts, q.id) {
		return nil, nil, denied(resource.HolderTeam, team.ID, "The API key's team", q.id)
	}
	p, ok := cat.Prompt(q.id)
	if !ok {
		return nil, nil, &llm.Error{Kind: llm.NotFound, Code: CodeNotFound, Param: "prompt_id", Message: "There is no prompt " + strconv.Quote(q.id) + "."}
	}
	v, ok := p.Version(q.version, q.environment)
	if ok {
		return p, v, nil
	}
	param, what := "prompt_version", "version "+strconv.FormatInt(q.version, 10)
	if q.version == 0 {
		param, what = "prompt_environment", "environment "+strconv.Quote(q.environment)
	}
	return nil, nil, &llm.Error{Kind: llm.NotFound, Code: CodeNotFound, Param: param, Message: "The prompt " + strconv.Quote(q.id) + " has no " + what + "."}
}

func denied(scope, id, whose, prompt string) error {
	return &llm.Error{
		Kind: llm.Forbidden, Type: "auth_error", Code: CodeNotAllowed, Param: "prompt_id", Scope: scope, Entity: id,
		Message: whose + " may not use the prompt " + strconv.Quote(prompt) + ".",
	}
}

// turn is a message of a prompt with its values.
type turn struct{ role, content string }

// fill puts the values into the messages.
func fill(v *resource.PromptVersion, q *ask) ([]turn, error) {
	var defaults map[string]json.RawMessage
	if len(v.Defaults) > 0 {
		if err := json.Unmarshal(v.Defaults, &defaults); err != nil {
			return nil, &llm.Error{Kind: llm.Internal, Code: "invalid_prompt", Message: "The prompt cannot be read.", Err: err}
		}
	}
	value := func(name string) (string, bool) {
		raw, ok := q.variables[name]
		if !ok {
			raw, ok = defaults[name]
		}
		return spell(raw), ok && string(raw) != "null"
	}
	turns := make([]turn, len(v.Messages))
	for i, m := range v.Messages {
		t, err := placeholder.Parse(m.Content)
		if err != nil { // it was checked when it was stored
			return nil, &llm.Error{Kind: llm.Internal, Code: "invalid_prompt", Message: "The prompt cannot be read.", Err: err}
		}
		text, missing := t.Fill(value)
		if missing != "" {
			return nil, &llm.Error{
				Kind: llm.Invalid, Code: CodeVariable, Param: "prompt_variables." + missing,
				Message: "The prompt " + strconv.Quote(q.id) + " needs the variable " + strconv.Quote(missing) + ": give it in prompt_variables.",
			}
		}
		turns[i] = turn{m.Role, text}
	}
	return turns, nil
}

// spell is a value as it stands in a text: a text as it is, all else as JSON.
func spell(raw json.RawMessage) string {
	var text string
	if json.Unmarshal(raw, &text) == nil {
		return text
	}
	var b bytes.Buffer
	if json.Compact(&b, raw) != nil {
		return ""
	}
	return b.String()
}

// limits are the names of the limit on output, of which a prompt's replaces all.
var limits = []string{"max_tokens", "max_completion_tokens", "max_output_tokens"}

// setParams sets the parameters of a prompt under the names that a dialect gives them. One that it has
// no name for is an error: without it the prompt would be another.
func setParams(doc *document, v *resource.PromptVersion, say func(name string, raw json.RawMessage) (string, json.RawMessage, bool)) error {
	params, err := read(v.Parameters)
	if len(v.Parameters) == 0 || err != nil {
		return nil // it was checked when it was stored
	}
	for _, m := range params.members {
		name, raw, ok := say(m.name, m.raw)
		if !ok {
			return llm.Unsayable("prompt_id", "The prompt sets "+strconv.Quote(m.name)+", which this endpoint has no form for.")
		}
		if slices.Contains(limits, name) {
			for _, other := range limits {
				doc.take(other)
			}
		}
		doc.set(name, raw)
	}
	return nil
}

func invalid(param, what string) error {
	return &llm.Error{Kind: llm.Invalid, Code: codeInvalid, Param: param, Message: "Invalid value for " + strconv.Quote(param) + ": " + what + "."}
}

func quoted(s string) json.RawMessage { return llm.AppendString(nil, s) }
