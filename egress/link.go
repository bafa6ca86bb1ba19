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
	"net"
	"net/netip"
	"net/url"
	"strings"
	"time"

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
	safe  map[string]*tls.Config           // of https proxies, by host:port
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

// ProxyFor is the proxy to ask for a URL, nil for none. An https proxy is told as one of http: connections to it by the
// Dialer, over the link, are TLS already. net/http would judge its certificate by what is meant for who is behind it.
func (l *Link) ProxyFor(u *url.URL) (*url.URL, error) {
	if l == nil || l.proxy == nil {
		return nil, nil
	}
	if ip, err := netip.ParseAddr(u.Hostname()); err == nil && ip.IsLinkLocalUnicast() {
		return nil, nil // the machine's own services, which hand out tokens for it
	}
	p, err := l.proxy(u)
	if p == nil || err != nil || p.Scheme != "https" {
		return p, err
	}
	return &url.URL{Scheme: "http", User: p.User, Host: HostPort(p)}, nil
}

// secure speaks TLS on a connection to addr, if that is an https proxy of the link. It closes the connection where that fails.
func (l *Link) secure(ctx context.Context, c net.Conn, addr string) (net.Conn, error) {
	conf, ok := l.safe[strings.ToLower(addr)]
	if !ok {
		return c, nil
	}
	over := tls.Client(c, conf)
	if err := over.HandshakeContext(ctx); err != nil {
		_ = c.Close()
		return nil, err
	}
	return over, nil
}

// safely notes that connections to the proxy are TLS, if it is one of https. ca is PEM of its authorities, "" for the system's.
func (l *Link) safely(proxy, ca string) error {
	u, err := url.Parse(proxy)
	if err != nil || u.Scheme != "https" {
		return nil // who cannot be parsed is asked for nothing
	}
	conf, err := tlsOf(&resource.TLS{CA: ca, ServerName: u.Hostname()}, secret.Text{})
	if err != nil {
		return errors.New("proxy.ca has no certificate")
	}
	if l.safe == nil {
		l.safe = map[string]*tls.Config{}
	}
	l.safe[HostPort(u)] = conf
	return nil
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
		c := httpproxy.FromEnvironment()
		l := &Link{proxy: c.ProxyFunc()}
		return l, cmp.Or(l.safely(c.HTTPProxy, ""), l.safely(c.HTTPSProxy, ""))
	}
	return &Link{}, nil
}

// Link returns the way that the options say; the node's where they say nothing. Its error is an *llm.Error of the code
// blob_unavailable if authorities cannot be read now.
func (d *Dialer) Link(o Options) (*Link, error) {
	if o.Proxy == nil && o.TLS == nil {
		return d.node, nil
	}
	text, err := json.Marshal([]any{o.Proxy, o.Password.Reveal(), o.TLS, o.Key.Reveal()})
	if err != nil {
		return nil, fmt.Errorf("encode options of egress: %w", err)
	}
	key := sha256.Sum256(text)
	if l, ok := d.linked(key); ok {
		return l, nil
	}
	l, err := d.newLink(o)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if other, ok := d.links[key]; ok { // made meanwhile
		return other, nil
	}
	if len(d.links) >= maxSeen { // of records that are long gone
		clear(d.links)
	}
	d.links[key] = l
	return l, nil
}

func (d *Dialer) linked(key [sha256.Size]byte) (*Link, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	l, ok := d.links[key]
	return l, ok
}

// readTime bounds the reading of authorities that this node has not read yet.
const readTime = 5 * time.Second

// Authorities are those of a record in PEM: the text itself, or what is in the blob of which it is the digest. The error is
// then that of Config.Blobs.
func (d *Dialer) Authorities(ctx context.Context, text string) (string, error) {
	if !resource.ValidDigest(text) {
		return text, nil
	}
	if d.cfg.Blobs == nil {
		return "", fmt.Errorf("authorities %s: nobody reads blobs here", text)
	}
	ctx, cancel := context.WithTimeout(ctx, readTime)
	defer cancel()
	body, err := d.cfg.Blobs(ctx, text)
	if err != nil {
		return "", fmt.Errorf("read authorities: %w", err)
	}
	return string(body), nil
}

// newLink compiles the options.
func (d *Dialer) newLink(o Options) (*Link, error) {
	l := &Link{}
	var err error
	switch {
	case o.Proxy == nil:
		l.proxy, l.safe = d.node.proxy, d.node.safe
	case o.Proxy.URL != resource.Direct:
		if err = d.through(l, o.Proxy, o.Password); err != nil {
			return nil, err
		}
	}
	if o.TLS != nil {
		l.way = &Link{proxy: l.proxy, safe: l.safe}
		t := *o.TLS
		if t.CA, err = d.Authorities(context.Background(), t.CA); err != nil {
			return nil, err
		}
		l.TLS, err = tlsOf(&t, o.Key)
	}
	return l, err
}

// through makes a link lead through a proxy.
func (d *Dialer) through(l *Link, p *resource.Proxy, password secret.Text) error {
	u, err := url.Parse(p.URL)
	if err != nil {
		return errors.New("proxy.url is not a URL")
	}
	if text := password.Reveal(); text != "" {
		u.User = url.UserPassword(u.User.Username(), text)
	}
	c := httpproxy.Config{HTTPProxy: u.String(), HTTPSProxy: u.String(), NoProxy: p.NoProxy}
	l.proxy = c.ProxyFunc()
	ca, err := d.Authorities(context.Background(), p.CA)
	if err != nil {
		return err
	}
	return l.safely(p.URL, ca)
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
