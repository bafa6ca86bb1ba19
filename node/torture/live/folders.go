package live

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/conclave-llm/conclave/node/torture/rig"
)

// The ways in which a copy of a node's folder comes to be used. Of the two folders one is older than what the node has told since, and
// who runs from that one must neither vote by it nor serve what it has.
const (
	putBack = "put back"     // the copy is put in the place of the folder
	beside  = "beside"       // the copy is started while the node runs
	instead = "in its place" // the copy runs, stands still while the node comes back, and goes on
)

var oldFolders = []string{putBack, beside, instead}

// What a node says of its folder.
const (
	saysOlder = "another process has run as this node since"
	saysAnew  = "this node begins with an empty log"
	saysTwin  = "another process runs as this node"
)

// statusTwin is how a process ends that is not to be started again.
const statusTwin = 78

// oldFolder copies the folder of a node, and uses both.
func (r *run) oldFolder(ctx context.Context, f *fault) error {
	n := f.Nodes[0]
	r.down[n].Store(true)
	defer r.down[n].Store(false)
	if f.Way == instead { // what the copy has and does not tell is spent all the same
		if err := r.leave(ctx, n); err != nil {
			return err
		}
	} else {
		r.c.end(n, (*rig.Process).Kill)
	}
	copied := r.c.folder(n) + ".copy"
	defer func() { _ = os.RemoveAll(copied) }()
	if err := rig.Copy(r.c.folder(n), copied); err != nil {
		return errors.Join(err, r.c.start(n))
	}
	how := map[string]func(context.Context, *fault, string) error{putBack: r.putBack, beside: r.runBeside, instead: r.runInstead}[f.Way]
	if err := how(ctx, f, copied); err != nil {
		return err
	}
	return r.mended(ctx, n)
}

// goOn starts a node whose folder was copied, and lets it work.
func (r *run) goOn(ctx context.Context, f *fault) error {
	n := f.Nodes[0]
	if err := r.c.start(n); err != nil {
		return err
	}
	if err := r.c.awaitReady(ctx, readyWait, n); err != nil {
		return err
	}
	r.down[n].Store(false)
	r.wait(ctx, f.Last)
	return nil
}

// putBack runs a node until it has told what it did since its folder was copied, and puts the copy in the place of the folder, as who
// restores a disk from a backup does.
func (r *run) putBack(ctx context.Context, f *fault, copied string) error {
	n := f.Nodes[0]
	if err := r.goOn(ctx, f); err != nil {
		return err
	}
	r.down[n].Store(true)
	if err := r.leave(ctx, n); err != nil { // what it has not told is lost with its folder, and rightly so
		return err
	}
	if err := errors.Join(emptyFolder(r.c.folder(n)), rig.Copy(copied, r.c.folder(n))); err != nil {
		return err
	}
	return r.startOld(ctx, n)
}

// startOld starts a node whose folder is not its newest one. The node finds that by asking the others; if they do not answer at once, it
// ends for the next start to find it.
func (r *run) startOld(ctx context.Context, n int) error {
	for range 2 {
		if err := r.c.start(n); err != nil {
			return err
		}
		var found error
		p := r.c.process(n)
		r.c.mayEnd(n, func() {
			found = r.c.await(ctx, readyWait, "node "+r.c.hosts[n].name+" is ready with an old folder", func() bool {
				return p.Ended() || r.c.ready(ctx, r.c.hosts[n])
			})
		})
		if found != nil {
			return found
		}
		if !p.Ended() {
			if log := p.Log(); !strings.Contains(log, saysOlder) || !strings.Contains(log, saysAnew) {
				return fmt.Errorf("node %s took an old folder for its newest", r.c.hosts[n].name)
			}
			return nil
		}
		if status := p.Status(); status != statusDisk || !strings.Contains(p.Log(), saysOlder) {
			return fmt.Errorf("node %s ended with status %d with an old folder, want %d", r.c.hosts[n].name, status, statusDisk)
		}
	}
	return fmt.Errorf("node %s ended again with an old folder", r.c.hosts[n].name)
}

// runBeside starts a copy of a node's folder while the node runs, as a cloned machine does. The copy must end.
func (r *run) runBeside(ctx context.Context, f *fault, copied string) error {
	n := f.Nodes[0]
	if err := r.goOn(ctx, f); err != nil {
		return err
	}
	copyOf, err := r.startCopy(n, copied)
	if err != nil {
		return err
	}
	defer copyOf.process.Kill()
	return r.copyEnds(ctx, copyOf)
}

// runInstead starts a copy of a node's folder in the place of the node, and the node while the copy stands still. The node's folder is
// the old one then, and the copy must end as soon as it goes on, for the node has begun after it.
func (r *run) runInstead(ctx context.Context, f *fault, copied string) error {
	n := f.Nodes[0]
	copyOf, err := r.startCopy(n, copied)
	if err != nil {
		return errors.Join(err, r.c.start(n))
	}
	defer copyOf.process.Kill()
	err = r.c.await(ctx, readyWait, "the copy of node "+copyOf.name+" is ready", func() bool { return r.c.ready(ctx, copyOf) })
	if err = errors.Join(err, copyOf.process.Suspend()); err != nil {
		return errors.Join(err, r.c.start(n))
	}
	if err := r.startOld(ctx, n); err != nil {
		return err
	}
	r.wait(ctx, f.Last)
	if err := copyOf.process.Resume(); err != nil {
		return err
	}
	return r.copyEnds(ctx, copyOf)
}

// startCopy starts a process from the copy of a node's folder, at addresses of its own: nobody sends it requests. Its owner ends it.
func (r *run) startCopy(n int, copied string) (*host, error) {
	h := &host{name: r.c.hosts[n].name, program: r.c.hosts[n].program, log: r.c.hosts[n].log}
	err := r.c.configure(h, n, copied, copyPort)
	if err == nil {
		h.process, err = r.c.run(h, n)
	}
	return h, err
}

// copyEnds waits until the process of a copy has ended, and for good.
func (r *run) copyEnds(ctx context.Context, h *host) error {
	p := h.process
	if err := r.c.await(ctx, readyWait, "the copy of node "+h.name+" ends", p.Ended); err != nil {
		return err
	}
	if status := p.Status(); status != statusTwin || !strings.Contains(p.Log(), saysTwin) {
		return fmt.Errorf("the copy of node %s ended with status %d, want %d", h.name, status, statusTwin)
	}
	return nil
}
