package logstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/hashicorp/raft"
	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"github.com/conclave-llm/conclave/internal/boltpages"
	"github.com/conclave-llm/conclave/internal/durable"
	"github.com/conclave-llm/conclave/internal/fault"
	"github.com/conclave-llm/conclave/node/consensus/logstore/segment"
)

const (
	logDir      = "log"       // the folder of the log's files
	stableFile  = "stable.db" // in it: term, vote, and where the log begins
	witnessFile = "log.hwm"

	// lockWait is how long the files of another process are waited for.
	lockWait = time.Second
)

var (
	stableBucket = []byte("stable")
	headBucket   = []byte("head")
	// headKey is the key of the log's first index, which is written when its head is cut: files of the
	// log go as a whole.
	headKey = []byte("first")
)

var (
	// ErrCorrupt says that stored bytes are not those that were written.
	ErrCorrupt = errors.New("stored bytes are damaged")
	// ErrLost says that entries which this node acknowledged are missing from its log: it
	// must not vote again under its id.
	ErrLost = errors.New("acknowledged log entries are missing")
	// ErrLocked says that another process has the files open.
	ErrLocked = errors.New("another process has the files open")
	// errKeyNotFound has the text that raft looks for.
	errKeyNotFound = errors.New("not found")
)

// Watch is told of a store's writes and troubles. Its methods must not call the store.
type Watch interface {
	// Begin says that a synced write begins.
	Begin()
	// End says how it ended.
	End(err error)
	// Broken says that the node must not go on: stored bytes are not what was written
	// (ErrCorrupt), or the witness of the log cannot be kept.
	Broken(err error)
}

// Store keeps Raft's log in files of their own (package segment) and term and vote in a bbolt
// file. Every entry and value carries a CRC32C, which is checked on each read. Indexes have no
// gaps and are never overwritten; the witness beside them remembers the highest that was
// acknowledged. It implements raft.LogStore, raft.MonotonicLogStore and raft.StableStore, and
// on purpose nothing more.
type Store struct {
	log     *segment.Log
	db      *bbolt.DB
	witness *witness
	watch   Watch // may be nil

	closing sync.Once
	closed  error // of Close

	mu   sync.Mutex    // held by writers
	keep func() uint64 // guarded by mu; see KeepAfter; nil: anything may go
	head uint64        // guarded by mu; what is stored under headKey
}

// Open opens or creates the store in dir; the log of an earlier version is converted. A nil
// watch is told nothing.
func Open(dir string, watch Watch) (*Store, error) {
	return openSized(dir, watch, 0)
}

// openSized opens the store with files of the log of a size.
func openSized(dir string, watch Watch, size int64) (*Store, error) {
	s := &Store{watch: watch}
	if err := s.open(dir, size); err != nil {
		return nil, fmt.Errorf("open log store: %w", errors.Join(err, s.Close()))
	}
	return s, nil
}

// open opens the parts.
func (s *Store) open(dir string, size int64) (err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if err := upgrade(dir); err != nil {
		return err
	}
	files := filepath.Join(dir, logDir)
	if err := os.MkdirAll(files, 0o700); err != nil {
		return err
	}
	if s.db, err = openStable(filepath.Join(files, stableFile)); err != nil {
		return damaged(err)
	}
	if s.witness, err = openWitness(filepath.Join(dir, witnessFile), s.broken); err != nil {
		return err
	}
	if err := s.db.View(s.readHead); err != nil {
		return err
	}
	s.log, err = segment.Open(segment.Config{Dir: files, First: s.head, Acked: s.witness.index(), Size: size})
	if err != nil {
		return damaged(err)
	}
	return errors.Join(durable.SyncDir(files), durable.SyncDir(dir), durable.SyncDir(filepath.Dir(dir))) // the files may be new
}

// openStable opens the file of term and vote, which one process at a time can.
func openStable(path string) (*bbolt.DB, error) {
	db, err := boltpages.Open(path, 0o600, &bbolt.Options{
		Timeout:        lockWait,
		NoFreelistSync: true,
		FreelistType:   bbolt.FreelistMapType,
	})
	if errors.Is(err, bolterrors.ErrTimeout) {
		err = fmt.Errorf("%s: %w", path, ErrLocked)
	}
	if err != nil {
		return nil, err
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		for _, name := range [][]byte{stableBucket, headBucket} {
			if _, err := tx.CreateBucketIfNotExists(name); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

// readHead reads where the log begins.
func (s *Store) readHead(tx *bbolt.Tx) error {
	v := tx.Bucket(headBucket).Get(headKey)
	if v == nil {
		return nil
	}
	val, err := decodeStable(headKey, v)
	if err == nil && len(val) != 8 {
		err = ErrCorrupt
	}
	if err != nil {
		return fmt.Errorf("read where the log begins: %w", err)
	}
	s.head = binary.BigEndian.Uint64(val)
	return nil
}

// setHeadLocked stores where the log begins.
func (s *Store) setHeadLocked(first uint64) error {
	err := s.db.Update(func(tx *bbolt.Tx) error {
		return tx.Bucket(headBucket).Put(headKey, encodeStable(headKey, binary.BigEndian.AppendUint64(nil, first)))
	})
	if err == nil {
		s.head = first
	}
	return err
}

// damaged says of damage of the log's files what this package says.
func damaged(err error) error {
	if errors.Is(err, segment.ErrDamaged) || errors.Is(err, boltpages.ErrDamaged) {
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return err
}

// Check compares the log with the witness: the log or the newest snapshot must reach what
// was acknowledged, else ErrLost. It also reads every entry: raft panics over a damaged one at its start,
// and one that is found here is fetched anew.
func (s *Store) Check(snapshotIndex uint64) error {
	first, last := s.log.Bounds()
	if have, want := max(last, snapshotIndex), s.witness.index(); have < want {
		return fmt.Errorf("%w: log and snapshots end at %d, acknowledged was %d", ErrLost, have, want)
	}
	var l raft.Log
	for i := first; i <= last && i != 0; i++ {
		if err := s.GetLog(i, &l); err != nil {
			return err
		}
	}
	return nil
}

// Follow empties a log that ends before the newest snapshot, which is known to be good: Raft goes on
// behind the snapshot, and the log must not get a gap. A crash between the end of a received snapshot and Raft's own
// emptying of the log leaves it so.
func (s *Store) Follow(snapshotIndex uint64) error {
	if _, last := s.log.Bounds(); last == 0 || last >= snapshotIndex {
		return nil
	}
	return s.DeleteRange(0, snapshotIndex)
}

// KeepAfter says after which index nothing is to be deleted at the head of the log, asked at
// each deletion: that of the oldest snapshot, which may be needed if newer ones turn out
// damaged.
func (s *Store) KeepAfter(index func() uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keep = index
}

// IsMonotonic implements raft.MonotonicLogStore.
func (s *Store) IsMonotonic() bool { return true }

// FirstIndex implements raft.LogStore.
func (s *Store) FirstIndex() (uint64, error) {
	first, _ := s.log.Bounds()
	return first, nil
}

// LastIndex implements raft.LogStore.
func (s *Store) LastIndex() (uint64, error) {
	_, last := s.log.Bounds()
	return last, nil
}

// GetLog implements raft.LogStore; a damaged entry gives ErrCorrupt.
func (s *Store) GetLog(index uint64, l *raft.Log) error {
	b, err := s.log.Read(index, nil)
	if errors.Is(err, segment.ErrNotFound) {
		return raft.ErrLogNotFound
	}
	if err == nil {
		err = decodeLog(b, index, l)
	}
	if err != nil {
		return s.report(fmt.Errorf("read log entry %d: %w", index, damaged(err)))
	}
	return nil
}

// StoreLog implements raft.LogStore.
func (s *Store) StoreLog(l *raft.Log) error { return s.StoreLogs([]*raft.Log{l}) }

// StoreLogs implements raft.LogStore: all with one write and one sync. The first must follow
// the last stored entry and each its predecessor.
func (s *Store) StoreLogs(logs []*raft.Log) error {
	if len(logs) == 0 {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	_, last := s.log.Bounds()
	next := last + 1
	if last == 0 {
		next = logs[0].Index
	}
	for i, l := range logs {
		if l.Index != next+uint64(i) {
			return fmt.Errorf("store log entries: index %d where %d was due", l.Index, next+uint64(i))
		}
	}
	if err := s.witness.failed(); err != nil { // else the entries would be stored and not acknowledged
		s.broken(err)
		return fmt.Errorf("store log entries: %w", err)
	}
	fault.Point(fault.LogStore)
	if err := s.write(func() error { return s.appendLocked(logs, last == 0) }); err != nil {
		return fmt.Errorf("store log entries: %w", err)
	}
	fault.Point(fault.LogStored)
	return nil
}

// appendLocked writes entries that follow the last one.
func (s *Store) appendLocked(logs []*raft.Log, empty bool) error {
	if empty && s.head != 0 { // where the log that was there before began
		if err := s.setHeadLocked(0); err != nil {
			return err
		}
	}
	err := s.log.Append(logs[0].Index, len(logs), func(b []byte, i int) ([]byte, error) { return appendLog(b, logs[i]), nil })
	if err != nil {
		return err
	}
	last := logs[len(logs)-1]
	return s.witness.raise(last.Index, last.Term)
}

// DeleteRange implements raft.LogStore for ranges at either end of the log; one in the
// middle would leave a gap and is refused.
func (s *Store) DeleteRange(lo, hi uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	first, last := s.log.Bounds()
	lo, hi = max(lo, first), min(hi, last)
	if first == 0 || lo > hi {
		return nil
	}
	var err error
	switch {
	case hi == last:
		err = s.write(func() error { return s.deleteTailLocked(lo) })
	case lo == first:
		if s.keep != nil {
			hi = min(hi, s.keep())
		}
		if hi < first {
			return nil
		}
		err = s.write(func() error { return s.deleteHeadLocked(hi) })
	default:
		err = fmt.Errorf("%d to %d: the log is %d to %d and must not get a gap", lo, hi, first, last)
	}
	if err != nil {
		return fmt.Errorf("delete log entries: %w", err)
	}
	return nil
}

// deleteTailLocked deletes from the end down to lo, after the witness was lowered for good.
func (s *Store) deleteTailLocked(lo uint64) error {
	if err := s.witness.lower(lo - 1); err != nil {
		return err
	}
	return s.log.CutTail(lo - 1)
}

// deleteHeadLocked deletes from the start up to hi, after it was noted that the log begins
// behind it.
func (s *Store) deleteHeadLocked(hi uint64) error {
	if err := s.setHeadLocked(hi + 1); err != nil {
		return err
	}
	return s.log.CutHead(hi + 1)
}

// Set implements raft.StableStore.
func (s *Store) Set(key, val []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.update(func(tx *bbolt.Tx) error {
		return tx.Bucket(stableBucket).Put(key, encodeStable(key, val))
	})
	if err != nil {
		return fmt.Errorf("store %s: %w", key, err)
	}
	return nil
}

// Get implements raft.StableStore.
func (s *Store) Get(key []byte) ([]byte, error) {
	var val []byte
	err := s.db.View(func(tx *bbolt.Tx) error {
		v := tx.Bucket(stableBucket).Get(key)
		if v == nil {
			return errKeyNotFound
		}
		var err error
		val, err = decodeStable(key, v)
		return err
	})
	if errors.Is(err, errKeyNotFound) {
		return nil, errKeyNotFound // raft compares the text
	}
	if err != nil {
		return nil, s.report(fmt.Errorf("read %s: %w", key, err))
	}
	return val, nil
}

// SetUint64 implements raft.StableStore.
func (s *Store) SetUint64(key []byte, val uint64) error {
	return s.Set(key, binary.BigEndian.AppendUint64(nil, val))
}

// GetUint64 implements raft.StableStore; 0 if there is no such key.
func (s *Store) GetUint64(key []byte) (uint64, error) {
	val, err := s.Get(key)
	switch {
	case errors.Is(err, errKeyNotFound):
		return 0, nil
	case err != nil:
		return 0, err
	case len(val) != 8:
		return 0, fmt.Errorf("read %s: %w: %d bytes", key, ErrCorrupt, len(val))
	default:
		return binary.BigEndian.Uint64(val), nil
	}
}

// update is a synced transaction that the watch is told of.
func (s *Store) update(f func(*bbolt.Tx) error) error {
	return s.write(func() error { return s.db.Update(f) })
}

// write tells the watch of a synced write.
func (s *Store) write(f func() error) error {
	if s.watch != nil {
		s.watch.Begin()
	}
	err := f()
	if s.watch != nil {
		s.watch.End(err)
	}
	return err
}

// report tells the watch of damage and returns err.
func (s *Store) report(err error) error {
	if errors.Is(err, ErrCorrupt) {
		s.broken(err)
	}
	return err
}

// broken tells the watch that the node must not go on.
func (s *Store) broken(err error) {
	if s.watch != nil {
		s.watch.Broken(err)
	}
}

// Close syncs the witness and closes the files.
func (s *Store) Close() error {
	s.closing.Do(func() {
		var errs []error
		if s.log != nil {
			errs = append(errs, s.log.Close())
		}
		if s.witness != nil {
			errs = append(errs, s.witness.close())
		}
		if s.db != nil {
			errs = append(errs, s.db.Close())
		}
		if err := errors.Join(errs...); err != nil {
			s.closed = fmt.Errorf("close log store: %w", err)
		}
	})
	return s.closed
}
