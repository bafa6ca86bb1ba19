// Package dotprompt reads .prompt files: YAML between two lines of ---, and a text with {{variables}}
// whose messages begin with {{role "system"}} or, as LiteLLM has it, with a line that begins with
// System:, User: or Assistant:. What has logic in it is refused by name and line: a stored prompt has
// none.
package dotprompt

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/conclave-llm/conclave/resource"
	"github.com/conclave-llm/conclave/resource/placeholder"
)

// MaxFile bounds a file, in bytes.
const MaxFile = 256 << 10

// ErrTooLarge says that a file is over MaxFile.
var ErrTooLarge = errors.New("a .prompt file has at most 256 KiB")

// Parse reads a file as a version of a prompt, without a number. Errors name the line.
func Parse(src []byte) (*resource.PromptVersion, error) {
	if len(src) > MaxFile {
		return nil, ErrTooLarge
	}
	text := strings.ReplaceAll(string(src), "\r\n", "\n")
	front, body, line := split(text)
	v := new(resource.PromptVersion)
	if err := readFront(v, front); err != nil {
		return nil, err
	}
	messages, err := readBody(body, line)
	if err != nil {
		return nil, err
	}
	v.Messages = messages
	return v, nil
}

// split takes the front matter off, if there is one. line is that at which the body begins.
func split(text string) (front, body string, line int) {
	rest, ok := strings.CutPrefix(text, "---\n")
	if !ok {
		return "", text, 1
	}
	at := strings.Index("\n"+rest, "\n---")
	if at < 0 {
		return "", text, 1
	}
	front = rest[:at]
	body = rest[at+len("---"):]
	_, body, _ = strings.Cut(body, "\n")
	return front, body, 1 + strings.Count(text[:len(text)-len(body)], "\n")
}

// ignored are members of the front matter that change nothing: they are for people and tools.
var ignored = []string{"name", "variant", "version", "description", "metadata", "author", "license", "tags"}

// renamed are the names of Google's configuration, in OpenAI's words.
var renamed = map[string]string{
	"temperature": "temperature", "topP": "top_p", "topK": "top_k", "maxOutputTokens": "max_tokens", "stopSequences": "stop",
	"frequencyPenalty": "frequency_penalty", "presencePenalty": "presence_penalty", "seed": "seed", "candidateCount": "n",
}

// params are the members that a stored prompt takes as they are; the record says which it takes.
var params = []string{
	"temperature", "top_p", "top_k", "min_p", "max_tokens", "max_completion_tokens", "frequency_penalty", "presence_penalty", "stop", "seed", "n",
	"logprobs", "top_logprobs", "logit_bias", "response_format", "reasoning_effort", "verbosity", "tools", "tool_choice", "parallel_tool_calls",
}

// matter is what the front matter gives.
type matter struct {
	version *resource.PromptVersion
	params  map[string]any
}

// frontLine is that of a node of the front matter in the file.
func frontLine(n *yaml.Node) int { return n.Line + 1 }

func readFront(v *resource.PromptVersion, front string) error {
	var doc yaml.Node
	if err := yaml.Unmarshal([]byte(front), &doc); err != nil {
		return fmt.Errorf("front matter: %w", err)
	}
	if len(doc.Content) == 0 {
		return nil
	}
	root := doc.Content[0]
	if root.Kind != yaml.MappingNode {
		return fmt.Errorf("line %d: the front matter is not an object", frontLine(root))
	}
	m := &matter{version: v, params: map[string]any{}}
	for i := 0; i+1 < len(root.Content); i += 2 {
		if err := m.member(root.Content[i], root.Content[i+1]); err != nil {
			return err
		}
	}
	if len(m.params) == 0 {
		return nil
	}
	raw, err := json.Marshal(m.params)
	if err != nil {
		return fmt.Errorf("front matter: %w", err)
	}
	v.Parameters = raw
	return nil
}

// member reads one member of the front matter.
func (m *matter) member(key, value *yaml.Node) error {
	switch name := key.Value; {
	case name == "model":
		return decode(value, name, &m.version.Model)
	case name == "config":
		return m.config(value)
	case name == "input":
		return m.input(value)
	case name == "output":
		return m.output(value)
	case slices.Contains(params, name):
		return m.set(name, value)
	case slices.Contains(ignored, name) || strings.Contains(name, "."): // of an extension
		return nil
	default:
		return fmt.Errorf("line %d: the front matter's %q is not known here", frontLine(key), name)
	}
}

func decode(n *yaml.Node, name string, into any) error {
	if err := n.Decode(into); err != nil {
		return fmt.Errorf("line %d: %s: %w", frontLine(n), name, err)
	}
	return nil
}

func (m *matter) set(name string, value *yaml.Node) error {
	var v any
	if err := decode(value, name, &v); err != nil {
		return err
	}
	if _, err := json.Marshal(v); err != nil {
		return fmt.Errorf("line %d: %s has names that are no texts", frontLine(value), name)
	}
	m.params[name] = v
	return nil
}

// config reads Google's parameters.
func (m *matter) config(n *yaml.Node) error {
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		name, ok := renamed[key.Value]
		if !ok && slices.Contains(params, key.Value) {
			name, ok = key.Value, true
		}
		if !ok {
			return fmt.Errorf("line %d: config.%s is not known here", frontLine(key), key.Value)
		}
		if err := m.set(name, n.Content[i+1]); err != nil {
			return err
		}
	}
	return nil
}

// input reads the values of variables that a request may leave out. The schema is for editors.
func (m *matter) input(n *yaml.Node) error {
	var in struct {
		Default map[string]any `yaml:"default"`
		Schema  any            `yaml:"schema"`
	}
	if err := decode(n, "input", &in); err != nil || len(in.Default) == 0 {
		return err
	}
	raw, err := json.Marshal(in.Default)
	if err != nil {
		return fmt.Errorf("line %d: input.default has names that are no texts", frontLine(n))
	}
	m.version.Defaults = raw
	return nil
}

// output reads the form of the answer.
func (m *matter) output(n *yaml.Node) error {
	var out struct {
		Format string         `yaml:"format"`
		Schema map[string]any `yaml:"schema"`
	}
	if err := decode(n, "output", &out); err != nil {
		return err
	}
	switch {
	case out.Schema != nil && out.Schema["type"] != "object":
		return fmt.Errorf("line %d: output.schema is Picoschema, which is not supported: write it as a JSON schema of the type object", frontLine(n))
	case out.Schema != nil:
		if _, err := json.Marshal(out.Schema); err != nil {
			return fmt.Errorf("line %d: output.schema has names that are no texts", frontLine(n))
		}
		m.params["response_format"] = map[string]any{"type": "json_schema", "json_schema": map[string]any{"name": "output", "schema": out.Schema}}
	case out.Format == "json":
		m.params["response_format"] = map[string]any{"type": "json_object"}
	case out.Format != "" && out.Format != "text":
		return fmt.Errorf("line %d: output.format %q is not text or json", frontLine(n), out.Format)
	}
	return nil
}

var (
	comment = regexp.MustCompile(`\{\{!(?:--[\s\S]*?--|[^}]*)\}\}`)
	triple  = regexp.MustCompile(`\{\{\{\s*([\w.-]+)\s*\}\}\}`)
	// marker begins a message.
	marker = regexp.MustCompile(`\{\{\s*role\s+["'](\w+)["']\s*\}\}|(?m)^(System|Developer|User|Assistant):[ \t]*`)
	// history is where the client's own messages stand, which is after the prompt's.
	history = regexp.MustCompile(`\{\{\s*history\s*\}\}`)
)

// readBody reads the messages of a body that begins at a line of the file.
func readBody(body string, line int) ([]resource.PromptMessage, error) {
	body = comment.ReplaceAllStringFunc(body, func(s string) string { return strings.Repeat("\n", strings.Count(s, "\n")) })
	body = triple.ReplaceAllString(body, "{{$1}}")
	if at := strings.Index(body, "{%"); at >= 0 {
		return nil, fmt.Errorf("line %d: {%% … %%} is logic, which stored prompts have none of", line+strings.Count(body[:at], "\n"))
	}
	if at := history.FindStringIndex(body); at != nil {
		if strings.TrimSpace(body[at[1]:]) != "" {
			return nil, fmt.Errorf("line %d: {{history}} must be the last: the client's messages follow those of the prompt", line+strings.Count(body[:at[0]], "\n"))
		}
		body = body[:at[0]]
	}
	role, from := "user", 0
	var list []resource.PromptMessage
	add := func(to int) error {
		text := strings.TrimSpace(body[from:to])
		if text == "" {
			return nil
		}
		first := line + strings.Count(body[:from], "\n") + strings.Count(body[from:to][:strings.Index(body[from:to], text)], "\n")
		if err := check(text, first); err != nil {
			return err
		}
		list = append(list, resource.PromptMessage{Role: role, Content: text})
		return nil
	}
	for _, at := range marker.FindAllStringSubmatchIndex(body, -1) {
		if err := add(at[0]); err != nil {
			return nil, err
		}
		name := body[max(at[2], at[4]):max(at[3], at[5])]
		if role = strings.ToLower(name); role == "model" {
			role = "assistant"
		}
		if !slices.Contains([]string{"system", "developer", "user", "assistant"}, role) {
			return nil, fmt.Errorf("line %d: the role %q is not system, developer, user, assistant or model", line+strings.Count(body[:at[0]], "\n"), name)
		}
		from = at[1]
	}
	if err := add(len(body)); err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("line %d: there is no message", line)
	}
	return list, nil
}

// check reads a message that begins at a line of the file.
func check(text string, line int) error {
	_, err := placeholder.Parse(text)
	if err == nil {
		return nil
	}
	var at int
	if _, scanErr := fmt.Sscanf(err.Error(), "line %d:", &at); scanErr != nil {
		return err
	}
	_, what, _ := strings.Cut(err.Error(), ": ")
	return fmt.Errorf("line %d: %s", line+at-1, what)
}

// Format writes a version as a file that Parse reads as the same.
func Format(v *resource.PromptVersion) (string, error) {
	var b strings.Builder
	b.WriteString("---\n")
	if v.Model != "" {
		b.WriteString("model: " + quote(v.Model) + "\n")
	}
	var params map[string]json.RawMessage
	if len(v.Parameters) > 0 {
		if err := json.Unmarshal(v.Parameters, &params); err != nil {
			return "", fmt.Errorf("write parameters: %w", err)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(params)) {
		b.WriteString(name + ": " + string(params[name]) + "\n")
	}
	if len(v.Defaults) > 0 {
		b.WriteString("input: {\"default\": " + string(v.Defaults) + "}\n")
	}
	b.WriteString("---\n")
	for _, m := range v.Messages {
		b.WriteString("{{role " + quote(m.Role) + "}}\n" + m.Content + "\n")
	}
	return b.String(), nil
}

// quote is a text in JSON, which is YAML too.
func quote(s string) string {
	b, _ := json.Marshal(s) // a string does not fail
	return string(b)
}
