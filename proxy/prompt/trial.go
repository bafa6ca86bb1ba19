package prompt

import (
	"encoding/json"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/resource"
)

// Parser reads the text of a .prompt file.
type Parser func(text []byte) (*resource.PromptVersion, error)

// Try makes a chat completion of a body that has the text of a .prompt file in dotprompt_content, values
// in prompt_variables and, if it likes, turns in conversation_history, which follow the prompt's. It
// streams unless the body says "stream": false. nil: the body has no such text.
func Try(body []byte, parse Parser) ([]byte, error) {
	doc, err := read(body)
	if err != nil {
		return nil, err
	}
	raw := doc.take("dotprompt_content")
	if raw == nil {
		return nil, nil
	}
	if parse == nil {
		return nil, &llm.Error{Kind: llm.NotFound, Code: "endpoint_not_served", Message: "This gateway reads no prompt files."}
	}
	var text string
	if json.Unmarshal(raw, &text) != nil {
		return nil, invalid("dotprompt_content", "must be a string")
	}
	v, err := parse([]byte(text))
	if err != nil {
		return nil, invalid("dotprompt_content", err.Error())
	}
	q := &ask{id: "dotprompt_content"}
	if raw := doc.take("prompt_variables"); raw != nil && json.Unmarshal(raw, &q.variables) != nil {
		return nil, invalid("prompt_variables", "must be an object of values by the names of variables")
	}
	if history := doc.take("conversation_history"); history != nil {
		doc.set("messages", history)
	}
	return doc.asked(v, q)
}

// asked is the document as a chat completion of the version.
func (d *document) asked(v *resource.PromptVersion, q *ask) ([]byte, error) {
	turns, err := fill(v, q)
	if err != nil {
		return nil, err
	}
	say := dialects[llm.Chat]
	if err := say.add(d, turns); err != nil {
		return nil, err
	}
	if err := say.set(d, v); err != nil {
		return nil, err
	}
	if v.Model != "" {
		d.set("model", quoted(v.Model))
	}
	if d.get("stream") == nil {
		d.set("stream", json.RawMessage("true"))
	}
	return d.bytes(), nil
}
