package agent

import (
	"encoding/json"
	"errors"
	"maps"
	"slices"
)

// functions are the names of the client's own functions.
func (r *Request) functions() (names []string) {
	for _, raw := range r.rest {
		t, err := readObject(raw)
		if err != nil {
			continue
		}
		if f := t.child("function"); f != nil {
			t = f
		}
		names = append(names, t.text("name"))
	}
	return names
}

// chat is a conversation in OpenAI's chat completions. Calls of tools that the gateway does not
// make are the client's, and with them all calls of the same answer: the next request's messages
// have results of some of them, and the others are made then.
type chat struct {
	r        *Request
	offer    *offer
	out      *feed
	messages []json.RawMessage
	round    int
	ending   bool            // no tool is called any more
	usage    json.RawMessage // of all rounds
	said     string          // before the round
	made     []*call         // in all rounds

	final  object // the whole answer of the last round
	stream chatStream
}

func newChat(r *Request, out *feed) *chat { return &chat{r: r, out: out} }

func (t *chat) partial() bool { return false }

func (t *chat) start(o *offer) ([]*call, error) {
	t.offer = o
	var n int
	if t.r.doc.has("n") && (json.Unmarshal(t.r.doc["n"], &n) != nil || n != 1) {
		return nil, invalid("n", "must be 1 where tools of MCP servers are called")
	}
	t.messages = t.r.doc.list("messages")
	return t.left(), nil
}

// left are the calls of the last assistant's message that have no result, though others have.
func (t *chat) left() (calls []*call) {
	answered := map[string]bool{}
	i := len(t.messages) - 1
	for ; i >= 0; i-- {
		m, err := readObject(t.messages[i])
		if err != nil || m.text("role") != "tool" {
			break
		}
		answered[m.text("tool_call_id")] = true
	}
	if i < 0 || len(answered) == 0 {
		return nil
	}
	m, err := readObject(t.messages[i])
	if err != nil || m.text("role") != "assistant" {
		return nil
	}
	for _, c := range t.calls(m.list("tool_calls")) {
		if c.runs() && !answered[c.id] {
			calls = append(calls, c)
		}
	}
	return calls
}

// calls reads the tool calls of a message.
func (t *chat) calls(list []json.RawMessage) (calls []*call) {
	for _, raw := range list {
		o, err := readObject(raw)
		if err != nil {
			continue
		}
		f := o.child("function")
		c := &call{id: o.text("id"), function: f.text("name"), arguments: f.text("arguments")}
		c.tool = t.offer.byFn[c.function]
		calls = append(calls, c)
	}
	return calls
}

func (t *chat) body(last bool) []byte {
	t.ending = last
	doc := maps.Clone(t.r.doc)
	tools := slices.Clone(t.r.rest)
	for i := range t.offer.tools {
		o := &t.offer.tools[i]
		f := object{"parameters": o.schema()}.set("name", o.function)
		if o.Description != "" {
			f.set("description", o.Description)
		}
		tools = append(tools, encode(object{"type": quoted("function"), "function": encode(f)}))
	}
	setTools(doc, tools, "tools", "tool_choice", "parallel_tool_calls")
	doc.set("messages", t.messages)
	if doc.has("tool_choice") || last {
		t.choose(doc, last)
	}
	return encode(doc)
}

// setTools puts the tools into a request. One without any must not say how they are chosen.
func setTools(doc object, tools []json.RawMessage, name string, others ...string) {
	doc.set(name, tools)
	if len(tools) > 0 {
		return
	}
	delete(doc, name)
	for _, other := range others {
		delete(doc, other)
	}
}

// choose says which tools the model may call: what the client forces is forced once.
func (t *chat) choose(doc object, last bool) {
	choice := doc.child("tool_choice")
	switch {
	case len(t.r.rest)+len(t.offer.tools) == 0:
		delete(doc, "tool_choice")
	case last:
		doc.set("tool_choice", "none")
	case t.round > 0 && doc.text("tool_choice") != "none":
		doc.set("tool_choice", "auto")
	case choice.text("type") == "mcp":
		if tool := t.offer.find(choice.text("server_label"), choice.text("name")); tool != nil {
			doc["tool_choice"] = encode(object{"type": quoted("function"), "function": encode(object{"name": quoted(tool.function)})})
		} else {
			doc.set("tool_choice", "required")
		}
	}
}

func (t *chat) answered(calls []*call) {
	for _, c := range calls {
		t.made = append(t.made, c)
		t.messages = append(t.messages, encode(object{
			"role": quoted("tool"), "tool_call_id": quoted(c.id), "content": quoted(c.result.shown()),
		}))
	}
}

// shown is a result as the model reads it.
func (r *Result) shown() string {
	if r.Failed {
		return "Error: " + r.Text
	}
	return r.Text
}

func (t *chat) whole(answer []byte) ([]*call, error) {
	o, err := readObject(answer)
	if err != nil {
		return nil, err
	}
	choices := o.list("choices")
	if len(choices) != 1 {
		return nil, errors.New("it has not one choice")
	}
	c, err := readObject(choices[0])
	if err != nil {
		return nil, err
	}
	m := c.child("message")
	if m == nil {
		return nil, errors.New("its choice has no message")
	}
	t.usage = addUp(t.usage, o["usage"])
	calls := t.calls(m.list("tool_calls"))
	t.next(m)
	if text := join(t.said, m.text("content")); text != m.text("content") {
		m.set("content", text)
	}
	t.said = m.text("content")
	if t.final != nil {
		o["id"] = t.final["id"]
	}
	c["message"] = encode(m)
	o["choices"] = encode([]json.RawMessage{encode(c)})
	t.final = o
	return calls, nil
}

// next makes a round's message one of the conversation.
func (t *chat) next(message object) {
	m := object{}
	for name, v := range message {
		if name != "annotations" && name != "audio" && (string(v) != "null" || name == "content") {
			m[name] = v
		}
	}
	t.messages = append(t.messages, encode(m.set("role", "assistant")))
	t.round++
}

// join is the text of two rounds, with a blank line between.
func join(before, now string) string {
	if before == "" || now == "" {
		return before + now
	}
	return before + "\n\n" + now
}

func (t *chat) answer() []byte {
	if t.usage != nil {
		t.final["usage"] = t.usage
	}
	if len(t.made) > 0 {
		c, _ := readObject(t.final.list("choices")[0]) // whole made it
		m := c.child("message")
		t.tell(m)
		c["message"] = encode(m)
		t.final["choices"] = encode([]json.RawMessage{encode(c)})
	}
	return encode(t.final)
}

// tell puts the calls that were made into a message, where LiteLLM has them.
func (t *chat) tell(message object) {
	var calls, results []object
	for _, c := range t.made {
		f := object{}.set("name", c.function).set("arguments", c.arguments)
		calls = append(calls, object{"type": quoted("function"), "function": encode(f)}.set("id", c.id))
		results = append(results, object{}.set("tool_call_id", c.id).set("name", c.function).set("result", c.result.shown()))
	}
	fields := message.child("provider_specific_fields")
	if fields == nil {
		fields = object{}
	}
	message["provider_specific_fields"] = encode(fields.set("mcp_tool_calls", calls).set("mcp_call_results", results))
}
