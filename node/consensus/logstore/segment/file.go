package segment

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"strconv"
)

const (
	magic     = "CNCLLOG1"
	headSize  = 28
	frameSize = 12

	beginsBatch = 1 << 31
	// maxRecord is the largest record: its size must leave the top bit free.
	maxRecord = 1 << 30

	// chunk is how much is read or filled at once.
	chunk = 1 << 20
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// place is where a record is.
type place struct {
	at   int64  // of its frame
	link uint32 // of the record
}

// file is one file of the log. Its records have the indexes base, base+1, …
type file struct {
	f      *os.File
	path   string
	base   uint64
	start  uint32 // the link before the first record
	places []place
	end    int64 // where the next record goes
}

// last is the index of the last record, base-1 if there is none.
func (s *file) last() uint64 { return s.base + uint64(len(s.places)) - 1 }

// link is that of the last record.
func (s *file) link() uint32 { return s.linkBefore(len(s.places)) }

// linkBefore is the link before the nth record.
func (s *file) linkBefore(n int) uint32 {
	if n == 0 {
		return s.start
	}
	return s.places[n-1].link
}

// ends is where the nth record ends.
func (s *file) ends(n int) int64 {
	if n+1 < len(s.places) {
		return s.places[n+1].at
	}
	return s.end
}

// frame is what stands before a record.
type frame struct{ word, sum, link uint32 }

func (f frame) size() int { return int(f.word &^ beginsBatch) }

func parseFrame(b []byte) frame {
	return frame{binary.BigEndian.Uint32(b), binary.BigEndian.Uint32(b[4:]), binary.BigEndian.Uint32(b[8:])}
}

// put writes the frame into b.
func (f frame) put(b []byte) {
	binary.BigEndian.PutUint32(b, f.word)
	binary.BigEndian.PutUint32(b[4:], f.sum)
	binary.BigEndian.PutUint32(b[8:], f.link)
}

// after is the link of a record with this frame that follows one with the link before.
func (f frame) after(before uint32) uint32 {
	var b [12]byte
	binary.BigEndian.PutUint32(b[:], before)
	binary.BigEndian.PutUint32(b[4:], f.word)
	binary.BigEndian.PutUint32(b[8:], f.sum)
	return crc32.Checksum(b[:], castagnoli)
}

// head makes the head of a file that follows a record with the link before.
func head(base uint64, before uint32) []byte {
	b := make([]byte, headSize)
	copy(b, magic)
	binary.BigEndian.PutUint64(b[8:], base)
	binary.BigEndian.PutUint32(b[16:], before)
	_, _ = rand.Read(b[20:24]) // never fails
	binary.BigEndian.PutUint32(b[24:], crc32.Checksum(b[:24], castagnoli))
	return b
}

// fileName is the name of the file whose first record has the index.
func fileName(base uint64) string { return fmt.Sprintf("%020d%s", base, suffix) }

// openFile opens a file and reads its head: the records are still to be walked.
func openFile(path string) (s *file, before uint32, err error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, 0, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("%s: %w", filepath.Base(path), err), f.Close())
		}
	}()
	var b [headSize]byte
	if _, err := f.ReadAt(b[:], 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, 0, err
	}
	if string(b[:8]) != magic || binary.BigEndian.Uint32(b[24:]) != crc32.Checksum(b[:24], castagnoli) {
		return nil, 0, fmt.Errorf("%w: its head", ErrDamaged)
	}
	s = &file{f: f, path: path, base: binary.BigEndian.Uint64(b[8:]), start: crc32.Checksum(b[8:24], castagnoli), end: headSize}
	if name, err := strconv.ParseUint(filepath.Base(path[:len(path)-len(suffix)]), 10, 64); err != nil || name != s.base {
		return nil, 0, fmt.Errorf("%w: its head says that it begins with record %d", ErrDamaged, s.base)
	}
	return s, binary.BigEndian.Uint32(b[16:]), nil
}

// create makes a file of zeros under a name that no file of the log has.
func create(path string, size int64) (f *os.File, err error) {
	f, err = os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	if err := fill(f, 0, size); err != nil {
		return nil, errors.Join(err, f.Close(), os.Remove(path))
	}
	return f, nil
}

// fill writes zeros, so that a later sync has no blocks to allocate, and syncs them.
func fill(f *os.File, from, to int64) error {
	zeros := make([]byte, min(chunk, max(to-from, 0)))
	for ; from < to; from += int64(len(zeros)) {
		if _, err := f.WriteAt(zeros[:min(int64(len(zeros)), to-from)], from); err != nil {
			return err
		}
	}
	return f.Sync()
}

// walk finds the records up to the one with the index last, by their links alone. It stops
// where none follows.
func (s *file) walk(last uint64) error {
	info, err := s.f.Stat()
	if err != nil {
		return err
	}
	r := walker{r: io.NewSectionReader(s.f, 0, info.Size()), size: info.Size()}
	for s.last() != last {
		if s.end+frameSize > info.Size() {
			return nil
		}
		b, err := r.at(s.end, frameSize)
		if err != nil {
			return err
		}
		f := parseFrame(b)
		to := s.end + frameSize + int64(f.size())
		if f.size() == 0 || f.size() > maxRecord || to > info.Size() || f.after(s.link()) != f.link {
			return nil
		}
		s.places = append(s.places, place{s.end, f.link})
		s.end = to
	}
	return nil
}

// walker reads small pieces in rising order through one buffer.
type walker struct {
	r    io.ReaderAt
	size int64
	from int64
	buf  []byte
}

func (w *walker) at(off int64, n int) ([]byte, error) {
	if off < w.from || off+int64(n) > w.from+int64(len(w.buf)) {
		if w.buf == nil {
			w.buf = make([]byte, 1<<16)
		}
		w.buf = w.buf[:min(int64(cap(w.buf)), w.size-off)]
		w.from = off
		if _, err := w.r.ReadAt(w.buf, off); err != nil && !errors.Is(err, io.EOF) {
			w.buf = w.buf[:0]
			return nil, err
		}
	}
	return w.buf[off-w.from:][:n], nil
}

// read reads the nth record behind b and checks it.
func (s *file) read(n int, b []byte) ([]byte, frame, error) {
	at := s.places[n].at
	size := int(s.ends(n) - at)
	from := len(b)
	b = append(b, make([]byte, size)...)
	if _, err := s.f.ReadAt(b[from:], at); err != nil && !errors.Is(err, io.EOF) {
		return nil, frame{}, err
	}
	f, record := parseFrame(b[from:]), b[from+frameSize:]
	switch {
	case f.size() != len(record), f.link != s.places[n].link, f.after(s.linkBefore(n)) != f.link:
		return nil, f, fmt.Errorf("%w: its link differs", ErrDamaged)
	case crc32.Checksum(record, castagnoli) != f.sum:
		return nil, f, fmt.Errorf("%w: checksum differs", ErrDamaged)
	}
	return record, f, nil
}

// torn gives the number of records that are whole, or were acknowledged, however they look:
// all before the first damaged one that is not followed by the beginning of a later batch,
// which would not have been written before the one before it was on disk.
func (s *file) torn(acked uint64) (int, error) {
	keep, bad := len(s.places), false
	var buf []byte
	for n := range s.places {
		if s.base+uint64(n) <= acked {
			continue
		}
		b, f, err := s.read(n, buf[:0])
		switch {
		case errors.Is(err, ErrDamaged):
			if !bad {
				keep, bad = n, true
			}
		case err != nil:
			return 0, err
		default:
			buf = b
			if bad && f.word&beginsBatch != 0 {
				keep, bad = len(s.places), false
			}
		}
	}
	return keep, nil
}

// cut drops all records but the first keep, and whatever follows them, and makes that last.
func (s *file) cut(keep int, size int64) error {
	end := int64(headSize)
	if keep > 0 {
		end = s.ends(keep - 1)
	}
	if err := s.f.Truncate(end); err != nil {
		return err
	}
	if err := fill(s.f, end, size); err != nil {
		return err
	}
	s.places, s.end = s.places[:keep], end
	return nil
}

// clean says that nothing but zeros follows the records.
func (s *file) clean() (bool, error) {
	buf, zeros := make([]byte, chunk), make([]byte, chunk)
	for at := s.end; ; {
		n, err := s.f.ReadAt(buf, at)
		if !bytes.Equal(buf[:n], zeros[:n]) {
			return false, nil
		}
		if errors.Is(err, io.EOF) {
			return true, nil
		}
		if err != nil {
			return false, err
		}
		at += int64(n)
	}
}
