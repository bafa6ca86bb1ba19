package gemini

import (
	"encoding/json"
	"errors"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/chat"
	"github.com/conclave-llm/conclave/provider/gemini/schema"
)

// maxStops is how many stop sequences Google takes.
const maxStops = 5

// requestWriter writes one request.
type requestWriter struct {
	writer
	req   *chat.Request
	t     *llm.Target
	names map[string]string // of the tools that were called, by the call's id
}

// EncodeRequest implements provider.Outbound.
func (Dialect) EncodeRequest(req *chat.Request, t *llm.Target) ([]byte, error) {
	w := &requestWriter{req: req, t: t}
	w.out = make([]byte, 0, req.SizeHint())
	w.open('{')
	if err := w.turns(); err != nil {
		return nil, err
	}
	if err := w.tools(); err != nil {
		return nil, err
	}
	if err := w.config(); err != nil {
		return nil, err
	}
	w.rest()
	w.close('}')
	return w.out, nil
}

// config writes generationConfig.
func (w *requestWriter) config() error {
	before := len(w.out)
	w.member("generationConfig")
	w.open('{')
	r, start := w.req, len(w.out)
	if r.MaxTokens > 0 {
		w.member("maxOutputTokens").integer(min(r.MaxTokens, math.MaxInt32))
	}
	w.optional("temperature", r.Temperature)
	w.optional("topP", r.TopP)
	w.optional("presencePenalty", r.PresencePenalty)
	w.optional("frequencyPenalty", r.FrequencyPenalty)
	if r.TopK != nil {
		w.member("topK").integer(*r.TopK)
	}
	if r.N > 1 {
		w.member("candidateCount").integer(r.N)
	}
	w.seed()
	w.stops()
	if r.LogProbs {
		w.member("responseLogprobs").raw("true")
		if r.TopLogProbs > 0 {
			w.member("logprobs").integer(r.TopLogProbs)
		}
	}
	w.thinking(r.Reasoning)
	if err := w.output(); err != nil {
		return err
	}
	w.configExtra()
	if len(w.out) == start {
		w.out, w.first = w.out[:before], false
		return nil
	}
	w.close('}')
	return nil
}

func (w *requestWriter) seed() {
	switch s := w.req.Seed; {
	case s == nil:
	case *s < math.MinInt32 || *s > math.MaxInt32:
		w.t.Drop("seed")
	default:
		w.member("seed").integer(*s)
	}
}

func (w *requestWriter) stops() {
	var list []string
	for _, s := range w.req.Stop {
		if s != "" {
			list = append(list, s)
		}
	}
	if len(list) > maxStops && !w.t.Drop("stop") {
		list = list[:maxStops]
	}
	if len(list) == 0 {
		return
	}
	w.member("stopSequences")
	w.open('[')
	for _, s := range list {
		w.sep()
		w.str(s)
	}
	w.close(']')
}

// output writes what the answer must look like.
func (w *requestWriter) output() error {
	w.modalities()
	if err := w.speech(); err != nil {
		return err
	}
	switch f := w.req.Format; {
	case f.Type != "json_object" && f.Type != "json_schema":
	case w.formless():
		w.t.Drop("response_format") // it is asked for in words
	default:
		w.member("responseMimeType").str("application/json")
		if f.Type == "json_schema" && given(f.Schema) {
			return w.schema("responseSchema", "responseJsonSchema", f.Schema, true, "response_format.json_schema.schema")
		}
	}
	return nil
}

// formless says that Google would refuse the form of the answer beside the functions.
func (w *requestWriter) formless() bool {
	return generation(w.t.Model) < 30 && slices.ContainsFunc(w.req.Tools, func(t chat.Tool) bool { return t.Kind == "" })
}

// schema writes a schema as Google's own where that can say it, else as JSON schema.
func (w *requestWriter) schema(own, other string, raw json.RawMessage, ordered bool, param string) error {
	said, err := schema.Append(nil, raw, ordered)
	switch {
	case errors.Is(err, schema.ErrRecursive):
		w.member(other).json(raw)
	case err != nil:
		return llm.Unsayable(param, "The schema in "+param+" cannot be used: "+err.Error()+".")
	default:
		w.member(own).json(said)
	}
	return nil
}

// modalities writes what kinds of output are wanted. Models that speak do nothing else.
func (w *requestWriter) modalities() {
	list := w.req.Modalities
	if slices.Contains(list, "audio") {
		list = []string{"audio"}
	}
	if len(list) == 0 || len(list) == 1 && list[0] == "text" {
		return
	}
	w.member("responseModalities")
	w.open('[')
	for _, m := range list {
		w.sep()
		w.str(strings.ToUpper(m))
	}
	w.close(']')
}

func (w *requestWriter) speech() error {
	if !given(w.req.Audio) {
		return nil
	}
	var a struct {
		Voice  json.RawMessage `json:"voice"`
		Format string          `json:"format"`
	}
	if err := json.Unmarshal(w.req.Audio, &a); err != nil {
		return invalid("audio", "audio must be an object with voice and format.")
	}
	if a.Format != "" && a.Format != "pcm16" {
		return llm.Unsayable("audio.format", "The model speaks in pcm16 only, not in "+strconv.Quote(a.Format)+".")
	}
	if voice := unquote(a.Voice); voice != "" {
		w.member("speechConfig").raw(`{"voiceConfig":{"prebuiltVoiceConfig":{"voiceName":`)
		w.str(voice)
		w.raw("}}}")
	}
	return nil
}

// configExtra writes what a client in Google's dialect put into generationConfig beside that.
func (w *requestWriter) configExtra() {
	var extra map[string]json.RawMessage
	if json.Unmarshal(w.req.Extra[extraConfig], &extra) != nil {
		return
	}
	for _, name := range sortedKeys(extra) {
		w.sep()
		w.out = append(llm.AppendString(w.out, name), ':')
		w.json(extra[name])
	}
}

// tiers are the tiers of service by OpenAI's names.
var tiers = map[string]string{"default": "standard", "flex": "flex", "priority": "priority"}

// rest writes what stands at the top beside the turns, tools and generationConfig, and names what
// has no place.
func (w *requestWriter) rest() {
	r := w.req
	if tier := tiers[r.ServiceTier]; tier != "" && !onVertex(w.t) {
		w.member("serviceTier").str(tier)
	} else if r.ServiceTier != "" && r.ServiceTier != "auto" {
		w.t.Drop("service_tier")
	}
	for _, d := range []struct {
		is   bool
		name string
	}{
		{r.MinP != nil, "min_p"},
		{given(r.LogitBias), "logit_bias"},
		{chat.AnyStrict(r.Tools), "tools.strict"},
		{r.ParallelTools != nil && !*r.ParallelTools && len(r.Tools) > 0, "parallel_tool_calls"},
		{given(r.Prediction), "prediction"},
		{r.Verbosity != "", "verbosity"},
		{r.User != "", "user"},
		{r.CacheKey != "", "prompt_cache_key"},
		{given(r.Metadata), "metadata"},
		{given(r.CacheControl), "cache_control"},
	} {
		if d.is {
			w.t.Drop(d.name)
		}
	}
	w.extra()
}

// extra writes Google's own members, in either spelling, and names the others as dropped.
func (w *requestWriter) extra() {
	for _, name := range sortedKeys(w.req.Extra) {
		google := schema.CamelCase(name)
		switch {
		case google == extraConfig || google == extraTools:
		case slices.Contains(passed, google):
			w.member(google).json(w.req.Extra[name])
		case w.t.Drop(name):
			w.sep()
			w.out = append(llm.AppendString(w.out, name), ':')
			w.json(w.req.Extra[name])
		}
	}
}
