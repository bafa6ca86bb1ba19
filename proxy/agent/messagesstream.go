package agent

import (
	"encoding/json"
	"errors"
	"maps"
)

// messagesStream is what is known of a stream of Anthropic's events.
type messagesStream struct {
	next   int            // the place of the next block in the client's content
	begun  bool           // the client has the beginning of a message
	places map[int]int    // of the round's blocks
	blocks []object       // of the round, as they grow
	input  map[int]string // of the round's calls, as it comes
	used   json.RawMessage
	delta  object // the event that ends the round; nil: it has not come
	over   bool
}

func (t *messages) event(typ string, data []byte) error {
	o, err := readObject(data)
	if err != nil {
		return err
	}
	if typ == "" {
		typ = o.text("type")
	}
	s := &t.stream
	switch typ {
	case "message_start":
		m := o.child("message")
		s.used = m["usage"]
		if !s.begun {
			s.begun, t.id = true, m["id"]
			t.out.send(typ, data)
		}
	case "content_block_start", "content_block_delta", "content_block_stop":
		return t.block(typ, o)
	case "message_delta":
		s.used = overlay(s.used, o["usage"])
		s.delta = o
	case "message_stop":
		s.over = true
	default:
		t.out.send(typ, data)
	}
	return nil
}

// block takes an event about a block, which the client gets at its own place.
func (t *messages) block(typ string, o object) error {
	s := &t.stream
	var at int
	if json.Unmarshal(o["index"], &at) != nil || at < 0 {
		return errors.New("an event of a block has no index")
	}
	if typ == "content_block_start" {
		if at != len(s.blocks) {
			return errors.New("a block comes out of order")
		}
		if err := t.blockStart(o); err != nil {
			return err
		}
	} else if at >= len(s.blocks) {
		return errors.New("an event is of a block that has not begun")
	}
	if typ == "content_block_delta" {
		s.grow(at, o.child("delta"))
	}
	t.out.send(typ, encode(o.set("index", s.places[at])))
	return nil
}

// blockStart takes the beginning of a block: a call of the gateway's becomes one of its own kind.
func (t *messages) blockStart(o object) error {
	s, b := &t.stream, o.child("content_block")
	if b == nil {
		return errors.New("a block is no object")
	}
	if s.places == nil {
		s.places, s.input = map[int]int{}, map[int]string{}
	}
	s.places[len(s.blocks)] = s.next
	s.next++
	s.blocks = append(s.blocks, maps.Clone(b))
	c := &call{id: b.text("id"), tool: t.offer.byFn[b.text("name")]}
	if b.text("type") == blockUse && c.runs() && !t.ending {
		o["content_block"] = c.use()
	}
	return nil
}

// grow adds a delta to a block.
func (s *messagesStream) grow(at int, d object) {
	b := s.blocks[at]
	switch d.text("type") {
	case "text_delta":
		b.set("text", b.text("text")+d.text("text"))
	case "thinking_delta":
		b.set("thinking", b.text("thinking")+d.text("thinking"))
	case "signature_delta":
		b["signature"] = d["signature"]
	case "input_json_delta":
		s.input[at] += d.text("partial_json")
	case "citations_delta":
		b.set("citations", append(b.list("citations"), d["citation"]))
	}
}

func (t *messages) ended() ([]*call, error) {
	s := &t.stream
	if !s.over || s.delta == nil {
		return nil, errBroken
	}
	t.usage = addUp(t.usage, s.used)
	blocks := make([]json.RawMessage, len(s.blocks))
	for i, b := range s.blocks {
		if in := s.input[i]; in != "" {
			if !json.Valid([]byte(in)) {
				in = "{}" // an answer that was cut short
			}
			b["input"] = json.RawMessage(in)
		}
		blocks[i] = encode(b)
	}
	calls := t.take(blocks, s.delta.child("delta").text("stop_reason"))
	*s = messagesStream{next: s.next, begun: s.begun, delta: s.delta}
	return calls, nil
}

// tellDone sends the events of a result.
func (t *messages) tellDone(done json.RawMessage) {
	at := encode(t.stream.next)
	t.stream.next++
	t.out.send("content_block_start", encode(object{"type": quoted("content_block_start"), "index": at, "content_block": done}))
	t.out.send("content_block_stop", encode(object{"type": quoted("content_block_stop"), "index": at}))
}

func (t *messages) last(func([]byte) []byte) {
	d := t.stream.delta
	if t.usage != nil {
		d["usage"] = t.usage
	}
	t.out.send("message_delta", encode(d))
	t.out.send("message_stop", json.RawMessage(`{"type":"message_stop"}`))
}
