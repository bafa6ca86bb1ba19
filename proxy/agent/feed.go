package agent

import (
	"encoding/json"
	"io"
	"maps"
	"math/big"
	"mime"
	"net/http"
	"strconv"
	"strings"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/proxy/reply"
)

// intake is where the answer of one round goes: its head, and its body or the events of it.
type intake struct {
	header http.Header
	status int
	body   []byte
	pipe   *io.PipeWriter // of the events; nil: the answer is not streamed
	torn   bool
}

func newIntake(pipe *io.PipeWriter) *intake { return &intake{header: http.Header{}, pipe: pipe} }

// Header implements reply.Writer.
func (in *intake) Header() http.Header { return in.header }

// Start implements reply.Writer.
func (in *intake) Start(status int) {
	if in.status == 0 {
		in.status = status
	}
}

// Write implements reply.Writer. An answer that is no stream is kept whole.
func (in *intake) Write(p []byte) (int, error) {
	if in.pipe != nil && in.events() {
		return in.pipe.Write(p)
	}
	in.body = append(in.body, p...)
	return len(p), nil
}

// Flush implements reply.Writer.
func (in *intake) Flush() error { return nil }

// Started implements reply.Writer.
func (in *intake) Started() bool { return in.status != 0 }

// events says whether the answer is a stream of events.
func (in *intake) events() bool {
	kind, _, _ := mime.ParseMediaType(in.header.Get("Content-Type"))
	return in.status == http.StatusOK && kind == "text/event-stream"
}

// relay sends the answer on as it came, unless an answer has begun.
func (in *intake) relay(out reply.Writer) error {
	if out.Started() {
		return nil
	}
	maps.Copy(out.Header(), in.header)
	out.Start(in.status)
	_, err := out.Write(in.body)
	return err
}

// costHeaders tell what a round has cost.
var costHeaders = [...]string{"X-Conclave-Cost", "X-Litellm-Response-Cost"}

// meter adds up what rounds have cost, in dollars.
type meter struct{ sum *big.Rat }

func (m *meter) add(h http.Header) {
	if cost, ok := new(big.Rat).SetString(h.Get(costHeaders[0])); ok {
		if m.sum == nil {
			m.sum = new(big.Rat)
		}
		m.sum.Add(m.sum, cost)
	}
}

// feed is the client's answer.
type feed struct {
	to      reply.Writer
	header  http.Header // of the newest round
	pending []byte
	err     error
	rename  func([]byte) []byte
}

// begun says whether something was sent, or is about to be.
func (f *feed) begun() bool { return f.to.Started() || len(f.pending) > 0 }

func (f *feed) raw(event []byte) { f.pending = append(f.pending, event...) }

// send sends an event of a type, "" for none.
func (f *feed) send(typ string, data json.RawMessage) {
	f.pending = llm.AppendEvent(f.pending, typ, data)
}

// flush pushes out what is pending, with the head before it.
func (f *feed) flush() error {
	if len(f.pending) == 0 || f.err != nil {
		return f.err
	}
	if !f.to.Started() {
		maps.Copy(f.to.Header(), f.header)
		f.to.Start(http.StatusOK)
	}
	_, err := f.to.Write(f.pending)
	f.pending = f.pending[:0]
	if err == nil {
		err = f.to.Flush()
	}
	if err != nil {
		f.err = &llm.Error{Kind: llm.Canceled, Message: "The client went away.", Err: err}
	}
	return f.err
}

// whole sends a whole answer, with what all rounds have cost.
func (f *feed) whole(body []byte, spent *meter) error {
	h := f.to.Header()
	maps.Copy(h, f.header)
	h["Content-Length"] = []string{strconv.Itoa(len(body))}
	if spent.sum != nil {
		for _, name := range costHeaders {
			h[name] = []string{strings.TrimSuffix(strings.TrimRight(spent.sum.FloatString(9), "0"), ".")}
		}
	}
	f.to.Start(http.StatusOK)
	if _, err := f.to.Write(body); err != nil {
		return &llm.Error{Kind: llm.Canceled, Message: "The client went away.", Err: err}
	}
	return nil
}
