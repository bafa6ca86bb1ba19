package proof_test

import (
	"strings"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/node/consensus/logstore"
	"github.com/conclave-llm/conclave/node/torture/proof"
)

// Raft's types of entries.
const command, noop = 0, 1

func TestForward(t *testing.T) {
	t.Parallel()
	look := func(node string, at time.Duration, applied, version uint64, gone ...string) proof.Look {
		l := proof.Look{Node: node, At: at, Generation: 1, Applied: applied, Gone: gone}
		if version > 0 {
			l.Keys = map[string]uint64{"k": version}
		}
		return l
	}
	restored := look("a", 3, 2, 1)
	restored.Generation = 2
	older := look("a", 3, 9, 2)
	older.Generation = 0
	for _, tt := range []struct {
		name  string
		looks []proof.Look
		want  string // "": nothing is broken
	}{
		{"forward, and in no order", []proof.Look{look("a", 2, 5, 2), look("b", 1, 9, 3), look("a", 1, 5, 1)}, ""},
		{"deleted", []proof.Look{look("a", 1, 5, 2), look("a", 2, 6, 0, "k")}, ""},
		{"a backup is restored", []proof.Look{look("a", 1, 5, 2), look("a", 2, 6, 0, "k"), restored}, ""},
		{"another node is behind", []proof.Look{look("a", 1, 5, 2), look("b", 2, 4, 1)}, ""},
		{"the applied index goes back", []proof.Look{look("a", 1, 5, 2), look("a", 2, 4, 2)}, "it has applied 4 after 5"},
		{"a version goes back", []proof.Look{look("a", 1, 5, 2), look("a", 2, 5, 1)}, "key k has version 1 after 2"},
		{"a version goes back behind a look without it", []proof.Look{look("a", 1, 5, 2), look("a", 2, 5, 0), look("a", 3, 5, 1)}, "key k has version 1 after 2"},
		{"a deleted key is there again", []proof.Look{look("a", 1, 5, 0, "k"), look("a", 2, 6, 3)}, "key k is there again"},
		{"the generation goes back", []proof.Look{look("a", 1, 5, 2), older}, "generation 0 after 1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			says(t, proof.Forward(tt.looks), "I3: ", tt.want)
		})
	}
}

func TestCommitted(t *testing.T) {
	t.Parallel()
	// A log from the terms of its entries; an upper one begins with a no-op.
	log := func(node string, applied, first uint64, terms ...uint64) proof.Log {
		l := proof.Log{Node: node, Applied: applied}
		var last uint64
		for i, term := range terms {
			e := logstore.Digest{Index: first + uint64(i), Term: term, Type: command, Sum: uint32(term)}
			if term > last && i > 0 {
				e.Type = noop
			}
			last = term
			l.Entries = append(l.Entries, e)
		}
		return l
	}
	other := log("b", 3, 1, 1, 1, 1)
	other.Entries[2].Sum = 7
	gap := log("b", 3, 1, 1, 1, 1)
	gap.Entries[2].Index = 4
	for _, tt := range []struct {
		name string
		logs []proof.Log
		want string
	}{
		{"the same", []proof.Log{log("a", 3, 1, 1, 1, 2), log("b", 3, 1, 1, 1, 2)}, ""},
		{"one begins later, after a snapshot", []proof.Log{log("a", 5, 1, 1, 1, 2, 2, 2), log("b", 5, 4, 2, 2)}, ""},
		{"an end that was never committed", []proof.Log{log("a", 2, 1, 1, 1, 1, 1), log("b", 4, 1, 1, 1, 2, 2)}, ""},
		{"an empty log", []proof.Log{log("a", 2, 1, 1, 1), {Node: "b"}}, ""},
		{"what is committed differs", []proof.Log{log("a", 3, 1, 1, 1, 1), log("b", 3, 1, 1, 1, 2)}, "entry 3 is committed, and is of term 1 at node a, of term 2 at node b"},
		{"two entries of one term", []proof.Log{log("a", 1, 1, 1, 1, 1), other}, "entry 3 of term 1 is another one at node a than at node b"},
		{"two leaders in a term", []proof.Log{log("a", 1, 1, 1, 2, 2), log("b", 1, 1, 1, 1, 2)}, "two leaders have begun term 2, at entries 2 and 3 (node b)"},
		{"the term goes down", []proof.Log{log("a", 3, 1, 1, 2, 1)}, "entry 3 of node a is of term 1, the one before of 2"},
		{"a gap", []proof.Log{gap}, "has entry 4 after 2"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			says(t, proof.Committed(tt.logs), "I12: ", tt.want)
		})
	}
}

func says(t *testing.T, broken []string, number, want string) {
	t.Helper()
	if want == "" {
		if len(broken) > 0 {
			t.Errorf("got %q, want nothing broken", broken)
		}
		return
	}
	if len(broken) != 1 || !strings.HasPrefix(broken[0], number) || !strings.Contains(broken[0], want) {
		t.Errorf("got %q, want one line of %s with %q", broken, number, want)
	}
}
