package openai

import (
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"unicode/utf8"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/chat"
	"github.com/conclave-llm/conclave/llm/jsonread"
)

// malformed is the error of an answer that cannot be read.
func malformed(err error) error {
	return &llm.Error{Kind: llm.Upstream, Code: "invalid_response", Message: "The provider sent an answer that cannot be read.", Err: err}
}

// cut is the error of a stream that ended before its answer did.
func cut() error {
	return &llm.Error{Kind: llm.Upstream, Code: "upstream_cut", Message: "The provider's stream ended before its answer did."}
}

var errNoChoices = errors.New("it has no choices")

// DecodeResponse reads a chat completion.
func (Chat) DecodeResponse(body []byte) (*chat.Response, error) {
	r := reader{jsonread.New(body)}
	res, broken := new(chat.Response), json.RawMessage(nil)
	if r.Next() != '{' {
		return nil, malformed(errors.New("it is no JSON object"))
	}
	r.Members(func(name string) {
		switch name {
		case "choices":
			r.List(func(i int) { res.Choices = append(res.Choices, r.choice(res.ID, i)) })
		case "error":
			broken = r.Copy()
		default:
			r.answerMember(res, name)
		}
	})
	if err := r.Finish(); err != nil {
		return nil, malformed(err)
	}
	if broken != nil {
		return nil, Codec{}.Classify(noTime, 200, nil, body)
	}
	if len(res.Choices) == 0 {
		return nil, malformed(errNoChoices)
	}
	res.Usage, _ = llm.ReadUsage(llm.DialectOpenAI, body)
	return res, nil
}

// answerMember reads a member at the top of an answer.
func (r *reader) answerMember(res *chat.Response, name string) {
	switch name {
	case "id":
		res.ID = r.Text()
	case "model":
		res.Model = r.Text()
	case "created", "created_at":
		res.Created, _ = r.Int()
	case "service_tier":
		res.Tier = r.Text()
	case "system_fingerprint":
		if raw := r.Copy(); raw != nil {
			res.Extra = map[string]json.RawMessage{name: raw}
		}
	default:
		r.Raw()
	}
}

// choice reads one choice of a completion.
func (r *reader) choice(id string, i int) chat.Choice {
	ch := chat.Choice{Index: i}
	s := spoken{}
	reason := ""
	r.Entry(func(name string) {
		switch name {
		case "index":
			if n, ok := r.Int(); ok {
				ch.Index = int(n)
			}
		case "message":
			r.Object(func(name string) { r.answered(&s, name) })
		case "finish_reason":
			reason = r.Text()
		case "stop_reason": // of vLLM: the sequence, or a token's number
			ch.StopText = r.Text()
		case "logprobs":
			ch.LogProbs = r.Copy()
		default:
			r.Raw()
		}
	})
	ch.Parts = s.answer(callID(id, ch.Index))
	ch.Finish = finishOf(reason, len(s.calls) > 0, s.refusal != "")
	return ch
}

// callID begins the ids of calls that the provider gave none.
func callID(response string, choice int) string {
	id := make([]byte, 0, 64)
	id = append(id, "call_"...)
	for i := 0; i < len(response) && len(id) < 40; i++ {
		if c := response[i]; c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '-' || c == '_' {
			id = append(id, c)
		}
	}
	id = append(id, '_')
	return string(strconv.AppendInt(id, int64(choice), 10))
}

// finishOf reads a finish_reason. Some vendors say "stop" where they call a tool.
func finishOf(reason string, calls, refused bool) chat.Finish {
	f := chat.FinishOf(reason)
	switch {
	case f == chat.FinishStop && calls:
		return chat.FinishTools
	case f == chat.FinishStop && refused:
		return chat.FinishRefusal
	}
	return f
}

// answered reads a member of the message of an answer.
func (r *reader) answered(s *spoken, name string) {
	switch name {
	case "content":
		s.content = r.content()
	case "audio":
		r.audio(s)
	default:
		if !r.said(s, name) {
			r.Raw()
		}
	}
}

// EncodeResponse writes a chat completion.
func (Chat) EncodeResponse(q *chat.Request, res *chat.Response) ([]byte, error) {
	head := headOf(q, "chatcmpl-", res.ID, res.Model, res.Created)
	b := append(make([]byte, 0, 1024), `{"id":`...)
	b = llm.AppendString(b, head.id)
	b = append(b, `,"object":"chat.completion","created":`...)
	b = strconv.AppendInt(b, head.created, 10)
	b = append(b, `,"model":`...)
	b = llm.AppendString(b, head.model)
	b = append(b, `,"choices":[`...)
	custom, legacy := customNames(q), usesFunctions(q)
	for i := range res.Choices {
		b = appendChoice(llm.AppendComma(b), &res.Choices[i], custom, legacy)
	}
	b = append(b, ']')
	if res.Usage.Source != llm.UsageNone {
		b = append(b, `,"usage":`...)
		b = appendUsage(b, res.Usage)
	}
	if res.Tier != "" {
		b = append(b, `,"service_tier":`...)
		b = llm.AppendString(b, res.Tier)
	}
	if f := res.Extra["system_fingerprint"]; len(f) > 0 {
		b = append(b, `,"system_fingerprint":`...)
		b = llm.AppendRaw(b, f)
	}
	return append(b, '}'), nil
}

// usesFunctions says whether the client speaks of functions, as of old.
func usesFunctions(q *chat.Request) bool {
	return slices.ContainsFunc(q.Tools, func(t chat.Tool) bool { return t.Kind == "" && t.Origin == originFunctions })
}

// appendChoice appends a choice of a completion.
func appendChoice(b []byte, ch *chat.Choice, custom map[string]bool, legacy bool) []byte {
	b = append(b, `{"index":`...)
	b = strconv.AppendInt(b, int64(ch.Index), 10)
	b = append(b, `,"message":{"role":"assistant"`...)
	b = appendSaid(b, ch.Parts, custom, legacy)
	b = append(b, `},"logprobs":`...)
	b = llm.AppendRaw(b, ch.LogProbs)
	b = append(b, `,"finish_reason":"`...)
	b = append(b, finishName(ch.Finish, legacy)...)
	return append(b, '"', '}')
}

// finishName is OpenAI's finish_reason, which a whole answer must have.
func finishName(f chat.Finish, legacy bool) string {
	switch {
	case f == chat.FinishTools && legacy:
		return "function_call"
	case f == chat.FinishNone:
		return "stop"
	}
	return f.String()
}

// sortedParts holds the parts of an answer by the members of a message in which they stand.
type sortedParts struct {
	text, refusal, reasoning string
	hasText, hasRefusal      bool
	thoughts, calls, images  []*chat.Part
	audio                    *chat.Part
	citations                []citedPart
}

func sortParts(parts []chat.Part) (s sortedParts) {
	for i := range parts {
		switch p := &parts[i]; p.Type {
		case chat.PartText:
			if len(p.Citations) > 0 {
				s.citations = append(s.citations, citedPart{p, utf8.RuneCountInString(s.text)})
			}
			s.text, s.hasText = s.text+p.Text, true
		case chat.PartRefusal:
			s.refusal, s.hasRefusal = s.refusal+p.Text, true
		case chat.PartReasoning:
			s.reasoning += p.Text
			s.thoughts = append(s.thoughts, p)
		case chat.PartToolCall:
			s.calls = append(s.calls, p)
		case chat.PartImage:
			s.images = append(s.images, p)
		case chat.PartAudio:
			s.audio = p
		}
	}
	return s
}

// appendSaid appends the members of the message of an answer that follow its role.
func appendSaid(b []byte, parts []chat.Part, custom map[string]bool, legacy bool) []byte {
	s := sortParts(parts)
	b = append(b, `,"content":`...)
	b = appendIf(b, s.text, s.hasText || len(parts) == 0)
	b = append(b, `,"refusal":`...)
	b = appendIf(b, s.refusal, s.hasRefusal)
	b = append(b, `,"annotations":[`...)
	b = appendAnnotations(b, s.citations)
	b = append(b, ']')
	b = appendThoughts(b, &s)
	b = appendCalls(b, s.calls, custom, legacy)
	if s.audio != nil {
		b = append(b, `,"audio":{"id":`...)
		b = llm.AppendString(b, s.audio.ID)
		b = append(b, `,"data":`...)
		b = llm.AppendString(b, s.audio.Media.Data)
		b = append(b, `,"expires_at":0,"transcript":`...)
		b = append(llm.AppendString(b, s.audio.Text), '}')
	}
	if len(s.images) > 0 {
		b = append(b, `,"images":[`...)
		for i, p := range s.images {
			b = appendImage(llm.AppendComma(b), p.Media, i)
		}
		b = append(b, ']')
	}
	return appendForeign(b, s.citations)
}

func appendIf(b []byte, text string, there bool) []byte {
	if !there {
		return append(b, "null"...)
	}
	return llm.AppendString(b, text)
}

// appendImage appends an image that the model made.
func appendImage(b []byte, m *chat.Media, i int) []byte {
	b = append(b, `{"type":"image_url","index":`...)
	b = strconv.AppendInt(b, int64(i), 10)
	b = append(b, `,"image_url":{"url":`...)
	return append(appendDataURL(b, m, "image/png"), "}}"...)
}

// appendThoughts appends reasoning: its text, as DeepSeek began to, and, so that it can be sent
// back, its blocks with their signatures, as LiteLLM does.
func appendThoughts(b []byte, s *sortedParts) []byte {
	if s.reasoning != "" {
		b = append(b, `,"reasoning_content":`...)
		b = llm.AppendString(b, s.reasoning)
	}
	if !slices.ContainsFunc(s.thoughts, func(p *chat.Part) bool { return p.Signature != "" || p.Data != "" }) {
		return b
	}
	b = append(b, `,"thinking_blocks":[`...)
	for _, p := range s.thoughts {
		b = appendBlock(llm.AppendComma(b), p)
	}
	return append(b, ']')
}

// appendBlock appends a block of reasoning. One that cannot be read may have a summary, which
// stands before it.
func appendBlock(b []byte, p *chat.Part) []byte {
	if p.Data == "" || p.Text != "" || p.Signature != "" {
		b = append(b, `{"type":"thinking","thinking":`...)
		b = llm.AppendString(b, p.Text)
		if p.Signature != "" {
			b = append(b, `,"signature":`...)
			b = llm.AppendString(b, p.Signature)
		}
		b = append(b, '}')
		if p.Data == "" {
			return b
		}
		b = append(b, ',')
	}
	b = append(b, `{"type":"redacted_thinking","data":`...)
	return append(llm.AppendString(b, p.Data), '}')
}

// appendCalls appends tool_calls, or function_call for a client that speaks of functions.
func appendCalls(b []byte, calls []*chat.Part, custom map[string]bool, legacy bool) []byte {
	if len(calls) == 0 {
		return b
	}
	if legacy {
		b = append(b, `,"function_call":{"name":`...)
		b = llm.AppendString(b, calls[0].Name)
		b = append(b, `,"arguments":`...)
		return append(llm.AppendString(b, string(orObject(calls[0].Arguments))), '}')
	}
	b = append(b, `,"tool_calls":[`...)
	for _, p := range calls {
		b = appendCall(llm.AppendComma(b), p, custom[p.Name])
		if p.Signature != "" {
			b = append(b[:len(b)-1], `,"provider_specific_fields":{"thought_signature":`...)
			b = append(llm.AppendString(b, p.Signature), "}}"...)
		}
	}
	return append(b, ']')
}

// appendForeign appends the citations of another vendor's, as LiteLLM shows them.
func appendForeign(b []byte, cited []citedPart) []byte {
	start := len(b)
	b = append(b, `,"provider_specific_fields":{"citations":[`...)
	n := 0
	for _, p := range cited {
		if !isOpenAI(p.Origin) {
			b = llm.AppendRaw(llm.AppendComma(b), p.Citations)
			n++
		}
	}
	if n == 0 {
		return b[:start]
	}
	return append(b, "]}"...)
}

// isOpenAI says whether annotations are in one of OpenAI's forms.
func isOpenAI(origin string) bool { return origin == originChat || origin == originResponses }
