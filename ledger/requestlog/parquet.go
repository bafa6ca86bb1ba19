package requestlog

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/parquet-go/parquet-go"

	"github.com/conclave-llm/conclave/ledger"
	"github.com/conclave-llm/conclave/resource"
)

const (
	readRows   = 512 // that are decoded at once
	cachedFlag = uint32(ledger.Cached)
)

// The columns whose Bloom filters tell which row groups need not be read.
var bloomColumns = map[string]string{"key": "key_id", "customer": "customer_id", "session": "session_id"}

// openFile opens a segment; the caller closes the file.
func openFile(path string) (*os.File, *parquet.File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	info, err := f.Stat()
	if err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	p, err := parquet.OpenFile(f, info.Size())
	if err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	return f, p, nil
}

// readFile calls visit for each row of a segment, in order. It returns what the segment says
// of its place in the chain.
func readFile(path string, visit func(r *Row) error) (own Chained, err error) {
	err = openSegment(path, func(p *parquet.File) error {
		if own, err = chainedOf(p); err != nil {
			return err
		}
		return eachOf(p, visit)
	})
	return own, err
}

// openSegment lets use read a segment.
func openSegment(path string, use func(p *parquet.File) error) error {
	f, p, err := openFile(path)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // read only
	return use(p)
}

func eachOf(p *parquet.File, visit func(r *Row) error) error {
	for _, g := range p.RowGroups() {
		if err := readGroup(g, visit); err != nil {
			return err
		}
	}
	return nil
}

func readGroup(g parquet.RowGroup, visit func(r *Row) error) (err error) {
	in := parquet.NewGenericRowGroupReader[Row](g)
	defer func() { err = errors.Join(err, in.Close()) }()
	rows := make([]Row, readRows)
	for {
		clear(rows) // the reader appends to lists that it finds
		n, err := in.Read(rows)
		for i := range rows[:n] {
			if err := visit(&rows[i]); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// searchFile offers the rows of a segment to b, but those of row groups that cannot have any.
func searchFile(path string, b *best) error {
	f, p, err := openFile(path)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // read only
	groups := slices.Clone(p.RowGroups())
	if !b.q.Ascending {
		slices.Reverse(groups)
	}
	for _, g := range groups {
		if err := b.step(); err != nil {
			return err
		}
		skip, err := skipGroup(p, g, b)
		if err != nil {
			return err
		}
		if skip {
			continue
		}
		err = readGroup(g, func(r *Row) error {
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

// skipGroup says whether the times or the Bloom filters of a row group rule its rows out.
func skipGroup(p *parquet.File, g parquet.RowGroup, b *best) (bool, error) {
	from, to, err := times(p, g)
	if err != nil {
		return false, err
	}
	if b.done(from, to) {
		return true, nil
	}
	if id := b.q.RequestID; id != "" {
		if has, err := mayHave(p, g, "request_id", []string{id}); err != nil || !has {
			return true, err
		}
	}
	for name, column := range bloomColumns {
		if values := b.q.Names[name]; len(values) > 0 {
			if has, err := mayHave(p, g, column, values); err != nil || !has {
				return true, err
			}
		}
	}
	return false, nil
}

func chunk(p *parquet.File, g parquet.RowGroup, column string) (parquet.ColumnChunk, error) {
	leaf, ok := p.Schema().Lookup(column)
	if !ok {
		return nil, fmt.Errorf("segment has no column %s", column)
	}
	return g.ColumnChunks()[leaf.ColumnIndex], nil
}

// times are the oldest and the newest time of a row group.
func times(p *parquet.File, g parquet.RowGroup) (from, to resource.Time, err error) {
	c, err := chunk(p, g, "time")
	if err != nil {
		return 0, 0, err
	}
	index, err := c.ColumnIndex()
	if err != nil {
		return 0, 0, err
	}
	for i := range index.NumPages() {
		least, most := resource.Time(index.MinValue(i).Int64()), resource.Time(index.MaxValue(i).Int64())
		if i == 0 || least < from {
			from = least
		}
		to = max(to, most)
	}
	return from, to, nil
}

// mayHave says whether one of the values may be in the column of a row group.
func mayHave(p *parquet.File, g parquet.RowGroup, column string, values []string) (bool, error) {
	c, err := chunk(p, g, column)
	if err != nil {
		return false, err
	}
	filter := c.BloomFilter()
	if filter == nil {
		return true, nil
	}
	for _, v := range values {
		has, err := filter.Check(parquet.ValueOf(v))
		if err != nil || has {
			return has, err
		}
	}
	return false, nil
}
