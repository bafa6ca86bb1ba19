package llm

// counts are the numbers of a usage object as they stand there, -1 if absent. In OpenAI's
// shape they contain one another; normalize makes them disjoint.
type counts struct {
	prompt, completion, total      int64
	cacheRead, cacheWrite, write1h int64
	cachedAudio, cachedImage       int64
	audioIn, imageIn               int64
	reasons, audioOut, imageOut    int64
	splitCache                     bool  // cachedAudio and cachedImage are as the provider says
	toolUse                        int64 // of Gemini, beside the prompt
	units                          Units
	service                        Service
	compacted                      Usage // of Anthropic, beside all others
}

func noCounts() counts { return counts{prompt: -1, completion: -1, total: -1} }

// usage reads a usage object in any of the shapes in which OpenAI's numbers come.
func (r *Report) usage(s *scanner) {
	if s.space() != '{' {
		s.value()
		return
	}
	c := noCounts()
	for n := 0; enterObject(s, n) && s.next('}', n); n++ {
		c.member(s)
	}
	if s.ok() && c.any() {
		r.Usage, r.HasUsage = c.normalize(), true
	}
}

// any says that the object told anything.
func (c *counts) any() bool {
	return c.prompt >= 0 || c.completion >= 0 || c.total >= 0 || c.units != (Units{})
}

// member reads one member of a usage object.
func (c *counts) member(s *scanner) {
	switch string(s.key()) {
	case "prompt_tokens", "input_tokens":
		c.prompt = s.count()
	case "completion_tokens", "output_tokens":
		c.completion = s.count()
	case "total_tokens":
		c.total = s.count()
	case "prompt_cache_hit_tokens", "cache_read_input_tokens", "cached_tokens", "precached_prompt_tokens": // DeepSeek; gateways; Moonshot; GigaChat
		c.cacheRead = max(c.cacheRead, s.count())
	case "cache_creation_input_tokens":
		c.cacheWrite = max(c.cacheWrite, s.count())
	case "reasoning_tokens":
		c.reasons = max(c.reasons, s.count())
	case "prompt_tokens_details", "input_tokens_details", "input_token_details": // the last is Realtime's
		c.promptDetails(s)
	case "completion_tokens_details", "output_tokens_details", "output_token_details":
		c.completionDetails(s)
	case "seconds": // of a transcription that is billed by its length
		c.units.InputMS = s.seconds()
	case "search_units", "num_search_queries", "web_search_requests":
		c.units.Queries = max(c.units.Queries, max(s.count(), 0))
	case "service_tier":
		c.service = s.service()
	default:
		s.value()
	}
}

func (c *counts) promptDetails(s *scanner) {
	for n := 0; enterObject(s, n) && s.next('}', n); n++ {
		switch string(s.key()) {
		case "cached_tokens":
			c.cacheRead = max(c.cacheRead, s.count())
		case "cache_write_tokens", "cache_creation_tokens":
			c.cacheWrite = max(c.cacheWrite, s.count())
		case "audio_tokens":
			c.audioIn = max(c.audioIn, s.count())
		case "image_tokens":
			c.imageIn = max(c.imageIn, s.count())
		case "cached_tokens_details":
			c.cachedDetails(s)
		default:
			s.value()
		}
	}
}

func (c *counts) cachedDetails(s *scanner) {
	for n := 0; enterObject(s, n) && s.next('}', n); n++ {
		c.splitCache = true
		switch string(s.key()) {
		case "audio_tokens":
			c.cachedAudio = max(s.count(), 0)
		case "image_tokens":
			c.cachedImage = max(s.count(), 0)
		default:
			s.value()
		}
	}
}

func (c *counts) completionDetails(s *scanner) {
	for n := 0; enterObject(s, n) && s.next('}', n); n++ {
		switch string(s.key()) {
		case "reasoning_tokens":
			c.reasons = max(c.reasons, s.count())
		case "audio_tokens":
			c.audioOut = max(c.audioOut, s.count())
		case "image_tokens":
			c.imageOut = max(c.imageOut, s.count())
		default:
			s.value()
		}
	}
}

// count takes a number of tokens. What is not one counts as absent.
func (s *scanner) count() int64 {
	v := s.value()
	if string(v) == "null" {
		return -1
	}
	t := scanner{b: v}
	if n, ok := t.integer(MaxTokenCount); ok && s.ok() {
		return n
	}
	return -1
}

// seconds takes a number of seconds and gives milliseconds, rounded up.
func (s *scanner) seconds() int64 {
	v := s.value()
	var n, fraction, place int64 = 0, 0, 1000
	rest, dot := false, false
	for _, b := range v {
		switch {
		case b == '.' && !dot:
			dot = true
		case b < '0' || b > '9' || n > MaxTokenCount:
			return 0
		case !dot:
			n = n*10 + int64(b-'0')
		case place > 1:
			place /= 10
			fraction += int64(b-'0') * place
		default:
			rest = rest || b != '0'
		}
	}
	if rest {
		fraction++
	}
	return min(n*1000+fraction, MaxTokenCount)
}

// service takes the name of a tier of service.
func (s *scanner) service() Service {
	v := s.value()
	if len(v) < 2 || v[0] != '"' {
		return ServiceUnsaid
	}
	return ServiceOf(v[1 : len(v)-1])
}

// take gives as much of n as is left of it.
func take(n int64, left *int64) int64 {
	n = max(0, min(n, *left))
	*left -= n
	return n
}

// normalize splits the provider's numbers, which contain one another, into disjoint classes
// whose sum is the provider's total.
func (c *counts) normalize() Usage {
	prompt, completion := max(c.prompt, 0), max(c.completion, 0)
	if c.prompt < 0 && c.completion < 0 {
		prompt = max(c.total, 0)
	}
	reasons := min(c.reasons, completion)
	// xAI, and Gemini in its OpenAI shape, leave the reasoning out of the completion: the
	// total is larger than both together.
	if rest := c.total - prompt - completion; rest > 0 {
		if c.reasons == 0 || rest >= c.reasons {
			reasons = rest
		} else {
			reasons += rest
		}
		completion += rest
	}
	u := Usage{Service: c.service, Source: UsageProvider, Units: c.units}
	u.Reasoning = take(reasons, &completion)
	u.AudioOutput = take(c.audioOut, &completion)
	u.ImageOutput = take(c.imageOut, &completion)
	u.Output = completion
	c.splitPrompt(&u, prompt)
	return u
}

// splitPrompt makes the classes of the prompt. What was read from the cache counts as text as
// far as there is text, unless the provider says what it was.
func (c *counts) splitPrompt(u *Usage, prompt int64) {
	audio := take(c.audioIn, &prompt)
	image := take(c.imageIn, &prompt)
	if c.splitCache {
		left := c.cacheRead
		u.CacheReadAudio = take(min(c.cachedAudio, audio), &left)
		u.CacheReadImage = take(min(c.cachedImage, image), &left)
		u.CacheRead = take(left, &prompt)
	} else {
		u.CacheRead = take(c.cacheRead, &prompt)
		left := max(c.cacheRead, 0) - u.CacheRead
		u.CacheReadAudio = take(audio, &left)
		u.CacheReadImage = take(image, &left)
	}
	u.AudioInput, u.ImageInput = audio-u.CacheReadAudio, image-u.CacheReadImage
	u.CacheWrite1h = take(c.write1h, &prompt)
	u.CacheWrite = take(c.cacheWrite-u.CacheWrite1h, &prompt)
	u.Input = prompt
}
