package realtime

import (
	"crypto/rand"
	"encoding/hex"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/proxy/reply"
)

// event is what is read of one event, of either side. The fields are parts of raw.
type event struct {
	raw                            []byte
	kind, id, responseID, itemID   string
	response, session, item, usage []byte // objects; nil: it has none
	failure                        []byte // the error of an error event
	audio, delta, transcript       int    // bytes of the texts of these names
}

// acted are the members at the top that are acted on. Readers disagree on which of two counts.
var acted = []string{"type", "event_id", "response_id", "item_id", "response", "session", "item", "usage", "error", "audio", "delta", "transcript"}

// readEvent reads an event. Its error is an *llm.Error of kind Invalid; strict demands that no
// member that is acted on stands twice, in any spelling.
func readEvent(raw []byte, strict bool) (event, error) {
	e := event{raw: raw}
	c := llm.NewCursor(raw)
	if c.Next() != '{' {
		return e, invalid("", "invalid_event", "An event must be a JSON object.")
	}
	var seen []string
	for n := 0; c.Member(n); n++ {
		name := string(c.Name())
		if strict {
			i := slices.IndexFunc(acted, func(a string) bool { return strings.EqualFold(a, name) })
			if i >= 0 && (acted[i] != name || slices.Contains(seen, name)) {
				return e, invalid(acted[i], "invalid_event", "The event has the field \""+acted[i]+"\" twice, or in another spelling.")
			}
			seen = append(seen, name)
		}
		e.member(&c, name)
	}
	if err := c.End(); err != nil {
		return e, err
	}
	if e.kind == "" {
		return e, invalid("type", "invalid_event", "The event has no type.")
	}
	return e, nil
}

func (e *event) member(c *llm.Cursor, name string) {
	switch name {
	case "type":
		e.kind = c.Text()
	case "event_id":
		e.id = c.Text()
	case "response_id":
		e.responseID = c.Text()
	case "item_id":
		e.itemID = c.Text()
	case "response":
		e.response = object(c.Raw())
		if id := text(e.response, "id"); id != "" {
			e.responseID = id
		}
	case "session":
		e.session = object(c.Raw())
	case "item":
		e.item = object(c.Raw())
	case "usage":
		e.usage = object(c.Raw())
	case "error":
		e.failure = object(c.Raw())
	case "audio":
		e.audio = textSize(c.Raw())
	case "delta":
		e.delta = textSize(c.Raw())
	case "transcript":
		e.transcript = textSize(c.Raw())
	default:
		c.Raw()
	}
}

// textSize is the size of a string as it stands, 0 for anything else.
func textSize(raw []byte) int {
	if len(raw) < 2 || raw[0] != '"' {
		return 0
	}
	return len(raw) - 2
}

// object is raw if it is an object.
func object(raw []byte) []byte {
	if len(raw) == 0 || raw[0] != '{' {
		return nil
	}
	return raw
}

// member is the value of a member on a way down from an object, nil if there is none.
func member(obj []byte, way ...string) []byte {
	for _, name := range way {
		var found []byte
		c := llm.NewCursor(obj)
		for n := 0; c.Member(n); n++ {
			if string(c.Name()) == name {
				found = c.Raw()
			} else {
				c.Raw()
			}
		}
		if obj = found; obj == nil {
			return nil
		}
	}
	return obj
}

// text is a member that is a string, "" if it is none.
func text(obj []byte, way ...string) string {
	c := llm.NewCursor(member(obj, way...))
	return c.Text()
}

// has says whether there is a member that is not null.
func has(obj []byte, way ...string) bool {
	v := member(obj, way...)
	return len(v) > 0 && v[0] != 'n'
}

// put is an object with a member's value replaced, or added.
func put(obj []byte, name string, value []byte) []byte {
	b := append(make([]byte, 0, len(obj)+len(name)+len(value)+8), '{')
	done := false
	c := llm.NewCursor(obj)
	for n := 0; c.Member(n); n++ {
		key, raw := string(c.Name()), c.Raw()
		if key == name {
			raw, done = value, true
		}
		b = append(append(llm.AppendString(llm.AppendComma(b), key), ':'), raw...)
	}
	if !done {
		b = append(append(llm.AppendString(llm.AppendComma(b), name), ':'), value...)
	}
	return append(b, '}')
}

// putIn is put for a member of a member, which is made if it is not there.
func putIn(obj []byte, outer, name string, value []byte) []byte {
	inner := object(member(obj, outer))
	if inner == nil {
		inner = []byte("{}")
	}
	return put(obj, outer, put(inner, name, value))
}

func quoted(s string) []byte { return llm.AppendString(nil, s) }

func invalid(param, code, message string) error {
	return &llm.Error{Kind: llm.Invalid, Code: code, Param: param, Message: message}
}

// newID makes an id of the gateway's own with a prefix.
func newID(prefix string) string {
	var b [12]byte
	_, _ = rand.Read(b[:]) // never fails
	return prefix + hex.EncodeToString(b[:])
}

// errorEvent is the event that tells of an error; of is the id of the client's event that it is
// about, "" for none. What is worth another try says when, in seconds.
func errorEvent(e *llm.Error, of string) []byte {
	message := e.Message
	if message == "" {
		message = http.StatusText(e.HTTPStatus())
	}
	b := append([]byte(`{"type":"error","event_id":`), quoted(newID("event_"))...)
	b = append(append(b, `,"error":{"type":`...), quoted(reply.Type(e))...)
	b = append(append(b, `,"code":`...), quoted(reply.Code(e))...)
	b = append(append(b, `,"message":`...), quoted(message)...)
	b = append(append(b, `,"param":`...), orNull(e.Param)...)
	b = append(append(b, `,"event_id":`...), orNull(of)...)
	if e.RetryAfter > 0 {
		b = strconv.AppendInt(append(b, `,"retry_after":`...), int64((e.RetryAfter+time.Second-1)/time.Second), 10)
	}
	return append(b, "}}"...)
}

func orNull(s string) []byte {
	if s == "" {
		return []byte("null")
	}
	return quoted(s)
}
