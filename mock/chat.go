package mock

import (
	"bytes"
	"net/http"
	"strconv"

	"github.com/conclave-llm/conclave/llm"
)

// reply is what an answer consists of, before it has a format.
type reply struct {
	pieces []string // of the content, each a fragment of a JSON string; a token each
	thinks []string // of what the model thinks before, as the pieces are
	tool   string   // the function that is called; "" for content
	args   []string // fragments of its arguments, as the pieces are
	finish string
	usage  usage
	probs  probs // what is told of the pieces' likelihoods

	refusal bool // the pieces are why nothing else is said
}

type usage struct{ prompt, completion, cached, reasoning int64 }

// tokens is the number of pieces of all kinds.
func (rp *reply) tokens() int { return len(rp.thinks) + max(len(rp.pieces), len(rp.args)) }

// limit cuts the content to the request's maximum.
func (rp *reply) limit(most int64) {
	if most > 0 && int64(len(rp.pieces)) > most {
		rp.pieces, rp.finish = rp.pieces[:most], "length"
	}
}

// count fills in the usage: four bytes of prompt a token, and a token for each piece.
func (x *exchange) count(rp *reply) {
	rp.usage.prompt = max(1, (x.fields.PromptBytes+3)/4)
	rp.usage.completion = int64(rp.tokens()) * x.fields.N
	for i, to := range []*int64{&rp.usage.prompt, &rp.usage.completion, &rp.usage.cached, &rp.usage.reasoning} {
		if i < len(x.plan.usage) {
			*to = x.plan.usage[i]
		}
	}
	x.entry.PromptTokens, x.entry.CachedTokens = rp.usage.prompt, rp.usage.cached
}

// bill notes what was generated when n of the reply's tokens were sent.
func (x *exchange) bill(rp *reply, n int, whole bool) {
	x.entry.Whole = whole
	if whole {
		x.entry.CompletionTokens, x.entry.ReasoningTokens = rp.usage.completion, rp.usage.reasoning
		return
	}
	x.entry.CompletionTokens = int64(n) * x.fields.N
	if len(x.plan.usage) > 1 {
		x.entry.CompletionTokens = min(x.entry.CompletionTokens, rp.usage.completion)
	}
}

// chat answers /v1/chat/completions.
func (s *Server) chat(x *exchange) error {
	rp, err := x.chatReply()
	if err != nil {
		return err
	}
	x.count(&rp)
	head := x.head(s.ids.Add(1), "chatcmpl-mock-")
	if x.fields.Stream {
		return x.stream(&rp, chatChunks{head})
	}
	out := append(head, `"object":"chat.completion","choices":[`...)
	for i := range x.fields.N {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(out, `{"index":`...)
		out = strconv.AppendInt(out, i, 10)
		out = append(out, `,"message":{"role":"assistant","content":`...)
		out = rp.appendMessage(out)
		out = append(out, `},"logprobs":`...)
		out = rp.probs.appendOpenAI(out, rp.pieces, rp.refusal)
		out = append(out, `,"finish_reason":"`...)
		out = append(out, rp.finish...)
		out = append(out, `"}`...)
	}
	return x.whole(&rp, append(out, ']'))
}

// head begins an answer with what all have.
func (x *exchange) head(id uint64, prefix string) []byte {
	out := make([]byte, 0, 1<<10)
	out = append(out, `{"id":"`...)
	out = append(out, prefix...)
	out = strconv.AppendUint(out, id, 10)
	out = append(out, `","created":`...)
	out = strconv.AppendInt(out, x.entry.Time.Unix(), 10)
	out = append(out, `,"system_fingerprint":"mock","model":`...)
	out = llm.AppendString(out, x.fields.Model)
	return append(out, ',')
}

// appendMessage appends a message's content, tool calls and refusal.
func (rp *reply) appendMessage(out []byte) []byte {
	if rp.tool == "" {
		if rp.refusal {
			out = append(out, `null,"refusal":`...)
		}
		out = append(out, '"')
		for _, p := range rp.pieces {
			out = append(out, p...)
		}
		if rp.refusal {
			return append(out, '"')
		}
		return append(out, `","refusal":null`...)
	}
	out = append(out, `null,"tool_calls":[{"id":"call_mock","type":"function","function":{"name":`...)
	out = llm.AppendString(out, rp.tool)
	out = append(out, `,"arguments":"`...)
	for _, p := range rp.args {
		out = append(out, p...)
	}
	return append(out, `"}}],"refusal":null`...)
}

// whole ends an answer with its usage and sends it.
func (x *exchange) whole(rp *reply, out []byte) error {
	out = append(out, `,"usage":`...)
	return x.send(rp, append(rp.usage.append(out), '}'))
}

// send sends a whole answer.
func (x *exchange) send(rp *reply, out []byte) error {
	if x.plan.cutAfter >= 0 {
		x.plan.cut = true
		x.bill(rp, rp.tokens(), false)
		return nil
	}
	if x.plan.stallAfter >= 0 {
		<-x.r.Context().Done()
		x.bill(rp, rp.tokens(), false)
		return nil
	}
	h := x.w.Header()
	h["Content-Type"] = jsonType
	h["Content-Length"] = []string{strconv.Itoa(len(out))}
	_, err := x.w.Write(out)
	x.bill(rp, rp.tokens(), err == nil)
	return nil
}

func (u usage) append(out []byte) []byte {
	for _, f := range []struct {
		name string
		n    int64
	}{
		{`{"prompt_tokens":`, u.prompt},
		{`,"completion_tokens":`, u.completion},
		{`,"total_tokens":`, u.prompt + u.completion},
		{`,"prompt_tokens_details":{"cached_tokens":`, u.cached},
		{`,"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":`, u.reasoning},
	} {
		out = append(out, f.name...)
		out = strconv.AppendInt(out, f.n, 10)
	}
	return append(out, `}}`...)
}

// chunks makes the chunks of a format's stream. Each method appends what comes between the head
// and the usage.
type chunks interface {
	first(out []byte, rp *reply, choice int64) []byte
	piece(out []byte, rp *reply, choice int64, i int) []byte
	last(out []byte, rp *reply, choice int64) []byte
	none(out []byte) []byte // without a choice, for the usage
	start() []byte
}

// stream sends the reply in chunks.
func (x *exchange) stream(rp *reply, c chunks) error {
	w := x.w
	w.Header()["Content-Type"] = []string{"text/event-stream; charset=utf-8"}
	w.Header()["Cache-Control"] = []string{"no-cache"}
	out := make([]byte, 0, 4<<10)
	head := append([]byte("data: "), c.start()...)
	tail := "}\n\n"
	if x.fields.IncludeUsage {
		tail = ",\"usage\":null}\n\n"
	}
	emit := func(add func(out []byte, choice int64) []byte) {
		for choice := range x.fields.N {
			out = append(out, head...)
			out = add(out, choice)
			out = append(out, tail...)
		}
	}
	emit(func(out []byte, choice int64) []byte { return c.first(out, rp, choice) })
	for i := range rp.tokens() {
		if going, sent := x.pace(&out, i); !going {
			x.bill(rp, sent, false)
			return nil
		}
		emit(func(out []byte, choice int64) []byte { return c.piece(out, rp, choice, i) })
	}
	if going, sent := x.pace(&out, rp.tokens()); !going {
		x.bill(rp, sent, false)
		return nil
	}
	emit(func(out []byte, choice int64) []byte { return c.last(out, rp, choice) })
	if x.fields.IncludeUsage {
		out = append(out, head...)
		out = append(c.none(out), `,"usage":`...)
		out = append(rp.usage.append(out), "}\n\n"...)
	}
	out = append(out, "data: [DONE]\n\n"...)
	_, err := w.Write(out)
	x.bill(rp, rp.tokens(), err == nil)
	return nil
}

// pace runs before the chunk after the first i: it sends what is buffered if it is time, and
// stalls or cuts if the plan says so. sent is what was generated when it did not go on.
func (x *exchange) pace(out *[]byte, i int) (going bool, sent int) {
	p := &x.plan
	stop := i == p.stallAfter || i == p.cutAfter
	delay := p.chunkDelay > 0 && i > 0
	if !stop && !delay && len(*out) < 2<<10 && (i > 0 || p.chunkDelay <= 0) {
		return true, 0
	}
	_, err := x.w.Write(*out)
	*out = (*out)[:0]
	if err != nil {
		return false, i
	}
	if stop || p.chunkDelay > 0 {
		_ = http.NewResponseController(x.w).Flush() // a recorder cannot
	}
	switch {
	case i == p.cutAfter:
		p.cut = true
		return false, i
	case i == p.stallAfter:
		<-x.r.Context().Done()
		return false, i
	case delay:
		return wait(x.r.Context(), p.chunkDelay), i
	}
	return true, 0
}

// chatChunks are the chunks of a chat completion.
type chatChunks struct{ head []byte }

func (c chatChunks) start() []byte {
	return append(bytes.Clone(c.head), `"object":"chat.completion.chunk","choices":[`...)
}

func delta(out []byte, choice int64) []byte {
	out = append(out, `{"index":`...)
	out = strconv.AppendInt(out, choice, 10)
	return append(out, `,"delta":{`...)
}

const noFinish = `},"logprobs":null,"finish_reason":null}]`

func (chatChunks) first(out []byte, rp *reply, choice int64) []byte {
	out = append(delta(out, choice), `"role":"assistant","content":`...)
	if rp.tool == "" {
		return append(out, `"","refusal":null`+noFinish...)
	}
	out = append(out, `null,"tool_calls":[{"index":0,"id":"call_mock","type":"function","function":{"name":`...)
	out = llm.AppendString(out, rp.tool)
	return append(out, `,"arguments":""}}]`+noFinish...)
}

func (chatChunks) piece(out []byte, rp *reply, choice int64, i int) []byte {
	out = delta(out, choice)
	if rp.tool == "" {
		name := `"content":"`
		if rp.refusal {
			name = `"refusal":"`
		}
		out = append(append(out, name...), rp.pieces[i]...)
		out = rp.probs.appendOpenAI(append(out, `"},"logprobs":`...), rp.pieces[i:i+1], rp.refusal)
		return append(out, `,"finish_reason":null}]`...)
	}
	out = append(out, `"tool_calls":[{"index":0,"function":{"arguments":"`...)
	out = append(out, rp.args[i]...)
	return append(out, `"}}]`+noFinish...)
}

func (chatChunks) last(out []byte, rp *reply, choice int64) []byte {
	out = append(delta(out, choice), `},"logprobs":null,"finish_reason":"`...)
	out = append(out, rp.finish...)
	return append(out, `"}]`...)
}

func (chatChunks) none(out []byte) []byte { return append(out, ']') }

// completions answers the older /v1/completions.
func (s *Server) completions(x *exchange) error {
	rp := reply{pieces: x.words(`"prompt"`), finish: "stop"}
	rp.limit(x.fields.MaxTokens)
	x.count(&rp)
	head := x.head(s.ids.Add(1), "cmpl-mock-")
	head = append(head, `"object":"text_completion","choices":[`...)
	c := textChunks{head}
	if x.fields.Stream {
		return x.stream(&rp, c)
	}
	out := bytes.Clone(head)
	for i := range x.fields.N {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(out, `{"text":"`...)
		for _, p := range rp.pieces {
			out = append(out, p...)
		}
		out = textEnd(append(out, '"'), i, rp.finish)
	}
	return x.whole(&rp, append(out, ']'))
}

// textChunks are the chunks of a completion.
type textChunks struct{ head []byte }

func (c textChunks) start() []byte { return c.head }

func textEnd(out []byte, choice int64, finish string) []byte {
	out = append(out, `,"index":`...)
	out = strconv.AppendInt(out, choice, 10)
	out = append(out, `,"logprobs":null,"finish_reason":`...)
	if finish == "" {
		return append(out, "null}"...)
	}
	out = append(out, '"')
	out = append(out, finish...)
	return append(out, `"}`...)
}

func (textChunks) first(out []byte, _ *reply, choice int64) []byte {
	return append(textEnd(append(out, `{"text":""`...), choice, ""), ']')
}

func (textChunks) piece(out []byte, rp *reply, choice int64, i int) []byte {
	out = append(out, `{"text":"`...)
	out = append(out, rp.pieces[i]...)
	return append(textEnd(append(out, '"'), choice, ""), ']')
}

func (textChunks) last(out []byte, rp *reply, choice int64) []byte {
	return append(textEnd(append(out, `{"text":""`...), choice, rp.finish), ']')
}

func (textChunks) none(out []byte) []byte { return append(out, ']') }
