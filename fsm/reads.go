package fsm

import (
	"bytes"
	"encoding/binary"
	"maps"
	"slices"
	"strings"

	bolt "go.etcd.io/bbolt"

	"github.com/conclave-llm/conclave/fsm/frame"
	"github.com/conclave-llm/conclave/fsm/memory"
	"github.com/conclave-llm/conclave/fsm/money"
	"github.com/conclave-llm/conclave/fsm/store"
	"github.com/conclave-llm/conclave/resource"
)

// Catalog returns the immutable view of the small tables. Of the members it has the living.
func (f *FSM) Catalog() *resource.Catalog { return f.catalog.Load() }

// KeyByHash returns the key with the secret, or with an old secret whose grace may have
// ended (Key.AcceptsAt tells). The key must not be changed.
func (f *FSM) KeyByHash(h resource.Hash) (*resource.Key, bool) {
	return f.keys.Load().ByHash(h)
}

// Key returns the key with the id; it must not be changed.
func (f *FSM) Key(id string) (*resource.Key, bool) {
	return f.keys.Load().ByID(id)
}

// ListQuery selects keys. Zero fields select all.
type ListQuery = memory.Query

// Keys returns a page of keys, the cursor of the next ("" after the last), and how many the
// query selects in all.
func (f *FSM) Keys(q ListQuery) (items []*resource.Key, next string, total int) {
	return f.keys.Load().List(q)
}

// KeyByName returns the key with the name. It reads the file's index of names.
func (f *FSM) KeyByName(name string) (*resource.Key, bool) {
	return f.Key(f.named(store.Keys, name))
}

// Cluster returns the identity of the cluster; false before the bootstrap.
func (f *FSM) Cluster() (ClusterInfo, bool) {
	info := f.info.Load()
	if info == nil {
		return ClusterInfo{}, false
	}
	return *info, true
}

// JoinToken returns when the token with the hash expires; false if it is unknown or used.
func (f *FSM) JoinToken(h resource.Hash) (expires resource.Time, ok bool) {
	f.view(func(tx *bolt.Tx) error {
		fr, found, err := store.Tokens.Read(tx, h[:])
		if found && len(fr.Payload) == 8 {
			expires, ok = resource.Time(binary.BigEndian.Uint64(fr.Payload)), true
		}
		return err
	})
	return expires, ok
}

// Member returns a member, also one that was removed.
func (f *FSM) Member(id string) (*resource.Member, bool) {
	m, ok := (*f.members.Load())[id]
	return m, ok
}

// Epoch returns the epoch of the node's running process, 0 if none has been opened.
func (f *FSM) Epoch(node string) uint64 {
	if n, ok := (*f.nodes.Load())[node]; ok {
		return n.Epoch
	}
	return 0
}

// LastTick returns the epoch and number of the node's last tick that counted, when it was
// applied by the entry's clock, and the applied index that it told. The next tick expected
// is the one numbered seq + 1.
func (f *FSM) LastTick(node string) (epoch, seq uint64, at resource.Time, applied uint64) {
	n, ok := (*f.nodes.Load())[node]
	if !ok {
		return 0, 0, 0, 0
	}
	return n.Epoch, n.Seq, n.At, n.Applied
}

// NodeState is what the state knows of a node's journal and ticks.
type NodeState struct {
	Epoch      uint64
	Seq        uint64        // of the last tick of the epoch
	To         uint64        // last journal record that the epoch's ticks covered
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
func (f *FSM) Node(id string) (NodeState, bool) {
	n, ok := (*f.nodes.Load())[id]
	if !ok {
		return NodeState{}, false
	}
	s := NodeState{
		Epoch: n.Epoch, Seq: n.Seq, To: n.To, At: n.At, Applied: n.Applied, Hash: slices.Clone(n.Hash),
		Clock: n.Clock, Generation: n.Generation, Removed: n.Removed,
	}
	for _, o := range n.Old {
		s.Old = append(s.Old, OldEpoch{Epoch: o.Epoch, To: o.To, Closed: o.Kept})
	}
	return s, true
}

// Nodes lists the ids of all nodes that ever registered, sorted.
func (f *FSM) Nodes() []string { return slices.Sorted(maps.Keys(*f.nodes.Load())) }

// leaseOf tells what the node holds of one window; false if the account is gone.
func leaseOf(node string, nodes money.Nodes, key, v []byte) (Lease, bool, error) {
	n, known := nodes[node]
	id, start, valid := money.SplitKey(key)
	if v == nil || !known || !valid {
		return Lease{}, false, nil
	}
	fr, err := frame.Parse(key, v)
	if err != nil {
		return Lease{}, false, err
	}
	a, err := money.ParseAccount(fr.Payload)
	if err != nil {
		return Lease{}, false, err
	}
	return a.Lease(id, start, n, nodes), true, nil
}

// eachAccount calls fn for every window of the accounts whose id begins with the prefix.
func (f *FSM) eachAccount(prefix string, fn func(key, v []byte) error) {
	f.view(func(tx *bolt.Tx) error {
		c := store.Accounts.In(tx).Cursor()
		for k, v := c.Seek([]byte(prefix)); k != nil && bytes.HasPrefix(k, []byte(prefix)); k, v = c.Next() {
			if err := fn(k, v); err != nil {
				return err
			}
		}
		return nil
	})
}

// Leases returns what the node of the Config holds of every window. It reads the file.
func (f *FSM) Leases() []Lease { return f.LeasesOf(f.cfg.NodeID) }

// LeasesOf returns what any node holds of every window. It reads the file.
func (f *FSM) LeasesOf(node string) []Lease {
	nodes := *f.nodes.Load()
	var all []Lease
	f.eachAccount("", func(k, v []byte) error {
		l, ok, err := leaseOf(node, nodes, k, v)
		if ok {
			all = append(all, l)
		}
		return err
	})
	return all
}

// Lease returns what the node of the Config holds of one window; false if nobody has opened
// it. It reads the file.
func (f *FSM) Lease(id resource.AccountID, start resource.Time) (Lease, bool) {
	nodes := *f.nodes.Load()
	var l Lease
	var ok bool
	f.view(func(tx *bolt.Tx) (err error) {
		key := money.Key(id, start)
		l, ok, err = leaseOf(f.cfg.NodeID, nodes, key, store.Accounts.In(tx).Get(key))
		return err
	})
	return l, ok
}

// EpochHold is what an old epoch of a node left presumed spent of one window.
type EpochHold struct {
	Epoch   uint64
	Account resource.AccountID
	Start   resource.Time // of the window
	Amount  resource.Money
}

// Presumed returns what the node's old epochs left presumed spent. It reads the file.
func (f *FSM) Presumed(node string) []EpochHold {
	n, ok := (*f.nodes.Load())[node]
	if !ok {
		return nil
	}
	var all []EpochHold
	f.eachAccount("", func(k, v []byte) error {
		a, id, start, err := readAccount(k, v)
		if err != nil {
			return err
		}
		for _, h := range a.Holds {
			if h.Node == n.Ordinal && n.Holding(h.Epoch) == money.Presumed && h.Outstanding() > 0 {
				all = append(all, EpochHold{Epoch: h.Epoch, Account: id, Start: start, Amount: h.Outstanding()})
			}
		}
		return nil
	})
	return all
}

func readAccount(k, v []byte) (*money.Account, resource.AccountID, resource.Time, error) {
	id, start, ok := money.SplitKey(k)
	if !ok {
		return nil, "", 0, frame.ErrDamaged
	}
	fr, err := frame.Parse(k, v)
	if err != nil {
		return nil, "", 0, err
	}
	a, err := money.ParseAccount(fr.Payload)
	return a, id, start, err
}

// Accounts returns the windows, open and previous, of a holder: "key/ID", "team/ID", … It
// reads the file.
func (f *FSM) Accounts(holder string) []Account {
	nodes, now := *f.nodes.Load(), f.progress.Position().At
	var all []Account
	f.eachAccount(holder+"/", func(k, v []byte) error {
		a, id, start, err := readAccount(k, v)
		if err != nil || strings.Contains(string(id[len(holder)+1:]), "/") { // of a longer id
			return err
		}
		a.Lapse(now)
		s := a.Sums(nodes)
		all = append(all, Account{
			ID: id, Window: resource.Window{Start: start, End: a.End}, Unit: a.Unit, Limit: a.Limit,
			Settled: a.Settled, Presumed: s.Presumed, Granted: s.Live,
		})
		return nil
	})
	return all
}

// Totals returns the sums of a holder: a kind such as resource.HolderKey and its id, a model
// by its name, a member of a team by TEAM/USER; of "provider" by name; or of "total" with
// the id "". It reads the file.
func (f *FSM) Totals(kind, id string) Totals {
	var t Totals
	f.view(func(tx *bolt.Tx) error {
		fr, ok, err := store.Totals.Read(tx, money.TotalsKey(kind, id))
		if err != nil || !ok {
			return err
		}
		t, err = money.ParseTotals(fr.Payload)
		return err
	})
	return t
}

// DailyTotals returns the sums of the days from, to inclusive (days since 1970-01-01 UTC)
// on which there was something. It reads the file.
func (f *FSM) DailyTotals(kind, id string, from, to int32) map[int32]Totals {
	days := map[int32]Totals{}
	last := money.DayKey(kind, id, to)
	f.view(func(tx *bolt.Tx) error {
		c := store.Totals.In(tx).Cursor()
		for k, v := c.Seek(money.DayKey(kind, id, from)); k != nil && bytes.Compare(k, last) <= 0; k, v = c.Next() {
			day, ok := money.Day(k)
			if !ok || len(k) != len(last) {
				continue
			}
			fr, err := frame.Parse(k, v)
			if err != nil {
				return err
			}
			if days[day], err = money.ParseTotals(fr.Payload); err != nil {
				return err
			}
		}
		return nil
	})
	return days
}
