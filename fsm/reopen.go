package fsm

import (
	bolt "go.etcd.io/bbolt"

	"github.com/conclave-llm/conclave/fsm/money"
	"github.com/conclave-llm/conclave/fsm/overlay"
	"github.com/conclave-llm/conclave/fsm/store"
)

// Unopened finds the windows of charges that the state does not have, although a record says that
// there is such a budget: after a restore they were opened later than the backup was made. What is
// charged to them counts only if they are opened first.
func (f *FSM) Unopened(charges []AccountDelta) []OpenWindow {
	var out []OpenWindow
	f.view(func(base *bolt.Tx) (err error) {
		defer overlay.Catch(&err)
		tx := &Tx{b: &batch{base: &overlay.Base{Tx: base}}}
		for _, c := range charges {
			key := money.Key(c.Account, c.Start)
			if money.IsSession(key) || store.Accounts.In(base).Get(key) != nil {
				continue
			}
			t, ok := tx.terms(c.Account)
			if !ok {
				continue
			}
			w, err := t.Window(c.Start.Std())
			if err != nil || w.Start != c.Start {
				continue // the budget has other windows now
			}
			out = append(out, OpenWindow{Account: c.Account, Window: w, Limit: t.Limit(f.progress.Position().At), Overdraft: t.Over()})
		}
		return nil
	})
	return out
}
