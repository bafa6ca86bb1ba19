package agent

import (
	"encoding/json"
	"errors"
	"maps"
	"slices"
)

// chatStream is what is known of a round's stream.
type chatStream struct {
	id       string   // of the first round
	calls    []object // by their indexes
	text     string   // of the round
	message  object   // other members of the deltas
	held     []object // chunks that end the round
	done     bool     // the last event has come
	withheld []object // pieces of calls of the gateway's tools, as they came
}

func (t *chat) event(_ string, data []byte) error {
	s := &t.stream
	if string(data) == "[DONE]" {
		s.done = true
		return nil
	}
	o, err := readObject(data)
	if err != nil {
		return err
	}
	if s.id == "" {
		s.id = o.text("id")
	} else if o.has("id") {
		o.set("id", s.id)
	}
	t.usage = addUp(t.usage, o["usage"])
	delete(o, "usage")
	choices := o.list("choices")
	if len(choices) == 0 {
		s.held = append(s.held, o)
		return nil
	}
	c, err := readObject(choices[0])
	if err != nil {
		return err
	}
	return t.delta(o, c)
}

// delta takes a chunk with a choice.
func (t *chat) delta(chunk, choice object) error {
	s, d := &t.stream, choice.child("delta")
	if d == nil {
		d = object{}
	}
	text := d.text("content")
	if text != "" && s.text == "" && t.said != "" {
		d.set("content", "\n\n"+text)
	}
	s.text += text
	mine, theirs, err := s.pieces(d.list("tool_calls"), t.offer)
	if err != nil {
		return err
	}
	s.remember(d)
	if len(mine) > 0 {
		s.withheld = append(s.withheld, with(chunk, choice, object{"tool_calls": encode(mine)}))
	}
	delete(d, "tool_calls")
	if len(theirs) > 0 {
		d.set("tool_calls", theirs)
	}
	if choice.has("finish_reason") {
		choice["delta"] = encode(d)
		chunk["choices"] = encode([]json.RawMessage{encode(choice)})
		s.held = append(s.held, chunk)
		return nil
	}
	if len(d) > 0 && (t.round == 0 || len(d) > 1 || !d.has("role")) {
		t.out.send("", encode(with(chunk, choice, d)))
	}
	return nil
}

// with is a chunk with one choice, whose delta it is.
func with(chunk, choice, delta object) object {
	o, c := maps.Clone(chunk), maps.Clone(choice)
	c["delta"], c["finish_reason"] = encode(delta), json.RawMessage("null")
	o["choices"] = encode([]json.RawMessage{encode(c)})
	return o
}

// remember keeps what else a delta says, such as reasoning, for the next request.
func (s *chatStream) remember(d object) {
	if s.message == nil {
		s.message = object{}
	}
	for name, v := range d {
		switch name {
		case "role", "content", "tool_calls":
			continue
		}
		var before, now string
		if json.Unmarshal(v, &now) == nil {
			_ = json.Unmarshal(s.message[name], &before) // "" where there is none
			s.message.set(name, before+now)
		} else if all, more := elements(s.message[name]), elements(v); more != nil {
			s.message.set(name, append(all, more...))
		}
	}
}

// pieces takes the pieces of calls, and tells those of the gateway's tools from the client's.
func (s *chatStream) pieces(list []json.RawMessage, o *offer) (mine, theirs []object, err error) {
	for _, raw := range list {
		p, err := readObject(raw)
		if err != nil {
			return nil, nil, err
		}
		var at int
		if p.has("index") && json.Unmarshal(p["index"], &at) != nil || at < 0 || at > 4*maxCalls {
			return nil, nil, errors.New("a call has no index")
		}
		for len(s.calls) <= at {
			s.calls = append(s.calls, object{})
		}
		c, f := s.calls[at], p.child("function")
		if p.text("id") != "" {
			c["id"] = p["id"]
		}
		c.set("name", c.text("name")+f.text("name")).set("arguments", c.text("arguments")+f.text("arguments"))
		if o.byFn[c.text("name")] != nil {
			mine = append(mine, p)
		} else {
			theirs = append(theirs, p)
		}
	}
	return mine, theirs, nil
}

func (t *chat) ended() (calls []*call, err error) {
	s := &t.stream
	if !s.done || len(s.held) == 0 {
		return nil, errBroken
	}
	var list []json.RawMessage
	for _, o := range s.calls {
		f := object{}.set("name", o.text("name")).set("arguments", o.text("arguments"))
		list = append(list, encode(object{"type": quoted("function"), "function": encode(f)}.set("id", o.text("id"))))
	}
	calls = t.calls(list)
	m := s.message
	if m == nil {
		m = object{}
	}
	m["content"] = json.RawMessage("null")
	if s.text != "" {
		m.set("content", s.text)
	}
	if len(list) > 0 {
		m.set("tool_calls", list)
	}
	t.next(m)
	t.said = join(t.said, s.text)
	if goesOn(calls) && !t.ending {
		s.held, s.withheld = nil, nil // held again by the next round
	}
	*s = chatStream{id: s.id, held: s.held, withheld: s.withheld}
	return calls, nil
}

// goesOn says whether all calls of an answer are made here, so that the model is asked again.
func goesOn(calls []*call) bool {
	return len(calls) > 0 && !slices.ContainsFunc(calls, func(c *call) bool { return !c.runs() })
}

func (t *chat) last(func([]byte) []byte) {
	s := &t.stream
	for _, o := range s.withheld {
		t.out.send("", encode(o))
	}
	for i, o := range s.held {
		if i == len(s.held)-1 && t.usage != nil {
			o["usage"] = t.usage
		}
		if choices := o.list("choices"); len(choices) > 0 && len(t.made) > 0 {
			c, _ := readObject(choices[0]) // event made it
			d := c.child("delta")
			if d == nil {
				d = object{}
			}
			t.tell(d)
			c["delta"] = encode(d)
			o["choices"] = encode([]json.RawMessage{encode(c)})
		}
		t.out.send("", encode(o))
	}
	t.out.send("", json.RawMessage("[DONE]"))
}
