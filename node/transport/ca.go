package transport

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"net/url"
	"time"

	"github.com/conclave-llm/conclave/internal/clock"
)

const (
	caLife   = 10 * 365 * 24 * time.Hour
	certLife = 24 * time.Hour // from when it is signed
	renewAt  = certLife / 2   // before its end
	skew     = 12 * time.Hour // a clock that is off by no more parts a node from nobody, neither back nor forth
)

// CA signs the certificates of one cluster's nodes: ECDSA on P-256.
type CA struct {
	cluster string
	cert    *x509.Certificate
	key     *ecdsa.PrivateKey
}

// NewCA makes a CA of a cluster: the first, or the next.
func NewCA(clusterID string) (*CA, error) {
	key, err := NewKey()
	if err != nil {
		return nil, err
	}
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	now := clock.Now()
	// Each CA of a cluster has a name of its own: by it a peer says which ones it trusts.
	name := fmt.Sprintf("Conclave cluster CA %.8x", serial)
	tmpl := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: name, Organization: []string{clusterID}},
		NotBefore:             now.Add(-skew),
		NotAfter:              now.Add(caLife),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
		URIs:                  []*url.URL{{Scheme: "spiffe", Host: clusterID}},
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("make cluster CA: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("make cluster CA: %w", err)
	}
	return &CA{cluster: clusterID, cert: cert, key: key}, nil
}

// ParseCA rebuilds a CA from what Certificate and Key gave.
func ParseCA(certDER, keyDER []byte) (*CA, error) {
	cert, err := x509.ParseCertificate(certDER)
	if err != nil {
		return nil, fmt.Errorf("read CA certificate: %w", err)
	}
	key, err := x509.ParseECPrivateKey(keyDER)
	if err != nil {
		return nil, fmt.Errorf("read CA key: %w", err)
	}
	if !key.PublicKey.Equal(cert.PublicKey) || len(cert.URIs) != 1 {
		return nil, errors.New("read CA: key and certificate do not belong together")
	}
	return &CA{cluster: cert.URIs[0].Host, cert: cert, key: key}, nil
}

// ClusterID is the cluster whose nodes the CA vouches for.
func (ca *CA) ClusterID() string { return ca.cluster }

// Certificate is the CA's certificate in DER.
func (ca *CA) Certificate() []byte { return ca.cert.Raw }

// Key is the CA's private key in DER, to be sealed at once.
func (ca *CA) Key() ([]byte, error) {
	der, err := x509.MarshalECPrivateKey(ca.key)
	if err != nil {
		return nil, fmt.Errorf("encode CA key: %w", err)
	}
	return der, nil
}

// Sign gives nodeID a certificate for the key of a certificate request (DER), valid for 24
// hours from now. Nothing but the key is taken from the request.
func (ca *CA) Sign(csr []byte, nodeID string, now time.Time) ([]byte, error) {
	req, err := x509.ParseCertificateRequest(csr)
	if err != nil {
		return nil, fmt.Errorf("sign certificate of %s: %w", nodeID, err)
	}
	if err := req.CheckSignature(); err != nil {
		return nil, fmt.Errorf("sign certificate of %s: %w", nodeID, err)
	}
	pub, ok := req.PublicKey.(*ecdsa.PublicKey)
	if !ok || pub.Curve != elliptic.P256() {
		return nil, fmt.Errorf("sign certificate of %s: the key must be ECDSA on P-256", nodeID)
	}
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	tmpl := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: nodeID, Organization: []string{ca.cluster}},
		NotBefore:             now.Add(-skew),
		NotAfter:              now.Add(certLife),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true,
		URIs:                  []*url.URL{nodeURI(ca.cluster, nodeID)},
		DNSNames:              []string{"conclave"},
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, ca.cert, pub, ca.key)
	if err != nil {
		return nil, fmt.Errorf("sign certificate of %s: %w", nodeID, err)
	}
	return der, nil
}

// NewKey makes a node's private key.
func NewKey() (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make key: %w", err)
	}
	return key, nil
}

// NewRequest makes the certificate request (DER) of a node.
func NewRequest(key *ecdsa.PrivateKey, nodeID string) ([]byte, error) {
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
		Subject: pkix.Name{CommonName: nodeID},
	}, key)
	if err != nil {
		return nil, fmt.Errorf("make certificate request: %w", err)
	}
	return der, nil
}

// newSerial makes a random serial number.
func newSerial() (*big.Int, error) {
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("make serial number: %w", err)
	}
	return n, nil
}
