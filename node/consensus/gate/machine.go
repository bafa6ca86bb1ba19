package gate

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"github.com/conclave-llm/conclave/fsm"
)

// Machine tells the gate of each batch, and adds up how long the state machine has
// worked since the last snapshot. To apply the same entries again takes at most as long, and
// less if they then come in larger batches, so the sum is what a restart would need.
type Machine struct {
	*fsm.FSM
	gate *Gate

	turn sync.Mutex // held while entries are applied, and by Hold

	spent atomic.Int64 // nanoseconds in the state machine
	saved atomic.Int64 // of those, covered by a snapshot
	cost  atomic.Int64 // nanoseconds that the last snapshot took
}

// NewMachine puts f behind a gate.
func NewMachine(f *fsm.FSM, g *Gate) *Machine { return &Machine{FSM: f, gate: g} }

// Replay is how long it took to apply what followed the last snapshot.
func (m *Machine) Replay() time.Duration {
	return time.Duration(m.spent.Load() - m.saved.Load())
}

// SnapshotCost is how long the last snapshot took to make, 0 if there was none yet.
func (m *Machine) SnapshotCost() time.Duration { return time.Duration(m.cost.Load()) }

// Working says that a batch is being applied.
func (m *Machine) Working() bool { return m.gate.applying.Load() != 0 }

// Hold stops the applying of entries until resume is called.
func (m *Machine) Hold() (resume func()) {
	m.turn.Lock()
	return m.turn.Unlock
}

// measure runs f as one batch.
func (m *Machine) measure(f func()) {
	m.turn.Lock()
	defer m.turn.Unlock()
	start := m.gate.boot()
	m.gate.applying.Store(int64(start))
	defer func() {
		m.gate.applying.Store(0)
		m.spent.Add(int64(m.gate.boot() - start))
	}()
	f()
}

// Apply implements raft.FSM.
func (m *Machine) Apply(l *raft.Log) (out any) {
	m.measure(func() { out = m.FSM.Apply(l) })
	return out
}

// ApplyBatch implements raft.BatchingFSM.
func (m *Machine) ApplyBatch(ls []*raft.Log) (out []any) {
	m.measure(func() { out = m.FSM.ApplyBatch(ls) })
	return out
}

// Snapshot implements raft.FSM.
func (m *Machine) Snapshot() (raft.FSMSnapshot, error) {
	s, err := m.FSM.Snapshot()
	if err != nil {
		return nil, err
	}
	return &snapshot{FSMSnapshot: s, m: m, spent: m.spent.Load()}, nil
}

// snapshot says when it is stored what need not be applied again.
type snapshot struct {
	raft.FSMSnapshot
	m     *Machine
	spent int64 // when the snapshot was begun
}

// Persist implements raft.FSMSnapshot.
func (s *snapshot) Persist(sink raft.SnapshotSink) error {
	start := s.m.gate.boot()
	err := s.FSMSnapshot.Persist(sink)
	s.m.cost.Store(int64(s.m.gate.boot() - start))
	if err == nil {
		s.m.saved.Store(s.spent)
	}
	return err
}
