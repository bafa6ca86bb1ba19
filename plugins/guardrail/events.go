package guardrail

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

var (
	dataField = []byte("data")
	doneData  = []byte("[DONE]")
)

// eventData returns the data of a server-sent event or of a frame of Amazon's event stream as it
// stands on the wire, or of a bare JSON chunk. It is nil for comments and events without data.
func eventData(event []byte) []byte {
	if data, ok := frameData(event); ok {
		return data
	}
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

// frameData returns the data of a frame of Amazon's event stream: its payload, or what that holds in base64, as
// those of InvokeModel do; false if event is none.
func frameData(event []byte) ([]byte, bool) {
	payload, ok := framePayload(event)
	if inner, wraps := unwrap(payload); ok && wraps {
		return inner, true
	}
	return payload, ok
}

// wrapper is a payload that holds another.
type wrapper struct {
	Bytes []byte `json:"bytes"` // base64
}

// unwrap takes out what a payload holds; false: it stands for itself.
func unwrap(payload []byte) ([]byte, bool) {
	var w wrapper
	if !bytes.Contains(payload, []byte(`"bytes"`)) || json.Unmarshal(payload, &w) != nil {
		return nil, false
	}
	return w.Bytes, w.Bytes != nil
}

// framePayload returns the payload of a frame: 4 bytes of the frame's size, 4 of its headers', 4 of a
// checksum, the headers, the payload, 4 of a checksum; false if event is none.
func framePayload(event []byte) ([]byte, bool) {
	const prelude, trailer = 12, 4
	if len(event) < prelude+trailer || int64(binary.BigEndian.Uint32(event)) != int64(len(event)) {
		return nil, false
	}
	payload := event[prelude : len(event)-trailer]
	headers := int64(binary.BigEndian.Uint32(event[4:]))
	if headers > int64(len(payload)) {
		return event, true // no JSON, and so it is checked as it stands
	}
	return payload[headers:], true
}

// eventParts returns the texts of the n-th event of a stream by channel, and whether it ends the stream. Data
// that is not JSON is checked as it stands: nothing passes because it looks strange. What no dialect has named
// comes whole, so that each event has channels of its own for it.
func eventParts(event []byte, n int) (parts []Part, done bool) {
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
	for i, t := range texts.List() {
		if t.Text == "" {
			continue
		}
		if texts.isMade(i) {
			t.Path += "@" + strconv.Itoa(n)
		}
		parts = append(parts, Part{Channel: t.Path, Text: t.Text})
	}
	return parts, false
}

// eventsBody is the object {"events": […]} of the events' data. What is no JSON stands in it as a string.
func eventsBody(events [][]byte) ([]byte, error) {
	out := []byte(`{"events":[`)
	for _, event := range events {
		data := bytes.TrimSpace(eventData(event))
		if len(data) == 0 || bytes.Equal(data, doneData) {
			continue
		}
		if out[len(out)-1] != '[' {
			out = append(out, ',')
		}
		if jsontext.Value(data).IsValid(jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true)) {
			out = append(out, data...)
			continue
		}
		var err error
		if out, err = jsontext.AppendQuote(out, strings.ToValidUTF8(string(data), "\uFFFD")); err != nil {
			return nil, err
		}
	}
	return append(out, "]}"...), nil
}
