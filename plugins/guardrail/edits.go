package guardrail

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"slices"
)

// edit replaces the bytes from start to end of a channel's text.
type edit struct {
	start, end int64
	text       string
}

// edits are those of a stream by channel, in order and apart from each other.
type edits map[string][]edit

// add takes an edit in. One that overlaps others becomes one with them: nothing of what anyone
// wanted replaced is left, and the first one's text stands for it.
func (e edits) add(channel string, n edit) {
	list := e[channel]
	from, _ := slices.BinarySearchFunc(list, n.start, func(o edit, start int64) int {
		if o.end <= start {
			return -1
		}
		return 1
	})
	to := from
	for to < len(list) && list[to].start < n.end {
		to++
	}
	if to > from {
		n.text = list[from].text
		n.start, n.end = min(n.start, list[from].start), max(n.end, list[to-1].end)
	}
	e[channel] = slices.Replace(list, from, to, n)
}

// drop forgets what lies before a place.
func (e edits) drop(channel string, before int64) {
	list, ok := e[channel]
	if !ok {
		return
	}
	list = slices.DeleteFunc(list, func(d edit) bool { return d.end <= before })
	if len(list) == 0 {
		delete(e, channel)
		return
	}
	e[channel] = list
}

// splice is the channel's text that begins at a place, with the edits made. What an edit replaces
// stands where its first byte was.
func (e edits) splice(channel string, at int64, text string) (string, bool) {
	var out []byte
	done, end := at, at+int64(len(text))
	changed := false
	for _, d := range e[channel] {
		if d.end <= at || d.start >= end {
			continue
		}
		changed = true
		out = append(out, text[done-at:max(d.start, at)-at]...)
		if d.start >= at {
			out = append(out, d.text...)
		}
		done = min(d.end, end)
	}
	if !changed {
		return text, false
	}
	return string(append(out, text[done-at:]...)), true
}

// rewrite makes the edits in an event whose parts end where ends says.
func (e edits) rewrite(event []byte, parts []Part, ends []channelEnd) ([]byte, error) {
	touched := make(map[int]string)
	for i, p := range parts {
		if text, ok := e.splice(p.Channel, ends[i].end-int64(len(p.Text)), p.Text); ok {
			touched[i] = text
		}
	}
	if len(touched) == 0 {
		return event, nil
	}
	data := bytes.TrimSpace(eventData(event))
	texts, err := Extract(data)
	if err != nil {
		return putData(event, []byte(touched[0])) // it was checked as it stands
	}
	next := 0
	for i, t := range texts.List() {
		if t.Text == "" {
			continue
		}
		if text, ok := touched[next]; ok {
			if err := texts.Replace(i, text); err != nil {
				return nil, err
			}
		}
		next++
	}
	if data, err = texts.Body(); err != nil {
		return nil, err
	}
	return putData(event, data)
}

// putData is the event with other data in it.
func putData(event, data []byte) ([]byte, error) {
	if _, ok := frameData(event); ok {
		return putFrame(event, data)
	}
	if t := bytes.TrimSpace(event); len(t) > 0 && t[0] == '{' {
		at := bytes.IndexByte(event, '{')
		return slices.Concat(event[:at], data, event[at+len(t):]), nil
	}
	out := make([]byte, 0, len(event)+len(data))
	put := false
	for line := range bytes.Lines(event) {
		name, _, _ := bytes.Cut(bytes.TrimRight(line, "\r\n"), []byte(":"))
		if !bytes.Equal(name, dataField) {
			out = append(out, line...)
			continue
		}
		if put {
			continue // all stand where the first one was
		}
		put = true
		end := line[len(bytes.TrimRight(line, "\r\n")):]
		for l := range bytes.SplitSeq(data, []byte("\n")) {
			out = append(append(append(out, "data: "...), l...), end...)
		}
	}
	return out, nil
}

// putFrame is a frame of Amazon's event stream with other data.
func putFrame(frame, payload []byte) ([]byte, error) {
	const prelude, trailer = 12, 4
	headers := int64(binary.BigEndian.Uint32(frame[4:]))
	if headers > int64(len(frame)-prelude-trailer) {
		return nil, fmt.Errorf("frame of %d bytes has %d of headers", len(frame), headers)
	}
	head := frame[prelude : prelude+headers]
	if old, _ := framePayload(frame); old != nil {
		if _, wraps := unwrap(old); wraps {
			var err error
			if payload, err = json.Marshal(wrapper{Bytes: payload}); err != nil {
				return nil, err
			}
		}
	}
	out := make([]byte, 0, prelude+len(head)+len(payload)+trailer)
	out = binary.BigEndian.AppendUint32(out, uint32(cap(out)))
	out = binary.BigEndian.AppendUint32(out, uint32(len(head)))
	out = binary.BigEndian.AppendUint32(out, crc32.ChecksumIEEE(out))
	out = append(append(out, head...), payload...)
	return binary.BigEndian.AppendUint32(out, crc32.ChecksumIEEE(out)), nil
}
