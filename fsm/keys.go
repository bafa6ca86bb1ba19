package fsm

import (
	"fmt"
	"hash/maphash"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/conclave-llm/conclave/fsm/codec"
	"github.com/conclave-llm/conclave/fsm/frame"
	"github.com/conclave-llm/conclave/resource"
)

// decodedKeys is how many keys are kept decoded; the others are packed.
const decodedKeys = 1 << 16

// keyTable holds every key in memory. One goroutine writes, any number read without a lock.
type keyTable struct {
	byHash index
	byID   index
	seed   maphash.Seed
	count  atomic.Int64

	mu   sync.Mutex // guards ring and next
	ring []*keyRec  // decoded keys, the oldest is packed again first
	next int
}

// keyRec is one version of a key: the stored bytes and what lookups and lists need of them.
// Its strings are parts of packed.
type keyRec struct {
	packed  string
	id      string
	name    string
	team    string
	created resource.Time
	version uint64
	flags   byte
	hash    resource.Hash
	old     []resource.Hash
	alias   bool // stands for an old secret: the key is the one with the id
	decoded atomic.Pointer[resource.Key]
}

func newKeyTable() *keyTable {
	return &keyTable{seed: maphash.MakeSeed(), ring: make([]*keyRec, decodedKeys)}
}

func newKeyRec(f frame.Value) (*keyRec, error) {
	r, err := skimKey(string(f.Payload))
	if err != nil {
		return nil, err
	}
	r.version, r.flags = f.Version, f.Flags
	return r, nil
}

// key returns the decoded record, the same one until it is packed again.
func (t *keyTable) key(r *keyRec) *resource.Key {
	if k := r.decoded.Load(); k != nil {
		return k
	}
	k, err := codec.Record[resource.Key](frame.Value{Version: r.version, Flags: r.flags, Payload: []byte(r.packed)})
	if err != nil {
		panic(fmt.Sprintf("fsm: key %s was readable when it was stored: %v", r.id, err))
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

func hashSlot(h resource.Hash) uint64 {
	return uint64(h[0]) | uint64(h[1])<<8 | uint64(h[2])<<16 | uint64(h[3])<<24 |
		uint64(h[4])<<32 | uint64(h[5])<<40 | uint64(h[6])<<48 | uint64(h[7])<<56
}

func (t *keyTable) idSlot(id string) uint64 { return maphash.String(t.seed, id) }

func (t *keyTable) findHash(h resource.Hash) *keyRec {
	s := t.byHash.load()
	for i := hashSlot(h); ; i++ {
		r := s[i&uint64(len(s)-1)].Load()
		if r == nil {
			return nil
		}
		if r == grave || r.hash != h {
			continue
		}
		if r.alias {
			return t.findID(r.id)
		}
		return r
	}
}

func (t *keyTable) findID(id string) *keyRec {
	s := t.byID.load()
	for i := t.idSlot(id); ; i++ {
		r := s[i&uint64(len(s)-1)].Load()
		if r == nil {
			return nil
		}
		if r != grave && r.id == id {
			return r
		}
	}
}

// put stores a version of a key in place of the one before.
func (t *keyTable) put(r *keyRec) {
	before := t.findID(r.id)
	t.byID.grow(func(e *keyRec) uint64 { return t.idSlot(e.id) })
	t.byID.set(t.idSlot(r.id), func(e *keyRec) bool { return e.id == r.id }, r)
	t.setHash(r.hash, r)
	for _, h := range r.old {
		t.setHash(h, &keyRec{id: r.id, hash: h, alias: true})
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

func (t *keyTable) setHash(h resource.Hash, r *keyRec) {
	t.byHash.grow(func(e *keyRec) uint64 { return hashSlot(e.hash) })
	t.byHash.set(hashSlot(h), func(e *keyRec) bool { return e.hash == h }, r)
}

func (t *keyTable) dropHash(h resource.Hash) {
	t.byHash.set(hashSlot(h), func(e *keyRec) bool { return e.hash == h }, grave)
}

func (t *keyTable) delete(id string) {
	r := t.findID(id)
	if r == nil {
		return
	}
	t.byID.set(t.idSlot(id), func(e *keyRec) bool { return e.id == id }, grave)
	t.dropHash(r.hash)
	for _, h := range r.old {
		t.dropHash(h)
	}
	t.count.Add(-1)
}

// all calls fn for every key, in no order.
func (t *keyTable) all(fn func(*keyRec)) {
	s := t.byID.load()
	for i := range s {
		if r := s[i].Load(); r != nil && r != grave {
			fn(r)
		}
	}
}

// grave stands where a record was, so that those behind it are still found.
var grave = new(keyRec)

// index is a hash table with open addressing. Readers load slots atomically; the one writer
// replaces the whole array to grow.
type index struct {
	slots atomic.Pointer[[]atomic.Pointer[keyRec]]
	used  int // slots that are not nil; the writer's
}

var noSlots = make([]atomic.Pointer[keyRec], 1)

func (x *index) load() []atomic.Pointer[keyRec] {
	if s := x.slots.Load(); s != nil {
		return *s
	}
	return noSlots
}

// set puts r where a record matches, or else into the first free slot.
func (x *index) set(at uint64, match func(*keyRec) bool, r *keyRec) {
	s := x.load()
	free := -1
	for i := at; ; i++ {
		j := int(i & uint64(len(s)-1))
		e := s[j].Load()
		if e == nil {
			if r == grave {
				return
			}
			if free < 0 {
				free = j
				x.used++
			}
			s[free].Store(r)
			return
		}
		if e == grave {
			if free < 0 {
				free = j
			}
			continue
		}
		if match(e) {
			s[j].Store(r)
			return
		}
	}
}

// grow makes room for one more record; slotOf tells where a record belongs.
func (x *index) grow(slotOf func(*keyRec) uint64) {
	old := x.load()
	if x.slots.Load() != nil && (x.used+1)*4 <= len(old)*3 {
		return
	}
	live := 0
	for i := range old {
		if r := old[i].Load(); r != nil && r != grave {
			live++
		}
	}
	size := 1024
	for size < live*2 {
		size *= 2
	}
	s := make([]atomic.Pointer[keyRec], size)
	x.used = 0
	for i := range old {
		r := old[i].Load()
		if r == nil || r == grave {
			continue
		}
		i := slotOf(r)
		for s[i&uint64(size-1)].Load() != nil {
			i++
		}
		s[i&uint64(size-1)].Store(r)
		x.used++
	}
	x.slots.Store(&s)
}
