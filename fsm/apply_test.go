package fsm

import (
	"testing"

	"github.com/hashicorp/raft"
)

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
