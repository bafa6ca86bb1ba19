package fsm

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	bolt "go.etcd.io/bbolt"

	"github.com/conclave-llm/conclave/fsm/audit"
	"github.com/conclave-llm/conclave/fsm/dedupe"
	"github.com/conclave-llm/conclave/fsm/frame"
	"github.com/conclave-llm/conclave/fsm/meter"
	"github.com/conclave-llm/conclave/fsm/progress"
	"github.com/conclave-llm/conclave/fsm/served"
	"github.com/conclave-llm/conclave/fsm/store"
	"github.com/conclave-llm/conclave/resource"
)

// Config is what Open needs.
type Config struct {
	Dir        string                // holds the file; made if it is not there
	NodeID     string                // whose leases Watch and Leases tell of
	Logger     *slog.Logger          // nil: nothing is logged
	Watch      func(Change)          // called after every committed batch in the apply goroutine: it must not block; nil: nobody watches
	FSMVersion uint32                // newest version that this node pretends to know; 0: Version
	Fatal      func(error)           // called when the state machine cannot go on (I/O error, unknown command): the process must stop, and Fatal must not call the FSM; nil: panic
	BootID     string                // of the running system; "": read from the system
	Registerer prometheus.Registerer // nil: metrics are not registered
}

// FSM is the state machine. It implements raft.BatchingFSM and raft.ConfigurationStore,
// whose methods raft calls from one goroutine; the reads are safe for concurrent use.
type FSM struct {
	audit.Reads
	cfg  Config
	log  *slog.Logger
	file *store.File

	applyMu  sync.Mutex      // held while entries are applied, a snapshot is begun or restored, and by Close
	failed   error           // guarded by applyMu; the first fatal error
	closed   bool            // guarded by applyMu
	tx       *Tx             // guarded by applyMu; reused between entries
	refusals dedupe.Refusals // guarded by applyMu

	expected expected

	progress *progress.Progress
	metrics  *meter.Metrics

	*served.State                   // what is read
	publisher     *served.Publisher // guarded by applyMu
}

// ErrDamaged says that a value, a file or a snapshot is not as it was written.
var ErrDamaged = frame.ErrDamaged

// Open opens the state in cfg.Dir. If the file cannot be trusted (no clean stop and the
// system has been restarted, or a damaged value) Open puts it aside and starts empty: Kept
// is false, and raft must restore its newest snapshot and replay its log.
func Open(cfg Config) (*FSM, error) {
	if cfg.FSMVersion == 0 {
		cfg.FSMVersion = Version
	}
	f := &FSM{cfg: cfg, log: cfg.Logger, progress: progress.New(), metrics: meter.New()}
	f.Reads = audit.NewReads(f.view)
	f.State, f.publisher = served.New(cfg.NodeID, f.view, func() resource.Time { return f.progress.Position().At })
	if f.log == nil {
		f.log = slog.New(slog.DiscardHandler)
	}
	var m *served.Loaded
	read := func(tx *bolt.Tx) (err error) {
		m, err = served.Read(tx)
		return err
	}
	var err error
	f.file, err = store.Open(store.Config{Dir: cfg.Dir, BootID: cfg.BootID, Logger: f.log, Read: read})
	if err != nil {
		return nil, err
	}
	f.publisher.Install(m)
	f.progress.Begin(m.Position)
	f.metrics.Register(cfg.Registerer, f.Applied, f.KeyCount, f.Names)
	return f, nil
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
	return f.file.Close(f.progress.Position())
}

// Kept says that the file of the last run was kept. If not, the state was empty at Open, and
// raft must restore its newest snapshot, whatever NoSnapshotRestoreOnStart says otherwise.
func (f *FSM) Kept() bool { return f.file.Kept() }

// Unclean says that the file of the last run was kept though that run was killed: Scrub it.
func (f *FSM) Unclean() bool { return f.file.Unclean() }

// Applied returns the index of the newest entry applied.
func (f *FSM) Applied() uint64 { return f.progress.Position().Index }

// Generation counts the restores of a backup by a person. Right after one it may be a moment older than what is read.
func (f *FSM) Generation() uint64 { return f.progress.Position().Generation }

// ReadGeneration is Generation, and no older than what was read before.
func (f *FSM) ReadGeneration() (generation uint64, err error) {
	err = f.file.View(func(tx *bolt.Tx) error {
		pos, err := store.ReadPosition(tx)
		generation = pos.Generation
		return err
	})
	return generation, err
}

// Hash returns the state hash and the index that it belongs to.
func (f *FSM) Hash() (uint64, [16]byte) {
	p := f.progress.Position()
	return p.Index, p.Hash.Bytes()
}

// HashAt returns the state hash after an entry applied not long ago.
func (f *FSM) HashAt(index uint64) ([16]byte, bool) { return f.progress.HashAt(index) }

// Marks are the state hashes after the last entries that were applied since the start, oldest first.
func (f *FSM) Marks() []progress.Mark { return f.progress.Marks() }

// WaitApplied waits until the entry with the index has been applied here, or for ctx.
func (f *FSM) WaitApplied(ctx context.Context, index uint64) error {
	return f.progress.Wait(ctx, index)
}

// view runs a short read of the file.
func (f *FSM) view(fn func(*bolt.Tx) error) {
	if err := f.file.View(fn); err != nil && !errors.Is(err, store.ErrClosed) {
		f.stop(fmt.Errorf("read state: %w", err))
	}
}

// unfit says that an entry of the log is none that this program can apply. The state is not to blame.
type unfit struct{ error }

func (u *unfit) Unwrap() error { return u.error }

// stop reports what the state machine cannot survive. The next start rebuilds the state, but not for an entry that
// is unfit: the state before it is whole, and without a quorum it is all that there is to serve from.
func (f *FSM) stop(err error) {
	if _, ok := errors.AsType[*unfit](err); !ok {
		f.file.Doubt()
	}
	f.log.Error("state machine stops", "err", err)
	if f.cfg.Fatal == nil {
		panic("fsm: " + err.Error())
	}
	f.cfg.Fatal(err)
}
