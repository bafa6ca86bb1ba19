package recovery

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/hashicorp/raft"

	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/resource"
)

// batch is how many entries are applied at once.
const batch = 256

// machine is a state machine in a folder of its own, which RecoverCluster fills. Its snapshot is
// that of a cluster of which the survivor alone is left. It implements raft.FSM.
type machine struct {
	fsm      *fsm.FSM
	dir      string
	survivor string

	waiting    []*raft.Log
	failed     error // what made the state machine stop
	backup     *fsm.Backup
	lost       []resource.Member
	generation uint64
}

// fail is called instead of ending the process.
func (m *machine) fail(err error) { m.failed = errors.Join(m.failed, err) }

// Apply implements raft.FSM. Nobody waits for the answer.
func (m *machine) Apply(l *raft.Log) any {
	entry := *l
	if m.waiting = append(m.waiting, &entry); len(m.waiting) >= batch {
		m.flush()
	}
	return nil
}

func (m *machine) flush() {
	if len(m.waiting) > 0 && m.failed == nil {
		m.fsm.ApplyBatch(m.waiting)
	}
	m.waiting = m.waiting[:0]
}

// Restore implements raft.FSM.
func (m *machine) Restore(rc io.ReadCloser) error { return m.fsm.Restore(rc) }

// Snapshot implements raft.FSM.
func (m *machine) Snapshot() (raft.FSMSnapshot, error) {
	if m.flush(); m.failed != nil {
		return nil, m.failed
	}
	s, err := m.fsm.Snapshot()
	if err != nil {
		return nil, err
	}
	defer s.Release()
	f, err := os.Create(filepath.Join(m.dir, "state.snap"))
	if err != nil {
		return nil, fmt.Errorf("keep the state: %w", err)
	}
	defer f.Close() //nolint:errcheck // the folder is removed
	if err := s.Persist(sink{f}); err != nil {
		return nil, err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	if m.backup, err = fsm.ReceiveIn(m.dir, fsm.Version, f); err != nil {
		return nil, err
	}
	if m.lost, err = m.backup.Alone(m.survivor); err != nil {
		return nil, err
	}
	m.generation = m.backup.Header().Generation + 1
	return m, nil
}

// Persist implements raft.FSMSnapshot.
func (m *machine) Persist(to raft.SnapshotSink) error {
	if err := m.backup.Write(to); err != nil {
		return errors.Join(err, to.Cancel())
	}
	return nil // RecoverCluster closes it
}

// Release implements raft.FSMSnapshot.
func (m *machine) Release() {}

func (m *machine) close() {
	if m.backup != nil {
		_ = m.backup.Close() // the folder is removed
	}
	_ = m.fsm.Close()
}

// sink is a file as a snapshot is written to it.
type sink struct{ *os.File }

// ID implements raft.SnapshotSink.
func (sink) ID() string { return "" }

// Close implements raft.SnapshotSink: the file is read again.
func (sink) Close() error { return nil }

// Cancel implements raft.SnapshotSink.
func (sink) Cancel() error { return nil }
