package anthropic

import (
	"github.com/conclave-llm/conclave/llm"
)

// maxSchema is how deep a schema is changed; what is deeper is sent as it is.
const maxSchema = 200

// unbounded are the words of JSON Schema that Anthropic refuses in the form of an answer. It says
// to leave them out: they bound values, not the shape.
var unbounded = map[string]bool{
	"minimum": true, "maximum": true, "exclusiveMinimum": true, "exclusiveMaximum": true, "multipleOf": true,
	"minLength": true, "maxLength": true, "maxItems": true, "uniqueItems": true, "minProperties": true, "maxProperties": true,
}

// AppendSchema appends the schema of an answer, or of the arguments of a strict tool, in the form that Anthropic and Bedrock
// take: all objects closed, no bounds. The order of members, which is that of the answer's, stays.
func AppendSchema(dst, schema []byte) []byte {
	c := llm.NewCursor(schema)
	return appendSchema(dst, &c, 0)
}

func appendSchema(dst []byte, c *llm.Cursor, depth int) []byte {
	if c.Next() != '{' || depth > maxSchema {
		return llm.AppendRaw(dst, c.Raw())
	}
	dst = append(dst, '{')
	object, closed := false, false
	for n := 0; c.Member(n); n++ {
		name := string(c.Name())
		if unbounded[name] {
			c.Raw()
			continue
		}
		dst = llm.AppendComma(dst)
		dst = append(llm.AppendString(dst, name), ':')
		switch name {
		case "type":
			v := c.Raw()
			object = object || string(v) == `"object"`
			dst = append(dst, v...)
		case "additionalProperties":
			closed = true
			dst = appendSchema(dst, c, depth+1)
		case "properties", "$defs", "definitions":
			object = object || name == "properties"
			dst = appendNamed(dst, c, depth)
		case "items", "anyOf", "allOf", "oneOf":
			dst = appendSchemas(dst, c, depth)
		default:
			dst = llm.AppendRaw(dst, c.Raw())
		}
	}
	if object && !closed {
		dst = append(llm.AppendKey(dst, "additionalProperties"), "false"...)
	}
	return append(dst, '}')
}

// appendNamed appends an object whose values are schemas.
func appendNamed(dst []byte, c *llm.Cursor, depth int) []byte {
	if c.Next() != '{' {
		return llm.AppendRaw(dst, c.Raw())
	}
	dst = append(dst, '{')
	for n := 0; c.Member(n); n++ {
		dst = append(llm.AppendString(llm.AppendComma(dst), string(c.Name())), ':')
		dst = appendSchema(dst, c, depth+1)
	}
	return append(dst, '}')
}

// appendSchemas appends an array of schemas, or one.
func appendSchemas(dst []byte, c *llm.Cursor, depth int) []byte {
	if c.Next() != '[' {
		return appendSchema(dst, c, depth+1)
	}
	dst = append(dst, '[')
	for n := 0; c.Element(n); n++ {
		dst = appendSchema(llm.AppendComma(dst), c, depth+1)
	}
	return append(dst, ']')
}
