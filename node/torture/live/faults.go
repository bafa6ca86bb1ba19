package live

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/conclave-llm/conclave/node/torture/rig"
)

// The kinds of faults. How often each comes is its weight.
var kinds = []struct {
	name   string
	weight int
	nodes  int // that it is about; 0: all
	apart  bool
	longer time.Duration // at most
}{
	{"kill", 4, 1, false, 3 * time.Second},
	{"kill two", 2, 2, false, 2 * time.Second},
	{"kill all", 1, 0, false, time.Second},
	{"stop", 2, 1, false, 2 * time.Second},
	{"suspend", 3, 1, false, 6 * time.Second},
	{"cut off", 3, 1, true, 8 * time.Second},
	{"mute", 2, 1, true, 6 * time.Second},
	{"deafen", 2, 1, true, 6 * time.Second},
	{"part all", 1, 0, true, 5 * time.Second},
}

// plan draws the next fault. The same seed draws the same faults on machines that permit the same.
func plan(r *rand.Rand, nodes int, apart bool) fault {
	total := 0
	for _, k := range kinds {
		if apart || !k.apart {
			total += k.weight
		}
	}
	n := r.IntN(total)
	for _, k := range kinds {
		if !apart && k.apart {
			continue
		}
		if n -= k.weight; n >= 0 {
			continue
		}
		f := fault{Kind: k.name, Nodes: r.Perm(nodes)}
		if k.nodes > 0 {
			f.Nodes = f.Nodes[:min(k.nodes, nodes)]
		}
		f.Last = 100*time.Millisecond + time.Duration(r.Int64N(int64(k.longer)))
		f.Calm = 500*time.Millisecond + time.Duration(r.Int64N(int64(1500*time.Millisecond)))
		return f
	}
	panic("live: the weights do not add up")
}

// torture does one fault after the other until the time is over.
func (r *run) torture(ctx context.Context) {
	random := rand.New(rand.NewPCG(r.cfg.Seed, 1)) //nolint:gosec // a schedule that a seed chooses
	end := time.Now().Add(r.cfg.Length)
	for time.Now().Before(end) && ctx.Err() == nil {
		f := plan(random, len(r.c.hosts), r.c.net != nil)
		f.Began = time.Since(r.c.began)
		r.cfg.Say(fmt.Sprintf("%s: %s of %s for %s", f.Began.Round(time.Second), f.Kind, r.names(f.Nodes), f.Last.Round(time.Millisecond)))
		if err := r.inflict(ctx, &f); err != nil {
			f.Note = err.Error()
			r.file.Slow = append(r.file.Slow, fmt.Sprintf("%s of %s at %s: %v", f.Kind, r.names(f.Nodes), f.Began.Round(time.Millisecond), err))
		}
		f.Ended = time.Since(r.c.began)
		_ = r.schedule.add(f) // the run ends with the same error
		r.wait(ctx, f.Calm)
	}
}

func (r *run) names(nodes []int) string {
	var s strings.Builder
	for _, n := range nodes {
		s.WriteString(r.c.hosts[n].name)
	}
	return s.String()
}

// inflict does a fault, ends it, and waits until all nodes are ready again.
func (r *run) inflict(ctx context.Context, f *fault) error {
	var err error
	switch f.Kind {
	case "kill", "kill two", "kill all":
		err = r.restart(ctx, f, (*rig.Process).Kill)
	case "stop":
		err = r.restart(ctx, f, (*rig.Process).Stop)
	case "suspend":
		err = r.suspend(ctx, f)
	default:
		err = r.apart(ctx, f)
	}
	if err != nil {
		return err
	}
	healed := time.Now()
	all := make([]int, len(r.c.hosts))
	for i := range all {
		all[i] = i
	}
	err = r.c.awaitReady(ctx, readyWait, all...)
	f.Ready = time.Since(healed)
	return err
}

func (r *run) restart(ctx context.Context, f *fault, end func(*rig.Process)) error {
	for _, n := range f.Nodes {
		r.down[n].Store(true)
		defer r.down[n].Store(false)
		r.c.end(n, end)
	}
	r.wait(ctx, f.Last)
	for _, n := range f.Nodes {
		if err := r.c.start(n); err != nil {
			return err
		}
	}
	return nil
}

func (r *run) suspend(ctx context.Context, f *fault) error {
	p := r.c.process(f.Nodes[0])
	if err := p.Suspend(); err != nil {
		return err
	}
	r.wait(ctx, f.Last)
	return p.Resume()
}

func (r *run) apart(ctx context.Context, f *fault) error {
	var err error
	n := f.Nodes[0]
	switch f.Kind {
	case "part all":
		err = r.c.net.Cut()
	case "mute":
		err = r.c.net.Mute(n)
	case "deafen":
		err = r.c.net.Deafen(n)
	case "cut off":
		if err = r.c.net.Mute(n); err == nil {
			err = r.c.net.Deafen(n)
		}
	}
	if err == nil {
		r.wait(ctx, f.Last)
	}
	if healed := r.c.net.Heal(); err == nil {
		err = healed
	}
	return err
}
