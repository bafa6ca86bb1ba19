package gemini

import "github.com/conclave-llm/conclave/llm"

// errInvalid is an answer that cannot be read.
func errInvalid(message string) *llm.Error {
	return &llm.Error{Kind: llm.Upstream, Code: "invalid_response", Message: message}
}

// meter reads of a stream what the gateway must know. Its usage is what the last event that had
// any says: Google counts from the beginning each time.
type meter struct {
	usage    llm.Usage
	hasUsage bool
	text     usageText
}

// usageText is a usageMetadata, kept as an object that has it.
type usageText []byte

const usageMember = `{"usageMetadata":`

func (u *usageText) set(raw []byte) {
	*u = append(append(append((*u)[:0], usageMember...), raw...), '}')
}

// read is what it says; ok is false if there is none.
func (u usageText) read() (usage llm.Usage, ok bool) {
	if len(u) == 0 {
		return usage, false
	}
	return llm.ReadUsage(llm.DialectGemini, u)
}

// Event implements llm.Meter.
func (m *meter) Event(e llm.Event) (llm.Report, error) {
	r, err := read(e.Data, &m.text)
	if err != nil {
		return r, err
	}
	if r.HasUsage {
		m.usage, m.hasUsage = r.Usage, true
	}
	r.Usage, r.HasUsage = m.usage, m.hasUsage
	return r, nil
}

// read reads an answer or one event of a stream. text is room for its usage.
func read(data []byte, text *usageText) (llm.Report, error) {
	var r llm.Report
	s := llm.NewCursor(data)
	if s.Next() != '{' {
		return r, notJSON()
	}
	var usage []byte
	for n := 0; s.Member(n); n++ {
		switch string(s.Name()) {
		case "candidates":
			for m := 0; s.Element(m); m++ {
				candidate(&s, m, &r)
			}
		case "promptFeedback":
			if blocked(&s) != "" {
				r.Seen |= 1
				r.Finished |= 1
			}
		case "usageMetadata":
			usage = s.Raw()
		case "error":
			r.HasError = string(s.Raw()) != "null"
		default:
			s.Raw()
		}
	}
	if s.End() != nil {
		return llm.Report{}, notJSON()
	}
	if len(usage) > 2 {
		text.set(usage)
		r.Usage, r.HasUsage = text.read()
	}
	return r, nil
}

func notJSON() *llm.Error {
	return errInvalid("The provider sent something that is not a JSON object.")
}

// blocked takes a promptFeedback and gives its blockReason.
func blocked(s *llm.Cursor) (reason string) {
	for n := 0; s.Member(n); n++ {
		if string(s.Name()) == "blockReason" {
			reason = s.Text()
		} else {
			s.Raw()
		}
	}
	return reason
}

// candidate reads one of the candidates, the nth of the list.
func candidate(s *llm.Cursor, nth int, r *llm.Report) {
	index, finished := nth, false
	for n := 0; s.Member(n); n++ {
		switch string(s.Name()) {
		case "index":
			i, _ := s.Int()
			index = int(i)
		case "finishReason":
			finished = len(s.Raw()) > 2
		case "content":
			content(s, r)
		default:
			s.Raw()
		}
	}
	bit := uint64(1) << min(max(index, 0), 63)
	r.Seen |= bit
	if finished {
		r.Finished |= bit
	}
}

// content counts the bytes that the model wrote.
func content(s *llm.Cursor, r *llm.Report) {
	for n := 0; s.Member(n); n++ {
		if string(s.Name()) != "parts" {
			s.Raw()
			continue
		}
		for m := 0; s.Element(m); m++ {
			for k := 0; s.Member(k); k++ {
				switch string(s.Name()) {
				case "text":
					r.TextBytes += max(int64(len(s.Raw()))-2, 0)
				case "functionCall", "executableCode":
					r.TextBytes += int64(len(s.Raw()))
				default:
					s.Raw()
				}
			}
		}
	}
}
