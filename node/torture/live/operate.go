package live

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/conclave-llm/conclave/node/torture/rig"
)

// What operators do while it is tortured: keys of the cluster are exchanged, programs changed, backups restored.

// rotations are the keys of a cluster that are exchanged.
var rotations = []string{"kek", "dek", "ca", "gossip", "node-certs"}

// rotationWait is how long an exchange may take once all nodes are there.
const rotationWait = 60 * time.Second

// rotate exchanges a key of the cluster while a node is away, which must follow when it is back.
func (r *run) rotate(ctx context.Context, f *fault) error {
	n := f.Nodes[0]
	at := (n + 1) % len(r.c.hosts)
	r.down[n].Store(true)
	defer r.down[n].Store(false)
	r.c.end(n, (*rig.Process).Kill)
	begun := r.c.await(ctx, readyWait, "the rotation of "+f.Way+" begins", func() bool {
		return r.c.call(ctx, at, http.MethodPost, "/api/v1/cluster/rotate/"+f.Way, masterKey, map[string]any{}, nil)/100 == 2
	})
	r.wait(ctx, f.Last)
	if err := errors.Join(begun, r.c.start(n)); err != nil {
		return err
	}
	if err := r.c.awaitReady(ctx, readyWait, n); err != nil {
		return err
	}
	return r.c.await(ctx, rotationWait, "the rotation of "+f.Way+" is done", func() bool { return r.rotated(ctx, at, f.Way) })
}

// rotated says whether the last exchange of a key is over.
func (r *run) rotated(ctx context.Context, at int, kind string) bool {
	var page struct {
		Items []struct {
			Kind string `json:"kind"`
			Step string `json:"step"`
		} `json:"items"`
	}
	if r.c.call(ctx, at, http.MethodGet, "/api/v1/cluster/rotate", masterKey, nil, &page) != http.StatusOK {
		return false
	}
	for _, e := range page.Items {
		if e.Kind == kind {
			return e.Step == "done"
		}
	}
	return false
}

// changeProgram stops a node and starts it with the other program: an upgrade by hand, or a downgrade. The cluster's version is
// never raised, so that both may run.
func (r *run) changeProgram(ctx context.Context, f *fault) error {
	h := r.c.hosts[f.Nodes[0]]
	return r.restart(ctx, f, func(p *rig.Process) {
		p.Stop()
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.program == r.cfg.Program {
			h.program = r.cfg.Next
		} else {
			h.program = r.cfg.Program
		}
	})
}

// restored is one line of the restores: what became of what was done between a backup and its restore.
type restored struct {
	At     time.Duration `json:"at"`
	Node   int           `json:"node"`
	Later  []int         `json:"later"`  // status of a key that was made since, by node
	Gone   []int         `json:"gone"`   // status of a request with a key that was deleted since, by node
	Before uint64        `json:"before"` // number of the newest audit entry before
	After  auditVerdict  `json:"after"`
}

// check says what of a restore is not as it is promised.
func (o *restored) check(name func(int) string) (broken []string) {
	for n, status := range o.Later {
		if status != http.StatusNotFound {
			broken = append(broken, fmt.Sprintf("I10: a key from after the backup that was restored after %s: node %s answers %d", o.At.Round(time.Millisecond), name(n), status))
		}
	}
	for n, status := range o.Gone {
		if status == http.StatusOK {
			broken = append(broken, fmt.Sprintf("I10: node %s serves a key that was deleted between a backup and its restore after %s", name(n), o.At.Round(time.Millisecond)))
		}
	}
	if !o.After.Verified || o.After.Last <= o.Before {
		broken = append(broken, fmt.Sprintf("I10: the audit log ends at entry %d after the restore after %s, and at %d before: %s", o.After.Last, o.At.Round(time.Millisecond), o.Before, o.After.Reason))
	}
	return broken
}

// restore takes a backup and restores it to the same cluster, while requests are served and paid. Administrators do nothing
// meanwhile but what is looked for afterwards.
func (r *run) restore(ctx context.Context, f *fault) error {
	r.quiet.Lock()
	defer r.quiet.Unlock()
	n := f.Nodes[0]
	gone, err := r.makeKey(ctx, n)
	if err != nil {
		return err
	}
	file := filepath.Join(r.cfg.work, "backup.snap")
	defer func() { _ = os.Remove(file) }()
	if err := r.c.operate(ctx, n, "snapshot", "save", file); err != nil {
		return err
	}
	later, err := r.makeKey(ctx, n)
	if err != nil {
		return err
	}
	if status := r.c.call(ctx, n, http.MethodDelete, "/api/v1/keys/"+gone.id, masterKey, nil, nil); status/100 != 2 {
		return fmt.Errorf("delete a key: status %d", status)
	}
	r.wait(ctx, f.Last)
	out := restored{At: time.Since(r.c.began), Node: n, Before: r.audited(ctx, n).Last}
	if err := r.c.operate(ctx, n, "snapshot", "restore", file, "--revoked", "block", "--wait", readyWait.String()); err != nil {
		return err
	}
	for i := range r.c.hosts {
		err := r.c.await(ctx, readyWait, "node "+r.c.hosts[i].name+" has the backup", func() bool {
			return r.c.call(ctx, i, http.MethodGet, "/api/v1/keys/"+later.id, masterKey, nil, nil) == http.StatusNotFound
		})
		if err != nil {
			return err
		}
		out.Later = append(out.Later, r.c.call(ctx, i, http.MethodGet, "/api/v1/keys/"+later.id, masterKey, nil, nil))
		out.Gone = append(out.Gone, r.chat(ctx, i, usedModel, gone.secret))
	}
	out.After = r.audited(ctx, n)
	return r.restores.add(out)
}

// makeKey makes a key that is none of the administrators'.
func (r *run) makeKey(ctx context.Context, n int) (*poolKey, error) {
	var key struct {
		ID     string `json:"id"`
		Secret string `json:"secret"`
	}
	if status := r.c.call(ctx, n, http.MethodPost, "/api/v1/keys", masterKey, map[string]any{}, &key); status != http.StatusCreated {
		return nil, fmt.Errorf("make a key: status %d", status)
	}
	return &poolKey{id: key.ID, secret: key.Secret}, nil
}

func (r *run) audited(ctx context.Context, n int) (v auditVerdict) {
	_ = r.c.call(ctx, n, http.MethodGet, "/api/v1/audit/verify", masterKey, nil, &v) // no answer: it is not verified
	return v
}

// operateWait is how long one command of an operator may take.
const operateWait = 2 * time.Minute

// operate runs the program's command line against a node.
func (c *cluster) operate(ctx context.Context, n int, args ...string) error {
	ctx, cancel := context.WithTimeout(ctx, operateWait)
	defer cancel()
	cmd := exec.CommandContext(ctx, c.cfg.Program, args...) //nolint:gosec // this program
	cmd.Env = append(os.Environ(), "CONCLAVE_SERVER="+c.hosts[n].url, "CONCLAVE_MASTER_KEY="+masterKey)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("conclave %s %s: %w: %s", args[0], args[1], err, out)
	}
	return nil
}
