package mock

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"

	"github.com/conclave-llm/conclave/llm"
)

// maxWords bounds an echo.
const maxWords = 200

// lorem fills answers of a given number of chunks.
var lorem = strings.SplitAfter("lorem ipsum dolor sit amet consectetur adipiscing elit sed do eiusmod tempor incididunt ut labore et dolore magna aliqua ", " ")[:19]

// apology is what a refusal says.
var apology = []string{"I", " am", " sorry,", " I", " cannot", " help", " with", " that."}

// chatReply decides what is answered: a tool call, a JSON object, or words.
func (x *exchange) chatReply() (rp reply, err error) {
	if x.plan.refuse {
		rp = reply{pieces: apology, refusal: true, finish: "stop"}
		rp.limit(x.fields.MaxTokens)
	} else if rp, err = x.chatAnswer(); err != nil {
		return rp, err
	}
	if rp.tool == "" {
		rp.probs = x.openAIProbs()
	}
	return rp, nil
}

// chatAnswer is what is answered if nothing is refused.
func (x *exchange) chatAnswer() (reply, error) {
	if x.fields.HasTools || bytes.Contains(x.body, []byte(`"response_format"`)) {
		var req structured
		if err := json.Unmarshal(x.body, &req); err != nil {
			return reply{}, &llm.Error{Kind: llm.Invalid, Message: "The request could not be read: " + err.Error()}
		}
		if rp, ok, err := req.reply(); ok || err != nil {
			if rp.tool == "" {
				rp.limit(x.fields.MaxTokens)
			}
			return rp, err
		}
	}
	rp := reply{pieces: x.words(`"content"`), finish: "stop"}
	rp.limit(x.fields.MaxTokens)
	return rp, nil
}

// words is the answer in words: as many as the plan says, else an echo of the last text that
// stands behind key.
func (x *exchange) words(key string) []string { return x.echo(lastText(x.body, key)) }

// echo is the answer in words to a text, which is as it stands in JSON.
func (x *exchange) echo(text []byte) []string {
	if n := x.plan.chunks; n > 0 {
		words := make([]string, n)
		for i := range words {
			words[i] = lorem[i%len(lorem)]
		}
		return words
	}
	words := []string{"You", " said:"}
	for w := range bytes.FieldsSeq(text) {
		if len(words) == maxWords {
			break
		}
		words = append(words, " "+string(w))
	}
	return words
}

// lastText finds the last string behind key, or behind "text" within its array of parts. The
// text is as it stands in the JSON, whose syntax was checked.
func lastText(body []byte, key string) []byte {
	for _, k := range []string{key, `"text"`} {
		i := bytes.LastIndex(body, []byte(k))
		if i < 0 {
			continue
		}
		rest := bytes.TrimLeft(body[i+len(k):], " \t\r\n")
		if len(rest) == 0 || rest[0] != ':' {
			continue
		}
		rest = bytes.TrimLeft(rest[1:], " \t\r\n[")
		if len(rest) == 0 || rest[0] != '"' {
			continue
		}
		for j := 1; j < len(rest); j++ {
			switch rest[j] {
			case '\\':
				j++
			case '"':
				return rest[1:j]
			}
		}
	}
	return []byte("nothing")
}

// structured are the fields of a request that ask for structured output.
type structured struct {
	Messages []struct {
		Role string `json:"role"`
	} `json:"messages"`
	Tools []struct {
		Function function `json:"function"`
	} `json:"tools"`
	Functions      []function      `json:"functions"`
	ToolChoice     json.RawMessage `json:"tool_choice"`
	ResponseFormat struct {
		Type       string `json:"type"`
		JSONSchema struct {
			Schema schema `json:"schema"`
		} `json:"json_schema"`
	} `json:"response_format"`
}

type function struct {
	Name       string `json:"name"`
	Parameters schema `json:"parameters"`
}

// reply calls the tool that is forced, else the first unless a tool has just answered; without
// tools it makes the object that is asked for. ok is false if words will do.
func (req *structured) reply() (rp reply, ok bool, err error) {
	tools := req.Functions
	for _, t := range req.Tools {
		tools = append(tools, t.Function)
	}
	tool, forced, err := chosen(tools, req.ToolChoice)
	answered := len(req.Messages) > 0 && slices.Contains([]string{"tool", "function"}, req.Messages[len(req.Messages)-1].Role)
	switch {
	case err != nil:
		return rp, false, err
	case tool != nil && (forced || !answered):
		return reply{tool: tool.Name, args: pieces(tool.Parameters.example(0)), finish: "tool_calls"}, true, nil
	case req.ResponseFormat.Type == "json_schema":
		return reply{pieces: pieces(req.ResponseFormat.JSONSchema.Schema.example(0)), finish: "stop"}, true, nil
	case req.ResponseFormat.Type == "json_object":
		return reply{pieces: pieces(map[string]any{"answer": "text"}), finish: "stop"}, true, nil
	}
	return rp, false, nil
}

// chosen picks the tool that a tool_choice names, or the first; nil for "none".
func chosen(tools []function, choice json.RawMessage) (tool *function, forced bool, err error) {
	if len(tools) == 0 || string(choice) == `"none"` {
		return nil, false, nil
	}
	var named struct {
		Function struct {
			Name string `json:"name"`
		} `json:"function"`
	}
	if len(choice) == 0 || choice[0] != '{' {
		return &tools[0], string(choice) == `"required"`, nil
	}
	if err := json.Unmarshal(choice, &named); err != nil {
		return nil, false, &llm.Error{Kind: llm.Invalid, Param: "tool_choice", Message: "The choice of a tool could not be read."}
	}
	for i := range tools {
		if tools[i].Name == named.Function.Name {
			return &tools[i], true, nil
		}
	}
	return nil, false, &llm.Error{Kind: llm.Invalid, Param: "tool_choice", Message: "The chosen tool is not among the tools."}
}

// pieces cuts the JSON of v into fragments of a JSON string, each a few characters long.
func pieces(v any) []string {
	data, err := json.Marshal(v)
	if err != nil {
		return nil // only plain values get here
	}
	var list []string
	for text := string(data); text != ""; {
		n := min(8, len(text))
		for n < len(text) && text[n]&0xC0 == 0x80 {
			n++ // not within a character
		}
		q := llm.AppendString(nil, text[:n])
		list = append(list, string(q[1:len(q)-1]))
		text = text[n:]
	}
	return list
}

// schema is as much of JSON Schema as an example needs.
type schema struct {
	Type       any               `json:"type"`
	Properties map[string]schema `json:"properties"`
	Items      *schema           `json:"items"`
	Enum       []any             `json:"enum"`
	Const      any               `json:"const"`
	Minimum    *float64          `json:"minimum"`
	AnyOf      []schema          `json:"anyOf"`
}

// example makes a value that fits, the same one each time.
func (s *schema) example(depth int) any {
	typ, _ := s.Type.(string)
	if list, ok := s.Type.([]any); ok && len(list) > 0 {
		typ, _ = list[0].(string)
	}
	typ = strings.ToLower(typ) // Google's are in capitals
	switch {
	case depth > 16:
		return nil
	case s.Const != nil:
		return s.Const
	case len(s.Enum) > 0:
		return s.Enum[0]
	case len(s.AnyOf) > 0:
		return s.AnyOf[0].example(depth + 1)
	case typ == "object" || s.Properties != nil || typ == "" && depth == 0:
		obj := make(map[string]any, len(s.Properties))
		for name, p := range s.Properties {
			obj[name] = p.example(depth + 1)
		}
		return obj
	case typ == "array":
		if s.Items == nil {
			return []any{}
		}
		return []any{s.Items.example(depth + 1)}
	}
	return s.scalar(typ)
}

func (s *schema) scalar(typ string) any {
	switch typ {
	case "integer", "number":
		if s.Minimum != nil {
			return *s.Minimum
		}
		return 1
	case "boolean":
		return true
	case "null":
		return nil
	}
	return "text"
}
