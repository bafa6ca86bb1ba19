// Package socket is a WebSocket connection as the data path uses one, on either side: messages
// that are bounded, writes that end, and closing with a code and a reason that the other side gets
// at once. It is the home of the WebSocket library.
package socket

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/coder/websocket"

	"github.com/conclave-llm/conclave/llm"
)

// The codes with which connections are closed, of RFC 6455 and IANA's registry.
const (
	Normal     = 1000
	GoingAway  = 1001
	Protocol   = 1002
	NoStatus   = 1005 // the other side said none; never sent
	Abnormal   = 1006 // the connection broke; never sent
	Policy     = 1008
	TooBig     = 1009
	Internal   = 1011
	Restart    = 1012
	TryAgain   = 1013
	BadGateway = 1014
)

const (
	// DefaultMaxMessage bounds one message. Audio comes in small pieces, pictures in one.
	DefaultMaxMessage = 16 << 20
	// DefaultWriteTimeout is how long the other side may not read.
	DefaultWriteTimeout = time.Minute

	maxReason    = 123      // bytes, as the protocol has it
	maxRefusal   = 64 << 10 // of the answer of a server that does not open a connection
	maxProtocols = 8        // subprotocols that are read of one client
)

// Closed is how a connection ended: the error of Read and Write when it is over.
type Closed struct {
	Code   int
	Reason string
	Err    error // nil: the other side closed it
}

// Error implements error.
func (c *Closed) Error() string {
	if c.Err != nil {
		return "connection broke: " + c.Err.Error()
	}
	return fmt.Sprintf("connection was closed with %d %s", c.Code, c.Reason)
}

// Unwrap returns the cause.
func (c *Closed) Unwrap() error { return c.Err }

// Options are those of a connection. The zero value has the defaults.
type Options struct {
	MaxMessage   int64         // bytes; 0: DefaultMaxMessage
	WriteTimeout time.Duration // of one message; 0: DefaultWriteTimeout
	Protocols    []string      // subprotocols, those preferred first
}

// Conn is one connection. One goroutine reads, any number write.
type Conn struct {
	ws      *websocket.Conn
	timeout time.Duration
}

// Upgrade reports whether the request asks for a WebSocket.
func Upgrade(h http.Header) bool {
	return has(h, "Connection", "upgrade") && has(h, "Upgrade", "websocket")
}

func has(h http.Header, name, token string) bool {
	for _, v := range h[name] {
		for part := range strings.SplitSeq(v, ",") {
			if strings.EqualFold(strings.TrimSpace(part), token) {
				return true
			}
		}
	}
	return false
}

// Protocols are the subprotocols that a client offers.
func Protocols(h http.Header) (all []string) {
	for _, v := range h["Sec-Websocket-Protocol"] {
		for part := range strings.SplitSeq(v, ",") {
			if part = strings.TrimSpace(part); part != "" && len(all) < maxProtocols {
				all = append(all, part)
			}
		}
	}
	return all
}

// Accept opens the connection that a request asks for. Pages of any origin may ask: a browser
// sends no credential by itself to paths that take none but an API key. If it fails, the request
// is answered.
func Accept(w http.ResponseWriter, r *http.Request, o Options) (*Conn, error) {
	ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: o.Protocols, InsecureSkipVerify: true})
	if err != nil {
		return nil, fmt.Errorf("accept WebSocket: %w", err)
	}
	return newConn(ws, o), nil
}

// Target is where a connection is opened.
type Target struct {
	URL       string // http or https
	Header    http.Header
	Transport http.RoundTripper
}

// Refusal is the answer of a server that does not open a connection.
type Refusal struct {
	Status int
	Header http.Header
	Body   []byte
}

// Error implements error.
func (r *Refusal) Error() string { return fmt.Sprintf("the server answered %d", r.Status) }

// Dial opens a connection. It returns a *Refusal if the server answers otherwise. ctx bounds the
// opening alone.
func Dial(ctx context.Context, t Target, o Options) (*Conn, error) {
	client := &http.Client{Transport: t.Transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	ws, res, err := websocket.Dial(ctx, t.URL, &websocket.DialOptions{HTTPClient: client, HTTPHeader: t.Header, Subprotocols: o.Protocols})
	if err == nil {
		return newConn(ws, o), nil
	}
	if res != nil && res.Body != nil {
		defer func() { _ = res.Body.Close() }() // nothing more is wanted of it
	}
	if res == nil || res.StatusCode == http.StatusSwitchingProtocols || res.StatusCode == 0 {
		return nil, fmt.Errorf("open WebSocket: %w", err)
	}
	body, _ := io.ReadAll(io.LimitReader(res.Body, maxRefusal)) // what came is all there is
	return nil, &Refusal{Status: res.StatusCode, Header: res.Header, Body: body}
}

func newConn(ws *websocket.Conn, o Options) *Conn {
	if o.MaxMessage == 0 {
		o.MaxMessage = DefaultMaxMessage
	}
	if o.WriteTimeout == 0 {
		o.WriteTimeout = DefaultWriteTimeout
	}
	ws.SetReadLimit(o.MaxMessage)
	return &Conn{ws, o.WriteTimeout}
}

// Read returns the next message. Its error is a *Closed. When ctx ends the connection breaks.
func (c *Conn) Read(ctx context.Context) (text bool, message []byte, err error) {
	kind, message, err := c.ws.Read(ctx)
	if err != nil {
		return false, nil, ended(err)
	}
	return kind == websocket.MessageText, message, nil
}

// Write sends one message of text. Its error is a *Closed: who does not read in time loses the
// connection.
func (c *Conn) Write(ctx context.Context, message []byte) error {
	return c.write(ctx, websocket.MessageText, message)
}

// WriteBinary is Write for a message of bytes.
func (c *Conn) WriteBinary(ctx context.Context, message []byte) error {
	return c.write(ctx, websocket.MessageBinary, message)
}

func (c *Conn) write(ctx context.Context, kind websocket.MessageType, message []byte) error {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	if err := c.ws.Write(ctx, kind, message); err != nil {
		return ended(err)
	}
	return nil
}

// Ping asks the other side for a sign of life, while somebody reads.
func (c *Conn) Ping(ctx context.Context) error {
	if err := c.ws.Ping(ctx); err != nil {
		return ended(err)
	}
	return nil
}

// Close says why the connection ends and waits a moment for the other side to have heard it. A
// code that must not be sent becomes one that may.
func (c *Conn) Close(code int, reason string) {
	_ = c.ws.Close(websocket.StatusCode(Sendable(code)), cut(reason)) // the other side may be gone
}

// Cut ends the connection without a word.
func (c *Conn) Cut() { _ = c.ws.CloseNow() }

// Sendable is the code with which the end of one connection is handed on to another.
func Sendable(code int) int {
	switch {
	case code == NoStatus:
		return Normal
	case code == Abnormal || code == 1015 || code == 1004 || code < 1000 || code > 4999 || code > BadGateway && code < 3000:
		return Internal
	}
	return code
}

// cut makes a reason fit.
func cut(reason string) string {
	if len(reason) <= maxReason {
		return reason
	}
	reason = reason[:maxReason]
	for !utf8.ValidString(reason) {
		reason = reason[:len(reason)-1]
	}
	return reason
}

// ended is how the library's error tells that a connection is over.
func ended(err error) *Closed {
	var said websocket.CloseError
	switch {
	case errors.As(err, &said):
		return &Closed{Code: int(said.Code), Reason: said.Reason}
	case errors.Is(err, websocket.ErrMessageTooBig):
		return &Closed{Code: TooBig, Reason: "message_too_large", Err: err}
	}
	return &Closed{Code: Abnormal, Err: err}
}

// ErrUpgrade is what a client is told that does not ask for a WebSocket where there is nothing else.
func ErrUpgrade() error {
	return &llm.Error{
		Kind: llm.Invalid, Status: http.StatusUpgradeRequired, Code: "upgrade_required", Header: http.Header{"Upgrade": {"websocket"}},
		Message: "This path is for WebSocket connections: send \"Connection: Upgrade\" and \"Upgrade: websocket\".",
	}
}
