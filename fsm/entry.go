package fsm

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
	entryMagic  = 0xC7
	entryFormat = 1
	entryFixed  = 52 // bytes before the names; see DESIGN.md for the diagram

	// MaxEntry is the largest entry that Encode makes, 8 MiB: an applied file is one entry.
	MaxEntry = 8 << 20
)

// ErrEntry says that the bytes are not an entry of this log, or a damaged one.
var ErrEntry = errors.New("not a log entry")

// Encode makes the log entry of a command. It returns an error for a command that Decode
// would refuse, so that no such entry reaches the log. An FSMVersion of 0 stands for the
// oldest state machine that knows the command.
func Encode(env Envelope, cmd Command) ([]byte, error) {
	kind := KindOf(cmd)
	row, ok := lookup(kind)
	if !ok {
		return nil, fmt.Errorf("encode command %T: %w", cmd, ErrEntry)
	}
	if env.FSMVersion == 0 {
		env.FSMVersion = row.since
	}
	body, err := enc.Marshal(cmd)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", kind, err)
	}
	if len(env.Actor.Kind) > math.MaxUint8 || len(env.Actor.ID) > math.MaxUint8 || len(env.RequestID) > math.MaxUint8 {
		return nil, fmt.Errorf("encode %s: actor or request id is longer than 255 bytes", kind)
	}
	b := make([]byte, entryFixed, entryFixed+3+len(env.Actor.Kind)+len(env.Actor.ID)+len(env.RequestID)+len(body))
	b[0], b[1] = entryMagic, entryFormat
	binary.BigEndian.PutUint16(b[2:], uint16(kind))
	binary.BigEndian.PutUint32(b[4:], env.FSMVersion)
	binary.BigEndian.PutUint64(b[12:], uint64(env.At))
	binary.BigEndian.PutUint64(b[20:], env.ReadIndex)
	copy(b[28:44], env.CommandID[:])
	binary.BigEndian.PutUint64(b[44:], env.Actor.Version)
	for _, s := range []string{env.Actor.Kind, env.Actor.ID, env.RequestID} {
		b = append(append(b, byte(len(s))), s...)
	}
	b = append(b, body...)
	if len(b) > MaxEntry {
		return nil, fmt.Errorf("encode %s: %d bytes are more than %d: %w", kind, len(b), MaxEntry, resource.ErrRefused)
	}
	binary.BigEndian.PutUint32(b[8:], entryCRC(b))
	if _, _, _, err := Decode(b); err != nil {
		return nil, fmt.Errorf("encode %s: %w", kind, err)
	}
	return b, nil
}

func entryCRC(b []byte) uint32 {
	return crc32.Update(crc32.Checksum(b[:8], frame.Castagnoli), frame.Castagnoli, b[12:])
}

// Decode reads a log entry, strictly: every byte must be what Encode would have written.
// For an unknown kind it returns an *UnknownKind.
func Decode(b []byte) (Envelope, Kind, Command, error) {
	env, kind, body, err := decodeHeader(b)
	if err != nil {
		return env, kind, nil, err
	}
	cmd, err := decodeBody(kind, body)
	return env, kind, cmd, err
}

func decodeHeader(b []byte) (env Envelope, kind Kind, body []byte, err error) {
	if len(b) < entryFixed+3 || b[0] != entryMagic {
		return env, 0, nil, fmt.Errorf("%w: %d bytes without its magic", ErrEntry, len(b))
	}
	if b[1] != entryFormat {
		return env, 0, nil, fmt.Errorf("%w: format %d, want %d", ErrEntry, b[1], entryFormat)
	}
	if got, want := entryCRC(b), binary.BigEndian.Uint32(b[8:]); got != want {
		return env, 0, nil, fmt.Errorf("%w: checksum %08x, want %08x", ErrEntry, got, want)
	}
	kind = Kind(binary.BigEndian.Uint16(b[2:]))
	env.FSMVersion = binary.BigEndian.Uint32(b[4:])
	env.At = resource.Time(binary.BigEndian.Uint64(b[12:]))
	env.ReadIndex = binary.BigEndian.Uint64(b[20:])
	copy(env.CommandID[:], b[28:44])
	env.Actor.Version = binary.BigEndian.Uint64(b[44:])
	rest := b[entryFixed:]
	for _, s := range []*string{&env.Actor.Kind, &env.Actor.ID, &env.RequestID} {
		if len(rest) == 0 || len(rest)-1 < int(rest[0]) {
			return env, kind, nil, fmt.Errorf("%w: a name is cut off", ErrEntry)
		}
		n := int(rest[0])
		*s, rest = string(rest[1:1+n]), rest[1+n:]
	}
	return env, kind, rest, nil
}

func decodeBody(kind Kind, body []byte) (Command, error) {
	row, ok := lookup(kind)
	if !ok {
		return nil, &UnknownKind{Kind: kind}
	}
	cmd, err := row.decode(body)
	if err != nil {
		return nil, fmt.Errorf("decode %s: %w", kind, err)
	}
	return cmd, nil
}

// UnknownKind says that a newer state machine wrote the entry. A node that meets it stops:
// to skip the entry would make its state another than its peers'.
type UnknownKind struct{ Kind Kind }

// Error implements error.
func (e *UnknownKind) Error() string {
	return fmt.Sprintf("command kind %d is unknown to this version", uint16(e.Kind))
}
