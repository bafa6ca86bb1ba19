package fsm

import (
	"bytes"
	"strings"

	bolt "go.etcd.io/bbolt"

	"github.com/conclave-llm/conclave/fsm/frame"
	"github.com/conclave-llm/conclave/fsm/store"
	"github.com/conclave-llm/conclave/resource/alert"
)

// AlertQuery selects alerts, the newest first. Zero fields select all.
type AlertQuery struct {
	Before string // ids before this one
	Limit  int    // 0: all
	Match  func(*alert.Alert) bool
}

// Alert returns an alert.
func (f *FSM) Alert(id string) (a *alert.Alert, ok bool) {
	a, _, ok = readFiled[alert.Alert](f, store.Alerts, alertRow+id)
	return a, ok
}

// Alerts returns the alerts that the query selects.
func (f *FSM) Alerts(q AlertQuery) (all []*alert.Alert) {
	f.view(func(tx *bolt.Tx) error {
		c := store.Alerts.In(tx).Cursor()
		end := []byte(alertRow + q.Before)
		if q.Before == "" {
			end = []byte("b") // behind all of them
		}
		c.Seek(end)
		for k, v := previous(c, end); bytes.HasPrefix(k, []byte(alertRow)); k, v = c.Prev() {
			a, err := alertOf(k, v)
			if err != nil {
				return err
			}
			if q.Match != nil && !q.Match(a) {
				continue
			}
			if all = append(all, a); len(all) == q.Limit {
				return nil
			}
		}
		return nil
	})
	return all
}

// previous moves a cursor, wherever a seek for end has left it, to the last key before end.
func previous(c *bolt.Cursor, end []byte) (k, v []byte) {
	if k, _ = c.Seek(end); k == nil {
		return c.Last()
	}
	return c.Prev()
}

func alertOf(k, v []byte) (*alert.Alert, error) {
	value, err := frame.Parse(k, v)
	if err != nil {
		return nil, err
	}
	return parse[alert.Alert](store.Alerts, value)
}

// PendingAlerts returns the oldest alerts that are not delivered everywhere, at most limit.
func (f *FSM) PendingAlerts(limit int) (all []*alert.Alert) {
	f.eachAlertKey(alertPending, func(tx *bolt.Tx, id string, _ []byte) error {
		k := []byte(alertRow + id)
		a, err := alertOf(k, store.Alerts.In(tx).Get(k))
		if err != nil {
			return err
		}
		all = append(all, a)
		return nil
	}, limit)
	return all
}

// OpenAlerts returns the ids of the alerts about states that last, by the keys of the occasions.
func (f *FSM) OpenAlerts() map[string]string {
	all := map[string]string{}
	f.eachAlertKey(alertOpen, func(_ *bolt.Tx, key string, v []byte) error {
		value, err := frame.Parse([]byte(alertOpen+key), v)
		if err == nil {
			all[key] = string(value.Payload)
		}
		return err
	}, 0)
	return all
}

func (f *FSM) eachAlertKey(prefix string, fn func(tx *bolt.Tx, rest string, v []byte) error, limit int) {
	f.view(func(tx *bolt.Tx) error {
		c := store.Alerts.In(tx).Cursor()
		n := 0
		for k, v := c.Seek([]byte(prefix)); k != nil && strings.HasPrefix(string(k), prefix); k, v = c.Next() {
			if n++; limit > 0 && n > limit {
				return nil
			}
			if err := fn(tx, string(k[len(prefix):]), v); err != nil {
				return err
			}
		}
		return nil
	})
}
