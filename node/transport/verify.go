package transport

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/conclave-llm/conclave/internal/clock"
)

// PinSize is how many bytes of the SHA-256 of the CA's certificate a join token carries.
const PinSize = 16

// Reasons to refuse a peer.
var (
	// ErrStranger says that the peer has no certificate of the cluster.
	ErrStranger = errors.New("peer has no certificate of this cluster")
	// ErrOtherCluster says that the peer's certificate names another cluster.
	ErrOtherCluster = errors.New("peer belongs to another cluster")
	// ErrNotMember says that the peer is not, or no longer, a registered member.
	ErrNotMember = errors.New("peer is not a member of the cluster")
	// ErrOtherNode says that another node answered than the one dialed.
	ErrOtherNode = errors.New("another node answered")
	// ErrPin says that the server's CA is not the one in the join token.
	ErrPin = errors.New("the server's CA is not the one that the join token names")
)

// serverTLS is the configuration of the accepting side.
func (t *Transport) serverTLS() *tls.Config {
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		NextProtos:             protocols,
		ClientAuth:             tls.RequestClientCert, // demanded by VerifyConnection, but on join/1
		SessionTicketsDisabled: true,                  // every connection is checked against the members
		ClientCAs:              t.cfg.Roots(),         // told to the client, who chooses by it; VerifyConnection does the rest
		GetCertificate: func(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
			cert := t.cfg.Identity()
			if old := t.former(); old != nil && h.ServerName == serverName(Pin(old.Certificate[1])) {
				return old, nil
			}
			return &cert, nil
		},
		VerifyConnection: func(s tls.ConnectionState) error {
			if s.NegotiatedProtocol == "" {
				return errors.New("peer names no protocol")
			}
			if s.NegotiatedProtocol == Join && len(s.PeerCertificates) == 0 {
				return nil
			}
			return t.verify(s.PeerCertificates, x509.ExtKeyUsageClientAuth)
		},
	}
}

// clientTLS is the configuration of the dialing side; want is the node that must answer,
// or "" for any.
func (t *Transport) clientTLS(proto, want string) *tls.Config {
	cert := t.cfg.Identity()
	return &tls.Config{
		MinVersion:         tls.VersionTLS13,
		NextProtos:         []string{proto},
		ServerName:         serverName(Pin(cert.Certificate[1])),
		InsecureSkipVerify: true, //nolint:gosec // VerifyConnection checks the chain, the cluster and the node; host names say nothing here
		GetClientCertificate: func(r *tls.CertificateRequestInfo) (*tls.Certificate, error) {
			if old := t.former(); old != nil && !accepts(r, &cert) && accepts(r, old) {
				return old, nil
			}
			return &cert, nil
		},
		VerifyConnection: func(s tls.ConnectionState) error {
			if err := t.verify(s.PeerCertificates, x509.ExtKeyUsageServerAuth); err != nil {
				return err
			}
			if got := nodeID(s.PeerCertificates[0]); want != "" && got != want {
				return fmt.Errorf("%w: %s instead of %s", ErrOtherNode, got, want)
			}
			return nil
		},
	}
}

// former is the node's certificate by the old CA while the CA is exchanged, else nil.
func (t *Transport) former() *tls.Certificate {
	if t.cfg.Former == nil {
		return nil
	}
	return t.cfg.Former()
}

// accepts says whether the server trusts the CA of a certificate, or does not say whom it trusts.
func accepts(r *tls.CertificateRequestInfo, c *tls.Certificate) bool {
	return len(r.AcceptableCAs) == 0 || slices.ContainsFunc(r.AcceptableCAs, func(ca []byte) bool { return bytes.Equal(ca, c.Leaf.RawIssuer) })
}

// serverName tells the server by which CA's certificate the client will know it.
func serverName(pin []byte) string { return hex.EncodeToString(pin) + ".conclave" }

// Reverify hangs up on peers whose certificate no CA vouches for any more.
func (t *Transport) Reverify() {
	roots := t.cfg.Roots()
	t.mu.Lock()
	var gone []*Conn
	for c := range t.conns {
		if c.peer != "" && verifyChain(c.tls.ConnectionState().PeerCertificates, roots, x509.ExtKeyUsageAny) != nil {
			gone = append(gone, c)
		}
	}
	t.mu.Unlock()
	for _, c := range gone {
		t.log.Info("hung up on a node whose certificate is of an old CA", "node", c.peer, "protocol", c.proto)
		_ = c.Close()
	}
}

// verify checks a peer's chain, cluster and membership.
func (t *Transport) verify(chain []*x509.Certificate, usage x509.ExtKeyUsage) error {
	if err := verifyChain(chain, t.cfg.Roots(), usage); err != nil {
		return err
	}
	cluster, node, ok := parseURI(chain[0])
	if !ok || subtle.ConstantTimeCompare([]byte(cluster), []byte(t.cfg.ClusterID())) != 1 {
		return fmt.Errorf("%w: %q", ErrOtherCluster, cluster)
	}
	if !t.permits(node) {
		return fmt.Errorf("%w: %s", ErrNotMember, node)
	}
	return nil
}

// verifyChain checks that chain leads to roots.
func verifyChain(chain []*x509.Certificate, roots *x509.CertPool, usage x509.ExtKeyUsage) error {
	if len(chain) == 0 {
		return ErrStranger
	}
	_, err := chain[0].Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{usage}, CurrentTime: clock.Now()})
	if err != nil {
		return fmt.Errorf("%w: %w", ErrStranger, err)
	}
	return nil
}

// pinTLS is the configuration of a joiner, who knows nothing but the pin of the CA.
func pinTLS(pin []byte) *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS13,
		NextProtos:         []string{Join},
		ServerName:         serverName(pin),
		InsecureSkipVerify: true, //nolint:gosec // VerifyConnection checks the chain against the pinned CA
		VerifyConnection: func(s tls.ConnectionState) error {
			for _, c := range s.PeerCertificates[1:] {
				sum := sha256.Sum256(c.Raw)
				if c.IsCA && len(pin) == PinSize && subtle.ConstantTimeCompare(sum[:PinSize], pin) == 1 {
					roots := x509.NewCertPool()
					roots.AddCert(c)
					return verifyChain(s.PeerCertificates, roots, x509.ExtKeyUsageServerAuth)
				}
			}
			return ErrPin
		},
	}
}

// Pin is the part of the CA's hash that goes into join tokens.
func Pin(caDER []byte) []byte {
	sum := sha256.Sum256(caDER)
	return sum[:PinSize]
}

// nodeURI names a node in its certificate.
func nodeURI(cluster, node string) *url.URL {
	return &url.URL{Scheme: "spiffe", Host: cluster, Path: "/node/" + node}
}

// nodeID is the node that a certificate names, or "".
func nodeID(c *x509.Certificate) string {
	_, node, _ := parseURI(c)
	return node
}

// parseURI reads the cluster and the node out of the only URI of a certificate.
func parseURI(c *x509.Certificate) (cluster, node string, ok bool) {
	if len(c.URIs) != 1 || c.URIs[0].Scheme != "spiffe" {
		return "", "", false
	}
	node, ok = strings.CutPrefix(c.URIs[0].Path, "/node/")
	if !ok || node == "" || strings.Contains(node, "/") {
		return "", "", false
	}
	return c.URIs[0].Host, node, true
}
