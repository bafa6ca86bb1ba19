package segment

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/parquet-go/parquet-go"

	"github.com/conclave-llm/conclave/resource"
)

// readRows are the rows that are decoded at once.
const readRows = 512

// File is a segment that is open for reading.
type File struct {
	f *os.File
	p *parquet.File
}

// Open opens a segment; the caller closes it.
func Open(path string) (*File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	p, err := parquet.OpenFile(f, info.Size())
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &File{f: f, p: p}, nil
}

// Close closes the file.
func (f *File) Close() error { return f.f.Close() }

// Chained is the segment's own word about its place in the chain.
func (f *File) Chained() (c Chained, err error) {
	text, ok := f.p.Lookup(chainKey)
	if !ok {
		return c, nil
	}
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		return c, fmt.Errorf("read chain: %w", err)
	}
	return c, nil
}

// Each calls visit for each row, in order. The row is visit's until it returns.
func (f *File) Each(visit func(r *Row) error) error {
	for _, g := range f.Groups() {
		if err := g.Each(visit); err != nil {
			return err
		}
	}
	return nil
}

// Read calls visit for each row of the segment, in order. It returns what the segment says of its place in the
// chain.
func Read(path string, visit func(r *Row) error) (own Chained, err error) {
	f, err := Open(path)
	if err != nil {
		return own, err
	}
	defer f.Close() //nolint:errcheck // read only
	if own, err = f.Chained(); err != nil {
		return own, err
	}
	return own, f.Each(visit)
}

// Group is some rows of a segment, one after the other, of which it can be told without reading them that none is
// meant.
type Group struct {
	p *parquet.File
	g parquet.RowGroup
}

// Groups are the segment's groups, in order.
func (f *File) Groups() []Group {
	all := f.p.RowGroups()
	out := make([]Group, len(all))
	for i, g := range all {
		out[i] = Group{f.p, g}
	}
	return out
}

// Each calls visit for each row of the group, in order. The row is visit's until it returns.
func (g Group) Each(visit func(r *Row) error) (err error) {
	in := parquet.NewGenericRowGroupReader[Row](g.g)
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

func (g Group) chunk(column string) (parquet.ColumnChunk, error) {
	leaf, ok := g.p.Schema().Lookup(column)
	if !ok {
		return nil, fmt.Errorf("segment has no column %s", column)
	}
	return g.g.ColumnChunks()[leaf.ColumnIndex], nil
}

// Times are the oldest and the newest time of the group's rows.
func (g Group) Times() (from, to resource.Time, err error) {
	c, err := g.chunk("time")
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

// MayHave says whether one of the values may be in the column of the group. It is always so of a column without a
// Bloom filter.
func (g Group) MayHave(column string, values []string) (bool, error) {
	c, err := g.chunk(column)
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
