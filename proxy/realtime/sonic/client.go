package sonic

import (
	"context"
	"encoding/json"
	"strings"
	"time"

	"github.com/conclave-llm/conclave/proxy/realtime/peer"
)

// farewell bounds the telling that a session ends.
const farewell = 2 * time.Second

// clientEvent is an event of a client's.
type clientEvent struct {
	Type    string `json:"type"`
	ID      string `json:"event_id"`
	Session object `json:"session"`
	Audio   string `json:"audio"`
	Item    object `json:"item"`
}

// Write takes an event of the client's. Its error ends the session.
func (c *Conn) Write(ctx context.Context, message []byte) error {
	var e clientEvent
	if err := json.Unmarshal(message, &e); err != nil {
		c.Refuse("", "invalid_event", "The event could not be read.")
		return nil
	}
	switch e.Type {
	case "session.update":
		c.update(&e)
	case "conversation.item.create":
		c.add(&e)
	case "input_audio_buffer.append":
		return c.hear(ctx, &e)
	case "response.create":
		return c.respond(ctx, &e)
	case "input_audio_buffer.commit", "input_audio_buffer.clear", "output_audio_buffer.clear", "response.cancel":
		// Nova finds the ends itself, and takes nothing back
	default:
		c.Refuse(e.ID, "unsupported_event", "The model's provider has nothing for the event "+e.Type+".")
	}
	return nil
}

// update takes a configuration in; once Nova has been told one, there is no other.
func (c *Conn) update(e *clientEvent) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.begun {
		c.Refuse(e.ID, "session_begun", "The model's provider takes the configuration of a session before its first words alone: send session.update first.")
		return
	}
	for _, side := range []string{"input", "output"} {
		format, _ := peer.At(e.Session, "audio", side, "format").(object)
		kind, _ := format["type"].(string)
		hz, said := format["rate"].(float64)
		if kind != "" && kind != "audio/pcm" || said && hz != rate {
			c.Refuse(e.ID, "unsupported_value", "The session hears and speaks audio/pcm of 24000 Hz alone.")
			return
		}
	}
	if input, _ := peer.At(e.Session, "audio", "input").(object); input != nil {
		if turns, said := input["turn_detection"]; said && turns == nil {
			c.Refuse(e.ID, "unsupported_value", "The model's provider finds the ends of turns itself: turn_detection cannot be null.")
			return
		}
	}
	peer.Merge(c.config, e.Session)
	c.Event("session.updated", object{"session": c.config})
}

// add keeps an item for response.create.
func (c *Conn) add(e *clientEvent) {
	c.mu.Lock()
	defer c.mu.Unlock()
	it := e.Item
	switch it["type"] {
	case "function_call_output":
		id, _ := it["call_id"].(string)
		output, _ := it["output"].(string)
		c.results = append(c.results, result{id, output})
	case "message":
		text, ok := texts(it["content"])
		role, _ := it["role"].(string)
		switch {
		case !ok:
			c.Refuse(e.ID, "unsupported_value", "The model's provider takes texts as items, and audio from input_audio_buffer.append.")
			return
		case role != "user" && c.audio != "":
			c.Refuse(e.ID, "unsupported_value", "The model's provider takes other messages than the user's before the first audio alone.")
			return
		}
		c.items = append(c.items, item{role, text})
	default:
		c.Refuse(e.ID, "unsupported_value", "The model's provider takes messages and answers of functions.")
		return
	}
	if it["id"] == nil {
		it["id"] = c.ID("item_")
	}
	it["object"], it["status"] = "realtime.item", "completed"
	c.Event("conversation.item.added", object{"item": it})
	c.Event("conversation.item.done", object{"item": it})
}

// texts are the texts of a content; false: it has other parts, or none.
func texts(v any) (string, bool) {
	list, _ := v.([]any)
	var b strings.Builder
	for _, one := range list {
		p, _ := one.(object)
		name := "text"
		switch p["type"] {
		case "input_text", "output_text", "text":
		case "output_audio":
			name = "transcript"
		default:
			return "", false
		}
		text, _ := p[name].(string)
		b.WriteString(text)
	}
	return b.String(), b.Len() > 0
}

// begin are the events that open a session, if it is not open. The lock is held.
func (c *Conn) begin() []object {
	if c.begun {
		return nil
	}
	c.begun = true
	return c.opening()
}

// said are the events of the messages that wait; the last is answered if it is to be. The lock is held.
func (c *Conn) said(answered bool) (list []object) {
	for i, it := range c.items {
		role := map[string]string{"assistant": "ASSISTANT", "system": "SYSTEM"}[it.role]
		if role == "" {
			role = "USER"
		}
		list = append(list, c.content("TEXT", role, answered && i == len(c.items)-1, object{"textInputConfiguration": plain()}, "textInput", it.text)...)
	}
	c.items = nil
	return list
}

// hear sends audio.
func (c *Conn) hear(ctx context.Context, e *clientEvent) error {
	c.mu.Lock()
	list := c.begin()
	if c.audio == "" {
		list = append(list, c.said(false)...)
		c.audio = c.name()
		list = append(list, c.named("contentStart", c.audio, object{
			"type": "AUDIO", "interactive": true, "role": "USER", "audioInputConfiguration": object{
				"mediaType": "audio/lpcm", "sampleRateHertz": rate, "sampleSizeBits": 16, "channelCount": 1, "audioType": "SPEECH", "encoding": "base64",
			},
		}))
	}
	list = append(list, c.named("audioInput", c.audio, object{"content": e.Audio}))
	c.mu.Unlock()
	return c.tell(ctx, list...)
}

// respond asks for a response to what waits.
func (c *Conn) respond(ctx context.Context, e *clientEvent) error {
	c.mu.Lock()
	if len(c.items) == 0 && len(c.results) == 0 {
		c.mu.Unlock()
		c.Refuse(e.ID, "unsupported_event", "The model's provider answers what the user has said when he has ended: add an item before response.create.")
		return nil
	}
	list := c.begin()
	for _, r := range c.results {
		list = append(list, c.content("TOOL", "TOOL", false, object{
			"toolResultInputConfiguration": object{"toolUseId": r.id, "type": "TEXT", "textInputConfiguration": plain()},
		}, "toolResult", asJSON(r.output))...)
	}
	c.results = nil
	list = append(list, c.said(true)...)
	c.mu.Unlock()
	return c.tell(ctx, list...)
}

// asJSON is the answer of a function as Nova takes it: an object.
func asJSON(output string) string {
	var o map[string]json.RawMessage
	if json.Unmarshal([]byte(output), &o) == nil {
		return output
	}
	raw, err := json.Marshal(object{"output": output})
	if err != nil {
		return "{}" // never: it is a text
	}
	return string(raw)
}
