package segment

import (
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/conclave-llm/conclave/internal/durable"
)

const (
	suffix = ".log"
	// nextName is the file that is made ahead of its use.
	nextName = "next" + ".tmp"
	// fileSize is how large a file is made. A batch that is larger gets one of its own size.
	fileSize = 8 << 20
	// keepBuffer is the largest buffer that is kept between appends.
	keepBuffer = 4 << 20
)

var (
	// ErrDamaged says that a record or a file is not as it was written.
	ErrDamaged = errors.New("damaged")
	// ErrNotFound says that the log has no record with the index.
	ErrNotFound = errors.New("no such record")
)

// Config says how to open a log.
type Config struct {
	Dir   string // made if it is not there
	First uint64 // records before it were cut off; 0: none
	Acked uint64 // the highest index that is known to have been acknowledged
	Size  int64  // of a file; 0: 8 MiB
}

// Log is an open log. One goroutine at a time changes it; any number may read.
type Log struct {
	dir  string
	size int64

	mu    sync.RWMutex // guards files, what is in them, and first; never held over a write
	files []*file
	first uint64 // records before it are gone, though a file may still have them

	buf    []byte // of the append under way
	failed error  // the first write of which nobody knows how much is on disk: none may follow it

	next   chan nextFile // has the file made ahead, once it is made
	making bool          // next will have one
	wg     sync.WaitGroup

	step func(string) error // asked before each change on disk, by tests; nil: none fails
}

// nextFile is a file that was made ahead, or why there is none.
type nextFile struct {
	f   *os.File
	err error
}

// Open opens the log in a folder. Records that were not acknowledged, and are not whole, are
// cut off its end; ErrDamaged says that others are missing.
func Open(cfg Config) (*Log, error) {
	l := &Log{dir: cfg.Dir, size: cfg.Size, first: cfg.First, next: make(chan nextFile, 1)}
	if l.size == 0 {
		l.size = fileSize
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	err := l.load(cfg.Acked)
	if err != nil {
		return nil, fmt.Errorf("open log: %w", errors.Join(err, l.Close()))
	}
	return l, nil
}

// load opens the files and finds their records.
func (l *Log) load(acked uint64) error {
	names, err := filepath.Glob(filepath.Join(l.dir, "*"+suffix))
	if err != nil {
		return err
	}
	if err := os.Remove(filepath.Join(l.dir, nextName)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	slices.Sort(names)
	var links []uint32 // before each file
	for _, name := range names {
		s, before, err := openFile(name)
		if err != nil {
			return err
		}
		l.files, links = append(l.files, s), append(links, before)
	}
	for len(l.files) > 1 && l.files[1].base <= l.first { // a cut was interrupted
		if err := l.removeFront(); err != nil {
			return err
		}
		links = links[1:]
	}
	for i, s := range l.files {
		if i > 0 && links[i] != l.files[i-1].link() {
			return fmt.Errorf("%s: %w: it does not follow the file before it", filepath.Base(s.path), ErrDamaged)
		}
		if i+1 < len(l.files) {
			err = s.sealed(l.files[i+1].base - 1)
		} else {
			err = l.mend(s, acked)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", filepath.Base(s.path), err)
		}
	}
	if len(l.files) > 0 {
		l.first = max(l.first, l.files[0].base)
	}
	return nil
}

// sealed walks a file that another follows.
func (s *file) sealed(last uint64) error {
	if err := s.walk(last); err != nil {
		return err
	}
	if s.last() != last {
		return fmt.Errorf("%w: it ends with record %d, not %d", ErrDamaged, s.last(), last)
	}
	return nil
}

// mend walks the last file and cuts off what a crash left behind its end.
func (l *Log) mend(s *file, acked uint64) error {
	if err := s.walk(math.MaxUint64); err != nil {
		return err
	}
	whole, err := s.clean()
	if err != nil {
		return err
	}
	if s.last() < acked { // nothing is touched: it is for a person to look at
		if !whole {
			return fmt.Errorf("%w: after record %d", ErrDamaged, s.last())
		}
		return nil
	}
	keep, err := s.torn(acked)
	if err != nil || whole && keep == len(s.places) {
		return err
	}
	return s.cut(keep, l.size)
}

// Bounds gives the indexes of the first and the last record, 0 and 0 if there is none.
func (l *Log) Bounds() (first, last uint64) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.boundsLocked()
}

func (l *Log) boundsLocked() (first, last uint64) {
	if len(l.files) == 0 {
		return 0, 0
	}
	if last = l.files[len(l.files)-1].last(); last < l.first {
		return 0, 0
	}
	return l.first, last
}

// Read reads a record into b, which is made larger if it is too small, and returns the part of
// it that holds the record.
func (l *Log) Read(index uint64, b []byte) ([]byte, error) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	first, last := l.boundsLocked()
	if index < first || index > last || last == 0 {
		return nil, ErrNotFound
	}
	i, found := slices.BinarySearchFunc(l.files, index, func(s *file, index uint64) int {
		switch {
		case s.base < index:
			return -1
		case s.base > index:
			return 1
		default:
			return 0
		}
	})
	if !found {
		i--
	}
	s := l.files[i]
	record, _, err := s.read(int(index-s.base), b[:0])
	return record, err
}

// Append stores n records, the first of which has the index, and syncs them together. put
// appends the ith to b. The index must follow the last record; in an empty log it may be any.
func (l *Log) Append(index uint64, n int, put func(b []byte, i int) ([]byte, error)) error {
	if l.failed != nil {
		return l.failed
	}
	_, last := l.Bounds()
	if last != 0 && index != last+1 || index == 0 {
		return fmt.Errorf("append record %d to a log that ends with %d", index, last)
	}
	if last == 0 {
		if err := l.reset(); err != nil {
			return err
		}
	}
	b, places, err := l.encode(n, put)
	if err != nil {
		return err
	}
	s := l.tail()
	if s == nil || len(s.places) > 0 && s.end+int64(len(b)) > l.size {
		return l.roll(index, b, places)
	}
	link(b, places, s.link(), s.end)
	if err := l.write(s.f, b, s.end); err != nil {
		return err
	}
	l.mu.Lock()
	s.places, s.end = append(s.places, places...), s.end+int64(len(b))
	l.mu.Unlock()
	if s.end > l.size/2 {
		l.makeNext()
	}
	return nil
}

// encode puts records and their frames, without links, into one buffer.
func (l *Log) encode(n int, put func(b []byte, i int) ([]byte, error)) (b []byte, places []place, err error) {
	b, places = l.buf[:0], make([]place, n)
	for i := range n {
		at := len(b)
		b, err = put(append(b, make([]byte, frameSize)...), i)
		if err != nil {
			return nil, nil, err
		}
		record := b[at+frameSize:]
		if len(record) == 0 || len(record) > maxRecord {
			return nil, nil, fmt.Errorf("append a record of %d bytes: it must have 1 to %d", len(record), maxRecord)
		}
		f := frame{word: uint32(len(record)), sum: crc32.Checksum(record, castagnoli)}
		if i == 0 {
			f.word |= beginsBatch
		}
		f.put(b[at:])
		places[i].at = int64(at)
	}
	l.buf = b
	if cap(b) > keepBuffer {
		l.buf = nil
	}
	return b, places, nil
}

// link writes the links of records that are to be at an offset, after a record with the link
// before, and tells the places of both.
func link(b []byte, places []place, before uint32, offset int64) {
	for i := range places {
		at := places[i].at
		f := parseFrame(b[at:])
		f.link = f.after(before)
		f.put(b[at:])
		before = f.link
		places[i] = place{offset + at, f.link}
	}
}

// write writes and syncs. After a failed sync nobody knows what is on disk, and another may
// succeed without it, so nothing is written from then on.
func (l *Log) write(f *os.File, b []byte, at int64) error {
	if err := l.ask("write"); err != nil {
		return err
	}
	if _, err := f.WriteAt(b, at); err != nil {
		return fmt.Errorf("append: %w", err)
	}
	if err := l.ask("sync"); err != nil {
		return err
	}
	if err := Datasync(f); err != nil {
		return l.fail(err)
	}
	return nil
}

// fail keeps the first failure.
func (l *Log) fail(err error) error {
	if l.failed == nil {
		l.failed = fmt.Errorf("the log cannot be written any more: %w", err)
	}
	return l.failed
}

// roll begins a new file with the records in b. It gets its name once it is whole.
func (l *Log) roll(index uint64, b []byte, places []place) error {
	var before uint32
	if s := l.tail(); s != nil {
		before = s.link()
	}
	next, err := l.takeNext()
	if err != nil {
		return fmt.Errorf("append: make a file: %w", err)
	}
	h := head(index, before)
	s := &file{f: next, path: filepath.Join(l.dir, fileName(index)), base: index, start: crc32.Checksum(h[8:24], castagnoli)}
	link(b, places, s.start, headSize)
	err = l.write(next, append(h, b...), 0)
	if err == nil {
		err = l.rename(s.path)
	}
	if err != nil {
		return errors.Join(err, next.Close())
	}
	s.places, s.end = places, headSize+int64(len(b))
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.files) == 0 {
		l.first = index
	}
	l.files = append(l.files, s)
	return nil
}

// rename gives the file made ahead its name.
func (l *Log) rename(path string) error {
	if err := l.ask("rename"); err != nil {
		return err
	}
	if err := os.Rename(filepath.Join(l.dir, nextName), path); err != nil {
		return fmt.Errorf("append: %w", err)
	}
	if err := l.ask("sync folder"); err != nil {
		return err
	}
	if err := durable.SyncDir(l.dir); err != nil {
		return l.fail(err)
	}
	return nil
}

// makeNext makes the next file in the background.
func (l *Log) makeNext() {
	if l.making {
		return
	}
	l.making = true
	l.wg.Go(func() {
		f, err := create(filepath.Join(l.dir, nextName), l.size)
		l.next <- nextFile{f, err}
	})
}

// takeNext gives the file made ahead, or makes one.
func (l *Log) takeNext() (*os.File, error) {
	if l.making {
		n := <-l.next
		l.making = false
		if n.err == nil {
			return n.f, nil
		}
	}
	return create(filepath.Join(l.dir, nextName), l.size)
}

// CutTail drops all records after last.
func (l *Log) CutTail(last uint64) error {
	if l.failed != nil {
		return l.failed
	}
	first, have := l.Bounds()
	switch {
	case last >= have:
		return nil
	case last < first:
		return l.reset()
	}
	for l.tail().base > last {
		if err := l.removeBack(); err != nil {
			return l.fail(err)
		}
	}
	if err := l.ask("truncate"); err != nil {
		return err
	}
	l.mu.Lock() // held over the disk: who reads what is being cut must not find it changed
	defer l.mu.Unlock()
	s := l.files[len(l.files)-1]
	if err := s.cut(int(last-s.base)+1, l.size); err != nil {
		return l.fail(fmt.Errorf("cut the log: %w", err))
	}
	return nil
}

// CutHead drops all records before first, which the log must have: whoever opens the log again
// must name it. Only whole files go.
func (l *Log) CutHead(first uint64) error {
	if have, last := l.Bounds(); first < have || first > last {
		return fmt.Errorf("cut the log %d to %d before record %d", have, last, first)
	}
	l.mu.Lock()
	l.first = first
	l.mu.Unlock()
	for len(l.files) > 1 && l.files[1].base <= first {
		if err := l.removeFront(); err != nil {
			return err
		}
	}
	return nil
}

// reset drops everything, the end first, so that a crash leaves no gap.
func (l *Log) reset() error {
	for l.tail() != nil {
		if err := l.removeBack(); err != nil {
			return l.fail(err)
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.first = 0
	return nil
}

// tail is the last file, nil if there is none.
func (l *Log) tail() *file {
	if len(l.files) == 0 {
		return nil
	}
	return l.files[len(l.files)-1]
}

// removeBack removes the last file for good.
func (l *Log) removeBack() error {
	if err := l.ask("remove"); err != nil {
		return err
	}
	l.mu.Lock()
	s := l.tail()
	l.files = l.files[:len(l.files)-1]
	l.mu.Unlock()
	if err := errors.Join(os.Remove(s.path), s.f.Close(), durable.SyncDir(l.dir)); err != nil {
		return fmt.Errorf("cut the log: %w", err)
	}
	return nil
}

// removeFront removes the first file. Should that not last, Open does it again.
func (l *Log) removeFront() error {
	if err := l.ask("remove front"); err != nil {
		return err
	}
	l.mu.Lock()
	s := l.files[0]
	l.files = slices.Clone(l.files[1:])
	l.mu.Unlock()
	if err := errors.Join(os.Remove(s.path), s.f.Close()); err != nil {
		return fmt.Errorf("cut the log: %w", err)
	}
	return nil
}

// ask lets a test fail.
func (l *Log) ask(step string) error {
	if l.step == nil {
		return nil
	}
	return l.step(step)
}

// Close closes the files. Whatever was stored is on disk already.
func (l *Log) Close() error {
	l.wg.Wait()
	var errs []error
	if l.making {
		l.making = false
		if n := <-l.next; n.err == nil {
			errs = append(errs, n.f.Close(), os.Remove(filepath.Join(l.dir, nextName)))
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.files {
		errs = append(errs, s.f.Close())
	}
	l.files = nil
	return errors.Join(errs...)
}
