package tokenize

import (
	"github.com/conclave-llm/conclave/llm/chat"
)

// What OpenAI's chat format adds: tokens around each message, of a name, and before the answer.
const (
	perMessage = 3
	perName    = 1
	perAnswer  = 3
)

// mediaTokens is what one picture, sound or document is taken for: nobody tells from outside.
const mediaTokens = 255

// CountRequest counts what a conversation costs as a prompt: the texts, the names and arguments of
// tools, and what the chat format adds. Media are taken for a fixed number each.
func CountRequest(t Tokenizer, q *chat.Request) (int, error) {
	c := counter{t: t}
	for i := range q.Messages {
		m := &q.Messages[i]
		c.n += perMessage
		c.text(string(m.Role))
		if m.Name != "" {
			c.n += perName
			c.text(m.Name)
		}
		c.parts(m.Parts)
	}
	for i := range q.Tools {
		tool := &q.Tools[i]
		c.text(tool.Name)
		c.text(tool.Description)
		c.text(string(tool.Parameters))
	}
	if len(q.Messages) > 0 {
		c.n += perAnswer
	}
	return c.n, c.err
}

// counter adds up, to the first error.
type counter struct {
	t   Tokenizer
	n   int
	err error
}

func (c *counter) text(s string) {
	if c.err != nil || s == "" {
		return
	}
	n, err := c.t.Count(s)
	c.n += n
	c.err = err
}

func (c *counter) parts(parts []chat.Part) {
	for i := range parts {
		p := &parts[i]
		switch {
		case p.Media != nil:
			c.n += mediaTokens
		case p.Type == chat.PartToolCall:
			c.text(p.Name)
			c.text(string(p.Arguments))
		case p.Type == chat.PartToolResult:
			c.parts(p.Parts)
		case p.Type == chat.PartOther:
			c.text(string(p.Raw))
		}
		c.text(p.Text)
	}
}
