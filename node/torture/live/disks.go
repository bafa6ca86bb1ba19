package live

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/conclave-llm/conclave/node/torture/rig"
)

// The faults of disks: failingDisk and those of volumes.
const (
	powerFailure      = "power failure"
	powerFailureOfAll = "power failure of all"
	nearlyFullDisk    = "nearly full disk"
	fullDisk          = "full disk"
)

// nearlyFull is the part of a disk that a nearly full one has left: a node's reserve is a twentieth.
const nearlyFull = 25

// disturb does something to the syncs of a node's disk for some time.
func (r *run) disturb(ctx context.Context, f *fault, what string) error {
	end, err := rig.Disturb(r.c.process(f.Nodes[0]), what)
	if err != nil {
		return err
	}
	r.wait(ctx, f.Last)
	end()
	return nil
}

// statusDisk is how a node ends that cannot keep what it is to keep.
const statusDisk = 75

// mustEnd has a node's process end by itself with the status that says so, for what harm does to it again and again.
func (r *run) mustEnd(ctx context.Context, n int, why string, harm func(*rig.Process) error) (err error) {
	r.c.end(n, func(p *rig.Process) {
		var harmed error
		err = r.c.await(ctx, readyWait, "the process ends "+why, func() bool {
			if harmed == nil {
				harmed = harm(p)
			}
			return harmed != nil || p.Ended()
		})
		if err = errors.Join(harmed, err); err != nil {
			p.Kill()
			return
		}
		if status := p.Status(); status != statusDisk {
			err = fmt.Errorf("the process ended with status %d %s, want %d", status, why, statusDisk)
		}
	})
	return err
}

// failDisk has every sync of a node fail.
func (r *run) failDisk(ctx context.Context, f *fault) error {
	n := f.Nodes[0]
	r.down[n].Store(true)
	defer r.down[n].Store(false)
	var end func()
	ended := r.mustEnd(ctx, n, "when its syncs fail", func(p *rig.Process) (err error) {
		if end == nil {
			end, err = rig.Disturb(p, rig.FailSyncs)
		}
		return err
	})
	if end != nil {
		end()
	}
	r.wait(ctx, f.Last)
	return errors.Join(ended, r.c.start(n))
}

// failPower takes the power from nodes: what they had not synced is lost.
func (r *run) failPower(ctx context.Context, f *fault) error {
	var errs []error
	for _, n := range f.Nodes {
		r.down[n].Store(true)
		defer r.down[n].Store(false)
		r.c.end(n, func(p *rig.Process) {
			errs = append(errs, p.Freeze(), r.c.hosts[n].volume.Fail())
			p.Kill()
		})
	}
	r.wait(ctx, f.Last)
	for _, n := range f.Nodes {
		err := r.c.hosts[n].volume.Back()
		if err == nil {
			err = r.c.start(n)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// leader is the node that leads, as node i sees it, or -1.
func (r *run) leader(ctx context.Context, i int) int {
	var out struct {
		Members []member `json:"members"`
	}
	if r.c.call(ctx, i, http.MethodGet, "/api/v1/cluster", masterKey, nil, &out) != http.StatusOK {
		return -1
	}
	for _, m := range out.Members {
		for j, h := range r.c.hosts {
			if m.Leader && m.Name == h.name {
				return j
			}
		}
	}
	return -1
}

// nearlyFill leaves a node's disk less than its reserve. A leader hands over, if there is another one.
func (r *run) nearlyFill(ctx context.Context, f *fault) (err error) {
	n := f.Nodes[0]
	v := r.c.hosts[n].volume
	size, err := v.Size()
	if err != nil {
		return err
	}
	if err := v.Fill(size / nearlyFull); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, v.Free()) }()
	r.wait(ctx, f.Last)
	if len(r.c.hosts) < 3 {
		return nil
	}
	other := (n + 1) % len(r.c.hosts)
	return r.c.await(ctx, readyWait, "another node leads than the one whose disk is nearly full", func() bool {
		leader := r.leader(ctx, other)
		return leader >= 0 && leader != n
	})
}

// fillPause lies between two looks whether a disk is full: whatever is freed is taken again.
const fillPause = 100 * time.Millisecond

// fill takes a node's disk all its room: the process must end by itself, and starts again when there is room.
func (r *run) fill(ctx context.Context, f *fault) error {
	n := f.Nodes[0]
	v := r.c.hosts[n].volume
	r.down[n].Store(true)
	defer r.down[n].Store(false)
	ended := r.mustEnd(ctx, n, "when its disk is full", func(*rig.Process) error {
		r.wait(ctx, fillPause)
		return v.Fill(0)
	})
	r.wait(ctx, f.Last)
	return errors.Join(ended, v.Free(), r.c.start(n))
}
