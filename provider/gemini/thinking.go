package gemini

import (
	"strings"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/chat"
)

// generation is the generation of a model by its name, in tenths: 25 is Gemini 2.5. Names that
// tell none, such as aliases of the latest model and tuned models, are 30.
func generation(model string) int {
	if i := strings.LastIndexByte(model, '/'); i >= 0 {
		model = model[i+1:]
	}
	if strings.HasPrefix(model, "gemma") || strings.HasPrefix(model, "learnlm") {
		return 20
	}
	rest, ok := strings.CutPrefix(model, "gemini-")
	if !ok || rest == "" || rest[0] < '0' || rest[0] > '9' {
		return 30
	}
	n := int(rest[0]-'0') * 10
	if len(rest) > 2 && rest[1] == '.' && rest[2] >= '0' && rest[2] <= '9' {
		n += int(rest[2] - '0')
	}
	return n
}

// budgets are what Google's own OpenAI endpoint takes for each effort, in tokens.
var budgets = map[string]int64{"minimal": 1024, "low": 1024, "medium": 8192, "high": 24576, "xhigh": 24576, "max": 24576}

// levels are the efforts of Gemini 3 and later, which cannot be switched off.
var levels = map[string]string{"none": "MINIMAL", "minimal": "MINIMAL", "low": "LOW", "medium": "MEDIUM", "high": "HIGH", "xhigh": "HIGH", "max": "HIGH"}

// thinking writes thinkingConfig.
func (w *requestWriter) thinking(r chat.Reasoning) { //nolint:gocyclo // one table of cases
	show := r.Asked() && !r.Off() && r.Summary != "none" || !r.Asked() && r.Summary != "" && r.Summary != "none"
	if !r.Asked() && !show {
		return
	}
	gen := generation(w.t.Model)
	if gen < 25 {
		if r.Asked() && !r.Off() {
			w.t.Drop("reasoning_effort")
		}
		return
	}
	w.member("thinkingConfig")
	w.open('{')
	if show {
		w.member("includeThoughts").raw("true")
	}
	switch {
	case r.Budget != nil:
		w.member("thinkingBudget").integer(clampBudget(w.t.Model, *r.Budget))
	case r.Effort == "":
	case gen >= 30:
		w.member("thinkingLevel").str(level(w.t.Model, r.Effort))
	case r.Effort == "none":
		w.member("thinkingBudget").integer(clampBudget(w.t.Model, 0))
	default:
		w.member("thinkingBudget").integer(clampBudget(w.t.Model, budgets[r.Effort]))
	}
	w.close('}')
}

// level is the level for an effort; the pro models know no minimal one.
func level(model, effort string) string {
	l, ok := levels[effort]
	switch {
	case !ok:
		return "HIGH"
	case l == "MINIMAL" && strings.Contains(model, "pro"):
		return "LOW"
	}
	return l
}

// clampBudget brings a budget within what the models of the generation 2.5 take: pro models think
// with 128 tokens at least and 32,768 at most, the others with 24,576 at most, and flash-lite with
// 512 at least if at all. -1 leaves it to the model.
func clampBudget(model string, n int64) int64 {
	if generation(model) != 25 || n < 0 {
		return max(n, -1)
	}
	switch {
	case strings.Contains(model, "pro"):
		return min(max(n, 128), 32768)
	case strings.Contains(model, "lite") && n > 0:
		return min(max(n, 512), 24576)
	}
	return min(n, 24576)
}

// onVertex says whether the request goes to Vertex, whose calls have no ids.
func onVertex(t *llm.Target) bool {
	return t.Options["project"] != "" || t.Options["location"] != ""
}
