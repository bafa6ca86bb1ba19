package memory

import "sync/atomic"

// index is a hash table with open addressing. Readers load slots atomically; the one writer
// replaces the whole array to grow.
type index[R any] struct {
	slots atomic.Pointer[[]atomic.Pointer[R]]
	used  int // slots that are not nil; the writer's
	grave R   // stands where a record was, so that those behind it are still found
	none  [1]atomic.Pointer[R]
}

// dead is what stands in the slot of a record that was deleted.
func (x *index[R]) dead() *R { return &x.grave }

func (x *index[R]) load() []atomic.Pointer[R] {
	if s := x.slots.Load(); s != nil {
		return *s
	}
	return x.none[:]
}

// all calls fn for every record, in no order.
func (x *index[R]) all(fn func(*R)) {
	s := x.load()
	for i := range s {
		if r := s[i].Load(); r != nil && r != x.dead() {
			fn(r)
		}
	}
}

// set puts r where a record matches, or else into the first free slot.
func (x *index[R]) set(at uint64, match func(*R) bool, r *R) {
	s := x.load()
	free := -1
	for i := at; ; i++ {
		j := int(i & uint64(len(s)-1))
		e := s[j].Load()
		if e == nil {
			if r == x.dead() {
				return
			}
			if free < 0 {
				free = j
				x.used++
			}
			s[free].Store(r)
			return
		}
		if e == x.dead() {
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
func (x *index[R]) grow(slotOf func(*R) uint64) {
	old := x.load()
	if x.slots.Load() != nil && (x.used+1)*4 <= len(old)*3 {
		return
	}
	live := 0
	x.all(func(*R) { live++ })
	size := 1024
	for size < live*2 {
		size *= 2
	}
	s := make([]atomic.Pointer[R], size)
	x.used = 0
	x.all(func(r *R) {
		i := slotOf(r)
		for s[i&uint64(size-1)].Load() != nil {
			i++
		}
		s[i&uint64(size-1)].Store(r)
		x.used++
	})
	x.slots.Store(&s)
}
