package upstream

import (
	"bytes"
	"cmp"
	"context"
	"io"
	"maps"
	"net/http"
	"net/url"
	"time"

	"github.com/conclave-llm/conclave/egress"
	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/provider"
	"github.com/conclave-llm/conclave/proxy/upstream/sign"
)

// Timeouts are the timers of an attempt. 0 means what the client's Config says.
type Timeouts struct {
	// Connect bounds finding the address, connecting and the TLS handshake, and what a proxy takes.
	// An idle connection that is used again takes none of it. Negative means no such timer.
	Connect time.Duration
	// FirstToken runs from the start to the first event of a stream that has data. Comments, with
	// which some providers keep connections alive, do not stop it. 0 there too means that Idle
	// alone counts, from the header on.
	FirstToken time.Duration
	// Idle is how long the provider may be silent, once it has begun to answer. Only time spent
	// waiting for it counts, not the time that a slow client takes.
	Idle time.Duration
	// Total runs from the start to the end of the answer. Negative means no such timer.
	Total time.Duration
}

// or fills in what is 0 from d.
func (t Timeouts) or(d Timeouts) Timeouts {
	if t.Connect == 0 {
		t.Connect = d.Connect
	}
	if t.FirstToken == 0 {
		t.FirstToken = d.FirstToken
	}
	if t.Idle == 0 {
		t.Idle = d.Idle
	}
	if t.Total == 0 {
		t.Total = d.Total
	}
	return t
}

// Attempt is one request to one deployment. Do does not change it, so it may be sent again.
type Attempt struct {
	Provider *provider.Provider
	Endpoint llm.Endpoint
	Base     string        // the deployment's api_base, else its credential's; "" for the provider's own
	Model    string        // the model's name at the provider, for those who want it in the URL
	Account  *sign.Account // whose request it is; nil: nobody's
	Body     []byte        // sent as it is; must not change until the answer is closed
	Plugin   string        // names the processes that are asked in the place of an address; "": none
	ID       string        // of the request, for a plugin
	Path     string        // what follows Base, with a query, in the place of the endpoint's; "": the endpoint's
	Method   string        // "": POST
	Pieces   [][]byte      // the body in pieces, in the place of Body, for what is not copied
	Type     string        // of the body; "": JSON
	Stream   bool          // the body asks for a stream
	// Opaque says that the answer may be of any type: audio, text, or a stream that was not asked
	// for. What is neither JSON nor text nor events comes as a Raw.
	Opaque bool
	// Foreign says that Base and Path are an address that the provider has named, in which its permission
	// stands: the request has no key, no header of the provider's, and neither Header nor Fixed. Public
	// says that only a public address may be connected to.
	Foreign, Public bool
	// HideUsage leaves out the chunk of a stream that has usage and no choices, for clients that
	// did not ask for it.
	HideUsage bool
	// MaxBody bounds an answer that is not a stream, in bytes. 0 means what the client's Config says.
	MaxBody int64
	// Waits, if set, is called by a stream's Next before it waits for the provider: all events
	// that have come so far were returned. It is the moment to push them out.
	Waits func()
	// Header holds further headers, which its caller vouches for. The key cannot be replaced.
	Header http.Header
	// Fixed holds headers of the configuration. They are set last, in the place of any other, and may
	// be secrets.
	Fixed    http.Header
	Link     *egress.Link // the way there; nil: the node's
	Timeouts Timeouts
}

// own says that the answer is that of one of the gateway's endpoints, none of which is a page, and not of a path of a
// client's or of the configuration's.
func (a *Attempt) own() bool { return a.Path == "" && a.Endpoint != llm.PassThrough }

// String leaves out the key and the body.
func (a *Attempt) String() string {
	return "attempt at " + a.Provider.Name + " " + a.Endpoint.String() + " " + a.Base + " " + a.Model
}

// GoString is String, for %#v.
func (a *Attempt) GoString() string { return a.String() }

// Values of headers, shared by all requests. The transport only reads them.
var (
	jsonType    = []string{"application/json"}
	anyType     = []string{"*/*"}
	eventStream = []string{"text/event-stream"}
	identity    = []string{"identity"}
	userAgent   = []string{"conclave"}
)

// headers are the request's, but for the key.
func (a *Attempt) headers() http.Header {
	if a.Foreign {
		return http.Header{"Accept": anyType, "Accept-Encoding": identity, "User-Agent": userAgent}
	}
	h := make(http.Header, 6+len(a.Header)+len(a.Provider.Header))
	for name, v := range a.Provider.Header {
		h[name] = []string{v}
	}
	maps.Copy(h, a.Header)
	h["Content-Type"] = jsonType
	if a.Type != "" {
		h["Content-Type"] = []string{a.Type}
	} else if v, ok := a.Provider.Header["Content-Type"]; ok { // of another kind
		h["Content-Type"] = []string{v}
	}
	h["Accept"] = jsonType
	if a.Opaque {
		h["Accept"] = anyType
	} else if a.Stream || a.Provider.Streams {
		h["Accept"] = eventStream
		if v, ok := a.Provider.Header["Accept"]; ok { // of another kind
			h["Accept"] = []string{v}
		}
	}
	h["Accept-Encoding"] = identity
	if _, ok := h["User-Agent"]; !ok {
		h["User-Agent"] = userAgent
	}
	delete(h, "Authorization")
	return h
}

// request builds the HTTP request for net/http.
func (a *Attempt) request(ctx context.Context, u *url.URL, h http.Header) *http.Request {
	req := &http.Request{
		Method: a.method(), URL: u, Host: u.Host, Header: h,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		ContentLength: a.size(),
		Body:          a.body(),
		// For a connection that the provider closed before it read anything.
		GetBody: func() (io.ReadCloser, error) { return a.body(), nil },
	}
	return req.WithContext(ctx)
}

func (a *Attempt) method() string { return cmp.Or(a.Method, http.MethodPost) }

// size is the length of the body.
func (a *Attempt) size() int64 {
	n := int64(len(a.Body))
	for _, p := range a.Pieces {
		n += int64(len(p))
	}
	return n
}

// body reads the body.
func (a *Attempt) body() io.ReadCloser {
	if a.Pieces == nil {
		return newBody(a.Body)
	}
	all := make([]io.Reader, len(a.Pieces))
	for i, p := range a.Pieces {
		all[i] = bytes.NewReader(p)
	}
	return io.NopCloser(io.MultiReader(all...))
}

// newBody makes a request's body, of kinds that net/http knows to be in memory: of any other
// it sends the header on its own first, with one more write for each request.
func newBody(b []byte) io.ReadCloser { return io.NopCloser(bytes.NewReader(b)) }

// Answer is what a provider sent. Exactly one of Body, Stream and Raw is there: a provider may
// answer a request for a stream with a whole body.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
	Report llm.Report // of Body
	Stream *Stream
	Raw    *Raw
}

// Close ends the attempt. It may be called more than once.
func (a *Answer) Close() {
	if a.Stream != nil {
		a.Stream.Close()
	}
	if a.Raw != nil {
		a.Raw.Close()
	}
}
