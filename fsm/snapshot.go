package fsm

import (
	"errors"
	"fmt"
	"io"

	"github.com/hashicorp/raft"
	"github.com/prometheus/client_golang/prometheus"
	bolt "go.etcd.io/bbolt"

	"github.com/conclave-llm/conclave/fsm/memory"
	"github.com/conclave-llm/conclave/fsm/meter"
	"github.com/conclave-llm/conclave/fsm/served"
	"github.com/conclave-llm/conclave/fsm/store"
)

// HeaderSize is the size of a snapshot's header, which never changes.
const HeaderSize = store.HeaderSize

// Header is the frame around a snapshot. A snapshot store may write Raft's index and term into
// it, which are later ones if the last entries were no commands.
type Header = store.Header

// DecodeHeader reads the HeaderSize bytes at the start of a snapshot. It returns an error
// that wraps ErrDamaged for anything that Encode would not have written.
func DecodeHeader(b []byte) (Header, error) { return store.DecodeHeader(b) }

// ReadHeader reads the header from the start of a snapshot.
func ReadHeader(r io.Reader) (Header, error) { return store.ReadHeader(r) }

// Regenerate gives a snapshot another generation. Whoever restores a backup does so first,
// with a generation above both the backup's and the cluster's: grants then wait until every
// member has replayed its journal.
func Regenerate(snapshot io.Reader, generation uint64) (io.Reader, error) {
	return store.Regenerate(snapshot, generation)
}

// Snapshot implements raft.FSM. It only begins a read transaction; Persist does the work.
func (f *FSM) Snapshot() (raft.FSMSnapshot, error) {
	f.applyMu.Lock()
	defer f.applyMu.Unlock()
	if f.failed != nil {
		return nil, fmt.Errorf("snapshot of a stopped state machine: %w", f.failed)
	}
	s, err := f.file.Snapshot()
	if err != nil {
		return nil, err
	}
	return snapshot{Snapshot: s, metrics: f.metrics}, nil
}

// snapshot implements raft.FSMSnapshot.
type snapshot struct {
	*store.Snapshot
	metrics *meter.Metrics
}

// Persist implements raft.FSMSnapshot.
func (s snapshot) Persist(sink raft.SnapshotSink) error {
	defer prometheus.NewTimer(s.metrics.Snapshot).ObserveDuration()
	size, err := s.Write(sink, describe)
	if err != nil {
		return errors.Join(err, sink.Cancel())
	}
	if err := sink.Close(); err != nil {
		return fmt.Errorf("finish snapshot: %w", err)
	}
	s.metrics.SnapshotBytes.Set(float64(size))
	return nil
}

// describe adds to a snapshot's header what the state says of its cluster.
func describe(tx *bolt.Tx, h *Header) error {
	info, version, err := memory.ReadCluster(tx)
	if err != nil {
		return err
	}
	h.FSMVersion = version
	if info != nil {
		h.ClusterID = info.ClusterID
	}
	return nil
}

// Scrub verifies every value of the file and the state hash. If it fails the node is to be started
// again: the file is then rebuilt.
func (f *FSM) Scrub() error { return f.file.Scrub() }

// Wasteful says whether the state's file has at least from bytes and over a third of it is free.
func (f *FSM) Wasteful(from int64) bool { return f.file.Wasteful(from) }

// Compact makes the state's file as small as it can be, if it is Wasteful, and says how many bytes that gave back. Commands wait
// meanwhile, for as long as a snapshot takes to be written; what is read goes on.
func (f *FSM) Compact(from int64) (freed int64, err error) {
	f.applyMu.Lock()
	defer f.applyMu.Unlock()
	if f.failed != nil {
		return 0, fmt.Errorf("compact a stopped state machine: %w", f.failed)
	}
	return f.file.Compact(from)
}

// Restore implements raft.FSM. The snapshot is written aside, verified and read into memory
// before it takes the place of the state, which a failure leaves as it was.
func (f *FSM) Restore(rc io.ReadCloser) error {
	defer func() {
		_, _ = io.Copy(io.Discard, rc) // the sender waits until all has been read
		_ = rc.Close()
	}()
	f.applyMu.Lock()
	defer f.applyMu.Unlock()
	if f.failed != nil {
		return fmt.Errorf("restore a stopped state machine: %w", f.failed)
	}
	h, err := ReadHeader(rc)
	if err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	if h.FSMVersion > f.cfg.FSMVersion {
		return fmt.Errorf("restore: the snapshot needs version %d, this node knows %d", h.FSMVersion, f.cfg.FSMVersion)
	}
	var m *served.Loaded
	read := func(tx *bolt.Tx) (err error) {
		m, err = served.Read(tx)
		return err
	}
	if err := f.file.Restore(h, rc, read, func() { f.publisher.Install(m) }); err != nil {
		return fmt.Errorf("restore index %d: %w", h.Index, err)
	}
	if f.cfg.Watch != nil {
		f.cfg.Watch(Change{Index: m.Position.Index, Tables: allTables(), Leases: f.Leases(), Generation: m.Position.Generation})
	}
	f.progress.Begin(m.Position)
	return nil
}

// allTables are the kinds that a restore changes: all.
func allTables() map[string]bool {
	all := map[string]bool{"epoch": true}
	for b := store.Keys; b < store.Buckets; b++ {
		if b.Cataloged() {
			all[b.Kind()] = true
		}
	}
	return all
}
