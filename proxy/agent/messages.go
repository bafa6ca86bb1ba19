package agent

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/conclave-llm/conclave/llm"
)

// The types of blocks that the calls of MCP servers' tools leave in a message.
const (
	blockUse     = "tool_use"
	blockResult  = "tool_result"
	blockMCPUse  = "mcp_tool_use"
	blockMCPDone = "mcp_tool_result"
)

// connected is a server of Anthropic's "mcp_servers".
type connected struct {
	Type   string `json:"type"`
	URL    string `json:"url"`
	Name   string `json:"name"`
	Token  string `json:"authorization_token"`
	Config struct {
		Enabled *bool    `json:"enabled"`
		Allowed []string `json:"allowed_tools"`
	} `json:"tool_configuration"`
}

// toolset is a tool of the type "mcp_toolset", which says what of a server is used.
type toolset struct {
	Server  string            `json:"mcp_server_name"`
	Default choice            `json:"default_config"`
	Tools   map[string]choice `json:"configs"`
}

type choice struct {
	Enabled *bool `json:"enabled"`
}

func (c choice) on(otherwise bool) bool {
	if c.Enabled == nil {
		return otherwise
	}
	return *c.Enabled
}

// addConnected reads "mcp_servers", whose calls need no approval.
func (r *Request) addConnected() error {
	if !r.doc.has("mcp_servers") {
		return nil
	}
	var all []connected
	if err := json.Unmarshal(r.doc["mcp_servers"], &all); err != nil {
		return invalid("mcp_servers", "is not read: "+err.Error())
	}
	if r.at != llm.Messages {
		return invalid("mcp_servers", `is for Anthropic's messages; elsewhere servers are tools of the type "mcp"`)
	}
	sets, err := r.toolsets()
	if err != nil {
		return err
	}
	for i := range all {
		field := fmt.Sprintf("mcp_servers[%d]", i)
		in := &all[i]
		if in.Name == "" || in.Type != "" && in.Type != "url" {
			return invalid(field, `must have a name and the type "url"`)
		}
		if in.Config.Enabled != nil && !*in.Config.Enabled {
			continue
		}
		s := Server{Label: in.Name, Allowed: in.Config.Allowed}
		if err := s.place(in.URL, field+".url"); err != nil {
			return err
		}
		if in.Token != "" {
			s.header("Authorization", "Bearer "+in.Token)
		}
		if set := sets[in.Name]; set != nil {
			set.apply(&s)
		}
		if err := r.add(s, field); err != nil {
			return err
		}
	}
	return nil
}

// toolsets reads the tools of the type "mcp_toolset", by their servers.
func (r *Request) toolsets() (map[string]*toolset, error) {
	sets := map[string]*toolset{}
	for i, raw := range r.doc.list("tools") {
		if kind, _ := toolType(raw); kind != "mcp_toolset" {
			continue
		}
		field := fmt.Sprintf("tools[%d]", i)
		t := new(toolset)
		if err := json.Unmarshal(raw, t); err != nil {
			return nil, invalid(field, "is not read: "+err.Error())
		}
		if t.Server == "" || sets[t.Server] != nil {
			return nil, invalid(field, "must name a server of mcp_servers that no other tool names")
		}
		sets[t.Server] = t
	}
	return sets, nil
}

// apply says which tools of the server are taken.
func (t *toolset) apply(s *Server) {
	on := t.Default.on(true)
	for _, name := range slices.Sorted(maps.Keys(t.Tools)) {
		switch enabled := t.Tools[name].on(on); {
		case enabled && !on:
			s.Allowed = append(s.Allowed, name)
		case !enabled:
			s.Denied = append(s.Denied, name)
		}
	}
	if !on && s.Allowed == nil {
		s.Allowed = []string{}
	}
}

// messages is a conversation in Anthropic's messages. Each round's content is a part of the
// client's, in which the gateway's calls stand as blocks of their own.
type messages struct {
	r        *Request
	offer    *offer
	out      *feed
	messages []json.RawMessage
	results  []json.RawMessage // that the next message begins with
	round    int
	ending   bool
	usage    json.RawMessage
	content  []json.RawMessage // of the client
	final    object
	id       json.RawMessage

	stream messagesStream
}

func newMessages(r *Request, out *feed) *messages { return &messages{r: r, out: out} }

func (t *messages) partial() bool { return true }

func (t *messages) start(o *offer) ([]*call, error) {
	t.offer = o
	for _, raw := range t.r.doc.list("messages") {
		m, err := readObject(raw)
		if err != nil {
			t.messages = append(t.messages, raw) // the provider says what is wrong with it
			continue
		}
		if m.text("role") == "assistant" {
			t.assistant(m)
			continue
		}
		t.user(m)
	}
	t.flush()
	return nil, nil
}

// assistant takes an earlier answer, with what the gateway's calls left in it in words that every
// provider knows: the results are the user's.
func (t *messages) assistant(m object) {
	t.flush()
	var blocks []json.RawMessage
	for _, raw := range m.list("content") {
		b, err := readObject(raw)
		kind := ""
		if err == nil {
			kind = b.text("type")
		}
		if kind == blockMCPDone {
			t.results = append(t.results, encode(object{"type": quoted(blockResult), "tool_use_id": b["tool_use_id"], "content": b["content"], "is_error": orFalse(b["is_error"])}))
			continue
		}
		if len(t.results) > 0 {
			t.say(m, blocks)
			blocks = nil
			t.flush()
		}
		if kind == blockMCPUse {
			raw = encode(object{"type": quoted(blockUse), "id": b["id"], "input": b["input"]}.set("name", t.offer.functionOf(b.text("server_name"), b.text("name"))))
		}
		blocks = append(blocks, raw)
	}
	if blocks == nil && len(m.list("content")) == 0 {
		t.messages = append(t.messages, encode(m)) // a text
		return
	}
	t.say(m, blocks)
}

func orFalse(raw json.RawMessage) json.RawMessage {
	if len(raw) == 0 {
		return json.RawMessage("false")
	}
	return raw
}

// say adds a message of the assistant's.
func (t *messages) say(m object, blocks []json.RawMessage) {
	if len(blocks) == 0 {
		return
	}
	again := maps.Clone(m)
	t.messages = append(t.messages, encode(again.set("content", blocks)))
}

// user takes a message of the user's, which begins with the results that wait for one.
func (t *messages) user(m object) {
	if len(t.results) == 0 {
		t.messages = append(t.messages, encode(m))
		return
	}
	blocks := m.list("content")
	if blocks == nil && m.has("content") {
		blocks = []json.RawMessage{encode(object{"type": quoted("text"), "text": m["content"]})}
	}
	t.messages = append(t.messages, encode(m.set("content", append(t.results, blocks...))))
	t.results = nil
}

// flush makes the results that wait for a message one of their own.
func (t *messages) flush() {
	if len(t.results) > 0 {
		t.user(object{"role": quoted("user")})
	}
}

func (t *messages) body(last bool) []byte {
	t.ending = last
	doc := maps.Clone(t.r.doc)
	delete(doc, "mcp_servers")
	tools := slices.Clone(t.r.rest)
	for i := range t.offer.tools {
		o := &t.offer.tools[i]
		f := object{"input_schema": o.schema()}.set("name", o.function)
		if o.Description != "" {
			f.set("description", o.Description)
		}
		tools = append(tools, encode(f))
	}
	setTools(doc, tools, "tools", "tool_choice")
	doc.set("messages", t.messages)
	if kind := doc.child("tool_choice").text("type"); len(tools) > 0 && kind != "none" {
		switch {
		case last:
			doc["tool_choice"] = json.RawMessage(`{"type":"none"}`)
		case t.round > 0 && kind != "":
			c := doc.child("tool_choice")
			delete(c, "name")
			doc["tool_choice"] = encode(c.set("type", "auto"))
		}
	}
	return encode(doc)
}

func (t *messages) whole(answer []byte) ([]*call, error) {
	o, err := readObject(answer)
	if err != nil {
		return nil, err
	}
	if t.id == nil {
		t.id = o["id"]
	}
	t.final, t.usage = o, addUp(t.usage, o["usage"])
	blocks := o.list("content")
	calls := t.take(blocks, o.text("stop_reason"))
	for _, raw := range blocks {
		if c := callOf(calls, raw); c != nil && c.runs() {
			raw = c.use()
		}
		t.content = append(t.content, raw)
	}
	return calls, nil
}

// take makes a round's content a message of the conversation, and returns its calls.
func (t *messages) take(blocks []json.RawMessage, stopped string) (calls []*call) {
	t.round++
	t.messages = append(t.messages, encode(object{"role": quoted("assistant")}.set("content", blocks)))
	if stopped != blockUse || t.ending {
		return nil
	}
	for _, raw := range blocks {
		b, err := readObject(raw)
		if err != nil || b.text("type") != blockUse {
			continue
		}
		c := &call{id: b.text("id"), function: b.text("name"), arguments: string(b["input"])}
		c.tool = t.offer.byFn[c.function]
		calls = append(calls, c)
	}
	return calls
}

// callOf is the call that a block is.
func callOf(calls []*call, raw json.RawMessage) *call {
	b, err := readObject(raw)
	if err != nil || b.text("type") != blockUse {
		return nil
	}
	i := slices.IndexFunc(calls, func(c *call) bool { return c.id == b.text("id") })
	if i < 0 {
		return nil
	}
	return calls[i]
}

// clientID is the id of a call as the client knows it.
func (c *call) clientID() string { return "mcptoolu_" + strings.TrimPrefix(c.id, "toolu_") }

// use is the block of a call that the gateway makes.
func (c *call) use() json.RawMessage {
	input, err := c.raw()
	if err != nil {
		input = json.RawMessage("{}")
	}
	return encode(object{"type": quoted(blockMCPUse), "input": input}.set("id", c.clientID()).set("name", c.tool.Name).set("server_name", c.tool.Label))
}

func (t *messages) answered(calls []*call) {
	for _, c := range calls {
		part := encode([]object{object{"type": quoted("text")}.set("text", c.result.Text)})
		failed := encode(c.result.Failed)
		t.results = append(t.results, encode(object{"type": quoted(blockResult), "tool_use_id": quoted(c.id), "content": part, "is_error": failed}))
		done := encode(object{"type": quoted(blockMCPDone), "tool_use_id": quoted(c.clientID()), "content": part, "is_error": failed})
		if t.r.stream {
			t.tellDone(done)
		}
		t.content = append(t.content, done)
	}
	t.flush()
}

func (t *messages) answer() []byte {
	o := t.final
	o["id"] = t.id
	o["content"] = encode(t.content)
	if t.usage != nil {
		o["usage"] = t.usage
	}
	return encode(o)
}
