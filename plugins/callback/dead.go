package callback

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/conclave-llm/conclave/internal/clock"
	"github.com/conclave-llm/conclave/internal/durable"
)

// deadSuffix ends the name of the file of dead letters, which stands beside the mark.
const deadSuffix = ".dead"

// DeadLetter is a record that a sink refused for good.
type DeadLetter struct {
	Position  uint64    `json:"position"` // in the journal of the node
	RequestID string    `json:"request_id"`
	Reason    string    `json:"reason"`
	At        time.Time `json:"at"` // when it was refused, the last time
}

// deadLetters keeps them as lines of JSON in a file, the oldest first.
type deadLetters struct {
	path string
	max  int

	mu   sync.Mutex // guards list and the file
	list []DeadLetter
}

func openDeadLetters(path string, limit int) (*deadLetters, error) {
	d := &deadLetters{path: path, max: cmp.Or(limit, 10_000)}
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return d, nil
	}
	if err != nil {
		return nil, err
	}
	d.list = parseDeadLetters(b)
	return d, nil
}

// parseDeadLetters reads the lines that are whole: a crash may have cut the last one.
func parseDeadLetters(b []byte) (list []DeadLetter) {
	for line := range bytes.Lines(b) {
		var l DeadLetter
		if json.Unmarshal(line, &l) == nil {
			list = append(list, l)
		}
	}
	return list
}

// put adds a letter, or replaces that of the same position. It says how many old ones were
// given up for it.
func (d *deadLetters) put(l DeadLetter) (lost int, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	next := slices.DeleteFunc(slices.Clone(d.list), func(have DeadLetter) bool { return have.Position == l.Position })
	next = append(next, l)
	lost = max(0, len(next)-d.max)
	return lost, d.writeLocked(next[lost:])
}

// remove takes the letter of the position away.
func (d *deadLetters) remove(position uint64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.writeLocked(slices.DeleteFunc(slices.Clone(d.list), func(l DeadLetter) bool { return l.Position == position }))
}

// writeLocked replaces the file in one step.
func (d *deadLetters) writeLocked(list []DeadLetter) error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	for i := range list {
		if err := enc.Encode(&list[i]); err != nil {
			return err
		}
	}
	if err := durable.WriteFile(d.path, b.Bytes()); err != nil {
		return err
	}
	d.list = list
	return nil
}

func (d *deadLetters) all() []DeadLetter {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.list)
}

// DeadLetters are the records that the sink refused for good, the oldest first.
func (q *Queue) DeadLetters() []DeadLetter { return q.dead.all() }

// Retry brings dead letters again, soon: those of the positions, or all if there are none. It says how many.
func (q *Queue) Retry(positions []uint64) int {
	var again []uint64
	for _, l := range q.dead.all() {
		if len(positions) == 0 || slices.Contains(positions, l.Position) {
			again = append(again, l.Position)
		}
	}
	q.mu.Lock()
	for _, p := range again {
		if !slices.Contains(q.again, p) {
			q.again = append(q.again, p)
		}
	}
	q.mu.Unlock()
	q.Wake()
	return len(again)
}

// Discard forgets dead letters: those of the positions, or all if there are none.
func (q *Queue) Discard(positions []uint64) (n int, err error) {
	for _, l := range q.dead.all() {
		if len(positions) == 0 || slices.Contains(positions, l.Position) {
			if err := q.dead.remove(l.Position); err != nil {
				return n, fmt.Errorf("discard dead letter: %w", err)
			}
			n++
		}
	}
	return n, nil
}

// putAside makes a dead letter of the record.
func (q *Queue) putAside(r *Record, why *Refused) error {
	lost, err := q.dead.put(DeadLetter{Position: r.Position, RequestID: r.RequestID, Reason: why.Reason, At: clock.Now().UTC()})
	if err != nil {
		return fmt.Errorf("put a record aside: %w", err)
	}
	q.cfg.Metrics.Refused.WithLabelValues(q.cfg.Name).Inc()
	q.cfg.Metrics.Dropped.WithLabelValues(q.cfg.Name).Add(float64(lost))
	q.cfg.Logger.Error("callback refused a record for good", "callback", q.cfg.Name, "request_id", r.RequestID, "reason", why.Reason)
	return nil
}

// tryAgain brings the dead letters for which somebody asked. One whose record is gone stays.
func (q *Queue) tryAgain(ctx context.Context, plugin Plugin, sub *Subscription) error {
	for plugin != nil && ctx.Err() == nil {
		q.mu.Lock()
		if len(q.again) == 0 {
			q.mu.Unlock()
			return nil
		}
		position := q.again[0]
		q.mu.Unlock()
		if err := q.tryOne(ctx, plugin, sub, position); err != nil {
			return err
		}
		q.mu.Lock()
		q.again = q.again[1:]
		q.mu.Unlock()
	}
	return nil
}

func (q *Queue) tryOne(ctx context.Context, plugin Plugin, sub *Subscription, position uint64) error {
	records, _, err := q.cfg.Source.Read(sub, position, 1)
	if err != nil || len(records) == 0 || records[0].Position != position {
		q.cfg.Logger.Warn("dead letter is not in the journal any more", "callback", q.cfg.Name, "position", position, "error", err)
		return nil
	}
	turn, cancel := context.WithTimeout(ctx, q.cfg.Deadline)
	defer cancel()
	n, err := plugin.Deliver(turn, records)
	if refused, ok := errors.AsType[*Refused](err); ok && n == 0 {
		return q.putAside(&records[0], refused)
	}
	if n != 1 {
		return fmt.Errorf("deliver dead letter again: %w", cmp.Or(err, errNotTaken))
	}
	q.cfg.Metrics.Delivered.WithLabelValues(q.cfg.Name).Inc()
	return q.dead.remove(position)
}

var errNotTaken = errors.New("the sink did not take it")
