package agent

import (
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
)

// responsesStream is what is known of a stream of responses' events.
type responsesStream struct {
	sequence int
	begun    bool            // the client has the events that begin a response
	early    []func()        // what is told when they have been sent
	places   map[int]int     // of the round's items in the client's output; -1: withheld
	mine     map[int]*call   // calls of the gateway's tools, by their place in the round
	over     json.RawMessage // the response that ends the round
	overType string
}

// tell sends an event, with the number that it has in the client's stream.
func (t *responses) tell(typ string, o object) {
	if !t.stream.begun {
		t.stream.early = append(t.stream.early, func() { t.tell(typ, o) })
		return
	}
	o.set("type", typ).set("sequence_number", t.stream.sequence)
	t.stream.sequence++
	t.out.send(typ, encode(o))
}

// placed is an event about an item of the output.
func placed(at int, item json.RawMessage) object {
	return object{"item": item}.set("output_index", at)
}

// about is an event that names an item by its id.
func about(at int, id json.RawMessage) object {
	return object{"item_id": id}.set("output_index", at)
}

// tellCall sends the events of a call that was made.
func (t *responses) tellCall(c *call, o object) {
	at, id := t.at[c], o["id"]
	if c.request != "" { // it came in no round
		t.tellStart(c)
	}
	outcome := "response.mcp_call.completed"
	if c.result.Failed {
		outcome = "response.mcp_call.failed"
	}
	t.tell(outcome, about(at, id))
	t.tell("response.output_item.done", placed(at, t.output[at]))
}

// tellStart sends the events of a call that begins and whose arguments are known.
func (t *responses) tellStart(c *call) {
	at, id := t.at[c], quoted(c.item)
	t.tell("response.output_item.added", placed(at, t.shown(c, "")))
	t.tell("response.mcp_call.in_progress", about(at, id))
	t.tell("response.mcp_call_arguments.done", about(at, id).set("arguments", c.arguments))
}

// shown is a call's item before it was made.
func (t *responses) shown(c *call, arguments string) json.RawMessage {
	return encode(maps.Clone(t.items[c]).set("arguments", arguments).set("status", "in_progress"))
}

// tellLists sends the events of the lists of tools, which stand first in the output.
func (t *responses) tellLists() {
	for at, raw := range t.output {
		o, err := readObject(raw)
		if err != nil || o.text("type") != itemList {
			return
		}
		t.tell("response.output_item.added", placed(at, encode(object{"tools": []byte("[]")}.set("id", o.text("id")).set("type", itemList).set("server_label", o.text("server_label")))))
		t.tell("response.mcp_list_tools.in_progress", about(at, o["id"]))
		t.tell("response.mcp_list_tools.completed", about(at, o["id"]))
		t.tell("response.output_item.done", placed(at, raw))
	}
}

func (t *responses) event(typ string, data []byte) error {
	o, err := readObject(data)
	if err != nil {
		return err
	}
	if typ == "" {
		typ = o.text("type")
	}
	s := &t.stream
	switch typ {
	case "response.created", "response.queued", "response.in_progress":
		t.begin(typ, o)
		return nil
	case "response.completed", "response.incomplete", "response.failed":
		s.over, s.overType = o["response"], typ
		return nil
	}
	t.opened()
	if !o.has("output_index") {
		t.tell(typ, o)
		return nil
	}
	return t.itemEvent(typ, o)
}

// begin takes an event that begins a round: the client gets those of the first.
func (t *responses) begin(typ string, o object) {
	s := &t.stream
	if t.round > 0 {
		return
	}
	response := o.child("response")
	if response == nil {
		response = object{}
	}
	if t.id == nil {
		t.id = response["id"]
	}
	s.begun = true
	o["response"] = t.renamed(t.echo(response))
	early := s.early
	s.early = nil
	t.tell(typ, o)
	s.begun, s.early = false, early
	if typ == "response.in_progress" {
		t.opened()
	}
}

// opened sends what waited for the beginning of the response.
func (t *responses) opened() {
	s := &t.stream
	if s.begun {
		return
	}
	s.begun = true
	early := s.early
	s.early = nil
	t.tellLists()
	for _, tell := range early {
		tell()
	}
}

func (t *responses) renamed(response []byte) json.RawMessage {
	if t.out.rename == nil {
		return response
	}
	return t.out.rename(response)
}

// itemEvent takes an event about an item of the round.
func (t *responses) itemEvent(typ string, o object) error {
	s := &t.stream
	var at int
	if json.Unmarshal(o["output_index"], &at) != nil || at < 0 {
		return errors.New("an event has no output_index")
	}
	if typ == "response.output_item.added" {
		if err := t.added(at, o.child("item")); err != nil {
			return err
		}
	}
	place, ok := s.places[at]
	switch c := s.mine[at]; {
	case !ok:
		return errors.New("an event is of an item that was not added")
	case c != nil:
		t.callEvent(typ, o, c, place)
		return nil
	case typ == "response.output_item.done":
		t.output[place] = o["item"]
	}
	t.tell(typ, o.set("output_index", place))
	return nil
}

// added takes an item that begins.
func (t *responses) added(at int, item object) error {
	s := &t.stream
	if item == nil {
		return errors.New("an item is no object")
	}
	if s.places == nil {
		s.places, s.mine = map[int]int{}, map[int]*call{}
	}
	tool := t.offer.byFn[item.text("name")]
	if item.text("type") != "function_call" || tool == nil || t.ending {
		s.places[at] = t.place(item)
		return nil
	}
	c := &call{id: item.text("call_id"), function: item.text("name"), tool: tool}
	t.note(c)
	s.mine[at], s.places[at] = c, t.at[c]
	return nil
}

// callEvent takes an event of a call of the gateway's.
func (t *responses) callEvent(typ string, o object, c *call, place int) {
	id := quoted(c.item)
	switch {
	case !c.runs():
		t.approvalEvent(typ, o, c, place)
	case typ == "response.output_item.added":
		t.tell(typ, placed(place, t.shown(c, "")))
		t.tell("response.mcp_call.in_progress", about(place, id))
	case strings.HasSuffix(typ, "arguments.delta"):
		t.tell("response.mcp_call_arguments.delta", about(place, id).set("delta", o.text("delta")))
	case strings.HasSuffix(typ, "arguments.done"):
		t.tell("response.mcp_call_arguments.done", about(place, id).set("arguments", o.text("arguments")))
	case typ == "response.output_item.done":
		c.arguments = o.child("item").text("arguments")
		t.items[c].set("arguments", c.arguments)
	}
}

// approvalEvent takes an event of a call that waits for approval: the client is asked when the
// arguments are known.
func (t *responses) approvalEvent(typ string, o object, c *call, place int) {
	if typ != "response.output_item.done" {
		return
	}
	c.arguments = o.child("item").text("arguments")
	item, _ := readObject(t.output[place]) // note made it
	t.output[place] = encode(item.set("arguments", c.arguments))
	t.tell("response.output_item.added", placed(place, t.output[place]))
	t.tell("response.output_item.done", placed(place, t.output[place]))
}

func (t *responses) ended() ([]*call, error) {
	s := &t.stream
	response, err := readObject(s.over)
	if err != nil {
		return nil, errBroken
	}
	t.opened()
	byItem, err := t.take(response)
	if err != nil {
		return nil, err
	}
	calls := inOrder(response, byItem)
	if s.overType == "response.completed" {
		for i, c := range calls {
			if mine := s.called(c.id); mine != nil {
				mine.arguments = c.arguments
				calls[i] = mine
			}
		}
	} else {
		calls = nil // what was cut short calls nothing
	}
	if len(calls) > 0 && slices.ContainsFunc(calls, func(c *call) bool { return c.tool != nil && t.at[c] == 0 && t.items[c] == nil && c.runs() }) && !t.ending {
		return nil, errBroken // a call that was never announced
	}
	s.places, s.mine, s.over = nil, nil, nil
	return calls, nil
}

// called is the call of the gateway's with an id.
func (s *responsesStream) called(id string) *call {
	for _, c := range s.mine {
		if c.id == id {
			return c
		}
	}
	return nil
}

func (t *responses) last(finish func([]byte) []byte) {
	response := t.renamed(t.answer())
	t.tell(t.stream.overType, object{"response": finish(response)})
}
