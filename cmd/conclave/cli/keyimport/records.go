// Package keyimport creates the keys of a file: it reads JSON lines or CSV, sends the keys in
// batches and tells how far it is.
package keyimport

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strings"
)

// maxLine bounds one line of a file of records.
const maxLine = 1 << 20

// Records reads one document after the other.
type Records interface {
	// Next returns the next document with the number of its line, io.EOF after the last.
	Next() (doc map[string]any, line int, err error)
	// Taken is how many bytes have been taken in.
	Taken() int64
}

// Column puts a cell of a CSV file into the document of its row.
type Column func(doc map[string]any, cell string) error

// Table says what the documents of a CSV file are made of.
type Table struct {
	Columns map[string]Column              // by the names that the first line may have
	Finish  func(doc map[string]any) error // is called for each row, after its cells
}

// Open reads CSV from a file that is called so, or is to be, else JSON lines. The format is
// jsonl, csv or "".
func Open(r io.Reader, path, format string, csv Table) (Records, error) {
	if format == "" {
		format = "jsonl"
		if strings.EqualFold(filepath.Ext(path), ".csv") {
			format = "csv"
		}
	}
	in := &counted{r: r}
	switch format {
	case "jsonl":
		s := bufio.NewScanner(in)
		s.Buffer(make([]byte, 64<<10), maxLine)
		return &lines{counted: in, s: s}, nil
	case "csv":
		return newTable(in, csv)
	default:
		return nil, fmt.Errorf("format %q is not one of jsonl, csv", format)
	}
}

// counted counts what is read through it.
type counted struct {
	r io.Reader
	n int64
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

func (c *counted) Taken() int64 { return c.n }

// lines is a file with one JSON object a line.
type lines struct {
	*counted
	s    *bufio.Scanner
	line int
}

func (l *lines) Next() (map[string]any, int, error) {
	for l.s.Scan() {
		l.line++
		text := bytes.TrimSpace(l.s.Bytes())
		if l.line == 1 {
			text = bytes.TrimPrefix(text, []byte("\ufeff"))
		}
		if len(text) == 0 {
			continue
		}
		var raw map[string]json.RawMessage
		if err := json.Unmarshal(text, &raw); err != nil || raw == nil {
			return nil, l.line, errors.New("is not a JSON object")
		}
		doc := make(map[string]any, len(raw))
		for name, v := range raw {
			doc[name] = v
		}
		return doc, l.line, nil
	}
	if err := l.s.Err(); err != nil {
		return nil, l.line + 1, err
	}
	return nil, l.line, io.EOF
}

// table is a CSV file whose first line names the columns.
type table struct {
	*counted
	r       *csv.Reader
	columns []Column
	finish  func(doc map[string]any) error
}

func newTable(in *counted, of Table) (*table, error) {
	t := &table{counted: in, r: csv.NewReader(in), finish: of.Finish}
	t.r.ReuseRecord = true
	head, err := t.r.Read()
	if err != nil {
		return nil, fmt.Errorf("read the line with the columns' names: %w", err)
	}
	for i, name := range head {
		name = strings.ToLower(strings.TrimSpace(strings.TrimPrefix(name, "\ufeff")))
		set, ok := of.Columns[name]
		if !ok {
			return nil, fmt.Errorf("column %d: %q is not one of %s", i+1, name, strings.Join(slices.Sorted(maps.Keys(of.Columns)), ", "))
		}
		t.columns = append(t.columns, set)
	}
	return t, nil
}

func (t *table) Next() (map[string]any, int, error) {
	row, err := t.r.Read()
	if err != nil {
		if e, ok := errors.AsType[*csv.ParseError](err); ok {
			return nil, e.StartLine, e.Err
		}
		return nil, 0, err
	}
	line, _ := t.r.FieldPos(0)
	doc := map[string]any{}
	for i, cell := range row {
		cell = strings.Clone(strings.TrimSpace(cell))
		if cell == "" {
			continue
		}
		if err := t.columns[i](doc, cell); err != nil {
			return nil, line, fmt.Errorf("column %d: %w", i+1, err)
		}
	}
	return doc, line, t.finish(doc)
}
