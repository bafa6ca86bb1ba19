package guardrail

import (
	"bytes"
	"strings"
)

var (
	dataField = []byte("data")
	doneData  = []byte("[DONE]")
)

// eventData returns the data of a server-sent event as it stands on the wire, or of a bare
// JSON chunk. It is nil for comments and events without data.
func eventData(event []byte) []byte {
	if t := bytes.TrimSpace(event); len(t) > 0 && t[0] == '{' {
		return t
	}
	var data []byte
	for line := range bytes.FieldsFuncSeq(event, func(r rune) bool { return r == '\n' || r == '\r' }) {
		name, value, _ := bytes.Cut(line, []byte(":"))
		if !bytes.Equal(name, dataField) {
			continue
		}
		value = bytes.TrimPrefix(value, []byte(" "))
		if data == nil {
			data = value
			continue
		}
		data = append(append(bytes.Clone(data), '\n'), value...)
	}
	return data
}

// eventParts returns the texts of an event by channel, and whether it ends the stream. Data
// that is not JSON is checked as it stands: nothing passes because it looks strange.
func eventParts(event []byte) (parts []Part, done bool) {
	data := bytes.TrimSpace(eventData(event))
	if len(data) == 0 {
		return nil, false
	}
	if bytes.Equal(data, doneData) {
		return nil, true
	}
	texts, err := Extract(data)
	if err != nil {
		return []Part{{Channel: "event", Text: strings.ToValidUTF8(string(data), "\uFFFD")}}, false
	}
	for _, t := range texts.List() {
		if t.Text != "" {
			parts = append(parts, Part{Channel: t.Path, Text: t.Text})
		}
	}
	return parts, false
}
