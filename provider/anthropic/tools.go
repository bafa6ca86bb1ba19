package anthropic

import (
	"slices"
	"strings"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/chat"
)

// tools reads the tools of a request.
func (d *decoder) tools() {
	if !d.list("tools") {
		return
	}
	for n := 0; d.Element(n); n++ {
		raw := d.Raw()
		in := d.within(raw, element("tools", n))
		d.req.Tools = append(d.req.Tools, in.tool(raw))
		d.join(in)
	}
}

// tool reads one tool, whose bytes are raw.
func (r *reader) tool(raw []byte) (t chat.Tool) {
	if r.Next() != '{' {
		r.fail("name", "is missing")
		return t
	}
	kind := ""
	for n := 0; r.Member(n); n++ {
		switch name := string(r.Name()); name {
		case "type":
			kind = r.text(name)
		case "name":
			t.Name = r.text(name)
		case "description":
			t.Description = r.text(name)
		case "input_schema":
			t.Parameters = r.raw(name)
		case "strict":
			t.Strict = r.boolean(name)
		case "cache_control":
			t.CacheControl = r.raw(name)
		default:
			r.Raw()
		}
	}
	if kind != "" && kind != "custom" {
		t.Kind, t.Raw, t.Origin = undated(kind), append([]byte(nil), raw...), origin
		return t
	}
	if t.Name == "" {
		r.fail("name", "is missing")
	}
	return t
}

// undated takes the date off the type of a tool: web_search_20250305 is a web_search.
func undated(kind string) string {
	i := strings.LastIndexByte(kind, '_')
	if i < 0 || len(kind)-i != 9 || strings.Trim(kind[i+1:], "0123456789") != "" {
		return kind
	}
	return kind[:i]
}

// toolChoice reads whether tools must be called.
func (d *decoder) toolChoice() {
	if !d.object("tool_choice") {
		return
	}
	kind, ch := "", &d.req.ToolChoice
	for n := 0; d.Member(n); n++ {
		switch string(d.Name()) {
		case "type":
			kind = d.text("tool_choice.type")
		case "name":
			ch.Name = d.text("tool_choice.name")
		case "disable_parallel_tool_use":
			if off := d.boolean("tool_choice.disable_parallel_tool_use"); off != nil {
				on := !*off
				d.req.ParallelTools = &on
			}
		default:
			d.Raw()
		}
	}
	switch kind {
	case "auto", "none", "tool":
		ch.Mode = kind
	case "any":
		ch.Mode = "required"
	default:
		d.fail("tool_choice.type", "must be auto, any, tool or none")
	}
	if ch.Mode == "tool" && ch.Name == "" {
		d.fail("tool_choice.name", "is missing")
	}
}

// tools writes the tools that may be called, and how.
func (w *writer) tools() {
	q := w.req
	some := false
	for i := range q.Tools {
		t := &q.Tools[i]
		if !allowed(t, q.ToolChoice.Only) {
			continue
		}
		mark := len(w.out)
		if !some {
			w.key("tools")
			w.out = append(w.out, '[')
		}
		w.out = llm.AppendComma(w.out)
		if w.tool(t) {
			some = true
		} else {
			w.out = w.out[:mark]
		}
	}
	if len(q.WebSearch) > 0 {
		if !some {
			w.key("tools")
			w.out = append(w.out, '[')
		}
		w.out = llm.AppendComma(w.out)
		w.webSearch(q.WebSearch)
		some = true
	}
	if some {
		w.out = append(w.out, ']')
		w.toolChoice()
	}
}

// allowed says whether the tool is one of those that may be called; only nil means all.
func allowed(t *chat.Tool, only []string) bool {
	return only == nil || slices.Contains(only, t.Name)
}

// tool writes one tool; false if Anthropic has none like it.
func (w *writer) tool(t *chat.Tool) bool {
	switch {
	case t.Origin == origin && t.Kind != "":
		w.out = llm.AppendRaw(w.out, t.Raw)
		return true
	case strings.HasPrefix(t.Kind, "web_search"):
		w.webSearch(t.Raw)
		return true
	case t.Kind == "code_interpreter":
		w.out = append(w.out, `{"type":"code_execution_20250825","name":"code_execution"}`...)
		return true
	case t.Kind != "":
		w.t.Drop("tools")
		return false
	}
	w.out = append(w.out, '{')
	w.str("name", t.Name)
	if t.Description != "" {
		w.str("description", t.Description)
	}
	strict := t.Strict != nil && *t.Strict
	if strict && !w.model.structured {
		strict = w.t.Drop("tools.strict")
	}
	w.key("input_schema")
	if strict {
		w.out = AppendSchema(w.out, appendInputSchema(nil, t.Parameters))
		w.raw("strict", []byte("true"))
	} else {
		w.out = appendInputSchema(w.out, t.Parameters)
	}
	w.cache(t.CacheControl)
	w.out = append(w.out, '}')
	return true
}

// appendInputSchema appends the schema of a tool's arguments, which must be one of an object.
func appendInputSchema(dst, schema []byte) []byte {
	c := llm.NewCursor(schema)
	if c.Next() != '{' {
		return append(dst, `{"type":"object","properties":{}}`...)
	}
	typed, some := false, false
	for n := 0; c.Member(n); n++ {
		typed = typed || string(c.Name()) == "type"
		some = true
		c.Raw()
	}
	switch {
	case !some:
		return append(dst, `{"type":"object","properties":{}}`...)
	case typed:
		return llm.AppendRaw(dst, schema)
	}
	dst = append(dst, `{"type":"object",`...)
	open := 0
	for schema[open] != '{' {
		open++
	}
	return llm.AppendRaw(dst, schema[open+1:])
}

// webSearch writes Anthropic's search for a tool or the options of OpenAI's.
func (w *writer) webSearch(options []byte) {
	w.out = append(w.out, `{"type":"web_search_20250305","name":"web_search"`...)
	c := llm.NewCursor(options)
	for n := 0; c.Member(n); n++ {
		switch string(c.Name()) {
		case "user_location":
			if where := appendLocation(nil, c.Raw()); len(where) > 0 {
				w.raw("user_location", where)
			}
		case "filters":
			for m := 0; c.Member(m); m++ {
				if string(c.Name()) == "allowed_domains" && c.Next() == '[' {
					w.raw("allowed_domains", c.Raw())
				} else {
					c.Raw()
				}
			}
		default:
			c.Raw()
		}
	}
	w.out = append(w.out, '}')
}

// appendLocation appends where the user is: OpenAI has it in "approximate", or as Anthropic does.
func appendLocation(dst, raw []byte) []byte {
	start := len(dst)
	dst = append(dst, `{"type":"approximate"`...)
	empty := len(dst)
	c := llm.NewCursor(raw)
	for n := 0; c.Member(n); n++ {
		switch name := string(c.Name()); name {
		case "approximate":
			if c.Next() == '{' {
				return appendLocation(dst[:start], c.Raw())
			}
			c.Raw()
		case "city", "region", "country", "timezone":
			if v := c.Text(); v != "" {
				dst = llm.AppendString(llm.AppendKey(dst, name), v)
			}
		default:
			c.Raw()
		}
	}
	if len(dst) == empty {
		return dst[:start]
	}
	return append(dst, '}')
}

// toolChoice writes whether tools must be called.
func (w *writer) toolChoice() {
	ch, one := w.req.ToolChoice, w.req.ParallelTools != nil && !*w.req.ParallelTools
	kind := map[string]string{"auto": "auto", "none": "none", "required": "any", "tool": "tool"}[ch.Mode]
	if kind == "" && !one {
		return
	}
	w.key("tool_choice")
	w.out = append(w.out, '{')
	if kind == "" {
		kind = "auto"
	}
	w.str("type", kind)
	if kind == "tool" {
		w.str("name", ch.Name)
	}
	if one && kind != "none" {
		w.raw("disable_parallel_tool_use", []byte("true"))
	}
	w.out = append(w.out, '}')
}
