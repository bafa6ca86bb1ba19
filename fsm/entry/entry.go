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
	magic  = 0xC7
	format = 1
	fixed  = 52 // bytes before the names; see DESIGN.md of fsm for the diagram

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
	if len(env.Actor.Kind) > math.MaxUint8 || len(env.Actor.ID) > math.MaxUint8 || len(env.RequestID) > math.MaxUint8 {
		return nil, errors.New("actor or request id is longer than 255 bytes")
	}
	b := make([]byte, fixed, fixed+3+len(env.Actor.Kind)+len(env.Actor.ID)+len(env.RequestID)+len(body))
	b[0], b[1] = magic, format
	binary.BigEndian.PutUint16(b[2:], kind)
	binary.BigEndian.PutUint32(b[4:], env.FSMVersion)
	binary.BigEndian.PutUint64(b[12:], uint64(env.At))
	binary.BigEndian.PutUint64(b[20:], env.ReadIndex)
	copy(b[28:44], env.CommandID[:])
	binary.BigEndian.PutUint64(b[44:], env.Actor.Version)
	for _, s := range []string{env.Actor.Kind, env.Actor.ID, env.RequestID} {
		b = append(append(b, byte(len(s))), s...)
	}
	b = append(b, body...)
	if len(b) > MaxSize {
		return nil, fmt.Errorf("%d bytes are more than %d: %w", len(b), MaxSize, resource.ErrRefused)
	}
	binary.BigEndian.PutUint32(b[8:], checksum(b))
	return b, nil
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
	if b[1] != format {
		return env, 0, nil, fmt.Errorf("%w: format %d, want %d", ErrMalformed, b[1], format)
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
	for _, s := range []*string{&env.Actor.Kind, &env.Actor.ID, &env.RequestID} {
		if len(rest) == 0 || len(rest)-1 < int(rest[0]) {
			return env, kind, nil, fmt.Errorf("%w: a name is cut off", ErrMalformed)
		}
		n := int(rest[0])
		*s, rest = string(rest[1:1+n]), rest[1+n:]
	}
	return env, kind, rest, nil
}
