package audit

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	bolt "go.etcd.io/bbolt"

	"github.com/conclave-llm/conclave/fsm/codec"
	"github.com/conclave-llm/conclave/fsm/frame"
	"github.com/conclave-llm/conclave/fsm/store"
	"github.com/conclave-llm/conclave/resource"
)

// MaxPrune is how many entries are pruned at once: Apply must not take long.
const MaxPrune = 1000

// The keys of store.AuditMarks: the anchor, and how far each sink is.
var (
	anchorKey  = []byte("anchor")
	sinkPrefix = "sink/"
)

// anchorText is what is signed of an anchor.
func anchorText(a resource.AuditAnchor) ([]byte, error) {
	a.Signature = nil
	b, err := codec.Marshal(a)
	if err != nil {
		return nil, fmt.Errorf("encode audit anchor: %w", err)
	}
	return append([]byte("conclave audit anchor 1\n"), b...), nil
}

// Sign signs an anchor with the cluster CA's key.
func Sign(a *resource.AuditAnchor, key *ecdsa.PrivateKey) error {
	text, err := anchorText(*a)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(text)
	if a.Signature, err = key.Sign(nil, sum[:], crypto.SHA256); err != nil { // without randomness: RFC 6979
		return fmt.Errorf("sign audit anchor: %w", err)
	}
	return nil
}

// errSignature says that an anchor was not signed by the cluster.
var errSignature = errors.New("the anchor's signature is not the cluster's")

// CheckSignature verifies an anchor with the cluster CA's certificate (DER).
func CheckSignature(a resource.AuditAnchor, ca []byte) error {
	cert, err := x509.ParseCertificate(ca)
	if err != nil {
		return fmt.Errorf("read CA certificate: %w", err)
	}
	key, ok := cert.PublicKey.(*ecdsa.PublicKey)
	if !ok {
		return fmt.Errorf("key of the CA certificate: %w", errSignature)
	}
	text, err := anchorText(a)
	if err != nil {
		return err
	}
	if sum := sha256.Sum256(text); !ecdsa.VerifyASN1(key, sum[:], a.Signature) {
		return errSignature
	}
	return nil
}

// Prune deletes the entries up to the anchor's, which takes their place. The newest entry
// always stays.
func Prune(rows store.Rows, h Head, a resource.AuditAnchor) error {
	if len(a.Signature) == 0 {
		return &resource.Invalid{Field: "anchor.signature", Reason: "is missing"}
	}
	first := uint64(1)
	if old, ok := rows.Value(store.AuditMarks, anchorKey); ok {
		before, err := parseAnchor(old)
		if err != nil {
			return err
		}
		first = before.Number + 1
	}
	if a.Number < first || a.Number >= h.Number || a.Number-first >= MaxPrune {
		return fmt.Errorf("prune audit log to entry %d: %w", a.Number, resource.ErrRefused)
	}
	v, ok := rows.Value(store.Audit, Key(a.Number))
	if !ok {
		return fmt.Errorf("audit entry %d is missing: %w", a.Number, frame.ErrDamaged)
	}
	e, err := split(Key(a.Number), v)
	if err != nil {
		return err
	}
	if e.hash != a.Hash {
		return fmt.Errorf("prune audit log to entry %d with another hash: %w", a.Number, resource.ErrRefused)
	}
	for n := first; n <= a.Number; n++ {
		rows.Delete(store.Audit, Key(n))
		if n%blockSize == 0 {
			rows.Delete(store.AuditBlocks, binary.BigEndian.AppendUint64(nil, block(n)))
		}
	}
	b, err := codec.Marshal(a)
	if err != nil {
		return fmt.Errorf("encode audit anchor: %w", err)
	}
	rows.Put(store.AuditMarks, anchorKey, b)
	return nil
}

func parseAnchor(v frame.Value) (a resource.AuditAnchor, err error) {
	if err := codec.Unmarshal(v.Payload, &a); err != nil {
		return a, fmt.Errorf("decode audit anchor: %w: %w", err, frame.ErrDamaged)
	}
	return a, nil
}

// AnchorOf returns what stands for the entries that are gone; false if none is.
func AnchorOf(tx *bolt.Tx) (resource.AuditAnchor, bool, error) {
	v, ok, err := store.AuditMarks.Read(tx, anchorKey)
	if err != nil || !ok {
		return resource.AuditAnchor{}, false, err
	}
	a, err := parseAnchor(v)
	return a, err == nil, err
}

// Mark notes that the sink has every entry up to the number; it never goes back. 0 forgets
// the sink.
func Mark(rows store.Rows, sink string, number uint64) error {
	if sink == "" || len(sink) > 256 {
		return &resource.Invalid{Field: "sink", Reason: "a name has 1 to 256 bytes"}
	}
	key := []byte(sinkPrefix + sink)
	if number == 0 {
		rows.Delete(store.AuditMarks, key)
		return nil
	}
	if v, ok := rows.Value(store.AuditMarks, key); ok && len(v.Payload) == 8 && binary.BigEndian.Uint64(v.Payload) >= number {
		return nil
	}
	rows.Put(store.AuditMarks, key, Key(number))
	return nil
}

// Extent says what is there of the log.
type Extent struct {
	First, Last uint64 // numbers; 0: there is no entry
	Head        resource.Hash
	Anchor      *resource.AuditAnchor // nil: nothing was pruned
	Sinks       map[string]uint64     // up to which number each has everything
}

// ExtentOf reads what is there of the log.
func ExtentOf(tx *bolt.Tx) (x Extent, err error) {
	if x.First, x.Last, err = bounds(tx); err != nil {
		return x, err
	}
	if x.Last > 0 {
		e, err := read(tx, x.Last)
		if err != nil {
			return x, err
		}
		x.Head = e.hash
	}
	a, ok, err := AnchorOf(tx)
	if err != nil {
		return x, err
	}
	if ok {
		x.Anchor = &a
	}
	x.Sinks = map[string]uint64{}
	c := store.AuditMarks.In(tx).Cursor()
	for k, v := c.Seek([]byte(sinkPrefix)); k != nil && strings.HasPrefix(string(k), sinkPrefix); k, v = c.Next() {
		f, err := frame.Parse(k, v)
		if err != nil {
			return x, err
		}
		if len(f.Payload) == 8 {
			x.Sinks[string(k[len(sinkPrefix):])] = binary.BigEndian.Uint64(f.Payload)
		}
	}
	return x, nil
}
