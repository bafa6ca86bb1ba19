package chat

// TakeOut takes a parameter out of the request by the name that OpenAI's chat completions have for it, and says whether it
// was there.
func (q *Request) TakeOut(name string) bool {
	f := takeOut[name]
	return f != nil && f(q)
}

// takeOut is TakeOut of each parameter.
var takeOut = map[string]func(q *Request) bool{
	"top_k":               func(q *Request) bool { return zero(&q.TopK) },
	"min_p":               func(q *Request) bool { return zero(&q.MinP) },
	"frequency_penalty":   func(q *Request) bool { return zero(&q.FrequencyPenalty) },
	"presence_penalty":    func(q *Request) bool { return zero(&q.PresencePenalty) },
	"seed":                func(q *Request) bool { return zero(&q.Seed) },
	"parallel_tool_calls": func(q *Request) bool { return zero(&q.ParallelTools) },
	"logprobs":            func(q *Request) bool { return zero(&q.LogProbs) },
	"top_logprobs":        func(q *Request) bool { return zero(&q.TopLogProbs) },
	"n":                   func(q *Request) bool { return zero(&q.N) },
	"user":                func(q *Request) bool { return zero(&q.User) },
	"service_tier":        func(q *Request) bool { return zero(&q.ServiceTier) },
	"prompt_cache_key":    func(q *Request) bool { return zero(&q.CacheKey) },
	"verbosity":           func(q *Request) bool { return zero(&q.Verbosity) },
	"reasoning_effort": func(q *Request) bool {
		budget := q.Reasoning.Budget != nil && *q.Reasoning.Budget > 0
		q.Reasoning.Budget = nil
		return zero(&q.Reasoning.Effort) || budget
	},
	"logit_bias":         func(q *Request) bool { return none(&q.LogitBias) },
	"metadata":           func(q *Request) bool { return none(&q.Metadata) },
	"prediction":         func(q *Request) bool { return none(&q.Prediction) },
	"web_search_options": func(q *Request) bool { return none(&q.WebSearch) },
	"audio":              func(q *Request) bool { return none(&q.Audio) },
	"modalities":         func(q *Request) bool { return none(&q.Modalities) },
	"stop":               func(q *Request) bool { return none(&q.Stop) },
}

// zero clears a value, and says whether it was anything else.
func zero[T comparable](v *T) bool {
	var nothing T
	had := *v != nothing
	*v = nothing
	return had
}

// none is zero for lists.
func none[L ~[]E, E any](list *L) bool {
	had := *list != nil
	*list = nil
	return had
}
