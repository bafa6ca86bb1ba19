package node

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/net/netutil"

	"github.com/conclave-llm/conclave/adminapi"
	"github.com/conclave-llm/conclave/adminapi/rotation"
	"github.com/conclave-llm/conclave/proxy"
	"github.com/conclave-llm/conclave/proxy/mcp"
)

const (
	headerTimeout = 10 * time.Second
	idleTimeout   = 2 * time.Minute
	maxHeader     = 64 << 10
	lastWords     = 2 * time.Second // for requests that have not ended in time to tell their clients
)

// startListener opens the client port. Until the rest is built, it answers liveness and
// readiness, and 503 to everything else.
func (n *Node) startListener(ctx context.Context) error {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", n.cfg.Listen)
	if err != nil {
		return err
	}
	n.addr = l.Addr()
	l = netutil.LimitListener(l, n.cfg.MaxConnections)
	if n.cfg.TLSCert != "" {
		if _, err := tls.LoadX509KeyPair(n.cfg.TLSCert, n.cfg.TLSKey); err != nil {
			return errors.Join(fmt.Errorf("load TLS certificate: %w", err), l.Close())
		}
	}
	n.present(n.early())
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	n.server = &http.Server{
		Handler:           http.HandlerFunc(n.handle),
		ReadHeaderTimeout: headerTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeader, Protocols: protocols,
		ConnState: n.countConnections(), BaseContext: func(net.Listener) context.Context { return n.requestsCtx },
	}
	n.wg.Go(func() {
		if err := n.serve(l); !errors.Is(err, http.ErrServerClosed) {
			n.cfg.Fatal(fmt.Errorf("serve clients: %w", err))
		}
	})
	return nil
}

// early answers until the rest is built. A request that it has taken is refused even if the node becomes ready
// meanwhile.
func (n *Node) early() http.Handler {
	mux := http.NewServeMux()
	n.mountProbes(mux)
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "1")
		writeJSON(w, http.StatusServiceUnavailable, map[string]any{"error": map[string]any{
			"message": "This node is starting. Ask another node, or this one again in a moment.",
			"type":    "service_unavailable", "param": nil, "code": "starting",
		}})
	})
	return mux
}

// handle counts the requests that are being answered.
func (n *Node) handle(w http.ResponseWriter, r *http.Request) {
	n.inFlight.Add(1)
	defer n.inFlight.Add(-1)
	(*n.front.Load()).ServeHTTP(w, mcp.Canonical(r))
}

// present lets clients have h from now on.
func (n *Node) present(h http.Handler) { n.front.Store(&h) }

func (n *Node) serve(l net.Listener) error {
	if n.cfg.TLSCert != "" {
		return n.server.ServeTLS(l, n.cfg.TLSCert, n.cfg.TLSKey)
	}
	return n.server.Serve(l)
}

// countConnections counts the open client connections beside their ceiling.
func (n *Node) countConnections() func(net.Conn, http.ConnState) {
	open := prometheus.NewGauge(prometheus.GaugeOpts{Name: "conclave_client_connections", Help: "Open connections on the client port."})
	most := prometheus.NewGauge(prometheus.GaugeOpts{Name: "conclave_client_connections_max", Help: "Most connections that the client port takes."})
	most.Set(float64(n.cfg.MaxConnections))
	n.registry.MustRegister(open, most)
	return func(_ net.Conn, s http.ConnState) {
		switch s {
		case http.StateNew:
			open.Inc()
		case http.StateClosed, http.StateHijacked:
			open.Dec()
		}
	}
}

// startHandlers mounts what clients and admins ask for.
func (n *Node) startHandlers(context.Context) error {
	if err := n.startMCP(); err != nil {
		return err
	}
	n.dataConfig = n.proxyConfig()
	data, err := proxy.New(n.dataConfig)
	if err != nil {
		return err
	}
	n.data, n.batches = data, data.Batches()
	drop := data.DropSecrets
	n.drop.Store(&drop)
	n.runProbes()
	n.wg.Go(func() { n.batches.Run(n.ctx) })
	watch := data.Watch(func() bool { return n.consensus.IsLeader() && n.fresh.Fresh() }, n.cfg.BatchesEvery)
	n.wg.Go(func() { watch.Run(n.ctx) })
	admin, err := adminapi.New(n.adminConfig())
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	n.mountHealth(mux)
	data.Mount(mux)
	admin.Mount(mux)
	n.mcp.Mount(mux)
	mux.Handle("GET "+rotation.LinkPath+"{key}", n.rotation)
	mux.Handle("POST "+rotation.LinkPath+"{key}", n.rotation)
	n.present(data.Over(mux))
	return nil
}

// stopListener refuses new requests and waits for those in flight, as far as ctx and the
// drain time-out allow; then it gives them up: their clients are told so, and they are charged.
func (n *Node) stopListener(ctx context.Context) error {
	if n.server == nil {
		return nil
	}
	drain, cancel := context.WithTimeout(ctx, n.cfg.DrainTimeout)
	defer cancel()
	var others sync.WaitGroup // what is under way and is no request of the server's
	defer others.Wait()
	if n.data != nil {
		others.Go(func() { n.data.Stop(drain) }) // sessions
		others.Go(func() { n.batches.Stop(drain) })
	}
	err := n.server.Shutdown(drain)
	if err == nil {
		return nil
	}
	n.log.Warn("requests are given up at the stop", "requests", n.inFlight.Load(), "error", err)
	n.giveUp()
	last, cancel := context.WithTimeout(ctx, lastWords)
	defer cancel()
	if n.server.Shutdown(last) == nil {
		return nil
	}
	return n.server.Close()
}
