package gemini

import (
	"bytes"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/provider/gemini/schema"
)

// opaque are the members whose insides are the caller's own: their names stay as they are.
var opaque = map[string]bool{
	"args": true, "response": true, "parameters": true, "parametersJsonSchema": true, "responseSchema": true,
	"responseJsonSchema": true, "_responseJsonSchema": true, "labels": true, "partMetadata": true,
}

// camel gives the body with its members in the spelling of the API's documents: Google takes
// "system_instruction" for "systemInstruction", and so on. A body without an underscore is
// returned as it is, and so is what is not JSON.
func camel(body []byte) []byte {
	if bytes.IndexByte(body, '_') < 0 {
		return body
	}
	c := llm.NewCursor(body)
	out := appendCamel(make([]byte, 0, len(body)), &c)
	if c.End() != nil {
		return body
	}
	return out
}

// appendCamel appends the next value.
func appendCamel(out []byte, c *llm.Cursor) []byte {
	switch c.Next() {
	case '{':
		out = append(out, '{')
		for n := 0; c.Member(n); n++ {
			name := schema.CamelCase(string(c.Name()))
			out = append(llm.AppendString(llm.AppendComma(out), name), ':')
			if opaque[name] {
				out = append(out, c.Raw()...)
			} else {
				out = appendCamel(out, c)
			}
		}
		return append(out, '}')
	case '[':
		out = append(out, '[')
		for n := 0; c.Element(n); n++ {
			out = appendCamel(llm.AppendComma(out), c)
		}
		return append(out, ']')
	}
	return append(out, c.Raw()...)
}
