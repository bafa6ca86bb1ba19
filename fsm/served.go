package fsm

import (
	"maps"
	"slices"

	bolt "go.etcd.io/bbolt"

	"github.com/conclave-llm/conclave/fsm/frame"
	"github.com/conclave-llm/conclave/fsm/memory"
	"github.com/conclave-llm/conclave/fsm/money"
	"github.com/conclave-llm/conclave/fsm/store"
)

// served is all that is served without the file, as read from one.
type served struct {
	pos     store.Position
	keys    *memory.Keys
	people  *memory.People
	small   *memory.Tables
	nodes   money.Nodes
	info    *ClusterInfo
	version uint32
}

// readServed reads everything that is served from memory, verifying each value.
func readServed(tx *bolt.Tx) (m *served, err error) {
	m = &served{keys: memory.NewKeys(), people: memory.NewPeople(), small: memory.NewTables(), nodes: money.Nodes{}}
	if m.pos, err = store.ReadPosition(tx); err != nil {
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

func (m *served) readCluster(tx *bolt.Tx) (err error) {
	if m.info, m.version, err = memory.ReadCluster(tx); err != nil {
		return err
	}
	m.nodes, err = memory.ReadNodes(tx)
	return err
}

// install makes m what is served.
func (f *FSM) install(m *served) {
	f.keys.Store(m.keys)
	f.people.Store(m.people)
	f.small = m.small
	f.catalog.Store(m.small.Catalog(m.pos.Index))
	members := m.small.Members()
	f.members.Store(&members)
	f.nodes.Store(&m.nodes)
	f.info.Store(m.info)
	f.version.Store(m.version)
}

// news is what a batch changes in memory, read from its transaction before the commit and
// published after it.
type news struct {
	Change
	keys    []*memory.KeyRecord
	gone    []string // ids of deleted keys
	people  []func(*memory.People)
	small   []func(*memory.Tables)
	nodes   money.Nodes // nil: as before
	cluster bool
	info    *ClusterInfo
	version uint32
}

func (f *FSM) prepare(b *batch) (*news, error) {
	n := &news{Change: Change{Index: b.pos.Index, Tables: b.tables, Soft: b.passed}}
	for _, of := range slices.Sorted(maps.Keys(b.changed)) {
		for _, id := range slices.Sorted(maps.Keys(b.changed[of])) {
			if err := n.read(b, of, id); err != nil {
				return nil, err
			}
		}
	}
	nodes := *f.nodes.Load()
	if len(b.changed[store.Nodes]) > 0 {
		var err error
		if nodes, err = memory.ReadNodes(b.tx); err != nil {
			return nil, err
		}
		n.nodes = nodes
	}
	if n.cluster {
		var err error
		if n.info, n.version, err = memory.ReadCluster(b.tx); err != nil {
			return nil, err
		}
	}
	for _, k := range slices.Sorted(maps.Keys(b.spent)) {
		l, ok, err := leaseOf(f.cfg.NodeID, nodes, []byte(k), b.spent[k])
		if err != nil {
			return nil, err
		}
		if ok {
			n.Leases = append(n.Leases, l)
		}
	}
	return n, nil
}

func (n *news) read(b *batch, of store.Bucket, id string) error {
	switch {
	case of == store.Cluster:
		n.cluster = true
		return nil
	case of == store.Nodes:
		return nil
	case memory.IsPeople(of):
		set, err := memory.Change(of, id, b.bucket(of).Get([]byte(id)))
		n.people = append(n.people, set)
		return err
	case of != store.Keys:
		set, err := memory.Decode(of, id, b.bucket(of).Get([]byte(id)))
		n.small = append(n.small, set)
		return err
	}
	v := b.bucket(of).Get([]byte(id))
	if v == nil {
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

func (n *news) publish(f *FSM) {
	keys := f.keys.Load()
	for _, id := range n.gone {
		keys.Delete(id)
	}
	for _, r := range n.keys {
		keys.Put(r)
	}
	people := f.people.Load()
	for _, set := range n.people {
		set(people)
	}
	if n.nodes != nil {
		f.nodes.Store(&n.nodes)
	}
	if n.cluster {
		f.info.Store(n.info)
		f.version.Store(n.version)
	}
	if len(n.small) == 0 {
		return
	}
	for _, set := range n.small {
		set(f.small)
	}
	f.catalog.Store(f.small.Catalog(n.Index))
	members := f.small.Members()
	f.members.Store(&members)
}
