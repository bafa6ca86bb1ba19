package proxy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/conclave-llm/conclave/egress"
	"github.com/conclave-llm/conclave/internal/clock"
	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/plugins/guardrail"
	"github.com/conclave-llm/conclave/pricing"
	"github.com/conclave-llm/conclave/proxy/auth"
	"github.com/conclave-llm/conclave/proxy/background"
	"github.com/conclave-llm/conclave/proxy/body"
	"github.com/conclave-llm/conclave/proxy/drain"
	"github.com/conclave-llm/conclave/proxy/files"
	"github.com/conclave-llm/conclave/proxy/order"
	"github.com/conclave-llm/conclave/proxy/pass"
	"github.com/conclave-llm/conclave/proxy/prompt"
	"github.com/conclave-llm/conclave/proxy/reply"
	"github.com/conclave-llm/conclave/proxy/socket"
	"github.com/conclave-llm/conclave/proxy/stored"
	"github.com/conclave-llm/conclave/proxy/translate"
	"github.com/conclave-llm/conclave/proxy/utility"
	"github.com/conclave-llm/conclave/proxy/view"
	"github.com/conclave-llm/conclave/resource"
)

const (
	defaultTimeout      = 10 * time.Minute
	defaultBodyTimeout  = 2 * time.Minute
	defaultWriteTimeout = time.Minute
)

// Config is what a Server is made of.
type Config struct {
	// NodeID is sent as x-conclave-node.
	NodeID string
	// Catalog returns the newest view of the small tables; required.
	Catalog func() *resource.Catalog
	// Keys looks keys up; required.
	Keys auth.Keys
	// Filters asks router filters; nil: there are none.
	Filters Filters
	// Auths asks auth plugins who requests come from; nil: there are none.
	Auths auth.Plugins
	// Miss is asked about a key that this node does not know, see auth.Config; nil: never.
	Miss func(ctx context.Context, h resource.Hash) error
	// Master returns the hash of the master key; nil: there is none.
	Master func() resource.Hash
	// Serving returns an error if this node's state is too old to serve; nil: it never is.
	Serving func() error
	// WaitIndex waits until an index of a restore generation (0: any) is applied here; nil:
	// requests that name one are refused with 503.
	WaitIndex func(ctx context.Context, generation, index uint64) error

	// Customers looks end users up; nil: none has a record.
	Customers Customers

	// The parts that a request passes through; all required but Guardrails (nil: none) and
	// Pricer (nil: the table of package pricing, with its prices for long prompts).
	Limits     Limiter
	Budgets    Budgets
	Guardrails *guardrail.Chain
	Router     Router
	Upstream   Upstream
	Journal    Journal
	Secrets    view.Opener
	Pricer     view.Pricer
	Prices     *pricing.Books // shared with who imports prices; nil: its own

	// Egress knows the ways to providers; nil: they are all the same.
	Egress *egress.Dialer

	// Blobs reads the body of a blob of the configuration, for prompt templates; nil: there are none.
	Blobs func(ctx context.Context, digest string) ([]byte, error)
	// Tokenizers reads tokenizer.json files by their digests; nil: there are none.
	Tokenizers utility.Files
	// KeepContent is given what requests and answers said, where that may be kept. It must not
	// wait; nil: nothing is kept.
	KeepContent func(Said)

	// Detokenize gives the text of tokens that a request for embeddings has in the place of texts, for
	// providers that take none; nil: such requests are refused.
	Detokenize translate.Detokenizer
	// ParsePrompt reads the text of a .prompt file, for trials of prompts; nil: there are none.
	ParsePrompt prompt.Parser
	// Servers calls the tools of MCP servers that requests name; nil: they are refused.
	Servers Servers
	// Turns keeps the turns of responses that are stored; nil: none is.
	Turns stored.Store

	// Member is the node's id in the cluster, by which batches name their runner and their booker; "": NodeID.
	Member string
	// MemberGone says whether a node was removed from the cluster; nil: none is.
	MemberGone func(member string) bool
	// Books tell what Journal has; nil: nobody can.
	Books Books
	// Booked says whether a record with one of the ids was written since then, by whichever node, while the state was one
	// that knows nothing of it, because it is a backup's now; nil: it is none's.
	Booked func(ctx context.Context, ids []string, since resource.Time) (bool, error)
	// Artifacts keeps files, batches and the owners of what providers keep; nil: nobody does.
	Artifacts files.Store
	// Sessions opens sessions at providers; nil: none is served.
	Sessions Sessions
	// Derive makes keys of the cluster's secrets, for secrets of sessions; nil: none is made.
	Derive func(parts ...string) ([]byte, error)
	// SessionIdle is how long a session may be silent, and SessionTotal how long it may last; 0: as
	// package realtime has it.
	SessionIdle, SessionTotal time.Duration

	// Maker is this process, as others know who makes a response in the background; false: they do not
	// know it yet. nil: none is made. MakerLost says whether a process is no more; nil: nobody knows.
	Maker     func() (stored.Maker, bool)
	MakerLost func(stored.Maker) bool

	// MaxBytes bounds the bytes of the requests' bodies at any time; 0: 1 GiB; <0: no bound.
	MaxBytes int64
	// Timeout is an attempt's if neither deployment nor model say; 0: 10 minutes.
	Timeout time.Duration
	// BodyTimeout is how long a client may take to send a body; 0: two minutes.
	BodyTimeout time.Duration
	// WriteTimeout is how long a client may not read; 0: one minute.
	WriteTimeout time.Duration
	// Now is the clock; nil: clock.Now.
	Now func() time.Time
	// Logger gets one line for each request; nil: none.
	Logger *slog.Logger
	// Registerer gets the metrics; nil: none.
	Registerer prometheus.Registerer
}

// Server is the data path. It is safe for concurrent use.
type Server struct {
	cfg     Config
	auth    *auth.Authenticator
	now     func() time.Time
	log     *slog.Logger
	metrics *metrics
	routes  []*Route
	bodies  *body.Pool
	calls   sync.Pool // of *Call
	drains  *drain.Drains
	view    view.Cache
	keeper  *stored.Keeper // nil: no turn is stored
	store   *store         // nil: no files, no batches, no owners
	orders  *order.Orders  // nil: as store
	live    *drain.Stop

	configured *Route                  // of the endpoints that administrators configure
	responses  *Route                  // that answers requests over a WebSocket too
	ordering   *Route                  // of orders of batches
	judges     map[string]*Route       // of what guardrails ask models, by endpoint
	checks     map[llm.Endpoint]*Route // of health checks
	judged     atomic.Int64            // requests to them
	counts     chan struct{}           // has one for each exchange that is being counted
	runs       *background.Runs
}

// New makes a Server.
func New(cfg Config) (*Server, error) {
	if cfg.Catalog == nil || cfg.Keys == nil || cfg.Limits == nil || cfg.Budgets == nil || cfg.Router == nil ||
		cfg.Upstream == nil || cfg.Journal == nil || cfg.Secrets == nil {
		return nil, errors.New("make proxy: a required part is missing")
	}
	fillDefaults(&cfg)
	all, err := routes()
	if err != nil {
		return nil, fmt.Errorf("make proxy: %w", err)
	}
	s := &Server{
		cfg: cfg, now: cfg.Now, log: cfg.Logger, routes: all, bodies: body.NewPool(cfg.MaxBytes), live: drain.NewStop(), runs: background.NewRuns(cfg.Now),
		view:   view.Cache{Secrets: cfg.Secrets, Pricer: cfg.Pricer, Books: cfg.Prices, Egress: cfg.Egress, Blobs: cfg.Blobs},
		counts: make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2)),
		auth:   auth.New(auth.Config{Keys: cfg.Keys, Miss: cfg.Miss, Master: cfg.Master, Plugins: cfg.Auths, Now: cfg.Now}),
	}
	if cfg.Turns != nil {
		s.keeper = stored.New(cfg.Turns, cfg.Now, cfg.Logger)
		s.keeper.Watch(cfg.MakerLost)
	}
	s.store = newStore(s)
	s.orders = newOrders(s)
	s.calls.New = newCall
	if s.metrics, err = newMetrics(cfg.Registerer); err != nil {
		return nil, fmt.Errorf("make proxy: %w", err)
	}
	if s.drains, err = drain.New(0, cfg.Registerer); err != nil {
		return nil, fmt.Errorf("make proxy: %w", err)
	}
	if err := s.apart(); err != nil {
		return nil, fmt.Errorf("make proxy: %w", err)
	}
	s.bind(append(all, s.configured))
	return s, nil
}

// apart makes the routes that are not in the table: no client asks for them by their path.
func (s *Server) apart() (err error) {
	if s.configured, err = configuredRoute(); err != nil {
		return err
	}
	if s.judges, err = judgeRoutes(); err != nil {
		return err
	}
	for _, r := range s.judges {
		s.metrics.bind(r)
	}
	s.checks, err = healthRoutes()
	for _, r := range s.checks {
		s.metrics.bind(r)
	}
	return err
}

// newCall makes a call for the pool.
func newCall() any {
	c := new(Call)
	c.waits = c.push
	return c
}

// bind makes the routes known to who needs one.
func (s *Server) bind(all []*Route) {
	for _, r := range all {
		s.metrics.bind(r)
		if r.endpoint == llm.Responses && !r.lookup {
			s.responses = r
		}
		if r.method == http.MethodPost && r.prefix == &pass.Files && strings.HasSuffix(r.patterns[0], "/batches") {
			s.ordering = r
		}
	}
}

func fillDefaults(cfg *Config) {
	if cfg.Serving == nil {
		cfg.Serving = func() error { return nil }
	}
	if cfg.WaitIndex == nil {
		cfg.WaitIndex = func(context.Context, uint64, uint64) error { return errors.New("no index to wait for") }
	}
	cfg.Member = cmp.Or(cfg.Member, cfg.NodeID)
	if cfg.Maker == nil {
		cfg.Maker = func() (stored.Maker, bool) { return stored.Maker{}, false }
	}
	if cfg.Guardrails == nil {
		cfg.Guardrails = guardrail.NewChain(nil, nil)
	}
	if cfg.MaxBytes == 0 {
		cfg.MaxBytes = 1 << 30
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = defaultTimeout
	}
	if cfg.BodyTimeout == 0 {
		cfg.BodyTimeout = defaultBodyTimeout
	}
	if cfg.WriteTimeout == 0 {
		cfg.WriteTimeout = defaultWriteTimeout
	}
	if cfg.Now == nil {
		cfg.Now = clock.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
}

// unserved are the patterns below which what nobody serves is answered in its vendor's shape.
var unserved = []string{"/v1/", "/v1beta/", "/v1beta1/", "/model/"}

// Mount registers every route with mux, and answers for what is missing under /v1/ in
// OpenAI's shape.
func (s *Server) Mount(mux *http.ServeMux) {
	verbs := map[string][]*Route{}
	for _, r := range s.routes {
		for _, p := range r.patterns {
			if r.verb != "" {
				verbs[r.method+" "+p] = append(verbs[r.method+" "+p], r)
				continue
			}
			h := s.handler(r)
			if r.endpoint == llm.Invoke {
				h = s.invokes(r, p)
			}
			mux.Handle(strings.TrimPrefix(r.method+" ", " ")+p, h)
		}
		for _, p := range r.azure {
			mux.Handle(r.method+" "+p, s.azure(r, p))
		}
	}
	for p, routes := range verbs {
		mux.Handle(p, s.byVerb(routes, s.otherVerbs(p)))
	}
	for _, p := range unserved {
		mux.HandleFunc(p, s.notFound)
	}
}

// Patterns lists the method and path of everything that is served, as http.ServeMux reads them,
// but for the verbs of Google's paths, which stand behind a colon, and for the paths in a provider's
// own words, which take any method and are listed with POST. Those of Azure's clients are among the latter.
func (s *Server) Patterns() []string {
	var all []string
	for _, r := range s.routes {
		for _, p := range r.patterns {
			if r.verb != "" {
				p += ":" + r.verb
			}
			all = append(all, cmp.Or(r.method, http.MethodPost)+" "+p)
		}
	}
	return all
}

// handler serves one route.
func (s *Server) handler(r *Route) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		s.begin(r, w, req, func(c *Call) {
			if r.socket {
				c.accept = func(o socket.Options) (*socket.Conn, error) {
					c.writer.Taken()
					return socket.Accept(w, req, o)
				}
			}
			if r.prefix != nil {
				c.rest = r.below(req.URL.EscapedPath())
			}
		})
	})
}

// begin makes a call of a request and serves it; more fills in what the route needs.
func (s *Server) begin(r *Route, w http.ResponseWriter, req *http.Request, more func(*Call)) {
	c := s.calls.Get().(*Call)
	c.writer.Reset(w, s.cfg.WriteTimeout)
	c.reader.Reset(req.Body, &c.writer)
	c.came = came{
		id: reply.RequestID(req.Header), route: r, path: req.URL.Path, query: req.URL.RawQuery, named: r.named(req), peer: req.RemoteAddr,
		header: req.Header, in: &c.reader, length: req.ContentLength, out: &c.writer, started: s.now(),
	}
	c.method = req.Method
	more(c)
	defer s.recycle(c)
	if req.ContentLength != 0 { // who sends slowly must not hold what it has announced
		c.in.Until(time.Now().Add(s.cfg.BodyTimeout))
	}
	if wantsArray(r, req) {
		s.serveArray(req.Context(), c)
		return
	}
	s.serve(req.Context(), c)
	if c.torn {
		panic(http.ErrAbortHandler)
	}
}

// otherVerbs serves the verbs of a pattern that no route has: in the provider's own words, where its
// paths lead there.
func (s *Server) otherVerbs(pattern string) http.Handler {
	_, path, _ := strings.Cut(pattern, " ")
	if r := s.wordsOf(path); r != nil {
		return s.handler(r)
	}
	return http.HandlerFunc(s.notFound)
}

// byVerb serves routes whose paths differ in what stands behind the model and a colon.
func (s *Server) byVerb(routes []*Route, other http.Handler) http.Handler {
	handlers := map[string]http.Handler{}
	for _, r := range routes {
		handlers[r.verb] = s.handler(r)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		call := req.PathValue("model")
		if h, ok := handlers[call[strings.LastIndexByte(call, ':')+1:]]; ok {
			h.ServeHTTP(w, req)
			return
		}
		other.ServeHTTP(w, req)
	})
}

// recycle forgets a call whose request has ended.
func (s *Server) recycle(c *Call) {
	c.writer.End()
	if c.buf != nil {
		if c.lent {
			s.bodies.Abandon(c.buf) // net/http may read it after the answer's end
		} else {
			s.bodies.Release(c.buf)
		}
	}
	c.headers.Reset()
	clear(c.levels)
	*c = Call{
		headers: c.headers, last: c.last[:0], pending: c.pending[:0], tries: c.tries[:0], levels: c.levels[:0], waits: c.waits,
	}
	s.calls.Put(c)
}

// Stop ends sessions, and waits for the responses that are open, as long as ctx allows. Requests
// are the HTTP server's to wait for.
func (s *Server) Stop(ctx context.Context) { s.live.Wait(ctx) }

// DropSecrets forgets the secrets that were opened: what they refer to has changed. Requests under way
// go on with what they have.
func (s *Server) DropSecrets() { s.view.Drop() }

// serve takes one call from its beginning to its end. Whatever happens, it is settled once.
func (s *Server) serve(ctx context.Context, c *Call) {
	s.metrics.inFlight.Inc()
	defer s.metrics.inFlight.Dec()
	defer func() {
		if p := recover(); p != nil {
			s.log.Error("request panicked", "request_id", c.id, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			s.finish(c, &llm.Error{Kind: llm.Internal, Message: "The gateway failed."})
			if c.result.begun {
				panic(http.ErrAbortHandler) // the answer is not whole, and must not look so
			}
		}
	}()
	err := s.pipeline(ctx, c)
	if err == errRounds { //nolint:errorlint // it is a step's own, and no error
		if err = s.rounds(ctx, c); err == nil {
			return
		}
	}
	s.finish(c, err)
}

// administers says whether a path is one with which OpenAI's customers administer their organization. No key of
// the gateway's is for that, whatever the provider's own key may do.
func administers(path string) bool {
	path, v1 := strings.CutPrefix(path, "/v1/")
	first, _, _ := strings.Cut(path, "/")
	return v1 && (first == "organization" || first == "projects" && reply.VendorAt("/v1/"+path) == llm.VendorOpenAI)
}

// notFound answers for paths that are not served.
func (s *Server) notFound(w http.ResponseWriter, req *http.Request) {
	e := &llm.Error{Kind: llm.NotFound, Code: "unknown_url", Message: "There is no " + req.Method + " " + req.URL.Path + "."}
	if administers(req.URL.Path) {
		e.Code = "endpoint_not_served"
		e.Message = "A provider's organization is not administered through the gateway. Its own keys, teams and projects are, at /api/v1."
	}
	for _, r := range s.routes {
		for _, p := range r.patterns {
			if p == req.URL.Path {
				e = &llm.Error{Kind: llm.Invalid, Status: http.StatusMethodNotAllowed, Code: "method_not_allowed", Message: req.URL.Path + " is for " + r.method + "."}
				w.Header().Set("Allow", r.method)
			}
		}
	}
	var out reply.HTTPWriter
	out.Reset(w, 0)
	reply.WriteError(&out, e, reply.VendorAt(req.URL.Path))
}
