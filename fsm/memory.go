package fsm

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"

	bolt "go.etcd.io/bbolt"

	"github.com/conclave-llm/conclave/fsm/codec"
	"github.com/conclave-llm/conclave/fsm/frame"
	"github.com/conclave-llm/conclave/fsm/money"
	"github.com/conclave-llm/conclave/fsm/store"
	"github.com/conclave-llm/conclave/resource"
)

// memory is all that is served without the file, as read from one.
type memory struct {
	pos     store.Position
	keys    *keyTable
	small   *small
	nodes   money.Nodes
	info    *ClusterInfo
	version uint32
}

// small holds the decoded records of the small tables by id.
type small struct {
	teams       map[string]*resource.Team
	models      map[string]*resource.Model
	deployments map[string]*resource.Deployment
	credentials map[string]*resource.Credential
	budgets     map[string]*resource.Budget
	guardrails  map[string]*resource.Guardrail
	callbacks   map[string]*resource.Callback
	plugins     map[string]*resource.Plugin
	settings    map[string]*resource.Setting
	members     map[string]*resource.Member
}

func newSmall() *small {
	return &small{
		teams: map[string]*resource.Team{}, models: map[string]*resource.Model{},
		deployments: map[string]*resource.Deployment{}, credentials: map[string]*resource.Credential{},
		budgets: map[string]*resource.Budget{}, guardrails: map[string]*resource.Guardrail{},
		callbacks: map[string]*resource.Callback{}, plugins: map[string]*resource.Plugin{},
		settings: map[string]*resource.Setting{}, members: map[string]*resource.Member{},
	}
}

// smallBuckets are the buckets that small holds.
var smallBuckets = []store.Bucket{
	store.Teams, store.Models, store.Deployments, store.Credentials, store.Budgets,
	store.Guardrails, store.Callbacks, store.Plugins, store.Settings, store.Members,
}

// decodeSmall decodes one value of a small table; the function returned puts it into s.
func decodeSmall(b store.Bucket, id string, v []byte) (func(*small), error) {
	switch b {
	case store.Teams:
		return decodeInto(id, v, func(s *small) map[string]*resource.Team { return s.teams })
	case store.Models:
		return decodeInto(id, v, func(s *small) map[string]*resource.Model { return s.models })
	case store.Deployments:
		return decodeInto(id, v, func(s *small) map[string]*resource.Deployment { return s.deployments })
	case store.Credentials:
		return decodeInto(id, v, func(s *small) map[string]*resource.Credential { return s.credentials })
	case store.Budgets:
		return decodeInto(id, v, func(s *small) map[string]*resource.Budget { return s.budgets })
	case store.Guardrails:
		return decodeInto(id, v, func(s *small) map[string]*resource.Guardrail { return s.guardrails })
	case store.Callbacks:
		return decodeInto(id, v, func(s *small) map[string]*resource.Callback { return s.callbacks })
	case store.Plugins:
		return decodeInto(id, v, func(s *small) map[string]*resource.Plugin { return s.plugins })
	case store.Settings:
		return decodeInto(id, v, func(s *small) map[string]*resource.Setting { return s.settings })
	case store.Members:
		return decodeInto(id, v, func(s *small) map[string]*resource.Member { return s.members })
	default:
		return nil, fmt.Errorf("bucket %s is not small: %w", b.Name(), frame.ErrDamaged)
	}
}

func decodeInto[T any, P codec.Canonicalizer[T]](id string, v []byte, in func(*small) map[string]P) (func(*small), error) {
	if v == nil {
		return func(s *small) { delete(in(s), id) }, nil
	}
	f, err := frame.Parse([]byte(id), v)
	if err != nil {
		return nil, err
	}
	rec, err := codec.Record[T, P](f)
	if err != nil {
		return nil, err
	}
	return func(s *small) { in(s)[id] = rec }, nil
}

func (s *small) catalog(index uint64) *resource.Catalog {
	return resource.NewCatalog(resource.Tables{
		Index: index, Teams: list(s.teams), Models: list(s.models), Deployments: list(s.deployments),
		Credentials: list(s.credentials), Budgets: list(s.budgets), Guardrails: list(s.guardrails),
		Callbacks: list(s.callbacks), Plugins: list(s.plugins), Settings: list(s.settings),
		Members: slices.DeleteFunc(list(s.members), func(m *resource.Member) bool { return m.Removed }),
	})
}

// list gives the values; NewCatalog sorts them.
func list[R any](m map[string]R) []R { return slices.Collect(maps.Values(m)) }

// readMemory reads everything that is served from memory, verifying each value.
func readMemory(tx *bolt.Tx) (m *memory, err error) {
	m = &memory{keys: newKeyTable(), small: newSmall(), nodes: money.Nodes{}}
	if m.pos, err = store.ReadPosition(tx); err != nil {
		return nil, err
	}
	if err := m.readKeys(tx); err != nil {
		return nil, err
	}
	for _, b := range smallBuckets {
		if err := m.readSmall(tx, b); err != nil {
			return nil, err
		}
	}
	return m, m.readCluster(tx)
}

func (m *memory) readKeys(tx *bolt.Tx) error {
	return store.Keys.In(tx).ForEach(func(k, v []byte) error {
		f, err := frame.Parse(k, v)
		if err != nil {
			return err
		}
		r, err := newKeyRec(f)
		if err != nil {
			return err
		}
		m.keys.put(r)
		return nil
	})
}

func (m *memory) readSmall(tx *bolt.Tx, b store.Bucket) error {
	return b.In(tx).ForEach(func(k, v []byte) error {
		set, err := decodeSmall(b, string(k), v)
		if err == nil {
			set(m.small)
		}
		return err
	})
}

func (m *memory) readCluster(tx *bolt.Tx) (err error) {
	if m.info, m.version, err = readCluster(tx); err != nil {
		return err
	}
	m.nodes, err = readNodes(tx)
	return err
}

func readNodes(tx *bolt.Tx) (money.Nodes, error) {
	nodes := money.Nodes{}
	err := store.Nodes.In(tx).ForEach(func(k, v []byte) error {
		f, err := frame.Parse(k, v)
		if err != nil {
			return err
		}
		nodes[string(k)], err = money.ParseNode(f.Payload)
		return err
	})
	return nodes, err
}

func readCluster(tx *bolt.Tx) (*ClusterInfo, uint32, error) {
	version := uint32(1)
	f, ok, err := store.Cluster.Read(tx, keyVersion)
	if err != nil {
		return nil, 0, err
	}
	if ok && len(f.Payload) == 4 {
		version = binary.BigEndian.Uint32(f.Payload)
	}
	f, ok, err = store.Cluster.Read(tx, keyInfo)
	if err != nil || !ok {
		return nil, version, err
	}
	info := new(ClusterInfo)
	if err := codec.Unmarshal(f.Payload, info); err != nil {
		return nil, 0, fmt.Errorf("decode cluster: %w: %w", err, frame.ErrDamaged)
	}
	return info, version, nil
}

// install makes memory the one that is served.
func (f *FSM) install(m *memory) {
	f.keys.Store(m.keys)
	f.small = m.small
	f.catalog.Store(m.small.catalog(m.pos.Index))
	members := maps.Clone(m.small.members)
	f.members.Store(&members)
	f.nodes.Store(&m.nodes)
	f.info.Store(m.info)
	f.version.Store(m.version)
	f.moveTo(m.pos, nil)
}

// news is what a batch changes in memory, read from its transaction before the commit and
// published after it.
type news struct {
	Change
	keys    []*keyRec
	gone    []string // ids of deleted keys
	small   []func(*small)
	nodes   money.Nodes // nil: as before
	cluster bool
	info    *ClusterInfo
	version uint32
}

func (f *FSM) prepare(b *batch) (*news, error) {
	n := &news{Change: Change{Index: b.pos.Index, Tables: b.tables}}
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
		if nodes, err = readNodes(b.tx); err != nil {
			return nil, err
		}
		n.nodes = nodes
	}
	if n.cluster {
		var err error
		if n.info, n.version, err = readCluster(b.tx); err != nil {
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
	case of != store.Keys:
		set, err := decodeSmall(of, id, b.bucket(of).Get([]byte(id)))
		n.small = append(n.small, set)
		return err
	}
	v := b.bucket(of).Get([]byte(id))
	if v == nil {
		n.gone = append(n.gone, id)
		return nil
	}
	f, err := frame.Parse([]byte(id), v)
	if err != nil {
		return err
	}
	r, err := newKeyRec(f)
	n.keys = append(n.keys, r)
	return err
}

func (n *news) publish(f *FSM) {
	keys := f.keys.Load()
	for _, id := range n.gone {
		keys.delete(id)
	}
	for _, r := range n.keys {
		keys.put(r)
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
	f.catalog.Store(f.small.catalog(n.Index))
	members := maps.Clone(f.small.members)
	f.members.Store(&members)
}
