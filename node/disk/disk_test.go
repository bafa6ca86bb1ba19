package disk_test

import (
	"errors"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/node/disk"
)

func TestGuard(t *testing.T) {
	t.Parallel()
	var free uint64
	now := time.Duration(0)
	g := disk.New(disk.Config{
		Dirs: []string{"/"}, Reserve: 800, Boot: func() time.Duration { return now },
		Usage: func(string) (uint64, uint64, error) { return free, 10000, nil },
	})
	for _, step := range []struct {
		name string
		free uint64
		low  bool
	}{
		{"room", 801, false}, {"too little", 799, true}, {"not enough to end it", 899, true}, {"enough", 901, false}, {"as before", 801, false},
	} {
		free = step.free
		now += time.Second
		if got := g.Room(); got.Low != step.low || got.Free != step.free {
			t.Errorf("%s: got %+v, want low %v", step.name, got, step.low)
		}
	}
	free = 0
	if g.Room().Low {
		t.Error("it looked twice within a second")
	}
}

// TestGuard_several has the data on one disk and the journal on another: either may fill up.
func TestGuard_several(t *testing.T) {
	t.Parallel()
	free := map[string]uint64{}
	now := time.Duration(0)
	g := disk.New(disk.Config{
		Dirs: []string{"data", "journal"}, Reserve: 800, Boot: func() time.Duration { return now },
		Usage: func(dir string) (uint64, uint64, error) {
			f, ok := free[dir]
			if !ok {
				return 0, 0, errors.New("there is no such folder")
			}
			return f, 10000, nil
		},
	})
	for _, step := range []struct {
		name string
		free map[string]uint64
		want disk.Room
	}{
		{"room on both", map[string]uint64{"data": 2000, "journal": 3000}, disk.Room{Free: 2000, Size: 10000}},
		{"the journal's is full", map[string]uint64{"data": 2000, "journal": 10}, disk.Room{Free: 10, Size: 10000, Low: true}},
		{"not enough to end it, and less of the other", map[string]uint64{"data": 850, "journal": 899}, disk.Room{Free: 899, Size: 10000, Low: true}},
		{"the data's is full", map[string]uint64{"data": 10, "journal": 3000}, disk.Room{Free: 10, Size: 10000, Low: true}},
		{"nothing is known of one", map[string]uint64{"journal": 3000}, disk.Room{Free: 3000, Size: 10000}},
		{"nothing is known", nil, disk.Room{}},
	} {
		free = step.free
		now += time.Second
		if got := g.Room(); got != step.want {
			t.Errorf("%s: got %+v, want %+v", step.name, got, step.want)
		}
	}
}

func TestGuard_System(t *testing.T) {
	t.Parallel()
	r := disk.New(disk.Config{Dirs: []string{t.TempDir()}}).Room()
	if r.Size != 0 && r.Free > r.Size {
		t.Errorf("got %+v", r)
	}
}
