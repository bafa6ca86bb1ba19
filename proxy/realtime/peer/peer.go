// Package peer holds the connection to a provider of sessions whose words are not OpenAI's: what comes from
// it is read one message after the other, and what it means waits as events of OpenAI's.
package peer

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
	// Write sends a message of text, and WriteBinary one of bytes.
	Write(ctx context.Context, message []byte) error
	WriteBinary(ctx context.Context, message []byte) error
	Ping(ctx context.Context) error
	Close(code int, reason string)
}

// Object is a JSON object.
type Object = map[string]any

// Conn is one connection. One goroutine may read while others write and add events.
type Conn struct {
	to   Socket
	take func(message []byte) error
	seed string // of ids

	heard chan heard    // what came from the provider
	news  chan struct{} // says that there are events of one's own
	over  chan struct{} // closed at the end
	once  sync.Once
	wg    sync.WaitGroup

	mu    sync.Mutex // guards what follows
	ids   int
	queue [][]byte // events that were not read yet
}

// heard is a message of the provider's.
type heard struct {
	message []byte
	err     error
}

// New makes a connection of one on which nothing was said. Read calls take with each message of the
// provider's; its error ends the session. Close must be called.
func New(to Socket, take func(message []byte) error) *Conn {
	c := &Conn{to: to, take: take, seed: seed(), heard: make(chan heard), news: make(chan struct{}, 1), over: make(chan struct{})}
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

// Over is closed when the session ends.
func (c *Conn) Over() <-chan struct{} { return c.over }

// Event adds an event of a type, to whose members its type and its id are added.
func (c *Conn) Event(kind string, members Object) {
	members["type"], members["event_id"] = kind, c.ID("event_")
	raw, err := json.Marshal(members)
	if err != nil {
		return // of values that were JSON
	}
	c.mu.Lock()
	c.queue = append(c.queue, raw)
	c.mu.Unlock()
	select {
	case c.news <- struct{}{}:
	default:
	}
}

// ID makes an id that no other session has.
func (c *Conn) ID(prefix string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ids++
	return prefix + c.seed + strconv.Itoa(c.ids)
}

// Refuse tells the client that its event cannot be followed; of is the event's id, "" if it has none.
func (c *Conn) Refuse(of, code, message string) {
	var event any
	if of != "" {
		event = of
	}
	c.Event("error", Object{"error": Object{"type": "invalid_request_error", "code": code, "message": message, "param": nil, "event_id": event}})
}

// Say writes a message to the provider.
func (c *Conn) Say(ctx context.Context, message any) error {
	raw, err := json.Marshal(message)
	if err != nil {
		return &llm.Error{Kind: llm.Internal, Message: "A message could not be written.", Err: err}
	}
	return c.to.Write(ctx, raw)
}

// Send writes bytes to the provider.
func (c *Conn) Send(ctx context.Context, message []byte) error { return c.to.WriteBinary(ctx, message) }

// Garbled is the error of a message of the provider's that cannot be read.
func Garbled(err error) error {
	return &llm.Error{Kind: llm.Upstream, Code: "invalid_response", Message: "The provider sent a message that cannot be read.", Err: err}
}
