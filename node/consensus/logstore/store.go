package logstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
	"go.etcd.io/bbolt"
)

const (
	logFile     = "log.db"
	witnessFile = "log.hwm"

	// deleteBatch is how many entries one transaction deletes, so that a compaction of
	// many does not hold up appends for long.
	deleteBatch = 4096
)

var (
	logBucket    = []byte("log")
	stableBucket = []byte("stable")
)

var (
	// ErrCorrupt says that stored bytes are not those that were written.
	ErrCorrupt = errors.New("stored bytes are damaged")
	// ErrLost says that entries which this node acknowledged are missing from its log: it
	// must not vote again under its id.
	ErrLost = errors.New("acknowledged log entries are missing")
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

// Store keeps Raft's log, term and vote in one bbolt file. Every entry and value carries a
// CRC32C, which is checked on each read. Indexes have no gaps and are never overwritten;
// the witness beside the file remembers the highest that was acknowledged. It implements
// raft.LogStore, raft.MonotonicLogStore and raft.StableStore, and on purpose nothing more.
type Store struct {
	db      *bbolt.DB
	witness *witness
	watch   Watch // may be nil

	closing sync.Once
	closed  error // of Close

	mu          sync.Mutex    // held by writers
	keep        func() uint64 // guarded by mu; see KeepAfter; nil: anything may go
	first, last atomic.Uint64
}

// Open opens or creates the store in dir. A nil watch is told nothing.
func Open(dir string, watch Watch) (*Store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open log store: %w", err)
	}
	db, err := bbolt.Open(filepath.Join(dir, logFile), 0o600, &bbolt.Options{
		Timeout:        time.Second, // for the lock of another process
		NoFreelistSync: true,
		FreelistType:   bbolt.FreelistMapType,
	})
	if err != nil {
		return nil, fmt.Errorf("open log store: %w", err)
	}
	s := &Store{db: db, watch: watch}
	err = db.Update(func(tx *bbolt.Tx) error {
		for _, name := range [][]byte{logBucket, stableBucket} {
			if _, err := tx.CreateBucketIfNotExists(name); err != nil {
				return err
			}
		}
		c := tx.Bucket(logBucket).Cursor()
		if k, _ := c.First(); k != nil {
			s.first.Store(binary.BigEndian.Uint64(k))
			k, _ = c.Last()
			s.last.Store(binary.BigEndian.Uint64(k))
		}
		return nil
	})
	if err == nil {
		s.witness, err = openWitness(filepath.Join(dir, witnessFile), s.broken)
	}
	if err != nil {
		return nil, fmt.Errorf("open log store: %w", errors.Join(err, db.Close()))
	}
	if err := errors.Join(syncDir(dir), syncDir(filepath.Dir(dir))); err != nil { // the files may be new
		return nil, fmt.Errorf("open log store: %w", errors.Join(err, s.Close()))
	}
	return s, nil
}

// Check compares the log with the witness: the log or the newest snapshot must reach what
// was acknowledged, else ErrLost. It also reads the last entry.
func (s *Store) Check(snapshotIndex uint64) error {
	last := s.last.Load()
	if have, want := max(last, snapshotIndex), s.witness.index(); have < want {
		return fmt.Errorf("%w: log and snapshots end at %d, acknowledged was %d", ErrLost, have, want)
	}
	if last == 0 {
		return nil
	}
	var l raft.Log
	return s.GetLog(last, &l)
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
func (s *Store) FirstIndex() (uint64, error) { return s.first.Load(), nil }

// LastIndex implements raft.LogStore.
func (s *Store) LastIndex() (uint64, error) { return s.last.Load(), nil }

// GetLog implements raft.LogStore; a damaged entry gives ErrCorrupt.
func (s *Store) GetLog(index uint64, l *raft.Log) error {
	err := s.db.View(func(tx *bbolt.Tx) error {
		v := tx.Bucket(logBucket).Get(indexKey(index))
		if v == nil {
			return raft.ErrLogNotFound
		}
		return decodeLog(v, index, l)
	})
	if err == nil || errors.Is(err, raft.ErrLogNotFound) {
		return err
	}
	return s.report(fmt.Errorf("read log entry %d: %w", index, err))
}

// StoreLog implements raft.LogStore.
func (s *Store) StoreLog(l *raft.Log) error { return s.StoreLogs([]*raft.Log{l}) }

// StoreLogs implements raft.LogStore: all in one synced transaction. The first must follow
// the last stored entry and each its predecessor.
func (s *Store) StoreLogs(logs []*raft.Log) error {
	if len(logs) == 0 {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	next := s.last.Load() + 1
	if s.last.Load() == 0 {
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
	err := s.write(func() error {
		if err := s.db.Update(func(tx *bbolt.Tx) error { return putLogs(tx.Bucket(logBucket), logs) }); err != nil {
			return err
		}
		last := logs[len(logs)-1]
		s.first.CompareAndSwap(0, logs[0].Index)
		s.last.Store(last.Index)
		return s.witness.raise(last.Index, last.Term)
	})
	if err != nil {
		return fmt.Errorf("store log entries: %w", err)
	}
	return nil
}

// putLogs writes entries.
func putLogs(b *bbolt.Bucket, logs []*raft.Log) error {
	b.FillPercent = 0.95 // keys only ever grow
	for _, l := range logs {
		if err := b.Put(indexKey(l.Index), encodeLog(l)); err != nil {
			return err
		}
	}
	return nil
}

// DeleteRange implements raft.LogStore for ranges at either end of the log; one in the
// middle would leave a gap and is refused. It deletes by key: deleting under a moving
// cursor skips entries in bbolt.
func (s *Store) DeleteRange(lo, hi uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	first, last := s.first.Load(), s.last.Load()
	lo, hi = max(lo, first), min(hi, last)
	if first == 0 || lo > hi {
		return nil
	}
	switch {
	case hi == last:
		return s.deleteTailLocked(lo)
	case lo == first:
		if s.keep != nil {
			hi = min(hi, s.keep())
		}
		return s.deleteHeadLocked(hi)
	default:
		return fmt.Errorf("delete log entries %d to %d: the log is %d to %d and must not get a gap", lo, hi, first, last)
	}
}

// deleteTailLocked deletes from the end down to lo, after the witness was lowered for good.
func (s *Store) deleteTailLocked(lo uint64) error {
	if err := s.write(func() error { return s.witness.lower(lo - 1) }); err != nil {
		return fmt.Errorf("delete log entries: %w", err)
	}
	for last := s.last.Load(); last >= lo; last = s.last.Load() {
		from := lo
		if last-lo >= deleteBatch {
			from = last - deleteBatch + 1
		}
		if err := s.deleteKeys(from, last); err != nil {
			return err
		}
		if from == s.first.Load() {
			s.first.Store(0)
			s.last.Store(0)
			return nil
		}
		s.last.Store(from - 1)
	}
	return nil
}

// deleteHeadLocked deletes from the start up to hi.
func (s *Store) deleteHeadLocked(hi uint64) error {
	for first := s.first.Load(); first <= hi; first = s.first.Load() {
		to := min(hi, first+deleteBatch-1)
		if err := s.deleteKeys(first, to); err != nil {
			return err
		}
		s.first.Store(to + 1)
	}
	return nil
}

// deleteKeys deletes a range in one transaction.
func (s *Store) deleteKeys(lo, hi uint64) error {
	err := s.update(func(tx *bbolt.Tx) error {
		b := tx.Bucket(logBucket)
		for i := lo; i <= hi; i++ {
			if err := b.Delete(indexKey(i)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("delete log entries: %w", err)
	}
	return nil
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
		if err := errors.Join(s.witness.close(), s.db.Close()); err != nil {
			s.closed = fmt.Errorf("close log store: %w", err)
		}
	})
	return s.closed
}

// indexKey is the key of an entry.
func indexKey(index uint64) []byte {
	return binary.BigEndian.AppendUint64(make([]byte, 0, 8), index)
}

// syncDir makes the names in a folder last.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("sync folder: %w", err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("sync folder: %w", err)
	}
	return nil
}
