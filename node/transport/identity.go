package transport

import (
	"bytes"
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
	"reflect"
	"strings"
	"sync"
	"time"

	"github.com/conclave-llm/conclave/internal/clock"
	"github.com/conclave-llm/conclave/internal/durable"
	"github.com/conclave-llm/conclave/internal/fault"
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

// Material is what the state of the cluster says of its CA and the key of its gossip.
type Material struct {
	CA       []byte // certificate of the CA that signs, DER
	Sealed   Sealed
	Trusted  [][]byte // certificates of other CAs that peers may have theirs from
	OldCA    []byte   // one of Trusted that some nodes still know only; nil: none
	OldCAKey []byte   // sealed
}

// Identity is who a node is: its id, its cluster, its key and certificate. It lives in the
// data folder, so that a restart needs no flags, and may be used by several goroutines.
type Identity struct {
	NodeID    string
	ClusterID string

	dir string
	key *ecdsa.PrivateKey

	mu     sync.RWMutex // guards what follows
	m      Material
	pool   *x509.CertPool
	cert   tls.Certificate
	former *tls.Certificate // by OldCA, for peers that trust no other
	leaf   *x509.Certificate
}

// NewNodeID makes the id of a new node: a UUID of version 7.
func NewNodeID() (string, error) {
	var b [16]byte
	if _, err := rand.Read(b[6:]); err != nil {
		return "", fmt.Errorf("make node id: %w", err)
	}
	ms := clock.Now().UnixMilli()
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
	cert, err := ca.Sign(csr, nodeID, clock.Now())
	if err != nil {
		return nil, err
	}
	return NewIdentity(nodeID, ca.cluster, key, cert, ca.Certificate(), sealed)
}

// NewIdentity puts together what a node made itself (its id and key) and what it was given.
// It checks that they belong together.
func NewIdentity(nodeID, clusterID string, key *ecdsa.PrivateKey, cert, ca []byte, sealed Sealed) (*Identity, error) {
	id := &Identity{NodeID: nodeID, ClusterID: clusterID, key: key}
	if err := id.trust(Material{CA: ca, Sealed: sealed}); err != nil {
		return nil, err
	}
	if err := id.use(cert); err != nil {
		return nil, err
	}
	return id, nil
}

// trust makes m what the identity goes by.
func (id *Identity) trust(m Material) error {
	if len(m.Trusted) == 0 {
		m.Trusted = nil
	}
	pool := x509.NewCertPool()
	for _, der := range append([][]byte{m.CA}, m.Trusted...) {
		root, err := x509.ParseCertificate(der)
		if err != nil {
			return fmt.Errorf("read CA certificate: %w", err)
		}
		pool.AddCert(root)
	}
	id.mu.Lock()
	defer id.mu.Unlock()
	id.m, id.pool = m, pool
	return nil
}

// Trust takes the certificates of other CAs that peers may have theirs from.
func (id *Identity) Trust(more [][]byte) error {
	m := id.Material()
	m.Trusted = more
	return id.trust(m)
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
	id.cert = tls.Certificate{Certificate: [][]byte{cert, id.m.CA}, PrivateKey: id.key, Leaf: leaf}
	return nil
}

// Certificate is for Config.Identity.
func (id *Identity) Certificate() tls.Certificate {
	id.mu.RLock()
	defer id.mu.RUnlock()
	return id.cert
}

// Former is for Config.Former.
func (id *Identity) Former() *tls.Certificate {
	id.mu.RLock()
	defer id.mu.RUnlock()
	return id.former
}

// Roots is for Config.Roots.
func (id *Identity) Roots() *x509.CertPool {
	id.mu.RLock()
	defer id.mu.RUnlock()
	return id.pool
}

// Cluster is for Config.ClusterID.
func (id *Identity) Cluster() string { return id.ClusterID }

// Material is what the identity goes by; it must not be changed.
func (id *Identity) Material() Material {
	id.mu.RLock()
	defer id.mu.RUnlock()
	return id.m
}

// Due says that half of the certificate's life is over, that it is not valid yet, as after a clock that was
// far ahead was set right, or that another CA has signed it than the one that signs now.
func (id *Identity) Due(now time.Time) bool {
	id.mu.RLock()
	defer id.mu.RUnlock()
	return !lasts(id.leaf, now) || !signedBy(id.leaf, id.m.CA)
}

// signedBy says whether a CA has signed a certificate.
func signedBy(leaf *x509.Certificate, ca []byte) bool {
	root, err := x509.ParseCertificate(ca)
	return err == nil && leaf.CheckSignatureFrom(root) == nil
}

// Renew has the node's certificate signed anew by its own copy of the CA, whose key unseal
// opens. It needs no other node: a cluster that was off for a month comes back by itself.
func (id *Identity) Renew(now time.Time, unseal func(box []byte) ([]byte, error)) error {
	m := id.Material()
	cert, err := id.sign(now, m.CA, [][]byte{m.Sealed.CAKey, m.OldCAKey}, unseal)
	if err != nil {
		return fmt.Errorf("renew certificate: %w", err)
	}
	if err := id.use(cert); err != nil {
		return err
	}
	if id.dir == "" {
		return nil
	}
	return writeFile(id.dir, fileCert, encodePEM("CERTIFICATE", cert))
}

// sign makes a certificate by a CA whose sealed key is among keys: a crash may have left the
// files of the exchange of a CA half written.
func (id *Identity) sign(now time.Time, ca []byte, keys [][]byte, unseal func(box []byte) ([]byte, error)) ([]byte, error) {
	csr, err := NewRequest(id.key, id.NodeID)
	if err != nil {
		return nil, err
	}
	var last error
	for _, box := range keys {
		if len(box) == 0 {
			continue
		}
		der, err := unseal(box)
		if err != nil {
			last = err
			continue
		}
		parsed, err := ParseCA(ca, der)
		if err != nil {
			last = err
			continue
		}
		return parsed.Sign(csr, id.NodeID, now)
	}
	return nil, last
}

// Adopt brings the identity in line with what the state of the cluster says: whom it trusts,
// who has signed its certificate, and the sealed keys that it keeps. It returns whether
// anything was changed.
func (id *Identity) Adopt(m Material, now time.Time, unseal func(box []byte) ([]byte, error)) (bool, error) {
	if len(m.Trusted) == 0 {
		m.Trusted = nil
	}
	old := id.Material()
	same := reflect.DeepEqual(old, m)
	if same && (len(m.OldCA) == 0 || fresh(id.Former(), now)) {
		return false, nil
	}
	if !same {
		if err := id.adopt(old, m, now, unseal); err != nil {
			return false, err
		}
	}
	return true, id.keepFormer(m, now, unseal)
}

// adopt exchanges what the identity goes by; the files are in an order in which each half of
// them is of use.
func (id *Identity) adopt(old, m Material, now time.Time, unseal func(box []byte) ([]byte, error)) error {
	if err := id.trust(m); err != nil {
		return err
	}
	if id.dir != "" {
		for _, f := range id.caFiles(m) {
			if err := writeFile(id.dir, f.name, f.data); err != nil {
				return errors.Join(err, id.trust(old)) // so that it is tried again
			}
		}
	}
	if !bytes.Equal(old.CA, m.CA) {
		if err := id.Renew(now, unseal); err != nil {
			return errors.Join(err, id.trust(old))
		}
	}
	return nil
}

// keepFormer has a certificate by the old CA as long as there is one.
func (id *Identity) keepFormer(m Material, now time.Time, unseal func(box []byte) ([]byte, error)) error {
	var former *tls.Certificate
	if len(m.OldCA) > 0 {
		cert, err := id.sign(now, m.OldCA, [][]byte{m.OldCAKey}, unseal)
		if err != nil {
			return fmt.Errorf("sign a certificate by the old CA: %w", err)
		}
		leaf, err := x509.ParseCertificate(cert)
		if err != nil {
			return fmt.Errorf("read node certificate: %w", err)
		}
		former = &tls.Certificate{Certificate: [][]byte{cert, m.OldCA}, PrivateKey: id.key, Leaf: leaf}
	}
	id.mu.Lock()
	defer id.mu.Unlock()
	id.former = former
	return nil
}

// fresh says that there is a certificate that lasts.
func fresh(c *tls.Certificate, now time.Time) bool { return c != nil && lasts(c.Leaf, now) }

// lasts says that a certificate is valid, and will be for half of its life.
func lasts(c *x509.Certificate, now time.Time) bool {
	return !now.Before(c.NotBefore) && now.Before(c.NotAfter.Add(-renewAt))
}

// file is one of the identity's files.
type file struct {
	name string
	data []byte
}

// caFiles are the files that Material is kept in.
func (id *Identity) caFiles(m Material) []file {
	certs := encodePEM("CERTIFICATE", m.CA)
	for _, c := range m.Trusted {
		certs = append(certs, encodePEM("CERTIFICATE", c)...)
	}
	keys := encodePEM("CONCLAVE SEALED KEY", m.Sealed.CAKey)
	if len(m.OldCAKey) > 0 {
		keys = append(keys, encodePEM("CONCLAVE SEALED KEY", m.OldCAKey)...)
	}
	return []file{{fileCAKey, keys}, {fileCA, certs}, {fileGossipKey, encodePEM("CONCLAVE SEALED KEY", m.Sealed.GossipKey)}}
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
	blocks := map[string][][]byte{}
	for _, name := range []string{fileCert, fileKey, fileCA, fileCAKey, fileGossipKey} {
		if blocks[name], err = readPEM(dir, name); err != nil {
			return nil, fmt.Errorf("read identity: %w", err)
		}
	}
	key, err := x509.ParseECPrivateKey(blocks[fileKey][0])
	if err != nil {
		return nil, fmt.Errorf("read identity: %w", err)
	}
	m := Material{
		CA: blocks[fileCA][0], Trusted: blocks[fileCA][1:],
		Sealed: Sealed{CAKey: blocks[fileCAKey][0], GossipKey: blocks[fileGossipKey][0]},
	}
	if len(blocks[fileCAKey]) > 1 {
		m.OldCAKey = blocks[fileCAKey][1]
	}
	id := &Identity{NodeID: strings.TrimSpace(string(nodeID)), ClusterID: strings.TrimSpace(string(clusterID)), key: key, dir: dir}
	if err := errors.Join(id.trust(m), id.use(blocks[fileCert][0])); err != nil {
		return nil, fmt.Errorf("read identity in %s: %w", dir, err)
	}
	return id, nil
}

// readPEM reads the blocks of a file, of which there is at least one.
func readPEM(dir, name string) ([][]byte, error) {
	b, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		return nil, err
	}
	var blocks [][]byte
	for {
		block, rest := pem.Decode(b)
		if block == nil {
			break
		}
		blocks, b = append(blocks, block.Bytes), rest
	}
	if len(blocks) == 0 {
		return nil, fmt.Errorf("%s is not PEM", name)
	}
	return blocks, nil
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
	files := append([]file{
		{fileKey, encodePEM("EC PRIVATE KEY", keyDER)},
		{fileCert, encodePEM("CERTIFICATE", id.Certificate().Certificate[0])},
	}, id.caFiles(id.Material())...)
	for _, f := range append(files, file{fileClusterID, []byte(id.ClusterID + "\n")}, file{fileNodeID, []byte(id.NodeID + "\n")}) {
		if err := writeFile(dir, f.name, f.data); err != nil {
			return err
		}
	}
	return nil
}

// encodePEM writes one block.
func encodePEM(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

// writeFile replaces a file.
func writeFile(dir, name string, data []byte) error {
	if err := durable.WriteFile(filepath.Join(dir, name), data, fault.IdentityRename, fault.IdentityRenamed); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}
