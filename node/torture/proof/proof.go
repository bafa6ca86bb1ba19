// Package proof judges offline what nodes said while something was done to them, and what lies on their disks
// when they are stopped. A judge returns what is broken, each line with the invariant's number first, and nothing
// if all held. It knows no cluster: whoever runs one notes looks and collects logs.
package proof

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/conclave-llm/conclave/node/consensus/logstore"
)

// Look is what one node said of its state at some time.
type Look struct {
	Node       string            `json:"node"`                 // its id, or its name where no other node takes that
	At         time.Duration     `json:"at"`                   // when it answered, on the clock of who asked
	Generation uint64            `json:"generation,omitempty"` // goes up with each restore of a backup, after which all begins anew
	Applied    uint64            `json:"applied"`              // index of the last entry in its state
	Keys       map[string]uint64 `json:"keys,omitempty"`       // the version of each key that was looked at
	Gone       []string          `json:"gone,omitempty"`       // keys that were looked for and are deleted
}

// Forward judges I3: the state of a node never goes back, neither its applied index nor the version of a key, and no
// deleted key is there again. A restart is no excuse. Looks may come in any order; those of one
// node must have been asked for one after the other.
func Forward(looks []Look) (broken []string) {
	byNode := map[string][]Look{}
	for _, l := range looks {
		byNode[l.Node] = append(byNode[l.Node], l)
	}
	for _, name := range slices.Sorted(maps.Keys(byNode)) {
		all := byNode[name]
		slices.SortStableFunc(all, func(a, b Look) int { return cmp.Compare(a.At, b.At) })
		broken = append(broken, forward(all)...)
	}
	return broken
}

// forward judges the looks of one node, in their order.
func forward(looks []Look) (broken []string) {
	var last Look
	version, gone := map[string]uint64{}, map[string]bool{}
	say := func(l Look, format string, args ...any) {
		broken = append(broken, fmt.Sprintf("I3: node %s, %s: %s", l.Node, l.At.Round(time.Millisecond), fmt.Sprintf(format, args...)))
	}
	for i, l := range looks {
		switch {
		case i > 0 && l.Generation < last.Generation:
			say(l, "generation %d after %d", l.Generation, last.Generation)
		case l.Generation > last.Generation:
			clear(version)
			clear(gone)
		case l.Applied < last.Applied:
			say(l, "it has applied %d after %d", l.Applied, last.Applied)
		}
		for key, v := range l.Keys {
			if v < version[key] {
				say(l, "key %s has version %d after %d", key, v, version[key])
			}
			if gone[key] {
				say(l, "key %s is there again", key)
			}
			version[key] = max(v, version[key])
		}
		for _, key := range l.Gone {
			gone[key] = true
		}
		last = l
	}
	slices.Sort(broken)
	return broken
}

// Log is what the disk of a stopped node has.
type Log struct {
	Node    string            `json:"node"`    // for the words
	Applied uint64            `json:"applied"` // the last entry that it said to have applied: so far it is committed
	Entries []logstore.Digest `json:"entries"` // see logstore.Digests
}

// Committed judges I12: in each term one leader at most has committed, and what is committed is the same in all logs that
// reach there. Terms never go down in a log, and its indexes have no gap. Two entries of one term at one place
// are of two leaders, also where they were not committed.
func Committed(logs []Log) (broken []string) {
	for _, l := range logs {
		broken = append(broken, ordered(l)...)
	}
	for i, a := range logs {
		for _, b := range logs[i+1:] {
			broken = append(broken, differ(a, b)...)
		}
	}
	return append(broken, leaders(logs)...)
}

// ordered judges a log by itself.
func ordered(l Log) (broken []string) {
	for i := 1; i < len(l.Entries); i++ {
		before, e := l.Entries[i-1], l.Entries[i]
		if e.Index != before.Index+1 {
			broken = append(broken, fmt.Sprintf("I12: the log of node %s has entry %d after %d", l.Node, e.Index, before.Index))
		}
		if e.Term < before.Term {
			broken = append(broken, fmt.Sprintf("I12: entry %d of node %s is of term %d, the one before of %d", e.Index, l.Node, e.Term, before.Term))
		}
	}
	return broken
}

// differ compares two logs where both have an entry. The first difference says it: what follows is
// of other leaders as a whole.
func differ(a, b Log) []string {
	if len(a.Entries) == 0 || len(b.Entries) == 0 {
		return nil
	}
	first := max(a.Entries[0].Index, b.Entries[0].Index)
	last := min(a.Entries[len(a.Entries)-1].Index, b.Entries[len(b.Entries)-1].Index)
	for i := first; i <= last; i++ {
		x, y := a.Entries[i-a.Entries[0].Index], b.Entries[i-b.Entries[0].Index]
		if x == y {
			continue
		}
		if x.Term == y.Term {
			return []string{fmt.Sprintf("I12: entry %d of term %d is another one at node %s than at node %s: two have led in that term, or one is damaged", i, x.Term, a.Node, b.Node)}
		}
		if i <= min(a.Applied, b.Applied) {
			return []string{fmt.Sprintf("I12: entry %d is committed, and is of term %d at node %s, of term %d at node %s", i, x.Term, a.Node, y.Term, b.Node)}
		}
		return nil // one of them was never committed
	}
	return nil
}

// leaders looks for terms that two have begun: a leader's first entry is a no-op, and it makes no other.
func leaders(logs []Log) (broken []string) {
	began := map[uint64]uint64{} // index by term
	said := map[uint64]bool{}
	for _, l := range logs {
		for _, e := range l.Entries {
			if !e.Noop() {
				continue
			}
			if at, ok := began[e.Term]; ok && at != e.Index && !said[e.Term] {
				broken = append(broken, fmt.Sprintf("I12: two leaders have begun term %d, at entries %d and %d (node %s)", e.Term, at, e.Index, l.Node))
				said[e.Term] = true
			}
			began[e.Term] = e.Index
		}
	}
	return broken
}
