// Package frame is how a value of the state lies in its bucket: a checksum, a version and
// flags before the payload, and the hash that such values add up to.
package frame

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math/bits"
)

// FlagBlocked is the flag of a blocked record: it changes without a change of the record's
// bytes.
const FlagBlocked byte = 1

// headSize is the size of a frame before its payload.
const headSize = 4 + 8 + 1

// ErrDamaged says that a value or a file is not as it was written.
var ErrDamaged = errors.New("damaged")

// Castagnoli is the polynomial of all checksums: processors have an instruction for it.
var Castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Value is what a bucket stores under a key: crc32c, version, flags, payload. The checksum
// covers the key too, so that a value that turns up under another key is noticed.
type Value struct {
	Version uint64 // Raft index of the last write
	Flags   byte
	Payload []byte
}

// Encode gives the bytes to store under the key.
func (v Value) Encode(key []byte) []byte {
	b := make([]byte, headSize, headSize+len(v.Payload))
	binary.BigEndian.PutUint64(b[4:], v.Version)
	b[12] = v.Flags
	b = append(b, v.Payload...)
	binary.BigEndian.PutUint32(b, checksum(key, b))
	return b
}

func checksum(key, b []byte) uint32 {
	return crc32.Update(crc32.Checksum(key, Castagnoli), Castagnoli, b[4:])
}

// Parse verifies the stored bytes; the payload is a part of them.
func Parse(key, b []byte) (Value, error) {
	if len(b) < headSize {
		return Value{}, fmt.Errorf("value of %q has %d bytes: %w", key, len(b), ErrDamaged)
	}
	if got, want := checksum(key, b), binary.BigEndian.Uint32(b); got != want {
		return Value{}, fmt.Errorf("value of %q has checksum %08x, want %08x: %w", key, got, want, ErrDamaged)
	}
	return Value{Version: binary.BigEndian.Uint64(b[4:]), Flags: b[12], Payload: b[headSize:]}, nil
}

// Hash is the sum modulo 2^128 of the truncated SHA-256 of every (bucket, key, value).
// It does not depend on the order of the writes and is kept up to date in constant time.
type Hash struct{ hi, lo uint64 }

// HashOf gives the summand of one value of the bucket with the number.
func HashOf(bucket byte, key, value []byte) Hash {
	var head [5]byte
	head[0] = bucket
	binary.BigEndian.PutUint32(head[1:], uint32(len(key)))
	buf := make([]byte, 0, 512)
	buf = append(append(append(buf, head[:]...), key...), value...)
	sum := sha256.Sum256(buf)
	return Hash{binary.BigEndian.Uint64(sum[:]), binary.BigEndian.Uint64(sum[8:])}
}

// Plus adds a summand.
func (h Hash) Plus(o Hash) Hash {
	lo, carry := bits.Add64(h.lo, o.lo, 0)
	hi, _ := bits.Add64(h.hi, o.hi, carry)
	return Hash{hi, lo}
}

// Minus takes a summand away.
func (h Hash) Minus(o Hash) Hash {
	lo, borrow := bits.Sub64(h.lo, o.lo, 0)
	hi, _ := bits.Sub64(h.hi, o.hi, borrow)
	return Hash{hi, lo}
}

// Bytes gives the hash, big-endian.
func (h Hash) Bytes() (b [16]byte) {
	binary.BigEndian.PutUint64(b[:], h.hi)
	binary.BigEndian.PutUint64(b[8:], h.lo)
	return b
}

// HashFrom reads what Bytes gave.
func HashFrom(b []byte) Hash {
	return Hash{binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:])}
}
