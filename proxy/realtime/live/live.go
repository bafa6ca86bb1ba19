// Package live holds a session with Google's Live API for one with OpenAI's Realtime API: what a client's
// events ask for is said in Google's words, and what Google answers comes as events of OpenAI's.
//
//	live.go    the connection: what is written to it and read from it
//	setup.go   how a session is configured, once, before its first words
//	client.go  a client's events in Google's words
//	server.go  Google's messages as events
//
// Google is told nothing that makes it work before response.create, but audio, whose ends it finds by
// itself where the session says so. The formats are those of the reference of 2026 (BidiGenerateContent).
package live

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"strconv"
	"sync"

	"github.com/conclave-llm/conclave/llm"
)

// Socket is the connection to the provider.
type Socket interface {
	// Read returns the next message, and whether it is one of text. Its error ends the connection.
	Read(ctx context.Context) (text bool, message []byte, err error)
	Write(ctx context.Context, message []byte) error
	Ping(ctx context.Context) error
	Close(code int, reason string)
}

// Conn is a session. One goroutine may read while another writes.
type Conn struct {
	to   Socket
	seed string // of ids

	set   chan struct{} // closed when the provider has taken the setup
	heard chan heard    // what came from it
	news  chan struct{} // says that there are events of one's own
	over  chan struct{} // closed at the end
	once  sync.Once
	wg    sync.WaitGroup

	mu      sync.Mutex // guards what follows
	ids     int
	queue   [][]byte // events that were not read yet
	config  map[string]any
	model   string
	begun   bool // the setup was sent
	ready   bool // and taken
	pending pending
	turn    *turn             // that the model says; nil: none
	names   map[string]string // of the functions that were called, by the call's id
	input   string            // what the user was heard to say in this turn, and the id of the item for it
	inputID string
}

// heard is a message of the provider's.
type heard struct {
	message []byte
	err     error
}

// New makes a session of a connection on which nothing was said. model is its name at the provider. Close
// must be called.
func New(to Socket, model string) *Conn {
	c := &Conn{
		to: to, model: model, seed: seed(), set: make(chan struct{}), heard: make(chan heard), news: make(chan struct{}, 1), over: make(chan struct{}),
		names: map[string]string{}, config: map[string]any{"type": "realtime", "object": "realtime.session", "model": model, "output_modalities": []any{"audio"}},
	}
	c.event("session.created", object{"session": c.config})
	c.wg.Go(c.listen)
	return c
}

func seed() string {
	b := make([]byte, 9)
	_, _ = rand.Read(b) // never fails
	return hex.EncodeToString(b)
}

// listen hands on what comes, message by message.
func (c *Conn) listen() {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	c.wg.Go(func() {
		<-c.over
		stop()
	})
	for {
		_, message, err := c.to.Read(ctx)
		select {
		case c.heard <- heard{message, err}:
		case <-c.over:
			return
		}
		if err != nil {
			return
		}
	}
}

// Read returns the next event.
func (c *Conn) Read(ctx context.Context) (text bool, message []byte, err error) {
	for {
		if e, ok := c.next(); ok {
			return true, e, nil
		}
		select {
		case <-c.news:
		case h := <-c.heard:
			if h.err != nil {
				return false, nil, h.err
			}
			if err := c.take(h.message); err != nil {
				return false, nil, err
			}
		case <-ctx.Done():
			return false, nil, ctx.Err()
		}
	}
}

func (c *Conn) next() ([]byte, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.queue) == 0 {
		return nil, false
	}
	e := c.queue[0]
	c.queue = c.queue[1:]
	return e, true
}

// Ping finds out whether the provider is still there.
func (c *Conn) Ping(ctx context.Context) error { return c.to.Ping(ctx) }

// Close ends the session.
func (c *Conn) Close(code int, reason string) {
	c.once.Do(func() { close(c.over) })
	c.to.Close(code, reason)
	c.wg.Wait()
}

// object is a JSON object.
type object = map[string]any

// event adds an event; mu is held, or nobody else has the session yet.
func (c *Conn) event(kind string, members object) {
	members["type"], members["event_id"] = kind, c.id("event_")
	raw, err := json.Marshal(members)
	if err != nil {
		return // of values that were JSON
	}
	c.queue = append(c.queue, raw)
	select {
	case c.news <- struct{}{}:
	default:
	}
}

// id makes an id that no other session has.
func (c *Conn) id(prefix string) string {
	c.ids++
	return prefix + c.seed + strconv.Itoa(c.ids)
}

// refuse tells the client that its event cannot be followed.
func (c *Conn) refuse(of, code, message string) {
	var event any
	if of != "" {
		event = of
	}
	c.event("error", object{"error": object{"type": "invalid_request_error", "code": code, "message": message, "param": nil, "event_id": event}})
}

// say writes a message to the provider.
func (c *Conn) say(ctx context.Context, message any) error {
	raw, err := json.Marshal(message)
	if err != nil {
		return &llm.Error{Kind: llm.Internal, Message: "A message could not be written.", Err: err}
	}
	return c.to.Write(ctx, raw)
}
