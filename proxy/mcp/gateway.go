package mcp

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/conclave-llm/conclave/internal/clock"
	"github.com/conclave-llm/conclave/ledger"
	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/plugins/guardrail"
	"github.com/conclave-llm/conclave/proxy/auth"
	"github.com/conclave-llm/conclave/proxy/budget"
	"github.com/conclave-llm/conclave/proxy/mcp/oauth"
	"github.com/conclave-llm/conclave/proxy/ratelimit"
	"github.com/conclave-llm/conclave/proxy/reply"
	"github.com/conclave-llm/conclave/resource"
	"github.com/conclave-llm/conclave/secret"
)

// The defaults and bounds.
const (
	DefaultTimeout  = time.Minute      // of a call
	DefaultParallel = 64               // calls in flight at one server
	MaxAnswer       = 16 << 20         // bytes of one answer of a server
	maxRequest      = 4 << 20          // bytes of one request of a client
	connectTimeout  = 15 * time.Second // of a connection, or a process's start
	listsFresh      = 30 * time.Second // what a server offers is asked again after it
	maxOffers       = 2000             // tools, prompts, resources of one server
)

// Path is where the gateway is served, and the name of its route in policies and metrics.
const Path = "/mcp"

// Opener opens sealed secrets, and follows the references in them.
type Opener interface {
	Open(s *resource.Sealed, kind, id, field string) (secret.Text, error)
}

// Customers looks end users up.
type Customers interface {
	Customer(id string) (*resource.Customer, bool)
}

// Journal keeps what was spent; *ledger.Journal is one.
type Journal interface {
	Reserve(r *ledger.Reservation) (id uint64, err error)
	Settle(reserved uint64, r *ledger.Record) error
}

// Said is what a call and its result said, for who keeps contents.
type Said struct {
	RequestID string
	Time      resource.Time
	Who       *resource.Principal
	Customer  string
	Tags      []string
	Request   []byte // the arguments, after the guardrails
	Response  []byte

	Guards *guardrail.Set // that mask it before it is kept; mostly nil
	Info   guardrail.Info // for them
}

// Config is what a Gateway is made of. All fields are required but where it is said.
type Config struct {
	NodeID    string // sent as x-conclave-node
	Version   string // of this program, for the servers
	Catalog   func() *resource.Catalog
	Auth      *auth.Authenticator
	Serving   func() error // nil: this node's state is never too old
	Customers Customers    // nil: no end user has a record
	Limits    *ratelimit.Limiter
	Budgets   *budget.Budgets
	Guards    *guardrail.Chain // nil: none
	Journal   Journal
	Secrets   Opener
	// Blob reads the body of a digest; nil: no document of an API is a blob.
	Blob   func(ctx context.Context, digest string) ([]byte, error)
	Tokens oauth.Store  // of people at servers that ask for OAuth; nil: no such server can be used
	Sealer oauth.Sealer // of them; needed with Tokens
	Keep   func(Said)   // nil: contents are not kept
	// Dial opens all connections to servers.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
	// Proxy says which proxy is asked for a request; nil: none is.
	Proxy func(*http.Request) (*url.URL, error)
	// WorkDir has a folder for each process of a server.
	WorkDir    string
	Now        func() time.Time      // nil: clock.Now
	Logger     *slog.Logger          // nil: none
	Registerer prometheus.Registerer // nil: none
}

// Gateway serves the tools of all MCP servers. It is safe for concurrent use.
type Gateway struct {
	cfg     Config
	links   *links
	handler *sdk.StreamableHTTPHandler
	calls   *prometheus.CounterVec
}

// New makes a Gateway; Close ends its connections and processes.
func New(cfg Config) (*Gateway, error) {
	if cfg.Catalog == nil || cfg.Auth == nil || cfg.Limits == nil || cfg.Budgets == nil || cfg.Journal == nil || cfg.Secrets == nil || cfg.Dial == nil {
		return nil, errors.New("make MCP gateway: a required part is missing")
	}
	fillDefaults(&cfg)
	g := &Gateway{cfg: cfg}
	g.links = newLinks(&g.cfg)
	if cfg.Tokens != nil && cfg.Sealer != nil {
		g.links.oauth = oauth.New(oauth.Config{HTTP: g.links.transport, Store: cfg.Tokens, Sealer: cfg.Sealer, Now: cfg.Now, Logger: cfg.Logger})
	}
	g.calls = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "conclave_mcp_calls_total", Help: "Calls of tools, prompts and resources of MCP servers.",
	}, []string{"server", "outcome"})
	if cfg.Registerer != nil {
		if err := cfg.Registerer.Register(g.calls); err != nil {
			return nil, err
		}
	}
	g.handler = sdk.NewStreamableHTTPHandler(g.serverOf, &sdk.StreamableHTTPOptions{
		Stateless: true, MaxRequestBodyBytes: maxRequest, PropagateRequestCancellation: true,
		DisableLocalhostProtection: true, // every request has a key, and a page of another site has none
	})
	return g, nil
}

func fillDefaults(cfg *Config) {
	if cfg.Serving == nil {
		cfg.Serving = func() error { return nil }
	}
	if cfg.Guards == nil {
		cfg.Guards = guardrail.NewChain(nil, nil)
	}
	if cfg.Now == nil {
		cfg.Now = clock.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
}

// Sync drops the connections to servers that have changed or are gone.
func (g *Gateway) Sync() { g.links.sync(g.cfg.Catalog()) }

// Close ends all connections and processes, and waits for them.
func (g *Gateway) Close() { g.links.close() }

// Mount registers the gateway's paths. Canonical brings /{server}/mcp to them.
func (g *Gateway) Mount(mux *http.ServeMux) {
	mux.Handle(Path, g)
	mux.Handle(Path+"/{server}", g)
	mux.HandleFunc("GET /mcp-rest/tools/list", g.restList)
	mux.HandleFunc("POST /mcp-rest/tools/call", g.restCall)
	if g.links.oauth != nil {
		mux.HandleFunc("GET "+authorizePath, g.askPerson)
		mux.HandleFunc("POST "+authorizePath, g.sendPerson)
		mux.HandleFunc("GET "+callbackPath, g.takeGrant)
	}
}

// Canonical is the request with LiteLLM's path of one server, /{server}/mcp, written as
// /mcp/{server}; any other request is returned as it is.
func Canonical(r *http.Request) *http.Request {
	server, ok := strings.CutSuffix(r.URL.Path, Path)
	if !ok || len(server) < 2 || server[0] != '/' || strings.ContainsRune(server[1:], '/') || server == "/v1" {
		return r
	}
	u := *r.URL
	u.Path, u.RawPath = Path+server, ""
	c := *r
	c.URL = &u
	return &c
}

// ServeHTTP implements http.Handler.
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c, err := g.admit(r, w)
	if err != nil {
		g.refuse(w, err)
		return
	}
	g.handler.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), callerKey{}, c)))
}

// refuse answers a request that is not admitted.
func (g *Gateway) refuse(w http.ResponseWriter, err error) {
	e := reply.AsError(err)
	if e.Kind == llm.Unauthenticated {
		w.Header().Set("WWW-Authenticate", `Bearer realm="conclave"`)
	}
	var out reply.HTTPWriter
	out.Reset(w, 0)
	reply.WriteError(&out, e, llm.VendorOpenAI)
}
