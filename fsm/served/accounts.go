package served

import (
	"bytes"
	"strings"

	bolt "go.etcd.io/bbolt"

	"github.com/conclave-llm/conclave/fsm/frame"
	"github.com/conclave-llm/conclave/fsm/money"
	"github.com/conclave-llm/conclave/fsm/store"
	"github.com/conclave-llm/conclave/resource"
)

// Lease is what this node holds of one window of one account, as of the applied index.
type Lease = money.Lease

// Account is one window of one account as everybody sees it.
type Account struct {
	ID       resource.AccountID `json:"id"`
	Window   resource.Window    `json:"window"`
	Unit     resource.Unit      `json:"unit,omitempty"` // of the amounts
	Limit    resource.Money     `json:"limit"`
	Settled  resource.Money     `json:"settled"`
	Presumed resource.Money     `json:"presumed"`
	Granted  resource.Money     `json:"granted"` // outstanding on all nodes
}

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
func (s *State) eachAccount(prefix string, fn func(key, v []byte) error) {
	s.view(func(tx *bolt.Tx) error {
		c := store.Accounts.In(tx).Cursor()
		for k, v := c.Seek([]byte(prefix)); k != nil && bytes.HasPrefix(k, []byte(prefix)); k, v = c.Next() {
			if err := fn(k, v); err != nil {
				return err
			}
		}
		return nil
	})
}

// Leases returns what this node holds of every window. It reads the file.
func (s *State) Leases() []Lease { return s.LeasesOf(s.nodeID) }

// LeasesOf returns what any node holds of every window. It reads the file.
func (s *State) LeasesOf(node string) []Lease {
	nodes := *s.nodes.Load()
	var all []Lease
	s.eachAccount("", func(k, v []byte) error {
		l, ok, err := leaseOf(node, nodes, k, v)
		if ok {
			all = append(all, l)
		}
		return err
	})
	return all
}

// leasePage is how many windows EachLeases reads at once: the file is not to be held by one
// reader for as long as a million take, nor are they to be in memory together.
const leasePage = 4096

// EachLeases calls visit with what this node holds of every window, some at a time, each of
// them as of the applied index when it is read. It reads the file.
func (s *State) EachLeases(visit func([]Lease)) {
	page := make([]Lease, 0, leasePage)
	for at := []byte{}; at != nil; {
		page, at = s.leasesFrom(page[:0], at)
		visit(page)
	}
}

// leasesFrom appends the leases of the next windows, and gives the key that follows them, nil
// at the end.
func (s *State) leasesFrom(page []Lease, at []byte) (_ []Lease, next []byte) {
	nodes := *s.nodes.Load()
	s.view(func(tx *bolt.Tx) error {
		c := store.Accounts.In(tx).Cursor()
		n := 0
		for k, v := c.Seek(at); k != nil; k, v = c.Next() {
			if n++; n > leasePage {
				next = bytes.Clone(k)
				return nil
			}
			l, ok, err := leaseOf(s.nodeID, nodes, k, v)
			if err != nil {
				return err
			}
			if ok {
				page = append(page, l)
			}
		}
		return nil
	})
	return page, next
}

// Lease returns what this node holds of one window; false if nobody has opened
// it. It reads the file.
func (s *State) Lease(id resource.AccountID, start resource.Time) (Lease, bool) {
	nodes := *s.nodes.Load()
	var l Lease
	var ok bool
	s.view(func(tx *bolt.Tx) (err error) {
		key := money.Key(id, start)
		l, ok, err = leaseOf(s.nodeID, nodes, key, store.Accounts.In(tx).Get(key))
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
func (s *State) Presumed(node string) []EpochHold {
	n, ok := (*s.nodes.Load())[node]
	if !ok {
		return nil
	}
	var all []EpochHold
	s.eachAccount("", func(k, v []byte) error {
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
func (s *State) Accounts(holder string) []Account {
	nodes, now := *s.nodes.Load(), s.now()
	var all []Account
	s.eachAccount(holder+"/", func(k, v []byte) error {
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
