package gemini

import "bytes"

// opaque are the members whose insides are the caller's own: their names stay as they are.
var opaque = map[string]bool{
	"args": true, "response": true, "parameters": true, "parametersJsonSchema": true, "responseSchema": true,
	"responseJsonSchema": true, "_responseJsonSchema": true, "labels": true, "partMetadata": true,
}

// camel gives the body with its members in the spelling of the API's documents: Google takes
// "system_instruction" for "systemInstruction", and so on. A body without an underscore in any
// name is returned as it is. What is not JSON is returned as it is too.
func camel(body []byte) []byte {
	if bytes.IndexByte(body, '_') < 0 {
		return body
	}
	c := camelizer{scan: scan{b: body}}
	c.walk()
	if !c.end() || c.done == 0 {
		return body
	}
	return append(c.out, body[c.done:]...)
}

// camelizer copies a body and changes names on the way.
type camelizer struct {
	scan
	out  []byte
	done int // bytes of the body that are in out
}

func (c *camelizer) walk() {
	switch c.space() {
	case '{':
		for n := 0; c.member(n); n++ {
			c.space()
			at := c.i + 1
			name := c.rename(c.key(), at)
			if opaque[string(name)] {
				c.value()
			} else {
				c.walk()
			}
		}
	case '[':
		for n := 0; c.element(n); n++ {
			c.walk()
		}
	default:
		c.value()
	}
}

// rename gives the name in camel case and, if that is another, replaces it at the place where
// it stands.
func (c *camelizer) rename(name []byte, at int) []byte {
	if bytes.IndexByte(name, '_') < 1 {
		return name
	}
	better := camelCase(name)
	c.out = append(append(c.out, c.b[c.done:at]...), better...)
	c.done = at + len(name)
	return better
}

// camelCase is snake_case in camelCase.
func camelCase(name []byte) []byte {
	out := make([]byte, 0, len(name))
	for i := 0; i < len(name); i++ {
		if name[i] == '_' && i > 0 && i+1 < len(name) {
			i++
			out = append(out, bytes.ToUpper(name[i:i+1])...)
			continue
		}
		out = append(out, name[i])
	}
	return out
}
