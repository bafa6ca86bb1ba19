package fsm

import (
	"encoding/binary"
	"fmt"

	bolt "go.etcd.io/bbolt"

	"github.com/conclave-llm/conclave/resource"
)

// bucket names a bucket of the file. The numbers go into the state hash and are never
// reused; meta is not hashed, for it tells where in the log the rest stands.
type bucket uint8

const (
	bucketMeta        bucket = 0
	bucketCluster     bucket = 1
	bucketTokens      bucket = 2
	bucketNodes       bucket = 3
	bucketNames       bucket = 4
	bucketKeyHashes   bucket = 5
	bucketRefs        bucket = 6
	bucketTombstones  bucket = 7
	bucketDedupe      bucket = 8
	bucketDedupeOrder bucket = 9
	bucketAudit       bucket = 10
	bucketAccounts    bucket = 11
	bucketTotals      bucket = 12
	bucketKeys        bucket = 16
	bucketTeams       bucket = 17
	bucketModels      bucket = 18
	bucketDeployments bucket = 19
	bucketCredentials bucket = 20
	bucketBudgets     bucket = 21
	bucketGuardrails  bucket = 22
	bucketCallbacks   bucket = 23
	bucketPlugins     bucket = 24
	bucketSettings    bucket = 25
	bucketMembers     bucket = 26
	buckets                  = 27
)

// bucketNameOf is each bucket's name in the file.
var bucketNameOf = [buckets]string{
	bucketMeta: "meta", bucketCluster: "cluster", bucketTokens: "tokens", bucketNodes: "nodes",
	bucketNames: "names", bucketKeyHashes: "key_hashes", bucketRefs: "refs", bucketTombstones: "tombstones",
	bucketDedupe: "dedupe", bucketDedupeOrder: "dedupe_order", bucketAudit: "audit",
	bucketAccounts: "accounts", bucketTotals: "totals",
	bucketKeys: "keys", bucketTeams: "teams", bucketModels: "models", bucketDeployments: "deployments",
	bucketCredentials: "credentials", bucketBudgets: "budgets", bucketGuardrails: "guardrails",
	bucketCallbacks: "callbacks", bucketPlugins: "plugins", bucketSettings: "settings", bucketMembers: "members",
}

func (b bucket) in(tx *bolt.Tx) *bolt.Bucket { return tx.Bucket([]byte(bucketNameOf[b])) }

func createBuckets(tx *bolt.Tx) error {
	for _, name := range bucketNameOf {
		if name == "" {
			continue
		}
		if _, err := tx.CreateBucketIfNotExists([]byte(name)); err != nil {
			return fmt.Errorf("create bucket %s: %w", name, err)
		}
	}
	return nil
}

// readFrame reads and verifies one value outside of Apply; the frame lives as long as tx.
func readFrame(tx *bolt.Tx, b bucket, key []byte) (frame, bool, error) {
	v := b.in(tx).Get(key)
	if v == nil {
		return frame{}, false, nil
	}
	f, err := parseFrame(key, v)
	return f, err == nil, err
}

// keyApplied is the one key of the meta bucket.
var keyApplied = []byte("applied")

// position is where in the log the file stands.
type position struct {
	index      uint64
	term       uint64
	at         resource.Time // of the newest command: Apply's clock never runs back
	generation uint64
	hash       stateHash
}

const positionSize = 48

func (p position) append() []byte {
	b := make([]byte, positionSize)
	binary.BigEndian.PutUint64(b, p.index)
	binary.BigEndian.PutUint64(b[8:], p.term)
	binary.BigEndian.PutUint64(b[16:], uint64(p.at))
	binary.BigEndian.PutUint64(b[24:], p.generation)
	h := p.hash.bytes()
	copy(b[32:], h[:])
	return b
}

func parsePosition(b []byte) (position, error) {
	if len(b) != positionSize {
		return position{}, fmt.Errorf("position of %d bytes, want %d: %w", len(b), positionSize, ErrDamaged)
	}
	return position{
		index:      binary.BigEndian.Uint64(b),
		term:       binary.BigEndian.Uint64(b[8:]),
		at:         resource.Time(binary.BigEndian.Uint64(b[16:])),
		generation: binary.BigEndian.Uint64(b[24:]),
		hash:       hashFrom(b[32:]),
	}, nil
}

func readPosition(tx *bolt.Tx) (position, error) {
	b := bucketMeta.in(tx)
	if b == nil {
		return position{}, fmt.Errorf("no meta bucket: %w", ErrDamaged)
	}
	v := b.Get(keyApplied)
	if v == nil {
		return position{}, nil
	}
	f, err := parseFrame(keyApplied, v)
	if err != nil {
		return position{}, err
	}
	return parsePosition(f.payload)
}

func writePosition(tx *bolt.Tx, p position) error {
	f := frame{version: p.index, payload: p.append()}
	return bucketMeta.in(tx).Put(keyApplied, f.append(keyApplied))
}
