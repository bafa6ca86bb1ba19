package anthropic

import (
	"cmp"

	"github.com/conclave-llm/conclave/llm/chat"
)

const (
	defaultMax = 4096 // tokens of output, where nobody says how many: Anthropic demands a number
	leastThink = 1024 // the smallest budget that Anthropic takes
)

// budgets are the tokens to think with for an effort, as LiteLLM has them up to "high".
var budgets = map[string]int64{
	"minimal": leastThink, "low": 1024, "medium": 2048, "high": 4096, "xhigh": 8192, "max": 16384,
}

// plan is how much the model shall think, and may say.
type plan struct {
	max     int64
	kind    string // "", "disabled", "enabled" or "adaptive"
	budget  int64
	display string
	effort  string
}

// on says whether the model thinks.
func (p *plan) on() bool { return p.kind == "enabled" || p.kind == "adaptive" }

// plan decides how much the model shall think. Where what else is asked rules thinking out, the
// rest of the request counts for more.
func (w *writer) plan() plan {
	q, g := w.req, w.req.Reasoning
	p := plan{max: cmp.Or(q.MaxTokens, w.t.MaxOutput, defaultMax)}
	switch {
	case !g.Asked() || g.Off() && !w.model.thinks:
		return p
	case g.Off():
		p.kind = "disabled"
		return p
	case !w.model.thinks, q.ToolChoice.Mode == "required", q.ToolChoice.Mode == "tool":
		w.t.Drop("reasoning_effort")
		return p
	case w.adaptive():
		p.kind, p.effort = "adaptive", w.effort()
	default:
		w.budget(&p)
	}
	if p.on() {
		p.display = display(g.Summary)
	}
	return p
}

// adaptive says whether the model shall decide itself how long it thinks.
func (w *writer) adaptive() bool {
	b := w.req.Reasoning.Budget
	return w.model.adaptive && (b == nil || *b < 0 || !w.model.budgets || w.req.Reasoning.Adaptive)
}

// effort is Anthropic's word for how hard the model shall try, "" for its own choice. A word that
// the model does not know is rounded up.
func (w *writer) effort() string {
	g := w.req.Reasoning
	switch {
	case g.Effort == "minimal":
		return "low"
	case g.Effort == "xhigh" && !w.model.xhigh:
		return "max"
	case g.Effort != "" || g.Budget == nil || *g.Budget < 0:
		return g.Effort
	case *g.Budget < 2*leastThink:
		return "low"
	case *g.Budget < 8*leastThink:
		return "medium"
	}
	return "high"
}

// budget gives the model tokens to think with, at most half of what it may say in all if the
// client bounds that.
func (w *writer) budget(p *plan) {
	g := w.req.Reasoning
	n := cmp.Or(budgets[g.Effort], budgets["medium"])
	if g.Budget != nil && *g.Budget > 0 {
		n = *g.Budget
	}
	n = max(n, leastThink)
	switch {
	case n < p.max && g.Budget != nil:
	case w.req.MaxTokens == 0 && w.t.MaxOutput == 0:
		p.max = max(p.max, n+defaultMax)
	default:
		n = min(n, p.max/2)
	}
	if n < leastThink || thoughtless(w.turns) {
		w.t.Drop("reasoning_effort")
		return
	}
	p.kind, p.budget = "enabled", n
}

// thoughtless says that the conversation stands in the middle of a turn with tools whose thoughts
// the client has lost. Anthropic does not go on thinking then, unless the model decides itself.
func thoughtless(turns []turn) bool {
	n := len(turns)
	if n < 2 || turns[n-1].user && !turns[n-1].results() {
		return false
	}
	last := &turns[n-1]
	if last.user {
		last = &turns[n-2]
	}
	return !last.user && len(last.parts) > 0 && last.parts[0].Type != chat.PartReasoning
}

// display is whether thoughts are shown.
func display(summary string) string {
	switch summary {
	case "":
		return ""
	case "none":
		return "omitted"
	}
	return "summarized"
}

// thinking writes the plan.
func (w *writer) thinking(p plan) {
	w.int("max_tokens", p.max)
	if p.kind != "" {
		w.key("thinking")
		w.out = append(w.out, '{')
		w.str("type", p.kind)
		if p.kind == "enabled" {
			w.int("budget_tokens", p.budget)
		}
		if p.display != "" {
			w.str("display", p.display)
		}
		w.out = append(w.out, '}')
	}
	w.outputConfig(p)
	w.sampling(p)
}

// outputConfig writes effort and form of the answer.
func (w *writer) outputConfig(p plan) {
	f := w.req.Format
	form := f.Type == "json_schema" && len(f.Schema) > 0 && w.model.structured
	if f.Type == "json_schema" && !form {
		w.t.Drop("response_format")
	}
	if !form && p.effort == "" {
		return
	}
	w.key("output_config")
	w.out = append(w.out, '{')
	if p.effort != "" {
		w.str("effort", p.effort)
	}
	if form {
		w.key("format")
		w.out = append(w.out, `{"type":"json_schema","schema":`...)
		w.out = AppendSchema(w.out, f.Schema)
		w.out = append(w.out, '}')
	}
	w.out = append(w.out, '}')
}

// sampling writes how tokens are drawn. A model that thinks draws them as it likes.
func (w *writer) sampling(p plan) {
	free := w.model.samples && !p.on()
	temperature := w.temperature(free)
	w.float("temperature", temperature)
	least := 0.0
	switch {
	case !w.model.samples:
		least = 0.99
	case p.on():
		least = 0.95
	}
	both := temperature != nil && !w.model.bothAtOnce
	if v := w.req.TopP; v != nil && (*v >= least && !both || w.t.Drop("top_p")) {
		w.float("top_p", v)
	}
	if v := w.req.TopK; v != nil && (free || w.t.Drop("top_k")) {
		w.int("top_k", *v)
	}
}

// temperature is the one that is sent, nil for none: at most 1, and 1 where the client may not
// choose.
func (w *writer) temperature(free bool) *float64 {
	v := w.req.Temperature
	if v == nil || *v == 1 || *v < 1 && free || w.t.Drop("temperature") {
		return v
	}
	if free {
		one := 1.0
		return &one
	}
	return nil
}
