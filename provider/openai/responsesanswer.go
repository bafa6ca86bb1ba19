package openai

import (
	"cmp"
	"encoding/json"
	"errors"
	"strconv"
	"strings"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/chat"
	"github.com/conclave-llm/conclave/llm/jsonread"
)

var errNoOutput = errors.New("it has no output")

// ending is how a response ended, in its own words.
type ending struct {
	status, reason string
	failed         bool
}

// DecodeResponse reads a response.
func (Responses) DecodeResponse(body []byte) (*chat.Response, error) {
	r := reader{jsonread.New(body)}
	if r.Next() != '{' {
		return nil, malformed(errors.New("it is no JSON object"))
	}
	res, end, has := new(chat.Response), ending{}, false
	ch := chat.Choice{}
	r.Members(func(name string) {
		switch name {
		case "output":
			has = r.Next() == '['
			r.List(func(int) {
				it := r.item()
				ch.Parts = append(ch.Parts, it.made()...)
				if it.probs != nil {
					ch.LogProbs = append(append(json.RawMessage(`{"content":`), it.probs...), `,"refusal":null}`...)
				}
			})
		case "error":
			end.failed = r.Next() == '{'
			r.Raw()
		default:
			r.endMember(&end, res, name)
		}
	})
	switch err := r.Finish(); {
	case err != nil:
		return nil, malformed(err)
	case end.failed:
		return nil, Codec{}.Classify(noTime, 200, nil, body)
	case !has:
		return nil, malformed(errNoOutput)
	}
	ch.Finish = end.finish(ch.Parts)
	res.Choices = []chat.Choice{ch}
	res.Usage, _ = llm.ReadUsage(llm.DialectOpenAI, body)
	return res, nil
}

// endMember reads a member that tells how a response ended, or one that all answers have.
func (r *reader) endMember(end *ending, res *chat.Response, name string) {
	switch name {
	case "status":
		end.status = r.Text()
	case "incomplete_details":
		for n := 0; r.Member(n); n++ {
			if string(r.Name()) == "reason" {
				end.reason = r.Text()
				continue
			}
			r.Raw()
		}
	case "system_fingerprint":
		r.Raw()
	default:
		r.answerMember(res, name)
	}
}

// finish is why the model stopped.
func (e *ending) finish(parts []chat.Part) chat.Finish {
	refused, calls := false, false
	for i := range parts {
		refused = refused || parts[i].Type == chat.PartRefusal
		calls = calls || parts[i].Type == chat.PartToolCall
	}
	return e.finishOf(calls, refused)
}

func (e *ending) finishOf(calls, refused bool) chat.Finish {
	switch {
	case e.reason == "content_filter":
		return chat.FinishFilter
	case e.status == "incomplete":
		return chat.FinishLength
	case calls:
		return chat.FinishTools
	case refused:
		return chat.FinishRefusal
	}
	return chat.FinishStop
}

// made are the parts of an item of the output: an image is one.
func (it *item) made() []chat.Part {
	if it.kind != "image_generation_call" {
		return it.said()
	}
	c, m := llm.NewCursor(it.raw), &chat.Media{MIME: "image/png"}
	for n := 0; c.Member(n); n++ {
		switch string(c.Name()) {
		case "result":
			m.Data = c.Text()
		case "output_format":
			if f := c.Text(); f != "" {
				m.MIME = "image/" + f
			}
		default:
			c.Raw()
		}
	}
	if m.Data == "" {
		return nil
	}
	return []chat.Part{{Type: chat.PartImage, Media: m}}
}

// outputs writes items of the output.
type outputs struct {
	id     string // of the response, without its prefix
	items  []byte // those that are whole, with commas between them
	n      int
	custom map[string]bool
}

// name is the id of the item with a prefix and a number.
func (o *outputs) name(prefix string, n int) string {
	return prefix + o.id + "_" + strconv.Itoa(n)
}

// responseID gives a response an id that looks like one, and what its items' ids hold of it. own is the gateway's, "" if it
// has none.
func responseID(h head, own string) (id, core string) {
	if core, ok := strings.CutPrefix(own, "resp_"); ok {
		return own, core
	}
	core = strings.TrimPrefix(callID(strings.TrimPrefix(h.id, "resp_"), 0), "call_")
	return "resp_" + core, core
}

// add adds a whole item.
func (o *outputs) add(raw []byte) {
	o.items = append(o.items, raw...)
	o.items = append(o.items, ',')
	o.n++
}

// all is the list of the items that are whole.
func (o *outputs) all() []byte {
	if len(o.items) == 0 {
		return nil
	}
	return o.items[:len(o.items)-1]
}

// messageItem is a message of the output, whose content is one part.
func messageItem(id, status string, content []byte) []byte {
	b := llm.AppendString([]byte(`{"type":"message","id":`), id)
	b = append(b, `,"status":"`+status+`","role":"assistant","content":[`...)
	return append(append(b, content...), "]}"...)
}

// appendTextPart appends the part of a text.
func appendTextPart(b []byte, text string, annotations, probs []byte) []byte {
	b = append(b, `{"type":"output_text","annotations":[`...)
	b = append(append(b, annotations...), `],"logprobs":`...)
	if len(probs) == 0 {
		probs = []byte("[]")
	}
	b = append(append(b, probs...), `,"text":`...)
	return append(llm.AppendString(b, text), '}')
}

func appendRefusalPart(b []byte, text string) []byte {
	return append(llm.AppendString(append(b, `{"type":"refusal","refusal":`...), text), '}')
}

// appendReasoningItem appends reasoning. What another vendor signed is sealed in our own form.
func appendReasoningItem(b []byte, id string, p *chat.Part) []byte {
	b = llm.AppendString(append(b, `{"type":"reasoning","id":`...), cmp.Or(p.ID, id))
	b = append(b, `,"summary":[`...)
	if p.Text != "" {
		b = append(llm.AppendString(append(b, `{"type":"summary_text","text":`...), p.Text), '}')
	}
	b = append(b, ']')
	switch {
	case p.Data != "" && !strings.HasPrefix(p.Data, sealedHere):
		b = llm.AppendString(append(b, `,"encrypted_content":`...), sealedElsewhere+p.Data)
	case p.Data != "":
		b = llm.AppendString(append(b, `,"encrypted_content":`...), p.Data)
	case p.Signature != "":
		b = llm.AppendString(append(b, `,"encrypted_content":`...), signed+p.Signature)
	}
	return append(b, '}')
}

// appendImageItem appends an image that the model made.
func appendImageItem(b []byte, id string, m *chat.Media) []byte {
	b = llm.AppendString(append(b, `{"type":"image_generation_call","id":`...), id)
	b = append(b, `,"status":"completed","output_format":`...)
	b = llm.AppendString(b, strings.TrimPrefix(mimeOf(m, "image/png"), "image/"))
	return append(llm.AppendString(append(b, `,"result":`...), m.Data), '}')
}

// item adds the item of a part; probs are the logprobs of a text.
func (o *outputs) item(p *chat.Part, probs []byte) {
	switch p.Type {
	case chat.PartText:
		cited := appendFlat(nil, annotations(p, 0))
		o.add(messageItem(o.name("msg_", o.n), "completed", appendTextPart(nil, p.Text, cited, probs)))
	case chat.PartRefusal:
		o.add(messageItem(o.name("msg_", o.n), "completed", appendRefusalPart(nil, p.Text)))
	case chat.PartReasoning:
		o.add(appendReasoningItem(nil, o.name("rs_", o.n), p))
	case chat.PartToolCall:
		o.add(appendCallItem(nil, p, o.name("fc_", o.n), o.custom[p.Name]))
	case chat.PartImage:
		o.add(appendImageItem(nil, o.name("ig_", o.n), p.Media))
	case chat.PartOther:
		if p.Origin == originResponses {
			o.add(llm.AppendRaw(nil, p.Raw))
		}
	}
}

// probsOf is the list in a logprobs object; nil for none.
func probsOf(raw json.RawMessage) []byte {
	c := llm.NewCursor(raw)
	var list []byte
	for n := 0; c.Member(n); n++ {
		if string(c.Name()) == "content" && c.Next() == '[' {
			list = llm.AppendRaw(nil, c.Raw())
			continue
		}
		c.Raw()
	}
	return list
}

// EncodeResponse writes a response.
func (Responses) EncodeResponse(q *chat.Request, res *chat.Response) ([]byte, error) {
	h := headOf(q, "", res.ID, res.Model, res.Created)
	id, core := responseID(h, q.AnswerID)
	h.id = id
	o := outputs{id: core, custom: customNames(q)}
	finish := chat.FinishStop
	if len(res.Choices) > 0 {
		ch := &res.Choices[0]
		finish = ch.Finish
		for i := range ch.Parts {
			o.item(&ch.Parts[i], probsOf(ch.LogProbs))
		}
	}
	return appendResponse(nil, q, h, statusOfFinish(finish), &o, res.Usage, res.Tier), nil
}

// statusOfFinish is how a response ended whose model stopped for the reason.
func statusOfFinish(f chat.Finish) ending {
	switch f {
	case chat.FinishLength, chat.FinishOverflow:
		return ending{status: "incomplete", reason: "max_output_tokens"}
	case chat.FinishFilter:
		return ending{status: "incomplete", reason: "content_filter"}
	}
	return ending{status: "completed"}
}

// appendResponse appends a response, which repeats what it was asked.
func appendResponse(b []byte, q *chat.Request, h head, end ending, o *outputs, u llm.Usage, tier string) []byte {
	b = llm.AppendString(append(b, `{"id":`...), h.id)
	b = appendInt(b, `,"object":"response","created_at":`, h.created)
	b = append(b, `,"status":"`+end.status+`","background":false,"error":null,"incomplete_details":`...)
	if end.reason != "" {
		b = append(b, `{"reason":"`+end.reason+`"}`...)
	} else {
		b = append(b, "null"...)
	}
	b = llm.AppendString(append(b, `,"model":`...), h.model)
	b = append(b, `,"output":[`...)
	b = append(append(b, o.all()...), ']')
	b = appendAsked(b, q)
	b = append(b, `,"usage":`...)
	if u.Source == llm.UsageNone {
		b = append(b, "null"...)
	} else {
		b = appendResponsesUsage(b, u)
	}
	if tier != "" {
		b = llm.AppendString(append(b, `,"service_tier":`...), tier)
	}
	return append(b, '}')
}

// appendAsked appends what the request asked for.
func appendAsked(b []byte, q *chat.Request) []byte {
	w := writer{q: q, b: b}
	w.key("instructions")
	if len(q.Messages) > 0 && q.Messages[0].Role == chat.RoleSystem {
		w.b = llm.AppendString(w.b, chat.Text(q.Messages[0].Parts))
	} else {
		w.b = append(w.b, "null"...)
	}
	w.key("max_output_tokens")
	if q.MaxTokens > 0 {
		w.b = strconv.AppendInt(w.b, q.MaxTokens, 10)
	} else {
		w.b = append(w.b, "null"...)
	}
	parallel := q.ParallelTools == nil || *q.ParallelTools
	w.boolean("parallel_tool_calls", &parallel)
	w.raw("previous_response_id", q.Extra["previous_response_id"])
	w.b = append(w.b, `,"reasoning":{"effort":`...)
	w.b = appendIf(w.b, q.Reasoning.Effort, q.Reasoning.Effort != "")
	w.b = append(w.b, `,"summary":`...)
	w.b = append(appendIf(w.b, q.Reasoning.Summary, q.Reasoning.Summary != ""), '}')
	w.raw("store", orRaw(q.Extra["store"], "true"))
	one := 1.0
	w.float("temperature", cmp.Or(q.Temperature, &one))
	w.float("top_p", cmp.Or(q.TopP, &one))
	w.b = append(w.b, `,"text":{"format":`...)
	w.b = appendTextFormat(w.b, &q.Format)
	w.text("verbosity", q.Verbosity)
	w.b = append(w.b, `},"tool_choice":`...)
	w.b = appendFlatChoice(w.b, q)
	w.b = append(w.b, `,"tools":[`...)
	w.b = appendFlatTools(w.b, q, nil)
	w.b = append(w.b, ']')
	w.raw("truncation", orRaw(q.Extra["truncation"], `"disabled"`))
	w.raw("metadata", orObject(q.Metadata))
	w.text("user", q.User) // which is a text where it is there
	return w.b
}

func orRaw(raw json.RawMessage, or string) []byte {
	if len(raw) == 0 {
		return []byte(or)
	}
	return raw
}

// appendResponsesUsage appends a usage object of a response.
func appendResponsesUsage(b []byte, u llm.Usage) []byte {
	b = appendInt(b, `{"input_tokens":`, u.Prompt())
	b = appendInt(b, `,"input_tokens_details":{"cached_tokens":`, u.CacheRead+u.CacheReadAudio+u.CacheReadImage)
	b = appendInt(b, `,"cache_write_tokens":`, u.CacheWrite+u.CacheWrite1h)
	b = appendInt(b, `},"output_tokens":`, u.Completion())
	b = appendInt(b, `,"output_tokens_details":{"reasoning_tokens":`, u.Reasoning)
	return append(appendInt(b, `},"total_tokens":`, u.Total()), '}')
}
