package live

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/conclave-llm/conclave/node/torture/rig"
)

// The kinds of faults. How often each comes is its weight.
var kinds = []struct {
	name   string
	weight int
	nodes  int           // that it is about; 0: all
	needs  need          // of the machine
	longer time.Duration // at most
}{
	{"kill", 4, 1, nothing, 3 * time.Second},
	{"kill two", 2, 2, nothing, 2 * time.Second},
	{"kill all", 1, 0, nothing, time.Second},
	{"stop", 2, 1, nothing, 2 * time.Second},
	{"suspend", 3, 1, nothing, 6 * time.Second},
	{"replace", 2, 1, nothing, time.Second},
	{"cut off", 3, 1, network, 8 * time.Second},
	{"mute", 2, 1, network, 6 * time.Second},
	{"deafen", 2, 1, network, 6 * time.Second},
	{"part all", 1, 0, network, 5 * time.Second},
	{"narrow", 2, 1, links, 8 * time.Second},
	{"slow disk", 2, 1, disk, 5 * time.Second},
	{failingDisk, 1, 1, disk, 5 * time.Second},
}

// failingDisk has every sync of a node fail.
const failingDisk = "failing disk"

// need is what a fault needs of the machine.
type need int

const (
	nothing need = iota
	network      // network namespaces
	links        // and tc
	disk         // strace
)

// narrowRate is what a narrow link lets through.
const narrowRate = "1mbit"

// permitted says which faults this machine permits, and why it does not the others.
func permitted() (may map[need]bool, left []string) {
	may = map[need]bool{nothing: true}
	for _, n := range []struct {
		need need
		also need
		err  error
	}{{network, nothing, rig.MayPart()}, {links, network, rig.MayNarrow()}, {disk, nothing, rig.MayDisturb()}} {
		if may[n.need] = n.err == nil && may[n.also]; n.err != nil {
			left = append(left, n.err.Error())
		}
	}
	return may, left
}

// plan draws the next fault. The same seed draws the same faults on machines that permit the same.
func plan(r *rand.Rand, nodes int, may map[need]bool) fault {
	total := 0
	for _, k := range kinds {
		if may[k.needs] {
			total += k.weight
		}
	}
	n := r.IntN(total)
	for _, k := range kinds {
		if !may[k.needs] {
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
		f := plan(random, len(r.c.hosts), r.may)
		f.Began = time.Since(r.c.began)
		r.cfg.Say(fmt.Sprintf("%s: %s of %s for %s", f.Began.Round(time.Second), f.Kind, r.names(f.Nodes), f.Last.Round(time.Millisecond)))
		if err := r.inflict(ctx, &f); err != nil {
			f.Note = err.Error()
			r.file.Slow = append(r.file.Slow, fmt.Sprintf("%s of %s at %s: %v", f.Kind, r.names(f.Nodes), f.Began.Round(time.Millisecond), err))
		}
		f.Ended = time.Since(r.c.began)
		_ = r.schedule.add(f) // the run ends with the same error
		if who := r.quarantined(ctx); who != "" {
			r.divergence(who)
			return
		}
		r.wait(ctx, f.Calm)
	}
}

// quarantined is a node whose state is another one than most nodes', as one of them says; "" if there is none. Nothing but a bug of
// the program brings that about.
func (r *run) quarantined(ctx context.Context) string {
	for i := range r.c.hosts {
		var out struct {
			Members []member `json:"members"`
		}
		if r.c.call(ctx, i, http.MethodGet, "/api/v1/cluster", masterKey, nil, &out) != http.StatusOK {
			continue
		}
		for _, m := range out.Members {
			if m.Quarantined != "" {
				return m.Name
			}
		}
		return ""
	}
	return ""
}

// divergence keeps the states of all nodes and their logs in the report, for somebody to find out why they differ: the next fault
// might remove them.
func (r *run) divergence(who string) {
	r.cfg.Say("node " + who + " is quarantined: the run ends here, and the nodes' states are kept in the report")
	for i, h := range r.c.hosts {
		for _, dir := range []string{"state", "raft"} {
			to := filepath.Join(r.cfg.Dir, "diverged", h.name, dir)
			if err := os.CopyFS(to, os.DirFS(filepath.Join(r.c.folder(i), dir))); err != nil { // it is written meanwhile
				r.cfg.Say("keep " + to + ": " + err.Error())
			}
		}
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
	case "replace":
		err = r.replace(ctx, f)
	case "slow disk":
		err = r.disturb(ctx, f, rig.SlowSyncs)
	case failingDisk:
		err = r.failDisk(ctx, f)
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

func (r *run) apart(ctx context.Context, f *fault) (err error) {
	n := f.Nodes[0]
	switch f.Kind {
	case "part all":
		err = r.c.net.Cut()
	case "mute":
		err = r.c.net.Mute(n)
	case "deafen":
		err = r.c.net.Deafen(n)
	case "narrow":
		if err = r.c.net.Narrow(n, narrowRate); err == nil {
			defer func() { err = errors.Join(err, r.c.net.Narrow(n, "")) }()
		}
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

// failDisk has every sync of a node fail: its process must end by itself with the status that says so, and is started again.
func (r *run) failDisk(ctx context.Context, f *fault) error {
	n := f.Nodes[0]
	r.down[n].Store(true)
	defer r.down[n].Store(false)
	var ended error
	r.c.end(n, func(p *rig.Process) {
		end, err := rig.Disturb(p, rig.FailSyncs)
		if err != nil {
			ended = err
			return
		}
		defer end()
		if err := r.c.await(ctx, readyWait, "the process ends when its syncs fail", p.Ended); err != nil {
			ended = err
			p.Kill()
			return
		}
		if status := p.Status(); status != statusDisk {
			ended = fmt.Errorf("the process ended with status %d when its syncs failed, want %d", status, statusDisk)
		}
	})
	r.wait(ctx, f.Last)
	return errors.Join(ended, r.c.start(n))
}

// statusDisk is how a node ends that cannot keep what it is to keep.
const statusDisk = 75

// notCarried is what a node says that could not tell the others all that it spent before it stopped.
const notCarried = "journal is not carried away whole"

// leave stops a node whose folder is to go: as long as the others have not heard of all that it spent, it is started and stopped
// again.
func (r *run) leave(ctx context.Context, n int) error {
	for range leaveTries {
		p := r.c.process(n)
		r.c.end(n, (*rig.Process).Stop)
		if !strings.Contains(p.Log(), notCarried) {
			return nil
		}
		if err := r.c.start(n); err != nil {
			return err
		}
		if err := r.c.awaitReady(ctx, readyWait, n); err != nil {
			return err
		}
		r.wait(ctx, leavePause) // it tells what an earlier process spent
	}
	return fmt.Errorf("node %s could not tell the others what it spent, in %d tries", r.c.hosts[n].name, leaveTries)
}

const (
	leaveTries = 5
	leavePause = 5 * time.Second
)

// replace takes a node out of the cluster, as an operator does whose machine is to go, and has one of its name join with an
// empty folder.
func (r *run) replace(ctx context.Context, f *fault) error {
	n := f.Nodes[0]
	if len(r.c.hosts) < 3 {
		return nil // the others are no majority
	}
	other := (n + 1) % len(r.c.hosts)
	r.down[n].Store(true)
	defer r.down[n].Store(false)
	if err := r.leave(ctx, n); err != nil {
		return err
	}
	name := r.c.hosts[n].name
	err := r.c.await(ctx, readyWait, "node "+name+" is removed", func() bool {
		status := r.c.call(ctx, other, http.MethodDelete, "/api/v1/cluster/nodes/"+name, masterKey, nil, nil)
		return status/100 == 2 || status == http.StatusNotFound
	})
	if err != nil {
		return errors.Join(err, r.c.start(n))
	}
	r.wait(ctx, f.Last)
	if err := os.RemoveAll(r.c.folder(n)); err != nil {
		return err
	}
	if err := r.c.join(ctx, n, other); err != nil {
		return err
	}
	return r.c.await(ctx, readyWait, "the new node "+name+" votes", func() bool { return r.c.voters(ctx, other) == len(r.c.hosts) })
}
