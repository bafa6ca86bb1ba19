// Package served is what a node serves of its state: from memory what requests need, from
// the file what people ask for. It is read by any number of goroutines while one goroutine
// publishes what each batch changed.
package served

import (
	"maps"
	"slices"
	"sync/atomic"

	bolt "go.etcd.io/bbolt"

	"github.com/conclave-llm/conclave/fsm/frame"
	"github.com/conclave-llm/conclave/fsm/memory"
	"github.com/conclave-llm/conclave/fsm/money"
	"github.com/conclave-llm/conclave/fsm/store"
	"github.com/conclave-llm/conclave/resource"
)

// State is what is served.
type State struct {
	nodeID string
	view   func(func(*bolt.Tx) error)
	now    func() resource.Time

	keys    atomic.Pointer[memory.Keys]
	people  atomic.Pointer[memory.People]
	catalog atomic.Pointer[resource.Catalog]
	nodes   atomic.Pointer[money.Nodes]
	members atomic.Pointer[map[string]*resource.Member]
	info    atomic.Pointer[memory.ClusterInfo]
	version atomic.Uint32 // replicated fsm_version
}

// Publisher changes what a State serves. One goroutine uses it.
type Publisher struct {
	of    *State
	small *memory.Tables // decoded
}

// New makes a State, which serves once its Publisher has installed something: of whose leases
// it tells, how it reads the file, and which time the newest command had.
func New(nodeID string, view func(func(*bolt.Tx) error), now func() resource.Time) (*State, *Publisher) {
	s := &State{nodeID: nodeID, view: view, now: now}
	return s, &Publisher{of: s}
}

// FSMVersion returns the version that all members know and entries may ask for.
func (s *State) FSMVersion() uint32 { return s.version.Load() }

// KeyCount is how many virtual keys there are.
func (s *State) KeyCount() int { return s.keys.Load().Len() }

// Loaded is all that is served without the file, as read from one.
type Loaded struct {
	Position store.Position
	keys     *memory.Keys
	people   *memory.People
	small    *memory.Tables
	nodes    money.Nodes
	info     *memory.ClusterInfo
	version  uint32
}

// Read reads everything that is served from memory, verifying each value.
func Read(tx *bolt.Tx) (m *Loaded, err error) {
	m = &Loaded{keys: memory.NewKeys(), people: memory.NewPeople(), small: memory.NewTables(), nodes: money.Nodes{}}
	if m.Position, err = store.ReadPosition(tx); err != nil {
		return nil, err
	}
	if err := m.keys.Read(tx); err != nil {
		return nil, err
	}
	if err := m.people.Read(tx); err != nil {
		return nil, err
	}
	if err := m.small.Read(tx); err != nil {
		return nil, err
	}
	return m, m.readCluster(tx)
}

func (m *Loaded) readCluster(tx *bolt.Tx) (err error) {
	if m.info, m.version, err = memory.ReadCluster(tx); err != nil {
		return err
	}
	m.nodes, err = memory.ReadNodes(tx)
	return err
}

// Install makes m what is served.
func (p *Publisher) Install(m *Loaded) {
	s := p.of
	s.keys.Store(m.keys)
	s.people.Store(m.people)
	p.small = m.small
	s.catalog.Store(m.small.Catalog(m.Position.Index))
	members := m.small.Members()
	s.members.Store(&members)
	s.nodes.Store(&m.nodes)
	s.info.Store(m.info)
	s.version.Store(m.version)
}

// Batch is a batch before its commit.
type Batch struct {
	Index   uint64
	Tx      *bolt.Tx
	Changed map[store.Bucket]map[string][]byte // new values of changed records, nodes and the cluster by key; nil: deleted
	Spent   map[string][]byte                  // accounts' new values by key
}

// News is what a batch changes of what is served, read from its transaction before the commit
// and published after it.
type News struct {
	Leases []Lease // of this node, in the state after the batch

	index   uint64
	keys    []*memory.KeyRecord
	gone    []string // ids of deleted keys
	people  []func(*memory.People)
	small   []func(*memory.Tables)
	nodes   money.Nodes // nil: as before
	cluster bool
	info    *memory.ClusterInfo
	version uint32
}

// Prepare reads what a batch changes.
func (p *Publisher) Prepare(b *Batch) (*News, error) {
	n := &News{index: b.Index}
	for _, of := range slices.Sorted(maps.Keys(b.Changed)) {
		for _, id := range slices.Sorted(maps.Keys(b.Changed[of])) {
			if err := n.read(of, id, b.Changed[of][id]); err != nil {
				return nil, err
			}
		}
	}
	nodes := *p.of.nodes.Load()
	if len(b.Changed[store.Nodes]) > 0 {
		var err error
		if nodes, err = memory.ReadNodes(b.Tx); err != nil {
			return nil, err
		}
		n.nodes = nodes
	}
	if n.cluster {
		var err error
		if n.info, n.version, err = memory.ReadCluster(b.Tx); err != nil {
			return nil, err
		}
	}
	for _, k := range slices.Sorted(maps.Keys(b.Spent)) {
		l, ok, err := leaseOf(p.of.nodeID, nodes, []byte(k), b.Spent[k])
		if err != nil {
			return nil, err
		}
		if ok {
			n.Leases = append(n.Leases, l)
		}
	}
	return n, nil
}

func (n *News) read(of store.Bucket, id string, v []byte) error {
	switch {
	case of == store.Cluster:
		n.cluster = true
		return nil
	case of == store.Nodes:
		return nil
	case memory.IsPeople(of):
		set, err := memory.Change(of, id, v)
		n.people = append(n.people, set)
		return err
	case of != store.Keys:
		set, err := memory.Decode(of, id, v)
		n.small = append(n.small, set)
		return err
	case v == nil:
		n.gone = append(n.gone, id)
		return nil
	}
	fr, err := frame.Parse([]byte(id), v)
	if err != nil {
		return err
	}
	r, err := memory.NewKeyRecord(fr)
	n.keys = append(n.keys, r)
	return err
}

// Publish serves the news of a committed batch.
func (p *Publisher) Publish(n *News) {
	s := p.of
	keys, people := s.keys.Load(), s.people.Load()
	for _, id := range n.gone {
		keys.Delete(id)
	}
	for _, r := range n.keys {
		keys.Put(r)
	}
	for _, set := range n.people {
		set(people)
	}
	if n.nodes != nil {
		s.nodes.Store(&n.nodes)
	}
	if n.cluster {
		s.info.Store(n.info)
		s.version.Store(n.version)
	}
	if len(n.small) == 0 {
		return
	}
	for _, set := range n.small {
		set(p.small)
	}
	s.catalog.Store(p.small.Catalog(n.index))
	members := p.small.Members()
	s.members.Store(&members)
}
