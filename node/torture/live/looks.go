package live

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"slices"
	"time"

	"github.com/conclave-llm/conclave/node/consensus/logstore"
	"github.com/conclave-llm/conclave/node/torture/proof"
	"github.com/conclave-llm/conclave/node/torture/rig"
)

const lookEvery = 250 * time.Millisecond

// watchState looks at the state of one node after the other, all the time.
func (r *run) watchState(ctx context.Context) {
	random := rand.New(rand.NewPCG(r.cfg.Seed, administrators+1)) //nolint:gosec // repeatable on purpose
	for i := 0; r.running(ctx); i++ {
		r.wait(ctx, lookEvery)
		r.lookAt(ctx, i%len(r.c.hosts), random)
	}
}

// lookAt writes down how far a node that is ready says to be, and what it has of a key. No backup is restored meanwhile: after
// that all begins anew.
func (r *run) lookAt(ctx context.Context, n int, random *rand.Rand) {
	r.quiet.RLock()
	defer r.quiet.RUnlock()
	all := r.pool.all()
	if len(all) == 0 || !r.c.ready(ctx, r.c.hosts[n]) {
		return
	}
	at, id, ok := r.reached(ctx, n)
	if !ok {
		return
	}
	l := proof.Look{Node: id, Generation: at.Generation, Applied: at.Applied}
	var key struct {
		Version uint64 `json:"version"`
	}
	k := all[max(0, len(all)-1-random.IntN(2*keysAtOnce))] // of the newest, which are changed
	switch status, _ := r.c.callAfter(ctx, n, http.MethodGet, "/api/v1/keys/"+k.id, masterKey, k.index, nil, &key); status {
	case http.StatusOK:
		l.Keys = map[string]uint64{k.id: key.Version}
	case http.StatusNotFound:
		l.Gone = []string{k.id}
	}
	l.At = time.Since(r.c.began)
	_ = r.looks.add(l) // the run ends with the same error
}

// reach is how far a node is.
type reach struct {
	Generation uint64 `json:"generation"`
	Applied    uint64 `json:"applied"`
}

// reached asks a node how far it is, and which one it is: one that was replaced by another of its name has another id.
func (r *run) reached(ctx context.Context, n int) (at reach, id string, ok bool) {
	var out struct {
		reach
		Members []struct {
			ID   string `json:"id"`
			Name string `json:"name"`
		} `json:"members"`
	}
	if r.c.call(ctx, n, http.MethodGet, "/api/v1/cluster", masterKey, nil, &out) != http.StatusOK {
		return at, "", false
	}
	for _, m := range out.Members {
		if m.Name == r.c.hosts[n].name {
			id = m.ID
		}
	}
	return out.reach, id, id != ""
}

// keepLogs stops all nodes, and keeps what tells the entries of their logs apart.
func (r *run) keepLogs(ctx context.Context) error {
	logs := make([]proof.Log, len(r.c.hosts))
	for i, h := range r.c.hosts {
		at, _, ok := r.reached(ctx, i)
		if !ok {
			return fmt.Errorf("node %s does not say how far it is", h.name)
		}
		logs[i] = proof.Log{Node: h.name, Applied: at.Applied}
	}
	kept, err := newLines(r.cfg.Dir, fileLogs)
	if err != nil {
		return err
	}
	for i, h := range r.c.hosts {
		r.c.end(i, (*rig.Process).Stop)
		var failed error
		if logs[i].Entries, failed = logstore.Digests(filepath.Join(r.c.folder(i), "raft")); failed != nil {
			r.file.Wrong = append(r.file.Wrong, fmt.Sprintf("I12: the log of node %s: %v", h.name, failed))
		}
		err = errors.Join(err, kept.add(logs[i]))
	}
	return errors.Join(err, kept.close())
}

// checkForward judges what the nodes said of their state.
func (r *report) checkForward(v *Verdict) {
	if len(r.looks) == 0 && len(r.run.Nodes) > 0 {
		v.broken("I3: nobody looked at a node's state")
	}
	v.Looks = len(r.looks)
	v.Broken = append(v.Broken, proof.Forward(r.looks)...)
}

// checkLogs judges the logs of the stopped nodes.
func (r *report) checkLogs(v *Verdict) {
	if len(r.logs) != len(r.run.Nodes) || slices.ContainsFunc(r.logs, func(l proof.Log) bool { return len(l.Entries) == 0 }) {
		v.broken("I12: %d of %d nodes have a log", len(r.logs), len(r.run.Nodes))
		return
	}
	v.Broken = append(v.Broken, proof.Committed(r.logs)...)
}
