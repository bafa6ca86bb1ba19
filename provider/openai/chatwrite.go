package openai

import (
	"cmp"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/chat"
)

// EncodeRequest writes a request for a chat completion.
func (Chat) EncodeRequest(q *chat.Request, t *llm.Target) ([]byte, error) {
	w := writer{q: q, t: t, b: make([]byte, 0, q.SizeHint())}
	w.b = append(w.b, '{')
	w.text("model", cmp.Or(t.Model, q.Model))
	if err := w.messages(q.Messages); err != nil {
		return nil, err
	}
	w.limit(chatLimit(cmp.Or(t.Model, q.Model)))
	w.sampling()
	w.integer("n", q.N)
	if q.LogProbs || q.TopLogProbs > 0 { // which needs it
		w.raw("logprobs", []byte("true"))
	}
	w.integer("top_logprobs", q.TopLogProbs)
	w.tools()
	w.toolChoice()
	w.format()
	w.effort()
	w.strings("modalities", q.Modalities)
	w.member("audio", q.Audio)
	w.member("web_search_options", q.WebSearch)
	w.member("prediction", q.Prediction)
	w.text("verbosity", q.Verbosity)
	w.common()
	w.extra(chatExtra)
	if q.Stream {
		w.raw("stream", []byte("true"))
		if !t.NoStreamOptions {
			w.raw("stream_options", []byte(`{"include_usage":true}`))
		}
	}
	w.b = append(w.b, '}')
	return w.b, t.Err()
}

// chatExtra are members at the top that clients of OpenAI's other dialects send, and those of the
// servers that people run themselves, which mean in a chat completion what they mean there.
var chatExtra = map[string]bool{
	"safety_identifier": true, "prompt_cache_retention": true, "repetition_penalty": true, "min_tokens": true,
	"length_penalty": true, "typical_p": true, "ignore_eos": true, "skip_special_tokens": true, "stop_token_ids": true,
	"chat_template": true, "chat_template_kwargs": true, "guided_json": true, "guided_regex": true, "guided_choice": true,
	"guided_grammar": true, "structured_outputs": true, "include_stop_str_in_output": true, "spaces_between_special_tokens": true,
	"add_generation_prompt": true, "continue_final_message": true, "cache_prompt": true, "grammar": true, "mirostat": true,
}

// writer writes a request in one of OpenAI's dialects.
type writer struct {
	q *chat.Request
	t *llm.Target
	b []byte
	// later is what results of tools hold beside texts, for the next message of the user.
	later []chat.Part
}

func (w *writer) key(name string) { w.b = llm.AppendKey(w.b, name) }

// text writes a string that is not empty.
func (w *writer) text(name, v string) {
	if v != "" {
		w.key(name)
		w.b = llm.AppendString(w.b, v)
	}
}

// address writes the address of media, which is a data URL if they are data.
func (w *writer) address(name string, m *chat.Media, or string) {
	if m.Data == "" {
		w.text(name, m.URL)
		return
	}
	w.key(name)
	w.b = appendDataURL(w.b, m, or)
}

func (w *writer) raw(name string, v []byte) {
	w.key(name)
	w.b = llm.AppendRaw(w.b, v)
}

// member writes a value that is there.
func (w *writer) member(name string, v json.RawMessage) {
	if len(v) > 0 {
		w.raw(name, v)
	}
}

// integer writes a number above 0.
func (w *writer) integer(name string, n int64) {
	if n > 0 {
		w.key(name)
		w.b = strconv.AppendInt(w.b, n, 10)
	}
}

func (w *writer) float(name string, v *float64) {
	if v != nil {
		w.key(name)
		w.b = strconv.AppendFloat(w.b, *v, 'g', -1, 64)
	}
}

func (w *writer) boolean(name string, v *bool) {
	if v != nil {
		w.key(name)
		w.b = strconv.AppendBool(w.b, *v)
	}
}

// strings writes a list that is not empty.
func (w *writer) strings(name string, list []string) {
	if len(list) == 0 {
		return
	}
	w.key(name)
	w.b = append(w.b, '[')
	for _, s := range list {
		w.b = llm.AppendString(llm.AppendComma(w.b), s)
	}
	w.b = append(w.b, ']')
}

// reasons says whether a model of this name is one of OpenAI's that reason: o1, o3, o4-mini,
// gpt-5 and later.
func reasons(model string) bool {
	name := model[strings.LastIndexByte(model, '/')+1:]
	if len(name) > 1 && name[0] == 'o' && name[1] >= '1' && name[1] <= '9' {
		return true
	}
	rest, ok := strings.CutPrefix(name, "gpt-")
	return ok && len(rest) > 0 && rest[0] >= '5' && rest[0] <= '9' && !strings.HasPrefix(rest[1:], "-chat")
}

// chatLimit is the name of the limit on output: OpenAI's models that reason do not take
// max_tokens, most others' do not know max_completion_tokens.
func chatLimit(model string) string {
	if reasons(model) {
		return "max_completion_tokens"
	}
	return "max_tokens"
}

// limit writes the limit on output.
func (w *writer) limit(name string) {
	if w.t.MaxTokensName != "" {
		name = w.t.MaxTokensName
	}
	w.integer(name, w.q.MaxTokens)
}

// sampling writes what all dialects of completions have.
func (w *writer) sampling() {
	q := w.q
	w.float("temperature", q.Temperature)
	w.float("top_p", q.TopP)
	if q.TopK != nil && (*q.TopK > 0 || *q.TopK == -1) {
		w.key("top_k")
		w.b = strconv.AppendInt(w.b, *q.TopK, 10)
	}
	w.float("min_p", q.MinP)
	w.float("frequency_penalty", q.FrequencyPenalty)
	w.float("presence_penalty", q.PresencePenalty)
	w.strings("stop", q.Stop)
	if q.Seed != nil {
		w.key(cmp.Or(w.t.SeedName, "seed"))
		w.b = strconv.AppendInt(w.b, *q.Seed, 10)
	}
	w.member("logit_bias", q.LogitBias)
}

// common writes who asks and how.
func (w *writer) common() {
	q := w.q
	w.text("user", q.User)
	w.text("service_tier", q.ServiceTier)
	w.text("prompt_cache_key", q.CacheKey)
	w.member("metadata", q.Metadata)
	if q.CacheControl != nil && w.t.Drop("cache_control") {
		w.member("cache_control", q.CacheControl)
	}
}

// extra writes the members at the top that the reader did not know, in order: those that are
// known here, the others by policy.
func (w *writer) extra(known map[string]bool) {
	for _, name := range slices.Sorted(maps.Keys(w.q.Extra)) {
		if known[name] || w.t.Drop(name) {
			w.b = append(llm.AppendString(llm.AppendComma(w.b), name), ':')
			w.b = llm.AppendRaw(w.b, w.q.Extra[name])
		}
	}
}

// tools writes the tools, of which those of another vendor's own are left out.
func (w *writer) tools() {
	start := len(w.b)
	w.key("tools")
	w.b = append(w.b, '[')
	n := 0
	for i := range w.q.Tools {
		tool := &w.q.Tools[i]
		switch {
		case tool.Kind == "" && tool.Raw == nil:
			w.b = llm.AppendComma(w.b)
			w.function(tool)
		case tool.Kind == "":
			w.b = llm.AppendComma(w.b)
			w.custom(tool)
		case tool.Origin == originChat || w.t.Drop("tools."+tool.Kind):
			w.b = llm.AppendRaw(llm.AppendComma(w.b), tool.Raw)
		default:
			continue
		}
		n++
	}
	if n == 0 {
		w.b = w.b[:start]
		return
	}
	w.b = append(w.b, ']')
	w.boolean("parallel_tool_calls", w.q.ParallelTools)
}

// function writes a tool that is a function.
func (w *writer) function(t *chat.Tool) {
	w.b = append(w.b, `{"type":"function","function":{`...)
	w.functionMembers(t)
	w.b = append(w.b, '}')
	if t.CacheControl != nil && w.t.Drop("cache_control") {
		w.member("cache_control", t.CacheControl)
	}
	w.b = append(w.b, '}')
}

func (w *writer) functionMembers(t *chat.Tool) {
	w.text("name", t.Name)
	w.text("description", t.Description)
	w.member("parameters", t.Parameters)
	w.boolean("strict", t.Strict)
}

// custom writes a tool that takes a text.
func (w *writer) custom(t *chat.Tool) {
	w.b = append(w.b, `{"type":"custom","custom":{`...)
	w.text("name", t.Name)
	w.text("description", t.Description)
	w.member("format", chatGrammar(customFormat(t.Raw)))
	w.b = append(w.b, "}}"...)
}

// customFormat finds the format of a custom tool, at the top or in "custom".
func customFormat(raw []byte) (format []byte) {
	c := llm.NewCursor(raw)
	for n := 0; c.Member(n); n++ {
		switch string(c.Name()) {
		case "format":
			format = c.Copy()
		case "custom":
			if inner := customFormat(c.Raw()); inner != nil {
				format = inner
			}
		default:
			c.Raw()
		}
	}
	return format
}

// grammarMembers are the members of a custom tool's format.
type grammarMembers struct {
	Type       string `json:"type"`
	Syntax     string `json:"syntax,omitempty"`
	Definition string `json:"definition,omitempty"`
	Grammar    *struct {
		Syntax     string `json:"syntax"`
		Definition string `json:"definition"`
	} `json:"grammar,omitempty"`
}

// chatGrammar writes a format as chat completions have it: a grammar stands in an object.
func chatGrammar(format []byte) []byte {
	var g grammarMembers
	if json.Unmarshal(format, &g) != nil || g.Type != "grammar" || g.Grammar != nil {
		return format
	}
	b := append([]byte(`{"type":"grammar","grammar":{"syntax":`), quoted(g.Syntax)...)
	b = append(append(b, `,"definition":`...), quoted(g.Definition)...)
	return append(b, "}}"...)
}

func quoted(s string) []byte { return llm.AppendString(nil, s) }

// customNames are the names of the tools that take a text.
func customNames(q *chat.Request) map[string]bool {
	var names map[string]bool
	for i := range q.Tools {
		if t := &q.Tools[i]; t.Kind == "" && t.Raw != nil {
			if names == nil {
				names = make(map[string]bool)
			}
			names[t.Name] = true
		}
	}
	return names
}

func (w *writer) toolChoice() {
	c := &w.q.ToolChoice
	if c.Mode == "" && c.Only == nil || len(w.q.Tools) == 0 {
		return
	}
	custom := customNames(w.q)
	w.key("tool_choice")
	switch {
	case len(c.Only) > 0:
		mode := "auto"
		if c.Mode == "required" || c.Mode == "tool" {
			mode = "required"
		}
		w.b = append(w.b, `{"type":"allowed_tools","allowed_tools":{"mode":"`+mode+`","tools":[`...)
		for _, name := range c.Only {
			w.b = appendToolName(llm.AppendComma(w.b), name, custom[name])
		}
		w.b = append(w.b, "]}}"...)
	case c.Mode == "tool":
		w.b = appendToolName(w.b, c.Name, custom[c.Name])
	default:
		w.b = llm.AppendString(w.b, c.Mode)
	}
}

// appendToolName appends what names one tool.
func appendToolName(dst []byte, name string, custom bool) []byte {
	kind := "function"
	if custom {
		kind = "custom"
	}
	dst = append(dst, `{"type":"`+kind+`","`+kind+`":{"name":`...)
	return append(llm.AppendString(dst, name), "}}"...)
}

func (w *writer) format() {
	f := &w.q.Format
	switch f.Type {
	case "json_object":
		w.raw("response_format", []byte(`{"type":"json_object"}`))
	case "json_schema":
		w.key("response_format")
		w.b = append(w.b, `{"type":"json_schema","json_schema":{`...)
		w.schema(f)
		w.b = append(w.b, "}}"...)
	}
}

// schema writes the members of a format's schema, which must have a name.
func (w *writer) schema(f *chat.Format) {
	name := f.Name
	if name == "" {
		name = "answer"
	}
	w.text("name", name)
	w.text("description", f.Description)
	w.raw("schema", orObject(f.Schema))
	w.boolean("strict", f.Strict)
}

func orObject(raw json.RawMessage) json.RawMessage {
	if len(raw) == 0 {
		return json.RawMessage("{}")
	}
	return raw
}

// effort writes how much the model should think. A budget of tokens becomes the effort that
// LiteLLM takes for it. Thinking that is switched off by a budget of 0 is not said: it is what
// models that cannot think do, and those refuse the parameter.
func (w *writer) effort() {
	if e := effortOf(w.q.Reasoning); e != "" && (!thoughtless(cmp.Or(w.t.Model, w.q.Model)) || w.t.Drop("reasoning_effort")) {
		w.text("reasoning_effort", e)
	}
}

// thoughtless says that a model of this name is one of OpenAI's that do not reason, and refuse to be asked for it.
func thoughtless(model string) bool {
	name := model[strings.LastIndexByte(model, '/')+1:]
	return strings.HasPrefix(name, "gpt-3") || strings.HasPrefix(name, "gpt-4") || strings.HasPrefix(name, "chatgpt-")
}

func effortOf(r chat.Reasoning) string {
	switch {
	case r.Effort != "":
		return r.Effort
	case r.Budget == nil || *r.Budget <= 0:
		return ""
	case *r.Budget >= 4096:
		return "high"
	case *r.Budget >= 2048:
		return "medium"
	}
	return "low"
}
