package ledger

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
)

// The header of a segment file, little endian:
//
//	 0          8         12       16        24           32      40        48
//	+----------+---------+--------+---------+------------+-------+---------+
//	| CNCLJRNL | version | crc32c | first   | span start | epoch | created |
//	+----------+---------+--------+---------+------------+-------+---------+
//	                      of the   number of  number of   of the  Unix
//	                      header,  the first  the newest  span;   nanoseconds
//	                      this as  record     START or    0: not
//	                      zero                EPOCH       known yet
const (
	segmentMagic   = "CNCLJRNL"
	segmentVersion = 1
	headerLen      = 48
	segmentSuffix  = ".seg"
	markEvery      = 64 << 10 // bytes between the marks of a segment's index
)

// span is the run of records that one epoch covers.
type span struct {
	start uint64 // number of its first record
	epoch uint64 // 0: not known
}

// mark says where the record with the number starts in a segment.
type mark struct {
	number uint64
	offset int64
}

// segment is one file of the journal.
type segment struct {
	path    string
	first   uint64 // number of its first record
	span    span   // that its first record belongs to
	created int64
	size    atomic.Int64 // bytes that are written
	linked  bool         // its name is synced; guarded by Journal.syncMu
	file    file         // nil once sealed and synced

	mu    sync.Mutex
	marks []mark // guarded by mu; sparse, ascending
}

// file is what the journal needs of *os.File; tests put failing ones in its place.
type file interface {
	Write(b []byte) (int, error)
	Sync() error
	Close() error
}

// osFile is an *os.File whose Sync leaves out times.
type osFile struct{ *os.File }

func (f osFile) Sync() error { return datasync(f.File) }

func openAppend(path string) (file, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

func segmentPath(dir string, first uint64) string {
	return filepath.Join(dir, fmt.Sprintf("%020d%s", first, segmentSuffix))
}

func (s *segment) header() []byte {
	b := make([]byte, 0, headerLen)
	b = append(b, segmentMagic...)
	b = binary.LittleEndian.AppendUint32(b, segmentVersion)
	b = binary.LittleEndian.AppendUint32(b, 0)
	b = binary.LittleEndian.AppendUint64(b, s.first)
	b = binary.LittleEndian.AppendUint64(b, s.span.start)
	b = binary.LittleEndian.AppendUint64(b, s.span.epoch)
	b = binary.LittleEndian.AppendUint64(b, uint64(s.created))
	binary.LittleEndian.PutUint32(b[12:], crc32.Checksum(b, castagnoli))
	return b
}

var errHeader = errors.New("segment header is damaged")

// parseHeader reads the header of the segment at path into a segment without a file.
func parseHeader(path string, b []byte) (*segment, error) {
	if len(b) < headerLen || string(b[:8]) != segmentMagic {
		return nil, errHeader
	}
	h := [headerLen]byte(b)
	sum := binary.LittleEndian.Uint32(h[12:])
	clear(h[12:16])
	if crc32.Checksum(h[:], castagnoli) != sum {
		return nil, errHeader
	}
	if v := binary.LittleEndian.Uint32(h[8:]); v != segmentVersion {
		return nil, fmt.Errorf("segment %s has version %d, this program reads %d", path, v, segmentVersion)
	}
	return &segment{
		path:    path,
		first:   binary.LittleEndian.Uint64(h[16:]),
		span:    span{binary.LittleEndian.Uint64(h[24:]), binary.LittleEndian.Uint64(h[32:])},
		created: int64(binary.LittleEndian.Uint64(h[40:])),
	}, nil
}

// mark remembers where a write of records from number on went.
func (s *segment) mark(number uint64, offset int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := len(s.marks); n == 0 || offset-s.marks[n-1].offset >= markEvery {
		s.marks = append(s.marks, mark{number, offset})
	}
}

// seek gives an offset at or before the record with the number.
func (s *segment) seek(number uint64) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := int64(headerLen)
	for _, m := range s.marks {
		if m.number > number {
			break
		}
		at = m.offset
	}
	return at
}

// hole is a range of bytes of a segment that no frame could be read from.
type hole struct{ from, to int64 }

// scan calls visit for each good frame of data, a whole segment with its header, and
// returns where the last one ends and what damage lies between good ones. Frames must
// have rising numbers; CHECK repeats the number before it.
func scan(data []byte, visit func(f frame, at int64) error) (end int64, holes []hole, err error) {
	at, last := int64(headerLen), uint64(0)
	for at < int64(len(data)) {
		f, err := readFrame(data[at:])
		if err == nil && f.kind != kindCheck && f.number <= last {
			err = errBad
		}
		if errors.Is(err, errCut) || errors.Is(err, errBad) {
			next := resync(data, at+1, last)
			if next < 0 {
				return at, holes, nil
			}
			holes = append(holes, hole{at, next})
			at = next
			continue
		}
		if err != nil {
			return at, holes, err
		}
		if err := visit(f, at); err != nil {
			return at, holes, err
		}
		last = f.number
		at += int64(f.size)
	}
	return at, holes, nil
}

// resync looks for the next good frame with a number above last; -1: there is none.
func resync(data []byte, from int64, last uint64) int64 {
	for at := from; at+frameLen <= int64(len(data)); at++ {
		b := data[at:]
		if n := binary.LittleEndian.Uint32(b[4:]); int64(n) > int64(len(b))-frameLen || n > maxBody {
			continue
		}
		if k := kind(b[16]); k == 0 || k >= kindEnd || binary.LittleEndian.Uint64(b[8:]) <= last {
			continue
		}
		if _, err := readFrame(b); err == nil {
			return at
		}
	}
	return -1
}
