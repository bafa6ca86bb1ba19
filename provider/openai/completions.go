package openai

import (
	"cmp"
	"encoding/json"
	"errors"
	"slices"
	"strconv"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/chat"
	"github.com/conclave-llm/conclave/llm/jsonread"
)

// Completions is the dialect of the older completions, of a text. For clients that speak it the
// text is what the user says; to a provider that speaks nothing else a conversation goes as the
// text of a play.
type Completions struct{}

// memberEcho marks, in the one message of a request, that the answer is to begin with it.
const memberEcho = "echo"

// DecodeRequest reads a request for the completion of a text, or of several, each of which is a message of its own.
func (Completions) DecodeRequest(body []byte) (*chat.Request, error) {
	r := reader{jsonread.New(body)}
	q := new(chat.Request)
	var prompts []string
	echo := false
	r.Members(func(name string) {
		switch name {
		case "prompt":
			prompts = r.prompts()
		case "suffix":
			q.Suffix = r.Str()
		case "echo":
			echo = r.True()
		case "max_tokens":
			q.MaxTokens = r.Count()
		case "logprobs":
			if n := r.Whole(); n != nil {
				q.LogProbs, q.TopLogProbs = true, max(*n, 0)
			}
		default:
			r.member(q, name)
		}
	})
	if err := r.Finish(); err != nil {
		return nil, err
	}
	if prompts == nil {
		prompts = []string{""}
	}
	for _, prompt := range prompts {
		m := chat.Message{Role: chat.RoleUser, Parts: []chat.Part{{Text: prompt}}}
		if echo {
			m.Extra = map[string]json.RawMessage{memberEcho: json.RawMessage("true")}
		}
		q.Messages = append(q.Messages, m)
	}
	q.Apart = len(prompts) > 1
	return q, nil
}

// maxPrompts is how many texts a request may have for a provider that completes one at a time.
const maxPrompts = 128

// prompts reads a text or a list of texts.
func (r *reader) prompts() (all []string) {
	switch r.Next() {
	case '"':
		return []string{r.Text()}
	case '[':
	default:
		r.Wrong("must be a string or a list of strings")
		r.Raw()
		return nil
	}
	tokens := false
	for n := 0; r.Element(n); n++ {
		if r.Next() != '"' {
			r.Raw()
			tokens = true
			continue
		}
		all = append(all, r.Text())
	}
	switch {
	case r.Fault != nil || r.Err() != nil:
	case tokens:
		r.Fault = llm.Unsayable("prompt", "The provider of this model takes texts, and no tokens: send strings as \"prompt\".")
	case len(all) == 0:
		r.Wrong("must have a text")
	case len(all) > maxPrompts:
		r.Fault = llm.Unsayable("prompt", "The provider of this model completes one text at a time: send at most "+strconv.Itoa(maxPrompts)+" of them.")
	}
	return all
}

// SpellPrompts puts texts in the place of the tokens that a request for completions has as its prompts. false: it has none.
func SpellPrompts(body []byte, text func(tokens []int) (string, error)) (spelled []byte, ok bool, err error) {
	out := []byte{'{'}
	c := llm.NewCursor(body)
	for n := 0; c.Member(n); n++ {
		m := llm.Member{Name: string(c.Name())}
		m.Value = c.Raw()
		if m.Name == "prompt" && len(m.Value) > 0 && m.Value[0] == '[' {
			if m.Value, ok, err = spellPrompt(m.Value, text); err != nil {
				return nil, false, err
			}
		}
		out = m.Append(out)
	}
	return append(out, '}'), ok && c.Err() == nil, nil
}

// spellPrompt is a list of tokens, or of such lists and of texts, as texts.
func spellPrompt(raw []byte, text func(tokens []int) (string, error)) (texts []byte, ok bool, err error) {
	var one []int
	if json.Unmarshal(raw, &one) == nil && len(one) > 0 {
		s, err := text(one)
		return llm.AppendString(nil, s), true, err
	}
	var list []json.RawMessage
	if json.Unmarshal(raw, &list) != nil {
		return raw, false, nil
	}
	out := []byte{'['}
	for _, v := range list {
		var tokens []int
		if json.Unmarshal(v, &tokens) == nil && len(tokens) > 0 {
			s, err := text(tokens)
			if err != nil {
				return nil, false, err
			}
			v, ok = llm.AppendString(nil, s), true
		}
		out = append(llm.AppendComma(out), v...)
	}
	return append(out, ']'), ok, nil
}

// echoed is the text with which a choice of the answer is to begin: that of its prompt.
func echoed(q *chat.Request, choice int) string {
	at := 0
	if q.Apart {
		at = choice / int(max(1, q.N))
	}
	if at < len(q.Messages) && q.Messages[at].Extra[memberEcho] != nil {
		return chat.Text(q.Messages[at].Parts)
	}
	return ""
}

// EncodeResponse writes a completion.
func (Completions) EncodeResponse(q *chat.Request, res *chat.Response) ([]byte, error) {
	head := headOf(q, "cmpl-", res.ID, res.Model, res.Created)
	b := append(make([]byte, 0, 1024), `{"id":`...)
	b = llm.AppendString(b, head.id)
	b = append(b, `,"object":"text_completion","created":`...)
	b = strconv.AppendInt(b, head.created, 10)
	b = append(b, `,"model":`...)
	b = llm.AppendString(b, head.model)
	b = append(b, `,"choices":[`...)
	for i := range res.Choices {
		ch := &res.Choices[i]
		before := echoed(q, ch.Index)
		b = appendInt(llm.AppendComma(b), `{"index":`, int64(ch.Index))
		b = append(b, `,"text":`...)
		b = llm.AppendString(b, before+chat.Text(ch.Parts))
		b = append(b, `,"logprobs":`...)
		b = llm.AppendRaw(b, textProbs(ch.LogProbs, len(before)))
		b = append(b, `,"finish_reason":"`...)
		b = append(b, textFinish(ch.Finish)...)
		b = append(b, `"}`...)
	}
	b = append(b, ']')
	if res.Usage.Source != llm.UsageNone {
		b = append(b, `,"usage":`...)
		b = appendUsage(b, res.Usage)
	}
	return append(b, '}'), nil
}

// textFinish is the finish_reason of a completion, which calls no tools.
func textFinish(f chat.Finish) string {
	if f == chat.FinishTools {
		return "stop"
	}
	return finishName(f, false)
}

// chatToken is an element of the logprobs of a chat completion.
type chatToken struct {
	Token   string  `json:"token"`
	LogProb float64 `json:"logprob"`
	Bytes   []int   `json:"bytes"`

	Top []topToken `json:"top_logprobs"`
}

// topToken is a token that might have stood in the place of another.
type topToken struct {
	Token   string  `json:"token"`
	LogProb float64 `json:"logprob"`
	Bytes   []int   `json:"bytes"`
}

// textTokens are the logprobs of a completion.
type textTokens struct {
	Tokens []string             `json:"tokens"`
	Probs  []*float64           `json:"token_logprobs"`
	Top    []map[string]float64 `json:"top_logprobs"`
	Offset []int                `json:"text_offset"`
}

// textProbs says the logprobs of a chat completion as those of a completion, whose text begins at
// an offset; nil for none.
func textProbs(raw json.RawMessage, at int) json.RawMessage {
	var from struct{ Content []chatToken }
	if json.Unmarshal(raw, &from) != nil || from.Content == nil {
		return nil
	}
	to := textTokens{}
	for i := range from.Content {
		t := &from.Content[i]
		top := make(map[string]float64, len(t.Top))
		for _, other := range t.Top {
			top[other.Token] = other.LogProb
		}
		to.Tokens, to.Probs = append(to.Tokens, t.Token), append(to.Probs, &t.LogProb)
		to.Top, to.Offset = append(to.Top, top), append(to.Offset, at)
		at += len(t.Token)
	}
	out, err := json.Marshal(to)
	if err != nil {
		return nil
	}
	return out
}

// chatProbs says the logprobs of a completion as those of a chat completion; nil for none.
func chatProbs(raw json.RawMessage) json.RawMessage {
	var from textTokens
	if json.Unmarshal(raw, &from) != nil || len(from.Tokens) == 0 {
		return nil
	}
	list := make([]chatToken, len(from.Tokens))
	for i, text := range from.Tokens {
		t := &list[i]
		t.Token, t.Bytes, t.Top = text, bytesOf(text), []topToken{}
		if i < len(from.Probs) && from.Probs[i] != nil {
			t.LogProb = *from.Probs[i]
		}
		if i < len(from.Top) {
			for other, p := range from.Top[i] {
				t.Top = append(t.Top, topToken{other, p, bytesOf(other)})
			}
			slices.SortFunc(t.Top, func(a, b topToken) int {
				return cmp.Or(cmp.Compare(b.LogProb, a.LogProb), cmp.Compare(a.Token, b.Token))
			})
		}
	}
	out, err := json.Marshal(map[string]any{"content": list, "refusal": nil})
	if err != nil {
		return nil
	}
	return out
}

func bytesOf(s string) []int {
	list := make([]int, len(s))
	for i := range len(s) {
		list[i] = int(s[i])
	}
	return list
}

// textEncoder writes a stream of completions.
type textEncoder struct {
	q      *chat.Request
	prefix []byte
	echoed map[int]bool
	offset map[int]int // of the text that was written of a choice
	usage  llm.Usage
	tier   string
}

// NewEncoder writes a stream of completions.
func (Completions) NewEncoder(q *chat.Request) chat.Encoder {
	return &textEncoder{q: q, echoed: make(map[int]bool), offset: make(map[int]int)}
}

// Encode writes the events of one chunk.
func (e *textEncoder) Encode(dst []byte, c *chat.Chunk) []byte {
	if c.Type == chat.ChunkStart || e.prefix == nil && c.Type != chat.ChunkPing {
		e.prefix = chunkPrefix(headOf(e.q, "cmpl-", c.ID, c.Model, c.Created), "text_completion")
	}
	switch c.Type {
	case chat.ChunkText:
		text := c.Text
		if before := echoed(e.q, c.Choice); before != "" && !e.echoed[c.Choice] {
			text = before + text
		}
		e.echoed[c.Choice] = true
		e.offset[c.Choice] += len(text)
		return e.event(dst, c.Choice, text, nil, "null")
	case chat.ChunkLogProbs:
		return e.event(dst, c.Choice, "", textProbs(c.Raw, e.offset[c.Choice]), "null")
	case chat.ChunkFinish:
		return e.event(dst, c.Choice, "", nil, `"`+textFinish(c.Finish)+`"`)
	case chat.ChunkUsage:
		e.usage = c.Usage
	case chat.ChunkEnd:
		dst = appendUsageChunk(dst, e.q, e.prefix, e.usage, e.tier)
		return append(dst, "data: [DONE]\n\n"...)
	}
	return dst
}

func (e *textEncoder) event(dst []byte, choice int, text string, probs []byte, reason string) []byte {
	dst = appendInt(append(dst, e.prefix...), `{"index":`, int64(choice))
	dst = llm.AppendString(append(dst, `,"text":`...), text)
	dst = llm.AppendRaw(append(dst, `,"logprobs":`...), probs)
	dst = append(append(dst, `,"finish_reason":`...), reason...)
	return append(dst, "}]}\n\n"...)
}

var errNoText = errors.New("a choice has no text")

// DecodeResponse reads a completion.
func (Completions) DecodeResponse(body []byte) (*chat.Response, error) {
	r := reader{jsonread.New(body)}
	if r.Next() != '{' {
		return nil, malformed(errors.New("it is no JSON object"))
	}
	res, broken := new(chat.Response), false
	r.Members(func(name string) {
		switch name {
		case "choices":
			r.List(func(i int) { res.Choices = append(res.Choices, r.textChoice(i)) })
		case "error":
			broken = r.Next() != 'n'
			r.Raw()
		default:
			r.answerMember(res, name)
		}
	})
	switch err := r.Finish(); {
	case err != nil:
		return nil, malformed(err)
	case broken:
		return nil, Codec{}.Classify(noTime, 200, nil, body)
	case len(res.Choices) == 0:
		return nil, malformed(errNoChoices)
	}
	res.Usage, _ = llm.ReadUsage(llm.DialectOpenAI, body)
	return res, nil
}

// textChoice reads one choice of a completion.
func (r *reader) textChoice(i int) chat.Choice {
	ch, text, has, reason := chat.Choice{Index: i}, "", false, ""
	r.Entry(func(name string) {
		switch name {
		case "index":
			if n, ok := r.Int(); ok {
				ch.Index = int(n)
			}
		case "text":
			text, has = r.Str(), true
		case "finish_reason":
			reason = r.Text()
		case "logprobs":
			ch.LogProbs = chatProbs(r.Copy())
		default:
			r.Raw()
		}
	})
	if !has && r.Fault == nil {
		r.Fault = errNoText
	}
	if text != "" {
		ch.Parts = []chat.Part{{Text: text}}
	}
	ch.Finish = finishOf(reason, false, false)
	return ch
}

// textDecoder reads a stream of completions, whose logprobs alone differ from chunks.
type textDecoder struct{ chunkDecoder }

// NewDecoder reads a stream of completions.
func (Completions) NewDecoder() chat.Decoder { return new(textDecoder) }

// Decode reads one event.
func (d *textDecoder) Decode(list []chat.Chunk, e llm.Event) ([]chat.Chunk, error) {
	n := len(list)
	list, err := d.chunkDecoder.Decode(list, e)
	kept := list[:n]
	for _, c := range list[n:] {
		if c.Type == chat.ChunkLogProbs {
			if c.Raw = chatProbs(c.Raw); c.Raw == nil {
				continue
			}
		}
		kept = append(kept, c)
	}
	return kept, err
}
