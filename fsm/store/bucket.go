// Package store is the bbolt file of the state: its buckets, when it may be trusted after a
// restart, and the snapshots made of it. DESIGN.md of fsm has the layouts.
package store

import (
	"encoding/binary"
	"fmt"
	"strings"

	bolt "go.etcd.io/bbolt"

	"github.com/conclave-llm/conclave/fsm/frame"
	"github.com/conclave-llm/conclave/resource"
)

// Bucket names a bucket of the file. The numbers go into the state hash and are never
// reused; Meta is not hashed, for it tells where in the log the rest stands.
type Bucket uint8

// The buckets. Those from Keys on hold the records, by id.
const (
	Meta          Bucket = 0
	Cluster       Bucket = 1
	Tokens        Bucket = 2
	Nodes         Bucket = 3
	Names         Bucket = 4
	KeyHashes     Bucket = 5
	Refs          Bucket = 6
	Tombstones    Bucket = 7
	Dedupe        Bucket = 8
	DedupeOrder   Bucket = 9
	Audit         Bucket = 10
	Accounts      Bucket = 11
	Totals        Bucket = 12
	AuditBlocks   Bucket = 13
	AuditMarks    Bucket = 14
	Blobs         Bucket = 15
	Keys          Bucket = 16
	Teams         Bucket = 17
	Models        Bucket = 18
	Deployments   Bucket = 19
	Credentials   Bucket = 20
	Budgets       Bucket = 21
	Guardrails    Bucket = 22
	Callbacks     Bucket = 23
	Plugins       Bucket = 24
	Settings      Bucket = 25
	Members       Bucket = 26
	Organizations Bucket = 27
	Projects      Bucket = 28
	Users         Bucket = 29
	Customers     Bucket = 30
	Tags          Bucket = 31
	TeamMembers   Bucket = 32
	Erasures      Bucket = 33
	MCPServers    Bucket = 36
	MCPTokens     Bucket = 37
	Variables     Bucket = 38
	PassThrough   Bucket = 39
	Prompts       Bucket = 46
	Prices        Bucket = 40
	Responses     Bucket = 44
	Artifacts     Bucket = 48
	Alerts        Bucket = 49
	SecretSources Bucket = 56
	Auths         Bucket = 60
	RouterFilters Bucket = 61
	AccessGroups  Bucket = 62
	Buckets              = 63
)

// names is each bucket's name in the file.
var names = [Buckets]string{
	Meta: "meta", Cluster: "cluster", Tokens: "tokens", Nodes: "nodes",
	Names: "names", KeyHashes: "key_hashes", Refs: "refs", Tombstones: "tombstones",
	Dedupe: "dedupe", DedupeOrder: "dedupe_order", Audit: "audit",
	Accounts: "accounts", Totals: "totals", AuditBlocks: "audit_blocks", AuditMarks: "audit_marks", Blobs: "blobs",
	Keys: "keys", Teams: "teams", Models: "models", Deployments: "deployments",
	Credentials: "credentials", Budgets: "budgets", Guardrails: "guardrails",
	Callbacks: "callbacks", Plugins: "plugins", Settings: "settings", Members: "members", Prices: "prices", MCPServers: "mcp_servers", MCPTokens: "mcp_tokens", Prompts: "prompts", PassThrough: "pass_through_endpoints", Variables: "variables",
	Organizations: "organizations", Projects: "projects", Users: "users", Customers: "customers",
	Tags: "tags", TeamMembers: "team_members", Responses: "responses", Erasures: "erasures", Artifacts: "artifacts", Alerts: "alerts", SecretSources: "secret_sources", RouterFilters: "router_filters", Auths: "auths", AccessGroups: "access_groups",
}

// Name returns the bucket's name in the file, "" for a number without a bucket.
func (b Bucket) Name() string { return names[b] }

// Cataloged says whether the bucket holds records that memory has too. Stored responses, artifacts,
// tokens and alerts are many, and are read from the file.
func (b Bucket) Cataloged() bool {
	return b >= Keys && b != Responses && b != Artifacts && b != MCPTokens && b != Alerts
}

// Kind returns the one noun of the records in the bucket: "key".
func (b Bucket) Kind() string { return strings.TrimSuffix(names[b], "s") }

// fullPages is how full pages are left behind that new keys do not come into any more.
const fullPages = 0.9

// Writable returns the bucket in a transaction that writes, nil if the file has none. Ids and numbers
// begin with what grows: keys that are made one after the other lie one behind the other.
func (b Bucket) Writable(tx *bolt.Tx) *bolt.Bucket {
	in := b.In(tx)
	if in != nil && (b == Keys || b == Accounts || b == Audit || b == DedupeOrder) {
		in.FillPercent = fullPages
	}
	return in
}

// In returns the bucket in a transaction, nil if the file has none.
func (b Bucket) In(tx *bolt.Tx) *bolt.Bucket { return tx.Bucket([]byte(names[b])) }

func createBuckets(tx *bolt.Tx) error {
	for _, name := range names {
		if name == "" {
			continue
		}
		if _, err := tx.CreateBucketIfNotExists([]byte(name)); err != nil {
			return fmt.Errorf("create bucket %s: %w", name, err)
		}
	}
	return nil
}

// Read reads and verifies one value; it lives as long as tx.
func (b Bucket) Read(tx *bolt.Tx, key []byte) (frame.Value, bool, error) {
	v := b.In(tx).Get(key)
	if v == nil {
		return frame.Value{}, false, nil
	}
	f, err := frame.Parse(key, v)
	return f, err == nil, err
}

// Rows is a transaction as those see it that keep their own buckets in it.
type Rows interface {
	// Value returns the verified value under the key, as the transaction has left it.
	Value(b Bucket, key []byte) (frame.Value, bool)
	Put(b Bucket, key, payload []byte)
	// Create is Put under a key that has nothing.
	Create(b Bucket, key, payload []byte)
	Delete(b Bucket, key []byte)
}

// keyApplied is the one key of the meta bucket.
var keyApplied = []byte("applied")

// Position is where in the log the file stands.
type Position struct {
	Index      uint64
	Term       uint64
	At         resource.Time // of the newest command: Apply's clock never runs back
	Generation uint64        // counts the restores of a backup by a person
	Hash       frame.Hash
}

const positionSize = 48

// Encode gives the bytes that ParsePosition reads.
func (p Position) Encode() []byte {
	b := make([]byte, positionSize)
	binary.BigEndian.PutUint64(b, p.Index)
	binary.BigEndian.PutUint64(b[8:], p.Term)
	binary.BigEndian.PutUint64(b[16:], uint64(p.At))
	binary.BigEndian.PutUint64(b[24:], p.Generation)
	h := p.Hash.Bytes()
	copy(b[32:], h[:])
	return b
}

// ParsePosition reads what Encode gave.
func ParsePosition(b []byte) (Position, error) {
	if len(b) != positionSize {
		return Position{}, fmt.Errorf("position of %d bytes, want %d: %w", len(b), positionSize, frame.ErrDamaged)
	}
	return Position{
		Index:      binary.BigEndian.Uint64(b),
		Term:       binary.BigEndian.Uint64(b[8:]),
		At:         resource.Time(binary.BigEndian.Uint64(b[16:])),
		Generation: binary.BigEndian.Uint64(b[24:]),
		Hash:       frame.HashFrom(b[32:]),
	}, nil
}

// ReadPosition reads the position of a file, zero for a new one.
func ReadPosition(tx *bolt.Tx) (Position, error) {
	b := Meta.In(tx)
	if b == nil {
		return Position{}, fmt.Errorf("no meta bucket: %w", frame.ErrDamaged)
	}
	v := b.Get(keyApplied)
	if v == nil {
		return Position{}, nil
	}
	f, err := frame.Parse(keyApplied, v)
	if err != nil {
		return Position{}, err
	}
	return ParsePosition(f.Payload)
}

// WritePosition stores the position.
func WritePosition(tx *bolt.Tx, p Position) error {
	f := frame.Value{Version: p.Index, Payload: p.Encode()}
	return Meta.In(tx).Put(keyApplied, f.Encode(keyApplied))
}
