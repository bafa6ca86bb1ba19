package openai

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/chat"
	"github.com/conclave-llm/conclave/llm/jsonread"
)

// Responses is the dialect of responses, in both directions. Nothing here remembers a response:
// what "previous_response_id" names has become part of the input before, and the id stands in the
// request's Extra.
type Responses struct{}

// signed begins the encrypted_content of reasoning that another vendor signed, and which can be read.
const signed = "conclave-signature:"

// sealedElsewhere begins the encrypted_content of reasoning that another vendor sealed, sealedHere that of OpenAI's own.
const (
	sealedElsewhere = "conclave-data:"
	sealedHere      = "gAAAA"
)

// encrypted is the member of "include" that asks for reasoning which can be sent back.
const encrypted = "reasoning.encrypted_content"

// DecodeRequest reads a request for a response.
func (Responses) DecodeRequest(body []byte) (*chat.Request, error) {
	r := reader{jsonread.New(body)}
	q := new(chat.Request)
	instructions, has := "", false
	r.Members(func(name string) {
		switch name {
		case "input":
			q.Messages, has = r.input(), true
		case "instructions":
			instructions = r.Str()
		default:
			r.responsesMember(q, name)
		}
	})
	if !has && r.Fault == nil && r.Err() == nil {
		r.Fault = jsonread.Invalid("input", "must be given")
	}
	if err := r.Finish(); err != nil {
		return nil, err
	}
	if instructions != "" {
		m := chat.Message{Role: chat.RoleSystem, Parts: []chat.Part{{Text: instructions}}}
		q.Messages = slices.Insert(q.Messages, 0, m)
	}
	for i := range q.Tools {
		if q.Tools[i].Origin == originChat {
			q.Tools[i].Origin = originResponses
		}
	}
	return q, nil
}

// responsesMember reads a member at the top that chat completions do not have, or say otherwise.
func (r *reader) responsesMember(q *chat.Request, name string) {
	switch name {
	case "max_output_tokens":
		q.MaxTokens = r.Count()
	case "text":
		r.Object(func(name string) {
			switch name {
			case "format":
				r.Object(func(name string) { r.textFormat(&q.Format, name) })
			case "verbosity":
				q.Verbosity = r.Str()
			default:
				r.Raw()
			}
		})
	case "include":
		var rest []string
		for _, what := range r.Strs() {
			switch what {
			case encrypted:
				q.Reasoning.Encrypted = true
			case "message.output_text.logprobs":
				q.LogProbs = true
			default:
				rest = append(rest, what)
			}
		}
		if raw, err := json.Marshal(rest); err == nil && rest != nil {
			q.Extra = withMember(q.Extra, name, raw)
		}
	case "stream_options":
		r.Raw() // says nothing of what is to be answered
	default:
		r.member(q, name)
	}
}

func withMember(m map[string]json.RawMessage, name string, raw json.RawMessage) map[string]json.RawMessage {
	if m == nil {
		m = make(map[string]json.RawMessage)
	}
	m[name] = raw
	return m
}

// textFormat reads a member of text.format, where the schema stands beside the type.
func (r *reader) textFormat(f *chat.Format, name string) {
	if name != "type" {
		r.schema(f, name)
		return
	}
	if f.Type = r.Str(); f.Type == "text" {
		f.Type = ""
	}
}

// input reads a text or the items of a conversation. What the assistant said in a row is one
// message.
func (r *reader) input() (list []chat.Message) {
	if r.Next() == '"' {
		return []chat.Message{{Role: chat.RoleUser, Parts: []chat.Part{{Text: r.Text()}}}}
	}
	r.List(func(int) {
		m := r.inputItem()
		if n := len(list); n > 0 && m.Role == chat.RoleAssistant && list[n-1].Role == m.Role {
			list[n-1].Parts = append(list[n-1].Parts, m.Parts...)
			return
		}
		list = append(list, m)
	})
	return list
}

// item is one of the input's or the output's.
type item struct {
	kind, role, id, callID, name string
	status                       string
	text                         string // arguments, input, refusal
	parts                        []chat.Part
	thoughts                     []string
	data                         string
	raw                          []byte
	probs                        json.RawMessage
}

// item reads the members of an item.
func (r *reader) item() (it item) {
	if r.Next() != '{' {
		r.WrongAt(r.Prefix[:max(len(r.Prefix)-1, 0)], "must be an object")
	}
	it.raw = r.Raw()
	in := reader{jsonread.Within(it.raw, r.Prefix)}
	in.Members(func(name string) { in.itemMember(&it, name) })
	if in.Fault != nil && r.Fault == nil {
		r.Fault = in.Fault
	}
	return it
}

func (r *reader) itemMember(it *item, name string) {
	switch name {
	case "type":
		it.kind = r.Str()
	case "role":
		it.role = r.Str()
	case "id":
		it.id = r.Str()
	case "call_id":
		it.callID = r.Str()
	case "name":
		it.name = r.Str()
	case "status":
		it.status = r.Str()
	case "arguments", "input":
		it.text = r.Str()
	case "content":
		it.parts = r.itemContent(it)
	case "output":
		if next := r.Next(); next == '"' || next == '[' || next == 'n' {
			it.parts = r.itemContent(it)
			return
		}
		it.parts = []chat.Part{{Text: string(r.Raw())}}
	case "summary":
		r.List(func(int) { it.thoughts = append(it.thoughts, r.summary()) })
	case "encrypted_content":
		it.data = r.Str()
	default:
		r.Raw()
	}
}

// summary reads an element of the summary of reasoning.
func (r *reader) summary() (text string) {
	r.Entry(func(name string) {
		if name == "text" {
			text = r.Str()
			return
		}
		r.Raw()
	})
	return text
}

// itemContent reads the content of an item, a text or a list of parts.
func (r *reader) itemContent(it *item) (parts []chat.Part) {
	if r.Next() == '"' {
		return []chat.Part{{Text: r.Text()}}
	}
	r.List(func(int) { parts = append(parts, r.itemPart(it)) })
	return parts
}

// itemTypes are the types of parts of responses.
var itemTypes = map[string]chat.PartType{
	"input_text": chat.PartText, "output_text": chat.PartText, "text": chat.PartText, "summary_text": chat.PartText,
	"reasoning_text": chat.PartReasoning, "refusal": chat.PartRefusal, "input_image": chat.PartImage, "input_file": chat.PartFile,
	"input_audio": chat.PartAudio,
}

// itemPart reads one part of an item.
func (r *reader) itemPart(it *item) chat.Part {
	start := *r
	var p chat.Part
	m, kind := new(chat.Media), ""
	r.Entry(func(name string) {
		switch name {
		case "type":
			kind = r.Str()
		case "logprobs":
			if raw := r.Copy(); string(raw) != "[]" {
				it.probs = raw
			}
		default:
			r.itemPartMember(&p, m, name)
		}
	})
	typ, ok := itemTypes[kind]
	if !ok {
		if kind == "" {
			r.WrongAt(r.Prefix+"type", "must be given")
		}
		return chat.Part{Type: chat.PartOther, Raw: slices.Clone(start.Raw()), Origin: originResponses}
	}
	if p.Type = typ; typ == chat.PartImage || typ == chat.PartFile || typ == chat.PartAudio {
		p.Media = m
		if m.URL == "" && m.Data == "" && m.FileID == "" {
			r.WrongAt(r.Prefix+strings.TrimPrefix(kind, "input_"), "must be given")
		}
	}
	return p
}

// itemPartMember reads a member of a part: of a text, or else of media.
func (r *reader) itemPartMember(p *chat.Part, m *chat.Media, name string) {
	switch name {
	case "text", "refusal":
		p.Text = r.Str()
	case "annotations":
		if raw := r.Copy(); string(raw) != "[]" {
			p.Citations, p.Origin = raw, originResponses
		}
	case "input_audio":
		r.Object(func(name string) { r.mediaMember(m, name) })
	case "image_url", "file_url":
		found := mediaOf(r.Shared())
		m.URL, m.Data, m.MIME = found.URL, found.Data, found.MIME
	default:
		r.mediaMember(m, name)
	}
}

// inputItem reads one item of the input.
func (r *reader) inputItem() chat.Message {
	it := r.item()
	switch it.kind {
	case "", "message":
		role, ok := roles[it.role]
		if !ok || role == chat.RoleTool {
			r.WrongAt(r.Prefix+"role", `must be "system", "developer", "user" or "assistant"`)
		}
		return chat.Message{Role: role, Parts: it.parts}
	case "function_call_output", "custom_tool_call_output":
		if it.callID == "" {
			r.WrongAt(r.Prefix+"call_id", "must be given")
		}
		return chat.Message{Role: chat.RoleTool, Parts: []chat.Part{{Type: chat.PartToolResult, ID: it.callID, Parts: it.parts}}}
	case "item_reference":
		if r.Fault == nil {
			r.Fault = llm.Unsayable(r.Prefix+"type", "The provider of this model keeps no items: send the item itself in the place of an \"item_reference\".")
		}
	}
	return chat.Message{Role: chat.RoleAssistant, Parts: it.said()}
}

// said are the parts of an item of the model's.
func (it *item) said() []chat.Part {
	switch it.kind {
	case "message":
		return it.parts
	case "function_call":
		p := chat.Part{Type: chat.PartToolCall, ID: it.callID, Name: it.name}
		if it.text != "" {
			p.Arguments = json.RawMessage(it.text)
		}
		return []chat.Part{p}
	case "custom_tool_call":
		return []chat.Part{{Type: chat.PartToolCall, ID: it.callID, Name: it.name, Arguments: wrapInput(it.text)}}
	case "reasoning":
		return []chat.Part{it.reasoning()}
	}
	return []chat.Part{{Type: chat.PartOther, Raw: slices.Clone(it.raw), Origin: originResponses}}
}

// reasoning is the part of a reasoning item: its summary, else its text, and what is sealed of it.
func (it *item) reasoning() chat.Part {
	p := chat.Part{Type: chat.PartReasoning, ID: it.id, Text: strings.Join(it.thoughts, "\n\n")}
	if p.Text == "" {
		for i := range it.parts {
			p.Text += it.parts[i].Text
		}
	}
	if signature, ok := strings.CutPrefix(it.data, signed); ok {
		p.Signature = signature
		return p
	}
	if data, ok := strings.CutPrefix(it.data, sealedElsewhere); ok {
		p.Data, p.ID = data, "" // the id is ours
		return p
	}
	p.Data = it.data
	if strings.HasPrefix(it.data, sealedHere) {
		p.Origin = originResponses
	}
	return p
}
