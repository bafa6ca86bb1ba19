package node

import (
	"encoding/json"
	"net/http"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/conclave-llm/conclave/resource"
)

// mountHealth registers what operators and load balancers ask. Liveness and readiness are
// open; the rest needs a key that may read.
func (n *Node) mountHealth(mux *http.ServeMux) {
	n.mountProbes(mux)
	mux.Handle("GET /health", n.reader(http.HandlerFunc(n.health)))
	mux.Handle("GET /health/latest", n.reader(http.HandlerFunc(n.healthLatest)))
	mux.Handle("GET /health/history", n.reader(http.HandlerFunc(n.healthHistory)))
	mux.Handle("GET /metrics", n.reader(promhttp.HandlerFor(n.registry, promhttp.HandlerOpts{})))
}

// mountProbes registers what needs no key.
func (n *Node) mountProbes(mux *http.ServeMux) {
	for _, p := range []string{"/health/liveliness", "/health/liveness"} {
		mux.HandleFunc("GET "+p, n.liveness)
	}
	mux.HandleFunc("GET /health/readiness", n.readiness)
}

func (n *Node) liveness(w http.ResponseWriter, _ *http.Request) {
	if n.draining.Load() {
		http.Error(w, "shutting down", http.StatusServiceUnavailable)
		return
	}
	writeJSON(w, http.StatusOK, "I'm alive!")
}

// readiness is 200 while the node may serve inference: it is built, its blocking guardrails
// are up, and its state is as fresh as the cluster demands.
func (n *Node) readiness(w http.ResponseWriter, _ *http.Request) {
	status, body := http.StatusOK, map[string]any{"status": "healthy", "db": "connected", "node": n.cfg.Name}
	if err := n.Ready(); err != nil {
		status, body = http.StatusServiceUnavailable, map[string]any{"status": "not ready", "db": "disconnected", "node": n.cfg.Name, "reason": err.Error()}
	}
	if w := n.warning(); w != "" {
		body["warnings"] = []string{w}
	}
	if n.draining.Load() {
		status, body = http.StatusServiceUnavailable, map[string]any{"status": "shutting_down", "node": n.cfg.Name}
	}
	writeJSON(w, status, body)
}

// warning is what the node's operators should see to though it serves, "" if nothing is.
func (n *Node) warning() string {
	if !n.built.Load() {
		return ""
	}
	return n.backups.Warning()
}

// reader lets only principals that may read pass.
func (n *Node) reader(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		who, err := n.authenticate(r)
		if err != nil || !who.MayRead() {
			writeJSON(w, deny(who, err), map[string]any{"error": map[string]any{
				"message": "This needs the master key, or a key with the role proxy_admin or proxy_admin_viewer.",
				"type":    "auth_error", "param": nil, "code": "forbidden",
			}})
			return
		}
		if err := n.fresh.Stale(); err != nil && who.Key != nil {
			writeJSON(w, http.StatusServiceUnavailable, map[string]any{"error": map[string]any{
				"message": "A key with a role cannot be trusted here now: " + err.Error() + ". Use the master key.",
				"type":    "service_unavailable", "param": nil, "code": "stale",
			}})
			return
		}
		next.ServeHTTP(w, r)
	})
}

func deny(who *resource.Principal, err error) int {
	if err != nil || who == nil {
		return statusOf(err)
	}
	return http.StatusForbidden
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the client is gone; there is nobody else to tell
}
