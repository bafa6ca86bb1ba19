package logstore

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"slices"
	"time"

	"github.com/hashicorp/raft"
)

// entryFormat is the first byte after an entry's checksum.
const entryFormat = 1

// entryHead is the fixed part of an entry: checksum, format, type, index, term, time.
const entryHead = 4 + 1 + 1 + 8 + 8 + 8

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// appendLog appends to b: u32 CRC32C of the rest, u8 format, u8 type, u64 index, u64 term, i64
// time of append in nanoseconds (0: none), uvarint length of the extensions, the
// extensions, the data; all big-endian. The index is inside so that an entry found under
// another key does not pass.
func appendLog(b []byte, l *raft.Log) []byte {
	from := len(b)
	b = slices.Grow(b, entryHead+binary.MaxVarintLen64+len(l.Extensions)+len(l.Data))
	b = append(b, 0, 0, 0, 0, entryFormat, byte(l.Type))
	b = binary.BigEndian.AppendUint64(b, l.Index)
	b = binary.BigEndian.AppendUint64(b, l.Term)
	var at int64
	if !l.AppendedAt.IsZero() {
		at = l.AppendedAt.UnixNano()
	}
	b = binary.BigEndian.AppendUint64(b, uint64(at))
	b = binary.AppendUvarint(b, uint64(len(l.Extensions)))
	b = append(b, l.Extensions...)
	b = append(b, l.Data...)
	binary.BigEndian.PutUint32(b[from:], crc32.Checksum(b[from+4:], castagnoli))
	return b
}

// decodeLog reads the entry of index out of v and copies what it keeps.
func decodeLog(v []byte, index uint64, l *raft.Log) error {
	if len(v) < entryHead+1 {
		return fmt.Errorf("%w: %d bytes", ErrCorrupt, len(v))
	}
	if crc32.Checksum(v[4:], castagnoli) != binary.BigEndian.Uint32(v) {
		return fmt.Errorf("%w: checksum differs", ErrCorrupt)
	}
	if v[4] != entryFormat {
		return fmt.Errorf("%w: format %d is not known", ErrCorrupt, v[4])
	}
	if got := binary.BigEndian.Uint64(v[6:]); got != index {
		return fmt.Errorf("%w: holds entry %d", ErrCorrupt, got)
	}
	ext, n := binary.Uvarint(v[entryHead:])
	if n <= 0 || ext > uint64(len(v)-entryHead-n) {
		return fmt.Errorf("%w: extensions", ErrCorrupt)
	}
	rest := v[entryHead+n:]
	*l = raft.Log{Index: index, Term: binary.BigEndian.Uint64(v[14:]), Type: raft.LogType(v[5])}
	if at := int64(binary.BigEndian.Uint64(v[22:])); at != 0 {
		l.AppendedAt = time.Unix(0, at)
	}
	if ext > 0 {
		l.Extensions = append([]byte(nil), rest[:ext]...)
	}
	l.Data = append([]byte(nil), rest[ext:]...)
	return nil
}

// encodeStable gives u32 CRC32C of key and value, then the value.
func encodeStable(key, val []byte) []byte {
	b := make([]byte, 4, 4+len(val))
	binary.BigEndian.PutUint32(b, stableSum(key, val))
	return append(b, val...)
}

// decodeStable checks v and copies the value out of it.
func decodeStable(key, v []byte) ([]byte, error) {
	if len(v) < 4 || stableSum(key, v[4:]) != binary.BigEndian.Uint32(v) {
		return nil, ErrCorrupt
	}
	return append([]byte{}, v[4:]...), nil
}

// stableSum is over both, so that a value found under another key does not pass.
func stableSum(key, val []byte) uint32 {
	return crc32.Update(crc32.Checksum(key, castagnoli), castagnoli, val)
}
