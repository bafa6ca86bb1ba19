package provider

import (
	"bytes"
	"slices"
	"strconv"
	"strings"

	"github.com/conclave-llm/conclave/llm"
)

// Fit is a chat completion's body as a vendor takes it that does not take all that OpenAI does. Elsewhere than at OpenAI,
// where base says that the deployment is not, "developer" is "system", and what OpenAI says in an answer with nothing in it is
// left out where the answer is sent back. Where the row says so, lists of texts become one text each, names are left out, and
// a temperature above the highest becomes that. What becomes of the last two is the target's policy. The body's syntax is
// checked.
func (p *Provider) Fit(body []byte, base string, t *llm.Target) []byte {
	f := fitter{p: p, t: t, strange: !p.isOpenAI(base) && hasStrange(body), names: p.NoNames && bytes.Contains(body, []byte(`"name"`))}
	if !p.PlainContent && p.MaxTemperature == 0 && !f.strange && !f.names {
		return body
	}
	out := append(make([]byte, 0, len(body)), '{')
	c := llm.NewCursor(body)
	for n := 0; c.Member(n); n++ {
		m := llm.Member{Name: string(c.Name())}
		if m.Name == "messages" && c.Next() == '[' {
			out = f.messages(llm.AppendKey(out, m.Name), &c)
			continue
		}
		m.Value = c.Raw()
		if m.Name == "temperature" && p.MaxTemperature > 0 {
			f.lower(&m)
		}
		out = m.Append(out)
	}
	if c.Err() != nil {
		return body
	}
	return append(out, '}')
}

// isOpenAI says whether OpenAI's own servers are asked: many others are reached as "openai", at an address of their own.
func (p *Provider) isOpenAI(base string) bool {
	return p.OpenAIs && (base == "" || p.Base == "" || strings.HasPrefix(base, p.Base))
}

// strange are the members of messages, and the role, that some of those who speak OpenAI's format do not know.
var strange = [...]string{`"developer"`, `"refusal"`, `"annotations"`, `"function_call"`, `"audio"`}

// hasStrange says whether a body may have any of them.
func hasStrange(body []byte) bool {
	return slices.ContainsFunc(strange[:], func(name string) bool { return bytes.Contains(body, []byte(name)) })
}

// fitter makes messages fit.
type fitter struct {
	p              *Provider
	t              *llm.Target
	strange, names bool // there may be such
}

// messages appends messages as the vendor takes them.
func (f *fitter) messages(out []byte, c *llm.Cursor) []byte {
	out = append(out, '[')
	for n := 0; c.Element(n); n++ {
		out = llm.AppendComma(out)
		if c.Next() != '{' {
			out = append(out, c.Raw()...)
			continue
		}
		tool := f.names && isTool(*c)
		out = append(out, '{')
		for k := 0; c.Member(k); k++ {
			m := llm.Member{Name: string(c.Name())}
			m.Value = c.Raw()
			if f.strange && nothing(&m) || m.Name == "name" && f.names && !tool && !f.t.Drop("messages.name") {
				continue
			}
			f.fit(&m)
			out = m.Append(out)
		}
		out = append(out, '}')
	}
	return append(out, ']')
}

// lower lowers a temperature to the highest that the vendor takes.
func (f *fitter) lower(m *llm.Member) {
	if v, err := strconv.ParseFloat(string(m.Value), 64); err == nil && v > f.p.MaxTemperature && !f.t.Drop(m.Name) {
		m.Value = strconv.AppendFloat(nil, f.p.MaxTemperature, 'f', -1, 64)
	}
}

// isTool says whether the message at the cursor is a tool's result, which has the tool's name.
func isTool(c llm.Cursor) (tool bool) {
	for n := 0; c.Member(n); n++ {
		if string(c.Name()) == "role" && c.Next() == '"' {
			tool = c.Text() == "tool"
		} else {
			c.Raw()
		}
	}
	return tool
}

// nothing says whether a member is one of an answer of OpenAI's that says nothing.
func nothing(m *llm.Member) bool {
	switch m.Name {
	case "refusal", "function_call", "audio":
		return string(m.Value) == "null"
	case "tool_calls", "annotations":
		return string(m.Value) == "null" || strings.Trim(string(m.Value), "[] \t\r\n") == ""
	}
	return false
}

// fit makes a member of a message fit.
func (f *fitter) fit(m *llm.Member) {
	switch {
	case m.Name == "role" && f.strange && string(m.Value) == `"developer"`:
		m.Value = []byte(`"system"`)
	case m.Name == "content" && f.p.PlainContent:
		if text, ok := joined(m.Value); ok {
			m.Value = llm.AppendString(nil, text)
		}
	}
}

// joined is the text of a list of texts; false: it is no list, or has something else in it, such as a picture.
func joined(raw []byte) (text string, ok bool) {
	if len(raw) == 0 || raw[0] != '[' {
		return "", false
	}
	c := llm.NewCursor(raw)
	for n := 0; c.Element(n); n++ {
		part, kind := "", ""
		for k := 0; c.Member(k); k++ {
			switch name := string(c.Name()); {
			case name == "type" && c.Next() == '"':
				kind = c.Text()
			case name == "text" && c.Next() == '"':
				part = c.Text()
			default:
				c.Raw()
			}
		}
		if kind != "text" {
			return "", false
		}
		text += part
	}
	return text, c.Err() == nil
}
