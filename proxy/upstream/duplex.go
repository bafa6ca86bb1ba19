package upstream

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptrace"
	"sync"
	"time"

	"github.com/conclave-llm/conclave/egress"
	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/provider/bedrock"
	"github.com/conclave-llm/conclave/proxy/socket"
	"github.com/conclave-llm/conclave/proxy/upstream/sign"
)

// duplex is a session over one request of HTTP/2 whose body and whose answer are Amazon's event streams. Whether
// Amazon takes the session is known with its first answer, which Read waits for. One goroutine reads, any number
// write.
type duplex struct {
	client  *Client
	attempt *Attempt
	cancel  context.CancelFunc
	answer  chan struct{} // closed when res and err are there
	res     *http.Response
	err     error
	frames  *bedrock.Reader
	timeout time.Duration

	mu     sync.Mutex // guards what follows
	body   *io.PipeWriter
	events *sign.Events
	over   bool
}

// closing bounds how long the end of a session may take to be told.
const closing = 2 * time.Second

// duplex opens a session. ctx bounds the way there.
func (c *Client) duplex(ctx, opening context.Context, a *Attempt, rt *route, h http.Header, o socket.Options) (*duplex, error) {
	h["Content-Type"] = []string{"application/vnd.amazon.eventstream"}
	h["Accept"] = h["Content-Type"]
	events, err := c.signer.Stream(egress.WithLink(opening, a.Link), a.Provider.Auth, a.Account.Or(), &sign.Request{Method: http.MethodPost, URL: rt.url, Header: h})
	if err != nil {
		return nil, c.unopened(ctx, opening, rt, a, &signError{err})
	}
	if o.WriteTimeout == 0 {
		o.WriteTimeout = socket.DefaultWriteTimeout
	}
	var src *io.PipeReader
	d := &duplex{client: c, attempt: a, answer: make(chan struct{}), events: events, timeout: o.WriteTimeout}
	src, d.body = io.Pipe()
	running, cancel := context.WithCancel(context.WithoutCancel(ctx))
	d.cancel = cancel
	begun := make(chan struct{})
	var once sync.Once
	traced := httptrace.WithClientTrace(running, &httptrace.ClientTrace{WroteHeaders: func() { once.Do(func() { close(begun) }) }})
	req := (&http.Request{Method: http.MethodPost, URL: rt.url, Host: rt.url.Host, Header: h, Body: src, ContentLength: -1}).WithContext(traced)
	go func() {
		defer close(d.answer)
		d.res, d.err = rt.full.RoundTrip(req) //nolint:bodyclose // cut closes it
	}()
	select {
	case <-begun:
		return d, nil
	case <-d.answer:
		if d.err == nil {
			return d, nil
		}
		cancel()
		return nil, c.unopened(ctx, opening, rt, a, d.err)
	case <-opening.Done():
		cancel()
		return nil, c.unopened(ctx, opening, rt, a, opening.Err())
	}
}

// Read returns the next message, which is never said to be one of text. When ctx ends the session breaks.
func (d *duplex) Read(ctx context.Context) (text bool, message []byte, err error) {
	select {
	case <-d.answer:
	case <-ctx.Done():
		d.cut()
		return false, nil, ctx.Err()
	}
	if d.frames == nil {
		if err := d.begin(); err != nil {
			return false, nil, err
		}
	}
	defer context.AfterFunc(ctx, d.cut)()
	e, err := d.frames.Next()
	switch {
	case errors.Is(err, io.EOF):
		return false, nil, &socket.Closed{Code: socket.Normal}
	case err != nil:
		return false, nil, &socket.Closed{Err: err}
	case bedrock.IsException(&e):
		return false, nil, d.client.refusal(d.attempt, http.StatusOK, nil, e.Data)
	}
	message, err = bedrock.Chunk(&e)
	return false, message, err
}

// begin looks at the answer.
func (d *duplex) begin() error {
	if d.err != nil {
		return unreached(d.err)
	}
	if d.res.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(io.LimitReader(d.res.Body, maxErrorBody)) // what came is all there is
		return d.client.refusal(d.attempt, d.res.StatusCode, d.res.Header, body)
	}
	d.frames = bedrock.NewReader(d.res.Body, d.client.cfg.MaxEvent)
	return nil
}

// Write sends a message.
func (d *duplex) Write(ctx context.Context, message []byte) error {
	return d.write(ctx, bedrock.AppendChunk(nil, message))
}

// WriteBinary is Write: Amazon knows one kind of messages.
func (d *duplex) WriteBinary(ctx context.Context, message []byte) error { return d.Write(ctx, message) }

// write sends a frame, or with nil the end of the stream, signed. Who does not read in time loses the connection.
func (d *duplex) write(ctx context.Context, frame []byte) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.over {
		return &socket.Closed{Err: io.ErrClosedPipe}
	}
	at := d.client.cfg.Now()
	raw, err := bedrock.AppendSigned(nil, at, frame, func(headers, payload []byte) ([]byte, error) { return d.events.Sign(ctx, headers, payload, at) })
	if err != nil {
		return &llm.Error{Kind: llm.Internal, Message: "A message could not be signed.", Err: err}
	}
	ctx, cancel := context.WithTimeout(ctx, d.timeout)
	defer cancel()
	defer context.AfterFunc(ctx, d.cut)()
	if _, err := d.body.Write(raw); err != nil {
		return &socket.Closed{Err: err}
	}
	return nil
}

// Ping does nothing: HTTP/2 finds out by itself.
func (*duplex) Ping(context.Context) error { return nil }

// Close ends the stream and the request.
func (d *duplex) Close(int, string) {
	ctx, cancel := context.WithTimeout(context.Background(), closing)
	_ = d.write(ctx, nil) // Amazon may be gone
	cancel()
	d.mu.Lock()
	d.over = true
	d.mu.Unlock()
	_ = d.body.Close()
	d.cut()
	<-d.answer
	if d.res != nil {
		_ = d.res.Body.Close()
	}
}

// cut ends the connection without a word.
func (d *duplex) cut() {
	d.cancel()
	_ = d.body.CloseWithError(io.ErrClosedPipe)
}
