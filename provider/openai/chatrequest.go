package openai

import (
	"bytes"
	"encoding/json"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/chat"
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
	r := reader{Cursor: llm.NewCursor(body)}
	q := new(chat.Request)
	var limits [2]int64
	r.members(func(name string) {
		switch name {
		case "max_completion_tokens":
			limits[0] = r.count()
		case "max_tokens":
			limits[1] = r.count()
		case "messages":
			q.Messages = r.messages()
		default:
			r.member(q, name)
		}
	})
	if q.MaxTokens = limits[0]; q.MaxTokens == 0 {
		q.MaxTokens = limits[1]
	}
	if r.err == nil && len(q.Messages) == 0 && r.Err() == nil {
		r.err = invalid("messages", "must have at least one message")
	}
	if err := r.finish(); err != nil {
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
}

// members are the readers of what stands at the top.
var members = map[string]func(*reader, *chat.Request){
	"model":             func(r *reader, q *chat.Request) { q.Model = r.text() },
	"stream":            func(r *reader, q *chat.Request) { q.Stream = r.isTrue() },
	"stream_options":    (*reader).streamOptions,
	"temperature":       func(r *reader, q *chat.Request) { q.Temperature = r.float() },
	"top_p":             func(r *reader, q *chat.Request) { q.TopP = r.float() },
	"top_k":             func(r *reader, q *chat.Request) { q.TopK = r.integer() },
	"min_p":             func(r *reader, q *chat.Request) { q.MinP = r.float() },
	"frequency_penalty": func(r *reader, q *chat.Request) { q.FrequencyPenalty = r.float() },
	"presence_penalty":  func(r *reader, q *chat.Request) { q.PresencePenalty = r.float() },
	"stop":              func(r *reader, q *chat.Request) { q.Stop = r.texts() },
	"seed":              func(r *reader, q *chat.Request) { q.Seed = r.integer() },
	"n":                 func(r *reader, q *chat.Request) { q.N = r.count() },
	"logprobs":          func(r *reader, q *chat.Request) { q.LogProbs = r.isTrue() },
	"top_logprobs":      func(r *reader, q *chat.Request) { q.TopLogProbs = r.count() },
	"logit_bias":        func(r *reader, q *chat.Request) { q.LogitBias = r.Copy() },
	"tools":             (*reader).tools,
	"functions":         (*reader).functions,
	"tool_choice":       (*reader).toolChoice,
	"function_call":     (*reader).toolChoice,
	"parallel_tool_calls": func(r *reader, q *chat.Request) {
		q.ParallelTools = r.boolean()
	},
	"response_format":    (*reader).responseFormat,
	"reasoning_effort":   func(r *reader, q *chat.Request) { q.Reasoning.Effort = r.text() },
	"reasoning":          (*reader).reasoning,
	"thinking":           (*reader).thinking,
	"modalities":         func(r *reader, q *chat.Request) { q.Modalities = r.texts() },
	"audio":              func(r *reader, q *chat.Request) { q.Audio = r.Copy() },
	"prediction":         func(r *reader, q *chat.Request) { q.Prediction = r.Copy() },
	"web_search_options": func(r *reader, q *chat.Request) { q.WebSearch = r.Copy() },
	"verbosity":          func(r *reader, q *chat.Request) { q.Verbosity = r.text() },
	"user":               func(r *reader, q *chat.Request) { q.User = r.text() },
	"service_tier":       func(r *reader, q *chat.Request) { q.ServiceTier = r.text() },
	"prompt_cache_key":   func(r *reader, q *chat.Request) { q.CacheKey = r.text() },
	"metadata":           func(r *reader, q *chat.Request) { q.Metadata = r.Copy() },
	"cache_control":      func(r *reader, q *chat.Request) { q.CacheControl = r.Copy() },
}

func (r *reader) streamOptions(q *chat.Request) {
	r.object(func(name string) {
		if name == "include_usage" {
			q.IncludeUsage = r.isTrue()
			return
		}
		r.Raw()
	})
}

// reasoning reads the object of OpenRouter and of OpenAI's responses.
func (r *reader) reasoning(q *chat.Request) {
	g := &q.Reasoning
	r.object(func(name string) {
		switch name {
		case "effort":
			g.Effort = r.text()
		case "summary", "generate_summary":
			g.Summary = r.text()
		case "max_tokens":
			g.Budget = r.integer()
		case "exclude":
			if r.isTrue() {
				g.Summary = "none"
			}
		case "enabled":
			if v := r.boolean(); v != nil && g.Effort == "" {
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
	r.object(func(name string) {
		switch name {
		case "type":
			switch r.text() {
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
			if n := r.integer(); n != nil {
				g.Budget = n
			}
		default:
			r.Raw()
		}
	})
}

func (r *reader) responseFormat(q *chat.Request) {
	f := &q.Format
	r.object(func(name string) {
		switch name {
		case "type":
			if f.Type = r.text(); f.Type == "text" {
				f.Type = ""
			}
		case "json_schema":
			r.object(func(name string) { r.schema(f, name) })
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
		f.Name = r.text()
	case "description":
		f.Description = r.text()
	case "schema":
		f.Schema = r.Copy()
	case "strict":
		f.Strict = r.boolean()
	default:
		r.Raw()
	}
}

func (r *reader) tools(q *chat.Request) {
	r.list(func(int) {
		if t, ok := r.tool(); ok {
			q.Tools = append(q.Tools, t)
		}
	})
}

func (r *reader) functions(q *chat.Request) {
	r.list(func(int) {
		t := chat.Tool{Origin: originFunctions}
		r.entry(func(name string) { r.function(&t, name) })
		q.Tools = append(q.Tools, t)
	})
}

// tool reads an entry of tools.
func (r *reader) tool() (t chat.Tool, ok bool) {
	if r.Next() != '{' {
		r.wrongAt(r.prefix[:len(r.prefix)-1], "must be an object")
		r.Raw()
		return t, false
	}
	raw := r.Raw()
	in := reader{Cursor: llm.NewCursor(raw), prefix: r.prefix}
	kind := ""
	in.members(func(name string) {
		switch name {
		case "type":
			kind = in.text()
		case "function", "custom":
			in.object(func(name string) { in.function(&t, name) })
		case "cache_control":
			t.CacheControl = in.Copy()
		default:
			in.function(&t, name)
		}
	})
	if in.err != nil && r.err == nil {
		r.err = in.err
	}
	r.kind(&t, kind, raw)
	return t, true
}

// kind makes of an entry of tools what its type says.
func (r *reader) kind(t *chat.Tool, kind string, raw []byte) {
	switch kind {
	case "function", "":
		if t.Name == "" {
			r.wrongAt(r.prefix+"function.name", "must not be empty")
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
		t.Name = r.text()
	case "description":
		t.Description = r.text()
	case "parameters", "input_schema":
		t.Parameters = r.Copy()
	case "strict":
		t.Strict = r.boolean()
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
			r.wrong(`must be "auto", "none", "required" or an object`)
		}
		return
	}
	r.object(func(name string) {
		switch name {
		case "type":
			c.Mode = choiceMode(r.text())
		case "name":
			c.Name = r.text()
		case "function", "custom":
			r.object(func(name string) {
				if name == "name" {
					c.Name = r.text()
					return
				}
				r.Raw()
			})
		case "allowed_tools":
			r.object(func(name string) { r.allowed(c, name) })
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
		c.Mode = r.text()
	case "tools":
		r.list(func(int) {
			var t chat.Tool
			r.members(func(name string) {
				switch name {
				case "function", "custom":
					r.members(func(name string) { r.function(&t, name) })
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
