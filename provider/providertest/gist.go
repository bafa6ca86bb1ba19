package providertest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/chat"
)

// lines say in order what parts mean, without what the dialect lacks. Texts that stand side by
// side are one.
func (f *Format) lines(parts []chat.Part, sent bool) (list []string) {
	text := ""
	flush := func() {
		if text != "" {
			list = append(list, "text "+text)
			text = ""
		}
	}
	for i := range parts {
		p := &parts[i]
		if p.Type == chat.PartText || p.Type == chat.PartRefusal && f.lacks(Refusals) {
			text += p.Text
			continue
		}
		line := f.line(p, sent)
		if line == "" {
			continue
		}
		flush()
		list = append(list, line)
	}
	flush()
	return list
}

// line says what one part means that is no text; "" for nothing.
func (f *Format) line(p *chat.Part, sent bool) string {
	switch p.Type {
	case chat.PartRefusal:
		return "refusal " + p.Text
	case chat.PartReasoning:
		return f.thought(p, sent)
	case chat.PartToolCall:
		return "call " + f.id(p.ID) + p.Name + " " + compact(p.Arguments)
	case chat.PartToolResult:
		line := "result " + f.id(p.ID) + strings.Join(f.lines(f.shown(p.Parts), sent), "; ")
		if p.IsError && !f.lacks(ToolErrors) {
			line += " failed"
		}
		return line
	case chat.PartOther:
		return "other"
	}
	if p.Media == nil {
		return ""
	}
	if p.Media.URL != "" && f.lacks(NamedTypes) {
		return fmt.Sprintf("media %d %s", p.Type, p.Media.URL)
	}
	return fmt.Sprintf("media %d %s %s %s", p.Type, p.Media.URL, p.Media.MIME, p.Media.Data)
}

// shown are the parts of a result that stand in it.
func (f *Format) shown(parts []chat.Part) (list []chat.Part) {
	for i := range parts {
		if parts[i].Type == chat.PartText || !f.lacks(ToolImages) {
			list = append(list, parts[i])
		}
	}
	return list
}

func (f *Format) thought(p *chat.Part, sent bool) string {
	if sent && f.lacks(SentThoughts) || !sent && f.lacks(Reasoning) {
		return ""
	}
	line := "thought " + p.Text
	if !f.lacks(Signatures) {
		line += " signed " + p.Signature
	}
	if p.Data != "" {
		if f.lacks(Redacted) {
			return ""
		}
		line += " hidden " + p.Data
	}
	return line
}

func (f *Format) id(id string) string {
	if f.lacks(CallIDs) {
		return ""
	}
	return id + " "
}

// compact is JSON without white space, {} for none.
func compact(raw []byte) string {
	var v any
	if len(raw) == 0 {
		return "{}"
	}
	if json.Unmarshal(raw, &v) != nil {
		return "broken " + string(raw)
	}
	var b bytes.Buffer
	_ = json.NewEncoder(&b).Encode(v)
	return strings.TrimSpace(b.String())
}

// gist is what an answer means, in lines.
func (f *Format) gist(r *chat.Response) (list []string) {
	if !f.lacks(Heads) {
		list = append(list, "id "+r.ID+" of "+r.Model)
	}
	for i := range r.Choices {
		ch := &r.Choices[i]
		list = append(list, fmt.Sprintf("choice %d", ch.Index))
		list = append(list, f.lines(ch.Parts, false)...)
		list = append(list, fmt.Sprintf("finish %d", ch.Finish))
	}
	if !f.lacks(Usages) {
		list = append(list, f.used(r.Usage))
	}
	return list
}

// used says what a usage counts.
func (f *Format) used(u llm.Usage) string {
	if f.lacks(Thoughts) {
		u.Output, u.Reasoning = u.Output+u.Reasoning, 0
	}
	if f.lacks(CacheWrites) {
		u.Input, u.CacheWrite = u.Input+u.CacheWrite, 0
	}
	if f.lacks(Caches) {
		u.Input, u.CacheRead, u.CacheWrite = u.Prompt(), 0, 0
	}
	return fmt.Sprintf("usage %d read %d written %d out %d thought %d", u.Input, u.CacheRead, u.CacheWrite, u.Output, u.Reasoning)
}

// meaning is what a request means: what the system says, and then the turns, those of one side
// that follow each other as one.
func (f *Format) meaning(q *chat.Request) (list []string) {
	system, side := "", ""
	var parts []chat.Part
	flush := func() {
		if side != "" {
			list = append(append(list, side), f.lines(parts, true)...)
			parts = nil
		}
	}
	for i := range q.Messages {
		m := &q.Messages[i]
		if m.Role == chat.RoleSystem || m.Role == chat.RoleDeveloper {
			system += chat.Text(m.Parts)
			continue
		}
		now := "user"
		if m.Role == chat.RoleAssistant {
			now = "assistant"
		}
		if now != side {
			flush()
		}
		side = now
		parts = append(parts, m.Parts...)
	}
	flush()
	list = append(list, "system "+system, fmt.Sprintf("most %d", q.MaxTokens))
	if !f.lacks(Stops) {
		list = append(list, fmt.Sprintf("stop %q", q.Stop))
	}
	for i := range q.Tools {
		t := &q.Tools[i]
		list = append(list, "tool "+t.Name+" "+t.Description+" "+compact(t.Parameters))
	}
	if !f.lacks(Choose) {
		list = append(list, "choose "+q.ToolChoice.Mode+" "+q.ToolChoice.Name)
	}
	if !f.lacks(Schemas) {
		list = append(list, "format "+q.Format.Type+" "+f.schema(q.Format.Schema))
	}
	return list
}

// schema is a schema as the dialect can say it.
func (f *Format) schema(raw json.RawMessage) string {
	text := compact(raw)
	if f.lacks(OpenSchemas) {
		text = strings.Replace(text, `"additionalProperties":false,`, "", 1)
	}
	return text
}
