package gemini

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"github.com/conclave-llm/conclave/llm/chat"
	"github.com/conclave-llm/conclave/provider/gemini/schema"
)

// googleTools are Google's own tools by the beginning of what others call theirs.
var googleTools = []struct{ prefix, name string }{
	{"web_search", "googleSearch"}, {"code_interpreter", "codeExecution"}, {"code_execution", "codeExecution"}, {"web_fetch", "urlContext"},
}

// googleTool is the entry of a vendor's tool; "" if Google has none like it.
func googleTool(t *chat.Tool) string {
	if t.Origin == origin {
		return string(t.Raw)
	}
	for _, g := range googleTools {
		if strings.HasPrefix(t.Kind, g.prefix) {
			return `{"` + g.name + `":{}}`
		}
	}
	return ""
}

// tools writes the tools and how they are chosen.
func (w *requestWriter) tools() error {
	var functions []int
	var entries []string
	add := func(entry string) {
		if !slices.Contains(entries, entry) {
			entries = append(entries, entry)
		}
	}
	for i := range w.req.Tools {
		t := &w.req.Tools[i]
		switch entry := ""; {
		case t.Kind == "" && w.offered(t.Name):
			functions = append(functions, i)
		case t.Kind == "":
		default:
			if entry = googleTool(t); entry == "" {
				w.t.Drop("tools." + t.Kind)
				continue
			}
			add(entry)
		}
	}
	if given(w.req.WebSearch) {
		add(`{"googleSearch":{}}`)
	}
	if len(functions)+len(entries) > 0 {
		w.member("tools")
		w.open('[')
		if err := w.functions(functions); err != nil {
			return err
		}
		for _, e := range entries {
			w.sep()
			w.raw(e)
		}
		w.close(']')
	}
	w.choice(len(functions) > 0)
	return nil
}

// offered says whether a function may be called: where only some may, and need not be, Google is
// told of no others.
func (w *requestWriter) offered(name string) bool {
	c := w.req.ToolChoice
	return len(c.Only) == 0 || c.Mode == "required" || c.Mode == "none" || slices.Contains(c.Only, name)
}

func (w *requestWriter) functions(list []int) error {
	if len(list) == 0 {
		return nil
	}
	w.element('{')
	w.member("functionDeclarations")
	w.open('[')
	for _, i := range list {
		t := &w.req.Tools[i]
		w.element('{')
		w.member("name").str(t.Name)
		if t.Description != "" {
			w.member("description").str(t.Description)
		}
		if given(t.CacheControl) {
			w.t.Drop("cache_control")
		}
		if !schema.Empty(t.Parameters) {
			if err := w.schema("parameters", "parametersJsonSchema", t.Parameters, false, "tools["+strconv.Itoa(i)+"].function.parameters"); err != nil {
				return err
			}
		}
		w.close('}')
	}
	w.close(']')
	w.close('}')
	return nil
}

// choice writes toolConfig.
func (w *requestWriter) choice(functions bool) {
	var extra map[string]json.RawMessage
	_ = json.Unmarshal(w.req.Extra[extraTools], &extra) // what a client wrote is an object, or not there
	mode, names := "", w.req.ToolChoice.Only
	switch c := w.req.ToolChoice; c.Mode {
	case "auto":
		mode, names = "AUTO", nil
	case "none":
		mode, names = "NONE", nil
	case "required":
		mode = "ANY"
	case "tool":
		mode, names = "ANY", []string{c.Name}
	}
	if !functions {
		mode = ""
	}
	if mode == "" && len(extra) == 0 {
		return
	}
	w.member("toolConfig")
	w.open('{')
	if mode != "" {
		w.member("functionCallingConfig")
		w.open('{')
		w.member("mode").str(mode)
		if len(names) > 0 {
			w.member("allowedFunctionNames")
			w.open('[')
			for _, n := range names {
				w.sep()
				w.str(n)
			}
			w.close(']')
		}
		w.close('}')
	}
	for _, name := range sortedKeys(extra) {
		w.member(name).json(extra[name])
	}
	w.close('}')
}
