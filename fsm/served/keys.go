package served

import (
	"maps"
	"slices"

	bolt "go.etcd.io/bbolt"

	"github.com/conclave-llm/conclave/fsm/frame"
	"github.com/conclave-llm/conclave/fsm/memory"
	"github.com/conclave-llm/conclave/fsm/relation"
	"github.com/conclave-llm/conclave/fsm/store"
	"github.com/conclave-llm/conclave/resource"
)

// Catalog returns the immutable view of the small tables. Of the members it has the living.
func (s *State) Catalog() *resource.Catalog { return s.catalog.Load() }

// KeyByHash returns the key with the secret, or with an old secret whose grace may have
// ended (Key.AcceptsAt tells). The key must not be changed.
func (s *State) KeyByHash(h resource.Hash) (*resource.Key, bool) {
	return s.keys.Load().ByHash(h)
}

// Key returns the key with the id; it must not be changed.
func (s *State) Key(id string) (*resource.Key, bool) {
	return s.keys.Load().ByID(id)
}

// Keys returns a page of keys, the cursor of the next ("" after the last), and how many the
// query selects in all.
func (s *State) Keys(q memory.Query) (items []*resource.Key, next string, total int) {
	return s.keys.Load().List(q)
}

// KeyByName returns the key with the name. It reads the file's index of names.
func (s *State) KeyByName(name string) (*resource.Key, bool) {
	return s.Key(s.named(store.Keys, name))
}

// KeysByName returns the keys that have one of the names, by name. It reads the file's index of names once for
// all of them.
func (s *State) KeysByName(names []string) map[string]*resource.Key {
	ids := make(map[string]string, len(names))
	s.view(func(tx *bolt.Tx) error {
		for _, name := range names {
			fr, ok, err := store.Names.Read(tx, relation.NameKey(store.Keys, name))
			if err != nil {
				return err
			}
			if ok {
				ids[name] = string(fr.Payload)
			}
		}
		return nil
	})
	found := make(map[string]*resource.Key, len(ids))
	for name, id := range ids {
		if k, ok := s.Key(id); ok {
			found[name] = k
		}
	}
	return found
}

// Cluster returns the identity of the cluster; false before the bootstrap.
func (s *State) Cluster() (memory.ClusterInfo, bool) {
	info := s.info.Load()
	if info == nil {
		return memory.ClusterInfo{}, false
	}
	return *info, true
}

// JoinToken returns the token with the hash; false if it is unknown or used. It may have
// expired.
func (s *State) JoinToken(h resource.Hash) (t memory.JoinToken, ok bool) {
	s.view(func(tx *bolt.Tx) error {
		fr, found, err := store.Tokens.Read(tx, h[:])
		if err != nil || !found {
			return err
		}
		ok = true
		t, err = memory.ParseJoinToken(fr.Payload)
		t.Hash = h
		return err
	})
	return t, ok
}

// JoinTokens returns the tokens that were not used and have not expired at a time.
func (s *State) JoinTokens(now resource.Time) (all []memory.JoinToken) {
	s.view(func(tx *bolt.Tx) error {
		return store.Tokens.In(tx).ForEach(func(k, v []byte) error {
			fr, err := frame.Parse(k, v)
			if err != nil {
				return err
			}
			t, err := memory.ParseJoinToken(fr.Payload)
			if err != nil {
				return err
			}
			if copy(t.Hash[:], k); t.Expires > now {
				all = append(all, t)
			}
			return nil
		})
	})
	return all
}

// Member returns a member, also one that was removed.
func (s *State) Member(id string) (*resource.Member, bool) {
	m, ok := (*s.members.Load())[id]
	return m, ok
}

// Epoch returns the epoch of the node's running process, 0 if none has been opened.
func (s *State) Epoch(node string) uint64 {
	if n, ok := (*s.nodes.Load())[node]; ok {
		return n.Epoch
	}
	return 0
}

// LastTick returns the epoch and number of the node's last tick that counted, when it was
// applied by the entry's clock, and the applied index that it told. The next tick expected
// is the one numbered seq + 1.
func (s *State) LastTick(node string) (epoch, seq uint64, at resource.Time, applied uint64) {
	n, ok := (*s.nodes.Load())[node]
	if !ok {
		return 0, 0, 0, 0
	}
	return n.Epoch, n.Seq, n.At, n.Applied
}

// NodeState is what the state knows of a node's journal and ticks.
type NodeState struct {
	Epoch      uint64
	Life       uint64        // of the process that has opened it; 0: not known
	Seq        uint64        // of the last tick of the epoch
	To         uint64        // last journal record that the epoch's ticks covered
	Covered    uint64        // that any epoch's did
	At         resource.Time // of the last tick
	Applied    uint64        // as the last tick told
	Hash       []byte        // state hash at Applied, nil or 16 bytes
	Clock      resource.Time // wall clock at the last tick
	Generation uint64        // the node has replayed its journal in
	Removed    bool
	Old        []OldEpoch // not dropped yet
}

// OldEpoch is an epoch of a process that is gone, whose holdings are presumed spent.
type OldEpoch struct {
	Epoch  uint64
	To     uint64 // last journal record covered
	Closed bool   // its journal was not whole: the rest stays presumed until its windows end
}

// Node returns the state of a registered node.
func (s *State) Node(id string) (NodeState, bool) {
	n, ok := (*s.nodes.Load())[id]
	if !ok {
		return NodeState{}, false
	}
	out := NodeState{
		Epoch: n.Epoch, Life: n.Life, Seq: n.Seq, To: n.To, Covered: n.Covered(), At: n.At, Applied: n.Applied, Hash: slices.Clone(n.Hash),
		Clock: n.Clock, Generation: n.Generation, Removed: n.Removed,
	}
	for _, o := range n.Old {
		out.Old = append(out.Old, OldEpoch{Epoch: o.Epoch, To: o.To, Closed: o.Kept})
	}
	return out, true
}

// Nodes lists the ids of all nodes that ever registered, sorted.
func (s *State) Nodes() []string { return slices.Sorted(maps.Keys(*s.nodes.Load())) }
