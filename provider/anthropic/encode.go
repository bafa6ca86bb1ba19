package anthropic

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/chat"
)

// EncodeRequest writes a request for a provider.
func (Format) EncodeRequest(req *chat.Request, t *llm.Target) ([]byte, error) {
	w := writer{req: req, t: t, model: modelOf(t.Model)}
	w.turns, w.system = turnsOf(req.Messages)
	w.askJSON()
	if err := w.check(); err != nil {
		return nil, err
	}
	w.nameCalls()
	w.lost()
	w.out = append(make([]byte, 0, req.SizeHint()), '{')
	w.str("model", t.Model)
	w.thinking(w.plan())
	if req.Stream {
		w.raw("stream", []byte("true"))
	}
	w.conversation()
	w.tools()
	w.settings()
	w.unknown()
	w.out = append(w.out, '}')
	if w.err == nil {
		w.err = t.Err()
	}
	if w.err != nil {
		return nil, w.err
	}
	return w.out, nil
}

// askJSON asks in words for the form of an answer that Anthropic cannot be bound to: any JSON object, and a schema where the
// model is too old for one.
func (w *writer) askJSON() {
	f := &w.req.Format
	if words := f.InWords(); words != "" && (f.Type == "json_object" || !w.model.structured) {
		w.system = append(w.system, chat.Part{Text: words})
	}
}

// writer writes a request.
type writer struct {
	out    []byte
	req    *chat.Request
	t      *llm.Target
	model  model
	turns  []turn
	system []chat.Part
	err    error // the first thing that cannot be said
}

// check refuses what cannot be said at all.
func (w *writer) check() error {
	for _, m := range w.req.Modalities {
		if m != "text" {
			return llm.Unsayable("modalities", "The model "+strconv.Quote(w.t.Model)+" answers in text only.")
		}
	}
	if len(w.turns) == 0 {
		return &llm.Error{Kind: llm.Invalid, Code: "invalid_value", Param: "messages", Message: "At least one message with content is needed."}
	}
	return nil
}

// lost names what is left out of messages.
func (w *writer) lost() {
	for i := range w.req.Messages {
		m := &w.req.Messages[i]
		if m.Name != "" {
			w.t.Drop("messages.name")
		}
		for k := range m.Parts {
			if m.Parts[k].Type == chat.PartOther && m.Parts[k].Origin != origin {
				w.t.Drop("messages.content")
			}
		}
	}
}

func (w *writer) key(name string)           { w.out = llm.AppendKey(w.out, name) }
func (w *writer) str(name, v string)        { w.key(name); w.out = llm.AppendString(w.out, v) }
func (w *writer) raw(name string, v []byte) { w.key(name); w.out = llm.AppendRaw(w.out, v) }

func (w *writer) int(name string, n int64) {
	w.key(name)
	w.out = strconv.AppendInt(w.out, n, 10)
}

func (w *writer) float(name string, f *float64) {
	if f != nil {
		w.key(name)
		w.out = strconv.AppendFloat(w.out, *f, 'g', -1, 64)
	}
}

// cache writes a mark up to which is cached.
func (w *writer) cache(mark []byte) {
	if len(mark) > 0 {
		w.raw("cache_control", mark)
	}
}

// settings writes what is asked beside the conversation, and drops what Anthropic has no word for.
func (w *writer) settings() {
	q := w.req
	w.stop()
	w.user()
	switch q.ServiceTier {
	case "", "standard":
	case "auto", "priority":
		w.str("service_tier", "auto")
	case "default":
		w.str("service_tier", "standard_only")
	default:
		w.t.Drop("service_tier")
	}
	w.cache(q.CacheControl)
	w.drop("n", q.N > 1, strconv.FormatInt(q.N, 10))
	w.dropFloat("frequency_penalty", q.FrequencyPenalty)
	w.dropFloat("presence_penalty", q.PresencePenalty)
	w.dropFloat("min_p", q.MinP)
	if q.Seed != nil {
		w.drop("seed", true, strconv.FormatInt(*q.Seed, 10))
	}
	w.drop("logprobs", q.LogProbs, "true")
	w.drop("top_logprobs", q.TopLogProbs > 0, strconv.FormatInt(q.TopLogProbs, 10))
	w.drop("logit_bias", len(q.LogitBias) > 0, string(q.LogitBias))
	w.drop("audio", len(q.Audio) > 0, string(q.Audio))
	w.drop("prediction", len(q.Prediction) > 0, string(q.Prediction))
	w.drop("verbosity", q.Verbosity != "", string(llm.AppendString(nil, q.Verbosity)))
	w.drop("prompt_cache_key", q.CacheKey != "", string(llm.AppendString(nil, q.CacheKey)))
	if len(q.Metadata) > 2 && q.User != "" {
		w.t.Drop("metadata") // its place is the user's
	}
	w.drop("metadata", len(q.Metadata) > 2 && q.User == "", string(q.Metadata))
}

// drop leaves a parameter out if it is given, unless the policy is to pass it on.
func (w *writer) drop(name string, given bool, value string) {
	if given && w.t.Drop(name) {
		w.raw(name, []byte(value))
	}
}

func (w *writer) dropFloat(name string, f *float64) {
	if f != nil && *f != 0 && w.t.Drop(name) {
		w.float(name, f)
	}
}

// stop writes the stop sequences. Anthropic takes none that are white space alone.
func (w *writer) stop() {
	some := false
	for _, s := range w.req.Stop {
		if strings.TrimSpace(s) == "" {
			w.t.Drop("stop")
			continue
		}
		if !some {
			w.key("stop_sequences")
			w.out = append(w.out, '[')
			some = true
		}
		w.out = llm.AppendString(llm.AppendComma(w.out), s)
	}
	if some {
		w.out = append(w.out, ']')
	}
}

// user names the end user, whose id must not be an address.
func (w *writer) user() {
	switch u := w.req.User; {
	case u == "":
	case strings.Contains(u, "@") && !strings.HasPrefix(u, "{"):
		w.t.Drop("user")
	default:
		w.key("metadata")
		w.out = append(w.out, '{')
		w.str("user_id", u)
		w.out = append(w.out, '}')
	}
}

// own are the members that clients of other dialects send for Anthropic alone.
var own = map[string]bool{
	"container": true, "context_management": true, "mcp_servers": true, "inference_geo": true, "speed": true,
	"diagnostics": true, "user_profile_id": true, "anthropic_beta": true, "anthropic_version": true,
}

// unknown writes the members that the client's dialect does not know.
func (w *writer) unknown() {
	for _, name := range slices.Sorted(maps.Keys(w.req.Extra)) {
		raw := w.req.Extra[name]
		mine := own[name] || name == "thinking" && !w.req.Reasoning.Asked()
		if mine || w.t.Drop(name) && !llm.Has(append(slices.Clone(w.out), '}'), name) {
			w.raw(name, raw)
		}
	}
}
