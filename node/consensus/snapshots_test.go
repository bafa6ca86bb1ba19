package consensus_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/resource"
)

// TestCompact_everyNode fills the state and empties it: the files of all nodes become small while they run, the leader's after it has
// handed over, and all have the same state.
func TestCompact_everyNode(t *testing.T) {
	t.Parallel()
	ms := founded(t)
	size := func(m *machine) int64 {
		info, err := os.Stat(filepath.Join(m.dir, "fsm.db"))
		if err != nil {
			t.Fatal(err)
		}
		return info.Size()
	}
	fat := []byte(`{"a":"` + strings.Repeat("x", 60<<10) + `"}`)
	name := func(i int) string { return fmt.Sprintf("team%d", i) }
	propose := func(cmd fsm.Command) error {
		_, err := ms[0].node.Propose(t.Context(), fsm.Actor{Kind: "master"}, "", cmd)
		return err
	}
	const teams = 60
	for i := range teams {
		enc, err := fsm.EncodedOf(resource.Team{Meta: resource.Meta{ID: name(i)}, Name: name(i), Policy: resource.Policy{Metadata: fat}})
		if err == nil {
			err = propose(fsm.PutTeam{Team: enc})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, m := range ms {
		eventually(t, m.name+" has all", func() bool { _, ok := m.fsm.Catalog().Team(name(teams - 1)); return ok })
		if got := size(m); got < teams*60<<10 {
			t.Fatalf("%s has a file of %d bytes", m.name, got)
		}
	}
	for i := range teams {
		if err := propose(fsm.DeleteTeam{ID: name(i)}); err != nil {
			t.Fatal(err)
		}
	}
	for _, m := range ms {
		m.stop(true)
		m.compact = 1 << 20
		m.restart()
	}
	for _, m := range ms {
		ready(t, m)
	}
	if _, err := putTeam(t.Context(), ms[0], "after"); err != nil {
		t.Fatal(err)
	}
	for _, m := range ms {
		eventually(t, m.name+" has a small file", func() bool { return size(m) < 1<<20 })
	}
	if _, err := putTeam(t.Context(), ms[1], "last"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "all have one state", func() bool {
		index, hash := ms[0].fsm.Hash()
		for _, m := range ms[1:] {
			if i, h := m.fsm.Hash(); i != index || h != hash {
				return false
			}
		}
		return true
	})
}
