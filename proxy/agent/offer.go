package agent

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/conclave-llm/conclave/llm"
)

const (
	// maxTools bounds the tools that are offered to a model, which counts them as its prompt.
	maxTools = 512
	// maxFunction is the longest name that every provider takes for a function.
	maxFunction = 64
)

// offer are the tools that a model is offered as functions.
type offer struct {
	tools []Tool
	byFn  map[string]*Tool
	of    map[string]*Server // by label
}

// offerOf asks the toolset for the tools of all entries. taken are the names of the client's own functions.
func offerOf(ctx context.Context, set Toolset, servers []Server, taken []string) (*offer, error) {
	o := &offer{byFn: map[string]*Tool{}, of: map[string]*Server{}}
	for i := range servers {
		s := &servers[i]
		o.of[s.Label] = s
		all, err := set.Tools(ctx, s)
		if err != nil {
			return nil, err
		}
		for _, t := range all {
			if !s.wants(&t) {
				continue
			}
			t.Label, t.asks = s.Label, s.approve.wanted(t.Name) || t.Full != t.Name && s.approve.wanted(t.Full)
			o.tools = append(o.tools, t)
		}
	}
	if len(o.tools) > maxTools {
		return nil, invalid("tools", fmt.Sprintf(`name MCP servers with %d tools, of which at most %d can be offered. Choose some with "allowed_tools"`, len(o.tools), maxTools))
	}
	for i := range o.tools {
		t := &o.tools[i]
		t.function = function(t.Full)
		if slices.Contains(taken, t.function) || o.byFn[t.function] != nil {
			t.function = function(t.Label + "-" + t.Full + "#")
		}
		if slices.Contains(taken, t.function) || o.byFn[t.function] != nil {
			return nil, invalid("tools", fmt.Sprintf("have a function %q beside a tool of that name of an MCP server", clip(t.function)))
		}
		o.byFn[t.function] = t
	}
	return o, nil
}

// wants says whether the entry takes a tool.
func (s *Server) wants(t *Tool) bool {
	listed := func(names []string) bool { return slices.Contains(names, t.Name) || slices.Contains(names, t.Full) }
	return (s.Allowed == nil || listed(s.Allowed)) && !listed(s.Denied)
}

// function is a tool's full name as a name that every provider takes: one that must be changed
// ends with a part of its digest, so that no two become one.
func function(full string) string {
	ok := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_' || r == '-'
	}
	name := strings.Map(func(r rune) rune {
		if ok(r) {
			return r
		}
		return '_'
	}, full)
	if name == full && len(name) <= maxFunction {
		return name
	}
	sum := sha256.Sum256([]byte(full))
	const tail = 9 // a dash and eight digits
	return name[:min(len(name), maxFunction-tail)] + "-" + hex.EncodeToString(sum[:4])
}

// find is the tool of an entry by the name that answers give it.
func (o *offer) find(label, name string) *Tool {
	i := slices.IndexFunc(o.tools, func(t Tool) bool { return t.Label == label && t.Name == name })
	if i < 0 {
		return nil
	}
	return &o.tools[i]
}

// functionOf is the name under which the model knows a tool of an earlier answer, offered now or not.
func (o *offer) functionOf(label, name string) string {
	if t := o.find(label, name); t != nil {
		return t.function
	}
	return function(label + "-" + name)
}

// listed are the tools of an entry, as a list of tools shows them.
func (o *offer) listed(label string) []json.RawMessage {
	all := []json.RawMessage{}
	for i := range o.tools {
		if t := &o.tools[i]; t.Label == label {
			all = append(all, encode(object{"annotations": []byte("null")}.set("name", t.Name).set("description", t.Description).set("input_schema", t.schema())))
		}
	}
	return all
}

// schema is that of the arguments: an object, which is what providers demand.
func (t *Tool) schema() json.RawMessage {
	o, err := readObject(t.Schema)
	if err != nil {
		return json.RawMessage(`{"type":"object","properties":{}}`)
	}
	if !o.has("type") {
		o.set("type", "object")
	}
	if o.text("type") == "object" && !o.has("properties") {
		o["properties"] = json.RawMessage("{}")
	}
	return encode(o)
}

// call is one that an answer of the model makes.
type call struct {
	id        string
	function  string
	arguments string // JSON; what is none is the tool's to refuse
	tool      *Tool  // nil: the client's own function
	item      string // by which the client knows it, where that is another
	request   string // the approval that it waited for; "": none
	result    *Result
}

// runs says whether the gateway makes the call: it is of a tool of its own, and need not be approved.
func (c *call) runs() bool { return c.tool != nil && (!c.tool.asks || c.request != "") }

// raw are the arguments as JSON: an object, where the model wrote nothing.
func (c *call) raw() (json.RawMessage, error) {
	if strings.TrimSpace(c.arguments) == "" {
		return json.RawMessage("{}"), nil
	}
	if _, err := readObject([]byte(c.arguments)); err != nil {
		return nil, &llm.Error{Kind: llm.Invalid, Code: "invalid_arguments", Message: "The arguments are no JSON object: " + err.Error()}
	}
	return json.RawMessage(c.arguments), nil
}
