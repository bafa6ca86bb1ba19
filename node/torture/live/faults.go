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
	ways   []string      // of which one is drawn
}{
	{name: "kill", weight: 4, nodes: 1, longer: 3 * time.Second},
	{name: "kill two", weight: 2, nodes: 2, longer: 2 * time.Second},
	{name: "kill all", weight: 1, longer: time.Second},
	{name: "stop", weight: 2, nodes: 1, longer: 2 * time.Second},
	{name: "suspend", weight: 3, nodes: 1, longer: 6 * time.Second},
	{name: "replace", weight: 2, nodes: 1, needs: majority, longer: time.Second},
	{name: "cut off", weight: 3, nodes: 1, needs: network, longer: 8 * time.Second},
	{name: "mute", weight: 2, nodes: 1, needs: network, longer: 6 * time.Second},
	{name: "deafen", weight: 2, nodes: 1, needs: network, longer: 6 * time.Second},
	{name: "part all", weight: 1, needs: network, longer: 5 * time.Second},
	{name: "narrow", weight: 2, nodes: 1, needs: links, longer: 8 * time.Second},
	{name: "slow disk", weight: 2, nodes: 1, needs: disk, longer: 5 * time.Second},
	{name: failingDisk, weight: 1, nodes: 1, needs: disk, longer: 5 * time.Second},
	{name: powerFailure, weight: 2, nodes: 1, needs: synced, longer: 2 * time.Second},
	{name: powerFailureOfAll, weight: 1, needs: synced, longer: time.Second},
	{name: nearlyFullDisk, weight: 2, nodes: 1, needs: volumes, longer: 5 * time.Second},
	{name: fullDisk, weight: 1, nodes: 1, needs: volumes, longer: 3 * time.Second},
	{name: "damage", weight: 3, nodes: 1, needs: majority, longer: time.Second, ways: stoppedDamage},
	{name: "damage while running", weight: 2, nodes: 1, needs: majority, longer: 3 * time.Second, ways: runningDamage},
	{name: "old folder", weight: 3, nodes: 1, needs: majority, longer: 2 * time.Second, ways: oldFolders},
	{name: "rotate", weight: 3, nodes: 1, needs: majority, longer: 2 * time.Second, ways: rotations},
	{name: "change program", weight: 3, nodes: 1, needs: second, longer: time.Second},
	{name: "restore", weight: 2, nodes: 1, longer: 3 * time.Second},
	{name: "lose quorum", weight: 2, nodes: 1, needs: majority, longer: time.Second},
}

// failingDisk has every sync of a node fail.
const failingDisk = "failing disk"

// need is what a fault needs of the machine, or of the run.
type need int

const (
	nothing  need = iota
	network       // network namespaces
	links         // and tc
	disk          // strace
	volumes       // file systems in files
	synced        // and journals that are synced before a request is answered
	second        // another program
	majority      // three nodes
)

// narrowRate is what a narrow link lets through.
const narrowRate = "1mbit"

// permitted says which faults this machine and this run permit, and why they do not the others.
func permitted(cfg *Config) (may map[need]bool, left []string) {
	may = map[need]bool{nothing: true}
	rules := []struct {
		need need
		also need
		err  error
	}{
		{network, nothing, rig.MayPart()},
		{links, network, rig.MayNarrow()},
		{disk, nothing, rig.MayDisturb()},
		{volumes, nothing, rig.MayMount()},
		{synced, volumes, nil},
		{second, nothing, nil},
		{majority, nothing, nil},
	}
	for _, n := range rules {
		switch {
		case n.need == synced && cfg.Journal != journalSynced:
			n.err = fmt.Errorf("power failures need journals of the mode %s: these are %s", journalSynced, cfg.Journal)
		case n.need == second && cfg.Next == "":
			n.err = errors.New("changes of the program need a second one: --next")
		case n.need == majority && cfg.Nodes < 3:
			n.err = errors.New("damage, old folders, rotations, replaced nodes and lost quorums need three nodes")
		}
		if may[n.need] = n.err == nil && may[n.also]; n.err != nil {
			left = append(left, n.err.Error())
		}
	}
	return may, left
}

// deck deals faults: every kind once before any comes again, those with more weight more often then. The same seed deals the same faults
// on machines that permit the same.
type deck struct {
	random *rand.Rand
	nodes  int
	may    map[need]bool
	rest   []int // of kinds
}

// fill puts the kinds into the deck, as often as they weigh.
func (d *deck) fill() {
	for round := 0; ; round++ {
		var some []int
		for i, k := range kinds {
			if d.may[k.needs] && k.weight > round {
				some = append(some, i)
			}
		}
		if len(some) == 0 {
			return
		}
		d.random.Shuffle(len(some), func(i, j int) { some[i], some[j] = some[j], some[i] })
		d.rest = append(d.rest, some...)
	}
}

// deal draws the next fault.
func (d *deck) deal() fault {
	if len(d.rest) == 0 {
		d.fill()
	}
	k := kinds[d.rest[0]]
	d.rest = d.rest[1:]
	f := fault{Kind: k.name, Nodes: d.random.Perm(d.nodes)}
	if k.nodes > 0 {
		f.Nodes = f.Nodes[:min(k.nodes, d.nodes)]
	}
	if len(k.ways) > 0 {
		f.Way = k.ways[d.random.IntN(len(k.ways))]
	}
	f.Last = 100*time.Millisecond + time.Duration(d.random.Int64N(int64(k.longer)))
	f.Calm = 500*time.Millisecond + time.Duration(d.random.Int64N(int64(1500*time.Millisecond)))
	return f
}

// torture does one fault after the other until the time is over.
func (r *run) torture(ctx context.Context) {
	faults := deck{random: rand.New(rand.NewPCG(r.cfg.Seed, 1)), nodes: len(r.c.hosts), may: r.may} //nolint:gosec // a schedule that a seed chooses
	end := time.Now().Add(r.cfg.Length)
	for time.Now().Before(end) && ctx.Err() == nil {
		f := faults.deal()
		f.Began = time.Since(r.c.began)
		r.cfg.Say(fmt.Sprintf("%s: %s of %s for %s", f.Began.Round(time.Second), strings.TrimSpace(f.Kind+" "+f.Way), r.names(f.Nodes), f.Last.Round(time.Millisecond)))
		if err := r.inflict(ctx, &f); err != nil {
			f.Note = err.Error()
			r.file.Slow = append(r.file.Slow, fmt.Sprintf("%s of %s at %s: %v", strings.TrimSpace(f.Kind+" "+f.Way), r.names(f.Nodes), f.Began.Round(time.Millisecond), err))
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
	if err := r.does(f.Kind)(ctx, f); err != nil {
		return err
	}
	healed := time.Now()
	err := r.c.awaitReady(ctx, readyWait, r.c.all()...)
	f.Ready = time.Since(healed)
	return err
}

// does is what a kind of fault does.
func (r *run) does(kind string) func(context.Context, *fault) error {
	how, ok := map[string]func(context.Context, *fault) error{
		"stop":    func(ctx context.Context, f *fault) error { return r.restart(ctx, f, (*rig.Process).Stop) },
		"suspend": r.suspend, "replace": r.replace,
		"slow disk":            func(ctx context.Context, f *fault) error { return r.disturb(ctx, f, rig.SlowSyncs) },
		failingDisk:            r.failDisk,
		powerFailure:           r.failPower,
		powerFailureOfAll:      r.failPower,
		nearlyFullDisk:         r.nearlyFill,
		fullDisk:               r.fill,
		"damage":               r.damage,
		"damage while running": r.damageRunning,
		"old folder":           r.oldFolder,
		"rotate":               r.rotate,
		"change program":       r.changeProgram,
		"restore":              r.restore,
		"lose quorum":          r.loseQuorum,
		"cut off":              r.apart, "mute": r.apart, "deafen": r.apart, "part all": r.apart, "narrow": r.apart,
	}[kind]
	if !ok { // "kill", "kill two", "kill all"
		return func(ctx context.Context, f *fault) error { return r.restart(ctx, f, (*rig.Process).Kill) }
	}
	return how
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
	if err := emptyFolder(r.c.folder(n)); err != nil {
		return err
	}
	if err := r.c.join(ctx, n, other); err != nil {
		return err
	}
	return r.c.awaitVoters(ctx, other)
}

// emptyFolder removes all that is in a folder, which may be a mounted file system.
func emptyFolder(dir string) error {
	all, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range all {
		if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	return nil
}
