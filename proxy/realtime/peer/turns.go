package peer

import (
	"encoding/json"
	"maps"
	"strings"
)

// The kinds of content that a message has.
const (
	Text  = "output_text"
	Audio = "output_audio"
)

// Turns makes the events of what a model says, and of what it hears. It is not safe for concurrent use. Its zero
// value lacks Conn.
type Turns struct {
	Conn  *Conn
	Begun int               // how many responses were
	Names map[string]string // of the functions that were called, by the call's id

	turn    *turn
	input   string // what the user was heard to say in this turn, and the id of the item for it
	inputID string
}

// turn is a response that goes on.
type turn struct {
	id, item string // of the response, and of its message
	kind     string // of the message's content; "": it has none yet
	said     strings.Builder
	output   []Object
	usage    Object
}

// Open says whether a response goes on.
func (t *Turns) Open() bool { return t.turn != nil }

// Commit makes an item of what the user says.
func (t *Turns) Commit() {
	t.inputID = t.Conn.ID("item_")
	t.Conn.Event("input_audio_buffer.committed", Object{"item_id": t.inputID, "previous_item_id": nil})
}

// Understood tells a piece of what the user was heard to say.
func (t *Turns) Understood(text string) {
	if t.inputID == "" {
		t.Commit()
	}
	t.input += text
	t.Conn.Event("conversation.item.input_audio_transcription.delta", Object{"item_id": t.inputID, "content_index": 0, "delta": text})
}

// heardOut tells all of it.
func (t *Turns) heardOut() {
	if t.input != "" {
		t.Conn.Event("conversation.item.input_audio_transcription.completed", Object{
			"item_id": t.inputID, "content_index": 0, "transcript": t.input,
			"usage": Object{"type": "tokens", "input_tokens": 0, "output_tokens": 0, "total_tokens": 0}, // is the response's
		})
	}
	t.input, t.inputID = "", ""
}

// response is the one that goes on, which begins if there is none.
func (t *Turns) response() *turn {
	if t.turn == nil {
		t.heardOut()
		t.Begun++
		t.turn = &turn{id: t.Conn.ID("resp_")}
		t.Conn.Event("response.created", Object{"response": Object{"id": t.turn.id, "object": "realtime.response", "status": "in_progress", "output": []any{}}})
	}
	return t.turn
}

// message is the response's message, which begins if there is none.
func (t *Turns) message(kind string) *turn {
	r := t.response()
	if r.kind == "" {
		r.kind, r.item = kind, t.Conn.ID("item_")
		t.Conn.Event("response.output_item.added", Object{"response_id": r.id, "output_index": len(r.output), "item": Object{"id": r.item, "object": "realtime.item", "type": "message", "role": "assistant", "status": "in_progress", "content": []any{}}})
		part := Object{"type": "text", "text": ""}
		if kind == Audio {
			part = Object{"type": "audio", "transcript": ""}
		}
		t.Conn.Event("response.content_part.added", r.place(Object{"part": part}))
	}
	return r
}

// place adds where in the response an event belongs.
func (r *turn) place(members Object) Object {
	members["response_id"], members["item_id"], members["output_index"], members["content_index"] = r.id, r.item, len(r.output), 0
	return members
}

// Sound tells a piece of audio, in base64.
func (t *Turns) Sound(data string) {
	r := t.message(Audio)
	t.Conn.Event("response.output_audio.delta", r.place(Object{"delta": data}))
}

// Say tells a piece of text, or of what is said aloud.
func (t *Turns) Say(kind, text string) {
	r := t.message(kind)
	r.said.WriteString(text)
	event := "response.output_text.delta"
	if r.kind == Audio {
		event = "response.output_audio_transcript.delta"
	}
	t.Conn.Event(event, r.place(Object{"delta": text}))
}

// Call tells a whole call of a function.
func (t *Turns) Call(id, name string, args json.RawMessage) {
	r := t.response()
	t.endMessage("completed")
	if id == "" {
		id = t.Conn.ID("call_")
	}
	if len(args) == 0 {
		args = []byte("{}")
	}
	if t.Names == nil {
		t.Names = map[string]string{}
	}
	t.Names[id] = name
	item := Object{"id": t.Conn.ID("item_"), "object": "realtime.item", "type": "function_call", "call_id": id, "name": name, "status": "in_progress", "arguments": ""}
	at := Object{"response_id": r.id, "item_id": item["id"], "output_index": len(r.output), "call_id": id}
	t.Conn.Event("response.output_item.added", Object{"response_id": r.id, "output_index": len(r.output), "item": item})
	with := func(name string, v any) Object {
		o := Object{name: v}
		maps.Copy(o, at)
		return o
	}
	t.Conn.Event("response.function_call_arguments.delta", with("delta", string(args)))
	t.Conn.Event("response.function_call_arguments.done", with("arguments", string(args)))
	item["status"], item["arguments"] = "completed", string(args)
	t.Conn.Event("response.output_item.done", Object{"response_id": r.id, "output_index": len(r.output), "item": item})
	r.output = append(r.output, item)
}

// endMessage ends the message.
func (t *Turns) endMessage(status string) {
	r := t.turn
	if r.kind == "" {
		return
	}
	text := r.said.String()
	part := Object{"type": Text, "text": text}
	if r.kind == Audio {
		t.Conn.Event("response.output_audio.done", r.place(Object{}))
		t.Conn.Event("response.output_audio_transcript.done", r.place(Object{"transcript": text}))
		part = Object{"type": Audio, "transcript": text}
	} else {
		t.Conn.Event("response.output_text.done", r.place(Object{"text": text}))
	}
	t.Conn.Event("response.content_part.done", r.place(Object{"part": part}))
	item := Object{"id": r.item, "object": "realtime.item", "type": "message", "role": "assistant", "status": status, "content": []Object{part}}
	t.Conn.Event("response.output_item.done", Object{"response_id": r.id, "output_index": len(r.output), "item": item})
	r.output = append(r.output, item)
	r.kind, r.item = "", ""
	r.said.Reset()
}

// Used notes what the response has used, in OpenAI's words; without a response it is lost.
func (t *Turns) Used(usage Object) {
	if t.turn != nil {
		t.turn.usage = usage
	}
}

// End ends the response, if one goes on: "completed", or "cancelled" because the user spoke.
func (t *Turns) End(status string) {
	r := t.turn
	if r == nil {
		return
	}
	t.endMessage(status)
	response := Object{"id": r.id, "object": "realtime.response", "status": status, "output": r.output}
	if status == "cancelled" {
		response["status_details"] = Object{"type": "cancelled", "reason": "turn_detected"}
	}
	if r.usage != nil {
		response["usage"] = r.usage
	}
	if r.output == nil {
		response["output"] = []any{}
	}
	t.Conn.Event("response.done", Object{"response": response})
	t.turn = nil
}

// UsageOf is a count in OpenAI's words: of text and audio that was read and made.
func UsageOf(input, inputAudio, cached, output, outputAudio int64) Object {
	return Object{
		"input_tokens": input, "output_tokens": output, "total_tokens": input + output,
		"input_token_details":  Object{"text_tokens": input - inputAudio, "audio_tokens": inputAudio, "cached_tokens": cached},
		"output_token_details": Object{"text_tokens": output - outputAudio, "audio_tokens": outputAudio},
	}
}
