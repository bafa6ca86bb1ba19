// Package gigachat reads and writes the conversations and embeddings of Sber's GigaChat, whose form is
// OpenAI's of functions and before tools, with arguments that are objects.
package gigachat

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strconv"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/chat"
	"github.com/conclave-llm/conclave/llm/embed"
	"github.com/conclave-llm/conclave/provider/openai"
	"github.com/conclave-llm/conclave/provider/openai/embeddings"
)

// Codec is GigaChat's format.
type Codec struct{ openai.Codec }

// Path is the endpoint's path.
func (c Codec) Path(p llm.Place) string {
	if p.Endpoint == llm.GigaChat {
		return "/chat/completions"
	}
	return c.Codec.Path(p)
}

// Read reads a whole answer, or an event.
func (c Codec) Read(e llm.Endpoint, body []byte) (llm.Report, error) {
	if e == llm.GigaEmbed { // each vector has its own count
		return embed.Report(body, "prompt_tokens")
	}
	return c.Codec.Read(e, body)
}

// Embed is the form of embeddings.
type Embed struct{ embeddings.Format }

// Form is GigaChat's form of embeddings.
var Form = Embed{embeddings.Format{}}

// DecodeResponse reads an answer, which counts the tokens of each vector.
func (f Embed) DecodeResponse(body []byte) (*embed.Response, error) {
	res, err := f.Format.DecodeResponse(body)
	if err != nil {
		return nil, err
	}
	if r, err := embed.Report(body, "prompt_tokens"); err == nil && r.HasUsage {
		res.Usage = r.Usage
	}
	return res, nil
}

// Chat is the dialect of conversations.
type Chat struct{}

// EncodeRequest writes a request for the provider.
func (Chat) EncodeRequest(q *chat.Request, t *llm.Target) ([]byte, error) {
	dst := llm.AppendString([]byte(`{"model":`), t.Model)
	dst, err := appendMessages(append(llm.AppendKey(dst, "messages"), '['), q, t)
	if err != nil {
		return nil, err
	}
	dst = append(dst, ']')
	switch {
	case q.Temperature != nil && *q.Temperature == 0: // must be above 0 there
		dst = append(llm.AppendKey(dst, "top_p"), '0')
	default:
		dst = appendFloat(dst, "temperature", q.Temperature)
		dst = appendFloat(dst, "top_p", q.TopP)
	}
	if q.MaxTokens > 0 {
		dst = strconv.AppendInt(llm.AppendKey(dst, "max_tokens"), q.MaxTokens, 10)
	}
	dst = appendTools(dst, q, t)
	for _, name := range []string{"repetition_penalty", "profanity_check", "update_interval"} {
		if raw := q.Extra[name]; raw != nil {
			dst = llm.AppendRaw(llm.AppendKey(dst, name), raw)
		}
	}
	if q.Stream {
		dst = append(llm.AppendKey(dst, "stream"), "true"...)
	}
	drop(q, t)
	return append(dst, '}'), t.Err()
}

func appendFloat(dst []byte, name string, v *float64) []byte {
	if v == nil {
		return dst
	}
	return strconv.AppendFloat(llm.AppendKey(dst, name), *v, 'g', -1, 64)
}

// drop names what the provider has no word for.
func drop(q *chat.Request, t *llm.Target) {
	for _, v := range []struct {
		name string
		said bool
	}{
		{"stop", len(q.Stop) > 0},
		{"seed", q.Seed != nil},
		{"n", q.N > 1},
		{"top_k", q.TopK != nil},
		{"min_p", q.MinP != nil},
		{"frequency_penalty", q.FrequencyPenalty != nil},
		{"presence_penalty", q.PresencePenalty != nil},
		{"logprobs", q.LogProbs},
		{"logit_bias", q.LogitBias != nil},
		{"response_format", q.Format.Type != ""},
		{"reasoning_effort", q.Reasoning.Asked() && !q.Reasoning.Off()},
		{"parallel_tool_calls", q.ParallelTools != nil && *q.ParallelTools},
		{"audio", q.Audio != nil},
		{"prediction", q.Prediction != nil},
		{"web_search_options", q.WebSearch != nil},
		{"verbosity", q.Verbosity != ""},
		{"user", q.User != ""},
		{"metadata", q.Metadata != nil},
		{"service_tier", q.ServiceTier != ""},
		{"prompt_cache_key", q.CacheKey != ""},
	} {
		if v.said {
			t.Drop(v.name)
		}
	}
	for name := range q.Extra {
		if name != "repetition_penalty" && name != "profanity_check" && name != "update_interval" {
			t.Drop(name)
		}
	}
}

// appendTools appends the functions, and the one that must be called.
func appendTools(dst []byte, q *chat.Request, t *llm.Target) []byte {
	some := false
	for i := range q.Tools {
		tool := &q.Tools[i]
		if tool.Kind != "" {
			t.Drop("tools")
			continue
		}
		if !some {
			dst, some = append(llm.AppendKey(dst, "functions"), '['), true
		}
		dst = llm.AppendString(append(llm.AppendComma(dst), `{"name":`...), tool.Name)
		if tool.Description != "" {
			dst = llm.AppendString(llm.AppendKey(dst, "description"), tool.Description)
		}
		parameters := tool.Parameters
		if parameters == nil {
			parameters = json.RawMessage(`{"type":"object","properties":{}}`)
		}
		dst = append(llm.AppendRaw(llm.AppendKey(dst, "parameters"), parameters), '}')
	}
	if !some {
		return dst
	}
	dst = append(dst, ']')
	switch q.ToolChoice.Mode {
	case "tool":
		return append(llm.AppendString(append(llm.AppendKey(dst, "function_call"), `{"name":`...), q.ToolChoice.Name), '}')
	case "none":
		return append(llm.AppendKey(dst, "function_call"), `"none"`...)
	case "required":
		t.Drop("tool_choice")
	}
	return append(llm.AppendKey(dst, "function_call"), `"auto"`...)
}

// appendMessages appends the conversation: instructions may stand at its beginning alone, and what one
// user says is one message.
func appendMessages(dst []byte, q *chat.Request, t *llm.Target) ([]byte, error) {
	names := map[string]string{} // of the functions, by the ids of their calls
	first := true
	for i := range q.Messages {
		m := &q.Messages[i]
		var err error
		switch m.Role {
		case chat.RoleTool:
			dst = appendResults(dst, m, names)
		case chat.RoleAssistant:
			dst, err = appendAssistant(dst, m, names, t)
		default:
			role := "user"
			if first && m.Role != chat.RoleUser {
				role = "system"
			}
			var text string
			if text, err = textOf(m.Parts, t); err == nil {
				dst = appendMessage(dst, role, text)
				dst = append(dst, '}')
			}
		}
		if err != nil {
			return nil, err
		}
		first = false
	}
	return dst, nil
}

func appendMessage(dst []byte, role, text string) []byte {
	dst = llm.AppendString(append(llm.AppendComma(dst), `{"role":`...), role)
	return llm.AppendString(llm.AppendKey(dst, "content"), text)
}

// textOf is the text of a message. Pictures would have to be uploaded before.
func textOf(parts []chat.Part, t *llm.Target) (string, error) {
	var b bytes.Buffer
	for i := range parts {
		switch p := &parts[i]; p.Type {
		case chat.PartText, chat.PartRefusal:
			b.WriteString(p.Text)
		case chat.PartReasoning:
			t.Drop("reasoning_content")
		case chat.PartToolCall:
		case chat.PartOther:
			t.Drop("messages.content")
		default:
			return "", llm.Unsayable("messages", "The model's provider takes texts alone, and no images, audio or documents.")
		}
	}
	return b.String(), nil
}

// appendAssistant appends what the model said, with the one function that it called.
func appendAssistant(dst []byte, m *chat.Message, names map[string]string, t *llm.Target) ([]byte, error) {
	text, err := textOf(m.Parts, t)
	if err != nil {
		return nil, err
	}
	called := false
	for i := range m.Parts {
		p := &m.Parts[i]
		if p.Type != chat.PartToolCall {
			continue
		}
		names[p.ID] = p.Name
		if called { // the further ones are messages of their own
			dst = append(dst, '}')
			text = ""
		}
		called = true
		dst = appendMessage(dst, "assistant", text)
		dst = llm.AppendString(append(llm.AppendKey(dst, "function_call"), `{"name":`...), p.Name)
		arguments := p.Arguments
		if !json.Valid(arguments) {
			arguments = json.RawMessage("{}")
		}
		dst = append(llm.AppendRaw(llm.AppendKey(dst, "arguments"), arguments), '}')
	}
	if !called {
		dst = appendMessage(dst, "assistant", text)
	}
	return append(dst, '}'), nil
}

// appendResults appends the results of functions, which must be JSON.
func appendResults(dst []byte, m *chat.Message, names map[string]string) []byte {
	for i := range m.Parts {
		p := &m.Parts[i]
		if p.Type != chat.PartToolResult {
			continue
		}
		text := chat.Text(p.Parts)
		if !json.Valid([]byte(text)) {
			text = string(append(llm.AppendString([]byte(`{"result":`), text), '}'))
		}
		dst = appendMessage(dst, "function", text)
		if name := names[p.ID]; name != "" {
			dst = llm.AppendString(llm.AppendKey(dst, "name"), name)
		}
		dst = append(dst, '}')
	}
	return dst
}

// answer is a whole answer or an event.
type answer struct {
	Model   string `json:"model"`
	Created int64  `json:"created"`
	Status  int    `json:"status"` // of an error, which may stand in a stream
	Message string `json:"message"`
	Error   *struct {
		Message string `json:"message"`
	} `json:"error"`
	Choices []struct {
		Index   int    `json:"index"`
		Message *said  `json:"message"`
		Delta   *said  `json:"delta"`
		Reason  string `json:"finish_reason"`
	} `json:"choices"`
}

// failed is the error that an event tells of in the place of choices.
func (a *answer) failed() error {
	said := a.Message
	switch {
	case a.Error != nil:
		said = a.Error.Message
	case a.Status < 400:
		return nil
	}
	if said == "" {
		said = "The model failed."
	}
	return &llm.Error{Kind: llm.Upstream, Code: "upstream_error", Message: said}
}

// said is what the model says.
type said struct {
	Content string `json:"content"`
	Call    *struct {
		Name      string          `json:"name"`
		Arguments json.RawMessage `json:"arguments"`
	} `json:"function_call"`
}

func malformed(err error) error {
	return &llm.Error{Kind: llm.Upstream, Code: "invalid_response", Message: "The provider sent an answer that cannot be read.", Err: err}
}

var errNone = errors.New("it has no choices")

// finish reads why the model stopped. "blacklist" is a filter.
func finish(reason string) chat.Finish {
	if reason == "blacklist" {
		return chat.FinishFilter
	}
	return chat.FinishOf(reason)
}

// parts are what the model says, of which a call has no id: it gets one of its own.
func (s *said) parts(index int) (list []chat.Part) {
	if s.Content != "" {
		list = append(list, chat.Part{Text: s.Content})
	}
	if s.Call != nil && s.Call.Name != "" {
		list = append(list, chat.Part{Type: chat.PartToolCall, ID: callID(index), Name: s.Call.Name, Arguments: arguments(s.Call.Arguments)})
	}
	return list
}

func callID(index int) string { return "call_" + strconv.Itoa(index) }

// arguments are an object, or a string that holds one.
func arguments(raw json.RawMessage) json.RawMessage {
	var text string
	if json.Unmarshal(raw, &text) == nil && text != "" {
		return json.RawMessage(text)
	}
	if len(raw) == 0 || raw[0] != '{' {
		return json.RawMessage("{}")
	}
	return bytes.Clone(raw)
}

// DecodeResponse reads a whole answer.
func (Chat) DecodeResponse(body []byte) (*chat.Response, error) {
	var got answer
	if err := json.Unmarshal(body, &got); err != nil {
		return nil, malformed(err)
	}
	if len(got.Choices) == 0 {
		return nil, malformed(errNone)
	}
	res := &chat.Response{Model: got.Model, Created: got.Created}
	for _, c := range got.Choices {
		ch := chat.Choice{Index: c.Index, Finish: finish(c.Reason)}
		if c.Message != nil {
			ch.Parts = c.Message.parts(c.Index)
		}
		res.Choices = append(res.Choices, ch)
	}
	res.Usage, _ = llm.ReadUsage(llm.DialectOpenAI, body)
	return res, nil
}

// decoder reads one stream.
type decoder struct {
	begun, ended bool
	finished     bool
}

// NewDecoder reads one stream.
func (Chat) NewDecoder() chat.Decoder { return new(decoder) }

// Decode implements chat.Decoder.
func (d *decoder) Decode(list []chat.Chunk, e llm.Event) ([]chat.Chunk, error) {
	if e.Data == nil || d.ended {
		return list, nil
	}
	if string(e.Data) == "[DONE]" {
		d.ended = true
		return append(list, chat.Chunk{Type: chat.ChunkEnd}), nil
	}
	var got answer
	if err := json.Unmarshal(e.Data, &got); err != nil {
		return list, malformed(err)
	}
	if err := got.failed(); err != nil {
		return list, err
	}
	if !d.begun {
		d.begun = true
		list = append(list, chat.Chunk{Type: chat.ChunkStart, Model: got.Model, Created: got.Created})
	}
	for _, c := range got.Choices {
		if c.Delta != nil {
			for _, p := range c.Delta.parts(c.Index) {
				k := chat.Chunk{Type: chat.ChunkText, Choice: c.Index, Text: p.Text}
				if p.Type == chat.PartToolCall {
					list = append(list, chat.Chunk{Type: chat.ChunkToolStart, Choice: c.Index, ID: p.ID, Name: p.Name})
					k.Type, k.Text = chat.ChunkToolArgs, string(p.Arguments)
				}
				list = append(list, k)
			}
		}
		if c.Reason != "" {
			d.finished = true
			list = append(list, chat.Chunk{Type: chat.ChunkFinish, Choice: c.Index, Finish: finish(c.Reason)})
		}
	}
	if u, ok := llm.ReadUsage(llm.DialectOpenAI, e.Data); ok {
		list = append(list, chat.Chunk{Type: chat.ChunkUsage, Usage: u})
	}
	return list, nil
}

// End implements chat.Decoder.
func (d *decoder) End(list []chat.Chunk) ([]chat.Chunk, error) {
	switch {
	case d.ended:
		return list, nil
	case !d.finished:
		return list, &llm.Error{Kind: llm.Upstream, Code: "upstream_cut", Message: "The provider's stream ended before its answer did.", Err: io.ErrUnexpectedEOF}
	}
	return append(list, chat.Chunk{Type: chat.ChunkEnd}), nil
}
