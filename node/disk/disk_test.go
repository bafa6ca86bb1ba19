package disk_test

import (
	"testing"
	"time"

	"github.com/conclave-llm/conclave/node/disk"
)

func TestGuard(t *testing.T) {
	t.Parallel()
	var free uint64
	now := time.Duration(0)
	g := disk.New(disk.Config{
		Dir: "/", Reserve: 800, Boot: func() time.Duration { return now },
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

func TestGuard_System(t *testing.T) {
	t.Parallel()
	r := disk.New(disk.Config{Dir: t.TempDir()}).Room()
	if r.Size != 0 && r.Free > r.Size {
		t.Errorf("got %+v", r)
	}
}
