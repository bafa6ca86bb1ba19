package llm

import "bytes"

// AnyUsage finds the usage of a body, or of an event's data, of which nobody knows whose it is: in the shapes
// of OpenAI, Anthropic, Google, Bedrock's Converse and Cohere, and in those of the makers whose bodies Bedrock's
// InvokeModel and Vertex's predict hand on (Amazon Titan, Meta Llama, embeddings and pictures at Vertex).
// false: it has none, or is not JSON.
func AnyUsage(body []byte) (Usage, bool) {
	var m AnyMeter
	return m.Add(body)
}

// AnyMeter is AnyUsage for a stream whose events each tell a part: what a later one tells replaces what an
// earlier one did, except by 0. The zero value is ready. It is not safe for concurrent use.
type AnyMeter struct{ usage Usage }

// Add reads an event's data and returns the usage of all so far; false if this one has none.
func (m *AnyMeter) Add(data []byte) (Usage, bool) {
	u := Usage{}
	c := NewCursor(data)
	if c.Next() != '{' {
		return u, false
	}
	r := anyReader{cursor: &c, usage: &u}
	found := r.members(0)
	if c.End() != nil || !found {
		return Usage{}, false
	}
	m.usage.update(&u)
	if m.usage.Prompt() == 0 {
		m.usage.Input, m.usage.CacheRead, m.usage.CacheWrite = r.metrics.Input, r.metrics.CacheRead, r.metrics.CacheWrite
	}
	if m.usage.Completion() == 0 {
		m.usage.Output = r.metrics.Output
	}
	m.usage.Source = UsageProvider
	return m.usage, true
}

// update takes what n has and u may have had before.
func (u *Usage) update(n *Usage) {
	for _, p := range [...]struct{ to, from *int64 }{
		{&u.Input, &n.Input},
		{&u.CacheRead, &n.CacheRead},
		{&u.CacheWrite, &n.CacheWrite},
		{&u.CacheWrite1h, &n.CacheWrite1h},
		{&u.CacheReadAudio, &n.CacheReadAudio},
		{&u.CacheReadImage, &n.CacheReadImage},
		{&u.AudioInput, &n.AudioInput},
		{&u.ImageInput, &n.ImageInput},
		{&u.Output, &n.Output},
		{&u.Reasoning, &n.Reasoning},
		{&u.AudioOutput, &n.AudioOutput},
		{&u.ImageOutput, &n.ImageOutput},
	} {
		if *p.from != 0 {
			*p.to = *p.from
		}
	}
	if n.Units != (Units{}) {
		u.Units = n.Units
	}
	if n.Service != ServiceUnsaid {
		u.Service = n.Service
	}
}

// anyReader reads the members of one object.
type anyReader struct {
	cursor  *Cursor
	usage   *Usage
	metrics Usage // of Bedrock's own, which count where the model tells nothing
}

// wrapped bounds the objects in one another that may hold a usage.
const wrapped = 4

// members reads those that tell of usage, and says whether any does. depth is that of the object.
func (r *anyReader) members(depth int) (found bool) {
	c := r.cursor
	for n := 0; c.Member(n); n++ {
		switch string(c.Name()) {
		case "usage":
			found = r.object("usage", c.Raw()) || found
		case "usageMetadata":
			found = r.whole(DialectGemini, "usageMetadata", c.Raw()) || found
		case "meta":
			found = r.whole(DialectCohere, "meta", c.Raw()) || found
		case "message", "response", "metadata", "interaction", "tokenMetadata":
			if c.Next() == '{' && depth < wrapped {
				found = r.members(depth+1) || found
				continue
			}
			c.Raw()
		case "amazon-bedrock-invocationMetrics":
			raw := NewCursor(c.Raw())
			inner := anyReader{cursor: &raw, usage: &r.metrics}
			found = inner.members(wrapped) || found
		default:
			found = r.member(string(c.Name())) || found
		}
	}
	return found
}

// member reads one that is a count, or a list of things that count.
func (r *anyReader) member(name string) bool {
	switch name {
	case "inputTextTokenCount", "prompt_token_count", "inputTokenCount": // of Titan, of Llama, of Bedrock's metrics and Vertex
		return r.count(&r.usage.Input)
	case "totalOutputTextTokenCount", "generation_token_count", "outputTokenCount":
		return r.count(&r.usage.Output)
	case "cacheReadInputTokenCount":
		return r.count(&r.usage.CacheRead)
	case "cacheWriteInputTokenCount":
		return r.count(&r.usage.CacheWrite)
	case "results": // of Titan
		return r.each("tokenCount", &r.usage.Output)
	case "predictions": // of Vertex
		return r.predictions()
	case "images", "artifacts": // of Titan, Nova and Stability
		return r.pictures()
	}
	r.cursor.Raw()
	return false
}

// object reads a usage object, whose names say whose it is.
func (r *anyReader) object(name string, raw []byte) bool {
	d := DialectOpenAI
	switch {
	case len(raw) == 0 || raw[0] != '{':
		return false
	case Has(raw, "total_input_tokens") || Has(raw, "total_output_tokens"): // of Google's interactions
		return r.interaction(raw)
	case Has(raw, "inputTokens") || Has(raw, "outputTokens"):
		d = DialectConverse
	case Has(raw, "billed_units"):
		d = DialectCohere
	case (Has(raw, "input_tokens") || Has(raw, "output_tokens")) && !Has(raw, "total_tokens"):
		d = DialectAnthropic
	}
	return r.whole(d, name, raw)
}

// whole reads a member by the rules of a dialect.
func (r *anyReader) whole(d Dialect, name string, raw []byte) bool {
	b := append(AppendString(make([]byte, 0, len(name)+len(raw)+8), name), ':')
	u, ok := ReadUsage(d, append(append(append([]byte{'{'}, b...), raw...), '}'))
	if ok {
		r.usage.update(&u)
	}
	return ok
}

// interaction reads the usage of Google's interactions.
func (r *anyReader) interaction(raw []byte) (found bool) {
	c := NewCursor(raw)
	var prompt, cached, thought, tools int64
	for n := 0; c.Member(n); n++ {
		to := map[string]*int64{
			"total_input_tokens": &prompt, "total_cached_tokens": &cached, "total_thought_tokens": &thought,
			"total_output_tokens": &r.usage.Output, "total_tool_use_tokens": &tools,
		}[string(c.Name())]
		if to == nil {
			c.Raw()
			continue
		}
		found = takeCount(&c, to) || found
	}
	cached = min(cached, prompt)
	r.usage.Input, r.usage.CacheRead, r.usage.Reasoning = prompt-cached+tools, cached, thought
	return found
}

// count takes a number of tokens, or an object with their sum as Vertex has.
func (r *anyReader) count(to *int64) (found bool) {
	c := r.cursor
	if c.Next() != '{' {
		return takeCount(c, to)
	}
	for n := 0; c.Member(n); n++ {
		if string(c.Name()) == "totalTokens" {
			found = takeCount(c, to) || found
		} else {
			c.Raw()
		}
	}
	return found
}

// each adds up a member of the objects of a list.
func (r *anyReader) each(name string, to *int64) (found bool) {
	c := r.cursor
	for n := 0; c.Element(n); n++ {
		for m := 0; c.Member(m); m++ {
			if string(c.Name()) != name {
				c.Raw()
				continue
			}
			var one int64
			if takeCount(c, &one) {
				*to, found = *to+one, true
			}
		}
	}
	return found
}

// predictions counts the tokens of embeddings and the pictures in a list of Vertex's.
func (r *anyReader) predictions() (found bool) {
	c := r.cursor
	for n := 0; c.Element(n); n++ {
		for m := 0; c.Member(m); m++ {
			switch string(c.Name()) {
			case "embeddings":
				found = r.statistics(c.Raw()) || found
			case "bytesBase64Encoded", "gcsUri":
				c.Raw()
				r.usage.Units.OutputImages++
				found = true
			default:
				c.Raw()
			}
		}
	}
	return found
}

// statistics reads {"statistics":{"token_count":…}}.
func (r *anyReader) statistics(raw []byte) (found bool) {
	c := NewCursor(raw)
	for n := 0; c.Member(n); n++ {
		if string(c.Name()) != "statistics" {
			c.Raw()
			continue
		}
		for m := 0; c.Member(m); m++ {
			var one int64
			if string(c.Name()) == "token_count" && takeCount(&c, &one) {
				r.usage.Input, found = r.usage.Input+one, true
			} else if string(c.Name()) != "token_count" {
				c.Raw()
			}
		}
	}
	return found
}

// pictures counts what a list has.
func (r *anyReader) pictures() bool {
	c := r.cursor
	for n := 0; c.Element(n); n++ {
		if v := bytes.TrimSpace(c.Raw()); len(v) > 2 {
			r.usage.Units.OutputImages++
		}
	}
	return r.usage.Units.OutputImages > 0
}

// takeCount takes a value; false: it is no number of tokens.
func takeCount(c *Cursor, to *int64) bool {
	n, ok := c.Int()
	if !ok || n < 0 || n > MaxTokenCount {
		return false
	}
	*to = n
	return true
}
