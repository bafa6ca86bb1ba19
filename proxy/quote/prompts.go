package quote

import (
	"encoding/json"

	"github.com/conclave-llm/conclave/llm"
)

// prompts counts the prompts of a completions request, each of which is completed: a list of
// strings or of lists of tokens is as many as it is long, anything else is one.
func prompts(body []byte) int64 {
	var request struct {
		Prompt json.RawMessage `json:"prompt"`
	}
	var list []json.RawMessage
	if json.Unmarshal(body, &request) != nil || len(request.Prompt) == 0 || request.Prompt[0] != '[' ||
		json.Unmarshal(request.Prompt, &list) != nil || len(list) == 0 {
		return 1
	}
	if first := list[0][0]; first != '"' && first != '[' {
		return 1
	}
	return int64(len(list))
}

// tokens counts the tokens of a prompt, or of what becomes vectors, that is given as tokens; false: it is given as texts.
func tokens(r *Request) (n int64, ok bool) {
	name := "prompt"
	switch r.Endpoint {
	case llm.Completions:
	case llm.Embeddings:
		name = "input"
	default:
		return 0, false
	}
	c := llm.NewCursor(r.Body)
	for i := 0; c.Member(i); i++ {
		if string(c.Name()) != name {
			c.Raw()
			continue
		}
		if c.Next() != '[' {
			return 0, false
		}
		return elements(&c)
	}
	return 0, false
}

// elements counts the numbers of a list, and of the lists in it; false: it has others, or none.
func elements(c *llm.Cursor) (n int64, ok bool) {
	for i := 0; c.Element(i); i++ {
		switch next := c.Next(); {
		case next == '[':
			inner, ok := elements(c)
			if !ok {
				return 0, false
			}
			n += inner
		case next >= '0' && next <= '9':
			c.Raw()
			n++
		default:
			return 0, false
		}
	}
	return n, n > 0
}
