package llm

import "math/bits"

// Report is what the gateway reads of a response, or of one chunk of a stream, in OpenAI's
// shape: chat completions, completions, embeddings or responses.
type Report struct {
	Usage    Usage
	HasUsage bool
	// TextBytes is the size of the text that the model wrote: content, reasoning, refusals
	// and the arguments of tool calls. It stands in for usage when a stream is cut.
	TextBytes int64
	// UsageOnly says that a chunk has usage and no choices. A client that did not ask for
	// usage must not see it.
	UsageOnly bool
	// Seen and Finished have a bit for each choice (those from 63 on share the last) that
	// occurs, and that has its finish reason.
	Seen, Finished uint64
	HasError       bool // an "error" member stands at the top
}

// Read reads a response body, or the data of one chunk. It returns an error of kind Upstream
// if data is not a JSON object.
func Read(data []byte) (Report, error) {
	var r Report
	s := scanner{b: data}
	s.enter('{')
	choices := false
	for n := 0; s.next('}', n); n++ {
		switch string(s.key()) {
		case "choices":
			s.space()
			start := s.i
			r.choices(&s)
			choices = choices || (s.ok() && s.i-start > 2)
		case "usage":
			r.usage(&s)
		case "x_groq": // Groq reports the usage of a stream in here
			for m := 0; enterObject(&s, m) && s.next('}', m); m++ {
				if string(s.key()) == "usage" {
					r.usage(&s)
				} else {
					s.value()
				}
			}
		case "error":
			v := s.value()
			r.HasError = s.ok() && string(v) != "null"
		default:
			s.value()
		}
	}
	s.finish()
	if !s.ok() {
		return Report{}, &Error{Kind: Upstream, Code: "invalid_response", Message: "The provider sent something that is not JSON."}
	}
	r.UsageOnly = r.HasUsage && !choices
	return r, nil
}

// enterObject opens an object before its first member (n is 0). It takes any other value whole
// and returns false.
func enterObject(s *scanner, n int) bool { return enterIf(s, '{', n) }

func enterIf(s *scanner, open byte, n int) bool {
	if n > 0 {
		return true
	}
	if s.space() != open {
		s.value()
		return false
	}
	return s.enter(open)
}

// choices reads the array of choices.
func (r *Report) choices(s *scanner) {
	for n := 0; enterIf(s, '[', n) && s.next(']', n); n++ {
		index, finished := int64(n), false
		for m := 0; enterObject(s, m) && s.next('}', m); m++ {
			switch string(s.key()) {
			case "index":
				if v, ok := s.integer(maxChoices); ok {
					index = v
				}
			case "delta", "message":
				r.message(s)
			case "text":
				r.text(s)
			case "finish_reason":
				v := s.value()
				finished = s.ok() && string(v) != "null"
			case "usage": // Moonshot reports the usage of a stream in here
				r.usage(s)
			default:
				s.value()
			}
		}
		bit := uint64(1) << min(index, 63)
		r.Seen |= bit
		if finished {
			r.Finished |= bit
		}
	}
}

// message reads a message or a delta.
func (r *Report) message(s *scanner) {
	for n := 0; enterObject(s, n) && s.next('}', n); n++ {
		switch string(s.key()) {
		case "content", "reasoning_content", "reasoning", "refusal":
			r.text(s)
		case "tool_calls":
			for m := 0; enterIf(s, '[', m) && s.next(']', m); m++ {
				for k := 0; enterObject(s, k) && s.next('}', k); k++ {
					if string(s.key()) == "function" {
						r.function(s)
					} else {
						s.value()
					}
				}
			}
		case "function_call":
			r.function(s)
		default:
			s.value()
		}
	}
}

func (r *Report) function(s *scanner) {
	for n := 0; enterObject(s, n) && s.next('}', n); n++ {
		switch string(s.key()) {
		case "name", "arguments":
			r.text(s)
		default:
			s.value()
		}
	}
}

// text counts the bytes of a string; of an array of content parts it counts all.
func (r *Report) text(s *scanner) {
	if v := s.value(); len(v) > 2 && v[0] != 'n' {
		r.TextBytes += int64(len(v) - 2)
	}
}

// counts are the numbers of a usage object as they stand there, -1 if absent.
type counts struct {
	prompt, completion, total      int64
	cacheRead, cacheWrite, reasons int64
}

// usage reads a usage object in any of the shapes in which OpenAI's numbers come.
func (r *Report) usage(s *scanner) {
	if s.space() != '{' {
		s.value()
		return
	}
	c := counts{prompt: -1, completion: -1, total: -1}
	for n := 0; enterObject(s, n) && s.next('}', n); n++ {
		switch string(s.key()) {
		case "prompt_tokens", "input_tokens":
			c.prompt = s.count()
		case "completion_tokens", "output_tokens":
			c.completion = s.count()
		case "total_tokens":
			c.total = s.count()
		case "prompt_cache_hit_tokens", "cache_read_input_tokens", "cached_tokens": // DeepSeek; gateways; Moonshot
			c.cacheRead = max(c.cacheRead, s.count())
		case "cache_creation_input_tokens":
			c.cacheWrite = max(c.cacheWrite, s.count())
		case "reasoning_tokens":
			c.reasons = max(c.reasons, s.count())
		case "prompt_tokens_details", "input_tokens_details", "completion_tokens_details", "output_tokens_details":
			c.details(s)
		default:
			s.value()
		}
	}
	if s.ok() && (c.prompt >= 0 || c.completion >= 0 || c.total >= 0) {
		r.Usage, r.HasUsage = c.normalize(), true
	}
}

func (c *counts) details(s *scanner) {
	for n := 0; enterObject(s, n) && s.next('}', n); n++ {
		switch string(s.key()) {
		case "cached_tokens":
			c.cacheRead = max(c.cacheRead, s.count())
		case "cache_write_tokens", "cache_creation_tokens":
			c.cacheWrite = max(c.cacheWrite, s.count())
		case "reasoning_tokens":
			c.reasons = max(c.reasons, s.count())
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

// normalize splits the provider's numbers, which contain one another, into disjoint classes
// whose sum is the provider's total.
func (c *counts) normalize() Usage {
	prompt, completion := max(c.prompt, 0), max(c.completion, 0)
	if c.prompt < 0 && c.completion < 0 {
		prompt = c.total
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
	read := min(c.cacheRead, prompt)
	write := min(c.cacheWrite, prompt-read)
	return Usage{
		Input: prompt - read - write, CacheRead: read, CacheWrite: write,
		Output: completion - reasons, Reasoning: reasons, Source: UsageProvider,
	}
}

// Choices is the number of choices in a set such as Seen.
func Choices(set uint64) int { return bits.OnesCount64(set) }
