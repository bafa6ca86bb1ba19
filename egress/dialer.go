package egress

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/conclave-llm/conclave/internal/clock"
	"github.com/conclave-llm/conclave/resource"
)

// DefaultTimeout bounds finding an address and connecting to it, where nobody says less.
const DefaultTimeout = time.Minute

// RefusedError says that sealed mode refused to dial.
type RefusedError struct{ Address string }

// Error implements error.
func (e *RefusedError) Error() string {
	return fmt.Sprintf("sealed mode refuses to dial %s, which the configuration does not name; name it there or in the setting egress_allow", e.Address)
}

// Config says how a Dialer dials. Its zero value dials everything directly.
type Config struct {
	// Proxy is the node's own; nil: none.
	Proxy *Options
	// FromEnvironment takes HTTP_PROXY, HTTPS_PROXY and NO_PROXY of the process where Proxy is nil.
	FromEnvironment bool
	// Sealed refuses what is not named, whatever the setting says.
	Sealed bool
	// Catalog is the newest committed configuration; nil: nothing is named by one.
	Catalog func() *resource.Catalog
	// Named lists what a configuration names; nil: Named of this package.
	Named func(*resource.Catalog) []Destination
	// Beside is another Dialer of the process, by which key services are asked before there is a node
	// and when the KEK is exchanged; what it dialled is in the report, under BesideName. Nil: there is none.
	Beside     *Dialer
	BesideName string
	// Blobs reads what a record names by its digest: authorities. Nil: there are none.
	Blobs func(ctx context.Context, digest string) ([]byte, error)
	// AllowAddr is asked about every resolved address just before connecting to it, so that a name
	// cannot change its mind in between; a socket's path is none. Nil allows all; PublicOnly is another.
	AllowAddr func(netip.Addr) error
	// Timeout bounds connecting; 0: DefaultTimeout.
	Timeout    time.Duration
	Now        func() time.Time      // default: clock.Now
	Logger     *slog.Logger          // default: discards
	Registerer prometheus.Registerer // nil: metrics go nowhere
}

// Dialer opens the connections of a node. It may be used concurrently.
type Dialer struct {
	cfg   Config
	net   *net.Dialer
	outer *net.Dialer // net, of public addresses alone
	node  *Link       // what counts where no record says otherwise
	named atomic.Pointer[allowed]
	total *prometheus.CounterVec

	mu    sync.Mutex                  // guards what follows
	seen  map[string]*Seen            // by address
	links map[[sha256.Size]byte]*Link // by their options
}

// New returns a Dialer.
func New(cfg Config) (*Dialer, error) {
	if cfg.Timeout == 0 {
		cfg.Timeout = DefaultTimeout
	}
	if cfg.Now == nil {
		cfg.Now = clock.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Named == nil {
		cfg.Named = Named
	}
	d := &Dialer{
		cfg: cfg, seen: map[string]*Seen{}, links: map[[sha256.Size]byte]*Link{},
		net: &net.Dialer{Timeout: cfg.Timeout, KeepAlive: 30 * time.Second},
		total: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "conclave_egress_dials_total", Help: "Connections that this node tried to open, by what came of it: opened, failed or refused.",
		}, []string{"result"}),
	}
	d.outer = &net.Dialer{Timeout: cfg.Timeout, KeepAlive: 30 * time.Second}
	asks(d.outer, PublicOnly)
	if allow := cfg.AllowAddr; allow != nil {
		asks(d.net, allow)
		asks(d.outer, func(a netip.Addr) error { return cmp.Or(PublicOnly(a), allow(a)) })
	}
	var err error
	if d.node, err = d.nodeLink(); err != nil {
		return nil, err
	}
	if cfg.Registerer != nil {
		if err := cfg.Registerer.Register(d.total); err != nil {
			return nil, fmt.Errorf("register metrics of egress: %w", err)
		}
	}
	return d, nil
}

// Direct returns a Dialer that knows no configuration; allow is as Config.AllowAddr.
func Direct(allow func(netip.Addr) error) *Dialer {
	d, err := New(Config{AllowAddr: allow})
	if err != nil {
		panic(err) // there is nothing in it that could be wrong
	}
	return d
}

// DialContext opens a connection to host:port, or refuses to. One to an https proxy of ctx's Link, or else of the node's, is TLS.
func (d *Dialer) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	return d.DialVia(ctx, network, addr, addr)
}

// DialVia opens a connection to a proxy at addr that will be asked to connect to target. It is TLS as those of DialContext are.
func (d *Dialer) DialVia(ctx context.Context, network, addr, target string) (net.Conn, error) {
	for _, a := range []string{addr, target} {
		if err := d.check(network, a); err != nil {
			return nil, err
		}
	}
	via := ""
	if addr != target {
		via = addr
	}
	c, err := d.dial(ctx, d.net, network, addr, Seen{Address: strings.ToLower(target), Via: via})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, d.cfg.Timeout)
	defer cancel()
	return linkOf(ctx, d.node).secure(ctx, c, addr)
}

// DialPublic is DialContext for an address that somebody outside has named: it connects only if that is public.
func (d *Dialer) DialPublic(ctx context.Context, network, addr string) (net.Conn, error) {
	if err := d.check(network, addr); err != nil {
		return nil, err
	}
	return d.dial(ctx, d.outer, network, addr, Seen{Address: strings.ToLower(addr)})
}

// DialPeer opens a connection to another node of the cluster, which proves with its certificate
// that it is one. Where it is comes from the members' records, from gossip or from the command
// that joins, so that sealed mode has nothing to ask.
func (d *Dialer) DialPeer(ctx context.Context, addr string) (net.Conn, error) {
	return d.dial(ctx, d.net, "tcp", addr, Seen{Address: strings.ToLower(addr), Peer: true})
}

func (d *Dialer) dial(ctx context.Context, by *net.Dialer, network, addr string, s Seen) (net.Conn, error) {
	c, err := by.DialContext(ctx, network, addr)
	result := "opened"
	if err != nil {
		result = "failed"
	}
	d.note(s, result)
	return c, err
}

// Client makes requests over HTTP that a proxy of ctx's Link or of the node may serve, and gives
// up after timeout; 0: never.
func (d *Dialer) Client(timeout time.Duration) *http.Client {
	t := &http.Transport{
		DialContext: d.DialContext, ForceAttemptHTTP2: true, TLSHandshakeTimeout: 10 * time.Second,
		MaxIdleConns: 32, IdleConnTimeout: 30 * time.Second, ResponseHeaderTimeout: timeout,
		Proxy: d.Proxy,
	}
	return &http.Client{Transport: t, Timeout: timeout}
}

// Proxy is for a http.Transport that dials with DialContext: who is asked for the request, by its
// context's Link or the node's. Where the cluster is sealed, it refuses what is not named.
func (d *Dialer) Proxy(r *http.Request) (*url.URL, error) {
	u, err := linkOf(r.Context(), d.node).ProxyFor(r.URL)
	if u == nil || err != nil {
		return u, err
	}
	return u, d.check("tcp", HostPort(r.URL))
}

// check refuses an address that is not named, in sealed mode.
func (d *Dialer) check(network, addr string) error {
	if strings.HasPrefix(network, "unix") || !d.Sealed() {
		return nil
	}
	addr = strings.ToLower(addr)
	if d.allowed().has(addr) {
		return nil
	}
	d.note(Seen{Address: addr}, "refused")
	d.cfg.Logger.Warn("sealed mode refused to dial", "address", addr)
	return &RefusedError{addr}
}

// Sealed says whether only what is named may be dialled.
func (d *Dialer) Sealed() bool {
	return d.cfg.Sealed || d.cfg.Catalog != nil && d.cfg.Catalog().Settings().Sealed
}

// IsRefused says whether an error is sealed mode's refusal.
func IsRefused(err error) bool {
	_, ok := errors.AsType[*RefusedError](err)
	return ok
}

// HostPort is where the host of a URL listens.
func HostPort(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443", "socks5": "1080", "socks5h": "1080", "ws": "80", "wss": "443"}[u.Scheme]
	}
	return net.JoinHostPort(strings.ToLower(u.Hostname()), port)
}
