//go:build e2e

package faults

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/test/cluster"
)

// serve makes a model with one deployment and returns what a chat with it is answered.
func serve(t *testing.T, c *cluster.Cluster, name string, model, deployment map[string]any) func(stream bool) (int, string, time.Duration) {
	t.Helper()
	model["name"] = name
	deployment["name"], deployment["provider"], deployment["model"] = "d", "openai", "demo"
	model["deployments"] = []any{deployment}
	if status, body := cluster.CallRaw(t, http.MethodPost, c.Nodes[0].URL+"/api/v1/models", cluster.MasterKey, model); status != http.StatusCreated {
		t.Fatalf("make model %s: %d %s", name, status, body)
	}
	return func(stream bool) (int, string, time.Duration) {
		body := cluster.ChatBody()
		body["model"], body["stream"] = name, stream
		began := time.Now()
		status, raw := cluster.CallRaw(t, http.MethodPost, c.Nodes[0].URL+"/v1/chat/completions", cluster.MasterKey, body)
		return status, string(raw), time.Since(began)
	}
}

// forwarder is a proxy for plain requests.
func forwarder(asked *atomic.Int64) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		body, _ := io.ReadAll(r.Body)
		req, _ := http.NewRequestWithContext(r.Context(), r.Method, r.URL.String(), bytes.NewReader(body))
		req.Header = r.Header
		res, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		defer func() { _ = res.Body.Close() }()
		w.Header().Set("Content-Type", res.Header.Get("Content-Type"))
		w.WriteHeader(res.StatusCode)
		_, _ = io.Copy(w, res.Body)
	})
}

// throughTLS asks the demo upstream through a proxy at the host that speaks TLS, whose authority is a file that conclave apply
// uploads, and without that.
func throughTLS(t *testing.T, c *cluster.Cluster, host string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	about := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "proxy"}, IPAddresses: []net.IP{net.ParseIP(host)}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, about, about, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	var asked atomic.Int64
	proxy := httptest.NewUnstartedServer(forwarder(&asked))
	_ = proxy.Listener.Close()
	if proxy.Listener, err = net.Listen("tcp", host+":0"); err != nil {
		t.Fatal(err)
	}
	proxy.EnableHTTP2 = true
	proxy.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, MinVersion: tls.VersionTLS12}
	proxy.StartTLS()
	t.Cleanup(proxy.Close)

	dir := t.TempDir()
	bundle := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	file := filepath.Join(dir, "c.hcl")
	deployment := func(name, ca string) string {
		return fmt.Sprintf("model %q {\n retries = 0\n deployment \"d\" {\n  provider = \"openai\"\n  model = \"demo\"\n  api_base = %q\n  proxy {\n   url = %q\n%s  }\n }\n}\n",
			name, c.MockURL()+"/v1", proxy.URL, ca)
	}
	err = errors.Join(
		os.WriteFile(filepath.Join(dir, "proxy.pem"), bundle, 0o600),
		os.WriteFile(file, []byte(deployment("safe", "   ca = blob(\"proxy.pem\")\n")+deployment("unknown", "")), 0o600),
	)
	if err != nil {
		t.Fatal(err)
	}
	run := func(args ...string) (string, error) {
		out, err := exec.CommandContext(t.Context(), cluster.Binary(t), append(args, "--server", c.Nodes[0].URL, "--key", cluster.MasterKey)...).CombinedOutput()
		return string(out), err
	}
	if out, err := run("apply", "-f", file, "--yes"); err != nil || !strings.Contains(out, "uploaded ") {
		t.Fatalf("apply: %v\n%s", err, out)
	}
	if out, err := run("blob", "list"); err != nil || !strings.Contains(out, "proxy.pem") || !strings.Contains(out, "deployment/") {
		t.Errorf("blob list: %v\n%s", err, out)
	}
	chat := func(model string) (int, string) {
		body := cluster.ChatBody()
		body["model"] = model
		status, raw := cluster.CallRaw(t, http.MethodPost, c.Nodes[0].URL+"/v1/chat/completions", cluster.MasterKey, body)
		return status, string(raw)
	}
	if status, body := chat("safe"); status != http.StatusOK || asked.Load() != 1 {
		t.Errorf("through the proxy over TLS: %d %s, asked %d times", status, body, asked.Load())
	}
	if status, body := chat("unknown"); status != http.StatusBadGateway || !strings.Contains(body, "proxy_unreachable") || !strings.Contains(body, "certificate of the proxy") || asked.Load() != 1 {
		t.Errorf("through one of an unknown authority: %d %s", status, body)
	}
}

// TestEgress runs a node in a network namespace, out of which a proxy of the test's own leads,
// then seals the cluster; and has the demo upstream stall.
func TestEgress(t *testing.T) {
	c := cluster.StartApart(t, 1)
	up, err := url.Parse(c.MockURL())
	if err != nil {
		t.Fatal(err)
	}
	var asked atomic.Int64
	l, err := net.Listen("tcp", up.Hostname()+":0")
	if err != nil {
		t.Fatal(err)
	}
	proxy := &httptest.Server{Listener: l, Config: &http.Server{Handler: forwarder(&asked)}}
	proxy.Start()
	t.Cleanup(proxy.Close)
	via := serve(t, c, "via", map[string]any{"retries": 0}, map[string]any{"api_base": c.MockURL() + "/v1", "proxy": map[string]any{"url": proxy.URL}})
	if status, body, _ := via(false); status != http.StatusOK || asked.Load() != 1 {
		t.Fatalf("through the proxy: %d %s, asked %d times", status, body, asked.Load())
	}

	throughTLS(t, c, up.Hostname())

	setting := func(name, value string) {
		if status, body := cluster.CallRaw(t, http.MethodPut, c.Nodes[0].URL+"/api/v1/settings/"+name, cluster.MasterKey, map[string]any{"value": json.RawMessage(value)}); status >= 300 {
			t.Fatalf("setting %s: %d %s", name, status, body)
		}
	}
	setting("sealed", "true")
	if status, body, _ := via(true); status != http.StatusOK || !strings.Contains(body, "[DONE]") {
		t.Errorf("sealed: %d %s", status, body)
	}
	out, err := exec.CommandContext(t.Context(), cluster.Binary(t), "egress", "report", "--server", c.Nodes[0].URL, "--key", cluster.MasterKey).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "deployment via/d (proxy)") || !strings.Contains(string(out), strings.TrimPrefix(proxy.URL, "http://")) {
		t.Errorf("report: %v\n%s", err, out)
	}
	proxy.Close()
	if status, body, _ := via(false); status != http.StatusBadGateway || !strings.Contains(body, "proxy_unreachable") {
		t.Errorf("without the proxy: %d %s", status, body)
	}

	stalled := up.Hostname() + ":4091"
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	mock := exec.CommandContext(ctx, cluster.Binary(t), "mock", "--listen", stalled, "--stall-after", "2")
	if err := mock.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cancel(); _ = mock.Wait() }) // it is killed
	c.Await("the stalling upstream answers", 10*time.Second, func() bool {
		conn, err := net.Dial("tcp", stalled)
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	})
	stall := serve(t, c, "stall", map[string]any{"retries": 0}, map[string]any{"api_base": "http://" + stalled + "/v1", "between_chunks_timeout_ms": 500})
	status, body, took := stall(true)
	if status != http.StatusOK || !strings.Contains(body, "timeout_between_chunks") || strings.Contains(body, "[DONE]") {
		t.Errorf("stalled: %d %s", status, body)
	}
	t.Logf("a stalled stream ended after %v, where 500ms of silence are allowed", took)
	if took < 500*time.Millisecond || took > 15*time.Second { // else it stalls for ever
		t.Errorf("ended after %v", took)
	}
}
