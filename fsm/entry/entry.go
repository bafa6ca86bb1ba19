// Package entry is the frame of a command in Raft's log: who proposed it, when, and under
// which checksum. It knows neither the commands nor their bodies.
package entry

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"

	"github.com/conclave-llm/conclave/fsm/frame"
	"github.com/conclave-llm/conclave/resource"
)

const (
	magic = 0xC7
	plain = 1  // format with the names of the actor and the request
	far   = 2  // format with two names more: whence the request came, and for whom
	fixed = 52 // bytes before the names; see DESIGN.md of fsm for the diagram

	// MaxSize is the largest entry that Encode makes, 8 MiB: an applied file is one entry.
	MaxSize = 8 << 20
)

// ErrMalformed says that the bytes are not an entry of this log, or a damaged one.
var ErrMalformed = errors.New("not a log entry")

// Actor is whose credential a command acts under. Apply refuses the command if the key is
// blocked, expired, deleted or changed since Version.
type Actor struct {
	Kind    string `json:"kind"`              // "master", "key", "node" or "file"
	ID      string `json:"id,omitempty"`      // of the key or node
	Version uint64 `json:"version,omitempty"` // of the key that the proposer read
	Address string `json:"address,omitempty"` // that the request came from; "" is not known
	For     string `json:"for,omitempty"`     // whom the caller says he acts for; nobody checks it
}

// names are the strings of the envelope in the order of their bytes; those after the third
// are in format far only.
func (e *Envelope) names() [5]*string {
	return [5]*string{&e.Actor.Kind, &e.Actor.ID, &e.RequestID, &e.Actor.Address, &e.Actor.For}
}

// format is the oldest that has room for the envelope.
func (e *Envelope) format() byte {
	if e.Actor.Address == "" && e.Actor.For == "" {
		return plain
	}
	return far
}

// Envelope is what goes around a command in the log entry.
type Envelope struct {
	At         resource.Time // the proposer's clock; Apply's only time
	Actor      Actor
	RequestID  string
	CommandID  [16]byte // random; the same for every try of one command
	ReadIndex  uint64   // the proposer's applied index
	FSMVersion uint32   // oldest state machine that knows the command
}

// Encode frames the body of a command of the kind.
func Encode(env Envelope, kind uint16, body []byte) ([]byte, error) {
	names := env.names()
	size := fixed + len(names) + len(body)
	for _, s := range names {
		if len(*s) > math.MaxUint8 {
			return nil, errors.New("actor, its address or request id is longer than 255 bytes")
		}
		size += len(*s)
	}
	b := make([]byte, fixed, size)
	b[0], b[1] = magic, env.format()
	binary.BigEndian.PutUint16(b[2:], kind)
	binary.BigEndian.PutUint32(b[4:], env.FSMVersion)
	binary.BigEndian.PutUint64(b[12:], uint64(env.At))
	binary.BigEndian.PutUint64(b[20:], env.ReadIndex)
	copy(b[28:44], env.CommandID[:])
	binary.BigEndian.PutUint64(b[44:], env.Actor.Version)
	for _, s := range names[:count(b[1])] {
		b = append(append(b, byte(len(*s))), *s...)
	}
	b = append(b, body...)
	if len(b) > MaxSize {
		return nil, fmt.Errorf("%d bytes are more than %d: %w", len(b), MaxSize, resource.ErrRefused)
	}
	binary.BigEndian.PutUint32(b[8:], checksum(b))
	return b, nil
}

// count is how many names an entry of the format has.
func count(format byte) int {
	if format == plain {
		return 3
	}
	return 5
}

func checksum(b []byte) uint32 {
	return crc32.Update(crc32.Checksum(b[:8], frame.Castagnoli), frame.Castagnoli, b[12:])
}

// Decode reads an entry; the body is a part of b. It returns an error that wraps
// ErrMalformed for anything that Encode would not have written.
func Decode(b []byte) (env Envelope, kind uint16, body []byte, err error) {
	if len(b) < fixed+3 || b[0] != magic {
		return env, 0, nil, fmt.Errorf("%w: %d bytes without its magic", ErrMalformed, len(b))
	}
	if b[1] != plain && b[1] != far {
		return env, 0, nil, fmt.Errorf("%w: format %d, want %d or %d", ErrMalformed, b[1], plain, far)
	}
	if got, want := checksum(b), binary.BigEndian.Uint32(b[8:]); got != want {
		return env, 0, nil, fmt.Errorf("%w: checksum %08x, want %08x", ErrMalformed, got, want)
	}
	kind = binary.BigEndian.Uint16(b[2:])
	env.FSMVersion = binary.BigEndian.Uint32(b[4:])
	env.At = resource.Time(binary.BigEndian.Uint64(b[12:]))
	env.ReadIndex = binary.BigEndian.Uint64(b[20:])
	copy(env.CommandID[:], b[28:44])
	env.Actor.Version = binary.BigEndian.Uint64(b[44:])
	rest := b[fixed:]
	names := env.names()
	for _, s := range names[:count(b[1])] {
		if len(rest) == 0 || len(rest)-1 < int(rest[0]) {
			return env, kind, nil, fmt.Errorf("%w: a name is cut off", ErrMalformed)
		}
		n := int(rest[0])
		*s, rest = string(rest[1:1+n]), rest[1+n:]
	}
	if env.format() != b[1] {
		return env, kind, nil, fmt.Errorf("%w: format %d without an address", ErrMalformed, b[1])
	}
	return env, kind, rest, nil
}
