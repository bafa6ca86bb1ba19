package anthropic

import (
	"cmp"
	"math/rand/v2"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/chat"
)

// finishes are Anthropic's words for why a model stopped. A refusal is its classifiers', who may stop an answer amid a word:
// what has been said is no refusal in words, as OpenAI's models give it.
var finishes = map[string]chat.Finish{
	"end_turn": chat.FinishStop, "stop_sequence": chat.FinishStop, "max_tokens": chat.FinishLength,
	"tool_use": chat.FinishTools, "pause_turn": chat.FinishPause, "compaction": chat.FinishPause,
	"refusal": chat.FinishFilter, "model_context_window_exceeded": chat.FinishOverflow,
}

// finishOf reads a stop_reason. A word that is not known is FinishStop.
func finishOf(reason string) chat.Finish {
	if f, ok := finishes[reason]; ok || reason == "" {
		return f
	}
	return chat.FinishStop
}

// stopReason is Anthropic's word; calls says that the answer calls tools.
func stopReason(f chat.Finish, stopText string, calls bool) string {
	switch f {
	case chat.FinishLength:
		return "max_tokens"
	case chat.FinishPause:
		return "pause_turn"
	case chat.FinishRefusal, chat.FinishFilter:
		return "refusal"
	case chat.FinishOverflow:
		return "model_context_window_exceeded"
	}
	switch {
	case calls:
		return "tool_use"
	case stopText != "":
		return "stop_sequence"
	}
	return "end_turn"
}

// DecodeResponse reads a whole answer of a provider.
func (Format) DecodeResponse(body []byte) (*chat.Response, error) {
	r := reader{Cursor: llm.NewCursor(body)}
	if r.Next() != '{' {
		return nil, notJSON(body)
	}
	var (
		res     chat.Response
		ch      chat.Choice
		content bool
		failed  bool
	)
	for n := 0; r.Member(n); n++ {
		switch name := string(r.Name()); name {
		case "id":
			res.ID = r.text(name)
		case "model":
			res.Model = r.text(name)
		case "content":
			content = r.Next() == '['
			ch.Parts = answered(r.content(name))
		case "stop_reason":
			ch.Finish = finishOf(r.text(name))
		case "stop_sequence":
			ch.StopText = r.text(name)
		case "usage":
			res.Tier = tierOf(r.Raw())
		case "error":
			failed = string(r.Raw()) != "null"
		default:
			r.Raw()
		}
	}
	switch {
	case r.End() != nil, r.err != nil, !content && !failed:
		return nil, notJSON(body)
	case failed:
		return nil, Codec{}.Classify(noTime, 200, nil, body)
	}
	ch.Finish = cmp.Or(ch.Finish, chat.FinishStop)
	res.Usage, _ = llm.ReadUsage(llm.DialectAnthropic, body)
	res.Choices = []chat.Choice{ch}
	return &res, nil
}

// answered takes out of an answer's parts the texts with nothing in them.
func answered(parts []chat.Part) []chat.Part {
	kept := parts[:0]
	for _, p := range parts {
		if p.Type == chat.PartText && p.Text == "" && len(p.Citations) == 0 {
			continue
		}
		kept = append(kept, p)
	}
	return kept
}

// tierOf is the tier of service in a usage object, as OpenAI names it.
func tierOf(usage []byte) (tier string) {
	c := llm.NewCursor(usage)
	for n := 0; c.Member(n); n++ {
		if string(c.Name()) == "service_tier" {
			if tier = c.Text(); tier == "standard" {
				tier = "default"
			}
		} else {
			c.Raw()
		}
	}
	return tier
}

// EncodeResponse writes a whole answer for a client. A client of Anthropic's asks for one choice.
func (Format) EncodeResponse(req *chat.Request, res *chat.Response) ([]byte, error) {
	var ch chat.Choice
	if len(res.Choices) > 0 {
		ch = res.Choices[0]
	}
	id := messageID(res.ID)
	dst := appendHead(make([]byte, 0, 1<<10), id, cmp.Or(res.Model, req.Model))
	calls, said := 0, 0 // said are the characters of the texts before
	for i := range ch.Parts {
		p := &ch.Parts[i]
		if p.Type == chat.PartToolCall {
			calls++
		}
		dst = appendAnswer(dst, p, id, calls, said)
		if p.Type == chat.PartText {
			said += utf8.RuneCountInString(p.Text)
		}
	}
	dst = append(dst, `],"stop_reason":`...)
	dst = llm.AppendString(dst, stopReason(ch.Finish, ch.StopText, calls > 0))
	dst = append(dst, `,"stop_sequence":`...)
	dst = appendOrNull(dst, ch.StopText)
	dst = append(dst, `,"usage":`...)
	dst = appendUsage(dst, &res.Usage, res.Tier)
	return append(dst, '}'), nil
}

// appendHead appends a message up to its content, which is open.
func appendHead(dst []byte, id, model string) []byte {
	dst = append(dst, `{"id":`...)
	dst = llm.AppendString(dst, id)
	dst = append(dst, `,"type":"message","role":"assistant","model":`...)
	dst = llm.AppendString(dst, model)
	return append(dst, `,"content":[`...)
}

func appendOrNull(dst []byte, s string) []byte {
	if s == "" {
		return append(dst, "null"...)
	}
	return llm.AppendString(dst, s)
}

// messageID is the id of a message: the provider's, or a new one.
func messageID(id string) string {
	if id != "" {
		return id
	}
	return "msg_" + strconv.FormatUint(rand.Uint64()|1<<63, 36) + strconv.FormatUint(rand.Uint64()|1<<63, 36) //nolint:gosec // an id, no secret
}

// callID is the id of the call number n of a message, with what must come back with it.
func callID(p *chat.Part, message string, n int) string {
	id := cleanID(p.ID)
	if id == "" {
		id = "toolu_" + cleanID(strings.TrimPrefix(message, "msg_")) + "_" + strconv.Itoa(n)
	}
	return joinID(id, p.Signature)
}

// appendAnswer appends a block of an answer; of what Anthropic has no block for, the text. said are the characters of the
// texts before.
func appendAnswer(dst []byte, p *chat.Part, message string, call, said int) []byte {
	switch p.Type {
	case chat.PartText, chat.PartRefusal, chat.PartAudio:
		if p.Text == "" {
			return dst
		}
		if p.Origin != origin && len(p.Citations) > 0 {
			return appendCited(dst, p, said)
		}
		dst = append(llm.AppendComma(dst), `{"type":"text","text":`...)
		dst = llm.AppendString(dst, p.Text)
		if p.Origin == origin && len(p.Citations) > 0 {
			dst = llm.AppendRaw(llm.AppendKey(dst, "citations"), p.Citations)
		}
	case chat.PartReasoning:
		dst = appendThinking(append(llm.AppendComma(dst), '{'), p)
	case chat.PartToolCall:
		dst = appendCall(llm.AppendComma(dst), callID(p, message, call), p.Name)
		dst = appendInput(dst, p.Arguments)
	case chat.PartOther:
		if p.Origin != origin {
			return dst
		}
		return llm.AppendRaw(llm.AppendComma(dst), p.Raw)
	default:
		return dst
	}
	return append(dst, '}')
}

// appendCall appends a block of a call up to its input.
func appendCall(dst []byte, id, name string) []byte {
	dst = append(dst, `{"type":"tool_use","id":`...)
	dst = llm.AppendString(dst, id)
	dst = append(dst, `,"name":`...)
	dst = llm.AppendString(dst, name)
	return append(dst, `,"input":`...)
}

// appendUsage appends the usage of an answer.
func appendUsage(dst []byte, u *llm.Usage, tier string) []byte {
	read := u.CacheRead + u.CacheReadAudio + u.CacheReadImage
	write := u.CacheWrite + u.CacheWrite1h
	dst = append(dst, `{"input_tokens":`...)
	dst = strconv.AppendInt(dst, u.Prompt()-read-write, 10)
	dst = append(dst, `,"cache_creation_input_tokens":`...)
	dst = strconv.AppendInt(dst, write, 10)
	dst = append(dst, `,"cache_read_input_tokens":`...)
	dst = strconv.AppendInt(dst, read, 10)
	if u.CacheWrite1h > 0 {
		dst = append(dst, `,"cache_creation":{"ephemeral_5m_input_tokens":`...)
		dst = strconv.AppendInt(dst, u.CacheWrite, 10)
		dst = append(dst, `,"ephemeral_1h_input_tokens":`...)
		dst = append(strconv.AppendInt(dst, u.CacheWrite1h, 10), '}')
	}
	dst = append(dst, `,"output_tokens":`...)
	dst = strconv.AppendInt(dst, u.Completion(), 10)
	if u.Reasoning > 0 {
		dst = append(dst, `,"output_tokens_details":{"thinking_tokens":`...)
		dst = append(strconv.AppendInt(dst, u.Reasoning, 10), '}')
	}
	if u.Units.Queries > 0 {
		dst = append(dst, `,"server_tool_use":{"web_search_requests":`...)
		dst = append(strconv.AppendInt(dst, u.Units.Queries, 10), '}')
	}
	switch tier {
	case "default", "standard":
		dst = append(dst, `,"service_tier":"standard"`...)
	case "priority", "batch":
		dst = llm.AppendString(llm.AppendKey(dst, "service_tier"), tier)
	}
	return append(dst, '}')
}
