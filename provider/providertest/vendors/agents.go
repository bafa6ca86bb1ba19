package vendors

import (
	"strings"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/chat"
	"github.com/conclave-llm/conclave/provider/providertest"
)

// agents are servers of agents, and others that answer with what somebody else's model said.
func agents() []*providertest.Format { return append(runs(), answerers()...) }

// sampling is what those lack whose agents decide it.
var sampling = because("the agent's own", providertest.Stops)

// runs are servers that run agents of one's own.
func runs() []*providertest.Format {
	return []*providertest.Format{
		{
			Provider: "langgraph", Model: "agent", Endpoint: llm.LangGraphRun, Finishes: stops, Failure: "event: error\n" + `data: {"error":"ValueError","message":"no"}` + "\n\n",
			Script: text{
				answer: func(s *said) any {
					return object{"messages": []object{{"type": "human", "content": "go"}, {"type": "ai", "id": "m1", "content": s.text, "usage_metadata": used(s)}}}
				},
				piece: func(s *said) []byte {
					m := object{"type": "AIMessageChunk", "id": "m1", "content": s.text}
					if s.last {
						m["content"], m["usage_metadata"] = "", used(s)
					}
					return llm.AppendEvent(nil, "messages", marshal([]object{m, {}}))
				},
			},
			Lacks: without(textOnly(), sampling, because("a run's events have none", providertest.Ends)),
		},
		{
			Provider: "langflow", Model: "flow", Endpoint: llm.LangflowRun, Finishes: stops,
			Script: text{answer: func(s *said) any {
				return object{"session_id": "s", "outputs": []object{{"outputs": []object{{"results": object{"message": object{"text": s.text, "error": false}}}}}}}
			}},
			Lacks: without(textOnly(), sampling, whole("its streams have the events of components"), uncounted("it counts no tokens")),
		},
		{
			Provider: "a2a", Endpoint: llm.A2AMessage, Finishes: stops,
			Script: text{answer: func(s *said) any {
				return object{"jsonrpc": "2.0", "id": "1", "result": object{"kind": "message", "role": "agent", "messageId": "m1", "parts": []object{{"kind": "text", "text": s.text}}}}
			}},
			Lacks: without(textOnly(), sampling, whole("a task is asked for until it is done"), uncounted("the protocol has none"),
				because("each message has an id of its own", providertest.Repeats)),
		},
	}
}

// answerers are services that answer with what somebody else's model said.
func answerers() []*providertest.Format {
	return []*providertest.Format{
		{
			Provider: "manus", Model: "manus-1.6", Endpoint: llm.ManusTask, Finishes: stops,
			Script: text{answer: func(s *said) any {
				return object{"id": "t1", "object": "response", "status": "completed", "output": []object{
					{"role": "user", "content": []object{{"type": "input_text", "text": "go"}}},
					{"role": "assistant", "content": []object{{"type": "output_text", "text": s.text}}},
				}}
			}},
			Lacks: without(textOnly(), sampling, whole("a task is asked for until it is done"), uncounted("it counts no tokens"),
				lacks{providertest.Images: "they are sent, but no client speaks the dialect"}),
		},
		{
			Provider: "microsoft_365_copilot", Model: "copilot", Endpoint: llm.M365Chat, Finishes: []chat.Finish{chat.FinishStop, chat.FinishFilter}, Failure: `data: {"error":{"code":"x","message":"no"}}` + "\n\n",
			Script: text{
				answer: func(s *said) any { return conversation(s, 1) },
				piece: func(s *said) []byte {
					if s.last {
						return event(conversation(s, 1))
					}
					return event(conversation(s, 0))
				},
			},
			Lacks: without(textOnly(), sampling, uncounted("it counts no tokens"), because("Graph's events have none", providertest.Ends)),
		},
		{
			Provider: "fal_ai", Model: "fal-ai/moondream3-preview/query", Endpoint: llm.FalChat, Finishes: lengths, Script: seen{},
			Lacks: asksAboutPictures(without(textOnly(), sampling, whole("its queue has none"), because("each question is about one picture", providertest.Pictureless))),
		},
	}
}

func used(s *said) object {
	return object{"input_tokens": s.usage.Prompt(), "output_tokens": s.usage.Completion(), "total_tokens": s.usage.Total()}
}

// conversation is Microsoft Graph's, in which the answer stands as far as it has come.
func conversation(s *said, turns int) object {
	state := "active"
	if s.finish == chat.FinishFilter {
		state = "disengagedForRai"
	}
	return object{"id": "c1", "displayName": "", "state": state, "turnCount": turns, "messages": []object{{"id": "m1", "text": "go"}, {"id": "m2", "text": s.so}}}
}

// asksAboutPictures is what text models lack, but for pictures, and that they tell their reasoning.
func asksAboutPictures(l lacks) lacks {
	delete(l, providertest.Images)
	delete(l, providertest.ImageURLs)
	delete(l, providertest.Reasoning)
	return l
}

// seen answers a question about a picture.
type seen struct{ text }

// Answer implements providertest.Script.
func (seen) Answer(r *chat.Response) []byte {
	ch := &r.Choices[0]
	var reasoning strings.Builder
	for _, p := range ch.Parts {
		if p.Type == chat.PartReasoning {
			reasoning.WriteString(p.Text)
		}
	}
	return marshal(object{
		"output": chat.Text(ch.Parts), "reasoning": reasoning.String(), "finish_reason": ch.Finish.String(),
		"usage_info": object{"input_tokens": r.Usage.Prompt(), "output_tokens": r.Usage.Completion(), "prefill_time_ms": 5},
	})
}
