package store

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	bolt "go.etcd.io/bbolt"

	"github.com/conclave-llm/conclave/fsm/frame"
	"github.com/conclave-llm/conclave/internal/fault"
)

// Snapshot is the state as one read transaction sees it. One goroutine uses it.
type Snapshot struct {
	f  *File
	db *bolt.DB // of f when the transaction began
	tx *bolt.Tx // nil once it has ended
}

// Snapshot begins a read transaction; Write does the work.
func (f *File) Snapshot() (*Snapshot, error) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	tx, err := f.db.Begin(false)
	if err != nil {
		return nil, fmt.Errorf("begin snapshot: %w", err)
	}
	return &Snapshot{f: f, db: f.db, tx: tx}, nil
}

// Write writes the header, to which describe adds what it reads from the state, and a
// compacted copy of the file. Every value is verified and the state hash computed anew, so
// that a damaged state makes no snapshot. The transaction ends before anything is sent: it
// would keep the file from reusing pages. It returns the size of the body.
func (s *Snapshot) Write(w io.Writer, describe func(*bolt.Tx, *Header) error) (uint64, error) {
	body, err := os.CreateTemp(s.f.dir, tempPattern)
	if err != nil {
		return 0, fmt.Errorf("make snapshot: %w", err)
	}
	defer func() {
		_ = body.Close()
		_ = os.Remove(body.Name())
	}()
	h, err := s.copyTo(body.Name(), describe)
	if err != nil {
		s.f.doubtIfDamaged(err)
		return 0, fmt.Errorf("make snapshot: %w", err)
	}
	if s.replaced() {
		return 0, fmt.Errorf("make snapshot: %w", errReplaced)
	}
	sum := sha256.New()
	n, err := io.Copy(sum, body)
	if err != nil {
		return 0, fmt.Errorf("make snapshot: %w", err)
	}
	h.Size, h.SHA256 = uint64(n), [32]byte(sum.Sum(nil))
	head, err := h.Encode()
	if err != nil {
		return 0, err
	}
	if _, err := body.Seek(0, io.SeekStart); err != nil {
		return 0, fmt.Errorf("make snapshot: %w", err)
	}
	if _, err := io.Copy(w, io.MultiReader(bytes.NewReader(head), body)); err != nil {
		return 0, fmt.Errorf("send snapshot: %w", err)
	}
	return h.Size, nil
}

// copyTo writes a compacted copy and ends the read transaction.
func (s *Snapshot) copyTo(path string, describe func(*bolt.Tx, *Header) error) (Header, error) {
	defer s.Release()
	if s.replaced() {
		return Header{}, errReplaced
	}
	pos, err := ReadPosition(s.tx)
	if err != nil {
		return Header{}, err
	}
	h := Header{Index: pos.Index, Term: pos.Term, Generation: pos.Generation, StateHash: pos.Hash.Bytes()}
	if err := describe(s.tx, &h); err != nil {
		return Header{}, err
	}
	defer s.f.Trim() // it was read whole
	return h, compact(s.tx, path, pos)
}

// errReplaced says that a snapshot is of a file that is gone: to keep it may be to go back.
var errReplaced = errors.New("the state was replaced by one that was received")

// replaced says that a restore has put another file in the place of the snapshot's.
func (s *Snapshot) replaced() bool {
	s.f.mu.RLock()
	defer s.f.mu.RUnlock()
	return s.db != s.f.db
}

// Release ends the transaction; it may be called twice.
func (s *Snapshot) Release() {
	if s.tx != nil {
		_ = s.tx.Rollback()
		s.tx = nil
	}
}

// Restore puts a snapshot whose header was read already in the place of the file. It is
// written aside, verified and read before install is called, which must make what was read
// the state: no View runs meanwhile. A failure leaves the file as it was.
func (f *File) Restore(h Header, body io.Reader, read func(*bolt.Tx) error, install func()) error {
	path, err := f.receive(h, body)
	if err != nil {
		return err
	}
	fault.Point(fault.RestoreReceived)
	db, err := openFile(path)
	if err != nil {
		return errors.Join(err, os.Remove(path))
	}
	err = adopt(db, h)
	if err == nil {
		err = readWhole(db, read)
	}
	if err == nil {
		fault.Point(fault.RestoreSwap)
		err = os.Rename(path, filepath.Join(f.dir, fileName))
		fault.Point(fault.RestoreSwapped)
	}
	if err != nil {
		return errors.Join(err, db.Close(), os.Remove(path))
	}
	f.retire(f.replace(db, install))
	return nil
}

// retire closes a replaced file aside: it waits for a snapshot, which may wait for whoever called this.
func (f *File) retire(old *bolt.DB) {
	f.closing.Go(func() {
		if err := old.Close(); err != nil {
			f.log.Warn("close of the replaced state file", "err", err)
		}
	})
}

// receive writes the body into a file and compares its checksum.
func (f *File) receive(h Header, r io.Reader) (string, error) {
	to, err := os.CreateTemp(f.dir, tempPattern)
	if err != nil {
		return "", err
	}
	sum := sha256.New()
	n, err := io.Copy(io.MultiWriter(to, sum), io.LimitReader(r, int64(min(h.Size, 1<<62))))
	if err == nil && (uint64(n) != h.Size || [32]byte(sum.Sum(nil)) != h.SHA256) {
		err = fmt.Errorf("%d bytes of %d are not those that were sent: %w", n, h.Size, frame.ErrDamaged)
	}
	if err = errors.Join(err, to.Close()); err != nil {
		return "", errors.Join(err, os.Remove(to.Name()))
	}
	return to.Name(), nil
}

// adopt checks that the file holds the state that the header tells of and moves it to the
// index of the header, which may be a later one without a command.
func adopt(db *bolt.DB, h Header) error {
	return db.Update(func(tx *bolt.Tx) error {
		pos, err := ReadPosition(tx)
		if err != nil {
			return err
		}
		if pos.Hash.Bytes() != h.StateHash {
			return fmt.Errorf("state hash is %x, the header says %x: %w", pos.Hash.Bytes(), h.StateHash, frame.ErrDamaged)
		}
		if err := verify(tx, func(Bucket, []byte, []byte) error { return nil }); err != nil {
			return err
		}
		if h.Index > pos.Index {
			pos.Index, pos.Term = h.Index, h.Term
		}
		pos.Generation = max(pos.Generation, h.Generation)
		return WritePosition(tx, pos)
	})
}

// replace makes db the file and returns the one before.
func (f *File) replace(db *bolt.DB, install func()) *bolt.DB {
	f.mu.Lock()
	defer f.mu.Unlock()
	old := f.db
	f.db = db
	install()
	return old
}
