package logstore

import (
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/hashicorp/raft"
)

// Digest is what tells one entry of a log from another at its place.
type Digest struct {
	Index uint64 `json:"index"`
	Term  uint64 `json:"term"`
	Type  uint8  `json:"type"` // a raft.LogType
	Sum   uint32 `json:"sum"`  // CRC32C of the extensions and the data
}

// Noop says that a leader began its term with the entry.
func (d Digest) Noop() bool { return raft.LogType(d.Type) == raft.LogNoop }

// Digests reads the whole log in the folder raft of a node that is stopped, in its order. Every record's checksum,
// and the chain of them, is checked on the way: ErrCorrupt says that they are not what was written.
func Digests(dir string) (all []Digest, err error) {
	s, err := Open(dir, nil)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	first, last := s.log.Bounds()
	if first == 0 {
		return nil, nil
	}
	all = make([]Digest, 0, last-first+1)
	for i := first; i <= last; i++ {
		var l raft.Log
		if err := s.GetLog(i, &l); err != nil {
			return nil, fmt.Errorf("read entry %d: %w", i, err)
		}
		sum := crc32.Update(crc32.Checksum(l.Extensions, castagnoli), castagnoli, l.Data)
		all = append(all, Digest{Index: l.Index, Term: l.Term, Type: uint8(l.Type), Sum: sum})
	}
	return all, nil
}
