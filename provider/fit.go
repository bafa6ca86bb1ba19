package provider

import (
	"strconv"

	"github.com/conclave-llm/conclave/llm"
)

// Fit is a chat completion's body as a vendor takes it whose row says that it does not take all that OpenAI does:
// lists of texts become one text each, and a temperature above the row's highest becomes that. What becomes of the latter is
// the target's policy. The body's syntax is checked.
func (p *Provider) Fit(body []byte, t *llm.Target) []byte {
	if !p.PlainContent && p.MaxTemperature == 0 {
		return body
	}
	out := append(make([]byte, 0, len(body)), '{')
	c := llm.NewCursor(body)
	for n := 0; c.Member(n); n++ {
		m := llm.Member{Name: string(c.Name())}
		m.Value = c.Raw()
		switch {
		case m.Name == "messages" && p.PlainContent:
			m.Value = plainMessages(m.Value)
		case m.Name == "temperature" && p.MaxTemperature > 0:
			if v, err := strconv.ParseFloat(string(m.Value), 64); err == nil && v > p.MaxTemperature && !t.Drop(m.Name) {
				m.Value = strconv.AppendFloat(nil, p.MaxTemperature, 'f', -1, 64)
			}
		}
		out = m.Append(out)
	}
	if c.Err() != nil {
		return body
	}
	return append(out, '}')
}

// plainMessages are messages with a text in the place of each list of texts.
func plainMessages(raw []byte) []byte {
	out := []byte{'['}
	c := llm.NewCursor(raw)
	for n := 0; c.Element(n); n++ {
		out = llm.AppendComma(out)
		message := c.Raw()
		if len(message) == 0 || message[0] != '{' {
			out = append(out, message...)
			continue
		}
		out = append(out, '{')
		in := llm.NewCursor(message)
		for k := 0; in.Member(k); k++ {
			m := llm.Member{Name: string(in.Name())}
			m.Value = in.Raw()
			if text, ok := joined(m.Value); m.Name == "content" && ok {
				m.Value = llm.AppendString(nil, text)
			}
			out = m.Append(out)
		}
		out = append(out, '}')
	}
	if c.Err() != nil {
		return raw
	}
	return append(out, ']')
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
