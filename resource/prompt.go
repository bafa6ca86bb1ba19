package resource

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/conclave-llm/conclave/resource/placeholder"
)

// Bounds of prompts: they are in every node's memory.
const (
	maxPromptVersions = 200
	maxPromptMessages = 64
	maxPromptText     = 128 << 10 // of one message
	maxPromptBytes    = 1 << 20   // of all versions
	maxEnvironments   = 32
)

// DefaultEnvironment is the one whose version a request gets that names neither a version nor an
// environment; a prompt without it gives its newest version.
const DefaultEnvironment = "production"

// Prompt is a stored prompt: messages with variables, which requests name by the prompt's name.
type Prompt struct {
	Meta
	Name        string `json:"name,omitempty"` // unique; a request's prompt_id
	Description string `json:"description,omitempty"`
	// Versions rise. One that is stored never changes: it is in the records of requests.
	Versions []PromptVersion `json:"versions,omitempty"`
	// Environments say which version requests get that name an environment or a label.
	Environments map[string]int64 `json:"environments,omitempty"`
	Last         int64            `json:"last,omitempty"` // highest version that there ever was
	Metadata     json.RawMessage  `json:"metadata,omitempty"`
}

// PromptVersion is one version of a prompt.
type PromptVersion struct {
	Version    int64           `json:"version,omitempty"` // 0: the one after the last
	Model      string          `json:"model,omitempty"`   // in the place of the request's; "": the request's
	Messages   []PromptMessage `json:"messages,omitempty"`
	Parameters json.RawMessage `json:"parameters,omitempty"` // OpenAI's, in the place of the request's; nil: none
	Defaults   json.RawMessage `json:"defaults,omitempty"`   // object of the values of variables that a request leaves out
	Note       string          `json:"note,omitempty"`       // for people
}

// PromptMessage is a message with {{variables}} in it.
type PromptMessage struct {
	Role    string `json:"role,omitempty"` // system, developer, user or assistant
	Content string `json:"content,omitempty"`
}

// promptParams are the members of a request that a prompt may set. What says for whom a request is,
// how it is tried and whether it streams is the client's alone.
var promptParams = []string{
	"temperature", "top_p", "top_k", "min_p", "max_tokens", "max_completion_tokens", "frequency_penalty", "presence_penalty", "stop", "seed", "n",
	"logprobs", "top_logprobs", "logit_bias", "response_format", "reasoning_effort", "verbosity", "tools", "tool_choice", "parallel_tool_calls",
}

// Label implements Record.
func (p *Prompt) Label() string { return p.Name }

// Canonicalize implements Record.
func (p *Prompt) Canonicalize() {
	before := int64(0)
	for i := range p.Versions {
		v := &p.Versions[i]
		if v.Version == 0 {
			if v.Version = before + 1; i == len(p.Versions)-1 {
				v.Version = max(p.Last, before) + 1
			}
		}
		before = v.Version
		v.Parameters, v.Defaults = nonEmpty(v.Parameters), nonEmpty(v.Defaults)
	}
	p.Last = max(p.Last, before)
}

// nonEmpty is nil for an object without members.
func nonEmpty(object json.RawMessage) json.RawMessage {
	if t := string(bytes.TrimSpace(object)); t == "" || t == "{}" || t == "null" {
		return nil
	}
	return object
}

// Validate implements Record.
func (p *Prompt) Validate() error {
	if err := validName("name", p.Name); err != nil {
		return err
	}
	if len(p.Description) > maxPromptText {
		return invalidf("description", "is longer than %d bytes", maxPromptText)
	}
	if n := len(p.Versions); n == 0 || n > maxPromptVersions {
		return invalidf("versions", "a prompt has 1 to %d versions, this one %d: leave out the oldest", maxPromptVersions, n)
	}
	before, size := int64(0), 0
	for i := range p.Versions {
		v, field := &p.Versions[i], fmt.Sprintf("versions[%d]", i)
		if v.Version <= before {
			return invalidf(field+".version", "%d is not above %d, the one before", v.Version, before)
		}
		before = v.Version
		n, err := v.validate(field)
		if err != nil {
			return err
		}
		if size += n; size > maxPromptBytes {
			return invalidf("versions", "have over %d bytes in all: leave out the oldest", maxPromptBytes)
		}
	}
	if len(p.Environments) > maxEnvironments {
		return invalidf("environments", "are more than %d", maxEnvironments)
	}
	for _, env := range sortedKeys(p.Environments) {
		if err := validName("environments", env); err != nil {
			return err
		}
		if _, ok := p.version(p.Environments[env]); !ok {
			return invalidf("environments."+env, "there is no version %d", p.Environments[env])
		}
	}
	return validMetadata(p.Metadata)
}

// validate checks a version, and returns its size.
func (v *PromptVersion) validate(field string) (size int, err error) {
	if v.Model != "" {
		if err := validName(field+".model", v.Model); err != nil {
			return 0, err
		}
	}
	if n := len(v.Messages); n == 0 || n > maxPromptMessages {
		return 0, invalidf(field+".messages", "a version has 1 to %d messages, this one %d", maxPromptMessages, n)
	}
	for i, m := range v.Messages {
		at := fmt.Sprintf("%s.messages[%d]", field, i)
		if !slices.Contains([]string{"system", "developer", "user", "assistant"}, m.Role) {
			return 0, invalidf(at+".role", "%q is not one of system, developer, user, assistant", m.Role)
		}
		if len(m.Content) > maxPromptText {
			return 0, invalidf(at+".content", "is longer than %d bytes", maxPromptText)
		}
		if _, err := placeholder.Parse(m.Content); err != nil {
			return 0, invalidf(at+".content", "%s", err)
		}
		size += len(m.Content)
	}
	params, err := members(field+".parameters", v.Parameters)
	if err != nil {
		return 0, err
	}
	for _, name := range sortedKeys(params) {
		if !slices.Contains(promptParams, name) {
			return 0, invalidf(field+".parameters."+name, "is not one that a prompt may set: %s", strings.Join(promptParams, ", "))
		}
	}
	if _, err := members(field+".defaults", v.Defaults); err != nil {
		return 0, err
	}
	return size + len(v.Parameters) + len(v.Defaults) + len(v.Note), nil
}

// members reads an object, nil for none.
func members(field string, raw json.RawMessage) (map[string]json.RawMessage, error) {
	if len(raw) == 0 {
		return nil, nil
	}
	var m map[string]json.RawMessage
	if len(raw) > maxPromptText || json.Unmarshal(raw, &m) != nil {
		return nil, invalidf(field, "is not a JSON object of at most %d bytes", maxPromptText)
	}
	return m, nil
}

// version finds a version by its number.
func (p *Prompt) version(n int64) (*PromptVersion, bool) {
	i, ok := slices.BinarySearchFunc(p.Versions, n, func(v PromptVersion, n int64) int { return int(v.Version - n) })
	if !ok {
		return nil, false
	}
	return &p.Versions[i], true
}

// Version is the one of a number, of an environment, or, where neither is said, that of
// DefaultEnvironment or else the newest.
func (p *Prompt) Version(number int64, environment string) (*PromptVersion, bool) {
	if number > 0 {
		return p.version(number)
	}
	if environment != "" {
		n, ok := p.Environments[environment]
		if !ok {
			return nil, false
		}
		return p.version(n)
	}
	if n, ok := p.Environments[DefaultEnvironment]; ok {
		return p.version(n)
	}
	return &p.Versions[len(p.Versions)-1], true
}

// Continue checks the prompt as the successor of the one that is stored, nil for none: what is stored
// of a version does not change, and no number is given twice.
func (p *Prompt) Continue(now *Prompt) error {
	if now == nil {
		return nil
	}
	p.Last = max(p.Last, now.Last)
	for i := range p.Versions {
		v := &p.Versions[i]
		old, ok := now.version(v.Version)
		if ok && !v.same(old) {
			return invalidf(fmt.Sprintf("versions[%d]", i), "version %d is stored and never changes: give the new text the version %d", v.Version, now.Last+1)
		}
		if !ok && v.Version <= now.Last {
			return invalidf(fmt.Sprintf("versions[%d].version", i), "the version %d was there before: the next is %d", v.Version, now.Last+1)
		}
	}
	return nil
}

func (v *PromptVersion) same(o *PromptVersion) bool {
	return v.Model == o.Model && slices.Equal(v.Messages, o.Messages) && sameJSON(v.Parameters, o.Parameters) && sameJSON(v.Defaults, o.Defaults)
}

// sameJSON says whether two values are the same but for white space.
func sameJSON(a, b json.RawMessage) bool {
	if len(a) == 0 || len(b) == 0 {
		return len(a) == len(b)
	}
	var left, right bytes.Buffer
	return json.Compact(&left, a) == nil && json.Compact(&right, b) == nil && bytes.Equal(left.Bytes(), right.Bytes())
}
