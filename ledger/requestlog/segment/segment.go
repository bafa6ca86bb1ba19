package segment

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"

	"github.com/parquet-go/parquet-go"

	"github.com/conclave-llm/conclave/ledger/requestlog/links"
	"github.com/conclave-llm/conclave/resource"
)

const (
	// Suffix is how the names of segments end.
	Suffix = ".parquet"

	// GroupRows are the rows of one group: what a question reads at least, and writing holds in memory.
	GroupRows = 5_000

	saltSize = 16
)

// Segment is a file of sealed rows, as the log's list has it.
type Segment struct {
	Name  string        `json:"name"`
	First uint64        `json:"first"` // number of its first row
	Last  uint64        `json:"last"`
	From  resource.Time `json:"from"` // of its oldest row
	To    resource.Time `json:"to"`   // of its newest row
	Rows  int64         `json:"rows"`
	Bytes int64         `json:"bytes"`
	Chained
}

// Include counts a row of the number and the time in.
func (s *Segment) Include(number uint64, at resource.Time) {
	if s.Rows == 0 {
		s.First, s.From = number, at
	}
	s.Rows++
	s.Last, s.From, s.To = max(s.Last, number), min(s.From, at), max(s.To, at)
}

// Writer writes the rows of a segment.
type Writer struct {
	out *parquet.GenericWriter[Row]
	of  *Chained
	sum *links.Chain
}

// NewWriter begins a segment of the node at the place of that of, which must have its Version and Previous and
// stays the caller's until Close. Rows of version 0 keep the links that they have.
func NewWriter(w io.Writer, node string, of *Chained) (*Writer, error) {
	codec, err := newCompression()
	if err != nil {
		return nil, err
	}
	sum, err := links.Start(node, of.Previous)
	if err != nil {
		return nil, err
	}
	out := parquet.NewGenericWriter[Row](w,
		parquet.Compression(codec),
		parquet.MaxRowsPerRowGroup(GroupRows),
		parquet.CreatedBy("conclave", "1", ""),
		parquet.BloomFilters(
			parquet.SplitBlockFilter(10, "request_id"), parquet.SplitBlockFilter(10, "key_id"),
			parquet.SplitBlockFilter(10, "customer_id"), parquet.SplitBlockFilter(10, "session_id"),
		),
	)
	return &Writer{out: out, of: of, sum: sum}, nil
}

// Write links the rows, in their order, and writes them.
func (w *Writer) Write(rows []Row) error {
	for i := range rows {
		if w.of.Version == 0 {
			break
		}
		link, err := linkOf(w.of.Version, w.sum, &rows[i])
		if err != nil {
			return err
		}
		rows[i].Link = link
	}
	_, err := w.out.Write(rows)
	return err
}

// Sum is the hash of all rows so far.
func (w *Writer) Sum() string { return w.sum.String() }

// Close ends the segment with its place in the chain.
func (w *Writer) Close() error {
	own, err := json.Marshal(w.of)
	if err != nil {
		return fmt.Errorf("write chain: %w", err)
	}
	w.out.SetKeyValueMetadata(chainKey, string(own))
	return w.out.Close()
}

// AddSalt gives a row that tells of a person a salt of its own.
func (r *Row) AddSalt() {
	if r.UserID != "" || r.Customer != "" || r.Session != "" {
		b := make([]byte, saltSize)
		_, _ = rand.Read(b) // never fails
		r.Salt = string(b)
	}
}
