package chat

import (
	"cmp"
	"encoding/json"
	"slices"
)

// Collector makes a whole answer of the chunks of a stream. Its zero value has seen none.
type Collector struct {
	res   Response
	calls []map[int]int // for each choice: call's index → its part
}

// Add takes the next chunk.
func (c *Collector) Add(k *Chunk) {
	switch k.Type {
	case ChunkStart:
		c.res.ID, c.res.Model, c.res.Created = k.ID, k.Model, k.Created
		return
	case ChunkUsage:
		c.res.Usage = k.Usage
		if k.Tier != "" {
			c.res.Tier = k.Tier
		}
		return
	case ChunkPing, ChunkEnd:
		return
	}
	i := c.choice(k.Choice)
	c.part(&c.res.Choices[i], c.calls[i], k)
}

// choice is the place of a choice, which is made if it is new.
func (c *Collector) choice(index int) int {
	for i := range c.res.Choices {
		if c.res.Choices[i].Index == index {
			return i
		}
	}
	c.res.Choices = append(c.res.Choices, Choice{Index: index})
	c.calls = append(c.calls, map[int]int{})
	return len(c.res.Choices) - 1
}

// part adds to a choice.
func (c *Collector) part(ch *Choice, calls map[int]int, k *Chunk) {
	switch k.Type {
	case ChunkText:
		grow(ch, PartText).Text += k.Text
	case ChunkReasoning:
		grow(ch, PartReasoning).Text += k.Text
	case ChunkRefusal:
		grow(ch, PartRefusal).Text += k.Text
	case ChunkSignature:
		if at, ok := calls[k.Index]; ok && k.ID != "" {
			ch.Parts[at].Signature = k.Text
			return
		}
		grow(ch, PartReasoning).Signature += k.Text
	case ChunkRedacted:
		ch.Parts = append(ch.Parts, Part{Type: PartReasoning, Data: k.Text, ID: k.ID})
	case ChunkToolStart:
		calls[k.Index] = len(ch.Parts)
		ch.Parts = append(ch.Parts, Part{Type: PartToolCall, ID: k.ID, Name: k.Name})
	case ChunkToolArgs:
		if at, ok := calls[k.Index]; ok {
			ch.Parts[at].Arguments = append(ch.Parts[at].Arguments, k.Text...)
		}
	case ChunkMedia:
		addMedia(ch, k)
	case ChunkFinish:
		ch.Finish, ch.StopText = k.Finish, k.StopText
	default:
		addRaw(ch, k)
	}
}

// addRaw adds what is kept in the dialect's own form.
func addRaw(ch *Choice, k *Chunk) {
	switch k.Type {
	case ChunkCitations:
		p := grow(ch, PartText)
		p.Citations, p.Origin = joined(p.Citations, k.Raw), k.Origin
	case ChunkLogProbs:
		ch.LogProbs = joinedProbs(ch.LogProbs, k.Raw)
	case ChunkOther:
		ch.Parts = append(ch.Parts, Part{Type: PartOther, Raw: k.Raw, Origin: k.Origin})
	}
}

// grow is the last part if it is of the type and open, else a new one.
func grow(ch *Choice, typ PartType) *Part {
	if n := len(ch.Parts); n > 0 && ch.Parts[n-1].Type == typ {
		p := &ch.Parts[n-1]
		if typ != PartReasoning || p.Data == "" && p.Signature == "" {
			return p
		}
	}
	ch.Parts = append(ch.Parts, Part{Type: typ})
	return &ch.Parts[len(ch.Parts)-1]
}

// addMedia goes on with the last piece of media, or begins one.
func addMedia(ch *Choice, k *Chunk) {
	m := k.Media
	typ := PartImage
	if len(m.MIME) > 6 && m.MIME[:6] == "audio/" {
		typ = PartAudio
	}
	if n := len(ch.Parts); n > 0 && typ == PartAudio && ch.Parts[n-1].Type == typ && ch.Parts[n-1].Media.MIME == m.MIME {
		p := &ch.Parts[n-1]
		p.Media.Data += m.Data
		p.Text += k.Text
		p.ID = cmp.Or(p.ID, k.ID)
		return
	}
	whole := *m
	ch.Parts = append(ch.Parts, Part{Type: typ, Media: &whole, Text: k.Text, ID: k.ID})
}

// joined is the JSON array of the elements of two; what is no array counts as one element.
func joined(a, b json.RawMessage) json.RawMessage {
	var list []json.RawMessage
	for _, raw := range []json.RawMessage{a, b} {
		var some []json.RawMessage
		switch {
		case len(raw) == 0:
		case json.Unmarshal(raw, &some) == nil:
			list = append(list, some...)
		default:
			list = append(list, raw)
		}
	}
	out, err := json.Marshal(list)
	if err != nil {
		return a
	}
	return out
}

// joinedProbs joins two of OpenAI's logprobs objects: each member is an array that goes on.
func joinedProbs(a, b json.RawMessage) json.RawMessage {
	var whole, more map[string]json.RawMessage
	if json.Unmarshal(b, &more) != nil || len(a) == 0 || json.Unmarshal(a, &whole) != nil {
		return slices.Clone(b)
	}
	for name, list := range more {
		if string(list) != "null" {
			whole[name] = joined(whole[name], list)
		}
	}
	out, err := json.Marshal(whole)
	if err != nil {
		return a
	}
	return out
}

// Response is the answer so far. The Collector must not be used after it.
func (c *Collector) Response() *Response {
	slices.SortFunc(c.res.Choices, func(a, b Choice) int { return a.Index - b.Index })
	return &c.res
}

// Chunks appends to list the chunks of a stream that says what the answer says, for a client
// that asked for a stream of a provider that cannot.
func Chunks(list []Chunk, r *Response) []Chunk {
	list = append(list, Chunk{Type: ChunkStart, ID: r.ID, Model: r.Model, Created: r.Created})
	for i := range r.Choices {
		list = choiceChunks(list, &r.Choices[i])
	}
	return append(list, Chunk{Type: ChunkUsage, Usage: r.Usage, Tier: r.Tier}, Chunk{Type: ChunkEnd})
}

func choiceChunks(list []Chunk, ch *Choice) []Chunk {
	calls := 0
	for i := range ch.Parts {
		p := &ch.Parts[i]
		k := Chunk{Choice: ch.Index, Text: p.Text}
		switch p.Type {
		case PartText:
			k.Type = ChunkText
		case PartRefusal:
			k.Type = ChunkRefusal
		case PartReasoning:
			list = reasoningChunks(list, ch.Index, p)
			continue
		case PartToolCall:
			list = append(list, Chunk{Type: ChunkToolStart, Choice: ch.Index, Index: calls, ID: p.ID, Name: p.Name})
			if p.Signature != "" {
				list = append(list, Chunk{Type: ChunkSignature, Choice: ch.Index, Index: calls, ID: p.ID, Text: p.Signature})
			}
			k.Type, k.Index, k.Text = ChunkToolArgs, calls, string(p.Arguments)
			calls++
		case PartImage, PartAudio, PartVideo, PartFile:
			k.Type, k.Media, k.ID = ChunkMedia, p.Media, p.ID
		case PartOther:
			k.Type, k.Raw, k.Origin = ChunkOther, p.Raw, p.Origin
		default:
			continue
		}
		list = append(list, k)
		if len(p.Citations) > 0 {
			list = append(list, Chunk{Type: ChunkCitations, Choice: ch.Index, Raw: p.Citations, Origin: p.Origin})
		}
	}
	if len(ch.LogProbs) > 0 {
		list = append(list, Chunk{Type: ChunkLogProbs, Choice: ch.Index, Raw: ch.LogProbs})
	}
	return append(list, Chunk{Type: ChunkFinish, Choice: ch.Index, Finish: ch.Finish, StopText: ch.StopText})
}

func reasoningChunks(list []Chunk, choice int, p *Part) []Chunk {
	if p.Text != "" {
		list = append(list, Chunk{Type: ChunkReasoning, Choice: choice, Text: p.Text})
	}
	if p.Signature != "" {
		list = append(list, Chunk{Type: ChunkSignature, Choice: choice, Text: p.Signature})
	}
	if p.Data != "" {
		list = append(list, Chunk{Type: ChunkRedacted, Choice: choice, Text: p.Data, ID: p.ID})
	}
	return list
}
