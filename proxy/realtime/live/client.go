package live

import (
	"context"
	"encoding/json"
	"strings"
)

// clientEvent is an event of a client's.
type clientEvent struct {
	Type    string `json:"type"`
	ID      string `json:"event_id"`
	Session object `json:"session"`
	Audio   string `json:"audio"`
	Item    object `json:"item"`
}

// pending is what waits for response.create.
type pending struct {
	turns   []object // contents
	answers []object // of functions
	audio   bool     // some was sent since the last response
	active  bool     // the client says when the user speaks, and he does
}

// Write does what an event asks for. An event that cannot be followed is answered with an error event; its
// error ends the session.
func (c *Conn) Write(ctx context.Context, message []byte) error {
	var e clientEvent
	if err := json.Unmarshal(message, &e); err != nil {
		return c.locally(func() { c.Refuse("", "invalid_event", "The event could not be read.") })
	}
	switch e.Type {
	case "session.update":
		return c.locally(func() { c.update(&e) })
	case "conversation.item.create":
		return c.locally(func() { c.add(&e) })
	case "input_audio_buffer.append":
		return c.hear(ctx, &e)
	case "input_audio_buffer.commit":
		return c.locally(c.turns.Commit)
	case "response.create":
		return c.respond(ctx)
	case "input_audio_buffer.clear", "output_audio_buffer.clear", "response.cancel":
		return nil // Google takes nothing back; what it says on ends with its turn
	}
	return c.locally(func() {
		c.Refuse(e.ID, "unsupported_event", "The model's provider has nothing for the event "+e.Type+".")
	})
}

func (c *Conn) locally(f func()) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	f()
	return nil
}

// add takes an item in, which is said with the next response.
func (c *Conn) add(e *clientEvent) {
	item := e.Item
	if item == nil {
		c.Refuse(e.ID, "invalid_value", "The event has no item.")
		return
	}
	switch item["type"] {
	case "function_call_output":
		id, _ := item["call_id"].(string)
		answer := object{"id": id, "response": object{"output": item["output"]}}
		if name := c.turns.Names[id]; name != "" {
			answer["name"] = name
		}
		c.pending.answers = append(c.pending.answers, answer)
	case "message":
		parts, why := contents(item["content"])
		if why != "" {
			c.Refuse(e.ID, "unsupported_value", why)
			return
		}
		role := "user"
		if item["role"] == "assistant" {
			role = "model"
		}
		c.pending.turns = append(c.pending.turns, object{"role": role, "parts": parts})
	default:
		c.Refuse(e.ID, "unsupported_value", "The model's provider takes messages and answers of functions.")
		return
	}
	if item["id"] == nil {
		item["id"] = c.ID("item_")
	}
	item["object"], item["status"] = "realtime.item", "completed"
	c.Event("conversation.item.added", object{"item": item})
	c.Event("conversation.item.done", object{"item": item})
}

// contents are the parts of a message in Google's words, or why there are none.
func contents(v any) (parts []object, why string) {
	list, _ := v.([]any)
	for _, one := range list {
		p, _ := one.(object)
		switch p["type"] {
		case "input_text", "output_text", "text":
			parts = append(parts, object{"text": p["text"]})
		case "input_audio":
			parts = append(parts, object{"inlineData": object{"mimeType": heardAs, "data": p["audio"]}})
		case "output_audio":
			parts = append(parts, object{"text": p["transcript"]})
		case "input_image":
			url, _ := p["image_url"].(string)
			head, data, ok := strings.Cut(strings.TrimPrefix(url, "data:"), ";base64,")
			if !ok {
				return nil, "Pictures must be data URLs."
			}
			parts = append(parts, object{"inlineData": object{"mimeType": head, "data": data}})
		default:
			return nil, "The model's provider takes text, audio and pictures."
		}
	}
	if len(parts) == 0 {
		return nil, "The item has no content."
	}
	return parts, ""
}

// heardAs is the type of audio that sessions of OpenAI's have.
const heardAs = "audio/pcm;rate=24000"

// hear sends audio on.
func (c *Conn) hear(ctx context.Context, e *clientEvent) error {
	if err := c.begin(ctx); err != nil {
		return err
	}
	c.mu.Lock()
	opens := c.manual() && !c.pending.active
	c.pending.audio, c.pending.active = true, c.pending.active || opens
	c.mu.Unlock()
	if opens {
		if err := c.Say(ctx, object{"realtimeInput": object{"activityStart": object{}}}); err != nil {
			return err
		}
	}
	return c.Say(ctx, object{"realtimeInput": object{"audio": object{"mimeType": heardAs, "data": e.Audio}}})
}

// commit makes an item of the audio so far. The provider is not told: what ends the user's turn has the model
// respond has the model answer.
func (c *Conn) respond(ctx context.Context) error {
	if err := c.begin(ctx); err != nil {
		return err
	}
	c.mu.Lock()
	p := c.pending
	c.pending = pending{}
	c.mu.Unlock()
	if len(p.answers) > 0 {
		if err := c.Say(ctx, object{"toolResponse": object{"functionResponses": p.answers}}); err != nil {
			return err
		}
	}
	switch {
	case len(p.turns) > 0:
		return c.Say(ctx, object{"clientContent": object{"turns": p.turns, "turnComplete": true}})
	case p.active:
		return c.Say(ctx, object{"realtimeInput": object{"activityEnd": object{}}})
	case p.audio:
		return c.Say(ctx, object{"realtimeInput": object{"audioStreamEnd": true}})
	case len(p.answers) > 0:
		return nil // which it answers by itself
	}
	return c.Say(ctx, object{"clientContent": object{"turnComplete": true}})
}
