package proxy_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/conclave-llm/conclave/ledger"
	"github.com/conclave-llm/conclave/mock"
	"github.com/conclave-llm/conclave/proxy"
	"github.com/conclave-llm/conclave/proxy/budget"
	"github.com/conclave-llm/conclave/proxy/ratelimit"
	"github.com/conclave-llm/conclave/proxy/router"
	"github.com/conclave-llm/conclave/proxy/upstream"
	"github.com/conclave-llm/conclave/resource"
)

// BenchmarkPath takes requests from a client over loopback to the demo upstream: directly,
// through a bare relay, and through the data path with all of its real parts. What direct
// costs is the client's and the upstream's.
func BenchmarkPath(b *testing.B) {
	up := httptest.NewServer(mock.New(mock.Config{Chunks: 50}))
	defer up.Close()
	relay := httptest.NewServer(bareRelay(up.URL))
	defer relay.Close()
	node := httptest.NewServer(realPath(b, up.URL))
	defer node.Close()
	for _, bb := range []struct{ name, extra string }{{"chat", ""}, {"stream", `,"stream":true`}} {
		body := `{"model":"demo","messages":[{"role":"user","content":"` + strings.Repeat("word ", 190) + `"}]` + bb.extra + `}`
		for _, to := range []struct{ name, url string }{{"direct", up.URL}, {"relay", relay.URL}, {"node", node.URL}} {
			b.Run(bb.name+"/"+to.name, func(b *testing.B) {
				b.ReportAllocs()
				b.RunParallel(func(p *testing.PB) {
					client := &http.Client{Transport: &http.Transport{DisableCompression: true}}
					defer client.CloseIdleConnections()
					for p.Next() {
						askOnce(b, client, to.url+"/v1/chat/completions", body)
					}
				})
			})
		}
	}
}

func askOnce(b *testing.B, client *http.Client, url, body string) {
	req, err := http.NewRequestWithContext(context.Background(), http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		b.Error(err)
		return
	}
	req.Header.Set("Authorization", "Bearer "+goodKey)
	res, err := client.Do(req)
	if err != nil {
		b.Error(err)
		return
	}
	defer func() { _ = res.Body.Close() }()
	if n, err := io.Copy(io.Discard, res.Body); err != nil || res.StatusCode != http.StatusOK || n == 0 {
		b.Errorf("status %d, %d bytes, %v", res.StatusCode, n, err)
	}
}

// realPath is the data path with a journal on disk, a lease, limits, router and client.
func realPath(b *testing.B, up string) http.Handler {
	r := newRig(b)
	r.tables.Deployments = r.tables.Deployments[:1]
	r.tables.Deployments[0].APIBase, r.tables.Deployments[0].Upstream = up+"/v1", "demo"
	key := r.keys[resource.HashSecret(goodKey)]
	lots := int64(1) << 40
	key.Limits = resource.Limits{RPM: &lots, TPM: &lots}
	key.Budgets = []resource.Terms{{Name: "total", USD: resource.MaxMoney, Per: resource.PerTotal}}
	reg := prometheus.NewRegistry()
	budgets := budget.New(budget.Config{Registerer: reg})
	budgets.SetEpoch(1)
	budgets.Leases(1, []budget.Lease{{
		Account: resource.Account("key", key.ID, "total"), Epoch: 1, Granted: resource.MaxMoney, Limit: resource.MaxMoney,
	}})
	j, err := ledger.OpenJournal(ledger.Config{Dir: b.TempDir(), NodeID: "node_a", Registerer: reg})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = j.Close() })
	client := upstream.New(upstream.Config{})
	b.Cleanup(client.Close)
	r.cfg.Limits = proxy.FromLimiter(ratelimit.New(ratelimit.Config{
		NodeID: "node_a", Members: func() []string { return []string{"node_a"} }, Registerer: reg,
	}))
	r.cfg.Budgets, r.cfg.Journal, r.cfg.Upstream = proxy.FromBudgets(budgets), j, proxy.FromClient(client)
	r.cfg.Router, r.cfg.Registerer = router.New(router.Config{NodeID: "node_a", Registerer: reg}), reg
	r.cfg.Logger = slog.New(slog.NewTextHandler(io.Discard, nil)) //nolint:sloglint // formats each line, as a node does
	return r.handler()
}

// bareRelay does nothing but relay.
func bareRelay(up string) http.Handler {
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 512, DisableCompression: true}}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		out, err := http.NewRequestWithContext(r.Context(), r.Method, up+r.URL.Path, bytes.NewReader(body))
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		res, err := client.Do(out)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		defer func() { _ = res.Body.Close() }()
		w.Header().Set("Content-Type", res.Header.Get("Content-Type"))
		w.WriteHeader(res.StatusCode)
		if !strings.HasPrefix(res.Header.Get("Content-Type"), "text/event-stream") {
			_, _ = io.Copy(w, res.Body)
			return
		}
		flush := http.NewResponseController(w)
		buf := make([]byte, 32<<10)
		for {
			n, err := res.Body.Read(buf)
			if _, werr := w.Write(buf[:n]); werr != nil || flush.Flush() != nil || err != nil {
				return
			}
		}
	})
}
