package fsm

import (
	"bytes"
	"testing"

	"github.com/hashicorp/raft"

	"github.com/conclave-llm/conclave/fsm/frame"
	"github.com/conclave-llm/conclave/resource"
)

// layouts are the fixed layouts: each reads bytes and writes what it has read.
var layouts = []struct {
	name   string
	sample []byte
	again  func([]byte) ([]byte, error)
}{
	{
		"account",
		(&account{end: 1, limit: 2, overdraft: 3, settled: 4, opened: 5, recall: true, holds: []hold{{1, 2, 3, 4}, {2, 0, 0, 9}}}).append(),
		func(b []byte) ([]byte, error) {
			a, err := parseAccount(b)
			if err != nil {
				return nil, err
			}
			return a.append(), nil
		},
	},
	{
		"node",
		(&nodeState{ordinal: 1, removed: true, epoch: 2, seq: 3, to: 4, at: 5, applied: 6, clock: 7, generation: 8, hash: make([]byte, 16), old: []oldEpoch{{1, 2, 3, true}}}).append(),
		func(b []byte) ([]byte, error) {
			n, err := parseNode(b)
			if err != nil {
				return nil, err
			}
			return n.append(), nil
		},
	},
	{
		"totals",
		Totals{Cost: -1, Requests: 2, Failures: 3, Prompt: 4, Completion: 5}.append(),
		func(b []byte) ([]byte, error) {
			t, err := parseTotals(b)
			return t.append(), err
		},
	},
	{
		"outcome",
		outcome(Applied{Result: Result{Generation: 1, Version: 2}, Err: resource.ErrDead}),
		func(b []byte) ([]byte, error) {
			a, err := parseOutcome(frame.Value{Payload: b})
			return outcome(a), err
		},
	},
}

func TestLayouts(t *testing.T) {
	t.Parallel()
	for _, l := range layouts {
		if got, err := l.again(l.sample); err != nil || !bytes.Equal(got, l.sample) {
			t.Errorf("%s: got %x (%v), want %x", l.name, got, err, l.sample)
		}
		if _, err := l.again(l.sample[:15]); err == nil {
			t.Errorf("%s: its beginning alone is read", l.name)
		}
	}
}

func FuzzLayouts(f *testing.F) {
	for i, l := range layouts {
		f.Add(uint8(i), l.sample)
	}
	f.Fuzz(func(t *testing.T, which uint8, b []byte) {
		l := layouts[int(which)%len(layouts)]
		got, err := l.again(b)
		if err == nil && len(got) != len(b) && l.name != "outcome" {
			t.Errorf("%s: %x is written as %x", l.name, b, got)
		}
	})
}

// TestTx_RefusedChangesNothing holds every refusal to an untouched state but for its own
// outcome, which is what a second try is answered with.
func TestTx_RefusedChangesNothing(t *testing.T) {
	t.Parallel()
	f, err := Open(Config{Dir: t.TempDir(), BootID: "b"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	cmd := DeleteKey{ID: "nobody"}
	b, err := Encode(Envelope{At: 1, Actor: Actor{Kind: actorMaster}}, cmd) // without a command id nothing is remembered
	if err != nil {
		t.Fatal(err)
	}
	_, before := f.Hash()
	if a, ok := f.Apply(&raft.Log{Index: 1, Type: raft.LogCommand, Data: b}).(Applied); !ok || a.Err == nil {
		t.Fatal("it was not refused")
	}
	if _, after := f.Hash(); after != before {
		t.Errorf("a refusal moved the state hash from %x to %x", before, after)
	}
}
