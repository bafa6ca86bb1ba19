package cohere

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

// Chat is the provider's half of Cohere's dialect.
type Chat struct{}

// mostStops is how many stop sequences Cohere takes.
const mostStops = 5

// known are the members that Cohere has beside OpenAI's.
var known = map[string]bool{"documents": true, "citation_options": true, "safety_mode": true, "strict_tools": true, "priority": true}

// writer writes a request.
type writer struct {
	q *chat.Request
	t *llm.Target
	b []byte
}

// EncodeRequest writes a request.
func (Chat) EncodeRequest(q *chat.Request, t *llm.Target) ([]byte, error) {
	w := writer{q: q, t: t, b: append(make([]byte, 0, q.SizeHint()), '{')}
	w.text("model", cmp.Or(t.Model, q.Model))
	if err := w.messages(); err != nil {
		return nil, err
	}
	w.tools()
	w.format()
	w.thinking()
	w.sampling()
	w.extra()
	w.drop()
	w.raw("stream", strconv.AppendBool(nil, q.Stream))
	w.b = append(w.b, '}')
	return w.b, t.Err()
}

func (w *writer) text(name, v string) {
	if v != "" {
		w.b = llm.AppendString(llm.AppendKey(w.b, name), v)
	}
}

func (w *writer) raw(name string, v []byte) { w.b = llm.AppendRaw(llm.AppendKey(w.b, name), v) }

// messages writes the conversation. Results of tools are messages of their own; what they hold
// beside texts, and those that belong to no call, the user says.
func (w *writer) messages() error {
	w.b = append(llm.AppendKey(w.b, "messages"), '[')
	open := make(map[string]bool)
	var later []chat.Part
	for i := range w.q.Messages {
		m := &w.q.Messages[i]
		rest := later
		later = nil
		for k := range m.Parts {
			p := &m.Parts[k]
			if p.Type != chat.PartToolResult {
				rest = append(rest, *p)
				continue
			}
			later = append(later, w.result(p, open)...)
		}
		if m.Role == chat.RoleTool || onlyResults(m) {
			later = append(rest, later...)
			continue
		}
		rest = append(rest, later...)
		later = nil
		if m.Role == chat.RoleAssistant {
			if n := len(rest) - len(m.Parts); n > 0 {
				if err := w.message(chat.RoleUser, rest[:n]); err != nil {
					return err
				}
				rest = rest[n:]
			}
			if err := w.assistant(rest, open); err != nil {
				return err
			}
			continue
		}
		if err := w.message(m.Role, rest); err != nil {
			return err
		}
	}
	if len(later) > 0 {
		if err := w.message(chat.RoleUser, later); err != nil {
			return err
		}
	}
	w.b = append(w.b, ']')
	return nil
}

// onlyResults says whether a message holds results of tools and nothing else.
func onlyResults(m *chat.Message) bool {
	return len(m.Parts) > 0 && !slices.ContainsFunc(m.Parts, func(p chat.Part) bool { return p.Type != chat.PartToolResult })
}

// result writes the result of a tool and returns what cannot stand in it.
func (w *writer) result(p *chat.Part, open map[string]bool) (rest []chat.Part) {
	if p.IsError {
		w.t.Drop("is_error")
	}
	if !open[p.ID] {
		return p.Parts
	}
	delete(open, p.ID)
	var texts []chat.Part
	for _, part := range p.Parts {
		if part.Type == chat.PartText {
			texts = append(texts, part)
		} else {
			rest = append(rest, part)
		}
	}
	w.b = append(llm.AppendComma(w.b), `{"role":"tool"`...)
	w.text("tool_call_id", p.ID)
	w.b = append(llm.AppendString(append(w.b, `,"content":`...), chat.Text(texts)), '}')
	return rest
}

// message writes a message of the system's or the user's.
func (w *writer) message(role chat.Role, parts []chat.Part) error {
	if role == chat.RoleDeveloper {
		role = chat.RoleSystem
	}
	w.b = append(llm.AppendComma(w.b), `{"role":"`+string(role)+`","content":`...)
	if len(parts) == 0 || len(parts) == 1 && parts[0].Type == chat.PartText {
		w.b = append(llm.AppendString(w.b, chat.Text(parts)), '}')
		return nil
	}
	w.b = append(w.b, '[')
	for i := range parts {
		if err := w.part(&parts[i]); err != nil {
			return err
		}
	}
	w.b = append(w.b, "]}"...)
	return nil
}

// part writes one part of a content.
func (w *writer) part(p *chat.Part) error {
	switch p.Type {
	case chat.PartText, chat.PartRefusal:
		w.said(p.Text)
	case chat.PartImage:
		m := p.Media
		if m == nil || m.URL == "" && m.Data == "" {
			return llm.Unsayable("messages", "Cohere takes images by address or as data, not by the id of a file.")
		}
		w.b = append(llm.AppendComma(w.b), `{"type":"image_url","image_url":{`...)
		url := m.URL
		if m.Data != "" {
			url = "data:" + cmp.Or(m.MIME, "image/png") + ";base64," + m.Data
		}
		w.text("url", url)
		w.text("detail", m.Detail)
		w.b = append(w.b, "}}"...)
	case chat.PartOther:
		w.t.Drop("messages.content")
	case chat.PartReasoning, chat.PartToolCall:
	default:
		text, ok := plainFile(p.Media)
		if !ok {
			return llm.Unsayable("messages", "Cohere takes texts and images only.")
		}
		w.said(text)
	}
	return nil
}

func (w *writer) said(text string) {
	w.b = append(llm.AppendComma(w.b), `{"type":"text","text":`...)
	w.b = append(llm.AppendString(w.b, text), '}')
}

// plainFile is the text of a document that is one.
func plainFile(m *chat.Media) (string, bool) {
	if m == nil || m.Data == "" || !strings.HasPrefix(m.MIME, "text/") {
		return "", false
	}
	text, err := base64.StdEncoding.DecodeString(m.Data)
	return string(text), err == nil
}

// assistant writes a message of the model's. What it thought before it called tools is its plan.
func (w *writer) assistant(parts []chat.Part, open map[string]bool) error {
	clear(open)
	var content, calls []chat.Part
	thoughts := ""
	for _, p := range parts {
		switch p.Type {
		case chat.PartToolCall:
			calls = append(calls, p)
			open[p.ID] = true
		case chat.PartReasoning:
			thoughts += p.Text
		case chat.PartImage, chat.PartAudio, chat.PartVideo, chat.PartFile:
			w.t.Drop("messages.content")
		default:
			content = append(content, p)
		}
	}
	w.b = append(llm.AppendComma(w.b), `{"role":"assistant"`...)
	if len(calls) > 0 {
		w.text("tool_plan", thoughts)
		thoughts = ""
	}
	if len(content) > 0 || thoughts != "" || len(calls) == 0 {
		w.b = append(w.b, `,"content":[`...)
		if thoughts != "" {
			w.b = append(llm.AppendString(append(w.b, `{"type":"thinking","thinking":`...), thoughts), '}')
		}
		for i := range content {
			if err := w.part(&content[i]); err != nil {
				return err
			}
		}
		w.b = append(w.b, ']')
	}
	if len(calls) > 0 {
		w.b = append(w.b, `,"tool_calls":[`...)
		for i := range calls {
			w.b = append(llm.AppendComma(w.b), `{"type":"function"`...)
			w.text("id", calls[i].ID)
			w.b = append(w.b, `,"function":{`...)
			w.text("name", calls[i].Name)
			w.text("arguments", cmp.Or(string(calls[i].Arguments), "{}"))
			w.b = append(w.b, "}}"...)
		}
		w.b = append(w.b, ']')
	}
	w.b = append(w.b, '}')
	return nil
}

// tools writes the tools that may be called. Cohere takes no choice of one: it is the only one
// that it gets.
func (w *writer) tools() {
	c := &w.q.ToolChoice
	only := c.Only
	if c.Mode == "tool" {
		only = []string{c.Name}
	}
	n := 0
	start := len(w.b)
	w.b = append(llm.AppendKey(w.b, "tools"), '[')
	for i := range w.q.Tools {
		t := &w.q.Tools[i]
		switch {
		case t.Kind != "":
			w.t.Drop("tools." + t.Kind)
			continue
		case len(only) > 0 && !slices.Contains(only, t.Name):
			continue
		}
		n++
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
	if n == 0 {
		w.b = w.b[:start]
		return
	}
	w.b = append(w.b, ']')
	switch c.Mode {
	case "required", "tool":
		w.text("tool_choice", "REQUIRED")
	case "none":
		w.text("tool_choice", "NONE")
	}
}

// format writes what the answer must look like.
func (w *writer) format() {
	switch w.q.Format.Type {
	case "json_object":
		w.raw("response_format", []byte(`{"type":"json_object"}`))
	case "json_schema":
		w.b = append(llm.AppendKey(w.b, "response_format"), `{"type":"json_object","json_schema":`...)
		w.b = append(llm.AppendRaw(w.b, w.q.Format.Schema), '}')
	}
}

// thinking writes whether and how much the model is to think.
func (w *writer) thinking() {
	g := w.q.Reasoning
	switch {
	case !g.Asked():
	case g.Off():
		w.raw("thinking", []byte(`{"type":"disabled"}`))
	case g.Budget != nil && *g.Budget > 0:
		w.b = strconv.AppendInt(append(llm.AppendKey(w.b, "thinking"), `{"type":"enabled","token_budget":`...), *g.Budget, 10)
		w.b = append(w.b, '}')
	default:
		w.raw("thinking", []byte(`{"type":"enabled"}`))
	}
}

// sampling writes the numbers.
func (w *writer) sampling() {
	q := w.q
	for _, v := range []struct {
		name string
		n    *float64
	}{
		{"temperature", q.Temperature},
		{"p", q.TopP},
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
	}{{"k", q.TopK}, {"seed", q.Seed}} {
		if v.n != nil {
			w.b = strconv.AppendInt(llm.AppendKey(w.b, v.name), *v.n, 10)
		}
	}
	if q.MaxTokens > 0 {
		w.b = strconv.AppendInt(llm.AppendKey(w.b, "max_tokens"), q.MaxTokens, 10)
	}
	if len(q.Stop) == 0 {
		return
	}
	if len(q.Stop) > mostStops {
		w.t.Drop("stop")
	}
	w.b = append(llm.AppendKey(w.b, "stop_sequences"), '[')
	for _, s := range q.Stop[:min(len(q.Stop), mostStops)] {
		w.b = llm.AppendString(llm.AppendComma(w.b), s)
	}
	w.b = append(w.b, ']')
}

// extra writes the members that Cohere has beside OpenAI's, and names what nobody knows.
func (w *writer) extra() {
	for _, name := range slices.Sorted(maps.Keys(w.q.Extra)) {
		if known[name] || w.t.Drop(name) {
			w.b = append(llm.AppendString(llm.AppendComma(w.b), name), ':')
			w.b = llm.AppendRaw(w.b, w.q.Extra[name])
		}
	}
}

// drop names what Cohere has no words for.
func (w *writer) drop() {
	q := w.q
	for _, v := range []struct {
		name string
		said bool
	}{
		{"n", q.N > 1},
		{"min_p", q.MinP != nil},
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
