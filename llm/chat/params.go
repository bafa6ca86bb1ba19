package chat

// TakeOut takes a parameter out of the request by the name that OpenAI's chat completions have for it, and says whether it
// was there.
func (q *Request) TakeOut(name string) bool {
	switch name {
	case "top_k":
		return takeOut(&q.TopK)
	case "min_p":
		return takeOut(&q.MinP)
	case "frequency_penalty":
		return takeOut(&q.FrequencyPenalty)
	case "presence_penalty":
		return takeOut(&q.PresencePenalty)
	case "seed":
		return takeOut(&q.Seed)
	case "parallel_tool_calls":
		return takeOut(&q.ParallelTools)
	case "logprobs":
		return takeOut(&q.LogProbs)
	case "top_logprobs":
		return takeOut(&q.TopLogProbs)
	case "n":
		return takeOut(&q.N)
	case "user":
		return takeOut(&q.User)
	case "service_tier":
		return takeOut(&q.ServiceTier)
	case "prompt_cache_key":
		return takeOut(&q.CacheKey)
	case "verbosity":
		return takeOut(&q.Verbosity)
	case "reasoning_effort":
		had := q.Reasoning.Effort != "" || q.Reasoning.Budget != nil && *q.Reasoning.Budget > 0
		q.Reasoning.Effort, q.Reasoning.Budget = "", nil
		return had
	}
	return q.takeOutRaw(name)
}

// takeOutRaw is TakeOut for what the request holds as JSON.
func (q *Request) takeOutRaw(name string) (had bool) {
	switch name {
	case "logit_bias":
		had, q.LogitBias = q.LogitBias != nil, nil
	case "metadata":
		had, q.Metadata = q.Metadata != nil, nil
	case "prediction":
		had, q.Prediction = q.Prediction != nil, nil
	case "web_search_options":
		had, q.WebSearch = q.WebSearch != nil, nil
	case "audio":
		had, q.Audio = q.Audio != nil, nil
	case "modalities":
		had, q.Modalities = q.Modalities != nil, nil
	case "stop":
		had, q.Stop = q.Stop != nil, nil
	}
	return had
}

func takeOut[T comparable](v *T) bool {
	var none T
	had := *v != none
	*v = none
	return had
}
