// Package upstream makes one attempt at a provider: it builds the URL, signs, sends, classifies
// what goes wrong, and hands back the answer whole or as a stream of events. It knows nothing of
// retries, of clients or of http.ResponseWriter. It follows no redirect, takes no proxy from the
// environment, and all its connections come from one dialer.
package upstream

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/conclave-llm/conclave/egress"
	"github.com/conclave-llm/conclave/internal/clock"
	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/plugins/modelserver"
	"github.com/conclave-llm/conclave/provider"
	"github.com/conclave-llm/conclave/proxy/upstream/http1"
	"github.com/conclave-llm/conclave/proxy/upstream/sign"
)

// Defaults of Config.
const (
	DefaultMaxBody     = 64 << 20
	DefaultDialTimeout = 10 * time.Second
	DefaultIdle        = 2 * time.Minute
	DefaultTotal       = 10 * time.Minute
)

const (
	maxRoutes    = 4096 // remembered URLs; a catalog has fewer
	maxIdleConns = 512  // for each provider; net/http's own default is 2
	maxErrorBody = 64 << 10
)

// Config is what a Client needs. Its zero value works.
type Config struct {
	// Egress opens connections and says which proxies are asked. Nil means one that knows no
	// configuration and asks AllowAddr.
	Egress *egress.Dialer
	// Dial, if set, opens connections instead.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
	// AllowAddr is the default Egress's.
	AllowAddr func(netip.Addr) error
	// DialTimeout bounds name resolution and connecting, and the TLS handshake. 0 means DefaultDialTimeout.
	DialTimeout time.Duration
	// TLS is for providers with a certificate authority of their own. Nil means the system's.
	TLS *tls.Config
	// Timeouts are for attempts that leave theirs 0. Idle and Total have defaults.
	Timeouts Timeouts
	// MaxBody bounds a response that is not a stream, in bytes. 0 means DefaultMaxBody.
	MaxBody int64
	// MaxEvent bounds one event of a stream, in bytes. 0 means llm.DefaultMaxEvent.
	MaxEvent int
	// MaxConns bounds the connections to one host. 0 means no bound.
	MaxConns int
	// Plugins are asked by attempts that name one. Nil: there are none.
	Plugins Plugins
	// Signer signs requests. Nil means one that fetches tokens through Dial.
	Signer *sign.Signer
	// Now is the clock for dates in headers. Nil means clock.Now.
	Now func() time.Time
}

// Plugins asks the processes of provider plugins; *modelserver.Gate is one.
type Plugins interface {
	// RoundTrip returns the answer of a process of the name, as one over HTTP in OpenAI's words. Its error is
	// an *llm.Error, or ctx's.
	RoundTrip(ctx context.Context, name string, q *modelserver.Question) (*http.Response, error)
	// Probe asks one for a sign of life.
	Probe(ctx context.Context, name string) error
}

// Client sends attempts. It is safe for concurrent use.
type Client struct {
	cfg     Config
	dial    func(ctx context.Context, network, addr string) (net.Conn, error)
	signer  *sign.Signer
	readers sync.Pool // *llm.SSEReader
	routes  atomic.Pointer[map[routeKey]*route]

	mu         sync.Mutex // guards what follows and the replacing of routes
	transports map[hostKey]transports
}

// routeKey is all that decides where an attempt goes.
type routeKey struct {
	provider    *provider.Provider
	place       string // the account's
	base, model string
	endpoint    llm.Endpoint
	stream      bool
	link        *egress.Link
}

// hostKey is whom a connection leads to, and how.
type hostKey struct {
	host   string // with the scheme
	link   *egress.Link
	public bool // only if its address is public
}

// route is a parsed URL and the connections to its host.
type route struct {
	transports
	url *url.URL
}

// transports are the connections to one host.
type transports struct {
	plain *http1.Transport // for http, nil where only net/http will do
	full  *http.Transport
	proxy *url.URL // that is asked; nil: none
}

// send makes the attempt's request.
func (c *Client) send(cl *call, rt *route, a *Attempt) (*http.Response, error) {
	h := a.headers()
	auth, account := a.Provider.Auth, a.Account.Or()
	if a.Foreign {
		return c.carry(cl, rt, a, h)
	}
	if auth.InHeader() {
		auth.Set(h, account.Key.Reveal())
	} else {
		r := sign.Request{Method: a.method(), URL: rt.url, Header: h, Body: a.Body}
		if err := c.signer.Sign(egress.WithLink(cl.ctx, a.Link), auth, account, &r); err != nil {
			return nil, &signError{err}
		}
		if r.Signed != nil {
			sent := *a
			sent.Body, a = r.Signed, &sent
		}
	}
	maps.Copy(h, a.Fixed)
	return c.carry(cl, rt, a, h)
}

// carry sends a request whose headers are all there.
func (c *Client) carry(cl *call, rt *route, a *Attempt, h http.Header) (*http.Response, error) {
	if rt.plain != nil && a.Pieces == nil && a.Path == "" && len(a.Body) <= http1.MaxBody {
		return rt.plain.RoundTrip(cl.ctx, rt.url, h, a.Body, cl.limits.Connect)
	}
	res, err := rt.full.RoundTrip(a.request(cl.connecting(), rt.url, h))
	if err != nil && rt.relayed() {
		err = &proxyError{"nothing", err}
	}
	return res, err
}

// signError is a request that could not be signed.
type signError struct{ err error }

// Error implements error.
func (e *signError) Error() string { return "sign request: " + e.err.Error() }

// Unwrap returns the cause.
func (e *signError) Unwrap() error { return e.err }

// New returns a client.
func New(cfg Config) *Client {
	if cfg.DialTimeout == 0 {
		cfg.DialTimeout = DefaultDialTimeout
	}
	if cfg.Timeouts.Connect == 0 {
		cfg.Timeouts.Connect = cfg.DialTimeout
	}
	if cfg.Timeouts.Idle == 0 {
		cfg.Timeouts.Idle = DefaultIdle
	}
	if cfg.Timeouts.Total == 0 {
		cfg.Timeouts.Total = DefaultTotal
	}
	if cfg.MaxBody == 0 {
		cfg.MaxBody = DefaultMaxBody
	}
	if cfg.Now == nil {
		cfg.Now = clock.Now
	}
	c := &Client{cfg: cfg, dial: cfg.Dial, signer: cfg.Signer, transports: make(map[hostKey]transports)}
	if c.cfg.Egress == nil {
		c.cfg.Egress = egress.Direct(cfg.AllowAddr)
	}
	if c.dial == nil {
		c.dial = c.cfg.Egress.DialContext
	}
	if c.signer == nil {
		c.signer = sign.New(sign.Config{Now: cfg.Now, Client: c.cfg.Egress.Client(3 * cfg.DialTimeout)})
	}
	c.readers.New = func() any { return new(llm.SSEReader) }
	c.routes.Store(&map[routeKey]*route{})
	return c
}

// Close closes the connections that are idle. Those in use close with their answers.
func (c *Client) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, t := range c.transports {
		t.full.CloseIdleConnections()
		if t.plain != nil {
			t.plain.Close()
		}
	}
}

// Do makes the attempt. Every error is an *llm.Error: of kind Canceled if ctx was, Timeout if
// one of the attempt's timers or ctx's deadline ended it, and otherwise what the provider's
// answer, or the lack of one, means. The answer must be closed.
func (c *Client) Do(ctx context.Context, a *Attempt) (*Answer, error) {
	if a.Plugin != "" {
		return c.askPlugin(ctx, a)
	}
	rt, err := c.route(a)
	if err != nil {
		return nil, &llm.Error{Kind: llm.Internal, Code: "upstream_address", Message: "The deployment has no usable address.", Err: err}
	}
	cl := c.begin(ctx, a)
	res, err := c.send(cl, rt, a) //nolint:bodyclose // cl closes it
	if err != nil {
		defer cl.stop()
		return nil, cl.failure(err)
	}
	cl.timer.Stop()
	cl.body = res.Body
	if rt.proxy != nil && res.StatusCode == http.StatusProxyAuthRequired {
		defer cl.close()
		return nil, cl.failure(&proxyError{answer: res.Status})
	}
	return c.answered(cl, a, res)
}

// answered is answer of an attempt that ends where there is none.
func (c *Client) answered(cl *call, a *Attempt, res *http.Response) (*Answer, error) {
	ans, err := c.answer(cl, a, res)
	if err != nil {
		cl.close()
		return nil, err
	}
	return ans, nil
}

// route finds the URL and the transport of an attempt without locks once it was seen.
func (c *Client) route(a *Attempt) (*route, error) {
	if a.Path != "" {
		return c.anyRoute(a)
	}
	key := routeKey{a.Provider, a.Account.Or().Place(), a.Base, a.Model, a.Endpoint, a.Stream, a.Link}
	if rt, ok := (*c.routes.Load())[key]; ok {
		return rt, nil
	}
	text, err := a.Provider.URL(a.Base, llm.Place{Endpoint: a.Endpoint, Model: a.Model, Stream: a.Stream, Options: a.Account.Or().Options})
	if err != nil {
		return nil, err
	}
	u, err := parse(text)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	t, err := c.transportsLocked(u, hostKey{link: a.Link})
	if err != nil {
		return nil, err
	}
	rt := &route{url: u, transports: t}
	old := *c.routes.Load()
	routes := make(map[routeKey]*route, len(old)+1)
	if len(old) < maxRoutes {
		maps.Copy(routes, old)
	}
	routes[key] = rt
	c.routes.Store(&routes)
	return rt, nil
}

// parse reads the URL of a request.
func parse(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("parse address: %w", err)
	}
	if u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return nil, fmt.Errorf("address %q is not an http or https URL", u.Redacted())
	}
	return u, nil
}

// anyRoute is the route to a URL that is not remembered, for there may be any number of them.
func (c *Client) anyRoute(a *Attempt) (*route, error) {
	u, err := parse(a.Base + a.Path)
	if err != nil {
		return nil, err
	}
	link := a.Link
	if a.Foreign { // whose TLS is none of the deployment's business
		link = link.Way()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	t, err := c.transportsLocked(u, hostKey{link: link, public: a.Public})
	if err != nil {
		return nil, err
	}
	return &route{url: u, transports: t}, nil
}

// transportsLocked returns the transports of u's host, by the rest of the key. Each host has its own, so that they
// do not wait for each other's locks, and so has each way to it.
func (c *Client) transportsLocked(u *url.URL, key hostKey) (t transports, err error) {
	key.host = u.Scheme + "://" + u.Host
	l := key.link
	t, ok := c.transports[key]
	if !ok {
		if l == nil {
			l = c.cfg.Egress.NodeLink()
		}
		if t.proxy, err = l.ProxyFor(u); err != nil {
			return t, fmt.Errorf("find proxy: %w", err)
		}
		dial := c.through(l, u, t.proxy)
		if key.public {
			if dial, err = c.outside(l, u, t.proxy); err != nil {
				return t, err
			}
		}
		t.full = &http.Transport{
			DialContext:            dial,
			OnProxyConnectResponse: tunnelled,
			TLSClientConfig:        cmp.Or(l.TLS, c.cfg.TLS).Clone(),
			TLSHandshakeTimeout:    time.Minute, // the attempt's own timer is shorter
			ForceAttemptHTTP2:      true,        // a custom DialContext switches it off
			DisableCompression:     true,        // events must not wait in a compressor
			MaxIdleConns:           maxIdleConns,
			MaxIdleConnsPerHost:    maxIdleConns,
			MaxConnsPerHost:        c.cfg.MaxConns,
			IdleConnTimeout:        75 * time.Second,
			ExpectContinueTimeout:  time.Second,
			MaxResponseHeaderBytes: 256 << 10,
			WriteBufferSize:        16 << 10,
			ReadBufferSize:         16 << 10,
		}
		if t.proxy != nil {
			t.full.Proxy = http.ProxyURL(t.proxy)
		} else if u.Scheme == "http" && c.cfg.MaxConns == 0 && !key.public {
			t.plain = http1.New(u, maxIdleConns, dial)
		}
		if len(c.transports) >= maxRoutes { // of addresses that are long gone
			clear(c.transports)
		}
		c.transports[key] = t
	}
	return t, nil
}

// answer reads as much of a response as its caller needs to go on.
func (c *Client) answer(cl *call, a *Attempt, res *http.Response) (*Answer, error) {
	isStream := isType(res.Header, "text/event-stream") || isType(res.Header, "application/vnd.amazon.eventstream")
	switch {
	case a.Foreign:
		return foreign(cl, a, res)
	case res.StatusCode < 200 || res.StatusCode >= 300:
		body, _ := cl.readAll(res.ContentLength, maxErrorBody, true)
		return nil, c.refusal(a, res.StatusCode, res.Header, body)
	case a.Stream && !a.Opaque && !isType(res.Header, "application/json"), a.Opaque && isStream:
		s := &Stream{client: c, call: cl, attempt: a, meter: a.Provider.Codec.Meter(a.Endpoint)}
		s.events = c.split(cl, a)
		cl.waits = a.Waits
		cl.await(cl.firstEvent())
		return &Answer{Status: res.StatusCode, Header: res.Header, Stream: s}, nil
	case a.Opaque && !isWhole(res.Header):
		return raw(cl, a, res), nil
	case isStream && !a.Provider.Streams:
		return nil, invalidResponse("The provider streamed though it was not asked to.")
	}
	return c.whole(cl, a, res)
}

// raw hands on an answer as bytes.
func raw(cl *call, a *Attempt, res *http.Response) *Answer {
	cl.waits = a.Waits
	cl.await(cl.firstEvent())
	return &Answer{Status: res.StatusCode, Header: res.Header, Raw: &Raw{call: cl}}
}

// foreign takes the answer of an address that the provider has named, which speaks no dialect.
func foreign(cl *call, a *Attempt, res *http.Response) (*Answer, error) {
	if res.StatusCode < 200 || res.StatusCode >= 300 {
		return nil, &llm.Error{
			Kind: llm.Upstream, Code: "upstream_error", FromProvider: true,
			Message: fmt.Sprintf("The address that the provider named answered %d.", res.StatusCode),
		}
	}
	if a.Opaque {
		return raw(cl, a, res), nil
	}
	if _, err := cl.readAll(res.ContentLength, maxErrorBody, true); err != nil {
		return nil, err
	}
	cl.close()
	return &Answer{Status: res.StatusCode, Header: res.Header}, nil
}

// refusal is the error that a provider's answer is.
func (c *Client) refusal(a *Attempt, status int, h http.Header, body []byte) *llm.Error {
	e := a.Provider.Codec.Classify(c.cfg.Now(), status, h, a.Account.Hide(body))
	e.FromProvider = true
	return e
}

// whole reads an answer to its end.
func (c *Client) whole(cl *call, a *Attempt, res *http.Response) (*Answer, error) {
	body, err := cl.readAll(res.ContentLength, cmp.Or(a.MaxBody, c.cfg.MaxBody), false)
	if err != nil {
		return nil, err
	}
	if a.own() && isType(res.Header, "text/html") {
		return nil, invalidResponse("The provider's server sent a page in the place of an answer.")
	}
	if a.Opaque && IsText(res.Header) {
		cl.close()
		return &Answer{Status: res.StatusCode, Header: res.Header, Body: body, Report: llm.Report{TextBytes: int64(len(body))}}, nil
	}
	if !a.readable(body) {
		return nil, errNotUTF8()
	}
	rep, err := a.Provider.Codec.Read(a.Endpoint, body)
	if a.Path != "" { // what is not understood is handed on
		rep.HasError, err = false, nil
	}
	if err != nil {
		return nil, err
	}
	if rep.HasError {
		return nil, c.refusal(a, res.StatusCode, res.Header, body)
	}
	cl.close()
	return &Answer{Status: res.StatusCode, Header: res.Header, Body: body, Report: rep}, nil
}

// split splits the bytes of a stream into its events.
func (c *Client) split(src io.Reader, a *Attempt) llm.EventReader {
	if r := a.Provider.Codec.Frames(a.Endpoint, src, c.cfg.MaxEvent); r != nil {
		return r
	}
	sse := c.readers.Get().(*llm.SSEReader)
	sse.Reset(src, c.cfg.MaxEvent)
	return sse
}

// isWhole says that an answer of any type is one to be read at once: JSON, or a short text.
func isWhole(h http.Header) bool {
	return isType(h, "application/json") || IsText(h) || h.Get("Content-Type") == ""
}

// IsText says whether an answer is text as it stands: a transcript, or subtitles.
func IsText(h http.Header) bool {
	v := h.Get("Content-Type")
	return len(v) > 5 && equalFold(v[:5], "text/") || isType(h, "application/x-subrip")
}

// readable says whether what came can be text, where it has to be. JSON is UTF-8, and clients' parsers end at what is none.
func (a *Attempt) readable(b []byte) bool {
	return a.Opaque || a.Endpoint.Family() != llm.FamilyConversation || utf8.Valid(b)
}

func errNotUTF8() error { return invalidResponse("The provider's answer is not UTF-8.") }

func invalidResponse(message string) *llm.Error {
	return &llm.Error{Kind: llm.Upstream, Code: "invalid_response", Message: message}
}

// tooLarge is an answer over the limit. It has cost what it has cost: nobody else is asked.
func tooLarge(limit int64) *llm.Error {
	return &llm.Error{
		Kind: llm.TooLarge, Status: http.StatusBadGateway, Code: "response_too_large", NoRetry: true,
		Count:   &llm.Count{Of: llm.CountResponseBytes, Limit: limit, Left: limit, Asked: limit + 1}, // nobody reads on
		Message: fmt.Sprintf("The answer is larger than %d bytes.", limit),
	}
}

// isType says whether the content type is typ, whatever its parameters.
func isType(h http.Header, typ string) bool {
	v := h.Get("Content-Type")
	return len(v) >= len(typ) && equalFold(v[:len(typ)], typ) && (len(v) == len(typ) || v[len(typ)] == ';' || v[len(typ)] == ' ')
}

func equalFold(a, b string) bool { return bytes.EqualFold([]byte(a), []byte(b)) }

// readAll reads the body to its end. What is over the limit is an error, or cut off if cut.
func (cl *call) readAll(size, limit int64, cut bool) ([]byte, error) {
	if size > limit && !cut {
		return nil, tooLarge(limit)
	}
	if size < 0 {
		size = 2 << 10
	}
	cl.await(cl.limits.Idle)
	buf := make([]byte, 0, min(size, limit)+1)
	for {
		if len(buf) == cap(buf) {
			buf = append(buf, 0)[:len(buf)]
		}
		n, err := cl.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if n > 0 {
			cl.await(cl.limits.Idle)
		}
		switch {
		case int64(len(buf)) > limit && cut:
			return buf[:limit], nil
		case int64(len(buf)) > limit:
			return nil, tooLarge(limit)
		case err == io.EOF: //nolint:errorlint // a body returns the very value
			return buf, nil
		case err != nil:
			return buf, cl.failure(err)
		}
	}
}
