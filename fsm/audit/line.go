package audit

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/conclave-llm/conclave/resource"
)

// Line is one entry as it leaves the cluster: what people read, and the bytes that are
// hashed.
type Line struct {
	resource.AuditEntry
	Entry []byte `json:"entry"` // canonical CBOR; Hash is the SHA-256 of Previous and these
}

// Header is the first line of an export.
type Header struct {
	Format     int                   `json:"conclave_audit"` // of the export: 1
	Cluster    string                `json:"cluster"`
	CA         []byte                `json:"ca"`               // certificate (DER) that the anchor is verified with
	Anchor     *resource.AuditAnchor `json:"anchor,omitempty"` // for the entries that were pruned
	Last       uint64                `json:"last"`             // number of the newest entry in the log
	Head       resource.Hash         `json:"head"`             // its hash
	Filtered   bool                  `json:"filtered,omitempty"`
	ExportedAt resource.Time         `json:"exported_at"`
}

// exportFormat is the format of exports that this version writes.
const exportFormat = 1

// Links returns at most limit entries from the number on, in their order, with what the
// chain needs of them alone: number, hashes and bytes.
func Links(tx *bolt.Tx, from uint64, limit int) ([]Line, error) {
	first, last, err := bounds(tx)
	if err != nil || first == 0 {
		return nil, err
	}
	n := max(from, first)
	if n > last {
		return nil, nil
	}
	previous, err := previousOf(tx, n)
	if err != nil {
		return nil, err
	}
	var out []Line
	for size := 0; n <= last && len(out) < limit && size < maxPageBytes; n++ {
		s, err := read(tx, n)
		if err != nil {
			return nil, err
		}
		e := resource.AuditEntry{Number: n, Previous: previous, Hash: s.hash}
		out = append(out, Line{AuditEntry: e, Entry: bytes.Clone(s.body)})
		previous, size = s.hash, size+len(s.body)
	}
	return out, nil
}

// NewHeader makes the header of an export of what is there.
func NewHeader(x Extent, cluster string, ca []byte, at resource.Time) Header {
	return Header{
		Format: exportFormat, Cluster: cluster, CA: ca, Anchor: x.Anchor, Last: x.Last, Head: x.Head, ExportedAt: at,
	}
}

// Columns are the titles of an export in CSV.
var Columns = []string{
	"number", "index", "at", "since", "actor", "for", "address", "action", "kind", "id", "name", "outcome", "count",
	"version", "fields", "before", "after", "request_id", "previous", "hash", "entry",
}

// headerAction marks the row of CSV that holds the Header, as JSON in its last cell.
const headerAction = "export"

// Row gives the line's cells under Columns.
func (l *Line) Row() ([]string, error) {
	entry, err := json.Marshal(l.Entry)
	if err != nil {
		return nil, fmt.Errorf("encode audit entry: %w", err)
	}
	number := func(n uint64) string {
		if n == 0 {
			return ""
		}
		return strconv.FormatUint(n, 10)
	}
	return []string{
		number(l.Number), number(l.Index), clock(l.At), clock(l.Since), cell(l.Actor), cell(l.For), cell(l.Address),
		cell(l.Action), cell(l.Kind), cell(l.ID), cell(l.Name), cell(l.Outcome), number(l.Count), number(l.Version),
		cell(strings.Join(l.Fields, " ")), string(l.Before), string(l.After), cell(l.RequestID),
		l.Previous.String(), l.Hash.String(), strings.Trim(string(entry), `"`),
	}, nil
}

// Row gives the header's cells under Columns.
func (h *Header) Row() ([]string, error) {
	b, err := json.Marshal(h)
	if err != nil {
		return nil, fmt.Errorf("encode header of audit export: %w", err)
	}
	row := make([]string, len(Columns))
	row[7], row[len(row)-1] = headerAction, string(b)
	return row, nil
}

func clock(t resource.Time) string {
	if t == 0 {
		return ""
	}
	return t.Std().Format(time.RFC3339Nano)
}

// cell keeps a text from being a formula to the program that opens the file.
func cell(s string) string {
	if s != "" && strings.ContainsRune("=+-@\t\r", rune(s[0])) {
		return "'" + s
	}
	return s
}
