package requestlog

import (
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/conclave-llm/conclave/ledger/requestlog/segment"
)

// filtered are the columns of Filter.Names with Bloom filters, which tell which groups of rows need not be read.
var filtered = map[string]string{"key": "key_id", "customer": "customer_id", "session": "session_id"}

// readSegments reads the segments that may have rows for the query, in its order of time.
func (l *Log) readSegments(list []segment.Segment, b *best) error {
	if !b.q.Ascending {
		slices.Reverse(list)
	}
	for i := range list {
		s := &list[i]
		if b.done(s.From, s.To) {
			continue
		}
		err := search(l.path(s), b)
		if errors.Is(err, os.ErrNotExist) {
			continue // it has become too old meanwhile
		}
		if err != nil {
			return fmt.Errorf("segment %s: %w", s.Name, err)
		}
	}
	return nil
}

// search offers the rows of a segment to b, but those of groups that cannot have any.
func search(path string, b *best) error {
	f, err := segment.Open(path)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // read only
	groups := f.Groups()
	if !b.q.Ascending {
		slices.Reverse(groups)
	}
	for _, g := range groups {
		if err := b.step(); err != nil {
			return err
		}
		skip, err := b.skips(g)
		if err != nil {
			return err
		}
		if skip {
			continue
		}
		err = g.Each(func(r *Row) error {
			r.Link, r.Salt, r.Commitment = 0, "", "" // says something of the file, nothing of the request
			b.offer(r)
			return b.step()
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// skips says whether the times or the Bloom filters of a group rule its rows out.
func (b *best) skips(g segment.Group) (bool, error) {
	from, to, err := g.Times()
	if err != nil {
		return false, err
	}
	if b.done(from, to) {
		return true, nil
	}
	if id := b.q.RequestID; id != "" {
		if has, err := g.MayHave("request_id", []string{id}); err != nil || !has {
			return true, err
		}
	}
	for name, column := range filtered {
		if values := b.q.Names[name]; len(values) > 0 {
			if has, err := g.MayHave(column, values); err != nil || !has {
				return true, err
			}
		}
	}
	return false, nil
}
