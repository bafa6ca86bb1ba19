package money_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/conclave-llm/conclave/fsm/frame"
	"github.com/conclave-llm/conclave/fsm/money"
)

// layouts are the fixed layouts: each reads bytes and writes what it has read.
var layouts = []struct {
	name   string
	sample []byte
	again  func([]byte) ([]byte, error)
}{
	{
		"account",
		(&money.Account{End: 1, Limit: 2, Overdraft: 3, Settled: 4, Opened: 5, Recall: true, Holds: []money.Hold{{Node: 1, Epoch: 2, Granted: 3, Consumed: 4}, {Node: 2, Consumed: 9}}}).Encode(),
		func(b []byte) ([]byte, error) {
			a, err := money.ParseAccount(b)
			if err != nil {
				return nil, err
			}
			return a.Encode(), nil
		},
	},
	{
		"node",
		(&money.Node{Ordinal: 1, Removed: true, Epoch: 2, Seq: 3, To: 4, At: 5, Applied: 6, Clock: 7, Generation: 8, Hash: make([]byte, 16), Old: []money.OldEpoch{{Epoch: 1, To: 2, Ended: 3, Kept: true}}}).Encode(),
		func(b []byte) ([]byte, error) {
			n, err := money.ParseNode(b)
			if err != nil {
				return nil, err
			}
			return n.Encode(), nil
		},
	},
	{
		"node with a life",
		(&money.Node{Ordinal: 1, Epoch: 2, Hash: make([]byte, 16), Old: []money.OldEpoch{{Epoch: 1}}, Life: 9}).Encode(),
		func(b []byte) ([]byte, error) {
			n, err := money.ParseNode(b)
			if err != nil {
				return nil, err
			}
			return n.Encode(), nil
		},
	},
	{
		"names",
		money.Names{Customers: 1, Tags: 2}.Encode(),
		func(b []byte) ([]byte, error) {
			n, err := money.ParseNames(b)
			return n.Encode(), err
		},
	},
	{
		"totals",
		money.Totals{Cost: -1, Requests: 2, Failures: 3, Prompt: 4, Completion: 5}.Encode(),
		func(b []byte) ([]byte, error) {
			t, err := money.ParseTotals(b)
			return t.Encode(), err
		},
	},
}

func TestLayouts(t *testing.T) {
	t.Parallel()
	for _, l := range layouts {
		if got, err := l.again(l.sample); err != nil || !bytes.Equal(got, l.sample) {
			t.Errorf("%s: got %x (%v), want %x", l.name, got, err, l.sample)
		}
		if _, err := l.again(l.sample[:15]); !errors.Is(err, frame.ErrDamaged) {
			t.Errorf("%s: its beginning alone: got %v, want %v", l.name, err, frame.ErrDamaged)
		}
	}
}

func FuzzLayouts(f *testing.F) {
	for i, l := range layouts {
		f.Add(uint8(i), l.sample)
	}
	f.Fuzz(func(t *testing.T, which uint8, b []byte) {
		l := layouts[int(which)%len(layouts)]
		if got, err := l.again(b); err == nil && len(got) != len(b) {
			t.Errorf("%s: %x is written as %x", l.name, b, got)
		}
	})
}
