package llm

// Dialect is whose shape a usage object has.
type Dialect uint8

// The dialects. The zero value is OpenAI's, in chat completions, embeddings, responses,
// transcriptions and Realtime.
const (
	DialectOpenAI    Dialect = iota
	DialectImages            // OpenAI's images, whose output is image tokens
	DialectAnthropic         // input_tokens beside, not including, what a cache held
	DialectGemini            // usageMetadata
	DialectConverse          // Bedrock's
	DialectCohere            // billed_units
)

// ReadUsage finds the usage of a whole body or of an event's data; false if it has none, or is
// not JSON.
func ReadUsage(d Dialect, body []byte) (Usage, bool) {
	if d == DialectOpenAI {
		r, err := Read(body)
		if err != nil {
			return Usage{}, false
		}
		if r.HasUsage {
			return r.Usage, true
		}
	}
	c := noCounts()
	if !c.read(d, body) {
		return Usage{}, false
	}
	return c.as(d), true
}

// UsageMeter reads the usage of a stream whose events each tell a part of it: what a later one
// tells replaces what an earlier one did, except by 0, which those who translate streams put
// where they know nothing. Only Dialect is set. It is not safe for concurrent use.
type UsageMeter struct {
	Dialect Dialect
	c       counts
}

// Add reads an event's data and returns the usage of all so far; false if this one has none.
func (m *UsageMeter) Add(data []byte) (Usage, bool) {
	c := m.c
	c.prompt, c.completion, c.total, c.units = -1, -1, -1, Units{}
	if !c.read(m.Dialect, data) {
		return Usage{}, false
	}
	if c.prompt <= 0 {
		c.prompt = m.c.prompt
	}
	if c.completion <= 0 {
		c.completion = m.c.completion
	}
	if c.units == (Units{}) {
		c.units = m.c.units
	}
	m.c = c
	return c.as(m.Dialect), true
}

// read adds what a whole body or an event's data tells; false if that is nothing, or not JSON.
func (c *counts) read(d Dialect, body []byte) bool {
	s := scanner{b: body}
	if !s.enter('{') {
		return false
	}
	c.find(&s, d)
	s.finish()
	return s.ok() && c.any()
}

// as gives the usage, of which the dialect says how the numbers contain one another.
func (c *counts) as(d Dialect) Usage {
	switch d {
	case DialectAnthropic, DialectConverse:
		return c.exclusive()
	case DialectGemini:
		return c.gemini()
	}
	u := c.normalize()
	if d == DialectImages && u.ImageOutput == 0 {
		u.ImageOutput, u.Output = u.Output, 0
	}
	return u
}

// find reads the members of an object that is open, for a usage object in it.
func (c *counts) find(s *scanner, d Dialect) {
	for n := 0; s.next('}', n); n++ {
		switch string(s.key()) {
		case "message", "response", "meta": // of an event that wraps the answer; of Cohere
			if enterObject(s, 0) {
				c.find(s, d)
			}
		case "usage", "usageMetadata", "billed_units":
			c.object(s, d)
		case "serviceTier", "service_tier":
			c.tier(s)
		default:
			s.value()
		}
	}
}

// tier reads a tier of service, which Converse has in an object.
func (c *counts) tier(s *scanner) {
	if s.space() == '"' {
		c.service = s.service()
		return
	}
	for n := 0; enterObject(s, n) && s.next('}', n); n++ {
		if string(s.key()) == "type" {
			c.service = s.service()
		} else {
			s.value()
		}
	}
}

func (c *counts) object(s *scanner, d Dialect) {
	for n := 0; enterObject(s, n) && s.next('}', n); n++ {
		switch d {
		case DialectAnthropic:
			c.anthropicMember(s)
		case DialectGemini:
			c.geminiMember(s)
		case DialectConverse:
			c.converseMember(s)
		case DialectCohere:
			c.cohereMember(s)
		default:
			c.member(s)
		}
	}
}

func (c *counts) anthropicMember(s *scanner) {
	switch string(s.key()) {
	case "input_tokens":
		c.prompt = s.count()
	case "output_tokens":
		c.completion = s.count()
	case "cache_read_input_tokens":
		if n := s.count(); n >= 0 {
			c.cacheRead = n
		}
	case "cache_creation_input_tokens":
		c.cacheWrite = max(c.cacheWrite, s.count())
	case "output_tokens_details":
		c.reasons = s.only("thinking_tokens")
	case "iterations":
		c.compactions(s)
	case "cache_creation":
		c.cacheCreation(s)
	case "server_tool_use":
		c.units.Queries = s.only("web_search_requests")
	case "service_tier":
		c.service = s.service()
	default:
		s.value()
	}
}

// only takes an object and returns the number that its member name is, 0 if it has none.
func (s *scanner) only(name string) (count int64) {
	for n := 0; enterObject(s, n) && s.next('}', n); n++ {
		if string(s.key()) == name {
			count = max(s.count(), 0)
		} else {
			s.value()
		}
	}
	return count
}

// cacheCreation reads for how long tokens were written to the cache.
func (c *counts) cacheCreation(s *scanner) {
	short := int64(0)
	for n := 0; enterObject(s, n) && s.next('}', n); n++ {
		switch string(s.key()) {
		case "ephemeral_5m_input_tokens":
			short = max(s.count(), 0)
		case "ephemeral_1h_input_tokens":
			c.write1h = max(s.count(), 0)
		default:
			s.value()
		}
	}
	c.cacheWrite = max(c.cacheWrite, short+c.write1h)
}

// compactions reads the steps of a long turn. Those that made its history shorter are billed, and
// are not in the usage around them.
func (c *counts) compactions(s *scanner) {
	c.compacted = Usage{}
	for n := 0; enterIf(s, '[', n) && s.next(']', n); n++ {
		step, kind := noCounts(), ""
		for m := 0; enterObject(s, m) && s.next('}', m); m++ {
			switch string(s.key()) {
			case "type":
				kind = string(s.value())
			case "input_tokens":
				step.prompt = s.count()
			case "output_tokens":
				step.completion = s.count()
			case "cache_read_input_tokens":
				step.cacheRead = max(s.count(), 0)
			case "cache_creation_input_tokens":
				step.cacheWrite = max(s.count(), 0)
			default:
				s.value()
			}
		}
		if kind == `"compaction"` {
			c.compacted.Input += max(step.prompt, 0)
			c.compacted.Output += max(step.completion, 0)
			c.compacted.CacheRead += step.cacheRead
			c.compacted.CacheWrite += step.cacheWrite
		}
	}
}

func (c *counts) converseMember(s *scanner) {
	switch string(s.key()) {
	case "inputTokens":
		c.prompt = s.count()
	case "outputTokens":
		c.completion = s.count()
	case "cacheReadInputTokens", "cacheReadInputTokenCount":
		c.cacheRead = max(c.cacheRead, s.count())
	case "cacheWriteInputTokens", "cacheWriteInputTokenCount":
		c.cacheWrite = max(c.cacheWrite, s.count())
	case "cacheDetails":
		for n := 0; enterIf(s, '[', n) && s.next(']', n); n++ {
			tokens, long := int64(0), false
			for m := 0; enterObject(s, m) && s.next('}', m); m++ {
				switch string(s.key()) {
				case "inputTokens":
					tokens = max(s.count(), 0)
				case "ttl":
					long = string(s.value()) == `"1h"`
				default:
					s.value()
				}
			}
			if long {
				c.write1h += tokens
			}
		}
	default:
		s.value()
	}
}

func (c *counts) cohereMember(s *scanner) {
	switch string(s.key()) {
	case "billed_units":
		c.object(s, DialectCohere)
	case "input_tokens":
		c.prompt = s.count()
	case "output_tokens":
		c.completion = s.count()
	case "search_units":
		c.units.Queries = max(s.count(), 0)
	case "images":
		c.units.InputImages = max(s.count(), 0)
	default:
		s.value()
	}
}

// exclusive is the usage of a provider whose numbers are disjoint already.
func (c *counts) exclusive() Usage {
	completion := max(c.completion, 0)
	reasons := take(c.reasons, &completion)
	return Usage{
		Input:      max(c.prompt, 0) + c.compacted.Input,
		CacheRead:  c.cacheRead + c.compacted.CacheRead,
		CacheWrite: max(c.cacheWrite-c.write1h, 0) + c.compacted.CacheWrite, CacheWrite1h: c.write1h,
		Output: completion + c.compacted.Output, Reasoning: reasons,
		Units: c.units, Service: c.service, Source: UsageProvider,
	}
}

func (c *counts) geminiMember(s *scanner) {
	switch string(s.key()) {
	case "promptTokenCount":
		c.prompt = s.count()
	case "candidatesTokenCount", "responseTokenCount": // the latter of Live
		c.completion = s.count()
	case "totalTokenCount":
		c.total = s.count()
	case "cachedContentTokenCount":
		c.cacheRead = max(s.count(), 0)
	case "thoughtsTokenCount":
		c.reasons = max(s.count(), 0)
	case "toolUsePromptTokenCount":
		c.toolUse = max(s.count(), 0)
	case "promptTokensDetails":
		c.audioIn, c.imageIn = s.modalities()
	case "cacheTokensDetails":
		c.cachedAudio, c.cachedImage = s.modalities()
		c.splitCache = true
	case "candidatesTokensDetails", "responseTokensDetails":
		c.audioOut, c.imageOut = s.modalities()
	case "serviceTier":
		c.tier(s)
	default:
		s.value()
	}
}

// modalities takes Gemini's list of tokens by modality. Video and documents cost what text does.
func (s *scanner) modalities() (audio, image int64) {
	for n := 0; enterIf(s, '[', n) && s.next(']', n); n++ {
		tokens, modality := int64(0), ""
		for m := 0; enterObject(s, m) && s.next('}', m); m++ {
			switch string(s.key()) {
			case "tokenCount":
				tokens = max(s.count(), 0)
			case "modality":
				modality = string(s.value())
			default:
				s.value()
			}
		}
		switch modality {
		case `"AUDIO"`:
			audio += tokens
		case `"IMAGE"`:
			image += tokens
		}
	}
	return audio, image
}

// gemini is the usage of Gemini, whose candidates leave the thoughts out and whose prompt
// leaves out what its tools read.
func (c *counts) gemini() Usage {
	reasons, total := c.reasons, c.total
	c.reasons, c.total = 0, -1
	if c.completion < 0 && total > 0 { // a prompt that was blocked, or thoughts alone
		c.completion = max(0, total-max(c.prompt, 0)-reasons-c.toolUse)
	}
	c.prompt = max(c.prompt, 0) + c.toolUse
	u := c.normalize()
	u.Reasoning = reasons
	return u
}
