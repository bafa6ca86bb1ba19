package live

import (
	"encoding/json"
	"errors"
	"maps"
	"strings"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/proxy/realtime/peer"
)

// message is one of the provider's.
type message struct {
	Set    *struct{}       `json:"setupComplete"`
	Server *serverContent  `json:"serverContent"`
	Call   *calls          `json:"toolCall"`
	Usage  json.RawMessage `json:"usageMetadata"`
	Error  *struct {
		Message string `json:"message"`
	} `json:"error"`
}

// serverContent is what the model says, and what it has heard.
type serverContent struct {
	Turn struct {
		Parts []struct {
			Text    string `json:"text"`
			Thought bool   `json:"thought"`
			Inline  struct {
				Data string `json:"data"`
			} `json:"inlineData"`
		} `json:"parts"`
	} `json:"modelTurn"`
	Complete    bool   `json:"turnComplete"`
	Interrupted bool   `json:"interrupted"`
	Input       spoken `json:"inputTranscription"`
	Output      spoken `json:"outputTranscription"`
}

// spoken is what was said aloud.
type spoken struct {
	Text string `json:"text"`
}

// calls are functions that are to be called.
type calls struct {
	Functions []struct {
		ID   string          `json:"id"`
		Name string          `json:"name"`
		Args json.RawMessage `json:"args"`
	} `json:"functionCalls"`
}

// turn is a response that the model makes.
type turn struct {
	id, item string // of the response, and of its message
	kind     string // of the message's content: "output_text" or "output_audio"; "": it has none yet
	said     strings.Builder
	output   []object
	usage    *object
}

// take makes events of a message. Its error is an *llm.Error of kind Upstream.
func (c *Conn) take(raw []byte) error {
	var m message
	if err := json.Unmarshal(raw, &m); err != nil {
		return peer.Garbled(err)
	}
	if m.Error != nil {
		return &llm.Error{Kind: llm.Upstream, Code: "upstream_error", Message: "The provider ended the session.", Err: errors.New(m.Error.Message)}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if m.Set != nil && !c.ready {
		c.ready = true
		close(c.set)
	}
	if m.Server != nil {
		c.content(m.Server)
	}
	if m.Call != nil {
		for _, f := range m.Call.Functions {
			c.call(f.ID, f.Name, f.Args)
		}
	}
	if u, ok := usageOf(m.Usage); ok && c.turn != nil {
		c.turn.usage = &u
	}
	switch {
	case m.Server != nil && m.Server.Interrupted:
		c.end("cancelled")
	case m.Server != nil && m.Server.Complete, m.Call != nil:
		c.end("completed")
	}
	return nil
}

// content makes events of what the model says and has heard.
func (c *Conn) content(s *serverContent) {
	if s.Input.Text != "" {
		c.understood(s.Input.Text)
	}
	for _, p := range s.Turn.Parts {
		switch {
		case p.Thought:
		case p.Inline.Data != "":
			c.delta("output_audio", "response.output_audio.delta", p.Inline.Data)
		case p.Text != "":
			c.saying("output_text", p.Text)
		}
	}
	if s.Output.Text != "" {
		c.saying("output_audio", s.Output.Text)
	}
}

// understood is what the user was heard to say.
func (c *Conn) understood(text string) {
	if c.inputID == "" {
		c.commit()
	}
	c.input += text
	c.Event("conversation.item.input_audio_transcription.delta", object{"item_id": c.inputID, "content_index": 0, "delta": text})
}

// heardOut ends what the user has said: the model answers.
func (c *Conn) heardOut() {
	if c.input != "" {
		c.Event("conversation.item.input_audio_transcription.completed", object{
			"item_id": c.inputID, "content_index": 0, "transcript": c.input,
			"usage": object{"type": "tokens", "input_tokens": 0, "output_tokens": 0, "total_tokens": 0}, // is the response's
		})
	}
	c.input, c.inputID = "", ""
}

// response is the response that is made; it begins if there is none.
func (c *Conn) response() *turn {
	if c.turn == nil {
		c.heardOut()
		c.pending.audio = false
		c.turn = &turn{id: c.ID("resp_")}
		c.Event("response.created", object{"response": object{"id": c.turn.id, "object": "realtime.response", "status": "in_progress", "output": []any{}}})
	}
	return c.turn
}

// message is the response's message, of content of a kind.
func (c *Conn) message(kind string) *turn {
	t := c.response()
	if t.kind == "" {
		t.kind, t.item = kind, c.ID("item_")
		c.Event("response.output_item.added", object{"response_id": t.id, "output_index": len(t.output), "item": object{"id": t.item, "object": "realtime.item", "type": "message", "role": "assistant", "status": "in_progress", "content": []any{}}})
		part := object{"type": "text", "text": ""}
		if kind == "output_audio" {
			part = object{"type": "audio", "transcript": ""}
		}
		c.Event("response.content_part.added", c.place(t, object{"part": part}))
	}
	return t
}

// place says where in the response something is.
func (c *Conn) place(t *turn, members object) object {
	members["response_id"], members["item_id"], members["output_index"], members["content_index"] = t.id, t.item, len(t.output), 0
	return members
}

func (c *Conn) delta(kind, event, data string) {
	t := c.message(kind)
	c.Event(event, c.place(t, object{"delta": data}))
}

// saying is text that the model says, or what it says aloud.
func (c *Conn) saying(kind, text string) {
	t := c.message(kind)
	t.said.WriteString(text)
	event := "response.output_text.delta"
	if t.kind == "output_audio" {
		event = "response.output_audio_transcript.delta"
	}
	c.Event(event, c.place(t, object{"delta": text}))
}

// call is a function that is to be called.
func (c *Conn) call(id, name string, args json.RawMessage) {
	t := c.response()
	c.endMessage("completed")
	if id == "" {
		id = c.ID("call_")
	}
	if len(args) == 0 {
		args = []byte("{}")
	}
	c.names[id] = name
	item := object{"id": c.ID("item_"), "object": "realtime.item", "type": "function_call", "call_id": id, "name": name, "status": "in_progress", "arguments": ""}
	at := object{"response_id": t.id, "item_id": item["id"], "output_index": len(t.output), "call_id": id}
	c.Event("response.output_item.added", object{"response_id": t.id, "output_index": len(t.output), "item": item})
	with := func(name string, v any) object {
		o := object{name: v}
		maps.Copy(o, at)
		return o
	}
	c.Event("response.function_call_arguments.delta", with("delta", string(args)))
	c.Event("response.function_call_arguments.done", with("arguments", string(args)))
	item["status"], item["arguments"] = "completed", string(args)
	c.Event("response.output_item.done", object{"response_id": t.id, "output_index": len(t.output), "item": item})
	t.output = append(t.output, item)
}

// endMessage ends the message of the response, if it has one.
func (c *Conn) endMessage(status string) {
	t := c.turn
	if t.kind == "" {
		return
	}
	text := t.said.String()
	part := object{"type": "output_text", "text": text}
	if t.kind == "output_audio" {
		c.Event("response.output_audio.done", c.place(t, object{}))
		c.Event("response.output_audio_transcript.done", c.place(t, object{"transcript": text}))
		part = object{"type": "output_audio", "transcript": text}
	} else {
		c.Event("response.output_text.done", c.place(t, object{"text": text}))
	}
	c.Event("response.content_part.done", c.place(t, object{"part": part}))
	item := object{"id": t.item, "object": "realtime.item", "type": "message", "role": "assistant", "status": status, "content": []object{part}}
	c.Event("response.output_item.done", object{"response_id": t.id, "output_index": len(t.output), "item": item})
	t.output = append(t.output, item)
	t.kind, t.item = "", ""
	t.said.Reset()
}

// end ends the response that is made, if one is.
func (c *Conn) end(status string) {
	t := c.turn
	if t == nil {
		return
	}
	c.endMessage(status)
	response := object{"id": t.id, "object": "realtime.response", "status": status, "output": t.output}
	if status == "cancelled" {
		response["status_details"] = object{"type": "cancelled", "reason": "turn_detected"}
	}
	if t.usage != nil {
		response["usage"] = *t.usage
	}
	if t.output == nil {
		response["output"] = []any{}
	}
	c.Event("response.done", object{"response": response})
	c.turn = nil
}

// counts are tokens by what they stand for.
type counts []struct {
	Modality string `json:"modality"`
	Tokens   int64  `json:"tokenCount"`
}

// audio is how many of so many tokens are of sound.
func (list counts) audio(all int64) (n int64) {
	for _, d := range list {
		if d.Modality == "AUDIO" && d.Tokens > 0 && d.Tokens <= all {
			n = d.Tokens
		}
	}
	return n
}

// usageOf is what was used, in OpenAI's words; false: nobody says.
func usageOf(raw []byte) (object, bool) {
	var got struct {
		Prompt   int64  `json:"promptTokenCount"`
		Cached   int64  `json:"cachedContentTokenCount"`
		Response int64  `json:"responseTokenCount"`
		Thoughts int64  `json:"thoughtsTokenCount"`
		Input    counts `json:"promptTokensDetails"`
		Output   counts `json:"responseTokensDetails"`
	}
	if raw == nil || json.Unmarshal(raw, &got) != nil {
		return nil, false
	}
	for _, n := range [...]int64{got.Prompt, got.Response, got.Thoughts} {
		if n < 0 || n > llm.MaxTokenCount {
			return nil, false
		}
	}
	heard, spoken := got.Input.audio(got.Prompt), got.Output.audio(got.Response)
	out := got.Response + got.Thoughts
	return object{
		"input_tokens": got.Prompt, "output_tokens": out, "total_tokens": got.Prompt + out,
		"input_token_details":  object{"text_tokens": got.Prompt - heard, "audio_tokens": heard, "cached_tokens": min(max(got.Cached, 0), got.Prompt)},
		"output_token_details": object{"text_tokens": out - spoken, "audio_tokens": spoken},
	}, true
}
