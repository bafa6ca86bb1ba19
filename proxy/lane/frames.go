package lane

import (
	"bytes"
	"context"
	"net/http"
	"slices"
	"strconv"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/proxy/reply"
	"github.com/conclave-llm/conclave/proxy/socket"
)

// maxLane bounds the name of a lane.
const maxLane = 256

// request is one response.create.
type request struct {
	lane string
	body []byte // as POST /v1/responses takes it
}

// transport are the members of an event that say how it is sent, and not what is asked.
var transport = []string{"type", "stream_id", "event_id", "stream", "background", "generate", "stream_options"}

// readRequest reads a client's event. Its error is an *llm.Error of kind Invalid; the lane is read
// even then, if it can be.
func readRequest(raw []byte, text bool) (*request, error) {
	r := &request{}
	if !text {
		return r, refused("", "An event must be a message of text.")
	}
	c := llm.NewCursor(raw)
	if c.Next() != '{' {
		return r, refused("", "An event must be a JSON object.")
	}
	r.body = append(make([]byte, 0, len(raw)+16), '{')
	kind := ""
	var seen []string
	for n := 0; c.Member(n); n++ {
		name, v := string(c.Name()), c.Raw()
		if !slices.Contains(transport, name) {
			r.body = append(append(llm.AppendString(llm.AppendComma(r.body), name), ':'), v...)
			continue
		}
		if slices.Contains(seen, name) {
			return r, refused(name, "The field \""+name+"\" stands twice in the event.")
		}
		seen = append(seen, name)
		said := llm.NewCursor(v)
		switch {
		case name == "type":
			kind = said.Text()
		case name == "stream_id":
			if r.lane = said.Text(); len(r.lane) > maxLane {
				r.lane = ""
				return r, refused(name, "The field \"stream_id\" is too long.")
			}
		case (name == "background" && string(v) == "true") || (name == "generate" && string(v) == "false"):
			return r, &llm.Error{
				Kind: llm.Invalid, Code: "unsupported_parameter", Param: name,
				Message: "The field \"" + name + "\" cannot be " + string(v) + " over a WebSocket here.",
			}
		}
	}
	if err := c.End(); err != nil {
		return r, err
	}
	if kind != "response.create" {
		return r, refused("type", "An event must have the type \"response.create\".")
	}
	r.body = append(llm.AppendComma(r.body), `"stream":true}`...)
	return r, nil
}

func refused(param, message string) error {
	return &llm.Error{Kind: llm.Invalid, Code: "invalid_event", Param: param, Message: message}
}

// frames is the answer to a request, whose events become messages.
type frames struct {
	ctx    context.Context //nolint:containedctx // the answer's
	conn   *socket.Conn
	lane   string
	header http.Header
	status int
	rest   []byte // of an event that has not come whole, or of an error's body
	lost   error  // the client does not listen any more
}

// Header implements reply.Writer.
func (f *frames) Header() http.Header {
	if f.header == nil {
		f.header = http.Header{}
	}
	return f.header
}

// Start implements reply.Writer.
func (f *frames) Start(status int) {
	if f.status == 0 {
		f.status = status
	}
}

// Started implements reply.Writer.
func (f *frames) Started() bool { return f.status != 0 }

// Flush implements reply.Writer.
func (f *frames) Flush() error { return f.lost }

// Write implements reply.Writer.
func (f *frames) Write(p []byte) (int, error) {
	if f.lost != nil {
		return 0, f.lost
	}
	f.rest = append(f.rest, p...)
	for f.status < http.StatusBadRequest {
		event, after, ok := bytes.Cut(f.rest, []byte("\n\n"))
		if !ok {
			break
		}
		data := dataOf(event)
		f.rest = after
		if f.send(data); f.lost != nil {
			return 0, f.lost
		}
	}
	return len(p), nil
}

// dataOf is the data of a server-sent event, nil if it has none.
func dataOf(event []byte) (data []byte) {
	for line := range bytes.SplitSeq(event, []byte("\n")) {
		if v, ok := bytes.CutPrefix(bytes.TrimSuffix(line, []byte("\r")), []byte("data:")); ok {
			data = append(data, bytes.TrimPrefix(v, []byte(" "))...)
		}
	}
	return data
}

// send sends the data of an event.
func (f *frames) send(data []byte) {
	if len(data) == 0 || data[0] != '{' { // a comment, or the mark of a stream's end
		return
	}
	if kind := member(data, "type"); string(kind) == `"error"` && member(data, "error") == nil {
		data = wrapped(data)
	}
	f.lost = f.conn.Write(f.ctx, named(data, f.lane))
}

// end sends the error that an answer was.
func (f *frames) end() {
	if f.status < http.StatusBadRequest || f.lost != nil {
		return
	}
	b := append([]byte(`{"type":"error","status":`), strconv.Itoa(f.status)...)
	b = append(append(b, `,"error":`...), inner(f.rest, f.status)...)
	f.lost = f.conn.Write(f.ctx, named(append(b, '}'), f.lane))
}

// inner is the error in a body, or one in its place where it is not as OpenAI's are.
func inner(body []byte, status int) []byte {
	if e := member(body, "error"); len(e) > 0 && e[0] == '{' {
		return e
	}
	return appendError(nil, &llm.Error{Kind: llm.Upstream, Status: status, Message: "The provider refused the request."})
}

// wrapped is the error with which a stream ends, as messages have it.
func wrapped(data []byte) []byte {
	e := &llm.Error{Kind: llm.Upstream, Code: text(data, "code"), Message: text(data, "message"), Param: text(data, "param")}
	return append(appendError([]byte(`{"type":"error","error":`), e), '}')
}

// errorEvent is the event of an error of the gateway's.
func errorEvent(e *llm.Error, lane string) []byte {
	b := append([]byte(`{"type":"error","status":`), strconv.Itoa(e.HTTPStatus())...)
	b = appendError(append(b, `,"error":`...), e)
	return named(append(b, '}'), lane)
}

func appendError(b []byte, e *llm.Error) []byte {
	message := e.Message
	if message == "" {
		message = http.StatusText(e.HTTPStatus())
	}
	b = llm.AppendString(append(b, `{"type":`...), reply.Type(e))
	b = llm.AppendString(append(b, `,"code":`...), reply.Code(e))
	b = llm.AppendString(append(b, `,"message":`...), message)
	b = append(b, `,"param":`...)
	if e.Param == "" {
		b = append(b, "null"...)
	} else {
		b = llm.AppendString(b, e.Param)
	}
	return append(b, '}')
}

// named adds the lane to an event.
func named(event []byte, lane string) []byte {
	if lane == "" {
		return event
	}
	b := llm.AppendString(append(bytes.Clone(event[:len(event)-1]), `,"stream_id":`...), lane)
	return append(b, '}')
}

func member(object []byte, name string) (v []byte) {
	c := llm.NewCursor(object)
	for n := 0; c.Member(n); n++ {
		if string(c.Name()) == name {
			v = c.Raw()
		} else {
			c.Raw()
		}
	}
	return v
}

func text(object []byte, name string) string {
	c := llm.NewCursor(member(object, name))
	return c.Text()
}
