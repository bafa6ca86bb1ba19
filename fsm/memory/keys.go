package memory

import (
	"fmt"
	"hash/maphash"
	"slices"
	"sync"
	"sync/atomic"

	bolt "go.etcd.io/bbolt"

	"github.com/conclave-llm/conclave/fsm/codec"
	"github.com/conclave-llm/conclave/fsm/frame"
	"github.com/conclave-llm/conclave/fsm/store"
	"github.com/conclave-llm/conclave/resource"
)

// decodedKeys is how many keys are kept decoded; the others are packed.
const decodedKeys = 1 << 16

// Keys holds every key in memory. One goroutine writes, any number read without a lock.
type Keys struct {
	byHash index[KeyRecord]
	byID   index[KeyRecord]
	seed   maphash.Seed
	count  atomic.Int64

	mu   sync.Mutex   // guards ring and next
	ring []*KeyRecord // decoded keys, the oldest is packed again first
	next int
}

// KeyRecord is one version of a key: the stored bytes and what lookups and lists need of them.
// Its strings are parts of packed.
type KeyRecord struct {
	packed  string
	id      string
	name    string
	version uint64
	flags   byte
	hash    resource.Hash
	old     []resource.Hash
	alias   bool // stands for an old secret: the key is the one with the id
	decoded atomic.Pointer[resource.Key]
}

// NewKeys makes an empty table.
func NewKeys() *Keys {
	return &Keys{seed: maphash.MakeSeed(), ring: make([]*KeyRecord, decodedKeys)}
}

// NewKeyRecord makes the record of a stored key.
func NewKeyRecord(f frame.Value) (*KeyRecord, error) {
	r, err := skimKey(string(f.Payload))
	if err != nil {
		return nil, err
	}
	r.version, r.flags = f.Version, f.Flags
	return r, nil
}

// key returns the decoded record, the same one until it is packed again.
func (t *Keys) key(r *KeyRecord) *resource.Key {
	if k := r.decoded.Load(); k != nil {
		return k
	}
	k, err := codec.Record[resource.Key](frame.Value{Version: r.version, Flags: r.flags, Payload: []byte(r.packed)})
	if err != nil {
		panic(fmt.Sprintf("memory: key %s was readable when it was stored: %v", r.id, err))
	}
	if !r.decoded.CompareAndSwap(nil, k) {
		if other := r.decoded.Load(); other != nil {
			return other
		}
		return k
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if oldest := t.ring[t.next]; oldest != nil {
		oldest.decoded.Store(nil)
	}
	t.ring[t.next] = r
	t.next = (t.next + 1) % len(t.ring)
	return k
}

// ByHash returns the key with the secret, or with an old secret whose grace may have ended;
// it must not be changed.
func (t *Keys) ByHash(h resource.Hash) (*resource.Key, bool) {
	r := t.findHash(h)
	if r == nil {
		return nil, false
	}
	return t.key(r), true
}

// ByID returns the key with the id; it must not be changed.
func (t *Keys) ByID(id string) (*resource.Key, bool) {
	r := t.findID(id)
	if r == nil {
		return nil, false
	}
	return t.key(r), true
}

// Len is how many keys there are.
func (t *Keys) Len() int { return int(t.count.Load()) }

func hashSlot(h resource.Hash) uint64 {
	return uint64(h[0]) | uint64(h[1])<<8 | uint64(h[2])<<16 | uint64(h[3])<<24 |
		uint64(h[4])<<32 | uint64(h[5])<<40 | uint64(h[6])<<48 | uint64(h[7])<<56
}

func (t *Keys) idSlot(id string) uint64 { return maphash.String(t.seed, id) }

func (t *Keys) findHash(h resource.Hash) *KeyRecord {
	s := t.byHash.load()
	for i := hashSlot(h); ; i++ {
		r := s[i&uint64(len(s)-1)].Load()
		if r == nil {
			return nil
		}
		if r == t.byHash.dead() || r.hash != h {
			continue
		}
		if r.alias {
			return t.findID(r.id)
		}
		return r
	}
}

func (t *Keys) findID(id string) *KeyRecord {
	s := t.byID.load()
	for i := t.idSlot(id); ; i++ {
		r := s[i&uint64(len(s)-1)].Load()
		if r == nil {
			return nil
		}
		if r != t.byID.dead() && r.id == id {
			return r
		}
	}
}

// Put stores a version of a key in place of the one before.
func (t *Keys) Put(r *KeyRecord) {
	before := t.findID(r.id)
	t.byID.grow(func(e *KeyRecord) uint64 { return t.idSlot(e.id) })
	t.byID.set(t.idSlot(r.id), func(e *KeyRecord) bool { return e.id == r.id }, r)
	t.setHash(r.hash, r)
	for _, h := range r.old {
		t.setHash(h, &KeyRecord{id: r.id, hash: h, alias: true})
	}
	if before == nil {
		t.count.Add(1)
		return
	}
	for _, h := range append([]resource.Hash{before.hash}, before.old...) {
		if h != r.hash && !slices.Contains(r.old, h) {
			t.dropHash(h)
		}
	}
}

func (t *Keys) setHash(h resource.Hash, r *KeyRecord) {
	t.byHash.grow(func(e *KeyRecord) uint64 { return hashSlot(e.hash) })
	t.byHash.set(hashSlot(h), func(e *KeyRecord) bool { return e.hash == h }, r)
}

func (t *Keys) dropHash(h resource.Hash) {
	t.byHash.set(hashSlot(h), func(e *KeyRecord) bool { return e.hash == h }, t.byHash.dead())
}

// Delete forgets a key.
func (t *Keys) Delete(id string) {
	r := t.findID(id)
	if r == nil {
		return
	}
	t.byID.set(t.idSlot(id), func(e *KeyRecord) bool { return e.id == id }, t.byID.dead())
	t.dropHash(r.hash)
	for _, h := range r.old {
		t.dropHash(h)
	}
	t.count.Add(-1)
}

// all calls fn for every key, in no order.
func (t *Keys) all(fn func(*KeyRecord)) { t.byID.all(fn) }

// readBatch is how many keys go from one goroutine of Read to the next at once.
const readBatch = 1024

// Read reads all keys from the file into a table that nobody else has yet, verifying each value.
// One goroutine reads and two fill the tables, which is where the time of a start with a million
// keys goes.
func (t *Keys) Read(tx *bolt.Tx) error {
	var wg sync.WaitGroup
	filler := func(add func(*KeyRecord)) chan<- []*KeyRecord {
		batches := make(chan []*KeyRecord, 4)
		wg.Go(func() {
			for batch := range batches {
				for _, r := range batch {
					add(r)
				}
			}
		})
		return batches
	}
	ids, hashes := filler(t.addID), filler(t.addHashes)
	batch := make([]*KeyRecord, 0, readBatch)
	send := func() {
		ids <- batch
		hashes <- batch
		batch = make([]*KeyRecord, 0, readBatch)
	}
	err := t.readAll(tx, func(r *KeyRecord) {
		if batch = append(batch, r); len(batch) == readBatch {
			send()
		}
	})
	send()
	close(ids)
	close(hashes)
	wg.Wait()
	return err
}

// readAll calls add for each key of the file. bbolt panics on some damaged pages, which whoever
// opens the file takes for damage: not before the goroutines of Read have ended.
func (t *Keys) readAll(tx *bolt.Tx, add func(*KeyRecord)) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("read keys: %v: %w", r, frame.ErrDamaged)
		}
	}()
	return store.Keys.In(tx).ForEach(func(k, v []byte) error {
		f, err := frame.Parse(k, v)
		if err != nil {
			return err
		}
		r, err := NewKeyRecord(f)
		if err == nil {
			add(r)
		}
		return err
	})
}

// addID fills the table by id with a key that it does not have.
func (t *Keys) addID(r *KeyRecord) {
	t.byID.grow(func(e *KeyRecord) uint64 { return t.idSlot(e.id) })
	t.byID.set(t.idSlot(r.id), func(*KeyRecord) bool { return false }, r)
	t.count.Add(1)
}

// addHashes fills the table by secret.
func (t *Keys) addHashes(r *KeyRecord) {
	t.setHash(r.hash, r)
	for _, h := range r.old {
		t.setHash(h, &KeyRecord{id: r.id, hash: h, alias: true})
	}
}
