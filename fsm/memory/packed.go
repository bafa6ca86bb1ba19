package memory

import (
	"bytes"
	"fmt"
	"hash/maphash"
	"sync"
	"sync/atomic"

	bolt "go.etcd.io/bbolt"

	"github.com/conclave-llm/conclave/fsm/codec"
	"github.com/conclave-llm/conclave/fsm/frame"
	"github.com/conclave-llm/conclave/fsm/store"
	"github.com/conclave-llm/conclave/resource"
)

// decodedRecords is how many records of a Packed are kept decoded.
const decodedRecords = 1 << 14

// Packed holds every record of a kind in memory, as stored, by id. One goroutine writes, any
// number read without a lock.
type Packed[T any, P codec.Canonicalizer[T]] struct {
	byID  index[packedRecord[T]]
	seed  maphash.Seed
	count atomic.Int64

	mu   sync.Mutex         // guards ring and next
	ring []*packedRecord[T] // decoded records, the oldest is packed again first
	next int
}

// packedRecord is one version of a record. Its strings are parts of packed.
type packedRecord[T any] struct {
	packed  string
	id      string
	name    string
	version uint64
	flags   byte
	decoded atomic.Pointer[T]
}

// NewPacked makes an empty table.
func NewPacked[T any, P codec.Canonicalizer[T]]() *Packed[T, P] {
	return &Packed[T, P]{seed: maphash.MakeSeed()}
}

func (t *Packed[T, P]) slot(id string) uint64 { return maphash.String(t.seed, id) }

func (t *Packed[T, P]) find(id string) *packedRecord[T] {
	s := t.byID.load()
	for i := t.slot(id); ; i++ {
		r := s[i&uint64(len(s)-1)].Load()
		if r == nil {
			return nil
		}
		if r != t.byID.dead() && r.id == id {
			return r
		}
	}
}

// Len is how many records there are.
func (t *Packed[T, P]) Len() int { return int(t.count.Load()) }

// ByID returns the record with the id; it must not be changed.
func (t *Packed[T, P]) ByID(id string) (P, bool) {
	r := t.find(id)
	if r == nil {
		return nil, false
	}
	return t.decode(r), true
}

// ByParts returns the record whose id is a, a slash and b. It makes no string of them: it is
// asked on the way of requests.
func (t *Packed[T, P]) ByParts(a, b string) (P, bool) {
	var h maphash.Hash
	h.SetSeed(t.seed)
	_, _ = h.WriteString(a) // never fails
	_ = h.WriteByte('/')
	_, _ = h.WriteString(b)
	s := t.byID.load()
	for i := h.Sum64(); ; i++ {
		r := s[i&uint64(len(s)-1)].Load()
		if r == nil {
			return nil, false
		}
		if r != t.byID.dead() && len(r.id) == len(a)+1+len(b) && r.id[:len(a)] == a && r.id[len(a)] == '/' && r.id[len(a)+1:] == b {
			return t.decode(r), true
		}
	}
}

// decode returns the decoded record, the same one until it is packed again.
func (t *Packed[T, P]) decode(r *packedRecord[T]) P {
	if v := r.decoded.Load(); v != nil {
		return v
	}
	v, err := codec.Record[T, P](frame.Value{Version: r.version, Flags: r.flags, Payload: []byte(r.packed)})
	if err != nil {
		panic(fmt.Sprintf("memory: record %s was readable when it was stored: %v", r.id, err))
	}
	if !r.decoded.CompareAndSwap(nil, (*T)(v)) {
		if other := r.decoded.Load(); other != nil {
			return other
		}
		return v
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.ring) < decodedRecords {
		t.ring = append(t.ring, r)
		return v
	}
	t.ring[t.next].decoded.Store(nil)
	t.ring[t.next] = r
	t.next = (t.next + 1) % len(t.ring)
	return v
}

// Set stores a version of a record in place of the one before.
func (t *Packed[T, P]) Set(id string, f frame.Value) error {
	packed := string(f.Payload)
	r := &packedRecord[T]{packed: packed, version: f.Version, flags: f.Flags}
	s := skimmer{rest: packed}
	for range s.head(cborMap) {
		switch s.text() {
		case "id":
			r.id = s.text()
		case "name":
			r.name = s.text()
		default:
			s.skip(0)
		}
	}
	if s.bad || r.id != id {
		return fmt.Errorf("record %q of %d bytes: %w", id, len(packed), frame.ErrDamaged)
	}
	if t.find(id) == nil {
		t.count.Add(1)
	}
	t.byID.grow(func(e *packedRecord[T]) uint64 { return t.slot(e.id) })
	t.byID.set(t.slot(id), func(e *packedRecord[T]) bool { return e.id == id }, r)
	return nil
}

// Drop forgets a record.
func (t *Packed[T, P]) Drop(id string) {
	if t.find(id) == nil {
		return
	}
	t.byID.set(t.slot(id), func(e *packedRecord[T]) bool { return e.id == id }, t.byID.dead())
	t.count.Add(-1)
}

// Read reads all records from the bucket of the file, verifying each value.
func (t *Packed[T, P]) Read(tx *bolt.Tx, b store.Bucket) error {
	return b.In(tx).ForEach(func(k, v []byte) error {
		f, err := frame.Parse(k, v)
		if err != nil {
			return err
		}
		return t.Set(string(k), f)
	})
}

// List returns a page of records, the cursor of the next ("" after the last), and how many
// the query selects in all.
func (t *Packed[T, P]) List(q Query) (items []P, next string, total int) {
	page, next, total := choose(q, t.byID.all, func(r *packedRecord[T]) row {
		return row{packed: r.packed, id: r.id, name: r.name, flags: r.flags}
	})
	for _, r := range page {
		items = append(items, t.decode(r))
	}
	return items, next, total
}

// People are the kinds of records that there may be a million of, beside keys.
type People struct {
	Users     *Packed[resource.User, *resource.User]
	Customers *Packed[resource.Customer, *resource.Customer]
	Members   *Packed[resource.TeamMember, *resource.TeamMember]
}

// NewPeople makes empty tables.
func NewPeople() *People {
	return &People{
		Users:     NewPacked[resource.User, *resource.User](),
		Customers: NewPacked[resource.Customer, *resource.Customer](),
		Members:   NewPacked[resource.TeamMember, *resource.TeamMember](),
	}
}

// IsPeople says whether the records of a bucket are held by People.
func IsPeople(b store.Bucket) bool {
	return b == store.Users || b == store.Customers || b == store.TeamMembers
}

// table is what the three kinds have in common.
type table interface {
	Set(id string, f frame.Value) error
	Drop(id string)
	Read(tx *bolt.Tx, b store.Bucket) error
}

func (p *People) of(b store.Bucket) table {
	switch b {
	case store.Users:
		return p.Users
	case store.Customers:
		return p.Customers
	default:
		return p.Members
	}
}

// Read reads all records from the file.
func (p *People) Read(tx *bolt.Tx) error {
	for _, b := range []store.Bucket{store.Users, store.Customers, store.TeamMembers} {
		if err := p.of(b).Read(tx, b); err != nil {
			return err
		}
	}
	return nil
}

// Change is a change of one of People's records, checked before the commit and made after it.
func Change(b store.Bucket, id string, v []byte) (func(*People), error) {
	if v == nil {
		return func(p *People) { p.of(b).Drop(id) }, nil
	}
	f, err := frame.Parse([]byte(id), v)
	if err != nil {
		return nil, err
	}
	f.Payload = bytes.Clone(f.Payload) // the transaction's bytes die with it
	return func(p *People) {
		if err := p.of(b).Set(id, f); err != nil {
			panic(fmt.Sprintf("memory: %v", err)) // the proposer's bytes were decoded when they came
		}
	}, nil
}
