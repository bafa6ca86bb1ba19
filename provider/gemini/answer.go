package gemini

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/chat"
)

// answer is what is read of an answer, or of one event of a stream.
type answer struct {
	Candidates     []answerCandidate `json:"candidates"`
	PromptFeedback *struct {
		BlockReason string `json:"blockReason"`
	} `json:"promptFeedback"`
	Usage        json.RawMessage `json:"usageMetadata"`
	ModelVersion string          `json:"modelVersion"`
	ResponseID   string          `json:"responseId"`
	CreateTime   string          `json:"createTime"`
	Error        json.RawMessage `json:"error"`
}

// answerCandidate is one of the choices.
type answerCandidate struct {
	Index   flexInt `json:"index"`
	Content struct {
		Parts []json.RawMessage `json:"parts"`
	} `json:"content"`
	FinishReason string          `json:"finishReason"`
	Grounding    json.RawMessage `json:"groundingMetadata"`
}

// finishes are the reasons that are not a regular stop.
var finishes = map[string]chat.Finish{
	"MAX_TOKENS": chat.FinishLength, "SAFETY": chat.FinishFilter, "RECITATION": chat.FinishFilter, "BLOCKLIST": chat.FinishFilter,
	"PROHIBITED_CONTENT": chat.FinishFilter, "SPII": chat.FinishFilter, "IMAGE_SAFETY": chat.FinishFilter, "MODEL_ARMOR": chat.FinishFilter,
	"IMAGE_PROHIBITED_CONTENT": chat.FinishFilter, "IMAGE_RECITATION": chat.FinishFilter, "LANGUAGE": chat.FinishFilter,
}

// NewDecoder implements provider.Outbound.
func (Dialect) NewDecoder() chat.Decoder { return &decoder{} }

// decoder reads the events of one stream.
type decoder struct {
	id      string
	begun   bool
	ended   bool
	choices []choiceState
}

// choiceState is how far a choice has come.
type choiceState struct {
	index    int
	calls    int
	finished bool
}

// Decode implements chat.Decoder.
func (d *decoder) Decode(list []chat.Chunk, e llm.Event) ([]chat.Chunk, error) {
	if e.Data == nil {
		return list, nil
	}
	var a answer
	if err := json.Unmarshal(e.Data, &a); err != nil {
		if e.Cut {
			return list, cut()
		}
		return list, notJSON()
	}
	if len(a.Error) > 0 && string(a.Error) != "null" {
		return list, Codec{}.Classify(time.Time{}, 200, nil, slices.Clone(e.Data))
	}
	if !d.begun {
		d.begun = true
		d.id = a.ResponseID
		list = append(list, chat.Chunk{Type: chat.ChunkStart, ID: a.ResponseID, Model: a.ModelVersion, Created: created(a.CreateTime)})
	}
	for i := range a.Candidates {
		var err error
		if list, err = d.candidate(list, &a.Candidates[i]); err != nil {
			return list, err
		}
	}
	if a.PromptFeedback != nil && a.PromptFeedback.BlockReason != "" {
		if c := d.choice(0); !c.finished {
			c.finished = true
			list = append(list, chat.Chunk{Type: chat.ChunkFinish, Finish: chat.FinishFilter})
		}
	}
	if len(a.Usage) > 0 {
		if u, ok := llm.ReadUsage(llm.DialectGemini, e.Data); ok {
			list = append(list, chat.Chunk{Type: chat.ChunkUsage, Usage: u})
		}
	}
	return list, nil
}

// created is a time of Google's in seconds since 1970, 0 if it is none.
func created(text string) int64 {
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return 0
	}
	return t.Unix()
}

func (d *decoder) choice(index int) *choiceState {
	i := slices.IndexFunc(d.choices, func(c choiceState) bool { return c.index == index })
	if i < 0 {
		i = len(d.choices)
		d.choices = append(d.choices, choiceState{index: index})
	}
	return &d.choices[i]
}

// candidate reads what an event adds to a choice.
func (d *decoder) candidate(list []chat.Chunk, a *answerCandidate) ([]chat.Chunk, error) {
	if a.Index < 0 || a.Index > 1<<10 {
		return list, errInvalid("The provider sent a candidate with the index " + fmt.Sprint(int64(a.Index)) + ".")
	}
	c := d.choice(int(a.Index))
	for _, raw := range a.Content.Parts {
		var p wirePart
		if err := json.Unmarshal(raw, &p); err != nil {
			return list, errInvalid("The provider sent a part that cannot be read.")
		}
		list = d.part(list, c, &p, raw)
	}
	if len(a.Grounding) > 2 {
		list = append(list, chat.Chunk{Type: chat.ChunkCitations, Choice: c.index, Raw: slices.Clone(a.Grounding), Origin: origin})
	}
	if a.FinishReason != "" && a.FinishReason != "FINISH_REASON_UNSPECIFIED" && !c.finished {
		c.finished = true
		finish, odd := finishes[a.FinishReason]
		switch {
		case odd:
		case c.calls > 0:
			finish = chat.FinishTools
		default:
			finish = chat.FinishStop
		}
		list = append(list, chat.Chunk{Type: chat.ChunkFinish, Choice: c.index, Finish: finish})
	}
	return list, nil
}

// part reads one part of a choice.
func (d *decoder) part(list []chat.Chunk, c *choiceState, p *wirePart, raw json.RawMessage) []chat.Chunk {
	k := chat.Chunk{Choice: c.index}
	switch {
	case p.FunctionCall != nil:
		return d.call(list, c, p)
	case p.Text != nil && p.Thought:
		k.Type, k.Text = chat.ChunkReasoning, *p.Text
	case p.Text != nil:
		k.Type, k.Text = chat.ChunkText, *p.Text
	case p.InlineData != nil:
		k.Type = chat.ChunkMedia
		k.Media = &chat.Media{Data: stdBase64(p.InlineData.Data), MIME: p.InlineData.MIMEType, Name: p.InlineData.DisplayName}
	case p.FileData != nil:
		k.Type, k.Media = chat.ChunkMedia, &chat.Media{URL: p.FileData.FileURI, MIME: p.FileData.MIMEType}
	case p.ThoughtSignature == "" && len(raw) > 2:
		k.Type, k.Raw, k.Origin = chat.ChunkOther, slices.Clone(raw), origin
	}
	if p.ThoughtSignature != "" && !p.Thought { // it signs the thoughts before the part
		list = sign(list, c.index, p.ThoughtSignature)
	}
	if k.Text != "" || k.Media != nil || k.Raw != nil {
		list = append(list, k)
	}
	if p.ThoughtSignature != "" && p.Thought {
		list = sign(list, c.index, p.ThoughtSignature)
	}
	return list
}

// sign adds a signature of thoughts, or another vendor's that came through Google's dialect.
func sign(list []chat.Chunk, choice int, thought string) []chat.Chunk {
	signature, data := fromClient(thought)
	if data != "" {
		return append(list, chat.Chunk{Type: chat.ChunkRedacted, Choice: choice, Text: data})
	}
	return append(list, chat.Chunk{Type: chat.ChunkSignature, Choice: choice, Text: signature})
}

// call reads a call of a tool, which comes whole. Google may leave its id out.
func (d *decoder) call(list []chat.Chunk, c *choiceState, p *wirePart) []chat.Chunk {
	id := p.FunctionCall.ID
	if id == "" {
		id = fmt.Sprintf("call_%s_%d_%d", d.id, c.index, c.calls)
	}
	at := chat.Chunk{Choice: c.index, Index: c.calls, ID: id}
	c.calls++
	start, args := at, at
	start.Type, start.Name = chat.ChunkToolStart, p.FunctionCall.Name
	list = append(list, start)
	if p.ThoughtSignature != "" {
		signed := at
		signed.Type, signed.Text = chat.ChunkSignature, p.ThoughtSignature
		list = append(list, signed)
	}
	args.Type, args.ID, args.Text = chat.ChunkToolArgs, "", string(p.FunctionCall.Args)
	if args.Text == "" || args.Text == "null" {
		args.Text = "{}"
	}
	return append(list, args)
}

// End implements chat.Decoder: a stream is whole when each of its choices has a reason to end.
func (d *decoder) End(list []chat.Chunk) ([]chat.Chunk, error) {
	if d.ended {
		return list, nil
	}
	whole := len(d.choices) > 0
	for _, c := range d.choices {
		whole = whole && c.finished
	}
	if !whole {
		return list, cut()
	}
	d.ended = true
	return append(list, chat.Chunk{Type: chat.ChunkEnd}), nil
}

// cut is the error of a stream that ended too early.
func cut() error {
	return &llm.Error{Kind: llm.Upstream, Code: "upstream_cut", Message: "The provider's stream ended before its answer did."}
}

// DecodeResponse implements provider.Outbound. A whole answer is a stream of one event.
func (Dialect) DecodeResponse(body []byte) (*chat.Response, error) {
	var d decoder
	chunks, err := d.Decode(nil, llm.Event{Data: body})
	if err != nil {
		return nil, err
	}
	if len(d.choices) == 0 {
		return nil, errInvalid("The provider sent an answer without a candidate.")
	}
	var c chat.Collector
	for i := range chunks {
		c.Add(&chunks[i])
	}
	return c.Response(), nil
}
