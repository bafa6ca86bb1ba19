package live

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/conclave-llm/conclave/node/torture/rig"
)

const (
	probeFor  = 1500 * time.Millisecond // with a quorum, and as long without
	probeMost = 8 * time.Second         // after which a node without a quorum may refuse, since it is not fresh any more
)

// What requests may take without a quorum: far less than one that waits for Raft, and what it takes on a machine that
// has other things to do.
const (
	slowerTimes = 3
	slowerPlus  = 20 * time.Millisecond
	slowest     = 2 * time.Second // of 99 in 100
)

// probe is one line of the probes: requests of a key with a lease at one node, before and after the cluster has lost its quorum.
type probe struct {
	At      time.Duration   `json:"at"`
	Node    int             `json:"node"`
	With    []time.Duration `json:"with"`    // what each request took
	Without []time.Duration `json:"without"` // likewise
	Refused map[int]int     `json:"refused"` // without a quorum, by status
}

// Quorum tells what requests took with and without a quorum.
type Quorum struct {
	Lost    int           `json:"lost"` // how often it was
	With    time.Duration `json:"with"`
	Without time.Duration `json:"without"`
	Worst   time.Duration `json:"worst"` // of 99 in 100, without
	Ratio   float64       `json:"ratio"` // of the medians
}

// loseQuorum kills all nodes but one, which goes on serving what it has leases for, as fast as before.
func (r *run) loseQuorum(ctx context.Context, f *fault) error {
	n := f.Nodes[0]
	p := probe{At: time.Since(r.c.began), Node: n, Refused: map[int]int{}}
	r.probe(ctx, n, time.Now().Add(probeFor), &p.With, map[int]int{})
	killed := time.Now()
	for i := range r.c.hosts {
		if i == n {
			continue
		}
		r.down[i].Store(true)
		defer r.down[i].Store(false)
		r.c.end(i, (*rig.Process).Kill)
	}
	lost := r.c.await(ctx, probeMost-2*probeFor, "node "+r.c.hosts[n].name+" knows that nobody leads", func() bool { return r.leader(ctx, n) < 0 })
	end := time.Now().Add(probeFor)
	if last := killed.Add(probeMost); last.Before(end) {
		end = last
	}
	if lost == nil {
		r.probe(ctx, n, end, &p.Without, p.Refused)
	}
	r.wait(ctx, f.Last)
	errs := []error{lost, r.probes.add(p)}
	for i := range r.c.hosts {
		if i != n {
			errs = append(errs, r.c.start(i))
		}
	}
	return errors.Join(errs...)
}

// probe sends one request after the other until a time.
func (r *run) probe(ctx context.Context, n int, end time.Time, took *[]time.Duration, refused map[int]int) {
	for time.Now().Before(end) && r.running(ctx) {
		began := time.Now()
		if status := r.chat(ctx, n, "rich", r.secrets["rich"]); status == http.StatusOK {
			*took = append(*took, time.Since(began))
		} else {
			refused[status]++
		}
	}
}

// quantile is that of times, 0 of none.
func quantile(all []time.Duration, q float64) time.Duration {
	if len(all) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(all))
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]
}

// checkProbes asks whether requests waited for what is not there without a quorum. Each loss is compared with what was before it on
// the same machine; one slow moment is not the gateway's, so that the middle one of the losses counts.
func (r *report) checkProbes(v *Verdict) {
	var all []Quorum
	for _, p := range r.probes {
		if len(p.With) == 0 {
			continue // nothing was served before either
		}
		for status, n := range p.Refused {
			v.broken("I14: node %s answered %d requests with %d while there was no quorum after %s; it had a lease for them", r.name(p.Node), n, status, p.At.Round(time.Millisecond))
		}
		q := Quorum{With: quantile(p.With, 0.5), Without: quantile(p.Without, 0.5), Worst: quantile(p.Without, 0.99)}
		q.Ratio = float64(q.Without) / float64(max(q.With, 1))
		if len(p.Without) == 0 {
			v.broken("I14: node %s served nothing while there was no quorum after %s", r.name(p.Node), p.At.Round(time.Millisecond))
			continue
		}
		all = append(all, q)
	}
	if len(all) == 0 {
		return
	}
	slices.SortFunc(all, func(a, b Quorum) int { return cmp.Compare(a.Ratio, b.Ratio) })
	middle := all[len(all)/2]
	middle.Lost = len(r.probes)
	v.Quorum = &middle
	if middle.Without > slowerTimes*middle.With+slowerPlus || middle.Worst > slowest {
		v.broken("I14: requests took %s with a quorum, and %s without (99 in 100 up to %s)", middle.With, middle.Without, middle.Worst)
	}
}
