package store

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"github.com/conclave-llm/conclave/fsm/frame"
	"github.com/conclave-llm/conclave/internal/boltpages"
)

const (
	fileName = "fsm.db"
	// tempPattern names the files that a start may delete.
	tempPattern = "fsm-*.tmp"
)

// ErrClosed is what a file that was closed answers.
var ErrClosed = bolterrors.ErrDatabaseNotOpen

// Config is what Open needs.
type Config struct {
	Dir    string               // holds the file; made if it is not there
	BootID string               // of the running system; "": read from the system
	Read   func(*bolt.Tx) error // reads and verifies the state; an error rebuilds the file
	Logger *slog.Logger         // not nil
}

// File is the state's file. It is written by one goroutine and read by any.
type File struct {
	dir     string
	log     *slog.Logger
	kept    bool
	unclean bool        // kept, though the last run did not end with Close
	doubted atomic.Bool // the file must not be trusted again

	mu sync.RWMutex // guards db against the swap of a restore or a compaction
	db *bolt.DB

	closing sync.WaitGroup // files that were replaced

	stop    chan struct{} // closed by Close
	trimmed chan struct{} // closed when keepSmall has ended
}

// Open opens the file in cfg.Dir. If it cannot be trusted (no clean stop and the system has
// been restarted, or cfg.Read refuses it) Open puts it aside and starts an empty one.
func Open(cfg Config) (*File, error) {
	f := &File{dir: cfg.Dir, log: cfg.Logger, stop: make(chan struct{}), trimmed: make(chan struct{})}
	if err := f.open(cfg); err != nil {
		return nil, err
	}
	f.Trim() // it was read whole
	go f.keepSmall()
	return f, nil
}

// open opens the file of the last run, or an empty one.
func (f *File) open(cfg Config) error {
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return fmt.Errorf("make folder of the state: %w", err)
	}
	removeTemps(cfg.Dir)
	boot, err := bootID(cfg.BootID)
	if err != nil {
		return err
	}
	discard := remove
	if trusted(cfg.Dir, boot) {
		if err = f.keep(boot, cfg.Read); err == nil {
			f.kept = true
			return nil
		}
		f.log.Warn("state file is damaged and will be rebuilt", "err", err)
		discard = setAside
	}
	if err := discard(cfg.Dir); err != nil {
		return err
	}
	if err := startWriting(cfg.Dir, boot); err != nil {
		return err
	}
	db, err := openFile(filepath.Join(cfg.Dir, fileName))
	if err != nil {
		return err
	}
	return f.load(db, nil, cfg.Read)
}

// keep opens the file of the last run. The stamp is gone before the first write.
func (f *File) keep(boot string, read func(*bolt.Tx) error) error {
	stamp, err := readStamp(f.dir)
	if err != nil {
		return err
	}
	f.unclean = stamp == nil
	if err := startWriting(f.dir, boot); err != nil {
		return err
	}
	db, err := openShrunk(f.dir, shrinkFrom)
	if err != nil {
		return err
	}
	return f.load(db, stamp, read)
}

// load reads the file. A stamp must tell of the same state.
func (f *File) load(db *bolt.DB, stamp *Position, read func(*bolt.Tx) error) error {
	whole := func(tx *bolt.Tx) error {
		if err := read(tx); err != nil || stamp == nil {
			return err
		}
		pos, err := ReadPosition(tx)
		if err == nil && *stamp != pos {
			err = fmt.Errorf("stamp names index %d, the file %d: %w", stamp.Index, pos.Index, frame.ErrDamaged)
		}
		return err
	}
	if err := readWhole(db, whole); err != nil {
		return errors.Join(err, db.Close())
	}
	f.db = db
	return nil
}

// readWhole reads a file of which any page may be damaged.
func readWhole(db *bolt.DB, read func(*bolt.Tx) error) error {
	return Guard(func() error { return db.View(read) })
}

// openFile opens a file of the state, which may be damaged.
func openFile(path string) (*bolt.DB, error) {
	mmap := 1 << 28
	if strconv.IntSize == 64 {
		mmap = 8 << 30 // address space only: a reader never waits for the file to be mapped anew
	}
	db, err := boltpages.Open(path, 0o600, &bolt.Options{
		Timeout:         time.Second,
		NoSync:          true,
		NoGrowSync:      true,
		NoFreelistSync:  true,
		FreelistType:    bolt.FreelistMapType,
		InitialMmapSize: mmap,
	})
	if errors.Is(err, boltpages.ErrDamaged) {
		err = fmt.Errorf("%w: %w", err, frame.ErrDamaged)
	}
	if err != nil {
		return nil, err
	}
	if err := db.Update(createBuckets); err != nil {
		return nil, errors.Join(fmt.Errorf("open %s: %w", filepath.Base(path), err), db.Close())
	}
	return db, nil
}

// Kept says that the file of the last run was kept; if not, the state was empty at Open.
func (f *File) Kept() bool { return f.kept }

// Unclean says that the file of the last run was kept though that run was killed: its values are read
// with their checksums, but nobody has compared the whole with the state hash.
func (f *File) Unclean() bool { return f.kept && f.unclean }

// Begin begins the transaction of a batch.
func (f *File) Begin() (*bolt.Tx, error) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.db.Begin(true)
}

// View runs a short read. A damaged page is an error that wraps frame.ErrDamaged.
func (f *File) View(fn func(*bolt.Tx) error) error {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return Guard(func() error { return f.db.View(fn) })
}

// Doubt makes the next start rebuild the file.
func (f *File) Doubt() {
	f.doubted.Store(true)
	distrust(f.dir)
}

func (f *File) doubtIfDamaged(err error) {
	if errors.Is(err, frame.ErrDamaged) {
		f.Doubt()
	}
}

// Scrub verifies every value and the state hash. A failure makes the next start rebuild the
// file.
func (f *File) Scrub() error {
	err := f.View(func(tx *bolt.Tx) error {
		return verify(tx, func(Bucket, []byte, []byte) error { return nil })
	})
	if err != nil {
		f.doubtIfDamaged(err)
		return fmt.Errorf("scrub state: %w", err)
	}
	return nil
}

// Close closes the file. Unless it is doubted, it is synced and stamped with the position,
// so that the next start trusts it.
func (f *File) Close(pos Position) error {
	close(f.stop)
	<-f.trimmed
	f.closing.Wait()
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.doubted.Load() {
		return f.db.Close()
	}
	if err := f.db.Sync(); err != nil {
		f.Doubt()
		return errors.Join(fmt.Errorf("sync state: %w", err), f.db.Close())
	}
	if err := f.db.Close(); err != nil {
		return fmt.Errorf("close state: %w", err)
	}
	return writeStamp(f.dir, pos)
}

// removeTemps deletes what an interrupted snapshot or restore left.
func removeTemps(dir string) {
	names, err := filepath.Glob(filepath.Join(dir, tempPattern))
	if err != nil {
		return // the pattern is a constant
	}
	for _, n := range names {
		_ = os.RemoveAll(n)
	}
}
