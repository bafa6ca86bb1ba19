package served

import (
	"bytes"

	bolt "go.etcd.io/bbolt"

	"github.com/conclave-llm/conclave/fsm/frame"
	"github.com/conclave-llm/conclave/fsm/money"
	"github.com/conclave-llm/conclave/fsm/store"
)

// Totals returns the sums of a holder: a kind such as resource.HolderKey and its id, a model
// by its name, a member of a team by TEAM/USER; of "provider" by name; or of "total" with
// the id "". It reads the file.
func (s *State) Totals(kind, id string) money.Totals {
	var t money.Totals
	s.view(func(tx *bolt.Tx) error {
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
func (s *State) DailyTotals(kind, id string, from, to int32) map[int32]money.Totals {
	days := map[int32]money.Totals{}
	last := money.DayKey(kind, id, to)
	s.view(func(tx *bolt.Tx) error {
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

// EachDay calls visit for the totals of each day of every holder, at one applied index, which
// it returns with the last journal record of each node that they cover. It reads the file.
func (s *State) EachDay(visit func(kind, id string, day int32, t money.Totals)) (index uint64, covered map[string]uint64) {
	covered = map[string]uint64{}
	s.view(func(tx *bolt.Tx) error {
		pos, err := store.ReadPosition(tx)
		if err != nil {
			return err
		}
		index = pos.Index
		err = store.Nodes.In(tx).ForEach(func(k, v []byte) error {
			fr, err := frame.Parse(k, v)
			if err != nil {
				return err
			}
			n, err := money.ParseNode(fr.Payload)
			if err != nil {
				return err
			}
			to := n.To
			for _, o := range n.Old {
				to = max(to, o.To)
			}
			covered[string(k)] = to
			return nil
		})
		if err != nil {
			return err
		}
		return store.Totals.In(tx).ForEach(func(k, v []byte) error {
			kind, id, day, ok := money.SplitDayKey(k)
			if !ok {
				return nil // of all time
			}
			fr, err := frame.Parse(k, v)
			if err != nil {
				return err
			}
			t, err := money.ParseTotals(fr.Payload)
			if err == nil {
				visit(kind, id, day, t)
			}
			return err
		})
	})
	return index, covered
}
