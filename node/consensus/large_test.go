package consensus_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/resource"
)

// TestCatchUp_largeEntries lets a node come back that is behind by more than one message may
// hold: entries of several megabytes, as the import of many keys makes them.
func TestCatchUp_largeEntries(t *testing.T) {
	t.Parallel()
	ms := three(t)
	l := leader(t, ms)
	var late *machine
	for _, m := range ms {
		if m != l {
			late = m
		}
	}
	late.stop(true)
	metadata := []byte(`{"text":"` + strings.Repeat("x", 60<<10) + `"}`)
	var last fsm.Result
	for i := range 4 {
		var b fsm.Batch
		for j := range 50 {
			id := fmt.Sprintf("large-%d-%d", i, j)
			enc, err := fsm.EncodedOf(resource.Team{
				Meta: resource.Meta{ID: id}, Name: id, Policy: resource.Policy{Metadata: metadata},
			})
			if err != nil {
				t.Fatal(err)
			}
			it, err := fsm.ItemOf(fsm.PutTeam{Team: enc})
			if err != nil {
				t.Fatal(err)
			}
			b.Items = append(b.Items, it)
		}
		var err error
		if last, err = l.node.Propose(t.Context(), fsm.Actor{Kind: "master"}, "r", b); err != nil {
			t.Fatal(err)
		}
	}
	late.restart()
	eventually(t, "the late node catches up", func() bool { return late.fsm.Applied() >= last.Index })
	if !hasTeam(late, "large-3-49") {
		t.Error("the last team is missing")
	}
}
