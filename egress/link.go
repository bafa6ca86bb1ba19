package egress

import (
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"net/url"

	"golang.org/x/net/http/httpproxy"

	"github.com/conclave-llm/conclave/resource"
	"github.com/conclave-llm/conclave/secret"
)

// Options are what a record says of the way to a provider.
type Options struct {
	Proxy    *resource.Proxy // nil: the node's
	Password secret.Text     // of the user in the proxy's URL
	TLS      *resource.TLS   // nil: the system's authorities
	Key      secret.Text     // PEM of the client certificate's key
}

// Link is a way out: which proxy is asked for which URL, and how TLS is spoken with who is there.
// The same options have the same *Link, so that connections outlive changes of other records.
type Link struct {
	proxy func(*url.URL) (*url.URL, error) // nil: none is asked
	way   *Link                            // this one without its TLS; nil: it has none
	// TLS is for who is at the end of the way; nil: the default. It must not be changed.
	TLS *tls.Config
}

// Way is the same way out, to somebody else than the link is for: without its authorities and its certificate.
func (l *Link) Way() *Link {
	if l == nil || l.way == nil {
		return l
	}
	return l.way
}

// ProxyFor is the proxy to ask for a URL, nil for none.
func (l *Link) ProxyFor(u *url.URL) (*url.URL, error) {
	if l == nil || l.proxy == nil {
		return nil, nil
	}
	if ip, err := netip.ParseAddr(u.Hostname()); err == nil && ip.IsLinkLocalUnicast() {
		return nil, nil // the machine's own services, which hand out tokens for it
	}
	return l.proxy(u)
}

// linkKey is the key of a context's Link.
type linkKey struct{}

// WithLink makes requests of Client take the link, where it is not nil.
func WithLink(ctx context.Context, l *Link) context.Context {
	if l == nil {
		return ctx
	}
	return context.WithValue(ctx, linkKey{}, l)
}

func linkOf(ctx context.Context, otherwise *Link) *Link {
	if l, ok := ctx.Value(linkKey{}).(*Link); ok {
		return l
	}
	return otherwise
}

// NodeLink is the way where no record says otherwise.
func (d *Dialer) NodeLink() *Link { return d.node }

// nodeLink is made of the node's own configuration.
func (d *Dialer) nodeLink() (*Link, error) {
	switch {
	case d.cfg.Proxy != nil:
		return d.newLink(*d.cfg.Proxy)
	case d.cfg.FromEnvironment:
		return &Link{proxy: httpproxy.FromEnvironment().ProxyFunc()}, nil
	}
	return &Link{}, nil
}

// Link returns the way that the options say; the node's where they say nothing.
func (d *Dialer) Link(o Options) (*Link, error) {
	if o.Proxy == nil && o.TLS == nil {
		return d.node, nil
	}
	text, err := json.Marshal([]any{o.Proxy, o.Password.Reveal(), o.TLS, o.Key.Reveal()})
	if err != nil {
		return nil, fmt.Errorf("encode options of egress: %w", err)
	}
	key := sha256.Sum256(text)
	d.mu.Lock()
	defer d.mu.Unlock()
	if l, ok := d.links[key]; ok {
		return l, nil
	}
	l, err := d.newLink(o)
	if err != nil {
		return nil, err
	}
	if len(d.links) >= maxSeen { // of records that are long gone
		clear(d.links)
	}
	d.links[key] = l
	return l, nil
}

// newLink compiles the options.
func (d *Dialer) newLink(o Options) (*Link, error) {
	l := &Link{}
	switch {
	case o.Proxy == nil:
		l.proxy = d.node.proxy
	case o.Proxy.URL != resource.Direct:
		u, err := url.Parse(o.Proxy.URL)
		if err != nil {
			return nil, errors.New("proxy.url is not a URL")
		}
		if password := o.Password.Reveal(); password != "" {
			u.User = url.UserPassword(u.User.Username(), password)
		}
		c := httpproxy.Config{HTTPProxy: u.String(), HTTPSProxy: u.String(), NoProxy: o.Proxy.NoProxy}
		l.proxy = c.ProxyFunc()
	}
	var err error
	if o.TLS != nil {
		l.way = &Link{proxy: l.proxy}
		l.TLS, err = tlsOf(o.TLS, o.Key)
	}
	return l, err
}

// tlsOf is the configuration of TLS that a record says.
func tlsOf(t *resource.TLS, key secret.Text) (*tls.Config, error) {
	c := &tls.Config{
		MinVersion: tls.VersionTLS12, ServerName: t.ServerName,
		InsecureSkipVerify: t.InsecureSkipVerify, //nolint:gosec // asked for by name, admitted by a setting, warned of and reported
	}
	if t.CA != "" {
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM([]byte(t.CA)) {
			return nil, errors.New("tls.ca has no certificate")
		}
	}
	if t.Certificate != "" {
		pair, err := tls.X509KeyPair([]byte(t.Certificate), []byte(key.Reveal()))
		if err != nil {
			return nil, errors.New("tls.certificate and the secret tls_key are no pair: " + cmp.Or(keyProblem(key), "the key does not belong to the certificate"))
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}

// keyProblem says what is wrong with a key without a word of it, "" if nothing is seen.
func keyProblem(key secret.Text) string {
	if key.IsZero() {
		return "there is no key"
	}
	return ""
}
