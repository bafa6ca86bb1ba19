package consensus

import (
	"errors"
	"testing"

	"github.com/conclave-llm/conclave/node/consensus/lives"
	"github.com/conclave-llm/conclave/node/consensus/logstore"
)

// TestOlder: what is known of a node by its own process, which the first to answer may have joined through, makes no folder an old
// one, however far it has come since its start.
func TestOlder(t *testing.T) {
	t.Parallel()
	l, err := lives.Begin(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	n := &Node{lives: l}
	for _, tt := range []struct {
		name  string
		known known
		old   bool
	}{
		{"nobody knows anything", known{}, false},
		{"this process went on", known{Life: l.Own, Applied: 60}, false},
		{"it ends before what was told", known{Applied: 60}, true},
		{"it has all that was told", known{Applied: 48}, false},
		{"a process of another folder", known{Life: l.Own ^ 1, Applied: 1}, true},
	} {
		if err := n.older(tt.known, 48); errors.Is(err, logstore.ErrLost) != tt.old {
			t.Errorf("%s: got %v", tt.name, err)
		}
	}
}
