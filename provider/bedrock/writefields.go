package bedrock

import (
	"encoding/json"
	"maps"
	"slices"
	"strconv"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/chat"
)

// fieldsName is the member that holds what one model alone understands.
const fieldsName = "additionalModelRequestFields"

// minBudget is the least that Claude thinks with.
const minBudget = 1024

// budgets are the tokens to think with, by effort.
var budgets = map[string]int64{"minimal": minBudget, "low": 1024, "medium": 2048, "high": 4096, "xhigh": 16384, "max": 32768}

// think says whether the model shall think, and can be told to.
func (w *writer) think() bool {
	g := w.q.Reasoning
	if !g.Asked() || g.Off() {
		return false
	}
	forced := w.q.ToolChoice.Mode == "required" || w.q.ToolChoice.Mode == "tool"
	if w.fam.thinks == thinksNot || w.fam.thinks == thinksClaude && (forced || w.conv.unreasoned() || !w.fits()) {
		w.t.Drop("reasoning_effort")
		return false
	}
	return true
}

// fits says whether there is room to think within the limit on output, which includes it.
func (w *writer) fits() bool {
	return w.adaptive() || w.fam.since(3, 7) && (w.q.MaxTokens == 0 || w.q.MaxTokens > minBudget)
}

// adaptive says whether Claude decides itself how long it thinks: it can since 4.6, and does
// nothing else since 4.7.
func (w *writer) adaptive() bool {
	g := w.q.Reasoning
	return w.fam.since(4, 7) || w.fam.since(4, 6) && (g.Adaptive || g.Budget == nil || *g.Budget < 0)
}

// fields writes what the model alone understands.
func (w *writer) fields(think bool) {
	b := []byte{'{'}
	if think {
		b = w.appendThinking(b)
	}
	if k := w.q.TopK; k != nil && *k > 0 {
		b = w.appendTopK(b, *k, think)
	}
	if given := w.q.Extra[fieldsName]; given != nil {
		c := llm.NewCursor(given)
		for n := 0; c.Member(n); n++ {
			b = append(llm.AppendString(llm.AppendComma(b), string(c.Name())), ':')
			b = llm.AppendRaw(b, c.Raw())
		}
	}
	if len(b) > 1 {
		w.key(fieldsName)
		w.b = append(append(w.b, b...), '}')
	}
}

func (w *writer) appendThinking(b []byte) []byte {
	switch w.fam.thinks {
	case thinksEffort:
		return llm.AppendString(llm.AppendKey(b, "reasoning_effort"), step(w.q.Reasoning))
	case thinksNova:
		b = append(b, `"reasoningConfig":{"type":"enabled","maxReasoningEffort":"`...)
		b = append(b, step(w.q.Reasoning)...)
		return append(b, `"}`...)
	}
	if w.adaptive() {
		b = append(b, `"thinking":{"type":"adaptive"}`...)
		if e := w.effort(); e != "" {
			b = append(b, `,"output_config":{"effort":"`...)
			b = append(b, e...)
			b = append(b, `"}`...)
		}
		return b
	}
	b = append(b, `"thinking":{"type":"enabled","budget_tokens":`...)
	b = strconv.AppendInt(b, w.budget(), 10)
	return append(b, '}')
}

// budget is how many tokens Claude thinks with, which must be fewer than it may write.
func (w *writer) budget() int64 {
	g, n := w.q.Reasoning, budgets["medium"]
	if v, ok := budgets[g.Effort]; ok {
		n = v
	}
	if g.Budget != nil && *g.Budget > 0 {
		n = *g.Budget
	}
	if w.q.MaxTokens > 0 {
		n = min(n, w.q.MaxTokens-1)
	}
	return max(n, minBudget)
}

// effort is Claude's word for how much it thinks, "" if it is not said.
func (w *writer) effort() string {
	g := w.q.Reasoning
	switch g.Effort {
	case "":
		if g.Budget == nil || *g.Budget <= 0 {
			return ""
		}
		return step(g)
	case "minimal":
		return "low"
	case "xhigh":
		if !w.fam.since(4, 7) {
			return "max"
		}
	}
	return g.Effort
}

// step is one of low, medium and high.
func step(g chat.Reasoning) string {
	switch g.Effort {
	case "minimal", "low":
		return "low"
	case "high", "xhigh", "max":
		return "high"
	case "":
		if g.Budget != nil && *g.Budget >= 4096 {
			return "high"
		}
		if g.Budget != nil && *g.Budget > 0 && *g.Budget < 2048 {
			return "low"
		}
	}
	return "medium"
}

func (w *writer) appendTopK(b []byte, k int64, think bool) []byte {
	f := w.fam
	if f.topK == "" || f.name == "claude" && (think || f.since(4, 7)) {
		w.t.Drop("top_k")
		return b
	}
	if f.topK == "inferenceConfig" {
		b = append(llm.AppendKey(b, f.topK), `{"topK":`...)
		return append(strconv.AppendInt(b, k, 10), '}')
	}
	return strconv.AppendInt(llm.AppendKey(b, f.topK), k, 10)
}

// ownMembers are the members at the top that clients of other dialects may send too, and mean
// Bedrock's.
var ownMembers = []string{"additionalModelResponseFieldPaths", "guardrailConfig", "performanceConfig", "promptVariables"}

// extra writes members at the top that stand for themselves.
func (w *writer) extra() {
	for _, name := range ownMembers {
		if v := w.q.Extra[name]; v != nil {
			w.key(name)
			w.b = llm.AppendRaw(w.b, v)
		}
	}
	switch tier := w.q.ServiceTier; tier {
	case "":
	case "default", "flex", "priority", "reserved":
		w.key("serviceTier")
		w.b = append(w.b, `{"type":"`+tier+`"}`...)
	case "auto", "standard":
	default:
		w.t.Drop("service_tier")
	}
	if w.q.Metadata != nil {
		w.metadata()
	}
}

// metadata writes what Bedrock logs beside a request, if it is what it takes: short texts.
func (w *writer) metadata() {
	var m map[string]string
	if json.Unmarshal(w.q.Metadata, &m) != nil || len(m) > 16 {
		w.t.Drop("metadata")
		return
	}
	for k, v := range m {
		if k == "" || !plain(k) || !plain(v) {
			w.t.Drop("metadata")
			return
		}
	}
	if len(m) > 0 {
		w.key("requestMetadata")
		w.b = llm.AppendRaw(w.b, w.q.Metadata)
	}
}

// plain says whether Bedrock takes the text in metadata.
func plain(s string) bool {
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && !slices.Contains([]byte(" \t\n\r:_@$#=/+,-."), c) {
			return false
		}
	}
	return len(s) <= 256
}

// drop names what Converse has no words for.
func (w *writer) drop() {
	q := w.q
	for _, v := range []struct {
		name string
		said bool
	}{
		{"n", q.N > 1},
		{"min_p", q.MinP != nil},
		{"frequency_penalty", q.FrequencyPenalty != nil && *q.FrequencyPenalty != 0},
		{"presence_penalty", q.PresencePenalty != nil && *q.PresencePenalty != 0},
		{"seed", q.Seed != nil},
		{"logprobs", q.LogProbs},
		{"top_logprobs", q.TopLogProbs > 0},
		{"logit_bias", q.LogitBias != nil},
		{"parallel_tool_calls", q.ParallelTools != nil && !*q.ParallelTools},
		{"modalities", slices.ContainsFunc(q.Modalities, func(m string) bool { return m != "text" })},
		{"audio", q.Audio != nil},
		{"prediction", q.Prediction != nil},
		{"web_search_options", q.WebSearch != nil},
		{"verbosity", q.Verbosity != ""},
		{"user", q.User != ""},
		{"prompt_cache_key", q.CacheKey != ""},
	} {
		if v.said {
			w.t.Drop(v.name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(q.Extra)) {
		if name != fieldsName && !slices.Contains(ownMembers, name) {
			w.t.Drop(name)
		}
	}
}
