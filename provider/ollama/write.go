package ollama

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/chat"
)

// Chat is the provider's half of Ollama's dialect.
type Chat struct{}

// writer writes a request.
type writer struct {
	q *chat.Request
	t *llm.Target
	b []byte
}

// optionNames are Ollama's options of its own, which clients send at the top, as LiteLLM takes them.
var optionNames = map[string]bool{
	"num_ctx": true, "num_gpu": true, "num_thread": true, "num_batch": true, "num_keep": true, "main_gpu": true, "use_mmap": true,
	"repeat_last_n": true, "repeat_penalty": true, "mirostat": true, "mirostat_eta": true, "mirostat_tau": true, "tfs_z": true,
	"typical_p": true, "penalize_newline": true, "low_vram": true, "numa": true,
}

// EncodeRequest writes a request.
func (Chat) EncodeRequest(q *chat.Request, t *llm.Target) ([]byte, error) {
	w := writer{q: q, t: t, b: append(make([]byte, 0, q.SizeHint()), '{')}
	w.text("model", cmp.Or(t.Model, q.Model))
	if err := w.messages(); err != nil {
		return nil, err
	}
	w.tools()
	switch q.Format.Type {
	case "json_object":
		w.text("format", "json")
	case "json_schema":
		w.raw("format", q.Format.Schema)
	}
	w.think()
	w.options()
	w.extra()
	w.drop()
	w.raw("stream", strconv.AppendBool(nil, q.Stream)) // true if it is not said
	w.b = append(w.b, '}')
	return w.b, t.Err()
}

func (w *writer) text(name, v string) {
	if v != "" {
		w.b = llm.AppendString(llm.AppendKey(w.b, name), v)
	}
}

func (w *writer) raw(name string, v []byte) { w.b = llm.AppendRaw(llm.AppendKey(w.b, name), v) }

// messages writes the conversation.
func (w *writer) messages() error {
	w.b = append(llm.AppendKey(w.b, "messages"), '[')
	names := make(map[string]string) // of the tools that were called, by id
	for i := range w.q.Messages {
		m := &w.q.Messages[i]
		var rest []chat.Part
		for k := range m.Parts {
			p := &m.Parts[k]
			if p.Type != chat.PartToolResult {
				rest = append(rest, *p)
				continue
			}
			if err := w.message(chat.RoleTool, p.Parts, p.ID, cmp.Or(names[p.ID], p.Name)); err != nil {
				return err
			}
			if p.IsError {
				w.t.Drop("is_error")
			}
		}
		for k := range rest {
			if rest[k].Type == chat.PartToolCall {
				names[rest[k].ID] = rest[k].Name
			}
		}
		if len(rest) == 0 && len(m.Parts) > 0 {
			continue
		}
		role := m.Role
		switch role {
		case chat.RoleDeveloper:
			role = chat.RoleSystem
		case chat.RoleTool:
			role = chat.RoleUser
		}
		if err := w.message(role, rest, "", ""); err != nil {
			return err
		}
	}
	w.b = append(w.b, ']')
	return nil
}

// message writes one message.
func (w *writer) message(role chat.Role, parts []chat.Part, id, tool string) error {
	var text, thinking string
	var images, calls []*chat.Part
	for i := range parts {
		switch p := &parts[i]; p.Type {
		case chat.PartText, chat.PartRefusal:
			text += p.Text
		case chat.PartReasoning:
			thinking += p.Text
		case chat.PartToolCall:
			calls = append(calls, p)
		case chat.PartImage:
			if p.Media == nil || p.Media.Data == "" {
				return llm.Unsayable("messages", "Ollama fetches no images: send the image itself as a data URL.")
			}
			images = append(images, p)
		case chat.PartOther:
			w.t.Drop("messages.content")
		default:
			said, ok := plainFile(p.Media)
			if !ok {
				return llm.Unsayable("messages", "Ollama takes texts and images only.")
			}
			text += said
		}
	}
	w.b = append(llm.AppendComma(w.b), `{"role":"`+string(role)+`","content":`...)
	w.b = llm.AppendString(w.b, text)
	w.text("thinking", thinking)
	w.text("tool_name", tool)
	w.text("tool_call_id", id)
	if len(images) > 0 {
		w.b = append(llm.AppendKey(w.b, "images"), '[')
		for _, p := range images {
			w.b = llm.AppendString(llm.AppendComma(w.b), p.Media.Data)
		}
		w.b = append(w.b, ']')
	}
	w.calls(calls)
	w.b = append(w.b, '}')
	return nil
}

// plainFile is the text of a document that is one.
func plainFile(m *chat.Media) (string, bool) {
	if m == nil || m.Data == "" || !strings.HasPrefix(m.MIME, "text/") {
		return "", false
	}
	text, err := base64.StdEncoding.DecodeString(m.Data)
	return string(text), err == nil
}

// calls writes the calls of a message, whose arguments are an object.
func (w *writer) calls(calls []*chat.Part) {
	if len(calls) == 0 {
		return
	}
	w.b = append(llm.AppendKey(w.b, "tool_calls"), '[')
	for i, p := range calls {
		w.b = append(llm.AppendComma(w.b), `{"id":`...)
		w.b = llm.AppendString(w.b, p.ID)
		w.b = append(w.b, `,"function":{"index":`...)
		w.b = strconv.AppendInt(w.b, int64(i), 10)
		w.text("name", p.Name)
		w.raw("arguments", object(p.Arguments))
		w.b = append(w.b, "}}"...)
	}
	w.b = append(w.b, ']')
}

// object is what arguments say, in an object if they are none.
func object(raw json.RawMessage) []byte {
	c := llm.NewCursor(raw)
	isObject := c.Next() == '{'
	c.Raw()
	switch {
	case len(raw) == 0:
		return []byte("{}")
	case c.End() != nil || !isObject:
		return append(llm.AppendString([]byte(`{"arguments":`), string(raw)), '}')
	}
	return raw
}

// tools writes the tools that may be called.
func (w *writer) tools() {
	choice := &w.q.ToolChoice
	if choice.Mode == "required" || choice.Mode == "tool" {
		w.t.Drop("tool_choice")
	}
	if choice.Mode == "none" || len(w.q.Tools) == 0 {
		return
	}
	start := len(w.b)
	w.b = append(llm.AppendKey(w.b, "tools"), '[')
	open := len(w.b)
	for i := range w.q.Tools {
		t := &w.q.Tools[i]
		switch {
		case t.Kind != "":
			w.t.Drop("tools." + t.Kind)
			continue
		case len(choice.Only) > 0 && !slices.Contains(choice.Only, t.Name):
			continue
		}
		w.b = append(llm.AppendComma(w.b), `{"type":"function","function":{`...)
		w.text("name", t.Name)
		w.text("description", t.Description)
		params := t.Parameters
		if len(params) == 0 {
			params = json.RawMessage(`{"type":"object","properties":{}}`)
		}
		w.raw("parameters", params)
		w.b = append(w.b, "}}"...)
	}
	if len(w.b) == open {
		w.b = w.b[:start]
		return
	}
	w.b = append(w.b, ']')
}

// think writes whether the model is to think. Only one family takes how much.
func (w *writer) think() {
	g := w.q.Reasoning
	switch {
	case !g.Asked():
	case g.Off():
		w.raw("think", []byte("false"))
	case strings.Contains(w.t.Model, "gpt-oss") && (g.Effort == "low" || g.Effort == "medium" || g.Effort == "high"):
		w.text("think", g.Effort)
	default:
		w.raw("think", []byte("true"))
	}
}

// options writes the options of the sampler and of the server.
func (w *writer) options() {
	start := len(w.b)
	w.b = append(llm.AppendKey(w.b, "options"), '{')
	open := len(w.b)
	q := w.q
	for _, v := range []struct {
		name string
		n    *float64
	}{
		{"temperature", q.Temperature},
		{"top_p", q.TopP},
		{"min_p", q.MinP},
		{"frequency_penalty", q.FrequencyPenalty},
		{"presence_penalty", q.PresencePenalty},
	} {
		if v.n != nil {
			w.b = strconv.AppendFloat(llm.AppendKey(w.b, v.name), *v.n, 'g', -1, 64)
		}
	}
	for _, v := range []struct {
		name string
		n    *int64
	}{{"top_k", q.TopK}, {"seed", q.Seed}} {
		if v.n != nil {
			w.b = strconv.AppendInt(llm.AppendKey(w.b, v.name), *v.n, 10)
		}
	}
	if q.MaxTokens > 0 {
		w.b = strconv.AppendInt(llm.AppendKey(w.b, "num_predict"), q.MaxTokens, 10)
	}
	if len(q.Stop) > 0 {
		w.b = append(llm.AppendKey(w.b, "stop"), '[')
		for _, s := range q.Stop {
			w.b = llm.AppendString(llm.AppendComma(w.b), s)
		}
		w.b = append(w.b, ']')
	}
	for _, name := range slices.Sorted(maps.Keys(q.Extra)) {
		if optionNames[name] {
			w.raw(name, q.Extra[name])
		}
	}
	if n, err := strconv.ParseInt(w.t.Options["num_ctx"], 10, 64); err == nil && q.Extra["num_ctx"] == nil {
		w.b = strconv.AppendInt(llm.AppendKey(w.b, "num_ctx"), n, 10)
	}
	w.given()
	if len(w.b) == open {
		w.b = w.b[:start]
		return
	}
	w.b = append(w.b, '}')
}

// given writes the members of the client's own "options", which count above all others.
func (w *writer) given() {
	c := llm.NewCursor(w.q.Extra["options"])
	for n := 0; c.Member(n); n++ {
		name := string(c.Name())
		w.b = append(llm.AppendString(llm.AppendComma(w.b), name), ':')
		w.b = llm.AppendRaw(w.b, c.Raw())
	}
}

// extra writes how long the model is kept loaded, and names what nobody knows.
func (w *writer) extra() {
	if raw := w.q.Extra["keep_alive"]; raw != nil {
		w.raw("keep_alive", raw)
	} else {
		w.text("keep_alive", w.t.Options["keep_alive"])
	}
	for _, name := range slices.Sorted(maps.Keys(w.q.Extra)) {
		if name == "keep_alive" || name == "options" || optionNames[name] {
			continue
		}
		if w.t.Drop(name) {
			w.b = append(llm.AppendString(llm.AppendComma(w.b), name), ':')
			w.b = llm.AppendRaw(w.b, w.q.Extra[name])
		}
	}
}

// drop names what Ollama has no words for.
func (w *writer) drop() {
	q := w.q
	for _, v := range []struct {
		name string
		said bool
	}{
		{"n", q.N > 1},
		{"logprobs", q.LogProbs},
		{"top_logprobs", q.TopLogProbs > 0},
		{"tools.strict", chat.AnyStrict(q.Tools)},
		{"logit_bias", q.LogitBias != nil},
		{"parallel_tool_calls", q.ParallelTools != nil && !*q.ParallelTools},
		{"audio", q.Audio != nil},
		{"prediction", q.Prediction != nil},
		{"web_search_options", q.WebSearch != nil},
		{"verbosity", q.Verbosity != ""},
		{"user", q.User != ""},
		{"service_tier", q.ServiceTier != ""},
		{"prompt_cache_key", q.CacheKey != ""},
		{"metadata", q.Metadata != nil},
	} {
		if v.said {
			w.t.Drop(v.name)
		}
	}
}
