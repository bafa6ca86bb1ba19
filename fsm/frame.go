package fsm

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math/bits"
)

// Flags of a frame: what changes without a change of the record's bytes.
const flagBlocked byte = 1

// frameHead is the size of a frame before its payload.
const frameHead = 4 + 8 + 1

// ErrDamaged says that a value or a file is not as it was written.
var ErrDamaged = errors.New("damaged")

// frame is what a bucket stores under a key: crc32c, version, flags, payload. The checksum
// covers the key too, so that a value that turns up under another key is noticed.
type frame struct {
	version uint64 // Raft index of the last write
	flags   byte
	payload []byte
}

func (f frame) append(key []byte) []byte {
	b := make([]byte, frameHead, frameHead+len(f.payload))
	binary.BigEndian.PutUint64(b[4:], f.version)
	b[12] = f.flags
	b = append(b, f.payload...)
	binary.BigEndian.PutUint32(b, frameCRC(key, b))
	return b
}

func frameCRC(key, b []byte) uint32 {
	return crc32.Update(crc32.Checksum(key, castagnoli), castagnoli, b[4:])
}

// parseFrame verifies the stored bytes; the payload is a part of them.
func parseFrame(key, b []byte) (frame, error) {
	if len(b) < frameHead {
		return frame{}, fmt.Errorf("value of %q has %d bytes: %w", key, len(b), ErrDamaged)
	}
	if got, want := frameCRC(key, b), binary.BigEndian.Uint32(b); got != want {
		return frame{}, fmt.Errorf("value of %q has checksum %08x, want %08x: %w", key, got, want, ErrDamaged)
	}
	return frame{version: binary.BigEndian.Uint64(b[4:]), flags: b[12], payload: b[frameHead:]}, nil
}

// stateHash is the sum modulo 2^128 of the truncated SHA-256 of every (bucket, key, value).
// It does not depend on the order of the writes and is kept up to date in constant time.
type stateHash struct{ hi, lo uint64 }

func hashOf(b bucket, key, value []byte) stateHash {
	var head [5]byte
	head[0] = byte(b)
	binary.BigEndian.PutUint32(head[1:], uint32(len(key)))
	buf := make([]byte, 0, 512)
	buf = append(append(append(buf, head[:]...), key...), value...)
	sum := sha256.Sum256(buf)
	return stateHash{binary.BigEndian.Uint64(sum[:]), binary.BigEndian.Uint64(sum[8:])}
}

func (h stateHash) plus(o stateHash) stateHash {
	lo, carry := bits.Add64(h.lo, o.lo, 0)
	hi, _ := bits.Add64(h.hi, o.hi, carry)
	return stateHash{hi, lo}
}

func (h stateHash) minus(o stateHash) stateHash {
	lo, borrow := bits.Sub64(h.lo, o.lo, 0)
	hi, _ := bits.Sub64(h.hi, o.hi, borrow)
	return stateHash{hi, lo}
}

func (h stateHash) bytes() (b [16]byte) {
	binary.BigEndian.PutUint64(b[:], h.hi)
	binary.BigEndian.PutUint64(b[8:], h.lo)
	return b
}

func hashFrom(b []byte) stateHash {
	return stateHash{binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:])}
}
