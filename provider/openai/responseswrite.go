package openai

import (
	"cmp"
	"strings"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/chat"
)

// responsesExtra are members at the top that responses know and the reader does not.
var responsesExtra = map[string]bool{
	"store": true, "safety_identifier": true, "prompt_cache_retention": true, "truncation": true, "include": true,
	"max_tool_calls": true, "prompt": true, "background": true, "conversation": true, "previous_response_id": true,
}

// EncodeRequest writes a request for a response, which the provider is not to store unless the
// client says so.
func (Responses) EncodeRequest(q *chat.Request, t *llm.Target) ([]byte, error) {
	w := writer{q: q, t: t, b: append(make([]byte, 0, q.SizeHint()), '{')}
	model := cmp.Or(t.Model, q.Model)
	w.text("model", model)
	list := q.Messages
	if len(list) > 1 && (list[0].Role == chat.RoleSystem || list[0].Role == chat.RoleDeveloper) && len(list[0].Parts) == 1 && plain(&list[0].Parts[0]) {
		w.text("instructions", list[0].Parts[0].Text)
		list = list[1:]
	}
	if err := w.input(list); err != nil {
		return nil, err
	}
	w.integer("max_output_tokens", q.MaxTokens)
	w.float("temperature", q.Temperature)
	w.float("top_p", q.TopP)
	w.integer("top_logprobs", q.TopLogProbs)
	w.flatTools()
	w.flatChoice()
	w.textOptions()
	w.thinking(model)
	w.common()
	w.dropSampling()
	w.extra(responsesExtra)
	if q.Extra["store"] == nil {
		w.raw("store", []byte("false"))
	}
	if q.Stream {
		w.raw("stream", []byte("true"))
	}
	w.b = append(w.b, '}')
	return w.b, t.Err()
}

// dropSampling names what responses have no words for.
func (w *writer) dropSampling() {
	q := w.q
	for _, v := range []struct {
		name string
		said bool
	}{
		{"stop", len(q.Stop) > 0},
		{"n", q.N > 1},
		{"seed", q.Seed != nil},
		{"top_k", q.TopK != nil},
		{"min_p", q.MinP != nil},
		{"frequency_penalty", q.FrequencyPenalty != nil && *q.FrequencyPenalty != 0},
		{"presence_penalty", q.PresencePenalty != nil && *q.PresencePenalty != 0},
		{"logit_bias", q.LogitBias != nil},
		{"audio", q.Audio != nil},
		{"prediction", q.Prediction != nil},
		{"web_search_options", q.WebSearch != nil},
	} {
		if v.said {
			w.t.Drop(v.name)
		}
	}
}

// input writes the conversation as items.
func (w *writer) input(list []chat.Message) error {
	w.key("input")
	w.b = append(w.b, '[')
	custom := customNames(w.q)
	calls := make(map[string]string) // id → name
	for i := range list {
		m := &list[i]
		var held []chat.Part // of a message, up to an item of another kind
		for k := range m.Parts {
			p := &m.Parts[k]
			if !isItem(p) {
				held = append(held, *p)
				continue
			}
			if err := w.spokenItem(m.Role, held); err != nil {
				return err
			}
			held = nil
			if p.Type == chat.PartToolCall {
				calls[p.ID] = p.Name
			}
			name, called := calls[p.ID]
			if p.Type == chat.PartToolResult && !called {
				held = append(held, p.Parts...)
				continue
			}
			if err := w.itemOf(p, custom[name]); err != nil {
				return err
			}
		}
		if err := w.spokenItem(m.Role, held); err != nil {
			return err
		}
	}
	w.b = append(w.b, ']')
	return nil
}

// isItem says whether a part is an item of its own.
func isItem(p *chat.Part) bool {
	switch p.Type {
	case chat.PartToolCall, chat.PartToolResult, chat.PartReasoning:
		return true
	case chat.PartOther:
		return strings.Contains(string(p.Raw), `_call`) || p.Origin != originResponses
	}
	return false
}

// spokenItem writes a message of the parts, if there are any.
func (w *writer) spokenItem(role chat.Role, parts []chat.Part) error {
	if len(parts) == 0 {
		return nil
	}
	if role == chat.RoleTool {
		role = chat.RoleUser
	}
	w.b = append(llm.AppendComma(w.b), `{"type":"message","role":"`...)
	w.b = append(w.b, role...)
	w.b = append(w.b, '"')
	w.key("content")
	if len(parts) == 1 && parts[0].Type == chat.PartText {
		w.b = llm.AppendString(w.b, parts[0].Text)
	} else if err := w.itemParts(role, parts); err != nil {
		return err
	}
	w.b = append(w.b, '}')
	return nil
}

// itemParts writes a list of parts.
func (w *writer) itemParts(role chat.Role, parts []chat.Part) error {
	w.b = append(w.b, '[')
	for i := range parts {
		p := &parts[i]
		switch {
		case p.Type == chat.PartText && role == chat.RoleAssistant:
			w.b = append(llm.AppendComma(w.b), `{"type":"output_text","annotations":[],"text":`...)
			w.b = append(llm.AppendString(w.b, p.Text), '}')
		case p.Type == chat.PartText:
			w.b = append(llm.AppendComma(w.b), `{"type":"input_text","text":`...)
			w.b = append(llm.AppendString(w.b, p.Text), '}')
		case p.Type == chat.PartRefusal:
			w.b = append(llm.AppendComma(w.b), `{"type":"refusal","refusal":`...)
			w.b = append(llm.AppendString(w.b, p.Text), '}')
		case p.Type == chat.PartOther:
			w.b = llm.AppendRaw(llm.AppendComma(w.b), p.Raw)
		case role == chat.RoleAssistant:
			w.t.Drop("input.content") // it does not see what it drew
		case p.Media != nil:
			if err := w.itemMedia(p); err != nil {
				return err
			}
		}
	}
	w.b = append(w.b, ']')
	return nil
}

// itemMedia writes a part that is media.
func (w *writer) itemMedia(p *chat.Part) error {
	m := p.Media
	w.b = llm.AppendComma(w.b)
	switch p.Type {
	case chat.PartImage:
		w.b = append(w.b, `{"type":"input_image"`...)
		w.address("image_url", m, "image/png")
		w.text("file_id", m.FileID)
		w.text("detail", cmp.Or(m.Detail, "auto"))
	case chat.PartFile:
		if text, ok := plainFile(m); ok {
			w.b = append(w.b, `{"type":"input_text","text":`...)
			w.b = append(llm.AppendString(w.b, text), '}')
			return nil
		}
		w.b = append(w.b, `{"type":"input_file"`...)
		w.text("file_id", m.FileID)
		w.text("file_url", m.URL)
		if m.Data != "" {
			w.text("filename", cmp.Or(m.Name, "document.pdf"))
			w.address("file_data", m, "application/pdf")
		}
	case chat.PartAudio:
		if m.Data == "" {
			return unsayable("audio by its address")
		}
		w.b = append(w.b, `{"type":"input_audio","input_audio":{`...)
		w.text("data", m.Data)
		w.text("format", audioFormat(mimeOf(m, "audio/wav")))
		w.b = append(w.b, '}')
	default:
		return unsayable("video")
	}
	w.b = append(w.b, '}')
	return nil
}

// itemOf writes a part that is an item of its own.
func (w *writer) itemOf(p *chat.Part, custom bool) error {
	switch p.Type {
	case chat.PartToolCall:
		w.b = llm.AppendComma(w.b)
		w.b = appendCallItem(w.b, p, "", custom)
	case chat.PartToolResult:
		return w.output(p, custom)
	case chat.PartReasoning:
		w.sealed(p)
	default:
		if p.Origin != originResponses {
			w.t.Drop("input")
			return nil
		}
		w.b = llm.AppendRaw(llm.AppendComma(w.b), p.Raw)
	}
	return nil
}

// appendCallItem appends a call of a tool; id "" for none.
func appendCallItem(b []byte, p *chat.Part, id string, custom bool) []byte {
	kind, member, text := "function_call", "arguments", string(orObject(p.Arguments))
	if custom {
		kind, member, text = "custom_tool_call", "input", unwrapInput(p.Arguments)
	}
	b = append(b, `{"type":"`+kind+`"`...)
	if id != "" {
		b = llm.AppendString(append(b, `,"id":`...), id)
	}
	b = llm.AppendString(append(b, `,"call_id":`...), p.ID)
	b = llm.AppendString(append(b, `,"name":`...), p.Name)
	b = llm.AppendString(append(b, `,"`+member+`":`...), text)
	if id != "" {
		b = append(b, `,"status":"completed"`...)
	}
	return append(b, '}')
}

// output writes the result of a tool.
func (w *writer) output(p *chat.Part, custom bool) error {
	if p.IsError {
		w.t.Drop("is_error")
	}
	kind := "function_call_output"
	if custom {
		kind = "custom_tool_call_output"
	}
	w.b = append(llm.AppendComma(w.b), `{"type":"`+kind+`","call_id":`...)
	w.b = llm.AppendString(w.b, p.ID)
	w.key("output")
	text := true
	for i := range p.Parts {
		text = text && p.Parts[i].Type == chat.PartText
	}
	if text {
		w.b = llm.AppendString(w.b, chat.Text(p.Parts))
	} else if err := w.itemParts(chat.RoleUser, p.Parts); err != nil {
		return err
	}
	w.b = append(w.b, '}')
	return nil
}

// sealed writes reasoning that OpenAI sealed. That of others it refuses.
func (w *writer) sealed(p *chat.Part) {
	if p.Data == "" || !strings.HasPrefix(p.Data, sealedHere) && !strings.HasPrefix(p.ID, "rs_") {
		if p.Text != "" || p.Data != "" {
			w.t.Drop("reasoning")
		}
		return
	}
	w.b = append(llm.AppendComma(w.b), `{"type":"reasoning"`...)
	w.text("id", p.ID)
	w.b = append(w.b, `,"summary":[`...)
	if p.Text != "" {
		w.b = append(w.b, `{"type":"summary_text","text":`...)
		w.b = append(llm.AppendString(w.b, p.Text), '}')
	}
	w.b = append(w.b, `],"encrypted_content":`...)
	w.b = append(llm.AppendString(w.b, p.Data), '}')
}

// flatTools writes the tools, whose members stand beside their type.
func (w *writer) flatTools() {
	start := len(w.b)
	w.key("tools")
	open := len(w.b)
	w.b = appendFlatTools(append(w.b, '['), w.q, w.t)
	if len(w.b) == open+1 {
		w.b = w.b[:start]
		return
	}
	w.b = append(w.b, ']')
	w.boolean("parallel_tool_calls", w.q.ParallelTools)
}

// appendFlatTools appends the entries of tools; t nil: all, as an answer repeats them.
func appendFlatTools(b []byte, q *chat.Request, t *llm.Target) []byte {
	w := writer{q: q, t: t, b: b}
	for i := range q.Tools {
		tool := &q.Tools[i]
		switch {
		case tool.Kind != "" && t != nil && tool.Origin != originResponses && !t.Drop("tools."+tool.Kind):
		case tool.Kind != "" || tool.Raw != nil && tool.Origin == originResponses:
			w.b = llm.AppendRaw(llm.AppendComma(w.b), tool.Raw)
		case tool.Raw != nil:
			w.b = append(llm.AppendComma(w.b), `{"type":"custom"`...)
			w.text("name", tool.Name)
			w.text("description", tool.Description)
			w.member("format", flatGrammar(customFormat(tool.Raw)))
			w.b = append(w.b, '}')
		default:
			w.b = append(llm.AppendComma(w.b), `{"type":"function"`...)
			w.text("name", tool.Name)
			w.text("description", tool.Description)
			w.raw("parameters", orObject(tool.Parameters))
			strict := tool.Strict != nil && *tool.Strict // is true if it is not said
			w.boolean("strict", &strict)
			w.b = append(w.b, '}')
		}
	}
	return w.b
}

// flatGrammar writes a custom tool's format as responses have it.
func flatGrammar(format []byte) []byte {
	if _, inner := annotation(format); inner != nil {
		return append(appendMembers([]byte(`{"type":"grammar"`), inner, ""), '}')
	}
	return format
}

func (w *writer) flatChoice() {
	c := &w.q.ToolChoice
	if c.Mode == "" && c.Only == nil || len(w.q.Tools) == 0 {
		return
	}
	w.key("tool_choice")
	w.b = appendFlatChoice(w.b, w.q)
}

// appendFlatChoice appends a tool_choice, "auto" if nothing is chosen.
func appendFlatChoice(b []byte, q *chat.Request) []byte {
	c, custom := &q.ToolChoice, customNames(q)
	switch {
	case len(c.Only) > 0:
		mode := "auto"
		if c.Mode == "required" || c.Mode == "tool" {
			mode = "required"
		}
		b = append(b, `{"type":"allowed_tools","mode":"`+mode+`","tools":[`...)
		for _, name := range c.Only {
			b = appendFlatName(llm.AppendComma(b), name, custom[name])
		}
		return append(b, "]}"...)
	case c.Mode == "tool":
		return appendFlatName(b, c.Name, custom[c.Name])
	}
	return llm.AppendString(b, cmp.Or(c.Mode, "auto"))
}

func appendFlatName(b []byte, name string, custom bool) []byte {
	kind := "function"
	if custom {
		kind = "custom"
	}
	return append(llm.AppendString(append(b, `{"type":"`+kind+`","name":`...), name), '}')
}

// textOptions writes what the text of the answer must look like.
func (w *writer) textOptions() {
	f := &w.q.Format
	if f.Type == "" && w.q.Verbosity == "" {
		return
	}
	w.key("text")
	w.b = append(w.b, '{')
	if f.Type != "" {
		w.key("format")
		w.b = appendTextFormat(w.b, f)
	}
	w.text("verbosity", w.q.Verbosity)
	w.b = append(w.b, '}')
}

// appendTextFormat appends a format.
func appendTextFormat(b []byte, f *chat.Format) []byte {
	w := writer{b: append(b, `{"type":`...)}
	w.b = llm.AppendString(w.b, cmp.Or(f.Type, "text"))
	if f.Type == "json_schema" {
		w.schema(f)
	}
	return append(w.b, '}')
}

// thinking writes how much the model should think, and asks for what can be sent back.
func (w *writer) thinking(model string) {
	g := w.q.Reasoning
	effort := effortOf(g)
	if effort != "" || g.Summary != "" && g.Summary != "none" {
		w.key("reasoning")
		w.b = append(w.b, '{')
		w.text("effort", effort)
		if g.Summary != "none" {
			w.text("summary", g.Summary)
		}
		w.b = append(w.b, '}')
	}
	if w.q.Extra["include"] != nil {
		return
	}
	var include []string
	if g.Encrypted || reasons(model) && effort != "none" {
		include = append(include, encrypted)
	}
	if w.q.LogProbs {
		include = append(include, "message.output_text.logprobs")
	}
	w.strings("include", include)
}
