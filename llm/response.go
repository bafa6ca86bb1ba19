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
	Done           bool // of a Meter: the event ends the stream
}

// Read reads a response body, or the data of one chunk. It returns an error of kind Upstream
// if data is not a JSON object.
func Read(data []byte) (Report, error) {
	var r Report
	s := scanner{b: data}
	s.enter('{')
	choices := false
	var tier Service
	for n := 0; s.next('}', n); n++ {
		switch string(s.key()) {
		case "service_tier":
			tier = s.service()
		case "choices":
			s.space()
			start := s.i
			r.choices(&s)
			choices = choices || (s.ok() && s.i-start > 2)
		case "usage":
			r.usage(&s)
		case "x_groq": // Groq reports the usage of a stream in here
			r.groq(&s)
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
	if r.HasUsage && tier != ServiceUnsaid {
		r.Usage.Service = tier
	}
	r.UsageOnly = r.HasUsage && !choices
	return r, nil
}

func (r *Report) groq(s *scanner) {
	for n := 0; enterObject(s, n) && s.next('}', n); n++ {
		if string(s.key()) == "usage" {
			r.usage(s)
		} else {
			s.value()
		}
	}
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

// outputs counts the text of the items of a response: of messages, of reasoning and of calls.
func (r *Report) outputs(body []byte) {
	s := scanner{b: body}
	s.enter('{')
	for n := 0; s.next('}', n); n++ {
		if string(s.key()) != "output" {
			s.value()
			continue
		}
		for m := 0; enterIf(&s, '[', m) && s.next(']', m); m++ {
			for k := 0; enterObject(&s, k) && s.next('}', k); k++ {
				switch string(s.key()) {
				case "content", "summary":
					r.outputParts(&s)
				case "arguments", "input":
					r.text(&s)
				default:
					s.value()
				}
			}
		}
	}
}

// outputParts counts the text of an item's parts.
func (r *Report) outputParts(s *scanner) {
	for n := 0; enterIf(s, '[', n) && s.next(']', n); n++ {
		for m := 0; enterObject(s, m) && s.next('}', m); m++ {
			switch string(s.key()) {
			case "text", "refusal":
				r.text(s)
			default:
				s.value()
			}
		}
	}
}

// Choices is the number of choices in a set such as Seen.
func Choices(set uint64) int { return bits.OnesCount64(set) }
