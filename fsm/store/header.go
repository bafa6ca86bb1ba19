package store

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/conclave-llm/conclave/fsm/frame"
)

// HeaderSize is the size of a snapshot's header, which never changes.
const HeaderSize = 192

const (
	// MaxClusterID is the longest cluster id, for which a header has room.
	MaxClusterID = 64

	headerMagic  = "CNCLSNP1"
	headerFormat = 1
	headerCRC    = HeaderSize - 4 // place of the checksum
)

// Header is the frame around a snapshot; see DESIGN.md of fsm for the diagram. The checksum of the
// body stands in it, so that a snapshot is whole or refused. A snapshot store may write
// Raft's index and term into it, which are later ones if the last entries were no commands.
type Header struct {
	FSMVersion uint32 // that the state needs
	Index      uint64 // of the last entry in the state
	Term       uint64
	Generation uint64
	Size       uint64 // of the body
	StateHash  [16]byte
	SHA256     [32]byte // of the body
	ClusterID  string
}

// Encode gives the header's bytes.
func (h Header) Encode() ([]byte, error) {
	if len(h.ClusterID) > MaxClusterID {
		return nil, fmt.Errorf("encode snapshot header: cluster id of %d bytes", len(h.ClusterID))
	}
	b := make([]byte, HeaderSize)
	copy(b, headerMagic)
	binary.BigEndian.PutUint32(b[8:], headerFormat)
	binary.BigEndian.PutUint32(b[12:], h.FSMVersion)
	binary.BigEndian.PutUint64(b[16:], h.Index)
	binary.BigEndian.PutUint64(b[24:], h.Term)
	binary.BigEndian.PutUint64(b[32:], h.Generation)
	binary.BigEndian.PutUint64(b[40:], h.Size)
	copy(b[48:64], h.StateHash[:])
	copy(b[64:96], h.SHA256[:])
	b[96] = byte(len(h.ClusterID))
	copy(b[97:], h.ClusterID)
	binary.BigEndian.PutUint32(b[headerCRC:], crc32.Checksum(b[:headerCRC], frame.Castagnoli))
	return b, nil
}

// DecodeHeader reads the HeaderSize bytes at the start of a snapshot. It returns an error
// that wraps frame.ErrDamaged for anything that Encode would not have written.
func DecodeHeader(b []byte) (Header, error) {
	if len(b) != HeaderSize || string(b[:8]) != headerMagic {
		return Header{}, fmt.Errorf("snapshot header of %d bytes without its magic: %w", len(b), frame.ErrDamaged)
	}
	if got, want := crc32.Checksum(b[:headerCRC], frame.Castagnoli), binary.BigEndian.Uint32(b[headerCRC:]); got != want {
		return Header{}, fmt.Errorf("snapshot header has checksum %08x, want %08x: %w", got, want, frame.ErrDamaged)
	}
	if f := binary.BigEndian.Uint32(b[8:]); f != headerFormat {
		return Header{}, fmt.Errorf("snapshot format %d, want %d: %w", f, headerFormat, frame.ErrDamaged)
	}
	n := int(b[96])
	if n > MaxClusterID {
		return Header{}, fmt.Errorf("snapshot header has a cluster id of %d bytes: %w", n, frame.ErrDamaged)
	}
	for _, c := range b[97+n : headerCRC] {
		if c != 0 {
			return Header{}, fmt.Errorf("snapshot header has more than this version knows: %w", frame.ErrDamaged)
		}
	}
	h := Header{
		FSMVersion: binary.BigEndian.Uint32(b[12:]),
		Index:      binary.BigEndian.Uint64(b[16:]),
		Term:       binary.BigEndian.Uint64(b[24:]),
		Generation: binary.BigEndian.Uint64(b[32:]),
		Size:       binary.BigEndian.Uint64(b[40:]),
		StateHash:  [16]byte(b[48:64]),
		SHA256:     [32]byte(b[64:96]),
		ClusterID:  string(b[97 : 97+n]),
	}
	return h, nil
}

// Regenerate gives a snapshot another generation. Whoever restores a backup does so first,
// with a generation above both the backup's and the cluster's: grants then wait until every
// member has replayed its journal.
func Regenerate(snapshot io.Reader, generation uint64) (io.Reader, error) {
	h, err := ReadHeader(snapshot)
	if err != nil {
		return nil, err
	}
	h.Generation = generation
	b, err := h.Encode()
	if err != nil {
		return nil, err
	}
	return io.MultiReader(bytes.NewReader(b), snapshot), nil
}

// ReadHeader reads the header from the start of a snapshot.
func ReadHeader(r io.Reader) (Header, error) {
	b := make([]byte, HeaderSize)
	if _, err := io.ReadFull(r, b); err != nil {
		return Header{}, fmt.Errorf("read snapshot header: %w", err)
	}
	return DecodeHeader(b)
}
