package served

import (
	bolt "go.etcd.io/bbolt"

	"github.com/conclave-llm/conclave/fsm/memory"
	"github.com/conclave-llm/conclave/fsm/money"
	"github.com/conclave-llm/conclave/fsm/store"
)

// Names are how many end users and tags without a record have totals of their own.
func (s *State) Names() (n money.Names) {
	s.view(func(tx *bolt.Tx) error {
		f, ok, err := store.Cluster.Read(tx, memory.NamesKey)
		if err != nil || !ok {
			return err
		}
		n, err = money.ParseNames(f.Payload)
		return err
	})
	return n
}
