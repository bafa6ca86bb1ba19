package memory

import (
	"fmt"
	"strings"

	"github.com/conclave-llm/conclave/fsm/frame"
	"github.com/conclave-llm/conclave/resource"
)

// The major types of CBOR (RFC 8949 §3.1) that a stored record has.
const (
	cborUint  = 0
	cborNint  = 1
	cborBytes = 2
	cborText  = 3
	cborArray = 4
	cborMap   = 5
)

// skimKey reads from a stored key what lookups and lists need, without decoding the rest:
// a million keys are read at each start. Its strings are parts of the stored bytes, which
// Decode has found well formed when they came and the frame's checksum has just vouched for.
func skimKey(packed string) (*KeyRecord, error) {
	r := &KeyRecord{packed: packed}
	s := skimmer{rest: packed}
	for range s.head(cborMap) {
		switch s.text() {
		case "id":
			r.id = s.text()
		case "name":
			r.name = s.text()
		case "hash":
			r.hash = s.hash()
		case "old_hashes":
			for range s.head(cborArray) {
				r.old = append(r.old, s.oldHash())
			}
		default:
			s.skip(0)
		}
	}
	if s.bad || r.id == "" {
		return nil, fmt.Errorf("key of %d bytes: %w", len(packed), frame.ErrDamaged)
	}
	return r, nil
}

// skimText reads one field that is a text from a stored record; "" if it has none.
func skimText(packed, field string) string {
	s := skimmer{rest: packed}
	for range s.head(cborMap) {
		if s.text() == field {
			return s.text()
		}
		s.skip(0)
	}
	return ""
}

// skimHas says whether a field of a stored record is a list of texts that has one.
func skimHas(packed, field, want string) bool {
	if !strings.Contains(packed, want) { // most have not, and the rest is slower
		return false
	}
	s := skimmer{rest: packed}
	for range s.head(cborMap) {
		if s.text() != field {
			s.skip(0)
			continue
		}
		for range s.head(cborArray) {
			if s.text() == want {
				return true
			}
		}
		return false
	}
	return false
}

// skimInt reads one field that is a number from a stored record; 0 if it has none.
func skimInt(packed, field string) int64 {
	s := skimmer{rest: packed}
	for range s.head(cborMap) {
		if s.text() == field {
			return s.int()
		}
		s.skip(0)
	}
	return 0
}

// skimmer walks over CBOR of definite lengths. The first surprise makes it bad, and empty.
type skimmer struct {
	rest string
	bad  bool
}

func (s *skimmer) fail() uint64 {
	s.bad, s.rest = true, ""
	return 0
}

// any reads the head of an item: its major type and its argument.
func (s *skimmer) any() (major int, arg uint64) {
	if s.rest == "" {
		return -1, s.fail()
	}
	first := s.rest[0]
	major, s.rest = int(first>>5), s.rest[1:]
	info := first & 31
	if info < 24 {
		return major, uint64(info)
	}
	n := 1 << (info - 24)
	if info > 27 || len(s.rest) < n {
		return -1, s.fail()
	}
	for i := range n {
		arg = arg<<8 | uint64(s.rest[i])
	}
	s.rest = s.rest[n:]
	return major, arg
}

func (s *skimmer) head(want int) uint64 {
	major, arg := s.any()
	if major != want || arg > uint64(len(s.rest)) { // every item has at least one byte
		return s.fail()
	}
	return arg
}

func (s *skimmer) take(n uint64) string {
	if n > uint64(len(s.rest)) {
		s.fail()
		return ""
	}
	part := s.rest[:n]
	s.rest = s.rest[n:]
	return part
}

func (s *skimmer) text() string { return s.take(s.head(cborText)) }

func (s *skimmer) int() int64 {
	switch major, arg := s.any(); major {
	case cborUint:
		return int64(arg)
	case cborNint:
		return -1 - int64(arg)
	}
	s.fail()
	return 0
}

func (s *skimmer) hash() (h resource.Hash) {
	if copy(h[:], s.take(s.head(cborBytes))) != len(h) {
		s.fail()
	}
	return h
}

func (s *skimmer) oldHash() (h resource.Hash) {
	for range s.head(cborMap) {
		if s.text() == "hash" {
			h = s.hash()
		} else {
			s.skip(0)
		}
	}
	return h
}

// skip passes over one item of any type.
func (s *skimmer) skip(depth int) {
	major, arg := s.any()
	if depth > 32 || arg > uint64(len(s.rest)) && (major == cborArray || major == cborMap) {
		s.fail()
		return
	}
	switch major {
	case cborBytes, cborText:
		s.take(arg)
	case cborMap:
		arg *= 2
		fallthrough
	case cborArray:
		for range arg {
			s.skip(depth + 1)
		}
	}
}
