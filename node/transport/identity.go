package transport

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// The files of an identity in a node's data folder.
const (
	fileNodeID    = "node-id"
	fileClusterID = "cluster-id"
	fileCert      = "node.crt"
	fileKey       = "node.key"
	fileCA        = "ca.crt"
	fileCAKey     = "ca.key"     // sealed under the KEK, as in the replicated state
	fileGossipKey = "gossip.key" // likewise
)

// ErrNoIdentity says that a data folder holds no identity: the node is to bootstrap or join.
var ErrNoIdentity = errors.New("the data folder holds no node identity")

// Sealed are the keys of a cluster that every node keeps, sealed under the KEK.
type Sealed struct {
	CAKey     []byte // with it a node renews its own certificate
	GossipKey []byte // with it a node gossips before it has heard a leader
}

// Identity is who a node is: its id, its cluster, its key and certificate. It lives in the
// data folder, so that a restart needs no flags, and may be used by several goroutines.
type Identity struct {
	NodeID    string
	ClusterID string
	CA        []byte // certificate, DER
	Sealed    Sealed

	dir  string
	key  *ecdsa.PrivateKey
	pool *x509.CertPool

	mu   sync.RWMutex // guards cert, leaf
	cert tls.Certificate
	leaf *x509.Certificate
}

// NewNodeID makes the id of a new node: a UUID of version 7.
func NewNodeID() (string, error) {
	var b [16]byte
	if _, err := rand.Read(b[6:]); err != nil {
		return "", fmt.Errorf("make node id: %w", err)
	}
	ms := time.Now().UnixMilli()
	for i := range 6 {
		b[i] = byte(ms >> (40 - 8*i))
	}
	b[6] = b[6]&0x0f | 0x70
	b[8] = b[8]&0x3f | 0x80
	h := hex.EncodeToString(b[:])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:], nil
}

// NewClusterID makes the id of a new cluster: 16 random bytes in hexadecimal digits.
func NewClusterID() (string, error) {
	var b [16]byte
	if _, err := rand.Read(b[:]); err != nil {
		return "", fmt.Errorf("make cluster id: %w", err)
	}
	return hex.EncodeToString(b[:]), nil
}

// Issue makes the identity of nodeID with a key of its own, signed here. It is not saved.
func (ca *CA) Issue(nodeID string, sealed Sealed) (*Identity, error) {
	key, err := NewKey()
	if err != nil {
		return nil, err
	}
	csr, err := NewRequest(key, nodeID)
	if err != nil {
		return nil, err
	}
	cert, err := ca.Sign(csr, nodeID, time.Now())
	if err != nil {
		return nil, err
	}
	return NewIdentity(nodeID, ca.cluster, key, cert, ca.Certificate(), sealed)
}

// NewIdentity puts together what a node made itself (its id and key) and what it was given.
// It checks that they belong together.
func NewIdentity(nodeID, clusterID string, key *ecdsa.PrivateKey, cert, ca []byte, sealed Sealed) (*Identity, error) {
	root, err := x509.ParseCertificate(ca)
	if err != nil {
		return nil, fmt.Errorf("read CA certificate: %w", err)
	}
	id := &Identity{NodeID: nodeID, ClusterID: clusterID, CA: ca, Sealed: sealed, key: key, pool: x509.NewCertPool()}
	id.pool.AddCert(root)
	if err := id.use(cert); err != nil {
		return nil, err
	}
	return id, nil
}

// use makes cert the node's certificate. It may have expired: Renew sees to that.
func (id *Identity) use(cert []byte) error {
	leaf, err := x509.ParseCertificate(cert)
	if err != nil {
		return fmt.Errorf("read node certificate: %w", err)
	}
	cluster, node, ok := parseURI(leaf)
	if !ok || cluster != id.ClusterID || node != id.NodeID || !id.key.PublicKey.Equal(leaf.PublicKey) {
		return errors.New("node certificate, key, node id and cluster id do not belong together")
	}
	id.mu.Lock()
	defer id.mu.Unlock()
	id.leaf = leaf
	id.cert = tls.Certificate{Certificate: [][]byte{cert, id.CA}, PrivateKey: id.key, Leaf: leaf}
	return nil
}

// Certificate is for Config.Identity.
func (id *Identity) Certificate() tls.Certificate {
	id.mu.RLock()
	defer id.mu.RUnlock()
	return id.cert
}

// Roots is for Config.Roots.
func (id *Identity) Roots() *x509.CertPool { return id.pool }

// Cluster is for Config.ClusterID.
func (id *Identity) Cluster() string { return id.ClusterID }

// Due says that half of the certificate's life is over.
func (id *Identity) Due(now time.Time) bool {
	id.mu.RLock()
	defer id.mu.RUnlock()
	half := id.leaf.NotAfter.Sub(id.leaf.NotBefore) / 2
	return now.After(id.leaf.NotBefore.Add(half))
}

// Renew has the node's certificate signed anew by its own copy of the CA, whose key unseal
// opens. It needs no other node: a cluster that was off for a month comes back by itself.
func (id *Identity) Renew(now time.Time, unseal func(box []byte) ([]byte, error)) error {
	keyDER, err := unseal(id.Sealed.CAKey)
	if err != nil {
		return fmt.Errorf("renew certificate: %w", err)
	}
	ca, err := ParseCA(id.CA, keyDER)
	if err != nil {
		return fmt.Errorf("renew certificate: %w", err)
	}
	csr, err := NewRequest(id.key, id.NodeID)
	if err != nil {
		return err
	}
	cert, err := ca.Sign(csr, id.NodeID, now)
	if err != nil {
		return err
	}
	if err := id.use(cert); err != nil {
		return err
	}
	if id.dir == "" {
		return nil
	}
	return writeFile(id.dir, fileCert, encodePEM("CERTIFICATE", cert), 0o600)
}

// LoadIdentity reads the identity in dir, or returns ErrNoIdentity.
func LoadIdentity(dir string) (*Identity, error) {
	nodeID, err := os.ReadFile(filepath.Join(dir, fileNodeID))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNoIdentity
	}
	if err != nil {
		return nil, fmt.Errorf("read identity: %w", err)
	}
	clusterID, err := os.ReadFile(filepath.Join(dir, fileClusterID))
	if err != nil {
		return nil, fmt.Errorf("read identity: %w", err)
	}
	blocks := map[string][]byte{}
	for _, name := range []string{fileCert, fileKey, fileCA, fileCAKey, fileGossipKey} {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return nil, fmt.Errorf("read identity: %w", err)
		}
		block, _ := pem.Decode(b)
		if block == nil {
			return nil, fmt.Errorf("read identity: %s is not PEM", name)
		}
		blocks[name] = block.Bytes
	}
	key, err := x509.ParseECPrivateKey(blocks[fileKey])
	if err != nil {
		return nil, fmt.Errorf("read identity: %w", err)
	}
	id, err := NewIdentity(strings.TrimSpace(string(nodeID)), strings.TrimSpace(string(clusterID)),
		key, blocks[fileCert], blocks[fileCA], Sealed{CAKey: blocks[fileCAKey], GossipKey: blocks[fileGossipKey]})
	if err != nil {
		return nil, fmt.Errorf("read identity in %s: %w", dir, err)
	}
	id.dir = dir
	return id, nil
}

// Save writes the identity into dir, durably; the node id comes last, so that a folder with
// one has all. Renew writes there from now on.
func (id *Identity) Save(dir string) error {
	keyDER, err := x509.MarshalECPrivateKey(id.key)
	if err != nil {
		return fmt.Errorf("save identity: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("save identity: %w", err)
	}
	id.dir = dir
	for _, f := range []struct {
		name string
		data []byte
	}{
		{fileKey, encodePEM("EC PRIVATE KEY", keyDER)},
		{fileCert, encodePEM("CERTIFICATE", id.Certificate().Certificate[0])},
		{fileCA, encodePEM("CERTIFICATE", id.CA)},
		{fileCAKey, encodePEM("CONCLAVE SEALED KEY", id.Sealed.CAKey)},
		{fileGossipKey, encodePEM("CONCLAVE SEALED KEY", id.Sealed.GossipKey)},
		{fileClusterID, []byte(id.ClusterID + "\n")},
		{fileNodeID, []byte(id.NodeID + "\n")},
	} {
		if err := writeFile(dir, f.name, f.data, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// encodePEM writes one block.
func encodePEM(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

// writeFile replaces a file: write aside, sync, rename, sync the folder.
func writeFile(dir, name string, data []byte, mode fs.FileMode) error {
	tmp := filepath.Join(dir, name+".new")
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, mode)
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	_, err = f.Write(data)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	if err := os.Rename(tmp, filepath.Join(dir, name)); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("sync folder: %w", err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("sync folder %s: %w", dir, err)
	}
	return nil
}
