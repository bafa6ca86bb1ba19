package prompt

import (
	"encoding/json"
	"strings"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/resource"
)

// dialect is how an endpoint's requests say messages and parameters.
type dialect struct {
	add func(doc *document, turns []turn) error
	set func(doc *document, v *resource.PromptVersion) error
}

// dialects are those of the endpoints that take stored prompts.
var dialects = map[llm.Endpoint]dialect{
	llm.Chat: {
		add: func(doc *document, turns []turn) error { return doc.prepend("messages", turns) },
		set: func(doc *document, v *resource.PromptVersion) error {
			return setParams(doc, v, func(name string, raw json.RawMessage) (string, json.RawMessage, bool) { return name, raw, true })
		},
	},
	llm.Responses: {addResponses, func(doc *document, v *resource.PromptVersion) error { return setParams(doc, v, sayResponses) }},
	llm.Messages:  {addMessages, func(doc *document, v *resource.PromptVersion) error { return setParams(doc, v, sayMessages) }},
}

// prepend puts turns before those of a list, which may be missing.
func (d *document) prepend(name string, turns []turn) error {
	if len(turns) == 0 {
		return nil
	}
	var list []json.RawMessage
	if raw := d.get(name); raw != nil && json.Unmarshal(raw, &list) != nil {
		return invalid(name, "must be an array")
	}
	b := []byte{'['}
	for _, t := range turns {
		b = append(llm.AppendComma(b), '{')
		b = append(llm.AppendKey(b, "role"), quoted(t.role)...)
		b = append(llm.AppendKey(b, "content"), quoted(t.content)...)
		b = append(b, '}')
	}
	for _, raw := range list {
		b = append(llm.AppendComma(b), raw...)
	}
	d.set(name, append(b, ']'))
	return nil
}

// apart are the instructions among turns, as one text, and the others.
func apart(turns []turn) (instructions string, rest []turn) {
	var texts []string
	for _, t := range turns {
		if t.role == "system" || t.role == "developer" {
			texts = append(texts, t.content)
			continue
		}
		rest = append(rest, t)
	}
	return strings.Join(texts, "\n\n"), rest
}

// addResponses puts instructions before the client's, and turns before its input.
func addResponses(doc *document, turns []turn) error {
	instructions, rest := apart(turns)
	if instructions != "" {
		var own string
		if raw := doc.get("instructions"); raw != nil && json.Unmarshal(raw, &own) != nil {
			return invalid("instructions", "must be a string")
		}
		doc.set("instructions", quoted(joined(instructions, own)))
	}
	var text string
	if raw := doc.get("input"); len(rest) > 0 && raw != nil && json.Unmarshal(raw, &text) == nil {
		rest = append(rest, turn{"user", text})
		doc.take("input")
	}
	return doc.prepend("input", rest)
}

// addMessages puts instructions before the client's system text or blocks.
func addMessages(doc *document, turns []turn) error {
	instructions, rest := apart(turns)
	if instructions == "" {
		return doc.prepend("messages", rest)
	}
	var text string
	var blocks []json.RawMessage
	switch raw := doc.get("system"); {
	case raw == nil || json.Unmarshal(raw, &text) == nil:
		doc.set("system", quoted(joined(instructions, text)))
	case json.Unmarshal(raw, &blocks) == nil:
		b := append([]byte(`[{"type":"text","text":`), quoted(instructions)...)
		b = append(b, '}')
		for _, raw := range blocks {
			b = append(llm.AppendComma(b), raw...)
		}
		doc.set("system", append(b, ']'))
	default:
		return invalid("system", "must be a string or an array")
	}
	return doc.prepend("messages", rest)
}

func joined(first, second string) string {
	if second == "" {
		return first
	}
	return first + "\n\n" + second
}

// sayResponses is a parameter of chat completions in the words of responses.
func sayResponses(name string, raw json.RawMessage) (string, json.RawMessage, bool) {
	switch name {
	case "temperature", "top_p", "parallel_tool_calls", "top_logprobs":
		return name, raw, true
	case "max_tokens", "max_completion_tokens":
		return "max_output_tokens", raw, true
	case "reasoning_effort":
		return "reasoning", append(append([]byte(`{"effort":`), raw...), '}'), true
	case "verbosity":
		return "text", append(append([]byte(`{"verbosity":`), raw...), '}'), true
	}
	return "", nil, false
}

// sayMessages is a parameter of chat completions in the words of Anthropic's messages.
func sayMessages(name string, raw json.RawMessage) (string, json.RawMessage, bool) {
	switch name {
	case "temperature", "top_p", "top_k", "max_tokens":
		return name, raw, true
	case "max_completion_tokens":
		return "max_tokens", raw, true
	case "stop":
		if len(raw) > 0 && raw[0] == '"' {
			raw = append(append([]byte{'['}, raw...), ']')
		}
		return "stop_sequences", raw, true
	}
	return "", nil, false
}
