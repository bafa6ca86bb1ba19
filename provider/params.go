package provider

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/chat"
)

// asked sets each of OpenAI's parameters of chat completions that a provider may or may not take. Those without a
// function are what every request has.
var asked = map[string]func(*chat.Request){
	"max_tokens": nil, "max_completion_tokens": nil, "stream": nil, "stream_options": nil,
	"frequency_penalty":   func(q *chat.Request) { q.FrequencyPenalty = new(0.5) },
	"presence_penalty":    func(q *chat.Request) { q.PresencePenalty = new(0.5) },
	"temperature":         func(q *chat.Request) { q.Temperature = new(0.5) },
	"top_p":               func(q *chat.Request) { q.TopP = new(0.5) },
	"logit_bias":          func(q *chat.Request) { q.LogitBias = json.RawMessage(`{"1":1}`) },
	"logprobs":            func(q *chat.Request) { q.LogProbs = true },
	"top_logprobs":        func(q *chat.Request) { q.LogProbs, q.TopLogProbs = true, 2 },
	"modalities":          func(q *chat.Request) { q.Modalities = []string{"text"} },
	"prediction":          func(q *chat.Request) { q.Prediction = json.RawMessage(`{"type":"content","content":"x"}`) },
	"n":                   func(q *chat.Request) { q.N = 2 },
	"seed":                func(q *chat.Request) { q.Seed = new(int64(7)) },
	"stop":                func(q *chat.Request) { q.Stop = []string{"x"} },
	"tools":               func(q *chat.Request) { q.Tools = []chat.Tool{aTool} },
	"tool_choice":         func(q *chat.Request) { q.Tools, q.ToolChoice = []chat.Tool{aTool}, chat.ToolChoice{Mode: "auto"} },
	"parallel_tool_calls": func(q *chat.Request) { q.Tools, q.ParallelTools = []chat.Tool{aTool}, new(false) },
	"response_format": func(q *chat.Request) {
		q.Format = chat.Format{Type: "json_schema", Name: "x", Schema: json.RawMessage(`{"type":"object","properties":{},"additionalProperties":false}`)}
	},
	"user":               func(q *chat.Request) { q.User = "u" },
	"service_tier":       func(q *chat.Request) { q.ServiceTier = "auto" },
	"reasoning_effort":   func(q *chat.Request) { q.Reasoning = chat.Reasoning{Effort: "low"} },
	"web_search_options": func(q *chat.Request) { q.WebSearch = json.RawMessage(`{}`) },
}

var aTool = chat.Tool{Name: "f", Parameters: json.RawMessage(`{"type":"object"}`)}

// Params lists OpenAI's parameters that reach a model of the provider, in chat completions, each asked by itself. One that
// cannot be said in its dialect does not.
func (p *Provider) Params(model string) []string {
	at, ok := p.Way(llm.Chat)
	if !ok {
		return []string{}
	}
	out, _ := OutboundOf(at)
	list := []string{}
	for _, name := range allParams {
		if set := asked[name]; set != nil && at != llm.Chat && !takes(out, model, name, set) || name == "stream_options" && p.NoStreamOptions || slices.Contains(p.Refuses, name) {
			continue
		}
		list = append(list, name)
	}
	return list
}

// allParams are those that are asked for, sorted.
var allParams = slices.Sorted(maps.Keys(asked))

// AllParams lists those that Params looks for, sorted. The list is the caller's.
func AllParams() []string { return slices.Clone(allParams) }

// takes says whether a dialect has words for a parameter.
func takes(out Outbound, model, name string, set func(*chat.Request)) bool {
	q := &chat.Request{Messages: []chat.Message{{Role: chat.RoleUser, Parts: []chat.Part{{Text: "x"}}}}, MaxTokens: 8192}
	set(q)
	t := &llm.Target{Model: model, MaxOutput: 8192}
	if _, err := out.EncodeRequest(q, t); err != nil {
		return false
	}
	return !slices.ContainsFunc(t.Dropped(), func(lost string) bool { return lost == name || strings.HasPrefix(lost, name+".") })
}
