package openai

import (
	"bytes"
	"encoding/json"

	"github.com/conclave-llm/conclave/llm/chat"
	"github.com/conclave-llm/conclave/llm/jsonread"
)

// The names of the dialects, for what only they understand.
const (
	originChat      = "chat"
	originFunctions = "functions" // of a tool: the client speaks of functions, as of old
)

// customParameters is the schema of a tool that takes a text, for vendors that know objects only.
var customParameters = json.RawMessage(`{"type":"object","properties":{"input":{"type":"string"}},"required":["input"],"additionalProperties":false}`)

// DecodeRequest reads a request for a chat completion.
func (Chat) DecodeRequest(body []byte) (*chat.Request, error) {
	r := reader{jsonread.New(body)}
	q := new(chat.Request)
	var limits [2]int64
	r.Members(func(name string) {
		switch name {
		case "max_completion_tokens":
			limits[0] = r.Count()
		case "max_tokens":
			limits[1] = r.Count()
		case "messages":
			q.Messages = r.messages()
		default:
			r.member(q, name)
		}
	})
	if q.MaxTokens = limits[0]; q.MaxTokens == 0 {
		q.MaxTokens = limits[1]
	}
	if r.Fault == nil && len(q.Messages) == 0 && r.Err() == nil {
		r.Fault = jsonread.Invalid("messages", "must have at least one message")
	}
	if err := r.Finish(); err != nil {
		return nil, err
	}
	nameResults(q.Messages)
	return q, nil
}

// member reads a member at the top that all of OpenAI's dialects may have.
func (r *reader) member(q *chat.Request, name string) {
	if read, ok := members[name]; ok {
		read(r, q)
		return
	}
	raw := r.Copy()
	if raw == nil || ownMembers[name] {
		return
	}
	if q.Extra == nil {
		q.Extra = make(map[string]json.RawMessage)
	}
	q.Extra[name] = raw
}

// ownMembers are those that the gateway itself acts on.
var ownMembers = map[string]bool{
	"tags": true, "guardrails": true, "litellm_session_id": true, "litellm_trace_id": true, "fallbacks": true,
	"disable_fallbacks": true, "num_retries": true, "timeout": true,
	"prompt_id": true, "prompt_variables": true, "prompt_version": true, "prompt_label": true, "prompt_environment": true,
}

// members are the readers of what stands at the top.
var members = map[string]func(*reader, *chat.Request){
	"model":             func(r *reader, q *chat.Request) { q.Model = r.Str() },
	"stream":            func(r *reader, q *chat.Request) { q.Stream = r.True() },
	"stream_options":    (*reader).streamOptions,
	"temperature":       func(r *reader, q *chat.Request) { q.Temperature = r.Number() },
	"top_p":             func(r *reader, q *chat.Request) { q.TopP = r.Number() },
	"top_k":             func(r *reader, q *chat.Request) { q.TopK = r.Whole() },
	"min_p":             func(r *reader, q *chat.Request) { q.MinP = r.Number() },
	"frequency_penalty": func(r *reader, q *chat.Request) { q.FrequencyPenalty = r.Number() },
	"presence_penalty":  func(r *reader, q *chat.Request) { q.PresencePenalty = r.Number() },
	"stop":              func(r *reader, q *chat.Request) { q.Stop = r.Strs() },
	"seed":              func(r *reader, q *chat.Request) { q.Seed = r.Whole() },
	"n":                 func(r *reader, q *chat.Request) { q.N = r.Count() },
	"logprobs":          func(r *reader, q *chat.Request) { q.LogProbs = r.True() },
	"top_logprobs":      func(r *reader, q *chat.Request) { q.TopLogProbs = r.Count() },
	"logit_bias":        func(r *reader, q *chat.Request) { q.LogitBias = r.Copy() },
	"tools":             (*reader).tools,
	"functions":         (*reader).functions,
	"tool_choice":       (*reader).toolChoice,
	"function_call":     (*reader).toolChoice,
	"parallel_tool_calls": func(r *reader, q *chat.Request) {
		q.ParallelTools = r.Flag()
	},
	"response_format":    (*reader).responseFormat,
	"reasoning_effort":   func(r *reader, q *chat.Request) { q.Reasoning.Effort = r.Str() },
	"reasoning":          (*reader).reasoning,
	"thinking":           (*reader).thinking,
	"modalities":         func(r *reader, q *chat.Request) { q.Modalities = r.Strs() },
	"audio":              func(r *reader, q *chat.Request) { q.Audio = r.Copy() },
	"prediction":         func(r *reader, q *chat.Request) { q.Prediction = r.Copy() },
	"web_search_options": func(r *reader, q *chat.Request) { q.WebSearch = r.Copy() },
	"verbosity":          func(r *reader, q *chat.Request) { q.Verbosity = r.Str() },
	"user":               func(r *reader, q *chat.Request) { q.User = r.Str() },
	"service_tier":       func(r *reader, q *chat.Request) { q.ServiceTier = r.Str() },
	"prompt_cache_key":   func(r *reader, q *chat.Request) { q.CacheKey = r.Str() },
	"metadata":           func(r *reader, q *chat.Request) { q.Metadata = r.Copy() },
	"cache_control":      func(r *reader, q *chat.Request) { q.CacheControl = r.Copy() },
}

func (r *reader) streamOptions(q *chat.Request) {
	r.Object(func(name string) {
		if name == "include_usage" {
			q.IncludeUsage = r.True()
			return
		}
		r.Raw()
	})
}

// reasoning reads the object of OpenRouter and of OpenAI's responses.
func (r *reader) reasoning(q *chat.Request) {
	g := &q.Reasoning
	r.Object(func(name string) {
		switch name {
		case "effort":
			g.Effort = r.Str()
		case "summary", "generate_summary":
			g.Summary = r.Str()
		case "max_tokens":
			g.Budget = r.Whole()
		case "exclude":
			if r.True() {
				g.Summary = "none"
			}
		case "enabled":
			if v := r.Flag(); v != nil && g.Effort == "" {
				g.Effort = map[bool]string{false: "none", true: "medium"}[*v]
			}
		default:
			r.Raw()
		}
	})
}

// thinking reads Anthropic's object, which clients of LiteLLM send here.
func (r *reader) thinking(q *chat.Request) {
	g := &q.Reasoning
	r.Object(func(name string) {
		switch name {
		case "type":
			switch r.Str() {
			case "disabled":
				g.Budget = new(int64)
			case "adaptive":
				g.Adaptive = true
			case "enabled":
				if g.Budget == nil && g.Effort == "" {
					g.Budget = new(int64)
					*g.Budget = -1
				}
			}
		case "budget_tokens":
			if n := r.Whole(); n != nil {
				g.Budget = n
			}
		default:
			r.Raw()
		}
	})
}

func (r *reader) responseFormat(q *chat.Request) {
	f := &q.Format
	r.Object(func(name string) {
		switch name {
		case "type":
			if f.Type = r.Str(); f.Type == "text" {
				f.Type = ""
			}
		case "json_schema":
			r.Object(func(name string) { r.schema(f, name) })
		case "schema": // of the vendors that have it beside the type
			f.Schema = r.Copy()
		default:
			r.Raw()
		}
	})
	if f.Type == "json_object" && f.Schema != nil {
		f.Type = "json_schema"
	}
}

// schema reads a member of a format's schema.
func (r *reader) schema(f *chat.Format, name string) {
	switch name {
	case "name":
		f.Name = r.Str()
	case "description":
		f.Description = r.Str()
	case "schema":
		f.Schema = r.Copy()
	case "strict":
		f.Strict = r.Flag()
	default:
		r.Raw()
	}
}

func (r *reader) tools(q *chat.Request) {
	r.List(func(int) {
		if t, ok := r.tool(); ok {
			q.Tools = append(q.Tools, t)
		}
	})
}

func (r *reader) functions(q *chat.Request) {
	r.List(func(int) {
		t := chat.Tool{Origin: originFunctions}
		r.Entry(func(name string) { r.function(&t, name) })
		q.Tools = append(q.Tools, t)
	})
}

// tool reads an entry of tools.
func (r *reader) tool() (t chat.Tool, ok bool) {
	if r.Next() != '{' {
		r.WrongAt(r.Prefix[:len(r.Prefix)-1], "must be an object")
		r.Raw()
		return t, false
	}
	raw := r.Raw()
	in := reader{jsonread.Within(raw, r.Prefix)}
	kind := ""
	in.Members(func(name string) {
		switch name {
		case "type":
			kind = in.Str()
		case "function", "custom":
			in.Object(func(name string) { in.function(&t, name) })
		case "cache_control":
			t.CacheControl = in.Copy()
		default:
			in.function(&t, name)
		}
	})
	if in.Fault != nil && r.Fault == nil {
		r.Fault = in.Fault
	}
	r.kind(&t, kind, raw)
	return t, true
}

// kind makes of an entry of tools what its type says.
func (r *reader) kind(t *chat.Tool, kind string, raw []byte) {
	switch kind {
	case "function", "":
		if t.Name == "" {
			r.WrongAt(r.Prefix+"function.name", "must not be empty")
		}
		return
	case "custom":
		if t.Name != "" {
			t.Parameters, t.Strict = customParameters, nil
			break
		}
		fallthrough
	default:
		t.Kind = kind
	}
	t.Raw, t.Origin = bytes.Clone(raw), originChat
}

// function reads a member of a function.
func (r *reader) function(t *chat.Tool, name string) {
	switch name {
	case "name":
		t.Name = r.Str()
	case "description":
		t.Description = r.Str()
	case "parameters", "input_schema":
		t.Parameters = r.Copy()
	case "strict":
		t.Strict = r.Flag()
	default:
		r.Raw()
	}
}

// toolChoice reads tool_choice or function_call.
func (r *reader) toolChoice(q *chat.Request) {
	c := &q.ToolChoice
	if r.Next() == '"' {
		switch c.Mode = r.Text(); c.Mode {
		case "auto", "none", "required":
		case "any":
			c.Mode = "required"
		default:
			r.Wrong(`must be "auto", "none", "required" or an object`)
		}
		return
	}
	r.Object(func(name string) {
		switch name {
		case "type":
			c.Mode = choiceMode(r.Str())
		case "name":
			c.Name = r.Str()
		case "function", "custom":
			r.Object(func(name string) {
				if name == "name" {
					c.Name = r.Str()
					return
				}
				r.Raw()
			})
		case "allowed_tools":
			r.Object(func(name string) { r.allowed(c, name) })
		case "mode", "tools":
			r.allowed(c, name)
		default:
			r.Raw()
		}
	})
	if c.Name != "" {
		c.Mode = "tool"
	}
}

// choiceMode is the mode that the type of a tool_choice means, in OpenAI's words and in Anthropic's.
func choiceMode(typ string) string {
	switch typ {
	case "auto", "none", "required":
		return typ
	case "any":
		return "required"
	}
	return ""
}

// allowed reads a member of the tools that may be called.
func (r *reader) allowed(c *chat.ToolChoice, name string) {
	switch name {
	case "mode":
		c.Mode = r.Str()
	case "tools":
		r.List(func(int) {
			var t chat.Tool
			r.Members(func(name string) {
				switch name {
				case "function", "custom":
					r.Members(func(name string) { r.function(&t, name) })
				default:
					r.function(&t, name)
				}
			})
			if t.Name != "" {
				c.Only = append(c.Only, t.Name)
			}
		})
	default:
		r.Raw()
	}
}
