package mock

import (
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/conclave-llm/conclave/llm"
)

// signature is that of all thoughts. Others are refused.
const signature = "bW9jay1zaWduYXR1cmU="

// thoughts are what the model thinks.
var thoughts = []string{"Let", " me", " think", "."}

// isAnthropic says whether a request is in Anthropic's format.
func isAnthropic(r *http.Request) bool {
	return strings.HasPrefix(strings.TrimPrefix(r.URL.Path, "/v1"), "/messages")
}

// messagesRequest is what is read of a request in Anthropic's format.
type messagesRequest struct {
	MaxTokens *int64     `json:"max_tokens"`
	Messages  []said     `json:"messages"`
	Tools     []said     `json:"tools"`
	Choice    toolChoice `json:"tool_choice"`
	Thinking  struct {
		Type   string `json:"type"`
		Budget int64  `json:"budget_tokens"`
	} `json:"thinking"`
	Output struct {
		Format struct {
			Schema *schema `json:"schema"`
		} `json:"format"`
	} `json:"output_config"`
}

type toolChoice struct {
	Type string `json:"type"`
	Name string `json:"name"`
}

// said is a message, a block of one, or a tool.
type said struct {
	Role      string          `json:"role"`
	Type      string          `json:"type"`
	Content   json.RawMessage `json:"content"`
	Text      string          `json:"text"`
	ID        string          `json:"id"`
	ToolUseID string          `json:"tool_use_id"`
	Signature string          `json:"signature"`
	Name      string          `json:"name"`
	Schema    schema          `json:"input_schema"`
}

// blocks are the blocks of a message.
func (m *said) blocks() ([]said, error) {
	var text string
	if json.Unmarshal(m.Content, &text) == nil {
		return []said{{Type: "text", Text: text}}, nil
	}
	var list []said
	err := json.Unmarshal(m.Content, &list)
	return list, err
}

// refused is the error of a request that is wrong.
func refused(message string) error { return &llm.Error{Kind: llm.Invalid, Message: message} }

// readMessages reads a request and refuses what Anthropic does. It returns the blocks of the last
// message.
func (x *exchange) readMessages() (req messagesRequest, last []said, err error) {
	if x.r.Header.Get("Anthropic-Version") == "" {
		return req, nil, refused("anthropic-version: header is required")
	}
	if err := json.Unmarshal(x.body, &req); err != nil {
		return req, nil, refused("The request could not be read: " + err.Error())
	}
	if len(req.Messages) == 0 {
		return req, nil, refused("messages: at least one message is required")
	}
	var calls []string // of the message before
	for i := range req.Messages {
		m, at := &req.Messages[i], "messages."+strconv.Itoa(i)
		if last, err = m.blocks(); err != nil || m.Role != "user" && m.Role != "assistant" {
			return req, nil, refused(at + ": Input should be a message of user or assistant")
		}
		if calls, err = follow(calls, last, at); err != nil {
			return req, nil, err
		}
	}
	return req, last, nil
}

// follow checks that a message gives a result for each of the calls before it and no other, and
// that thoughts are the mock's own. It returns the calls of the message.
func follow(calls []string, blocks []said, at string) (next []string, err error) {
	for i, b := range blocks {
		switch b.Type {
		case "tool_use":
			next = append(next, b.ID)
		case "tool_result":
			k := slices.Index(calls, b.ToolUseID)
			if k < 0 {
				return nil, refused(at + ".content." + strconv.Itoa(i) + ": unexpected `tool_use_id` found in `tool_result` blocks: " + b.ToolUseID)
			}
			calls = slices.Delete(calls, k, k+1)
		case "thinking":
			if b.Signature != signature {
				return nil, refused(at + ".content." + strconv.Itoa(i) + ": Invalid `signature` in `thinking` block")
			}
		case "text":
			if strings.TrimSpace(b.Text) == "" {
				return nil, refused(at + ": text content blocks must be non-empty")
			}
		}
	}
	if len(calls) > 0 {
		return nil, refused(at + ": `tool_use` ids were found without `tool_result` blocks immediately after: " + strings.Join(calls, ", "))
	}
	return next, nil
}

// messages answers /v1/messages.
func (s *Server) messages(x *exchange) error {
	req, last, err := x.readMessages()
	switch {
	case err != nil:
		return err
	case req.MaxTokens == nil:
		return refused("max_tokens: Field required")
	case req.Thinking.Type == "enabled" && (req.Thinking.Budget < 1024 || req.Thinking.Budget >= *req.MaxTokens):
		return refused("`max_tokens` must be greater than `thinking.budget_tokens`, which must be at least 1024.")
	}
	rp, err := x.messagesReply(&req, last)
	if err != nil {
		return err
	}
	if req.Thinking.Type == "enabled" || req.Thinking.Type == "adaptive" {
		rp.thinks = thoughts
	}
	x.count(&rp)
	if len(x.plan.usage) < 4 {
		rp.usage.reasoning = int64(len(rp.thinks))
	}
	id := s.ids.Add(1)
	x.w.Header()["Request-Id"] = []string{"req_mock_" + strconv.FormatUint(id, 10)}
	if x.fields.Stream {
		return x.streamMessage(&rp, id)
	}
	out := x.messageHead(id)
	out = rp.appendBlocks(out)
	out = append(out, `],"stop_reason":"`...)
	out = append(out, rp.finish...)
	out = append(out, `","stop_sequence":null,"usage":`...)
	return x.send(&rp, append(rp.usage.appendAnthropic(out), '}'))
}

// countTokens answers /v1/messages/count_tokens, which costs nothing.
func (s *Server) countTokens(x *exchange) error {
	if _, _, err := x.readMessages(); err != nil {
		return err
	}
	x.entry.Whole = true
	writeJSON(x.w, map[string]int64{"input_tokens": max(1, (x.fields.PromptBytes+3)/4)})
	return nil
}

// messagesReply decides what is answered: the call of a tool that is forced, or of the first unless
// a tool has just answered, else what is asked for in the form that is asked for.
func (x *exchange) messagesReply(req *messagesRequest, last []said) (rp reply, err error) {
	if x.plan.refuse {
		return reply{pieces: apology, finish: "refusal"}, nil
	}
	answered := slices.ContainsFunc(last, func(b said) bool { return b.Type == "tool_result" })
	forced := req.Choice.Type == "any" || req.Choice.Type == "tool"
	if req.Choice.Type != "none" && (forced || !answered) {
		for i := range req.Tools {
			t := &req.Tools[i]
			if (t.Type == "" || t.Type == "custom") && (req.Choice.Name == "" || t.Name == req.Choice.Name) {
				return reply{tool: t.Name, args: pieces(t.Schema.example(0)), finish: "tool_use"}, nil
			}
		}
		if forced {
			return rp, refused("tool_choice: the chosen tool is not among the tools")
		}
	}
	rp = reply{finish: "end_turn"}
	if schema := req.Output.Format.Schema; schema != nil {
		rp.pieces = pieces(schema.example(0))
	} else {
		rp.pieces = x.echo(lastSaid(last))
	}
	if rp.limit(*req.MaxTokens); rp.finish == "length" {
		rp.finish = "max_tokens"
	}
	return rp, nil
}

// lastSaid is the last text of a message, as it stands in JSON.
func lastSaid(blocks []said) []byte {
	for _, b := range slices.Backward(blocks) {
		if b.Type == "text" {
			q := llm.AppendString(nil, b.Text)
			return q[1 : len(q)-1]
		}
	}
	return []byte("nothing")
}

// messageHead begins a message up to its content.
func (x *exchange) messageHead(id uint64) []byte {
	out := append(make([]byte, 0, 1<<10), `{"id":"msg_mock_`...)
	out = strconv.AppendUint(out, id, 10)
	out = append(out, `","type":"message","role":"assistant","model":`...)
	out = llm.AppendString(out, x.fields.Model)
	return append(out, `,"content":[`...)
}

// appendBlocks appends the blocks of a whole message.
func (rp *reply) appendBlocks(out []byte) []byte {
	if len(rp.thinks) > 0 {
		out = append(out, `{"type":"thinking","thinking":"`...)
		out = append(out, strings.Join(rp.thinks, "")...)
		out = append(out, `","signature":"`+signature+`"},`...)
	}
	if rp.tool == "" {
		out = append(out, `{"type":"text","text":"`...)
		out = append(out, strings.Join(rp.pieces, "")...)
		return append(out, `"}`...)
	}
	out = rp.appendCall(out)
	var input string
	_ = json.Unmarshal([]byte(`"`+strings.Join(rp.args, "")+`"`), &input) // was made by pieces
	out = append(out, input...)
	return append(out, '}')
}

// appendCall appends the block of a call up to its input.
func (rp *reply) appendCall(out []byte) []byte {
	out = append(out, `{"type":"tool_use","id":"toolu_mock","name":`...)
	out = llm.AppendString(out, rp.tool)
	return append(out, `,"input":`...)
}

// appendAnthropic appends usage as Anthropic has it: the cached part of the prompt stands beside
// the rest.
func (u usage) appendAnthropic(out []byte) []byte {
	for _, f := range []struct {
		name string
		n    int64
	}{
		{`{"input_tokens":`, max(0, u.prompt-u.cached)},
		{`,"cache_creation_input_tokens":0,"cache_read_input_tokens":`, u.cached},
		{`,"output_tokens":`, u.completion},
	} {
		out = append(out, f.name...)
		out = strconv.AppendInt(out, f.n, 10)
	}
	if u.reasoning > 0 {
		out = append(out, `,"output_tokens_details":{"thinking_tokens":`...)
		out = append(strconv.AppendInt(out, u.reasoning, 10), '}')
	}
	return append(out, `,"service_tier":"standard"}`...)
}

// writeAnthropicError writes an error in Anthropic's shape.
func (s *Server) writeAnthropicError(w http.ResponseWriter, e *llm.Error) {
	if e.Kind == llm.Canceled {
		return
	}
	typ := llm.ErrorType(e.HTTPStatus())
	switch {
	case e.HTTPStatus() == http.StatusRequestEntityTooLarge:
		typ = "request_too_large"
	case e.HTTPStatus() == 529:
		typ = "overloaded_error"
	case e.HTTPStatus() >= 500:
		typ = "api_error"
	}
	id := "req_mock_" + strconv.FormatUint(s.ids.Add(1), 10)
	w.Header()["Content-Type"] = jsonType
	w.Header()["Request-Id"] = []string{id}
	llm.SetErrorHeaders(w.Header(), e)
	w.WriteHeader(e.HTTPStatus())
	writeJSON(w, map[string]any{"type": "error", "error": map[string]string{"type": typ, "message": e.Message}, "request_id": id})
}
