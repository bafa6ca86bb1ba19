package resource

import (
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/conclave-llm/conclave/resource/shape"
)

// Direct is the URL of a proxy that is none: it stops an outer one from being asked.
const Direct = "direct"

// settingProviderProxies names the setting of proxies by provider.
const settingProviderProxies = "provider_proxies"

// The secrets of credentials and deployments that egress takes.
const (
	SecretProxyPassword = "proxy_password" // of the user in the proxy's URL
	SecretTLSKey        = "tls_key"        // the PEM of the client certificate's key
)

// Egress is how a provider is reached. A deployment's counts before its credential's.
type Egress struct {
	Proxy *Proxy `json:"proxy,omitempty"` // nil: the credential's, the provider's, the node's
	TLS   *TLS   `json:"tls,omitempty"`   // nil: the credential's, else the system's authorities
}

// Blobs visits the digests of the blobs that the way names, by their fields.
func (e *Egress) Blobs(visit func(field, digest string) bool) {
	if p := e.Proxy; p != nil && ValidDigest(p.CA) && !visit("proxy.ca", p.CA) {
		return
	}
	if t := e.TLS; t != nil && ValidDigest(t.CA) {
		visit("tls.ca", t.CA)
	}
}

// check checks the way; secrets are those of its record.
func (e *Egress) check(secrets map[string]*Sealed) error {
	if e.Proxy != nil {
		if err := e.Proxy.Validate("proxy"); err != nil {
			return err
		}
	}
	if e.TLS != nil {
		return e.TLS.validate(secrets)
	}
	return nil
}

// Proxy is who is asked to connect instead.
type Proxy struct {
	URL     string `json:"url,omitempty"`      // http, https or socks5://[user@]host[:port], or Direct
	NoProxy string `json:"no_proxy,omitempty"` // hosts, .domains, addresses and CIDR ranges that are reached directly, with commas
	// CA is PEM of the authorities by which the certificate of an https proxy is judged, or the digest of a blob that has it;
	// empty: the system's.
	CA string `json:"ca,omitempty"`
}

// Validate checks the proxy, which stands in the field.
func (p *Proxy) Validate(field string) error {
	if p.URL == Direct {
		if p.NoProxy != "" || p.CA != "" {
			return invalidf(field+".url", "is direct, beside which no_proxy and ca say nothing")
		}
		return nil
	}
	u, err := p.address(field + ".url")
	if err != nil {
		return err
	}
	if p.CA != "" && u.Scheme != "https" {
		return invalidf(field+".ca", "says nothing where url is not https")
	}
	if err := validAuthorities(field+".ca", p.CA); err != nil {
		return err
	}
	for entry := range strings.SplitSeq(p.NoProxy, ",") {
		entry = strings.TrimSpace(entry)
		if _, err := netip.ParsePrefix(entry); strings.Contains(entry, "/") && err != nil || strings.ContainsAny(entry, " \t\r\n@") {
			return invalidf(field+".no_proxy", "%.100q is no host, domain, address or CIDR range", entry)
		}
	}
	return nil
}

// address is the URL of a proxy that is one.
func (p *Proxy) address(field string) (*url.URL, error) {
	u, err := url.Parse(p.URL)
	if err != nil || u.Hostname() == "" || !slices.Contains([]string{"http", "https", "socks5", "socks5h"}, u.Scheme) {
		return nil, invalidf(field, "is not a URL such as http://host:3128, https://host:3128 or socks5://host:1080, or direct")
	}
	if _, has := u.User.Password(); has {
		return nil, invalidf(field, "has a password in it; leave the user there and put the password into the secret proxy_password")
	}
	if strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" {
		return nil, invalidf(field, "has a path, a query or a fragment")
	}
	return u, nil
}

// TLS is how a provider's certificate is judged, and what is shown to it.
type TLS struct {
	CA          string `json:"ca,omitempty"`          // PEM of the authorities that are trusted instead of the system's, or the digest of a blob that has it
	ServerName  string `json:"server_name,omitempty"` // that is asked for and that the certificate must have; default: the host
	Certificate string `json:"certificate,omitempty"` // PEM of the client certificate; its key is the secret tls_key
	// InsecureSkipVerify takes any certificate. It needs the setting allow_insecure_tls.
	InsecureSkipVerify bool `json:"insecure_skip_verify,omitempty"`
}

// maxPEM bounds a bundle of certificates in a record.
const maxPEM = 256 << 10

func (t *TLS) validate(secrets map[string]*Sealed) error {
	if err := validAuthorities("tls.ca", t.CA); err != nil {
		return err
	}
	if err := ValidCertificates("tls.certificate", t.Certificate); err != nil {
		return err
	}
	if t.CA != "" && t.InsecureSkipVerify {
		return invalidf("tls.insecure_skip_verify", "says that no authority counts, yet tls.ca names one")
	}
	if secrets != nil && (t.Certificate == "") != (secrets[SecretTLSKey] == nil) {
		return invalidf("tls.certificate", "goes together with the secret tls_key")
	}
	if len(t.ServerName) > 253 || strings.ContainsAny(t.ServerName, " /:\r\n\t@") {
		return invalidf("tls.server_name", "%.100q is not the name of a host", t.ServerName)
	}
	return nil
}

// validAuthorities allows certificates in PEM, and the digest of a blob.
func validAuthorities(field, text string) error {
	switch {
	case text == "" || ValidDigest(text):
		return nil
	case !strings.Contains(text, "-----BEGIN "):
		return invalidf(field, `is neither PEM nor the digest of a blob; in a file, write file("PATH") or blob("PATH")`)
	}
	return ValidCertificates(field, text)
}

// ValidCertificates allows certificates in PEM alone; what is wrong is told of the field.
func ValidCertificates(field, text string) error {
	if len(text) > maxPEM {
		return invalidf(field, "is longer than %d bytes", maxPEM)
	}
	rest := []byte(text)
	for n := 1; len(strings.TrimSpace(string(rest))) > 0; n++ {
		var b *pem.Block
		if b, rest = pem.Decode(rest); b == nil {
			return invalidf(field, "block %d is not PEM", n)
		}
		if b.Type != "CERTIFICATE" {
			return invalidf(field, "block %d is a %s, not a CERTIFICATE", n, b.Type)
		}
		if _, err := x509.ParseCertificate(b.Bytes); err != nil {
			return invalidf(field, "block %d cannot be read: %s", n, err)
		}
	}
	return nil
}

// readProxies reads proxies by provider.
func readProxies(s *Settings, v json.RawMessage) error {
	var in map[string]*Proxy
	if err := shape.Read(v, &in); err != nil {
		return invalidShape("value", err)
	}
	for _, name := range sortedKeys(in) {
		p := in[name]
		if p == nil {
			return invalidf("value."+name, "is null")
		}
		if err := p.Validate("value." + name); err != nil {
			return err
		}
	}
	s.ProviderProxies = in
	return nil
}

// readDestinations reads host:port of destinations.
func readDestinations(s *Settings, v json.RawMessage) error {
	list, err := readList(v)
	if err != nil {
		return err
	}
	for i, text := range list {
		host, port, err := net.SplitHostPort(text)
		if err != nil || host == "" || port == "" || strings.ContainsAny(text, "/@ ") {
			return invalidf("value", "entry %d, %.100q, is not host:port", i, text)
		}
		list[i] = strings.ToLower(text)
	}
	s.EgressAllow = list
	return nil
}
