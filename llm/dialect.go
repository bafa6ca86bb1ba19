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
	s := scanner{b: body}
	c := noCounts()
	if !s.enter('{') {
		return Usage{}, false
	}
	c.find(&s, d)
	s.finish()
	if !s.ok() || !c.any() {
		return Usage{}, false
	}
	switch d {
	case DialectAnthropic, DialectConverse:
		return c.exclusive(), true
	case DialectGemini:
		return c.gemini(), true
	}
	u := c.normalize()
	if d == DialectImages && u.ImageOutput == 0 {
		u.ImageOutput, u.Output = u.Output, 0
	}
	return u, true
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
		c.cacheRead = max(s.count(), 0)
	case "cache_creation_input_tokens":
		c.cacheWrite = max(c.cacheWrite, s.count())
	case "cache_creation":
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
	case "server_tool_use":
		for n := 0; enterObject(s, n) && s.next('}', n); n++ {
			if string(s.key()) == "web_search_requests" {
				c.units.Queries = max(s.count(), 0)
			} else {
				s.value()
			}
		}
	case "service_tier":
		c.service = s.service()
	default:
		s.value()
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
	write1h := min(c.write1h, max(c.cacheWrite, c.write1h))
	return Usage{
		Input: max(c.prompt, 0), CacheRead: c.cacheRead, CacheWrite: max(c.cacheWrite-write1h, 0), CacheWrite1h: write1h,
		Output: max(c.completion, 0), Units: c.units, Service: c.service, Source: UsageProvider,
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
