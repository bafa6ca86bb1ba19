package vendors

import (
	"bytes"
	"encoding/json"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/chat"
	"github.com/conclave-llm/conclave/provider/bedrock"
	"github.com/conclave-llm/conclave/provider/providertest"
)

// gathered answers with a stream who is not asked for one, too.
type gathered struct{ providertest.Script }

// Answer implements providertest.Script.
func (g gathered) Answer(r *chat.Response) []byte {
	return bytes.Join(g.Stream(chat.Chunks(nil, r)), nil)
}

// framed is a stream in SageMaker's frames, which split it anywhere.
type framed struct{ providertest.Script }

// Stream implements providertest.Script.
func (f framed) Stream(chunks []chat.Chunk) (frames [][]byte) {
	for _, b := range f.Script.Stream(chunks) {
		frames = append(frames, append(payload(string(b[:len(b)/2])), payload(string(b[len(b)/2:]))...))
	}
	return frames
}

// payload is a frame of SageMaker's.
func payload(s string) []byte {
	return bedrock.AppendEvent(nil, "PayloadPart", func(b []byte) []byte { return append(b, s...) })
}

// cohere answers as Cohere does.
type cohere struct{}

var cohereReasons = map[chat.Finish]string{chat.FinishStop: "COMPLETE", chat.FinishLength: "MAX_TOKENS", chat.FinishTools: "TOOL_CALL"}

func billed(u llm.Usage) object {
	return object{"billed_units": object{"input_tokens": u.Prompt(), "output_tokens": u.Completion()}, "tokens": object{"input_tokens": 999, "output_tokens": 999}}
}

func cohereCall(p *chat.Part) object {
	return object{"id": p.ID, "type": "function", "function": object{"name": p.Name, "arguments": string(p.Arguments)}}
}

// Answer implements providertest.Script.
func (cohere) Answer(r *chat.Response) []byte {
	msg := object{"role": "assistant"}
	var content, calls []any
	for i := range r.Choices[0].Parts {
		switch p := &r.Choices[0].Parts[i]; p.Type {
		case chat.PartText:
			content = append(content, object{"type": "text", "text": p.Text})
		case chat.PartReasoning:
			content = append(content, object{"type": "thinking", "thinking": p.Text})
		case chat.PartToolCall:
			calls = append(calls, cohereCall(p))
		}
	}
	if content != nil {
		msg["content"] = content
	}
	if calls != nil {
		msg["tool_calls"] = calls
	}
	return marshal(object{"id": r.ID, "finish_reason": cohereReasons[r.Choices[0].Finish], "message": msg, "usage": billed(r.Usage)})
}

// Stream implements providertest.Script.
func (cohere) Stream(chunks []chat.Chunk) (events [][]byte) {
	add := func(kind string, v object) {
		v["type"] = kind
		events = append(events, llm.AppendEvent(nil, kind, marshal(v)))
	}
	var finish chat.Finish
	var used llm.Usage
	calls := 0
	for i := range chunks {
		switch c := &chunks[i]; c.Type {
		case chat.ChunkStart:
			add("message-start", object{"id": c.ID, "delta": object{"message": object{"role": "assistant", "content": []any{}, "tool_plan": "", "tool_calls": []any{}, "citations": []any{}}}})
		case chat.ChunkText:
			add("content-delta", object{"index": 0, "delta": object{"message": object{"content": object{"text": c.Text}}}})
		case chat.ChunkReasoning:
			add("tool-plan-delta", object{"delta": object{"message": object{"tool_plan": c.Text}}})
		case chat.ChunkToolStart:
			calls++
			add("tool-call-start", object{"index": c.Index, "delta": object{"message": object{"tool_calls": object{"id": c.ID, "type": "function", "function": object{"name": c.Name, "arguments": ""}}}}})
		case chat.ChunkToolArgs:
			add("tool-call-delta", object{"index": c.Index, "delta": object{"message": object{"tool_calls": object{"function": object{"arguments": c.Text}}}}})
		case chat.ChunkFinish:
			for i := range calls {
				add("tool-call-end", object{"index": i})
			}
			finish = c.Finish
		case chat.ChunkUsage:
			used = c.Usage
		case chat.ChunkEnd:
			add("message-end", object{"delta": object{"finish_reason": cohereReasons[finish], "usage": billed(used)}})
		}
	}
	return events
}

// ollama answers as Ollama does.
type ollama struct{}

// line is what Ollama says in one line.
func line(parts []chat.Part, done bool, finish chat.Finish, u llm.Usage) []byte {
	m := object{"role": "assistant", "content": ""}
	var calls []any
	for i := range parts {
		switch p := &parts[i]; p.Type {
		case chat.PartText:
			m["content"] = m["content"].(string) + p.Text
		case chat.PartReasoning:
			m["thinking"] = p.Text
		case chat.PartToolCall:
			args := p.Arguments
			if len(args) == 0 {
				args = json.RawMessage("{}")
			}
			calls = append(calls, object{"id": p.ID, "function": object{"name": p.Name, "arguments": args}})
		}
	}
	if calls != nil {
		m["tool_calls"] = calls
	}
	said := object{"model": "model", "created_at": "2025-01-01T00:00:00.123Z", "message": m, "done": done}
	if done {
		said["done_reason"] = map[chat.Finish]string{chat.FinishLength: "length"}[finish]
		if finish != chat.FinishLength {
			said["done_reason"] = "stop"
		}
		said["prompt_eval_count"], said["eval_count"], said["total_duration"] = u.Prompt(), u.Completion(), 12345
	}
	return marshal(said)
}

// Answer implements providertest.Script.
func (ollama) Answer(r *chat.Response) []byte {
	return line(r.Choices[0].Parts, true, r.Choices[0].Finish, r.Usage)
}

// Stream implements providertest.Script.
func (ollama) Stream(chunks []chat.Chunk) (events [][]byte) {
	var calls []chat.Part
	var finish chat.Finish
	var usage llm.Usage
	add := func(b []byte) { events = append(events, append(b, '\n')) }
	for i := range chunks {
		switch c := &chunks[i]; c.Type {
		case chat.ChunkText:
			add(line([]chat.Part{{Text: c.Text}}, false, 0, usage))
		case chat.ChunkReasoning:
			add(line([]chat.Part{{Type: chat.PartReasoning, Text: c.Text}}, false, 0, usage))
		case chat.ChunkToolStart:
			calls = append(calls, chat.Part{Type: chat.PartToolCall, ID: c.ID, Name: c.Name})
		case chat.ChunkToolArgs:
			calls[c.Index].Arguments = append(calls[c.Index].Arguments, c.Text...)
		case chat.ChunkFinish:
			finish = c.Finish
			for i := range calls {
				add(line(calls[i:i+1], false, 0, usage))
			}
		case chat.ChunkUsage:
			usage = c.Usage
		case chat.ChunkEnd:
			add(line(nil, true, finish, usage))
		}
	}
	return events
}

// gigachat answers as Sber's GigaChat does.
type gigachat struct{}

var gigaReasons = map[chat.Finish]string{chat.FinishStop: "stop", chat.FinishLength: "length", chat.FinishTools: "function_call", chat.FinishFilter: "blacklist"}

func gigaMessage(parts []chat.Part) object {
	m := object{"role": "assistant", "content": chat.Text(parts)}
	for i := range parts {
		if p := &parts[i]; p.Type == chat.PartToolCall {
			args := p.Arguments
			if len(args) == 0 {
				args = json.RawMessage("{}")
			}
			m["function_call"], m["functions_state_id"] = object{"name": p.Name, "arguments": args}, "77d3fb14-457a-46ba-937e-8d856156d003"
		}
	}
	return m
}

func gigaUsage(u llm.Usage) object {
	return object{
		"prompt_tokens": u.Prompt(), "completion_tokens": u.Completion(), "precached_prompt_tokens": u.CacheRead,
		"total_tokens": u.Total() - u.CacheRead,
	}
}

// Answer implements providertest.Script.
func (gigachat) Answer(r *chat.Response) []byte {
	var choices []object
	for i := range r.Choices {
		ch := &r.Choices[i]
		choices = append(choices, object{"index": ch.Index, "message": gigaMessage(ch.Parts), "finish_reason": gigaReasons[ch.Finish]})
	}
	return marshal(object{"object": "chat.completion", "model": r.Model, "created": r.Created, "choices": choices, "usage": gigaUsage(r.Usage)})
}

// Stream implements providertest.Script. A call comes whole.
func (gigachat) Stream(chunks []chat.Chunk) (events [][]byte) {
	var last []object
	calls := map[int]*chat.Part{}
	add := func(v object) {
		v["object"], v["model"], v["created"] = "chat.completion", "model", 1735689600
		events = append(events, event(v))
	}
	for i := range chunks {
		switch c := &chunks[i]; c.Type {
		case chat.ChunkText:
			add(object{"choices": []object{{"index": c.Choice, "delta": object{"role": "assistant", "content": c.Text}}}})
		case chat.ChunkToolStart:
			calls[c.Choice] = &chat.Part{Type: chat.PartToolCall, Name: c.Name}
		case chat.ChunkToolArgs:
			calls[c.Choice].Arguments = append(calls[c.Choice].Arguments, c.Text...)
		case chat.ChunkFinish:
			delta := object{"content": ""}
			if p := calls[c.Choice]; p != nil {
				delta = gigaMessage([]chat.Part{*p})
			}
			last = append(last, object{"index": c.Choice, "delta": delta, "finish_reason": gigaReasons[c.Finish]})
		case chat.ChunkUsage:
			add(object{"choices": last, "usage": gigaUsage(c.Usage)})
		case chat.ChunkEnd:
			events = append(events, []byte("data: [DONE]\n\n"))
		}
	}
	return events
}
