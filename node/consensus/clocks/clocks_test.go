package clocks

import (
	"log/slog"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/resource"
)

func TestClocks_judge(t *testing.T) {
	t.Parallel()
	const s = time.Second
	type told struct {
		id  string
		off time.Duration // of its clock
	}
	for _, tt := range []struct {
		name  string
		heard []told
		id    string
		off   time.Duration
		right bool
	}{
		{"a single node compares with nothing", nil, "self", time.Hour, true},
		{"two nodes: the leader is right", []told{{"b", 0}}, "self", time.Hour, true},
		{"two nodes: the follower is not", nil, "b", 3 * s, false},
		{"a follower near the leader", nil, "b", -1900 * time.Millisecond, true},
		{"three nodes: the leader is wrong", []told{{"b", 0}, {"c", s}}, "self", 4 * s, false},
		{"three nodes: the leader is near", []told{{"b", 0}, {"c", s}}, "self", 2500 * time.Millisecond, true},
		{"three nodes: a follower is wrong", []told{{"c", 0}}, "b", -time.Hour, false},
		{"between two that disagree", []told{{"b", -time.Hour}, {"c", time.Hour}}, "self", time.Minute, true},
		{"five nodes, one of the others is wrong", []told{{"b", 0}, {"c", 0}, {"d", time.Hour}}, "e", s, true},
		{"five nodes, two are wrong", []told{{"b", 0}, {"c", 0}, {"d", time.Hour}}, "e", time.Hour, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			wall, boot := time.Unix(1e9, 0), time.Hour
			c := &Clocks{
				self: "self", now: func() time.Time { return wall }, boot: func() time.Duration { return boot },
				log: slog.New(slog.DiscardHandler), heard: map[string]*heardClock{}, wrong: map[string]bool{},
			}
			pass := func(d time.Duration) { wall, boot = wall.Add(d), boot+d }
			for _, h := range tt.heard {
				_ = c.Judge(h.id, resource.At(wall.Add(h.off)))
				pass(2 * s) // clocks are told at different times
			}
			if tt.id == "self" {
				wall = wall.Add(tt.off) // it is set after the others were heard
			}
			at := wall
			if tt.id != "self" {
				at = wall.Add(tt.off)
			}
			if err := c.Judge(tt.id, resource.At(at)); (err == nil) != tt.right {
				t.Errorf("judge = %v, want right %v", err, tt.right)
			}
			if tt.id == "self" && (c.Own().Abs() <= MaxSkew) != tt.right {
				t.Errorf("own = %v, want right %v", c.Own(), tt.right)
			}
			pass(time.Minute)
			if err := c.Judge("self", resource.At(wall)); err != nil {
				t.Errorf("after the others were not heard for a minute: %v", err)
			}
		})
	}
}

func TestClocks_delayIsNoSkew(t *testing.T) {
	t.Parallel()
	boot := time.Hour
	c := &Clocks{
		self: "self", now: func() time.Time { return time.Unix(0, int64(boot)) }, boot: func() time.Duration { return boot },
		log: slog.New(slog.DiscardHandler), heard: map[string]*heardClock{}, wrong: map[string]bool{},
	}
	boot += time.Second - boot%(2*time.Second) + time.Second // even
	for range 100 {
		for i, id := range []string{"b", "c"} {
			late := time.Duration(i) * 3 * time.Second // c hangs now and then
			if boot%(2*time.Second) == 0 {
				late = 0
			}
			if err := c.Judge(id, resource.Time(boot-late)); err != nil {
				t.Fatal(err)
			}
		}
		boot += time.Second
		if off := c.Own(); off != 0 {
			t.Fatalf("own = %v, want 0", off)
		}
	}
}

func TestOff(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		told map[string]time.Duration
		want map[string]time.Duration
	}{
		{"of two nobody can tell", map[string]time.Duration{"a": 0, "b": time.Hour}, map[string]time.Duration{}},
		{"one of three is ahead", map[string]time.Duration{"a": 0, "b": 0, "c": time.Hour}, map[string]time.Duration{"c": time.Hour}},
		{"one of three is behind", map[string]time.Duration{"a": -time.Hour, "b": 0, "c": time.Second}, map[string]time.Duration{"a": -time.Hour, "c": time.Second}},
		{"two of five", map[string]time.Duration{"a": time.Hour, "b": -time.Hour, "c": 0, "d": 0, "e": 0}, map[string]time.Duration{"a": time.Hour, "b": -time.Hour}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			told := map[string]time.Time{}
			for id, off := range tt.told {
				told[id] = time.Unix(1e9, 0).Add(off)
			}
			for id, got := range Off(told) {
				if want := tt.want[id]; got != want {
					t.Errorf("the clock of %s is %v off, want %v", id, got, want)
				}
				delete(tt.want, id)
			}
			if len(tt.want) > 0 {
				t.Errorf("nothing is said of %v", tt.want)
			}
		})
	}
}
