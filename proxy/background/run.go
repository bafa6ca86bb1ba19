// Package background holds the responses that a node makes for clients who do not wait for them:
// what each has said so far, who follows it, and how it is cancelled. What a response may do and
// costs is decided as for every other, and where it is kept is package stored's.
package background

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/conclave-llm/conclave/llm"
)

const (
	// maxEvents bounds the bytes of the events that are kept of one response.
	maxEvents = 16 << 20
	// keptRuns is how many responses that have ended can be followed again, and keptFor how long.
	keptRuns = 64
	keptFor  = 10 * time.Minute
	// maxBody bounds the answer that is kept of a request that was refused.
	maxBody = 1 << 20
)

// ErrCancelled is why a response ends that its client has cancelled.
var ErrCancelled = errors.New("the response was cancelled")

// Run is one response in the making.
type Run struct {
	// Begun is closed when the response has its id and is known to the cluster, and Ended when it
	// has ended, or was refused.
	Begun, Ended chan struct{}

	cancel context.CancelCauseFunc

	mu       sync.Mutex // guards what follows
	id       string
	response []byte // as the client gets it first
	header   http.Header
	status   int
	body     []byte // of an answer that is no stream
	rest     []byte // of an event that has not come whole
	events   []event
	size     int
	lost     bool // the events are too many to be kept
	over     bool
	changed  chan struct{} // closed and made anew when something has changed
}

// event is a server-sent event and its place among the response's.
type event struct {
	number int64
	raw    []byte
}

// New makes a Run. cancel ends the making.
func New(cancel context.CancelCauseFunc) *Run {
	return &Run{Begun: make(chan struct{}), Ended: make(chan struct{}), cancel: cancel, header: http.Header{}, changed: make(chan struct{})}
}

// Begin says that the response is known to the cluster. It is called once.
func (r *Run) Begin(id string, response []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.id, r.response = id, response
	close(r.Begun)
}

// First is the id, and the response as it is before anything was said.
func (r *Run) First() (id string, response []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.id, r.response
}

// End says that the answer has ended. It is called once.
func (r *Run) End() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.over = true
	r.wakeLocked()
	close(r.Ended)
}

// Cancel ends the making of the response.
func (r *Run) Cancel() { r.cancel(ErrCancelled) }

func (r *Run) wakeLocked() {
	close(r.changed)
	r.changed = make(chan struct{})
}

// Answer is a Run as the reply.Writer of its answer.
type Answer struct{ *Run }

// Header implements reply.Writer.
func (a Answer) Header() http.Header { return a.header }

// Start implements reply.Writer.
func (a Answer) Start(status int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.status == 0 {
		a.status = status
	}
}

// Started implements reply.Writer.
func (a Answer) Started() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.status != 0
}

// Flush implements reply.Writer.
func (a Answer) Flush() error { return nil }

// Write implements reply.Writer.
func (a Answer) Write(p []byte) (int, error) {
	r := a.Run
	r.mu.Lock()
	defer r.mu.Unlock()
	if strings.HasPrefix(r.header.Get("Content-Type"), "application/json") {
		r.body = append(r.body, p[:min(len(p), maxBody-len(r.body))]...)
		return len(p), nil
	}
	r.rest = append(r.rest, p...)
	for {
		raw, after, ok := bytes.Cut(r.rest, []byte("\n\n"))
		if !ok {
			break
		}
		r.addLocked(append(bytes.Clone(raw), "\n\n"...))
		r.rest = bytes.Clone(after)
	}
	r.wakeLocked()
	return len(p), nil
}

func (r *Run) addLocked(raw []byte) {
	if r.lost {
		return
	}
	if r.size += len(raw); r.size > maxEvents {
		r.lost, r.events = true, nil
		return
	}
	number := int64(len(r.events))
	if _, data, ok := bytes.Cut(raw, []byte("data:")); ok {
		c := llm.NewCursor(data)
		for n := 0; c.Member(n); n++ {
			if string(c.Name()) != "sequence_number" {
				c.Raw()
			} else if v, ok := c.Int(); ok {
				number = v
			}
		}
	}
	r.events = append(r.events, event{number, raw})
}

// Refusal is the answer to a request that was refused before its response began.
func (r *Run) Refusal() (status int, header http.Header, body []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.status, r.header, r.body
}

// Failure is why a response failed, nil if its answer does not say.
func (r *Run) Failure() *llm.Error {
	r.mu.Lock()
	defer r.mu.Unlock()
	said := r.body
	if len(r.events) > 0 {
		_, said, _ = bytes.Cut(r.events[len(r.events)-1].raw, []byte("data:"))
		if !bytes.Contains(said, []byte(`"type":"error"`)) {
			return nil
		}
	} else if r.status < http.StatusBadRequest {
		return nil
	}
	e := &llm.Error{Kind: llm.Upstream, Status: r.status}
	read(said, e)
	return e
}

// read reads the code and the message of an error, which may stand in a member of their own.
func read(said []byte, e *llm.Error) {
	c := llm.NewCursor(said)
	for n := 0; c.Member(n); n++ {
		switch string(c.Name()) {
		case "error":
			read(c.Raw(), e)
		case "code":
			e.Code = c.Text()
		case "message":
			e.Message = c.Text()
		default:
			c.Raw()
		}
	}
}

// Follow sends the events behind a number, those that are there and those that come, until the last.
// It returns send's error, ctx's, or an *llm.Error if they are not kept.
func (r *Run) Follow(ctx context.Context, after int64, send func([]byte) error) error {
	at := 0
	for {
		r.mu.Lock()
		events, over, lost, changed := r.events[min(at, len(r.events)):], r.over, r.lost, r.changed
		r.mu.Unlock()
		if lost {
			return &llm.Error{Kind: llm.Invalid, Code: "stream_too_long", Message: "The response is too long to be followed. Ask for it when it has ended."}
		}
		for _, ev := range events {
			at++
			if ev.number <= after {
				continue
			}
			if err := send(ev.raw); err != nil {
				return err
			}
		}
		if over && len(events) == 0 {
			return nil
		}
		if len(events) > 0 {
			continue
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		}
	}
}

// Runs are a node's. It may be used concurrently.
type Runs struct {
	now func() time.Time

	mu    sync.Mutex // guards what follows
	runs  map[string]*Run
	ended []ended // the first one first
}

type ended struct {
	id string
	at time.Time
}

// NewRuns makes Runs.
func NewRuns(now func() time.Time) *Runs { return &Runs{now: now, runs: map[string]*Run{}} }

// Add makes a run known by its id.
func (s *Runs) Add(id string, r *Run) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.runs[id] = r
}

// Find returns a run of this node, nil if it has none, or has forgotten it.
func (s *Runs) Find(id string) *Run {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forgetLocked()
	return s.runs[id]
}

// Over says that a run has ended. It can be followed again for a while.
func (s *Runs) Over(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = append(s.ended, ended{id, s.now()})
	s.forgetLocked()
}

// Drop forgets a run at once.
func (s *Runs) Drop(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.runs, id)
}

func (s *Runs) forgetLocked() {
	for len(s.ended) > 0 && (len(s.ended) > keptRuns || s.now().Sub(s.ended[0].at) > keptFor) {
		delete(s.runs, s.ended[0].id)
		s.ended = s.ended[1:]
	}
}
