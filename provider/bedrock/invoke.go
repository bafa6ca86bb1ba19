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
	} else if typ, err = u.unwrap(e.Data); err != nil {
		return llm.Event{}, malformed(err)
	}
	u.raw = llm.AppendEvent(u.raw[:0], typ, u.data)
	return llm.Event{Raw: u.raw, Data: u.data, Type: []byte(typ)}, nil
}

// unwrap takes the event out of a frame's payload, {"bytes":"…"}, and tells its type.
func (u *unwrapped) unwrap(payload []byte) (typ string, err error) {
	c := llm.NewCursor(payload)
	u.data = u.data[:0]
	for n := 0; c.Member(n); n++ {
		if string(c.Name()) != "bytes" {
			c.Raw()
			continue
		}
		if u.data, err = base64.StdEncoding.AppendDecode(u.data[:0], bytes.Trim(c.Raw(), `"`)); err != nil {
			return "", err
		}
	}
	if err := c.End(); err != nil {
		return "", err
	}
	c = llm.NewCursor(u.data)
	for n := 0; c.Member(n); n++ {
		if string(c.Name()) == "type" {
			typ = c.Text()
		} else {
			c.Raw()
		}
	}
	return typ, c.End()
}
