package mock

import (
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/provider/bedrock"
)

// conversePath reads the path of a request in Bedrock's format, /model/MODEL/converse or
// converse-stream.
func conversePath(r *http.Request) (model string, stream, ok bool) {
	rest, ok := strings.CutPrefix(r.URL.EscapedPath(), "/model/")
	if !ok {
		return "", false, false
	}
	model, verb, _ := strings.Cut(rest, "/")
	if model, err := url.PathUnescape(model); err == nil && model != "" && (verb == "converse" || verb == "converse-stream") {
		return model, verb == "converse-stream", true
	}
	return "", false, false
}

// converseRequest is what is read of a request in Bedrock's format.
type converseRequest struct {
	Messages []struct {
		Role    string        `json:"role"`
		Content []spokenBlock `json:"content"`
	} `json:"messages"`
	Inference struct {
		MaxTokens int64 `json:"maxTokens"`
	} `json:"inferenceConfig"`
	Tools *converseTools `json:"toolConfig"`
	Extra struct {
		Thinking struct {
			Type string `json:"type"`
		} `json:"thinking"`
	} `json:"additionalModelRequestFields"`
}

// spokenBlock is a block of a message.
type spokenBlock struct {
	Text    *string `json:"text"`
	ToolUse *struct {
		ID string `json:"toolUseId"`
	} `json:"toolUse"`
	ToolResult *struct {
		ID string `json:"toolUseId"`
	} `json:"toolResult"`
	Reasoning *struct {
		Text *struct {
			Signature string `json:"signature"`
		} `json:"reasoningText"`
	} `json:"reasoningContent"`
}

// converseTools are the tools, and which of them must be called.
type converseTools struct {
	Tools []struct {
		Spec *struct {
			Name   string `json:"name"`
			Schema struct {
				JSON schema `json:"json"`
			} `json:"inputSchema"`
		} `json:"toolSpec"`
	} `json:"tools"`
	Choice struct {
		Any  *struct{} `json:"any"`
		Tool *struct {
			Name string `json:"name"`
		} `json:"tool"`
	} `json:"toolChoice"`
}

// readConverse reads a request and refuses what Bedrock does. It returns the blocks of the last
// message.
func (x *exchange) readConverse() (req converseRequest, last []spokenBlock, err error) {
	if err := json.Unmarshal(x.body, &req); err != nil {
		return req, nil, refused("The request could not be read: " + err.Error())
	}
	if len(req.Messages) == 0 {
		return req, nil, refused("The messages field is empty. Add at least one message.")
	}
	role := "assistant"
	var calls []string // of the message before
	for i := range req.Messages {
		m, at := &req.Messages[i], "messages."+strconv.Itoa(i)
		if m.Role == role || m.Role != "user" && m.Role != "assistant" || len(m.Content) == 0 {
			return req, nil, refused("A conversation must start with a user message, alternate between user and assistant, and have no empty content: " + at)
		}
		role = m.Role
		if calls, err = answerCalls(calls, m.Content, at, req.Tools != nil); err != nil {
			return req, nil, err
		}
	}
	return req, req.Messages[len(req.Messages)-1].Content, nil
}

// answerCalls checks the blocks of a message, which must give a result for each of the calls
// before it. It returns the calls of the message.
func answerCalls(calls []string, blocks []spokenBlock, at string, tools bool) (next []string, err error) {
	for i, b := range blocks {
		at := at + ".content." + strconv.Itoa(i)
		switch {
		case (b.ToolUse != nil || b.ToolResult != nil) && !tools:
			return nil, refused("The toolConfig field must be defined when using toolUse and toolResult content blocks.")
		case b.ToolUse != nil:
			next = append(next, b.ToolUse.ID)
		case b.ToolResult != nil:
			k := slices.Index(calls, b.ToolResult.ID)
			if k < 0 {
				return nil, refused("The toolResult block at " + at + " belongs to no toolUse block of the previous turn.")
			}
			calls = slices.Delete(calls, k, k+1)
		case b.Reasoning != nil && b.Reasoning.Text != nil && b.Reasoning.Text.Signature != signature:
			return nil, refused("Invalid signature in the reasoningContent block at " + at)
		case b.Text != nil && strings.TrimSpace(*b.Text) == "":
			return nil, refused("The text field in the ContentBlock object at " + at + " is blank. Add text to the text field, and try again.")
		}
	}
	if len(calls) > 0 {
		return nil, refused("Expected toolResult blocks at " + at + " for the following Ids: " + strings.Join(calls, ", "))
	}
	return next, nil
}

// converse answers in Bedrock's format.
func (s *Server) converse(x *exchange) error {
	req, last, err := x.readConverse()
	if err != nil {
		return err
	}
	rp, err := x.converseReply(&req, last)
	if err != nil {
		return err
	}
	if t := req.Extra.Thinking.Type; t == "enabled" || t == "adaptive" {
		rp.thinks = thoughts
	}
	x.count(&rp)
	x.w.Header()["X-Amzn-Requestid"] = []string{"mock-" + strconv.FormatUint(s.ids.Add(1), 10)}
	if x.fields.Stream {
		return x.streamConverse(&rp)
	}
	out := append(make([]byte, 0, 1<<10), `{"output":{"message":{"role":"assistant","content":[`...)
	out = rp.appendConverse(out)
	out = append(out, `]}},"stopReason":"`+rp.finish+`","metrics":{"latencyMs":1},"usage":`...)
	return x.send(&rp, append(rp.usage.appendConverse(out), '}'))
}

// converseReply decides what is answered: the call of a tool that is forced, or of the first
// unless a tool has just answered, else an echo.
func (x *exchange) converseReply(req *converseRequest, last []spokenBlock) (rp reply, err error) {
	answered := slices.ContainsFunc(last, func(b spokenBlock) bool { return b.ToolResult != nil })
	if c := req.Tools; c != nil {
		forced := c.Choice.Any != nil || c.Choice.Tool != nil
		for _, t := range c.Tools {
			if t.Spec == nil || !forced && answered || c.Choice.Tool != nil && c.Choice.Tool.Name != t.Spec.Name {
				continue
			}
			return reply{tool: t.Spec.Name, args: pieces(t.Spec.Schema.JSON.example(0)), finish: "tool_use"}, nil
		}
		if forced {
			return rp, refused("The tool that toolChoice names is not among the tools.")
		}
	}
	text := []byte("nothing")
	for _, b := range slices.Backward(last) {
		if b.Text != nil {
			quoted := llm.AppendString(nil, *b.Text)
			text = quoted[1 : len(quoted)-1]
			break
		}
	}
	rp = reply{finish: "end_turn", pieces: x.echo(text)}
	if rp.limit(req.Inference.MaxTokens); rp.finish == "length" {
		rp.finish = "max_tokens"
	}
	return rp, nil
}

// appendConverse appends the blocks of a whole message.
func (rp *reply) appendConverse(out []byte) []byte {
	if len(rp.thinks) > 0 {
		out = append(out, `{"reasoningContent":{"reasoningText":{"text":"`+strings.Join(rp.thinks, "")+`","signature":"`+signature+`"}}},`...)
	}
	if rp.tool == "" {
		return append(out, `{"text":"`+strings.Join(rp.pieces, "")+`"}`...)
	}
	out = append(out, `{"toolUse":{"toolUseId":"tooluse_mock","name":`...)
	out = llm.AppendString(out, rp.tool)
	var input string
	_ = json.Unmarshal([]byte(`"`+strings.Join(rp.args, "")+`"`), &input) // was made by pieces
	return append(out, `,"input":`+input+`}}`...)
}

// appendConverse appends usage as Bedrock has it: the cached part of the prompt stands beside the
// rest.
func (u usage) appendConverse(out []byte) []byte {
	for _, f := range []struct {
		name string
		n    int64
	}{
		{`{"inputTokens":`, max(0, u.prompt-u.cached)},
		{`,"cacheReadInputTokens":`, u.cached},
		{`,"outputTokens":`, u.completion},
		{`,"totalTokens":`, u.prompt + u.completion},
	} {
		out = append(out, f.name...)
		out = strconv.AppendInt(out, f.n, 10)
	}
	return append(out, '}')
}

// streamConverse sends the reply as frames.
func (x *exchange) streamConverse(rp *reply) error {
	x.w.Header()["Content-Type"] = []string{"application/vnd.amazon.eventstream"}
	m := converseStream{rp: rp, out: make([]byte, 0, 4<<10)}
	m.event("messageStart", `{"role":"assistant"}`)
	for i := range rp.tokens() + 1 {
		if going, sent := x.pace(&m.out, i); !going {
			x.bill(rp, sent, false)
			return nil
		}
		if i < rp.tokens() {
			m.token(i)
		}
	}
	m.block("contentBlockStop", "")
	m.event("messageStop", `{"stopReason":"`+rp.finish+`"}`)
	m.event("metadata", `{"metrics":{"latencyMs":1},"usage":`+string(rp.usage.appendConverse(nil))+`}`)
	_, err := x.w.Write(m.out)
	x.bill(rp, rp.tokens(), err == nil)
	return nil
}

// converseStream writes the frames of one message.
type converseStream struct {
	rp    *reply
	out   []byte
	index int // of the block that is open
}

func (m *converseStream) event(typ, data string) {
	m.out = bedrock.AppendEvent(m.out, typ, func(b []byte) []byte { return append(b, data...) })
}

// block appends an event of the open block, whose data go on with rest.
func (m *converseStream) block(typ, rest string) {
	m.event(typ, `{"contentBlockIndex":`+strconv.Itoa(m.index)+rest+`}`)
}

// token appends the events of the token number i.
func (m *converseStream) token(i int) {
	n := len(m.rp.thinks)
	if i == n && n > 0 {
		m.block("contentBlockDelta", `,"delta":{"reasoningContent":{"signature":"`+signature+`"}}`)
		m.block("contentBlockStop", "")
		m.index++
	}
	switch {
	case i < n:
		m.block("contentBlockDelta", `,"delta":{"reasoningContent":{"text":"`+m.rp.thinks[i]+`"}}`)
	case m.rp.tool == "":
		m.block("contentBlockDelta", `,"delta":{"text":"`+m.rp.pieces[i-n]+`"}`)
	default:
		if i == n {
			m.block("contentBlockStart", `,"start":{"toolUse":{"toolUseId":"tooluse_mock","name":`+string(llm.AppendString(nil, m.rp.tool))+`}}`)
		}
		m.block("contentBlockDelta", `,"delta":{"toolUse":{"input":"`+m.rp.args[i-n]+`"}}`)
	}
}

// writeConverseError writes an error in Amazon's shape.
func writeConverseError(w http.ResponseWriter, e *llm.Error) {
	if e.Kind == llm.Canceled {
		return
	}
	body := bedrock.AppendError(nil, e)
	var named struct {
		Type string `json:"__type"`
	}
	_ = json.Unmarshal(body, &named) // it was just made
	w.Header()["Content-Type"] = jsonType
	w.Header()["X-Amzn-Errortype"] = []string{named.Type}
	llm.SetErrorHeaders(w.Header(), e)
	w.WriteHeader(e.HTTPStatus())
	_, _ = w.Write(body) // the client may be gone
}
