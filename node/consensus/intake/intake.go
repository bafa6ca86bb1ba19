// Package intake decides which entries a leader takes into its log now. Entries are of four
// classes. Each class but the first has a window: so many bytes may be on their way to being
// applied, and what comes beyond waits its turn for a while and is then refused. So a flood of
// one class never stands in front of those before it: somebody's import delays nobody's revoke.
//
// The windows count what is under way instead of what comes in a second, for what a second
// holds depends on the disks and the network, and a rate that is right for one cluster stops or
// drowns another.
package intake

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/semaphore"

	"github.com/conclave-llm/conclave/resource"
)

// Class is how urgent an entry is.
type Class uint8

// The classes, the most urgent first.
const (
	Urgent Class = iota // membership, epochs, blocks and deletes: never waits, never refused
	Node                // what nodes write themselves: ticks, events, stored turns
	Admin               // one change of an administrator
	Import              // many records in one entry
	classes
)

// String names the class in metrics and errors.
func (c Class) String() string { return [...]string{"urgent", "node", "admin", "import"}[c] }

// overhead is what an entry costs beside its bytes: its place in queues, its share of a commit.
const overhead = 1 << 10

// Window bounds one class.
type Window struct {
	Bytes   int64         // of entries under way; each has 1 KiB more than its length
	Wait    time.Duration // for a place
	Waiting int64         // entries that wait at a time; one more is refused at once
}

// Windows are the bounds of the classes but the first, which has none.
type Windows [classes]Window

// Defaults returns the windows of a node. They are some times what is under way at the
// highest rate that a cluster was measured to take, so that waiting means a queue that grows.
func Defaults() Windows {
	return Windows{
		Node:   {Bytes: 64 << 20, Wait: 5 * time.Second, Waiting: 4096},
		Admin:  {Bytes: 8 << 20, Wait: 2 * time.Second, Waiting: 4096},
		Import: {Bytes: 8 << 20, Wait: 10 * time.Second, Waiting: 64},
	}
}

// Intake is the windows of one leader. Its methods may be called concurrently.
type Intake struct {
	lanes   [classes]lane
	refused *prometheus.CounterVec // by class
}

// lane is one class under way.
type lane struct {
	Window
	places  *semaphore.Weighted
	waiting atomic.Int64
}

// New returns an intake in which nothing is under way.
func New(w Windows) *Intake {
	in := &Intake{refused: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "conclave_raft_overloaded_total",
		Help: "On the leader: entries refused because too many of their class were under way.",
	}, []string{"class"})}
	for c := range in.lanes {
		in.lanes[c].Window = w[c]
		in.lanes[c].places = semaphore.NewWeighted(w[c].Bytes)
	}
	return in
}

// Register registers the metrics.
func (in *Intake) Register(r prometheus.Registerer) { r.MustRegister(in.refused) }

// Enter waits for a place for an entry of so many bytes, in order of arrival within the class.
// The caller calls leave once the entry is applied or given up. Errors wrap
// resource.ErrBusy if there was no place in time, or the error of ctx.
func (in *Intake) Enter(ctx context.Context, c Class, size int) (leave func(), err error) {
	if c == Urgent {
		return func() {}, nil
	}
	l := &in.lanes[c]
	cost := min(int64(size)+overhead, l.Bytes)
	if !l.places.TryAcquire(cost) {
		if err := in.wait(ctx, c, cost); err != nil {
			return nil, err
		}
	}
	return func() { l.places.Release(cost) }, nil
}

func (in *Intake) wait(ctx context.Context, c Class, cost int64) error {
	l := &in.lanes[c]
	defer l.waiting.Add(-1)
	if l.waiting.Add(1) > l.Waiting {
		return in.refuse(c, "as many wait as may")
	}
	short, cancel := context.WithTimeout(ctx, l.Wait)
	defer cancel()
	if l.places.Acquire(short, cost) == nil {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("wait for the leader to take a change: %w", err)
	}
	return in.refuse(c, fmt.Sprintf("no place within %s", l.Wait))
}

func (in *Intake) refuse(c Class, why string) error {
	in.refused.WithLabelValues(c.String()).Inc()
	return fmt.Errorf("%w: changes of the class %s under way are as many as it takes: %s", resource.ErrBusy, c, why)
}
