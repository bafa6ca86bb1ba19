package seats

import (
	"fmt"
	"slices"
	"time"

	"github.com/conclave-llm/conclave/resource"
)

const (
	maxVoters    = 5
	wantedVoters = 3
	promoteSoon  = time.Second      // while voters are wanted
	promoteLater = 10 * time.Second // after that
	// outAfter is how long a voter is out of reach before one that is fit takes its vote.
	outAfter = 30 * time.Second
)

// Seat is one node of Raft's configuration, as the leader knows it.
type Seat struct {
	ID      string
	Voter   bool
	Leader  bool          // the node that decides
	Known   bool          // it is in the table of members
	Removed bool          // it has a tombstone
	MayVote bool          // nobody decided that it must not
	Alive   bool          // it answers
	Out     time.Duration // for how long it did not answer, as this leader saw it; 0 if Alive
	Fit     time.Duration // for how long it answered and was nearly caught up; 0: it is not
}

// Limits is when a dead node is removed by itself.
type Limits struct {
	Off       bool          // never
	After     time.Duration // that long out of reach
	MinVoters int           // that many voters stay
}

// Action is what is to be done with a seat.
type Action uint8

// The actions.
const (
	None   Action = iota
	Leave         // the leader itself must go: hand over first
	Remove        // out of the configuration: it has a tombstone
	Demote
	Promote
	Bury // it is dead: give it a tombstone
)

// String names the action for the log.
func (a Action) String() string {
	return [...]string{"none", "leave", "remove", "demote", "promote", "bury"}[a]
}

// Step is one change of the configuration.
type Step struct {
	Action Action
	ID     string
	Why    string
}

// Next is the change to make now; the zero Step is none.
func Next(all []Seat, l Limits) Step {
	if s, ok := removed(all); ok {
		return s
	}
	if s, ok := demoted(all); ok {
		return s
	}
	if s, ok := promoted(all); ok {
		return s
	}
	return buried(all, l)
}

// removed takes out one that has a tombstone, if the quorum bears it: others may have died since
// that was decided. It votes until then, though it does nothing else.
func removed(all []Seat) (Step, bool) {
	for _, s := range all {
		switch {
		case s.Removed && s.Leader:
			return Step{Leave, s.ID, "it was removed"}, true
		case s.Removed && Check(all, s.ID) == nil:
			return Step{Remove, s.ID, "it was removed"}, true
		}
	}
	return Step{}, false
}

// demoted takes the vote of one that must not have it, if the quorum bears it.
func demoted(all []Seat) (Step, bool) {
	for _, s := range all {
		if !s.Voter || !s.Known || s.MayVote || Check(all, s.ID) != nil {
			continue
		}
		if s.Leader {
			return Step{Leave, s.ID, "it must not vote any more"}, true
		}
		return Step{Demote, s.ID, "it must not vote any more"}, true
	}
	return Step{}, false
}

// promoted gives a vote to one that was fit for long enough, or takes that of a voter which is out
// of reach in its favour: the two together leave as many voters as there were.
func promoted(all []Seat) (Step, bool) {
	voters, out := 0, ""
	for _, s := range all {
		if !s.Voter {
			continue
		}
		voters++
		if s.Out >= outAfter {
			out = s.ID
		}
	}
	need := promoteLater
	if voters < wantedVoters {
		need = promoteSoon
	}
	for _, s := range all {
		if s.Voter || !s.Known || !s.MayVote || s.Fit == 0 || s.Fit < need {
			continue
		}
		if out != "" && voters >= wantedVoters && Check(all, out) == nil {
			return Step{Demote, out, "it is out of reach, and another node is fit"}, true
		}
		if voters < maxVoters {
			return Step{Promote, s.ID, "it has caught up"}, true
		}
	}
	return Step{}, false
}

// buried removes one that has been out of reach for long, if the rest keeps its quorum and
// enough voters.
func buried(all []Seat, l Limits) Step {
	voters := 0
	for _, s := range all {
		if s.Voter {
			voters++
		}
	}
	for _, s := range all {
		if l.Off || l.After <= 0 || !s.Known || s.Leader || s.Alive || s.Out < l.After {
			continue
		}
		if s.Voter && (voters-1 < l.MinVoters || Check(all, s.ID) != nil) {
			continue
		}
		return Step{Bury, s.ID, fmt.Sprintf("it was out of reach for %s", s.Out.Round(time.Second))}
	}
	return Step{}
}

// Staying are the seats but for those that are about to leave or to lose their vote: what is left
// once everything that was decided has been done. It is what a further decision is measured by.
func Staying(all []Seat) []Seat {
	return slices.DeleteFunc(slices.Clone(all), func(s Seat) bool {
		return s.Removed || s.Voter && s.Known && !s.MayVote
	})
}

// Tally counts votes.
type Tally struct {
	Voters int // voters of the configuration
	Alive  int // of those, that answer
	Need   int // most of them
}

// Count counts the votes of the configuration without some seats.
func Count(all []Seat, without ...string) (t Tally) {
	for _, s := range all {
		if !s.Voter || slices.Contains(without, s.ID) {
			continue
		}
		t.Voters++
		if s.Alive {
			t.Alive++
		}
	}
	t.Need = t.Voters/2 + 1
	return t
}

// Check refuses, with the count, to take the vote of a seat if the rest would have no quorum;
// the error wraps resource.ErrQuorum.
func Check(all []Seat, id string) error {
	for _, s := range all {
		if s.ID == id && !s.Voter {
			return nil
		}
	}
	t := Count(all, id)
	if t.Voters > 0 && t.Alive >= t.Need {
		return nil
	}
	return fmt.Errorf("without it %d of %d voters would answer, and %d are needed: %w", t.Alive, t.Voters, t.Need, resource.ErrQuorum)
}
