package main

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

// recordFile reads one document after the other.
type recordFile interface {
	// next returns the next document with the number of its line, io.EOF after the last.
	next() (doc map[string]any, line int, err error)
	// read is how many bytes have been taken in.
	read() int64
}

// openRecords reads CSV from a file that is called so, or is to be, else JSON lines.
func openRecords(r io.Reader, path, format string, fields []field) (recordFile, error) {
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
		return newTable(in, fields)
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

func (c *counted) read() int64 { return c.n }

// lines is a file with one JSON object a line.
type lines struct {
	*counted
	s    *bufio.Scanner
	line int
}

func (l *lines) next() (map[string]any, int, error) {
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

// table is a CSV file whose first line names the columns by the flags or the members that
// they set.
type table struct {
	*counted
	r       *csv.Reader
	columns []field
}

func newTable(in *counted, fields []field) (*table, error) {
	t := &table{counted: in, r: csv.NewReader(in)}
	t.r.ReuseRecord = true
	head, err := t.r.Read()
	if err != nil {
		return nil, fmt.Errorf("read the line with the columns' names: %w", err)
	}
	known := map[string]field{"name": {path: "name"}, "id": {path: "id"}, "expires_at": {path: "expires_at"}, "blocked": {path: "blocked", form: asJSON}}
	for _, fd := range fields {
		if fd.form == asSecret { // a file:PATH in a file of others would read a file of ours
			fd.form = asText
		}
		if fd.form != asExpiry { // which has a path that is taken as it is
			known[fd.path] = fd
		}
		known[fd.flag] = fd
	}
	for i, name := range head {
		name = strings.ToLower(strings.TrimSpace(strings.TrimPrefix(name, "\ufeff")))
		fd, ok := known[name]
		if !ok {
			return nil, fmt.Errorf("column %d: %q is not one of %s", i+1, name, strings.Join(slices.Sorted(maps.Keys(known)), ", "))
		}
		t.columns = append(t.columns, fd)
	}
	return t, nil
}

func (t *table) next() (map[string]any, int, error) {
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
		v, err := cellValue(t.columns[i], cell)
		if err != nil {
			return nil, line, fmt.Errorf("column %d: %w", i+1, err)
		}
		put(doc, t.columns[i].path, v)
	}
	return doc, line, budgetFlags(doc)
}

// cellValue reads a cell as the flag would be.
func cellValue(fd field, cell string) (any, error) {
	switch fd.form {
	case asNumber:
		return json.Number(cell), checkNumber(cell)
	case asList:
		return splitAll([]string{strings.ReplaceAll(cell, ";", ",")}), nil
	case asJSON, asBool:
		if !json.Valid([]byte(cell)) {
			return nil, fmt.Errorf("%q is not JSON", cell)
		}
		return json.RawMessage(cell), nil
	case asExpiry:
		return expiry(cell)
	default:
		return cell, nil
	}
}
