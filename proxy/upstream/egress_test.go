package upstream_test

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/egress"
	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/proxy/upstream"
	"github.com/conclave-llm/conclave/resource"
	"github.com/conclave-llm/conclave/secret"
)

// authority issues certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  string
}

// issue makes a certificate for the name; a nil authority signs itself, as one.
func (a *authority) issue(t testing.TB, name string, until time.Time) (certificate, key string) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	of := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: until, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	parent, by := of, k
	if a.cert != nil {
		parent, by = a.cert, a.key
	} else {
		of.IsCA, of.BasicConstraintsValid, of.KeyUsage = true, true, x509.KeyUsageCertSign
		a.cert, a.key = of, k
	}
	der, err := x509.CreateCertificate(rand.Reader, of, parent, &k.PublicKey, by)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw}))
}

func newAuthority(t testing.TB, name string) *authority {
	a := new(authority)
	a.pem, _ = a.issue(t, name, time.Now().Add(time.Hour))
	return a
}

// secured starts a server of TLS with a certificate for the name.
func secured(t testing.TB, a *authority, name string, until time.Time, change func(*tls.Config)) *httptest.Server {
	t.Helper()
	cert, key := a.issue(t, name, until)
	pair, err := tls.X509KeyPair([]byte(cert), []byte(key))
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, answer)
	}))
	srv.Config.ErrorLog = log.New(io.Discard, "", 0) // refusals are what is tested
	srv.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	if change != nil {
		change(srv.TLS)
	}
	srv.StartTLS()
	t.Cleanup(srv.Close)
	return srv
}

// codeOfDo makes one attempt over the link and returns the error's code, "" for none.
func codeOfDo(t *testing.T, c *upstream.Client, base string, l *egress.Link) (string, error) {
	t.Helper()
	ans, err := c.Do(t.Context(), &upstream.Attempt{Provider: row(t, "openai"), Endpoint: llm.Chat, Base: base, Body: []byte("{}"), Link: l})
	if err == nil {
		ans.Close()
		return "", nil
	}
	var e *llm.Error
	if !errors.As(err, &e) || e.HTTPStatus() != http.StatusBadGateway {
		t.Errorf("got %v, want a 502", err)
		return "?", err
	}
	return e.Code, err
}

// TestDo_TLS asks servers with a private authority, with an expired certificate, of another
// name, and that want a certificate of the client.
func TestDo_TLS(t *testing.T) {
	t.Parallel()
	ca, other := newAuthority(t, "private"), newAuthority(t, "other")
	hour, ago := time.Now().Add(time.Hour), time.Now().Add(-time.Hour)
	roots := x509.NewCertPool()
	roots.AddCert(mustCert(t, ca.pem))
	good := secured(t, ca, "127.0.0.1.nip.test", hour, nil)
	expired := secured(t, ca, "provider.test", ago, nil)
	var named atomic.Value
	mutual := secured(t, ca, "provider.test", hour, func(c *tls.Config) {
		c.ClientAuth, c.ClientCAs = tls.RequireAndVerifyClientCert, roots
		c.GetConfigForClient = func(h *tls.ClientHelloInfo) (*tls.Config, error) {
			named.Store(h.ServerName)
			return nil, nil
		}
	})
	cert, key := ca.issue(t, "client", hour)
	strange, strangeKey := other.issue(t, "client", hour)
	d := egress.Direct(nil)
	c := upstream.New(upstream.Config{Egress: d})
	t.Cleanup(c.Close)
	for _, tt := range []struct {
		name    string
		srv     *httptest.Server
		options egress.Options
		code    string
		says    string
	}{
		{"private authority, server name", good, egress.Options{TLS: &resource.TLS{CA: ca.pem, ServerName: "127.0.0.1.nip.test"}}, "", ""},
		{"unknown authority", good, egress.Options{TLS: &resource.TLS{ServerName: "127.0.0.1.nip.test"}}, "certificate_refused", "unknown authority"},
		{"another authority", good, egress.Options{TLS: &resource.TLS{CA: other.pem, ServerName: "127.0.0.1.nip.test"}}, "certificate_refused", "unknown authority"},
		{"another name", good, egress.Options{TLS: &resource.TLS{CA: ca.pem, ServerName: "else.test"}}, "certificate_refused", "else.test"},
		{"expired", expired, egress.Options{TLS: &resource.TLS{CA: ca.pem, ServerName: "provider.test"}}, "certificate_refused", "expired"},
		{"not verified", expired, egress.Options{TLS: &resource.TLS{InsecureSkipVerify: true}}, "", ""},
		{"client certificate", mutual, egress.Options{TLS: &resource.TLS{CA: ca.pem, ServerName: "provider.test", Certificate: cert}, Key: secret.New(key)}, "", ""},
		{"no client certificate", mutual, egress.Options{TLS: &resource.TLS{CA: ca.pem, ServerName: "provider.test"}}, "tls_refused", ""},
		{"a stranger's certificate", mutual, egress.Options{TLS: &resource.TLS{CA: ca.pem, ServerName: "provider.test", Certificate: strange}, Key: secret.New(strangeKey)}, "tls_refused", ""},
	} {
		t.Run(tt.name, func(t *testing.T) { //nolint:paralleltest // the servers end with the parent
			l, err := d.Link(tt.options)
			if err != nil {
				t.Fatal(err)
			}
			code, err := codeOfDo(t, c, tt.srv.URL, l)
			var e *llm.Error
			if code != tt.code || errors.As(err, &e) && !strings.Contains(e.Message, tt.says) {
				t.Errorf("got %q, %v, want %q with %q", code, err, tt.code, tt.says)
			}
		})
	}
	if named.Load() != "provider.test" {
		t.Errorf("asked for the server name %v", named.Load())
	}
}

func mustCert(t testing.TB, text string) *x509.Certificate {
	t.Helper()
	b, _ := pem.Decode([]byte(text))
	c, err := x509.ParseCertificate(b.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// forward is a proxy that speaks CONNECT and forwards plain requests. All names lead to one
// address. It wants the user u with the password p.
func forward(t *testing.T, to string, asked *atomic.Value) *httptest.Server {
	t.Helper()
	srv := httptest.NewServer(forwarder(to, asked))
	t.Cleanup(srv.Close)
	return srv
}

// forwardSafely is forward over TLS, with a certificate for localhost. It offers HTTP/2, of which it takes no CONNECT.
func forwardSafely(t *testing.T, a *authority, to string, asked *atomic.Value) string {
	t.Helper()
	srv := secured(t, a, "localhost", time.Now().Add(time.Hour), func(c *tls.Config) { c.NextProtos = []string{"h2", "http/1.1"} })
	srv.Config.Handler = forwarder(to, asked)
	_, port, _ := net.SplitHostPort(srv.Listener.Addr().String())
	return "https://u@localhost:" + port
}

func forwarder(to string, asked *atomic.Value) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Proxy-Authorization") != "Basic "+base64.StdEncoding.EncodeToString([]byte("u:p")) {
			w.WriteHeader(http.StatusProxyAuthRequired)
			return
		}
		asked.Store(r.Method + " " + r.Host)
		if r.Method != http.MethodConnect {
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, answer)
			return
		}
		there, err := net.Dial("tcp", to)
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		here, buf, err := w.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		_, _ = io.WriteString(here, "HTTP/1.1 200 OK\r\n\r\n")
		join(here, buf.Reader, there)
	})
}

func join(here net.Conn, from io.Reader, there net.Conn) {
	go func() {
		_, _ = io.Copy(there, from)
		_ = there.Close()
	}()
	_, _ = io.Copy(here, there)
	_ = here.Close()
}

// socks is a proxy that speaks SOCKS5 (RFC 1928) with a user and a password (RFC 1929). All
// names lead to one address.
func socks(t *testing.T, to string, asked *atomic.Value) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go serveSocks(c, to, asked)
		}
	}()
	return l
}

func serveSocks(c net.Conn, to string, asked *atomic.Value) {
	defer func() { _ = c.Close() }()
	r := bufio.NewReader(c)
	take := func(n byte) string {
		b := make([]byte, n)
		_, _ = io.ReadFull(r, b)
		return string(b)
	}
	one := func() byte { return take(1)[0] }
	one()
	take(one()) // methods
	_, _ = c.Write([]byte{5, 2})
	one()
	if user, password := take(one()), take(one()); user != "u" || password != "p" {
		_, _ = c.Write([]byte{1, 1})
		return
	}
	_, _ = c.Write([]byte{1, 0})
	take(3)
	if one() != 3 { // a name
		return
	}
	host := take(one())
	port := int(one())<<8 | int(one())
	asked.Store("SOCKS " + net.JoinHostPort(host, strconv.Itoa(port)))
	there, err := net.Dial("tcp", to)
	if err != nil {
		return
	}
	_, _ = c.Write([]byte{5, 0, 0, 1, 0, 0, 0, 0, 0, 0})
	join(c, r, there)
}

// TestDo_Proxy asks a provider whose name only the proxies know.
func TestDo_Proxy(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t, "private")
	srv := secured(t, ca, "provider.test", time.Now().Add(time.Hour), nil)
	to := srv.Listener.Addr().String()
	plain := httptest.NewServer(srv.Config.Handler)
	t.Cleanup(plain.Close)
	var asked atomic.Value
	http1 := strings.TrimPrefix(forward(t, to, &asked).URL, "http://")
	socks5 := socks(t, to, &asked).Addr().String()
	socksPlain := socks(t, plain.Listener.Addr().String(), &asked).Addr().String()
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = closed.Close()
	mute := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }))
	t.Cleanup(mute.Close)
	other := newAuthority(t, "the proxy's")
	safe := forwardSafely(t, other, to, &asked)
	for _, tt := range []struct {
		name, base, proxy, password string
		asked, code                 string
	}{
		{"CONNECT", "https://provider.test/v1", "http://u@" + http1, "p", "CONNECT provider.test:443", ""},
		{"plain over http", "http://provider.test/v1", "http://u@" + http1, "p", "POST provider.test", ""},
		{"socks5", "https://provider.test/v1", "socks5://u@" + socks5, "p", "SOCKS provider.test:443", ""},
		{"plain over socks5", "http://provider.test/v1", "socks5://u@" + socksPlain, "p", "SOCKS provider.test:80", ""},
		{"CONNECT over TLS", "https://provider.test/v1", safe, "p", "CONNECT provider.test:443", ""},
		{"plain over https", "http://provider.test/v1", safe, "p", "POST provider.test", ""},
		{"wrong password", "https://provider.test/v1", "http://u@" + http1, "q", "", "proxy_unreachable"},
		{"wrong password, over TLS", "https://provider.test/v1", safe, "q", "", "proxy_unreachable"},
		{"wrong password, plain over https", "http://provider.test/v1", safe, "q", "", "proxy_unreachable"},
		{"wrong password, plain", "http://provider.test/v1", "http://u@" + http1, "q", "", "proxy_unreachable"},
		{"wrong password, socks5", "https://provider.test/v1", "socks5://u@" + socks5, "q", "", "proxy_unreachable"},
		{"down", "https://provider.test/v1", "http://" + closed.Addr().String(), "", "", "proxy_unreachable"},
		{"down, plain", "http://provider.test/v1", "http://" + closed.Addr().String(), "", "", "proxy_unreachable"},
		{"hangs up, plain", "http://provider.test/v1", mute.URL, "", "", "proxy_unreachable"},
		{"down, socks5", "https://provider.test/v1", "socks5://" + closed.Addr().String(), "", "", "proxy_unreachable"},
	} {
		t.Run(tt.name, func(t *testing.T) { //nolint:paralleltest // asked is shared
			asked.Store("")
			d := egress.Direct(nil)
			way := &resource.Proxy{URL: tt.proxy}
			if tt.proxy == safe {
				way.CA = other.pem
			}
			l, err := d.Link(egress.Options{Proxy: way, Password: secret.New(tt.password), TLS: &resource.TLS{CA: ca.pem, ServerName: "provider.test"}})
			if err != nil {
				t.Fatal(err)
			}
			c := upstream.New(upstream.Config{Egress: d})
			defer c.Close()
			code, err := codeOfDo(t, c, tt.base, l)
			if code != tt.code || asked.Load() != tt.asked {
				t.Errorf("got %q, %v, the proxy was asked %q; want %q, %q", code, err, asked.Load(), tt.code, tt.asked)
			}
			if seen := d.Report().Seen; len(seen) != 1 || !strings.HasPrefix(seen[0].Address, "provider.test:") || !strings.HasSuffix(tt.proxy, seen[0].Via) || seen[0].Via == "" {
				t.Errorf("reported %+v", seen)
			}
		})
	}
}

// TestDo_ProxyCertificate: the certificate of an https proxy is judged by the proxy's authorities and for its own name,
// whatever is meant for the provider, and who is at fault is named.
func TestDo_ProxyCertificate(t *testing.T) {
	t.Parallel()
	ca, other := newAuthority(t, "private"), newAuthority(t, "the proxy's")
	var asked atomic.Value
	srv := secured(t, ca, "provider.test", time.Now().Add(time.Hour), nil)
	safe := forwardSafely(t, other, srv.Listener.Addr().String(), &asked)
	d := egress.Direct(nil)
	c := upstream.New(upstream.Config{Egress: d})
	t.Cleanup(c.Close)
	for _, tt := range []struct {
		name, proxy, ca string
		tls             resource.TLS
		code, says      string
	}{
		{"the system's authorities", safe, "", resource.TLS{CA: ca.pem, ServerName: "provider.test"}, "proxy_unreachable", "certificate of the proxy"},
		{"the provider's authority", safe, ca.pem, resource.TLS{CA: ca.pem, ServerName: "provider.test"}, "proxy_unreachable", "certificate of the proxy"},
		{"a provider that is not verified", safe, ca.pem, resource.TLS{InsecureSkipVerify: true}, "proxy_unreachable", "certificate of the proxy"},
		{"another name", strings.Replace(safe, "localhost", "127.0.0.1", 1), other.pem, resource.TLS{CA: ca.pem, ServerName: "provider.test"}, "proxy_unreachable", "127.0.0.1"},
		{"a provider of an unknown authority", safe, other.pem, resource.TLS{ServerName: "provider.test"}, "certificate_refused", "The provider's certificate"},
		{"both right", safe, other.pem, resource.TLS{CA: ca.pem, ServerName: "provider.test"}, "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) { //nolint:paralleltest // the servers end with the parent
			l, err := d.Link(egress.Options{Proxy: &resource.Proxy{URL: tt.proxy, CA: tt.ca}, Password: secret.New("p"), TLS: &tt.tls})
			if err != nil {
				t.Fatal(err)
			}
			code, err := codeOfDo(t, c, "https://provider.test/v1", l)
			var e *llm.Error
			if code != tt.code || errors.As(err, &e) && !strings.Contains(e.Message, tt.says) {
				t.Errorf("got %q, %v, want %q with %q", code, err, tt.code, tt.says)
			}
		})
	}
}

// TestDo_Sealed: an attempt at what is not named is refused, and says why.
func TestDo_Sealed(t *testing.T) {
	t.Parallel()
	d, err := egress.New(egress.Config{Sealed: true})
	if err != nil {
		t.Fatal(err)
	}
	c := upstream.New(upstream.Config{Egress: d})
	t.Cleanup(c.Close)
	for _, base := range []string{"http://127.0.0.1:1", "https://127.0.0.1:1"} {
		if code, err := codeOfDo(t, c, base, nil); code != "egress_refused" {
			t.Errorf("%s: got %q, %v", base, code, err)
		}
	}
}
