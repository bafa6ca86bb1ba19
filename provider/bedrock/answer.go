package bedrock

import (
	"slices"
	"strconv"
	"time"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/chat"
	"github.com/conclave-llm/conclave/llm/jsonread"
)

var noTime time.Time // of errors that come without headers

// reasons are why a model stopped, by Bedrock's names.
var reasons = map[string]chat.Finish{
	"end_turn": chat.FinishStop, "stop_sequence": chat.FinishStop, "max_tokens": chat.FinishLength, "tool_use": chat.FinishTools,
	"guardrail_intervened": chat.FinishFilter, "content_filtered": chat.FinishFilter, "refusal": chat.FinishFilter,
	"pause_turn": chat.FinishPause, "model_context_window_exceeded": chat.FinishOverflow,
}

// finishOf reads a stop reason. What is not known, or says that the model's output was broken, is
// a stop.
func finishOf(reason string, calls bool) chat.Finish {
	f, ok := reasons[reason]
	switch {
	case calls && (f == chat.FinishStop || !ok): // some models say so where they call a tool
		return chat.FinishTools
	case !ok:
		return chat.FinishStop
	}
	return f
}

// stopReason is Bedrock's name of a reason.
func stopReason(f chat.Finish, stopText string) string {
	switch f {
	case chat.FinishLength:
		return "max_tokens"
	case chat.FinishTools:
		return "tool_use"
	case chat.FinishFilter, chat.FinishRefusal:
		return "content_filtered"
	case chat.FinishOverflow:
		return "model_context_window_exceeded"
	}
	if stopText != "" {
		return "stop_sequence"
	}
	return "end_turn"
}

// DecodeResponse reads an answer of Converse.
func (Format) DecodeResponse(body []byte) (*chat.Response, error) {
	r := reader{jsonread.New(body)}
	if r.Next() != '{' {
		return nil, malformed(errNoObject)
	}
	res, ch := new(chat.Response), chat.Choice{}
	reason, said, broken := "", false, false
	r.Members(func(name string) {
		switch name {
		case "output":
			r.object(func(name string) { said = r.said(&ch, name) || said })
		case "stopReason":
			reason = r.Str()
		case "serviceTier":
			r.object(func(name string) {
				if name == "type" {
					res.Tier = r.Str()
					return
				}
				r.Raw()
			})
		case "__type":
			broken = r.Next() == '"'
			r.Raw()
		default:
			r.Raw()
		}
	})
	if err := r.Finish(); err != nil {
		return nil, malformed(err)
	}
	switch {
	case broken:
		return nil, classify(noTime, 0, nil, body)
	case !said:
		return nil, malformed(errNoMessage)
	}
	nameCalls(ch.Parts)
	ch.Finish = finishOf(reason, slices.ContainsFunc(ch.Parts, func(p chat.Part) bool { return p.Type == chat.PartToolCall }))
	res.Choices = []chat.Choice{ch}
	res.Usage, _ = llm.ReadUsage(llm.DialectConverse, body)
	return res, nil
}

// said reads the message of an answer.
func (r *reader) said(ch *chat.Choice, name string) bool {
	if name != "message" {
		r.Raw()
		return false
	}
	r.object(func(name string) {
		if name == "content" {
			ch.Parts = r.blocks()
			return
		}
		r.Raw()
	})
	return true
}

// nameCalls gives ids to calls that have none.
func nameCalls(parts []chat.Part) {
	for i := range parts {
		if p := &parts[i]; p.Type == chat.PartToolCall && p.ID == "" {
			p.ID = "tooluse_" + strconv.Itoa(i)
		}
	}
}

// EncodeResponse writes an answer of Converse, which has one choice. How long the model took is
// not known here: latencyMs, which clients demand, is 0.
func (Format) EncodeResponse(_ *chat.Request, res *chat.Response) ([]byte, error) {
	b := append(make([]byte, 0, 1024), `{"output":{"message":{"role":"assistant","content":[`...)
	finish, stopText := chat.FinishStop, ""
	if len(res.Choices) > 0 {
		ch := &res.Choices[0]
		finish, stopText = ch.Finish, ch.StopText
		for i := range ch.Parts {
			b = appendAnswer(b, &ch.Parts[i])
		}
	}
	b = append(b, `]}},"stopReason":"`...)
	b = append(b, stopReason(finish, stopText)...)
	b = append(b, `","usage":`...)
	b = appendUsage(b, res.Usage)
	b = append(b, `,"metrics":{"latencyMs":0}`...)
	b = appendTier(b, res.Tier)
	return append(b, '}'), nil
}

func appendTier(b []byte, tier string) []byte {
	switch tier {
	case "default", "flex", "priority", "reserved":
		b = append(b, `,"serviceTier":{"type":"`...)
		b = append(b, tier...)
		b = append(b, `"}`...)
	}
	return b
}

// appendAnswer appends a block of an answer. What Bedrock has no block for is left out.
func appendAnswer(b []byte, p *chat.Part) []byte {
	switch p.Type {
	case chat.PartRefusal:
		return appendText(llm.AppendComma(b), p.Text)
	case chat.PartReasoning:
		if p.Data != "" && !isBase64(p.Data) { // of another vendor's
			q := *p
			q.Data = encodeText(p.Data)
			p = &q
		}
		return appendReasoning(llm.AppendComma(b), p)
	case chat.PartText, chat.PartToolCall, chat.PartOther:
		if p.Type == chat.PartOther && p.Origin != origin {
			return b
		}
		return appendBlock(llm.AppendComma(b), p, p.ID)
	case chat.PartImage:
		format := formatOf(p)
		if p.Media.Data == "" || format == "" {
			return b
		}
		return appendMedia(llm.AppendComma(b), p, format, "")
	}
	return b
}

// appendUsage appends a usage object, whose inputTokens leave out what a cache held.
func appendUsage(b []byte, u llm.Usage) []byte {
	read := u.CacheRead + u.CacheReadAudio + u.CacheReadImage
	write := u.CacheWrite + u.CacheWrite1h
	b = appendInt(b, `{"inputTokens":`, u.Input+u.AudioInput+u.ImageInput)
	b = appendInt(b, `,"outputTokens":`, u.Completion())
	b = appendInt(b, `,"totalTokens":`, u.Total())
	b = appendInt(b, `,"cacheReadInputTokens":`, read)
	b = appendInt(b, `,"cacheWriteInputTokens":`, write)
	if u.CacheWrite1h > 0 {
		b = appendInt(b, `,"cacheDetails":[{"ttl":"1h","inputTokens":`, u.CacheWrite1h)
		b = appendInt(b, `},{"ttl":"5m","inputTokens":`, u.CacheWrite)
		b = append(b, "}]"...)
	}
	return append(b, '}')
}

func appendInt(b []byte, name string, n int64) []byte {
	return strconv.AppendInt(append(b, name...), n, 10)
}
