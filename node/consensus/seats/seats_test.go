package seats_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/node/consensus/seats"
	"github.com/conclave-llm/conclave/resource"
)

// of makes seats of a few letters each: v voter, l leader, d dead for an hour, o out of reach for
// half a minute, f fit for a minute, s fit for two seconds, n must not vote, x removed.
func of(specs ...string) []seats.Seat {
	var all []seats.Seat
	for i, spec := range specs {
		has := func(c string) bool { return strings.Contains(spec, c) }
		s := seats.Seat{
			ID: string(rune('a' + i)), Voter: has("v"), Leader: has("l"), Known: true, Removed: has("x"),
			MayVote: !has("n") && !has("x"), Alive: !has("d") && !has("o"),
		}
		switch {
		case has("d"):
			s.Out = time.Hour
		case has("o"):
			s.Out = 30 * time.Second
		}
		switch {
		case has("f"):
			s.Fit = time.Minute
		case has("s"):
			s.Fit = 2 * time.Second
		}
		all = append(all, s)
	}
	return all
}

func TestNext(t *testing.T) {
	t.Parallel()
	after := seats.Limits{After: time.Hour, MinVoters: 3}
	for _, tt := range []struct {
		name string
		all  []seats.Seat
		l    seats.Limits
		want seats.Action
		id   string
	}{
		{"nothing to do", of("vl", "v", "v"), after, seats.None, ""},
		{"a tombstone leaves", of("vl", "v", "vx"), after, seats.Remove, "c"},
		{"a tombstone stays while its vote is needed", of("vl", "vd", "vx"), after, seats.None, ""},
		{"of two tombstones the dead one leaves first", of("vl", "v", "vx", "vdx", "vdx"), after, seats.Remove, "d"},
		{"a removed leader hands over", of("vlx", "v", "v"), after, seats.Leave, "a"},
		{"a voter is wanted", of("vl", "s"), after, seats.Promote, "b"},
		{"three vote: a fourth waits", of("vl", "v", "v", "s"), after, seats.None, ""},
		{"three vote: a fourth that is fit", of("vl", "v", "v", "f"), after, seats.Promote, "d"},
		{"a read node never votes", of("vl", "fn"), after, seats.None, ""},
		{"a voter that must not vote", of("vl", "v", "vn"), after, seats.Demote, "c"},
		{"the leader must not vote", of("vln", "v", "v"), after, seats.Leave, "a"},
		{"its vote is needed", of("vl", "vn", "vd"), after, seats.None, ""},
		{"the only voter", of("vln"), after, seats.None, ""},
		{"a fit node takes the vote of one that is out", of("vl", "v", "vo", "f"), after, seats.Demote, "c"},
		{"out, but nobody is fit", of("vl", "v", "vo"), after, seats.None, ""},
		{"dead: three voters stay three", of("vl", "v", "vd"), after, seats.None, ""},
		{"dead: four voters become three", of("vl", "v", "v", "vd"), after, seats.Bury, "d"},
		{"dead: the switch is off", of("vl", "v", "v", "vd"), seats.Limits{Off: true, After: time.Hour}, seats.None, ""},
		{"dead: two of five, one at a time", of("vl", "v", "v", "vd", "vd"), after, seats.Bury, "d"},
		{"dead: three of five have no quorum", of("vl", "v", "vd", "vd", "vd"), after, seats.None, ""},
		{"dead: a node without a vote", of("vl", "v", "v", "d"), after, seats.Bury, "d"},
		{"out for less than the limit", of("vl", "v", "v", "o"), after, seats.None, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := seats.Next(tt.all, tt.l); got.Action != tt.want || got.ID != tt.id {
				t.Errorf("got %+v, want %d of %q", got, tt.want, tt.id)
			}
		})
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		all  []seats.Seat
		id   string
		want string // part of the refusal; "": none
	}{
		{"one of three", of("vl", "v", "v"), "b", ""},
		{"the dead one of three", of("vl", "v", "vd"), "c", ""},
		{"a living one while another is dead", of("vl", "v", "vd"), "b", "1 of 2 voters would answer, and 2 are needed"},
		{"the only voter", of("vl"), "a", "0 of 0"},
		{"one without a vote", of("vl", "d"), "b", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			err := seats.Check(tt.all, tt.id)
			if tt.want == "" && err != nil || tt.want != "" && (!errors.Is(err, resource.ErrQuorum) || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

// TestStaying decides while others are about to go.
func TestStaying(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		all  []seats.Seat
		id   string
		ok   bool
	}{
		{"one of four while another is dead", of("vl", "vd", "v", "v"), "c", true},
		{"and then one more", of("vl", "vd", "vx", "v"), "d", false},
		{"while another must not vote any more", of("vl", "vd", "vn", "v"), "d", false},
		{"the dead one, in that case", of("vl", "vd", "vn", "v"), "b", true},
		{"one without a vote", of("vl", "vd", "vx", "f"), "d", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if err := seats.Check(seats.Staying(tt.all), tt.id); (err == nil) != tt.ok {
				t.Errorf("got %v, want it allowed: %v", err, tt.ok)
			}
		})
	}
}

// TestNext_Quorum walks from every small configuration as Next says and never loses a quorum
// that was there.
func TestNext_Quorum(t *testing.T) {
	t.Parallel()
	kinds := []string{"v", "vd", "vn", "vx", "vdx", "f", "d", "fn", "vo"}
	var walk func(specs []string)
	walk = func(specs []string) {
		all := of(append([]string{"vl"}, specs...)...)
		before := seats.Count(all)
		step := seats.Next(all, seats.Limits{After: time.Minute, MinVoters: 3})
		if before.Alive >= before.Need && (step.Action == seats.Demote || step.Action == seats.Bury || step.Action == seats.Remove) {
			if after := seats.Count(all, step.ID); after.Alive < after.Need {
				t.Errorf("%v: %+v leaves %+v", specs, step, after)
			}
		}
		if len(specs) < 4 {
			for _, k := range kinds {
				walk(append(slices.Clip(specs), k))
			}
		}
	}
	walk(nil)
}

func TestOdd(t *testing.T) {
	t.Parallel()
	good, bad, worse := [16]byte{1}, [16]byte{2}, [16]byte{3}
	for _, tt := range []struct {
		name   string
		hashes map[string][16]byte
		want   []string
	}{
		{"all alike", map[string][16]byte{"a": good, "b": good, "c": good}, nil},
		{"one of three", map[string][16]byte{"a": good, "b": bad, "c": good}, []string{"b"}},
		{"the one that asks", map[string][16]byte{"a": bad, "b": good, "c": good}, []string{"a"}},
		{"two of two: nobody knows", map[string][16]byte{"a": good, "b": bad}, nil},
		{"three states: nobody knows", map[string][16]byte{"a": good, "b": bad, "c": worse}, nil},
		{"two of five, each in its way", map[string][16]byte{"a": good, "b": bad, "c": good, "d": worse, "e": good}, []string{"b", "d"}},
		{"half of four", map[string][16]byte{"a": good, "b": bad, "c": good, "d": bad}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := seats.Odd(tt.hashes); !slices.Equal(got, tt.want) {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}
