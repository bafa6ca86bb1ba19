package upstream

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"net/url"

	"github.com/conclave-llm/conclave/egress"
	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/provider/openai"
)

// through opens connections to u's host, or to the proxy of the link that is asked for it.
func (c *Client) through(l *egress.Link, u, proxy *url.URL) func(ctx context.Context, network, addr string) (net.Conn, error) {
	if proxy == nil || c.cfg.Dial != nil {
		return c.dial
	}
	target := egress.HostPort(u)
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		return c.cfg.Egress.DialVia(egress.WithLink(ctx, l), network, addr, target)
	}
}

// outside opens connections to u's host only if its address is public. A name that a proxy is asked for, the
// proxy resolves, and its rules decide.
func (c *Client) outside(l *egress.Link, u, proxy *url.URL) (func(ctx context.Context, network, addr string) (net.Conn, error), error) {
	if ip, err := netip.ParseAddr(u.Hostname()); err == nil {
		if err := egress.PublicOnly(ip); err != nil {
			return nil, &egress.AddrError{Addr: ip, Err: err}
		}
	}
	if proxy != nil || c.cfg.Dial != nil {
		return c.through(l, u, proxy), nil
	}
	return c.cfg.Egress.DialPublic, nil
}

// relayed says that the proxy itself is who answers: it is sent the whole request.
func (rt *route) relayed() bool {
	return rt.proxy != nil && rt.url.Scheme == "http" && rt.proxy.Scheme == "http"
}

// proxyError is a proxy that refuses to connect, or is not there.
type proxyError struct {
	answer string
	err    error // nil: it answered
}

// Error implements error.
func (e *proxyError) Error() string {
	if e.err != nil {
		return "proxy answered " + e.answer + ": " + e.err.Error()
	}
	return "proxy answered " + e.answer
}

// Unwrap returns the cause.
func (e *proxyError) Unwrap() error { return e.err }

// tunnelled judges a proxy's answer to CONNECT.
func tunnelled(_ context.Context, _ *url.URL, _ *http.Request, res *http.Response) error {
	if res.StatusCode != http.StatusOK {
		return &proxyError{answer: res.Status}
	}
	return nil
}

// unreached is the error of an attempt that did not reach its provider.
func unreached(err error) *llm.Error {
	var refused *egress.AddrError
	var unsigned *signError
	var certificate *tls.CertificateVerificationError
	e := &llm.Error{Kind: llm.Upstream, Err: err}
	switch {
	case errors.As(err, &unsigned):
		e.Code, e.Message = openai.CodeCredentials, "The deployment's credential cannot be used."
	case errors.As(err, &refused):
		e.Code, e.Message = "address_refused", "The deployment's address is not allowed here."
	case egress.IsRefused(err):
		e.Code, e.Message = "egress_refused", "This cluster is sealed, and its configuration does not name the address."
	case isProxys(err):
		e.Code, e.Message = "proxy_unreachable", "The proxy on the way to the provider could not be used."
		if errors.As(err, &certificate) {
			e.Message = "The certificate of the proxy on the way to the provider is not accepted: " + certificate.Err.Error() + "."
		}
	case errors.As(err, &certificate):
		e.Code, e.Message = "certificate_refused", "The provider's certificate is not accepted: "+certificate.Err.Error()+"."
	case isOp(err, "remote error"):
		e.Code, e.Message = "tls_refused", "The provider refused to speak TLS with the deployment's certificate and settings."
	default:
		e.Code, e.Message = "upstream_unreachable", "The provider could not be reached."
	}
	return e
}

// isProxys says whether a proxy is at fault.
func isProxys(err error) bool {
	var refused *proxyError
	return errors.As(err, &refused) || isOp(err, "proxyconnect") || isOp(err, "socks connect")
}

func isOp(err error, op string) bool {
	for e := (*net.OpError)(nil); errors.As(err, &e); err = e.Err {
		if e.Op == op {
			return true
		}
	}
	return false
}
