package bedrock

import (
	"slices"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/chat"
	"github.com/conclave-llm/conclave/provider/anthropic"
)

// emptySchema is that of a tool without parameters.
const emptySchema = `{"type":"object","properties":{}}`

// tools writes the tools that may be called. A conversation that holds calls must name its tools
// even if the client offers none any more. There is no way to forbid their use but to leave them out.
func (w *writer) tools() {
	c := &w.q.ToolChoice
	called := w.conv.tools()
	b := []byte(`{"tools":[`)
	start := len(b)
	if c.Mode != "none" || len(called) > 0 {
		b = w.appendTools(b)
	}
	if len(b) == start {
		for _, name := range called {
			b = appendTool(llm.AppendComma(b), &chat.Tool{Name: name}, false)
		}
	}
	if len(b) == start {
		return
	}
	b = append(b, ']')
	switch c.Mode {
	case "auto":
		b = append(b, `,"toolChoice":{"auto":{}}`...)
	case "required":
		b = append(b, `,"toolChoice":{"any":{}}`...)
	case "tool":
		b = append(b, `,"toolChoice":{"tool":{"name":`...)
		b = append(llm.AppendString(b, c.Name), "}}"...)
	case "none":
		w.t.Drop("tool_choice")
	}
	w.key("toolConfig")
	w.b = append(append(w.b, b...), '}')
}

// appendTools appends the tools that the client offers.
func (w *writer) appendTools(b []byte) []byte {
	only := w.q.ToolChoice.Only
	for i := range w.q.Tools {
		tool := &w.q.Tools[i]
		switch {
		case tool.Kind != "" && tool.Origin == origin:
			b = llm.AppendRaw(llm.AppendComma(b), tool.Raw)
		case tool.Kind != "":
			w.t.Drop("tools")
			continue
		case only != nil && !slices.Contains(only, tool.Name):
			continue
		default:
			strict := tool.Strict != nil && *tool.Strict
			if strict && !w.fam.schema {
				strict = w.t.Drop("strict")
			}
			b = appendTool(llm.AppendComma(b), tool, strict)
		}
		if tool.CacheControl != nil && (w.fam.caches || w.t.Drop("cache_control")) {
			b = appendCachePoint(b, tool.CacheControl)
		}
	}
	return b
}

func appendTool(b []byte, tool *chat.Tool, strict bool) []byte {
	b = append(b, `{"toolSpec":{"name":`...)
	b = llm.AppendString(b, tool.Name)
	if tool.Description != "" {
		b = llm.AppendString(llm.AppendKey(b, "description"), tool.Description)
	}
	b = append(b, `,"inputSchema":{"json":`...)
	switch {
	case len(tool.Parameters) == 0:
		b = append(b, emptySchema...)
	case strict:
		b = anthropic.AppendSchema(b, tool.Parameters)
	default:
		b = llm.AppendRaw(b, tool.Parameters)
	}
	b = append(b, '}')
	if strict {
		b = append(b, `,"strict":true`...)
	}
	return append(b, "}}"...)
}
