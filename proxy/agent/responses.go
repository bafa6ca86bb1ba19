package agent

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"maps"
	"slices"
)

// The types of items that the calls of MCP servers' tools leave in an answer.
const (
	itemList     = "mcp_list_tools"
	itemCall     = "mcp_call"
	itemApproval = "mcp_approval_request"
	itemApproved = "mcp_approval_response"
)

// responses is a conversation in OpenAI's responses. The answer of each round is a part of the
// client's output, in which the gateway's calls stand as items of their own.
type responses struct {
	r      *Request
	offer  *offer
	out    *feed
	input  []json.RawMessage
	listed map[string]bool // labels whose tools are in the input
	round  int
	ending bool
	usage  json.RawMessage
	output []json.RawMessage // of the client
	items  map[*call]object  // of the calls, as they stand in the output
	at     map[*call]int     // where
	final  object            // the response of the last round
	id     json.RawMessage   // of the first

	stream responsesStream
}

func newResponses(r *Request, out *feed) *responses {
	return &responses{r: r, out: out, listed: map[string]bool{}, items: map[*call]object{}, at: map[*call]int{}}
}

func (t *responses) partial() bool { return true }

func (t *responses) start(o *offer) ([]*call, error) {
	t.offer = o
	if raw := t.r.doc["input"]; len(raw) > 0 && raw[0] == '"' {
		t.input = []json.RawMessage{encode(object{"type": quoted("message"), "role": quoted("user"), "content": raw})}
	}
	left, err := t.history(t.r.doc.list("input"))
	if err != nil {
		return nil, err
	}
	for i := range t.r.servers {
		if label := t.r.servers[i].Label; !t.listed[label] {
			t.place(object{"tools": encode(o.listed(label)), "error": []byte("null")}.set("id", newID("mcpl_")).set("type", itemList).set("server_label", label))
		}
	}
	for _, c := range left {
		t.note(c)
	}
	return left, nil
}

// newID makes an id that tells nothing.
func newID(prefix string) string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	return prefix + hex.EncodeToString(b[:])
}

// history takes the input, with what earlier calls left in it in words that every provider
// knows, and returns the calls that the client has approved since.
func (t *responses) history(input []json.RawMessage) (left []*call, err error) {
	requests, answers := map[string]object{}, map[string]object{}
	for _, raw := range input {
		o, err := readObject(raw)
		if err != nil {
			continue // the provider says what is wrong with it
		}
		switch o.text("type") {
		case itemApproval:
			requests[o.text("id")] = o
		case itemCall:
			if id := o.text("approval_request_id"); id != "" {
				answers[id] = nil
			}
		case itemApproved:
			if _, done := answers[o.text("approval_request_id")]; !done {
				answers[o.text("approval_request_id")] = o
			}
		case itemList:
			t.listed[o.text("server_label")] = true
		}
	}
	for _, raw := range input {
		if c, err := t.item(raw, requests, answers); err != nil {
			return nil, err
		} else if c != nil {
			left = append(left, c)
		}
	}
	return left, nil
}

// item takes one item of the input, and returns the call that it approves.
func (t *responses) item(raw json.RawMessage, requests, answers map[string]object) (*call, error) {
	o, err := readObject(raw)
	if err != nil {
		t.input = append(t.input, raw)
		return nil, nil
	}
	switch o.text("type") {
	case itemList, itemApproval:
	case itemCall:
		text := o.text("output")
		if msg := errorText(o["error"]); msg != "" {
			text = "Error: " + msg
		}
		t.past(o, text)
	case itemApproved:
		id := o.text("approval_request_id")
		asked, ok := requests[id]
		if !ok {
			return nil, invalid("input", "approves "+clip(id)+", which is no request for approval before it")
		}
		if answers[id] == nil {
			return nil, nil // the call was made
		}
		answers[id] = nil // once
		return t.decide(asked, string(o["approve"]) == "true")
	default:
		t.input = append(t.input, raw)
	}
	return nil, nil
}

// errorText is what went wrong with a call of an earlier answer.
func errorText(raw json.RawMessage) (msg string) {
	if json.Unmarshal(raw, &msg) == nil {
		return msg
	}
	o, err := readObject(raw)
	if err != nil {
		return ""
	}
	return o.text("message")
}

// past puts a call that was made earlier into the input.
func (t *responses) past(o object, output string) {
	id := o.text("id")
	t.input = append(t.input,
		encode(object{}.set("type", "function_call").set("call_id", id).set("name", t.offer.functionOf(o.text("server_label"), o.text("name"))).set("arguments", o.text("arguments"))),
		encode(object{}.set("type", "function_call_output").set("call_id", id).set("output", output)),
	)
}

// decide makes a call that waited for the client's approval, if it was given.
func (t *responses) decide(asked object, approved bool) (*call, error) {
	if !approved {
		t.past(asked, "Error: the user does not approve of this call.")
		return nil, nil
	}
	label, name := asked.text("server_label"), asked.text("name")
	tool := t.offer.find(label, name)
	if tool == nil {
		return nil, invalid("input", "approves the tool "+clip(name)+" of "+clip(label)+", which is not among the request's tools")
	}
	id := newID("mcp_")
	t.input = append(t.input, encode(object{}.set("type", "function_call").set("call_id", id).set("name", tool.function).set("arguments", asked.text("arguments"))))
	return &call{id: id, function: tool.function, arguments: asked.text("arguments"), tool: tool, request: asked.text("id")}, nil
}

func (t *responses) body(last bool) []byte {
	t.ending = last
	doc := maps.Clone(t.r.doc)
	for _, name := range []string{"previous_response_id", "max_tool_calls"} {
		delete(doc, name)
	}
	tools := slices.Clone(t.r.rest)
	for i := range t.offer.tools {
		o := &t.offer.tools[i]
		f := object{"parameters": o.schema(), "strict": json.RawMessage("false")}.set("type", "function").set("name", o.function)
		if o.Description != "" {
			f.set("description", o.Description)
		}
		tools = append(tools, encode(f))
	}
	setTools(doc, tools, "tools", "tool_choice", "parallel_tool_calls")
	doc.set("input", t.input).set("store", false)
	if doc.has("tool_choice") || last {
		t.choose(doc, last)
	}
	return encode(doc)
}

func (t *responses) choose(doc object, last bool) {
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
			doc["tool_choice"] = encode(object{}.set("type", "function").set("name", tool.function))
		} else {
			doc.set("tool_choice", "required")
		}
	}
}

// place puts an item into the client's output, and returns where.
func (t *responses) place(item object) int {
	t.output = append(t.output, encode(item))
	return len(t.output) - 1
}

// note puts a call into the client's output, as what it becomes there.
func (t *responses) note(c *call) {
	if c.tool == nil {
		return
	}
	o := object{"arguments": quoted(c.arguments)}.set("server_label", c.tool.Label).set("name", c.tool.Name)
	if !c.runs() {
		t.at[c] = t.place(o.set("type", itemApproval).set("id", newID("mcpr_")))
		return
	}
	c.item = newID("mcp_")
	o.set("type", itemCall).set("id", c.item).set("status", "in_progress")
	o["output"], o["error"], o["approval_request_id"] = json.RawMessage("null"), json.RawMessage("null"), json.RawMessage("null")
	if c.request != "" {
		o.set("approval_request_id", c.request)
	}
	t.items[c] = o
	t.at[c] = t.place(o)
}

func (t *responses) answered(calls []*call) {
	for _, c := range calls {
		o := t.items[c].set("status", "completed")
		if c.result.Failed {
			o.set("status", "failed").set("error", c.result.Text)
		} else {
			o.set("output", c.result.Text)
		}
		t.output[t.at[c]] = encode(o)
		t.input = append(t.input, encode(object{}.set("type", "function_call_output").set("call_id", c.id).set("output", c.result.shown())))
		if t.r.stream {
			t.tellCall(c, o)
		}
	}
}

func (t *responses) whole(answer []byte) ([]*call, error) {
	o, err := readObject(answer)
	if err != nil {
		return nil, err
	}
	calls, err := t.take(o)
	if err != nil {
		return nil, err
	}
	if status := o.text("status"); t.ending || status != "" && status != "completed" {
		calls = nil // what was cut short calls nothing
	}
	for _, raw := range o.list("output") {
		if c := calls[string(raw)]; c != nil && c.tool != nil {
			t.note(c)
			continue
		}
		t.output = append(t.output, raw)
	}
	return inOrder(o, calls), nil
}

// take makes the output of a round a part of the conversation, and returns its calls by their items.
func (t *responses) take(response object) (map[string]*call, error) {
	t.final = response
	if t.id == nil {
		t.id = response["id"]
	}
	t.usage = addUp(t.usage, response["usage"])
	t.round++
	calls := map[string]*call{}
	for _, raw := range response.list("output") {
		it, err := readObject(raw)
		if err != nil {
			return nil, err
		}
		switch it.text("type") {
		case "function_call":
			c := &call{id: it.text("call_id"), function: it.text("name"), arguments: it.text("arguments")}
			c.tool = t.offer.byFn[c.function]
			calls[string(raw)] = c
		case "reasoning":
			if it.text("encrypted_content") == "" {
				continue // without its contents an id says nothing
			}
		}
		it = maps.Clone(it)
		delete(it, "id")
		delete(it, "status")
		t.input = append(t.input, encode(it))
	}
	return calls, nil
}

// inOrder are the calls of a response as they stand in it.
func inOrder(response object, calls map[string]*call) (list []*call) {
	for _, raw := range response.list("output") {
		if c := calls[string(raw)]; c != nil {
			list = append(list, c)
		}
	}
	return list
}

func (t *responses) answer() []byte {
	o := t.final
	o["id"] = t.id
	o["output"] = encode(t.output)
	if t.usage != nil {
		o["usage"] = t.usage
	}
	return t.echo(o)
}

// echo shows the client its own tools in a response, without what may be secret.
func (t *responses) echo(o object) []byte {
	if tools := t.r.doc.list("tools"); tools != nil {
		for i, raw := range tools {
			tool, err := readObject(raw)
			if err == nil && tool.text("type") == "mcp" {
				delete(tool, "headers")
				delete(tool, "authorization")
				tools[i] = encode(tool)
			}
		}
		o.set("tools", tools)
	}
	if t.r.doc.has("tool_choice") {
		o["tool_choice"] = t.r.doc["tool_choice"]
	}
	return encode(o)
}
