package callback

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/conclave-llm/conclave/internal/durable"
)

// redeliverySuffix ends the name of the file that says which redelivery was done last, beside the mark.
const redeliverySuffix = ".redelivery"

// Redelivery orders that the sink is told again of what began at From or later, as far as the
// journal goes back.
type Redelivery struct {
	ID   string // each is done once
	From time.Time
}

// Subscribe changes what the sink is told from now on; nil: no redelivery is ordered.
func (q *Queue) Subscribe(s Subscription, r *Redelivery) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.sub, q.redelivery = s, r
}

// rewind begins the redelivery that was ordered, if it was not done yet.
func (q *Queue) rewind() error {
	q.mu.Lock()
	r := q.redelivery
	q.mu.Unlock()
	if r == nil {
		return nil
	}
	done, err := os.ReadFile(q.cfg.MarkPath + redeliverySuffix)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read the last redelivery: %w", err)
	}
	if string(done) != r.ID {
		if err := q.rewindTo(r); err != nil {
			return err
		}
	}
	q.mu.Lock()
	if q.redelivery == r {
		q.redelivery = nil
	}
	q.mu.Unlock()
	return nil
}

// rewindTo sets the mark back. The note that it was done is written last: a crash before it means
// that it is done again.
func (q *Queue) rewindTo(r *Redelivery) error {
	at, err := q.since(r.From)
	if err != nil {
		return fmt.Errorf("find where a redelivery begins: %w", err)
	}
	if at < q.mark.Load() {
		if err := writeMark(q.cfg.MarkPath, at); err != nil {
			return fmt.Errorf("write mark: %w", err)
		}
		q.mark.Store(at)
	}
	q.cfg.Logger.Info("callback is told again", "callback", q.cfg.Name, "from", r.From, "position", at)
	return durable.WriteFile(q.cfg.MarkPath+redeliverySuffix, []byte(r.ID))
}

// since is the position of the first record of a request that began at the time or later.
func (q *Queue) since(from time.Time) (uint64, error) {
	all, at := &Subscription{}, uint64(0)
	for {
		records, next, err := q.cfg.Source.Read(all, at, q.cfg.Batch)
		if gone, ok := errors.AsType[*Truncated](err); ok && gone.Oldest > at {
			at = gone.Oldest
			continue
		}
		if err != nil {
			return 0, err
		}
		for i := range records {
			if !records[i].StartedAt.Before(from) {
				return records[i].Position, nil
			}
		}
		if next <= at || next >= q.mark.Load() {
			return q.mark.Load(), nil
		}
		at = next
	}
}
