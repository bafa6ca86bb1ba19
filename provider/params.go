package provider

import (
	"encoding/json"
	"slices"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/chat"
)

// askingAll is a request that uses each of OpenAI's parameters.
func askingAll() *chat.Request {
	one, some, yes := 0.5, int64(7), true
	return &chat.Request{
		Messages:  []chat.Message{{Role: chat.RoleUser, Parts: []chat.Part{{Text: "x"}}}},
		MaxTokens: 5, Temperature: &one, TopP: &one, FrequencyPenalty: &one, PresencePenalty: &one, Stop: []string{"x"}, Seed: &some, N: 2,
		LogProbs: true, TopLogProbs: 2, LogitBias: json.RawMessage(`{"1":1}`),
		Tools: []chat.Tool{{Name: "f", Parameters: json.RawMessage(`{"type":"object"}`)}}, ToolChoice: chat.ToolChoice{Mode: "auto"}, ParallelTools: &yes,
		Format: chat.Format{Type: "json_object"}, Reasoning: chat.Reasoning{Effort: "low"}, User: "u", ServiceTier: "auto",
		Modalities: []string{"text"}, Prediction: json.RawMessage(`{"type":"content","content":"x"}`), WebSearch: json.RawMessage(`{}`),
	}
}

// chatParams are OpenAI's parameters of chat completions that a provider may or may not take.
var chatParams = []string{
	"frequency_penalty", "logit_bias", "logprobs", "top_logprobs", "max_tokens", "max_completion_tokens", "modalities", "prediction", "n",
	"presence_penalty", "seed", "stop", "stream", "stream_options", "temperature", "top_p", "tools", "tool_choice",
	"parallel_tool_calls", "response_format", "user", "service_tier", "reasoning_effort", "web_search_options",
}

// Params lists OpenAI's parameters that reach a model of the provider, in chat completions. One that
// cannot be said in its dialect does not.
func (p *Provider) Params(model string) []string {
	at, ok := p.Way(llm.Chat)
	if !ok {
		return []string{}
	}
	var dropped []string
	if at != llm.Chat {
		out, _ := OutboundOf(at)
		dropped = droppedBy(out, model)
	}
	if p.NoStreamOptions {
		dropped = append(dropped, "stream_options")
	}
	list := slices.DeleteFunc(slices.Clone(chatParams), func(name string) bool { return slices.Contains(dropped, name) })
	slices.Sort(list)
	return list
}

// AllParams lists those that Params looks for.
func AllParams() []string { return slices.Sorted(slices.Values(chatParams)) }

// droppedBy are the parameters that a dialect leaves out. One by whose sake the whole request is
// refused is left out of the next try.
func droppedBy(out Outbound, model string) []string {
	q, lost := askingAll(), []string(nil)
	for range 4 {
		t := &llm.Target{Model: model, MaxOutput: 4096}
		_, err := out.EncodeRequest(q, t)
		if err == nil {
			return append(lost, t.Dropped()...)
		}
		e, ok := err.(*llm.Error) //nolint:errorlint // writers return it as it is
		if !ok || !without(q, e.Param) {
			return append(lost, t.Dropped()...)
		}
		lost = append(lost, e.Param)
	}
	return lost
}

// without takes a parameter out of a request; false if it is none that can be refused.
func without(q *chat.Request, param string) bool {
	switch param {
	case "n":
		q.N = 0
	case "tools":
		q.Tools, q.ToolChoice, q.ParallelTools = nil, chat.ToolChoice{}, nil
	case "response_format":
		q.Format = chat.Format{}
	case "web_search_options":
		q.WebSearch = nil
	case "modalities":
		q.Modalities = nil
	default:
		return false
	}
	return true
}
