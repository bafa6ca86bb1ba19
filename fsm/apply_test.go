package fsm

import (
	"errors"
	"testing"

	"github.com/hashicorp/raft"

	"github.com/conclave-llm/conclave/fsm/frame"
	"github.com/conclave-llm/conclave/resource"
)

func TestOutcome(t *testing.T) {
	t.Parallel()
	b := outcome(Applied{Result: Result{Generation: 1, Version: 2}, Err: resource.ErrDead})
	got, err := parseOutcome(frame.Value{Version: 3, Payload: b})
	if err != nil || got.Result != (Result{Index: 3, Generation: 1, Version: 2}) || !errors.Is(got.Err, resource.ErrDead) {
		t.Errorf("got %+v (%v)", got, err)
	}
	if _, err := parseOutcome(frame.Value{Payload: b[:15]}); !errors.Is(err, ErrDamaged) {
		t.Errorf("its beginning alone: got %v, want %v", err, ErrDamaged)
	}
}

func FuzzParseOutcome(f *testing.F) {
	f.Add(outcome(Applied{Err: resource.ErrDead}))
	f.Fuzz(func(_ *testing.T, b []byte) {
		_, _ = parseOutcome(frame.Value{Payload: b}) // only that it does not panic
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
