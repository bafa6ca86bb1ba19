package auditlog

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/resource"
)

// Behind is a sink that does not have all entries.
type Behind struct {
	Sink    string
	Waiting uint64        // entries that it has not taken
	Since   resource.Time // when the oldest of them was written; 0: none waits
	Dropped uint64        // entries that were pruned before it took them, by this node as leader

	DroppedAt resource.Time // when the last of them were
}

// loss are entries that a sink never gets.
type loss struct {
	count uint64
	at    resource.Time
}

// Behind lists the sinks that lack entries, or have lost some, by name. It means something on the leader alone.
func (k *Keeper) Behind() []Behind {
	x := k.cfg.State.AuditExtent()
	var all []Behind
	for _, s := range k.cfg.State.Catalog().Settings().Audit.Sinks {
		lost := k.lostBy(s.Name)
		b := Behind{Sink: s.Name, Dropped: lost.count, DroppedAt: lost.at}
		if mark := max(x.Sinks[s.Name], before(x.First)); x.Last > mark {
			b.Waiting, b.Since = x.Last-mark, k.written(mark)
		}
		if b.Waiting+b.Dropped > 0 {
			all = append(all, b)
		}
	}
	slices.SortFunc(all, func(a, b Behind) int { return strings.Compare(a.Sink, b.Sink) })
	return all
}

// before is the number before the first entry's; 0 if there is no entry.
func before(first uint64) uint64 {
	if first == 0 {
		return 0
	}
	return first - 1
}

// written is when the entry behind a number was written, 0 if there is none.
func (k *Keeper) written(behind uint64) resource.Time {
	q := fsm.AuditQuery{Oldest: true, Limit: 1}
	if behind > 0 {
		q.Cursor = strconv.FormatUint(behind, 10)
	}
	p := k.cfg.State.AuditPage(q)
	if len(p.Items) == 0 {
		return 0
	}
	return p.Items[0].At
}

func (k *Keeper) lostBy(sink string) loss {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.lost[sink]
}

// forget counts the entries from first to last, which were pruned, for each sink that has not taken them: they
// have waited for twice the retention, and no longer is promised.
func (k *Keeper) forget(sinks []resource.AuditSink, marks map[string]uint64, first, last uint64) {
	for _, s := range sinks {
		from := max(first, marks[s.Name]+1)
		if from > last {
			continue
		}
		n := last - from + 1
		k.mu.Lock()
		k.lost[s.Name] = loss{k.lost[s.Name].count + n, resource.At(k.cfg.Now())}
		k.mu.Unlock()
		k.metrics.dropped.WithLabelValues(s.Name).Add(float64(n))
		k.cfg.Logger.Error("audit entries were pruned before a sink had them", "sink", s.Name, "from", from, "to", last, "count", n)
	}
}

// age is how long the oldest entry waits that a sink lacks.
func (k *Keeper) age(since resource.Time) time.Duration {
	return max(0, k.cfg.Now().Sub(since.Std()))
}
