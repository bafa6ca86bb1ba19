package bedrock

import (
	"encoding/base64"
	"encoding/json"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/chat"
	"github.com/conclave-llm/conclave/llm/jsonread"
)

func encodeText(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

// DecodeRequest reads a request for Converse.
func (Format) DecodeRequest(body []byte) (*chat.Request, error) {
	r := reader{jsonread.New(body)}
	q := new(chat.Request)
	if r.Next() != '{' && r.Next() != 0 {
		return nil, &llm.Error{Kind: llm.Invalid, Message: "The request must be a JSON object."}
	}
	var system []chat.Part
	r.Members(func(name string) {
		switch name {
		case "messages":
			r.List(func(int) { q.Messages = append(q.Messages, r.message()) })
		case "system":
			system = r.blocks()
		default:
			r.member(q, name)
		}
	})
	if r.Fault == nil && r.Err() == nil && len(q.Messages) == 0 {
		r.WrongAt("messages", "must have at least one message")
	}
	if err := r.Finish(); err != nil {
		return nil, err
	}
	if len(system) > 0 {
		q.Messages = append([]chat.Message{{Role: chat.RoleSystem, Parts: system}}, q.Messages...)
	}
	return q, nil
}

func (r *reader) message() (m chat.Message) {
	r.Entry(func(name string) {
		switch name {
		case "role":
			switch role := r.Str(); role {
			case "user", "assistant":
				m.Role = chat.Role(role)
			default:
				r.Wrong(`must be "user" or "assistant"`)
			}
		case "content":
			m.Parts = r.blocks()
		default:
			r.Raw()
		}
	})
	if m.Role == "" {
		r.WrongAt(r.Prefix+"role", "must be given")
	}
	return m
}

// member reads a member at the top beside the conversation.
func (r *reader) member(q *chat.Request, name string) {
	switch name {
	case "inferenceConfig":
		r.object(func(name string) { r.inference(q, name) })
	case "toolConfig":
		r.object(func(name string) { r.toolConfig(q, name) })
	case "outputConfig":
		r.object(func(name string) { r.output(q, name) })
	case "additionalModelRequestFields":
		r.fields(q)
	case "requestMetadata":
		q.Metadata = r.Copy()
	case "serviceTier":
		r.object(func(name string) {
			if name == "type" {
				q.ServiceTier = r.Str()
				return
			}
			r.Raw()
		})
	default:
		r.extra(q, name)
	}
}

func (r *reader) extra(q *chat.Request, name string) {
	raw := r.Copy()
	if raw == nil {
		return
	}
	if q.Extra == nil {
		q.Extra = make(map[string]json.RawMessage)
	}
	q.Extra[name] = raw
}

func (r *reader) inference(q *chat.Request, name string) {
	switch name {
	case "maxTokens":
		if n := r.Whole(); n != nil {
			if *n < 1 || *n > llm.MaxTokenCount {
				r.Wrong("must be a positive whole number")
				return
			}
			q.MaxTokens = *n
		}
	case "temperature":
		q.Temperature = r.Number()
	case "topP":
		q.TopP = r.Number()
	case "stopSequences":
		q.Stop = r.Strs()
	default:
		r.Wrong("is not known")
		r.Raw()
	}
}

func (r *reader) toolConfig(q *chat.Request, name string) {
	switch name {
	case "tools":
		r.List(func(int) { r.Entry(func(name string) { r.tool(q, name) }) })
	case "toolChoice":
		r.object(func(name string) {
			switch name {
			case "auto":
				q.ToolChoice.Mode = "auto"
			case "any":
				q.ToolChoice.Mode = "required"
			case "tool":
				q.ToolChoice.Mode = "tool"
				r.object(func(name string) {
					if name == "name" {
						q.ToolChoice.Name = r.Str()
						return
					}
					r.Raw()
				})
				return
			default:
				r.Wrong("is no choice that is known: auto, any or tool")
			}
			r.Raw()
		})
	default:
		r.Raw()
	}
}

// tool reads the one member of an entry of the tools.
func (r *reader) tool(q *chat.Request, name string) {
	switch name {
	case "toolSpec":
		t := chat.Tool{}
		r.object(func(name string) { r.spec(&t, name) })
		if t.Name == "" {
			r.WrongAt(r.Prefix+"toolSpec.name", "must not be empty")
		}
		q.Tools = append(q.Tools, t)
	case "cachePoint":
		mark := r.cachePoint()
		if n := len(q.Tools); n > 0 {
			q.Tools[n-1].CacheControl = mark
		}
	default:
		p := r.other(name)
		q.Tools = append(q.Tools, chat.Tool{Kind: name, Raw: p.Raw, Origin: origin})
	}
}

func (r *reader) spec(t *chat.Tool, name string) {
	switch name {
	case "name":
		t.Name = r.Str()
	case "description":
		t.Description = r.Str()
	case "strict":
		t.Strict = r.Flag()
	case "inputSchema":
		r.object(func(name string) {
			if name == "json" {
				t.Parameters = r.Copy()
				return
			}
			r.Raw()
		})
	default:
		r.Raw()
	}
}

// output reads what the answer must look like. The schema is JSON in a string.
func (r *reader) output(q *chat.Request, name string) {
	if name != "textFormat" {
		r.Raw()
		return
	}
	f := &q.Format
	r.object(func(name string) {
		switch name {
		case "type":
			f.Type = r.Str()
		case "structure":
			r.object(func(name string) {
				if name != "jsonSchema" {
					r.Raw()
					return
				}
				r.object(func(name string) { r.schema(f, name) })
			})
		default:
			r.Raw()
		}
	})
}

func (r *reader) schema(f *chat.Format, name string) {
	switch name {
	case "name":
		f.Name = r.Str()
	case "description":
		f.Description = r.Str()
	case "schema":
		f.Schema = json.RawMessage(r.Str())
		if !json.Valid(f.Schema) {
			r.Wrong("must be a JSON schema in a string")
		}
	default:
		r.Raw()
	}
}

// fields reads what the model alone understands: how much it shall think and how it draws words.
// What is left stays under the name of all.
func (r *reader) fields(q *chat.Request) {
	rest := []byte{'{'}
	r.object(func(name string) {
		switch name {
		case "top_k", "k", "topK":
			q.TopK = r.Whole()
		case "thinking", "reasoningConfig", "reasoning_config":
			r.thinking(q)
		case "reasoning_effort":
			q.Reasoning.Effort = r.Str()
		case "output_config":
			r.object(func(name string) {
				if name == "effort" {
					q.Reasoning.Effort = r.Str()
					return
				}
				r.Raw()
			})
		default:
			rest = append(llm.AppendString(llm.AppendComma(rest), name), ':')
			rest = llm.AppendRaw(rest, r.Raw())
		}
	})
	if len(rest) > 1 {
		if q.Extra == nil {
			q.Extra = make(map[string]json.RawMessage)
		}
		q.Extra["additionalModelRequestFields"] = append(rest, '}')
	}
}

// thinking reads the object of Claude or of Nova.
func (r *reader) thinking(q *chat.Request) {
	g := &q.Reasoning
	r.object(func(name string) {
		switch name {
		case "type":
			switch r.Str() {
			case "disabled":
				g.Budget = new(int64)
			case "adaptive":
				g.Adaptive = true
			}
		case "budget_tokens":
			if n := r.Whole(); n != nil {
				g.Budget = n
			}
		case "maxReasoningEffort":
			g.Effort = r.Str()
		default:
			r.Raw()
		}
	})
}
