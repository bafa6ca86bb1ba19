package anthropic

import (
	"encoding/json"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/chat"
)

// DecodeRequest reads a client's request.
func (Format) DecodeRequest(body []byte) (*chat.Request, error) {
	d := decoder{reader: reader{Cursor: llm.NewCursor(body)}}
	if d.Next() != '{' {
		return nil, &llm.Error{Kind: llm.Invalid, Code: "invalid_json", Message: "The request body is not a JSON object."}
	}
	for n := 0; d.Member(n); n++ {
		d.member(string(d.Name()))
	}
	if err := d.End(); err != nil {
		return nil, err
	}
	if d.err == nil && !d.hasMessages {
		d.fail("messages", "is missing")
	}
	if d.err != nil {
		return nil, d.err
	}
	d.req.Messages = append(d.system, d.req.Messages...)
	return &d.req, nil
}

// decoder reads a request.
type decoder struct {
	reader
	req         chat.Request
	system      []chat.Message
	hasMessages bool
}

// member reads one member of the request.
func (d *decoder) member(name string) {
	q := &d.req
	switch name {
	case "model":
		q.Model = d.text(name)
	case "stream":
		b := d.boolean(name)
		q.Stream = b != nil && *b
	case "max_tokens":
		if n := d.whole(name, 0); n != nil {
			q.MaxTokens = *n
		}
	case "system":
		if parts := d.content(name); len(parts) > 0 {
			d.system = []chat.Message{{Role: chat.RoleSystem, Parts: parts}}
		}
	case "messages":
		d.messages()
	case "tools":
		d.tools()
	case "tool_choice":
		d.toolChoice()
	default:
		d.setting(name)
	}
}

// setting reads a member that says how to answer.
func (d *decoder) setting(name string) {
	q := &d.req
	switch name {
	case "temperature":
		q.Temperature = d.number(name)
	case "top_p":
		q.TopP = d.number(name)
	case "top_k":
		q.TopK = d.whole(name, 0)
	case "stop_sequences":
		q.Stop = d.strings(name)
	case "thinking":
		d.thinking()
	case "output_config":
		d.outputConfig()
	case "output_format":
		d.format(name)
	case "metadata":
		d.metadata()
	case "service_tier":
		if q.ServiceTier = d.text(name); q.ServiceTier == "standard_only" {
			q.ServiceTier = "default"
		}
	case "cache_control":
		q.CacheControl = d.raw(name)
	default:
		d.extra(name)
	}
}

// extra keeps a member that only Anthropic understands.
func (d *decoder) extra(name string) {
	raw := d.Copy()
	if raw == nil {
		return
	}
	if d.req.Extra == nil {
		d.req.Extra = make(map[string]json.RawMessage)
	}
	d.req.Extra[name] = raw
}

// thinking reads how much the model shall think.
func (d *decoder) thinking() {
	if !d.object("thinking") {
		return
	}
	g := &d.req.Reasoning
	kind := ""
	var budget *int64
	for n := 0; d.Member(n); n++ {
		switch string(d.Name()) {
		case "type":
			kind = d.text("thinking.type")
		case "budget_tokens":
			budget = d.whole("thinking.budget_tokens", 0)
		case "display":
			g.Summary = map[string]string{"summarized": "auto", "omitted": "none"}[d.text("thinking.display")]
		default:
			d.Raw()
		}
	}
	switch kind {
	case "enabled":
		if g.Budget = budget; budget == nil {
			d.fail("thinking.budget_tokens", "is missing")
		}
	case "disabled":
		g.Budget = new(int64)
	case "adaptive":
		g.Adaptive = true
	default:
		d.fail("thinking.type", "must be enabled, disabled or adaptive")
	}
}

// outputConfig reads effort and form of the answer.
func (d *decoder) outputConfig() {
	if !d.object("output_config") {
		return
	}
	for n := 0; d.Member(n); n++ {
		switch string(d.Name()) {
		case "effort":
			d.req.Reasoning.Effort = d.text("output_config.effort")
		case "format":
			d.format("output_config.format")
		default:
			d.Raw()
		}
	}
}

// format reads the form of the answer.
func (d *decoder) format(field string) {
	if !d.object(field) {
		return
	}
	f := &d.req.Format
	for n := 0; d.Member(n); n++ {
		switch string(d.Name()) {
		case "type":
			if f.Type = d.text(field + ".type"); f.Type != "json_schema" {
				d.fail(field+".type", "must be json_schema")
			}
		case "schema":
			f.Schema = d.raw(field + ".schema")
		default:
			d.Raw()
		}
	}
	if f.Type == "" || f.Schema == nil {
		d.fail(field, "needs type and schema")
	}
}

// metadata reads the end user. Its other members are the gateway's own.
func (d *decoder) metadata() {
	if !d.object("metadata") {
		return
	}
	for n := 0; d.Member(n); n++ {
		if string(d.Name()) == "user_id" {
			d.req.User = d.text("metadata.user_id")
		} else {
			d.Raw()
		}
	}
}

// messages reads the conversation.
func (d *decoder) messages() {
	d.hasMessages = true
	if d.Next() != '[' {
		d.fail("messages", "must be an array")
		d.Raw()
		return
	}
	for n := 0; d.Element(n); n++ {
		m := reader{Cursor: llm.NewCursor(d.Raw()), at: element("messages", n) + "."}
		role, parts := "", []chat.Part(nil)
		if m.Next() != '{' {
			m.fail("role", "is missing")
		}
		for k := 0; m.Member(k); k++ {
			switch string(m.Name()) {
			case "role":
				role = m.text("role")
			case "content":
				parts = m.content("content")
			default:
				m.Raw()
			}
		}
		d.add(&m, role, parts)
		d.join(&m)
	}
}

// add appends a message. Results of tools, which Anthropic has among what a user says, become
// messages of their own.
func (d *decoder) add(m *reader, role string, parts []chat.Part) {
	list := &d.req.Messages
	switch role {
	case "assistant", "system":
		*list = append(*list, chat.Message{Role: chat.Role(role), Parts: parts})
		return
	case "user":
	default:
		m.fail("role", "must be user, assistant or system")
		return
	}
	for len(parts) > 0 {
		result := parts[0].Type == chat.PartToolResult
		n := 1
		for n < len(parts) && (parts[n].Type == chat.PartToolResult) == result {
			n++
		}
		r := chat.RoleUser
		if result {
			r = chat.RoleTool
		}
		*list = append(*list, chat.Message{Role: r, Parts: parts[:n:n]})
		parts = parts[n:]
	}
}
