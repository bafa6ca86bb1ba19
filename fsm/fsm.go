package fsm

import (
	"context"
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

	"github.com/conclave-llm/conclave/resource"
)

// Config is what Open needs.
type Config struct {
	Dir        string       // holds the file; made if it is not there
	NodeID     string       // whose leases Watch and Leases tell of
	Logger     *slog.Logger // nil: nothing is logged
	Watch      func(Change) // called after every committed batch in the apply goroutine: it must not block; nil: nobody watches
	FSMVersion uint32       // newest version that this node pretends to know; 0: Version
	Fatal      func(error)  // called when the state machine cannot go on (I/O error, unknown command): the process must stop, and Fatal must not call the FSM; nil: panic
	BootID     string       // of the running system; "": read from the system
}

// FSM is the state machine. It implements raft.BatchingFSM and raft.ConfigurationStore,
// whose methods raft calls from one goroutine; the reads are safe for concurrent use.
type FSM struct {
	cfg  Config
	log  *slog.Logger
	kept bool

	applyMu sync.Mutex // held while entries are applied, a snapshot is begun or restored, and by Close
	failed  error      // guarded by applyMu; the first fatal error
	closed  bool       // guarded by applyMu
	tx      *Tx        // guarded by applyMu; reused between entries
	small   *small     // guarded by applyMu; the decoded small tables

	doubted atomic.Bool // the file must not be trusted again

	dbMu sync.RWMutex // guards db against a restore's swap
	db   *bolt.DB

	stateMu sync.Mutex // guards state, marks and waiters
	state   position
	marks   []mark        // ring of the last hashes, by index modulo its length
	waiters chan struct{} // closed when state moves on

	keys    atomic.Pointer[keyTable]
	catalog atomic.Pointer[resource.Catalog]
	nodes   atomic.Pointer[map[string]*nodeState]
	members atomic.Pointer[map[string]*resource.Member]
	info    atomic.Pointer[ClusterInfo]
	version atomic.Uint32 // replicated fsm_version
}

const (
	fileName = "fsm.db"
	// markCount is how many indexes back a peer's state hash can be compared.
	markCount = 8192
)

// Open opens the state in cfg.Dir. If the file cannot be trusted (no clean stop and the
// system has been restarted, or a damaged value) Open puts it aside and starts empty: Kept
// is false, and raft must restore its newest snapshot and replay its log.
func Open(cfg Config) (*FSM, error) {
	if cfg.FSMVersion == 0 {
		cfg.FSMVersion = Version
	}
	f := &FSM{cfg: cfg, log: cfg.Logger, marks: make([]mark, markCount), waiters: make(chan struct{})}
	if f.log == nil {
		f.log = slog.New(slog.DiscardHandler)
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("make folder of the state: %w", err)
	}
	removeTemps(cfg.Dir)
	boot, err := bootID(cfg.BootID)
	if err != nil {
		return nil, err
	}
	discard := remove
	if trusted(cfg.Dir, boot) {
		if err = f.keep(boot); err == nil {
			f.kept = true
			return f, nil
		}
		f.log.Warn("state file is damaged and will be rebuilt", "err", err)
		discard = setAside
	}
	if err := discard(cfg.Dir); err != nil {
		return nil, err
	}
	if err := startWriting(cfg.Dir, boot); err != nil {
		return nil, err
	}
	return f, f.load(nil)
}

// keep opens the file of the last run. The stamp is gone before the first write.
func (f *FSM) keep(boot string) error {
	stamp, err := readStamp(f.cfg.Dir)
	if err != nil {
		return err
	}
	if err := startWriting(f.cfg.Dir, boot); err != nil {
		return err
	}
	if err := shrink(f.cfg.Dir); err != nil {
		return err
	}
	return f.load(stamp)
}

// load opens the file and fills memory from it. A stamp must tell of the same state.
func (f *FSM) load(stamp *position) error {
	db, err := openFile(filepath.Join(f.cfg.Dir, fileName))
	if err != nil {
		return err
	}
	m, err := readMemory(db)
	if err == nil && stamp != nil && *stamp != m.pos {
		err = fmt.Errorf("stamp names index %d, the file %d: %w", stamp.index, m.pos.index, ErrDamaged)
	}
	if err != nil {
		return errors.Join(err, db.Close())
	}
	f.db = db
	f.install(m)
	return nil
}

// openFile opens a file of the state. A damaged one can make bbolt panic, which is an error
// here.
func openFile(path string) (db *bolt.DB, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("open %s: %v: %w", filepath.Base(path), r, ErrDamaged)
		}
	}()
	mmap := 1 << 28
	if strconv.IntSize == 64 {
		mmap = 8 << 30 // address space only: a reader never waits for the file to be mapped anew
	}
	db, err = bolt.Open(path, 0o600, &bolt.Options{
		Timeout:         time.Second,
		NoSync:          true,
		NoGrowSync:      true,
		NoFreelistSync:  true,
		FreelistType:    bolt.FreelistMapType,
		InitialMmapSize: mmap,
	})
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", filepath.Base(path), err)
	}
	if err := db.Update(createBuckets); err != nil {
		return nil, errors.Join(fmt.Errorf("open %s: %w", filepath.Base(path), err), db.Close())
	}
	return db, nil
}

// Close stops the state machine and, if nothing failed, syncs the file and stamps it, so
// that the next start trusts it. Raft must have been shut down before.
func (f *FSM) Close() error {
	f.applyMu.Lock()
	defer f.applyMu.Unlock()
	if f.closed {
		return nil
	}
	f.closed = true
	f.dbMu.Lock()
	defer f.dbMu.Unlock()
	if f.failed != nil || f.doubted.Load() {
		return f.db.Close()
	}
	if err := f.db.Sync(); err != nil {
		f.doubt()
		return errors.Join(fmt.Errorf("sync state: %w", err), f.db.Close())
	}
	if err := f.db.Close(); err != nil {
		return fmt.Errorf("close state: %w", err)
	}
	return writeStamp(f.cfg.Dir, f.position())
}

// Kept says that the file of the last run was kept. If not, the state was empty at Open, and
// raft must restore its newest snapshot, whatever NoSnapshotRestoreOnStart says otherwise.
func (f *FSM) Kept() bool { return f.kept }

// Applied returns the index of the newest entry applied.
func (f *FSM) Applied() uint64 { return f.position().index }

// Generation counts the restores of a backup by a person.
func (f *FSM) Generation() uint64 { return f.position().generation }

// Hash returns the state hash and the index that it belongs to.
func (f *FSM) Hash() (uint64, [16]byte) {
	p := f.position()
	return p.index, p.hash.bytes()
}

// HashAt returns the state hash after an entry applied not long ago.
func (f *FSM) HashAt(index uint64) ([16]byte, bool) {
	f.stateMu.Lock()
	defer f.stateMu.Unlock()
	m := f.marks[index%markCount]
	return m.hash.bytes(), m.index == index && index != 0
}

// FSMVersion returns the version that all members know and entries may ask for.
func (f *FSM) FSMVersion() uint32 { return f.version.Load() }

func (f *FSM) position() position {
	f.stateMu.Lock()
	defer f.stateMu.Unlock()
	return f.state
}

func (f *FSM) moveTo(p position, marks []mark) {
	f.stateMu.Lock()
	defer f.stateMu.Unlock()
	f.state = p
	for _, m := range marks {
		f.marks[m.index%markCount] = m
	}
	close(f.waiters)
	f.waiters = make(chan struct{})
}

// WaitApplied waits until the entry with the index has been applied here, or for ctx.
func (f *FSM) WaitApplied(ctx context.Context, index uint64) error {
	for {
		f.stateMu.Lock()
		now, moved := f.state.index, f.waiters
		f.stateMu.Unlock()
		if now >= index {
			return nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return fmt.Errorf("wait for entry %d: %w", index, ctx.Err())
		}
	}
}

// view runs a short read of the file.
func (f *FSM) view(fn func(*bolt.Tx) error) {
	f.dbMu.RLock()
	err := f.db.View(fn)
	f.dbMu.RUnlock()
	if err != nil && !errors.Is(err, bolterrors.ErrDatabaseNotOpen) {
		f.stop(fmt.Errorf("read state: %w", err))
	}
}

// doubt makes the next start rebuild the file.
func (f *FSM) doubt() {
	f.doubted.Store(true)
	distrust(f.cfg.Dir)
}

// stop reports what the state machine cannot survive.
func (f *FSM) stop(err error) {
	f.doubt()
	f.log.Error("state machine stops", "err", err)
	if f.cfg.Fatal == nil {
		panic("fsm: " + err.Error())
	}
	f.cfg.Fatal(err)
}
