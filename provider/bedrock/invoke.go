package bedrock

import (
	"bytes"
	"encoding/base64"
	"time"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/provider/anthropic"
)

// unwrapped reads the frames of a stream of InvokeModel, each of which holds an event of
// Anthropic's in base64, and gives those as Anthropic sends them. An exception becomes an
// Anthropic error.
type unwrapped struct {
	frames *Reader
	raw    []byte // of the event that was returned last
	data   []byte
}

// Next returns the next event.
func (u *unwrapped) Next() (llm.Event, error) {
	e, err := u.frames.Next()
	if err != nil || e.Data == nil {
		return llm.Event{}, err
	}
	typ := "error"
	if isException(e.Type) {
		u.data = anthropic.AppendError(u.data[:0], classify(time.Time{}, 0, nil, e.Data))
	} else if u.data, typ, err = unwrap(u.data[:0], e.Data); err != nil {
		return llm.Event{}, malformed(err)
	}
	u.raw = llm.AppendEvent(u.raw[:0], typ, u.data)
	return llm.Event{Raw: u.raw, Data: u.data, Type: []byte(typ)}, nil
}

// unwrap appends the event in a frame's payload, {"bytes":"…"}, to dst, and tells its type.
func unwrap(dst, payload []byte) (data []byte, typ string, err error) {
	c := llm.NewCursor(payload)
	data = dst
	for n := 0; c.Member(n); n++ {
		if string(c.Name()) != "bytes" {
			c.Raw()
			continue
		}
		if data, err = base64.StdEncoding.AppendDecode(dst, bytes.Trim(c.Raw(), `"`)); err != nil {
			return dst, "", err
		}
	}
	if err := c.End(); err != nil || len(data) == 0 {
		return data, "", err
	}
	c = llm.NewCursor(data)
	for n := 0; c.Member(n); n++ {
		if string(c.Name()) == "type" {
			typ = c.Text()
		} else {
			c.Raw()
		}
	}
	return data, typ, c.End()
}
